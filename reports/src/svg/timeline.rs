//! The drawing of a counterexample.
//!
//! A lane for each client with the node that it asked, a bar for each operation, to scale, with gaps where
//! nothing happens ([`Broken`]). Numbers give the longest legal order; the state of the object after each step
//! stands underneath; ✗ marks an operation that fits nowhere after it, with the reason. What is in doubt is
//! dashed and open at its end, what definitely failed is grey.
//!
//! Labels stand above the bars and never inside them: a bar is as long as the operation took, however short
//! that is, so its label has to find its own room. Two labels that would overlap take two rows.

use tribunal_history::report::FaultSummary;
use tribunal_history::{DrawnOperation, Ending, Finding, ProcessId};

use super::rows::Rows;
use super::scale::{Broken, nice_step};
use super::{Picture, states, text_width};
use crate::words;

const WIDTH: f64 = 1180.0;

/// Where the time axis begins; names of clients stand left of it.
pub const LEFT: f64 = 150.0;

/// Where the time axis ends; what has no end goes on a little further.
const RIGHT: f64 = 1130.0;

/// How far an operation without an end is drawn.
pub const OPEN_END: f64 = 1168.0;

/// A bar is at least as wide as can be seen.
const BAR_WIDTH_MIN: f64 = 4.0;

const BAR: f64 = 22.0;
const ROW: f64 = 16.0;
const LABEL_CHARS_MAX: usize = 60;
const REASON_CHARS_MAX: usize = 130;

/// Operations that are drawn at most; a counterexample is much smaller, as long as it could be made small.
const OPERATIONS_MAX: usize = 80;

/// The drawing of a finding as a file of its own. Of `faults`, those are shown that were active meanwhile.
pub fn timeline_svg(finding: &Finding, faults: &[FaultSummary]) -> String {
    let (picture, height) = draw("timeline", finding, faults);
    picture.standalone(height, &label(finding))
}

/// The drawing of a finding for a page; the name tells it from the page's other drawings.
pub fn inline(name: &str, finding: &Finding, faults: &[FaultSummary]) -> String {
    let (picture, height) = draw(name, finding, faults);
    picture.inline(height, &label(finding))
}

fn label(finding: &Finding) -> String {
    words::clip(&finding.sentence, 1_000)
}

/// A client's row.
struct Lane<'a> {
    process: ProcessId,
    /// By place in the finding.
    operations: Vec<(usize, &'a DrawnOperation)>,
}

/// A text beside a bar.
struct Note<'a> {
    place: usize,
    x: f64,
    width: f64,
    row: usize,
    text: &'a str,
    then: String,
}

/// Puts texts of a lane into rows; row 0 is next to the bar. A text begins where its bar begins, or further left
/// if the picture would end before it does.
fn in_rows(mut notes: Vec<Note<'_>>) -> Vec<Note<'_>> {
    for note in &mut notes {
        note.x = note.x.min(OPEN_END - note.width).max(8.0);
    }
    notes.sort_by(|a, b| a.x.total_cmp(&b.x));
    let mut rows = Rows::default();
    for note in &mut notes {
        note.row = rows.take(note.x, note.width);
    }
    notes
}

fn draw(name: &str, finding: &Finding, faults: &[FaultSummary]) -> (Picture, f64) {
    let shown = &finding.operations[..finding.operations.len().min(OPERATIONS_MAX)];
    let intervals: Vec<(u64, Option<u64>)> = shown
        .iter()
        .map(|operation| {
            (
                operation.invoked_ns,
                operation.completed_ns.map(|ns| ns.max(operation.invoked_ns)),
            )
        })
        .collect();
    let axis = Broken::new(&intervals, LEFT + 12.0, RIGHT);
    let mut drawing = Drawing {
        picture: Picture::new(name, WIDTH),
        finding,
        axis,
        centres: vec![None; finding.operations.len()],
    };
    let lanes = lanes(shown);
    let texts: Vec<Texts> = lanes.iter().map(|lane| drawing.texts(lane)).collect();
    let bands = drawing.bands(faults);
    let band_rows = bands.iter().map(|band| band.row + 1).max().unwrap_or(0);
    let top = 6.0 + ROW * band_rows as f64;
    let bottom = top + texts.iter().map(Texts::height).sum::<f64>();
    drawing.draw_bands(&bands, bottom);
    let mut y = top;
    for (lane, texts) in lanes.iter().zip(&texts) {
        drawing.draw_bars(lane, y, texts);
        y += texts.height();
    }
    drawing.draw_axis(top, bottom);
    drawing.draw_order();
    let mut y = top;
    for (lane, texts) in lanes.iter().zip(&texts) {
        drawing.draw_texts(lane, y, texts);
        y += texts.height();
    }
    let mut height = states::draw(&mut drawing.picture, finding, &drawing.centres, bottom + 34.0);
    if let Some(more) = words::left_out(finding.operations.len(), OPERATIONS_MAX) {
        let text = format!("{more} in finding.json");
        drawing.picture.text("quiet", [8.0, height + 12.0], &text);
        height += ROW;
    }
    (drawing.picture, height)
}

/// Clients in the order in which they first asked.
fn lanes(operations: &[DrawnOperation]) -> Vec<Lane<'_>> {
    let mut lanes: Vec<Lane<'_>> = Vec::new();
    for (place, operation) in operations.iter().enumerate() {
        match lanes.iter_mut().find(|lane| lane.process == operation.process) {
            Some(lane) => lane.operations.push((place, operation)),
            None => lanes.push(Lane {
                process: operation.process,
                operations: vec![(place, operation)],
            }),
        }
    }
    lanes.sort_by_key(|lane| lane.operations[0].1.invoked);
    lanes
}

