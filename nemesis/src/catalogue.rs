//! Every fault for people: what it does, what proves it, what it needs (`docs/faults.md`, `tribunal list faults`).

use tribunal_history::FaultKind;

/// One kind of fault for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The kind.
    pub kind: FaultKind,
    /// What it does, in one line.
    pub does: &'static str,
    /// What proves its effect, in one line.
    pub proof: &'static str,
    /// Whether it needs root.
    pub needs_root: bool,
}

/// Every kind of fault, in the order of [`FaultKind::ALL`].
pub fn catalogue() -> [Entry; FaultKind::ALL.len()] {
    FaultKind::ALL.map(|kind| {
        let (does, proof) = match kind {
            FaultKind::Kill => (
                "kills nodes at one instant (SIGKILL) and starts them again",
                "the process is gone",
            ),
            FaultKind::Pause => (
                "stops a node's process (SIGSTOP) and lets it go on (SIGCONT)",
                "the system reports the process as stopped",
            ),
            FaultKind::Isolate => (
                "cuts a node off from all others, in both directions",
                "bytes or connections were held on its links in both directions",
            ),
            FaultKind::IsolateInbound => (
                "a node hears nothing from the others; they still hear it",
                "bytes or connections towards it were held",
            ),
            FaultKind::IsolateOutbound => (
                "a node is not heard by the others; it still hears them",
                "bytes or connections from it were held",
            ),
        };
        Entry {
            kind,
            does,
            proof,
            needs_root: false,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manual_has_every_fault() {
        let manual = include_str!("../../docs/faults.md");
        for entry in catalogue() {
            let cell = format!("| `{}` |", entry.kind);
            assert!(manual.contains(&cell), "docs/faults.md has no row {cell}");
        }
    }
}
