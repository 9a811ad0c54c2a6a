//! A read index is fresh: a linearizable read waits for every entry that was acknowledged, or that an earlier
//! linearizable read had seen, before it arrived; and it is answered only when that is applied.
//!
//! Source: Raft dissertation §6.4. Evidence: arrival and answer of reads, acknowledgements, applied entries. The
//! arrival at the server counts and not the client's invocation, which is stricter by the way between the two; a
//! right store keeps the stricter promise too, since it asks a quorum after the arrival.
//!
//! Blind spot: reads that ask nobody (serializable) promise nothing.

use std::collections::BTreeMap;

use tribunal_history::{Evidence, Incarnation, LogIndex, NodeId};

use super::{Broken, Property, Scene, Scope};

/// See the module.
#[derive(Default)]
pub struct ReadIndexFresh {
    judged: u64,
    /// The highest index that somebody was told of, and by whom.
    floor: Option<(LogIndex, String)>,
    /// Reads that have begun: the floor at that time.
    begun: BTreeMap<(NodeId, Incarnation, u64), Option<(LogIndex, String)>>,
}

/// Reads of a life that are remembered; one that is answered later than so many others is not judged.
const READS_MAX: u64 = 4096;

impl Property for ReadIndexFresh {
    fn id(&self) -> &'static str {
        "read-index-fresh"
    }

    fn title(&self) -> &'static str {
        "a linearizable read waits for all that was acknowledged"
    }

    fn applies(&self, scope: Scope) -> bool {
        scope == Scope::Exact
    }

    fn hear(&mut self, scene: &mut Scene<'_>) -> Option<Broken> {
        let node = scene.moment.node;
        let life = |read| (node, scene.moment.incarnation, read);
        match *scene.evidence {
            Evidence::Ack { index, operation, .. } => {
                self.raise(index, || format!("operation {operation} was acknowledged by {node}"));
                None
            }
            Evidence::Boot { .. } => {
                self.begun.retain(|(of, _, _), _| *of != node);
                None
            }
            Evidence::ReadBegun { read } => {
                self.begun.insert(life(read), self.floor.clone());
                self.begun.remove(&life(read.saturating_sub(READS_MAX)));
                None
            }
            Evidence::Read {
                read: Some(read),
                read_index,
                operation,
                ..
            } => {
                let applied = scene.view.node(node).and_then(|member| member.applied);
                let floor = self.begun.remove(&life(read))?;
                self.judged += 1;
                if applied < Some(read_index) {
                    let has = applied.map_or_else(|| "nothing".to_owned(), |applied| format!("entry {applied}"));
                    let sentence = format!(
                        "{node} answers read {operation} at index {read_index}, although it has applied {has} only"
                    );
                    return Some(Broken::at(read_index, None, sentence));
                }
                let answer = applied.unwrap_or(read_index);
                self.raise(answer, || format!("read {operation} saw it on {node}"));
                let (index, why) = floor?;
                (read_index < index).then(|| {
                    let sentence = format!(
                        "{node} answers the linearizable read {operation} from index {read_index} on, although entry {index} \
                         was known before it arrived: {why}"
                    );
                    Broken::at(index, None, sentence)
                })
            }
            _ => None,
        }
    }

    fn judged(&self) -> u64 {
        self.judged
    }
}

impl ReadIndexFresh {
    fn raise(&mut self, index: LogIndex, why: impl FnOnce() -> String) {
        if self.floor.as_ref().is_none_or(|(floor, _)| *floor < index) {
            self.floor = Some((index, why()));
        }
    }
}