/// The texts of a lane with their rows.
struct Texts<'a> {
    labels: Vec<Note<'a>>,
    reasons: Vec<Note<'a>>,
}

impl Texts<'_> {
    fn rows(notes: &[Note<'_>]) -> f64 {
        notes.iter().map(|note| note.row + 1).max().unwrap_or(0) as f64
    }

    /// From the top of the lane to the top of its bars.
    fn bar_top(&self) -> f64 {
        4.0 + ROW * Self::rows(&self.labels)
    }

    fn height(&self) -> f64 {
        self.bar_top() + BAR + ROW * Self::rows(&self.reasons) + 8.0
    }
}

/// A fault behind the bars.
struct Band<'a> {
    fault: &'a FaultSummary,
    left: f64,
    right: f64,
    row: usize,
    text: String,
    text_x: f64,
}

struct Drawing<'a> {
    picture: Picture,
    finding: &'a Finding,
    axis: Broken,
    /// Where the sign of each operation stands.
    centres: Vec<Option<[f64; 2]>>,
}

impl<'a> Drawing<'a> {
    fn blocked(&self, place: usize) -> Option<&'a str> {
        self.finding
            .blocked
            .iter()
            .find(|blocked| blocked.operation == place)
            .map(|blocked| blocked.why.as_str())
    }

    /// From where to where a bar goes.
    fn bar(&self, operation: &DrawnOperation) -> (f64, f64) {
        let left = self.axis.x(operation.invoked_ns);
        let right = match (operation.ending, operation.completed_ns) {
            (Ending::Ok | Ending::Fail, Some(ns)) => self.axis.x(ns.max(operation.invoked_ns)),
            (Ending::Info, _) | (_, None) => OPEN_END,
        };
        (left, right.max(left + BAR_WIDTH_MIN))
    }

    /// Finds room for the labels and reasons of a lane.
    fn texts(&self, lane: &Lane<'a>) -> Texts<'a> {
        let mut labels = Vec::new();
        let mut reasons = Vec::new();
        for (place, operation) in &lane.operations {
            let (place, x, row) = (*place, self.axis.x(operation.invoked_ns), 0);
            let then = meta(operation);
            let text = operation.label.as_str();
            let width = text_width(&clean(text, LABEL_CHARS_MAX), 13.0, true) + 8.0 + text_width(&then, 11.0, false);
            labels.push(Note {
                place,
                x,
                width,
                row,
                text,
                then,
            });
            if let Some(text) = self.blocked(place) {
                let width = text_width(&clean(text, REASON_CHARS_MAX), 12.5, false);
                let then = String::new();
                reasons.push(Note {
                    place,
                    x,
                    width,
                    row,
                    text,
                    then,
                });
            }
        }
        Texts {
            labels: in_rows(labels),
            reasons: in_rows(reasons),
        }
    }

    fn bands<'f>(&self, faults: &'f [FaultSummary]) -> Vec<Band<'f>> {
        let (from, to) = (self.axis.first_ns(), self.axis.last_ns());
        let active = faults
            .iter()
            .filter(|fault| fault.start_ns <= to && fault.stop_ns.is_none_or(|stop| stop >= from));
        let mut rows = Rows::default();
        let mut bands = Vec::new();
        for fault in active {
            let left = if fault.start_ns < from {
                LEFT
            } else {
                self.axis.x(fault.start_ns)
            };
            let right = match fault.stop_ns {
                Some(stop) if stop <= to => self.axis.x(stop),
                _ => OPEN_END,
            };
            let since = if fault.start_ns < from { "since" } else { "from" };
            let mut text = format!("{} {since} {}", words::fault(fault), words::moment(fault.start_ns));
            if let Some(stop) = fault.stop_ns {
                text = format!("{text} to {}", words::moment(stop));
            }
            if !fault.effective {
                text.push_str(" (effect not proved)");
            }
            let width = text_width(&text, 12.0, false);
            let text_x = left.min(OPEN_END - width).max(0.0);
            bands.push(Band {
                fault,
                left,
                right: right.max(left + 1.0),
                row: rows.take(text_x, width),
                text,
                text_x,
            });
        }
        bands
    }

    fn draw_bands(&mut self, bands: &[Band<'_>], bottom: f64) {
        for band in bands {
            let y = 4.0 + ROW * band.row as f64;
            let class = format!("band {}", band.fault.kind.group());
            let (at, size) = (
                [band.left, y + ROW - 3.0],
                [band.right - band.left, bottom - y - ROW + 3.0],
            );
            self.picture.titled(&band.fault.detail, |picture| {
                picture.rect(&class, at, size, 0.0);
                if !band.fault.effective {
                    picture.hatched(at, size);
                }
            });
            let class = format!("band-name {}", band.fault.kind.group());
            self.picture.text(&class, [band.text_x, y + 10.0], &band.text);
        }
    }

    fn draw_bars(&mut self, lane: &Lane<'_>, y: f64, texts: &Texts<'_>) {
        let top = y + texts.bar_top();
        let middle = top + BAR / 2.0;
        let mut nodes: Vec<_> = lane.operations.iter().map(|(_, operation)| operation.node).collect();
        nodes.dedup();
        let nodes = words::clip(&words::nodes(&nodes), 8);
        let client = format!("client {}", lane.process);
        self.picture
            .text_with("name", [8.0, middle + 4.0], &client, "quiet", &format!("→ {nodes}"));
        self.picture.line("lane", [LEFT, middle], [OPEN_END, middle]);
        for (place, operation) in &lane.operations {
            let (left, right) = self.bar(operation);
            let blocked = self.blocked(*place).is_some();
            let class = match operation.ending {
                _ if blocked => "bar blocked",
                Ending::Ok => "bar ok",
                Ending::Fail => "bar fail",
                Ending::Info => "bar info",
            };
            let gave_up = operation
                .completed_ns
                .filter(|_| operation.ending == Ending::Info)
                .map(|ns| self.axis.x(ns));
            self.picture.titled(&title(operation), |picture| {
                if operation.ending == Ending::Info || operation.completed_ns.is_none() {
                    let [l, r, t, b] = [left, right, top, top + BAR].map(super::number);
                    picture.path(&format!("{class} open"), &format!("M{r} {t}H{l}V{b}H{r}"));
                    if let Some(x) = gave_up {
                        picture.line("gave-up", [x, top + 4.0], [x, top + BAR - 4.0]);
                    }
                } else {
                    picture.rect(class, [left, top], [right - left, BAR], 4.0);
                }
            });
            let x = if right - left >= BAR {
                left + BAR / 2.0
            } else {
                (left + right) / 2.0
            };
            self.centres[*place] = Some([x, middle]);
        }
    }

    /// Gaps with their lengths, the beginning of each stretch, and how long a stretch of paper is.
    fn draw_axis(&mut self, top: f64, bottom: f64) {
        self.picture.line("axis", [LEFT, bottom], [OPEN_END, bottom]);
        let segments = self.axis.segments().to_vec();
        let mut free_from = 0.0;
        for segment in segments {
            if segment.gap {
                // Many gaps are narrow ones.
                let inset = ((segment.right - segment.left) / 8.0).min(4.0);
                let (left, right) = (segment.left + inset, segment.right - inset);
                let length = words::duration(segment.to_ns - segment.from_ns);
                let text = format!("⋯ {length} ⋯");
                let middle = (left + right) / 2.0;
                let half = text_width(&text, 11.0, true) / 2.0;
                let named = middle - half > free_from;
                self.picture.titled(&format!("{length} are left out here"), |picture| {
                    picture.rect("gap", [left, top], [right - left, bottom - top + 1.0], 0.0);
                    for x in [left, right] {
                        picture.line("gap-edge", [x, top], [x, bottom]);
                    }
                    let [l, r, y, up] = [left, right, bottom + 9.0, bottom + 3.0].map(super::number);
                    picture.path("bracket", &format!("M{l} {up}V{y}H{r}V{up}"));
                    if named {
                        picture.text("gap-name middle", [middle, bottom + 22.0], &text);
                    }
                });
                if named {
                    free_from = (middle + half).max(right) + 4.0;
                }
            } else {
                self.picture
                    .line("axis", [segment.left, bottom], [segment.left, bottom + 5.0]);
                let text = words::moment(segment.from_ns);
                let width = text_width(&text, 11.0, false);
                // Half of it stands left of its tick.
                let x = segment.left.max(free_from + width / 2.0);
                if x + width / 2.0 < segment.right.max(segment.left + width) {
                    self.picture.text("tick middle", [x, bottom + 22.0], &text);
                    free_from = x + width / 2.0 + 8.0;
                }
            }
        }
        let length_ns = nice_step((60.0 / self.axis.units_per_ns()) as u64);
        let length = length_ns as f64 * self.axis.units_per_ns();
        let [l, r, y, up] = [OPEN_END - length, OPEN_END, bottom + 9.0, bottom + 5.0].map(super::number);
        let text = format!("to scale: {}", words::duration(length_ns));
        let width = text_width(&text, 11.0, false).max(length);
        if length < 400.0 && OPEN_END - width > free_from {
            self.picture.path("bracket", &format!("M{l} {up}V{y}H{r}V{up}"));
            self.picture.text("tick end", [OPEN_END, bottom + 22.0], &text);
        }
    }

    /// Numbers and crosses, and a line along the order.
    fn draw_order(&mut self) {
        let finding = self.finding;
        let order: Vec<[f64; 2]> = finding
            .longest_legal
            .iter()
            .filter_map(|placed| self.centres.get(placed.operation).copied().flatten())
            .collect();
        if order.len() > 1 {
            self.picture.polyline("order", order);
        }
        for (place, placed) in finding.longest_legal.iter().enumerate() {
            if let Some([x, y]) = self.centres.get(placed.operation).copied().flatten() {
                self.picture.circle("placed", [x, y], 9.0);
                self.picture.text("sign middle", [x, y + 4.0], &(place + 1).to_string());
            }
        }
        for blocked in &finding.blocked {
            if let Some([x, y]) = self.centres.get(blocked.operation).copied().flatten() {
                self.picture.circle("crossed", [x, y], 9.0);
                self.picture.text("sign middle", [x, y + 4.5], "✗");
            }
        }
    }

    fn draw_texts(&mut self, lane: &Lane<'_>, y: f64, texts: &Texts<'_>) {
        let bar_top = y + texts.bar_top();
        for note in &texts.labels {
            let y = bar_top - 5.0 - ROW * note.row as f64;
            let class = if self.blocked(note.place).is_some() {
                "label wrong"
            } else {
                "label"
            };
            let text = clean(note.text, LABEL_CHARS_MAX);
            let operation = lane.operations.iter().find(|(place, _)| *place == note.place);
            let title = operation.map_or_else(String::new, |(_, operation)| title(operation));
            self.picture.titled(&title, |picture| {
                picture.text_with(class, [note.x, y], &text, "meta", &note.then);
            });
        }
        for note in &texts.reasons {
            let y = bar_top + BAR + 14.0 + ROW * note.row as f64;
            let text = clean(note.text, REASON_CHARS_MAX);
            self.picture.titled(&words::clip(note.text, 1_000), |picture| {
                picture.text("reason", [note.x, y], &text);
            });
        }
    }
}

