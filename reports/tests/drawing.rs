//! Drawings: to scale, within the picture, well formed.

use std::collections::BTreeMap;

use tribunal_history::{Ending, Finding};
use tribunal_reports::{html, timeline_svg};

mod support;

const MS: u64 = 1_000_000;

/// An element's name and attributes.
type Element = (String, BTreeMap<String, String>);

/// The elements of a drawing; what is not well formed is refused.
fn elements(text: &str) -> Vec<Element> {
    let mut elements = Vec::new();
    let mut open: Vec<String> = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find('<') {
        assert!(!rest[..at].contains('>'), "a bare > in {:?}", &rest[..at]);
        let end = at + rest[at..].find('>').expect("an element ends");
        let tag = &rest[at + 1..end];
        rest = &rest[end + 1..];
        if tag.starts_with('?') {
            continue;
        }
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop().as_deref(), Some(name));
            continue;
        }
        let (tag, closed) = match tag.strip_suffix('/') {
            Some(tag) => (tag, true),
            None => (tag, false),
        };
        let (name, attributes) = tag.split_once(' ').unwrap_or((tag, ""));
        let mut map = BTreeMap::new();
        let mut attributes = attributes.trim();
        while !attributes.is_empty() {
            let (key, value) = attributes.split_once("=\"").expect("a quoted attribute");
            let (value, after) = value.split_once('"').expect("the end of an attribute");
            assert!(
                map.insert(key.to_owned(), value.to_owned()).is_none(),
                "{key} twice in {tag}"
            );
            attributes = after.trim_start();
        }
        elements.push((name.to_owned(), map));
        if !closed {
            open.push(name.to_owned());
        }
    }
    assert_eq!(open, Vec::<String>::new(), "all are closed");
    elements
}

fn number(element: &Element, name: &str) -> f64 {
    let text = &element.1[name];
    text.parse()
        .unwrap_or_else(|_| panic!("{name} is a number, not {text:?}"))
}

fn of_class<'a>(elements: &'a [Element], class: &str) -> Vec<&'a Element> {
    elements
        .iter()
        .filter(|(_, attributes)| attributes.get("class").is_some_and(|it| it == class))
        .collect()
}

/// Every coordinate is a number within the picture.
fn check(text: &str) -> Vec<Element> {
    assert!(!text.contains("NaN") && !text.contains("inf\""), "{text}");
    let elements = elements(text);
    let (_, svg) = elements.iter().find(|(name, _)| name == "svg").expect("a picture");
    let size: Vec<f64> = svg["viewBox"]
        .split(' ')
        .map(|part| part.parse().expect("a number"))
        .collect();
    for element in &elements {
        let attributes = &element.1;
        if ["pattern", "svg"].contains(&element.0.as_str()) || attributes.get("width").is_some_and(|it| it == "100%") {
            continue;
        }
        for (name, limit) in [("x", size[2]), ("x1", size[2]), ("x2", size[2]), ("cx", size[2])]
            .into_iter()
            .chain([("y", size[3]), ("y1", size[3]), ("y2", size[3]), ("cy", size[3])])
        {
            if attributes.contains_key(name) {
                let value = number(element, name);
                assert!(
                    (0.0..=limit).contains(&value),
                    "{name} of {element:?} is outside of {limit}"
                );
            }
        }
        if element.0 == "rect" {
            let right = number(element, "x") + number(element, "width");
            let bottom = number(element, "y") + number(element, "height");
            assert!(
                right <= size[2] + 0.11 && bottom <= size[3] + 0.11,
                "{element:?} is outside of {size:?}"
            );
        }
    }
    elements
}

#[test]
fn bars_are_to_scale_and_the_gap_between_them_is_said() {
    let (report, _) = support::failing();
    let text = timeline_svg(&report.findings[0], &report.faults);
    let elements = check(&text);
    let bars = of_class(&elements, "bar ok");
    assert_eq!(bars.len(), 2);
    // 3.4 ms and 4 ms.
    let ratio = number(bars[1], "width") / number(bars[0], "width");
    assert!((ratio - 4.0 / 3.4).abs() < 0.01, "{ratio}");
    assert_eq!(of_class(&elements, "bar blocked").len(), 1);
    assert_eq!(of_class(&elements, "gap").len(), 2);
    assert_eq!(
        of_class(&elements, "bracket").len(),
        3,
        "two gaps and the length of a stretch of paper"
    );
    assert!(text.contains("⋯ 2.4 s ⋯") && text.contains("⋯ 213 ms ⋯"), "{text}");
    assert!(text.contains("to scale: 1 ms"));
}

#[test]
fn a_standalone_drawing_carries_its_style() {
    let (report, _) = support::failing();
    let text = timeline_svg(&report.findings[0], &report.faults);
    assert!(text.starts_with("<?xml") && text.contains("prefers-color-scheme: dark"));
}

