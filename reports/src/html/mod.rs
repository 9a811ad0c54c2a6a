//! The page (`report.html`): one file, nothing fetched, readable with scripts off.
//!
//! [`view`] turns a report into the words of the page, the template puts them in their places and escapes
//! them, and the drawings come from [`crate::svg`], which escapes its own. A content security policy forbids
//! the page every request and every script but its own, so that even a hole in the escaping would lead nowhere.

use minijinja::value::Serde;
use minijinja::{Environment, UndefinedBehavior, Value as Page};
use tribunal_history::{Event, Report};

mod view;

const PAGE: &str = include_str!("page.html");
const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("script.js");

/// What the content security policy lets through: the base64 of the SHA-256 of `script.js`.
const SCRIPT_SHA256: &str = include_str!("script.sha256");

/// The page of a run.
pub fn html(report: &Report, events: &[Event]) -> String {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment
        .add_template("page.html", PAGE)
        .expect("the template of the page is well formed");
    let page = environment.get_template("page.html").expect("it was just added");
    page.render(minijinja::context! {
        style => Page::from_safe_string(format!("{STYLE}{}", crate::svg::STYLE)),
        script => Page::from_safe_string(SCRIPT.to_owned()),
        script_sha256 => Page::from_safe_string(SCRIPT_SHA256.to_owned()),
        page => Page::from(Serde(view::view(report, events))),
    })
    .expect("the template uses only what the view has")
}
