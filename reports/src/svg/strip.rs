//! The whole run over one time axis: faults, outcomes, latency, rate, nodes, leaders.
//!
//! Operations that did not end ok have lanes of their own, at the time of their invocation: they have no
//! latency, and a dot at the height of a timeout would pretend to one. A run of more than [`DOTS_MAX`] ok
//! operations is drawn in cells, darker where more fall together, so that a page stays small; the note under
//! the drawing says so.

use std::collections::{BTreeMap, BTreeSet};

use minijinja::Value as Page;
use serde::Serialize;
use tribunal_history::report::FaultSummary;
use tribunal_history::{Ending, Event, NodeId, NodeState, Operation, Phase, Report, operation};

use super::rows::Rows;
use super::scale::{Linear, nice_step};
use super::{Picture, text_width};
use crate::words;

const WIDTH: f64 = 1180.0;
pub const LEFT: f64 = 112.0;
pub const RIGHT: f64 = 1164.0;

const NAME_ROW: f64 = 15.0;
/// Rows of names of faults; what finds no room in them is named only to those who point at it.
const NAME_ROWS_MAX: usize = 4;
pub const OUTCOME_ROW: f64 = 15.0;
pub const LATENCY: f64 = 118.0;
pub const RATE: f64 = 46.0;
const NODE_ROW: f64 = 13.0;
const LEADER: f64 = 19.0;
const APART: f64 = 12.0;

/// Operations that are drawn one by one; more are put into cells.
pub const DOTS_MAX: usize = 20_000;

/// Faults that are drawn, and changes of nodes and leaders.
const SPANS_MAX: usize = 600;

/// The drawing with what a page says about it.
#[derive(Serialize)]
pub struct Strip {
    drawing: Option<Page>,
    legend: Vec<Key>,
    note: String,
}

#[derive(Serialize)]
struct Key {
    tone: &'static str,
    text: &'static str,
}

/// Draws a run.
pub fn draw(report: &Report, events: &[Event]) -> Strip {
    let end_ns = events
        .iter()
        .map(Event::time_ns)
        .chain([report.run.duration_ns])
        .chain(report.findings.iter().map(|finding| finding.time_ns))
        .chain(
            report
                .faults
                .iter()
                .map(|fault| fault.stop_ns.unwrap_or(fault.start_ns)),
        )
        .chain(report.leaders.iter().map(|leader| leader.end_ns))
        .max()
        .unwrap_or(0);
    if end_ns == 0 {
        return Strip {
            drawing: None,
            legend: Vec::new(),
            note: String::new(),
        };
    }
    let mut notes = Vec::new();
    let operations = operation::pair(events).unwrap_or_else(|error| {
        notes.push(format!(
            "The history contradicts itself, so no operation is drawn: {error}."
        ));
        Vec::new()
    });
    let mut strip = Drawing {
        picture: Picture::new("run", WIDTH),
        axis: Linear::new(end_ns, LEFT, RIGHT),
        end_ns,
    };
    let violation_ns = report.findings.iter().map(|finding| finding.time_ns).min();
    let height = strip.all(report, events, &operations, violation_ns);
    let oks = operations
        .iter()
        .filter(|operation| operation.ending == Ending::Ok)
        .count();
    if oks > DOTS_MAX {
        notes.push(format!(
            "{} are too many to draw one by one: each cell stands for up to 2, up to 8 or more of them.",
            words::things(oks as u64, "ok operation")
        ));
    }
    if report.faults.iter().any(|fault| !fault.effective) {
        notes.push("Hatched: a fault whose effect was not proved.".to_owned());
    }
    let label = match violation_ns {
        Some(ns) => format!("the run over time; first violation at {}", words::moment(ns)),
        None => "the run over time".to_owned(),
    };
    Strip {
        drawing: Some(Page::from_safe_string(strip.picture.inline(height, &label))),
        legend: vec![
            Key { tone: "ok", text: "ok" },
            Key {
                tone: "info",
                text: "indeterminate",
            },
            Key {
                tone: "fail",
                text: "failed",
            },
        ],
        note: notes.join(" "),
    }
}

/// A drawing under construction.
pub struct Drawing {
    pub(super) picture: Picture,
    pub(super) axis: Linear,
    pub(super) end_ns: u64,
}