#[test]
fn the_order_is_numbered_and_each_state_is_shown() {
    let finding = support::lost_write();
    let text = timeline_svg(&finding, &[]);
    let elements = check(&text);
    assert_eq!(
        of_class(&elements, "placed").len(),
        4,
        "two steps, in a bar and under it"
    );
    assert_eq!(of_class(&elements, "crossed").len(), 1);
    assert_eq!(of_class(&elements, "chip").len(), 3, "before, and after each step");
    assert!(text.contains("the state is 5 or 9 here, and 4 was read"));
    for sign in [">1<", ">2<", ">✗<"] {
        assert!(text.contains(sign), "{sign}");
    }
}

#[test]
fn what_is_in_doubt_is_dashed_and_open_and_what_failed_is_grey() {
    let elements = check(&timeline_svg(&support::lost_write(), &[]));
    let open = of_class(&elements, "bar info open");
    assert_eq!(open.len(), 1);
    assert!(
        open[0].1["d"].starts_with("M1168 ") && !open[0].1["d"].contains('Z'),
        "{:?}",
        open[0]
    );
    assert_eq!(of_class(&elements, "bar fail").len(), 1);
}

#[test]
fn a_fault_is_drawn_if_it_was_active_meanwhile() {
    let (report, _) = support::failing();
    let text = timeline_svg(&report.findings[0], &report.faults);
    assert_eq!(of_class(&elements(&text), "band partition").len(), 1);
    assert!(!text.contains("kill n2") && !text.contains("pause n3"), "{text}");
    let mut faults = report.faults.clone();
    faults[2].effective = false;
    let text = timeline_svg(&report.findings[0], &faults);
    assert!(
        text.contains("url(#hatch-timeline)") && text.contains("(effect not proved)"),
        "{text}"
    );
}

fn with(operations: Vec<tribunal_history::DrawnOperation>) -> Finding {
    Finding {
        operations,
        longest_legal: Vec::new(),
        blocked: Vec::new(),
        ..support::lost_write()
    }
}

/// Two labels that would stand on one another take two rows.
#[test]
fn labels_do_not_overlap() {
    let operations = (0..6)
        .map(|n| {
            let from = (10 + n) * MS;
            support::drawn(1, 1, "write k2 = 123456789", n * 2, from, Some(from + MS / 10))
        })
        .collect();
    let elements = check(&timeline_svg(&with(operations), &[]));
    let places: Vec<(f64, f64)> = of_class(&elements, "label")
        .into_iter()
        .map(|label| (number(label, "x"), number(label, "y")))
        .collect();
    assert_eq!(places.len(), 6);
    for (place, (x, y)) in places.iter().enumerate() {
        for (other_x, other_y) in &places[..place] {
            assert!(y != other_y || (x - other_x).abs() > 200.0, "{places:?}");
        }
    }
}

#[test]
fn odd_findings_are_drawn_all_the_same() {
    let at = 7 * MS;
    let mut backwards = support::drawn(1, 1, "read k2 → 1", 0, at, Some(0));
    backwards.ending = Ending::Ok;
    let mut no_end = support::drawn(2, 1, "read k2 → 1", 4, at, None);
    no_end.ending = Ending::Ok;
    for operations in [
        vec![],
        vec![support::drawn(1, 1, "read k2 → 1", 0, at, None)],
        vec![support::drawn(1, 1, "read k2 → 1", 0, at, Some(at))],
        vec![backwards, no_end],
        vec![support::drawn(1, 1, "read k2 → 1", 0, u64::MAX, None)],
        vec![
            support::drawn(1, 1, "read k2 → 1", 0, 0, Some(1)),
            support::drawn(2, 1, "read k2 → 1", 2, u64::MAX - 1, Some(u64::MAX)),
        ],
        (0..300)
            .map(|n| {
                support::drawn(
                    n,
                    1,
                    "write k2 = 1",
                    u64::from(n) * 2,
                    u64::from(n) * at,
                    Some(u64::from(n) * at + MS),
                )
            })
            .collect(),
    ] {
        let mut finding = with(operations);
        // Places that are not there, as a file from elsewhere may have them.
        finding.longest_legal = support::lost_write().longest_legal;
        finding.blocked = support::lost_write().blocked;
        check(&timeline_svg(&finding, &[]));
    }
}

#[test]
fn the_pictures_of_a_page_are_well_formed_and_stay_within() {
    for (report, events) in [
        support::failing(),
        support::passing(),
        support::hostile(),
        support::crowded(),
        support::busy(40),
    ] {
        let page = html(&report, &events);
        let mut pictures = 0;
        for (at, _) in page.match_indices("<svg") {
            let end = at + page[at..].find("</svg>").expect("it ends");
            check(&page[at..end + "</svg>".len()]);
            pictures += 1;
        }
        assert_eq!(pictures, report.findings.len() + 1);
    }
}
