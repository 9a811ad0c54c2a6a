//! Drawings, as SVG text.
//!
//! A [`Picture`] writes the few elements that the drawings need. Colours come from `style.css`, so that a
//! drawing follows the reader's light or dark mode; text is escaped here and nowhere else; a number that is not
//! finite is a bug of ours and stops the program rather than spoil a picture.

use std::fmt::Write as _;

use crate::words::visible;

mod plots;
mod rows;
mod scale;
mod states;
pub mod strip;
pub mod timeline;

/// Colours and fonts of all drawings, for a page that holds them.
pub const STYLE: &str = include_str!("style.css");

/// A drawing under construction; lengths are in its own units, about one CSS pixel each.
pub struct Picture {
    name: String,
    width: f64,
    body: String,
}

impl Picture {
    /// An empty picture. The name tells it from the others on a page.
    pub fn new(name: &str, width: f64) -> Self {
        Self {
            name: name.to_owned(),
            width,
            body: String::new(),
        }
    }

    /// A rectangle with round corners.
    pub fn rect(&mut self, class: &str, [x, y]: [f64; 2], [width, height]: [f64; 2], radius: f64) {
        assert!(width >= 0.0 && height >= 0.0, "a rectangle of {width} x {height}");
        let [x, y, width, height, radius] = [x, y, width, height, radius].map(number);
        let _ = write!(
            self.body,
            r#"<rect class="{class}" x="{x}" y="{y}" width="{width}" height="{height}" rx="{radius}"/>"#
        );
    }

    /// A rectangle filled with the picture's hatching.
    pub fn hatched(&mut self, [x, y]: [f64; 2], [width, height]: [f64; 2]) {
        let [x, y, width, height] = [x, y, width, height].map(number);
        let _ = write!(
            self.body,
            r#"<rect x="{x}" y="{y}" width="{width}" height="{height}" fill="url(#hatch-{})"/>"#,
            self.name
        );
    }

    /// A straight line.
    pub fn line(&mut self, class: &str, from: [f64; 2], to: [f64; 2]) {
        let [x1, y1, x2, y2] = [from[0], from[1], to[0], to[1]].map(number);
        let _ = write!(
            self.body,
            r#"<line class="{class}" x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}"/>"#
        );
    }

    /// A line through points.
    pub fn polyline(&mut self, class: &str, points: impl IntoIterator<Item = [f64; 2]>) {
        let points: Vec<String> = points
            .into_iter()
            .map(|[x, y]| format!("{},{}", number(x), number(y)))
            .collect();
        let _ = write!(
            self.body,
            r#"<polyline class="{class}" points="{}"/>"#,
            points.join(" ")
        );
    }

    /// Dots, all in one element; their size is the line width of the class.
    pub fn dots(&mut self, class: &str, points: impl IntoIterator<Item = [f64; 2]>) {
        let mut path = String::new();
        for [x, y] in points {
            let _ = write!(path, "M{} {}h0", number(x), number(y));
        }
        if !path.is_empty() {
            self.path(class, &path);
        }
    }

    /// A path; `data` is made of numbers that went through [`number`].
    pub fn path(&mut self, class: &str, data: &str) {
        let _ = write!(self.body, r#"<path class="{class}" d="{data}"/>"#);
    }

    /// A circle.
    pub fn circle(&mut self, class: &str, [x, y]: [f64; 2], radius: f64) {
        let [x, y, radius] = [x, y, radius].map(number);
        let _ = write!(self.body, r#"<circle class="{class}" cx="{x}" cy="{y}" r="{radius}"/>"#);
    }

    /// A line of text; the class says where its anchor is.
    pub fn text(&mut self, class: &str, [x, y]: [f64; 2], text: &str) {
        let [x, y] = [x, y].map(number);
        let _ = write!(
            self.body,
            r#"<text class="{class}" x="{x}" y="{y}">{}</text>"#,
            escape(text)
        );
    }

    /// A line of text that goes on in another class.
    pub fn text_with(&mut self, class: &str, [x, y]: [f64; 2], text: &str, then_class: &str, then: &str) {
        let [x, y] = [x, y].map(number);
        let _ = write!(
            self.body,
            r#"<text class="{class}" x="{x}" y="{y}">{}<tspan class="{then_class}" dx="8">{}</tspan></text>"#,
            escape(text),
            escape(then)
        );
    }

    /// Elements that show `title` when pointed at.
    pub fn titled(&mut self, title: &str, draw: impl FnOnce(&mut Self)) {
        let _ = write!(self.body, "<g><title>{}</title>", escape(title));
        draw(self);
        self.body.push_str("</g>");
    }

    /// The whole picture for a page that has [`STYLE`]. `label` is read to those who cannot see it.
    pub fn inline(self, height: f64, label: &str) -> String {
        self.finish(height, label, "", "")
    }

    /// The whole picture as a file of its own.
    pub fn standalone(self, height: f64, label: &str) -> String {
        let style = format!("<style>{STYLE}</style>");
        let ground = r#"<rect class="ground" width="100%" height="100%"/>"#;
        let picture = self.finish(height, label, &style, ground);
        format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{picture}\n")
    }

    fn finish(self, height: f64, label: &str, style: &str, ground: &str) -> String {
        let [width, height] = [self.width, height].map(number);
        let (name, body) = (&self.name, &self.body);
        let label = escape(label);
        format!(
            concat!(
                r#"<svg class="drawing" id="{name}" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" "#,
                r#"role="img" aria-label="{label}">{style}<defs><pattern id="hatch-{name}" width="6" height="6" "#,
                r#"patternUnits="userSpaceOnUse" patternTransform="rotate(45)"><path class="hatch" d="M0 0V6"/></pattern>"#,
                r#"</defs>{ground}{body}</svg>"#
            ),
            name = name,
            width = width,
            height = height,
            label = label,
            style = style,
            ground = ground,
            body = body
        )
    }
}

/// A coordinate with a tenth of a unit, as short as it can be written.
pub fn number(value: f64) -> String {
    assert!(value.is_finite(), "a coordinate of {value}");
    let tenths = (value * 10.0).round();
    if tenths % 10.0 == 0.0 {
        // Adding zero turns a negative zero into zero.
        format!("{:.0}", tenths / 10.0 + 0.0)
    } else {
        format!("{:.1}", tenths / 10.0)
    }
}

/// About how wide a line of text is at a font size: in a monospace font if `mono`, else in a usual one. Fonts
/// differ, so this errs on the wide side.
pub fn text_width(text: &str, size: f64, mono: bool) -> f64 {
    let each = if mono { 0.61 } else { 0.56 };
    let units: f64 = text
        .chars()
        // From Hangul Jamo on, many scripts are written in cells of double width.
        .map(|c| {
            if u32::from(c) >= 0x1100 && !('\u{2000}'..'\u{2e80}').contains(&c) {
                2.0
            } else {
                1.0
            }
        })
        .sum();
    units * each * size
}

/// Text for an element or an attribute in double quotes.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in visible(text).chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coordinates_are_short() {
        assert_eq!(
            [0.0, -0.01, 12.0, 12.34, -3.05].map(number),
            ["0", "0", "12", "12.3", "-3.1"]
        );
    }

    #[test]
    #[should_panic(expected = "a coordinate of NaN")]
    fn a_coordinate_is_a_number() {
        number(f64::NAN);
    }

    #[test]
    fn text_cannot_leave_its_place() {
        assert_eq!(
            escape("</text><script>\"'&\u{0}"),
            "&lt;/text&gt;&lt;script&gt;&quot;&#39;&amp;\\u{0}"
        );
    }
}