impl Drawing {
    /// Draws everything, and returns its height.
    fn all(&mut self, report: &Report, events: &[Event], operations: &[Operation], violation_ns: Option<u64>) -> f64 {
        let nodes = nodes(report, events);
        let faults = &report.faults[..report.faults.len().min(SPANS_MAX)];
        let (names, rows) = self.names(faults);
        let top = 6.0 + NAME_ROW * rows as f64 + if violation_ns.is_some() { NAME_ROW } else { 0.0 };
        let latency = top + 2.0 * OUTCOME_ROW + APART;
        let rate = latency + LATENCY + APART + 6.0;
        let lives = rate + RATE + APART;
        let leaders = lives + NODE_ROW * nodes.len() as f64 + if nodes.is_empty() { 0.0 } else { 6.0 };
        let bottom = leaders + if report.leaders.is_empty() { 0.0 } else { LEADER + 4.0 };
        self.bands(faults, top - 3.0, bottom);
        for (x, row, class, text) in names {
            self.picture.text(&class, [x, 12.0 + NAME_ROW * row as f64], &text);
        }
        self.outcomes(operations, top);
        self.latencies(operations, latency);
        self.rates(operations, rate);
        self.lives(&nodes, events, lives);
        self.cuts(&nodes, faults, lives);
        self.leaders(report, leaders);
        self.time(events, bottom);
        if let Some(ns) = violation_ns {
            self.violation(ns, top - 15.0, bottom);
        }
        bottom + 34.0
    }

    /// Finds room for the names of faults: place, row, class and text of each, and how many rows.
    fn names(&self, faults: &[FaultSummary]) -> (Vec<(f64, usize, String, String)>, usize) {
        let mut rows = Rows::default();
        let mut names = Vec::new();
        for fault in faults {
            let text = words::fault(fault);
            // Set in bold, which is a tenth wider.
            let width = text_width(&text, 12.0, false) * 1.1;
            let x = self.axis.x(fault.start_ns).min(WIDTH - 4.0 - width);
            if rows.free(x) < NAME_ROWS_MAX {
                let class = format!("band-name {}", fault.kind.group());
                names.push((x, rows.take(x, width), class, text));
            }
        }
        (names, rows.len())
    }

    fn bands(&mut self, faults: &[FaultSummary], top: f64, bottom: f64) {
        for fault in faults {
            let left = self.axis.x(fault.start_ns);
            let right = self.axis.x(fault.stop_ns.unwrap_or(self.end_ns)).max(left + 1.0);
            let (at, size) = ([left, top], [right - left, bottom - top]);
            let title = format!(
                "{} from {} to {}: {}; {} ended ok meanwhile",
                words::fault(fault),
                words::moment(fault.start_ns),
                fault.stop_ns.map_or("the end".to_owned(), words::moment),
                words::clip(&fault.detail, 300),
                words::things(fault.ok_meanwhile, "operation"),
            );
            let class = format!("band {}", fault.kind.group());
            self.picture.titled(&title, |picture| {
                picture.rect(&class, at, size, 0.0);
                if !fault.effective {
                    picture.hatched(at, size);
                }
            });
        }
    }

    /// What each node was: up, starting, paused, down.
    fn lives(&mut self, nodes: &BTreeSet<NodeId>, events: &[Event], top: f64) {
        let mut lives: BTreeMap<NodeId, Vec<(u64, NodeState)>> = BTreeMap::new();
        for event in events {
            if let Event::Node(change) = event {
                let life = lives.entry(change.node).or_default();
                if life.len() < SPANS_MAX {
                    life.push((change.time_ns, change.state));
                }
            }
        }
        for (row, node) in nodes.iter().enumerate() {
            let y = top + NODE_ROW * row as f64;
            self.picture
                .text("tick end", [LEFT - 8.0, y + NODE_ROW - 3.0], &node.to_string());
            let changes = lives.get(node).map_or(&[][..], Vec::as_slice);
            for (place, (from_ns, state)) in changes.iter().enumerate() {
                let to_ns = changes.get(place + 1).map_or(self.end_ns, |next| next.0);
                let (left, right) = (self.axis.x(*from_ns), self.axis.x(to_ns.max(*from_ns)));
                let (class, said) = match state {
                    NodeState::Started => ("life starting", "starting"),
                    NodeState::Ready | NodeState::Resumed => ("life up", "up"),
                    NodeState::Paused => ("life paused", "paused"),
                    NodeState::Killed => ("life down", "killed"),
                    NodeState::Exited => ("life down", "down: it ended by itself"),
                };
                let title = format!(
                    "{node} {said} from {} to {}",
                    words::moment(*from_ns),
                    words::moment(to_ns)
                );
                self.picture.titled(&title, |picture| {
                    picture.rect(class, [left, y + 2.0], [right - left, NODE_ROW - 4.0], 0.0);
                    let word = said.split(':').next().unwrap_or(said);
                    if !matches!(class, "life up" | "life starting")
                        && right - left > text_width(word, 9.0, false) + 6.0
                    {
                        picture.text("life-name", [left + 4.0, y + NODE_ROW - 3.6], word);
                    }
                });
            }
        }
    }