/// The text with nothing hidden in it, at most so long.
fn clean(text: &str, chars_max: usize) -> String {
    words::clip(&words::visible(text), chars_max)
}

/// When it began, and how long it took or how it ended.
fn meta(operation: &DrawnOperation) -> String {
    let from = words::moment(operation.invoked_ns);
    match (operation.ending, operation.completed_ns) {
        (Ending::Ok, Some(to)) => {
            format!("{from} · {}", words::duration(to.saturating_sub(operation.invoked_ns)))
        }
        (Ending::Fail, _) => format!("{from} · failed"),
        (Ending::Info, Some(to)) => {
            format!(
                "{from} · no answer for {}",
                words::duration(to.saturating_sub(operation.invoked_ns))
            )
        }
        (_, None) => format!("{from} · no answer"),
    }
}

/// Everything about an operation, for those who point at it.
fn title(operation: &DrawnOperation) -> String {
    let mut text = format!(
        "{} · client {} on {} · {} · event {} at {}",
        words::clip(&operation.label, 1_000),
        operation.process,
        operation.node,
        words::ending(operation.ending),
        operation.invoked,
        words::moment(operation.invoked_ns),
    );
    if let (Some(seq), Some(ns)) = (operation.completed, operation.completed_ns) {
        text.push_str(&format!(" to event {seq} at {}", words::moment(ns)));
    }
    if let Some(revision) = operation.revision {
        text.push_str(&format!(" · revision {revision}"));
    }
    if let Some(term) = operation.term {
        text.push_str(&format!(" · term {term}"));
    }
    if let Some(cause) = &operation.cause {
        text.push_str(&format!(" · {}", words::clip(&cause.text, 500)));
    }
    text
}
