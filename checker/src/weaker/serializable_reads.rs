//! Etcd's serializable reads: every write is linearizable, and so is every read but those marked `serializable`.
//!
//! Such a read is answered by one member from what it has applied, and asks nobody. So it may show an old state of the store,
//! but one that there was: all of its keys as they were at one revision, which its header names, and no revision that was
//! made by a write that began after the read had ended. A txn counts as such a read if it only reads and all of its ranges
//! are marked, as etcd takes it.
//!
//! The engines decide this by [`Recorded::may_be_stale`](crate::spec::Recorded::may_be_stale): of such a read only the end
//! counts. This model is their verdict under its own name. Under linearizability the marks are taken off first ([`unmarked`]).
//!
//! Left out: what one client reads through one node. A member only moves forward while it runs, so within one life of a
//! member such reads may not go back; over a restart they may. A history does not say which life of a member answered, so
//! going back is allowed here.
//!
//! Source: etcd's documentation, "KV API guarantees".

use tribunal_history::{Event, Finding, Value};

/// The history as if no read had been marked.
pub(crate) fn unmarked(events: &[Event]) -> Vec<Event> {
    let mut events = events.to_vec();
    for event in &mut events {
        if let Event::Invoke(invocation) = event {
            invocation.input = without_marks(&invocation.input);
        }
    }
    events
}

/// Shows in `findings` what was asked with its marks.
pub(crate) fn mark_again(findings: &mut [Finding], events: &[Event]) {
    for drawn in findings.iter_mut().flat_map(|finding| &mut finding.operations) {
        let invocation = events.iter().find_map(|event| match event {
            Event::Invoke(invocation) if invocation.seq == drawn.invoked => Some(invocation),
            _ => None,
        });
        if let Some(invocation) = invocation {
            drawn.input = invocation.input.clone();
        }
    }
}

/// A request without the marks of its ranges. A value that is put is left as it is, whatever it holds.
fn without_marks(request: &Value) -> Value {
    let Value::Map(fields) = request else {
        return request.clone();
    };
    let kept = fields.iter().filter(|(name, _)| *name != "serializable");
    let kept = kept.map(|(name, value)| match (name, value) {
        ("then" | "else", Value::List(requests)) => (name, Value::List(requests.iter().map(inner).collect())),
        _ => (name, value.clone()),
    });
    Value::Map(kept.collect())
}

/// The same for a request of a txn, which has its kind around it.
fn inner(request: &Value) -> Value {
    match request {
        Value::Map(kinds) => Value::Map(kinds.iter().map(|(kind, asked)| (kind, without_marks(asked))).collect()),
        other => other.clone(),
    }
}