    /// Where a node was cut off from the others, over what it was.
    fn cuts(&mut self, nodes: &BTreeSet<NodeId>, faults: &[FaultSummary], top: f64) {
        for fault in faults.iter().filter(|fault| fault.kind.group() == "partition") {
            for (row, node) in nodes.iter().enumerate().filter(|(_, node)| fault.nodes.contains(node)) {
                let y = top + NODE_ROW * row as f64;
                let left = self.axis.x(fault.start_ns);
                let right = self.axis.x(fault.stop_ns.unwrap_or(self.end_ns)).max(left);
                let word = fault.kind.name();
                self.picture
                    .titled(&format!("{node}: {}", words::clip(&fault.detail, 300)), |picture| {
                        let class = if fault.effective {
                            "life cut"
                        } else {
                            "life cut unproved"
                        };
                        picture.rect(class, [left, y + 2.0], [right - left, NODE_ROW - 4.0], 0.0);
                        if right - left > text_width(word, 9.0, false) + 6.0 {
                            picture.text("life-name", [left + 4.0, y + NODE_ROW - 3.6], word);
                        }
                    });
            }
        }
    }

    fn leaders(&mut self, report: &Report, top: f64) {
        if report.leaders.is_empty() {
            return;
        }
        self.picture.text("name", [8.0, top + 14.0], "raft leader");
        self.picture.rect("nobody", [LEFT, top], [RIGHT - LEFT, LEADER], 0.0);
        for leader in report.leaders.iter().take(SPANS_MAX) {
            let left = self.axis.x(leader.start_ns);
            let width = self.axis.x(leader.end_ns).max(left) - left;
            let class = format!("leader l{}", (leader.node.0.max(1) - 1) % 8 + 1);
            let title = format!(
                "{} was seen to lead term {} from {} to {}",
                leader.node,
                leader.term,
                words::moment(leader.start_ns),
                words::moment(leader.end_ns)
            );
            let long = format!("{} · term {}", leader.node, leader.term);
            let short = leader.node.to_string();
            self.picture.titled(&title, |picture| {
                picture.rect(&class, [left, top], [width, LEADER], 0.0);
                let text = [long, short]
                    .into_iter()
                    .find(|text| text_width(text, 11.0, false) + 8.0 < width);
                if let Some(text) = text {
                    picture.text("leader-name", [left + 5.0, top + 13.5], &text);
                }
            });
        }
    }

    /// Seconds, and where the phases of the run begin.
    fn time(&mut self, events: &[Event], bottom: f64) {
        self.picture.line("axis", [LEFT, bottom], [RIGHT, bottom]);
        let step_ns = nice_step((self.end_ns / 13).max(1_000));
        for ns in (0..=self.end_ns / step_ns).map(|step| step * step_ns) {
            let x = self.axis.x(ns);
            self.picture.line("axis", [x, bottom], [x, bottom + 4.0]);
            let text = match ns {
                0 => "0".to_owned(),
                _ if step_ns < 1_000_000_000 => words::duration(ns),
                _ => format!("{} s", ns / 1_000_000_000),
            };
            self.picture.text("tick middle", [x, bottom + 16.0], &text);
        }
        let mut free_from = LEFT;
        for event in events {
            let Event::Phase(begun) = event else { continue };
            let name = match begun.phase {
                // What the whole run is, unless another is named.
                Phase::Safety | Phase::End => continue,
                Phase::Heal => "heal",
                Phase::Liveness => "progress again",
                Phase::FinalReads => "final reads",
            };
            let x = self.axis.x(begun.time_ns);
            let width = text_width(name, 11.0, false);
            let at = x.min(WIDTH - 8.0 - width);
            // One that begins right after another goes without a name.
            if at >= free_from {
                self.picture.line("phase", [x, bottom + 20.0], [x, bottom + 30.0]);
                self.picture.text("tick", [at + 4.0, bottom + 29.0], name);
                free_from = at + width + 14.0;
            }
        }
    }

    fn violation(&mut self, ns: u64, top: f64, bottom: f64) {
        let x = self.axis.x(ns);
        self.picture.line("violation", [x, top], [x, bottom]);
        let text = format!("first violation {}", words::moment(ns));
        let width = text_width(&text, 12.0, false) + 8.0;
        if x + width < WIDTH {
            self.picture.text("violation-name", [x + 5.0, top + 9.0], &text);
        } else {
            self.picture.text("violation-name end", [x - 5.0, top + 9.0], &text);
        }
    }
}

/// The nodes that have a lane: all that anything was recorded of, if any of them was seen to change.
fn nodes(report: &Report, events: &[Event]) -> BTreeSet<NodeId> {
    let changed: BTreeSet<NodeId> = events
        .iter()
        .filter_map(|event| match event {
            Event::Node(change) => Some(change.node),
            _ => None,
        })
        .collect();
    if changed.is_empty() {
        return changed;
    }
    let hit = report.faults.iter().flat_map(|fault| fault.nodes.iter().copied());
    let led = report.leaders.iter().map(|leader| leader.node);
    changed.into_iter().chain(hit).chain(led).collect()
}
