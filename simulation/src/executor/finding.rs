//! What the simulator itself finds wrong with the code that runs in it.
//!
//! A panic is caught by the hook below, which takes the place of the process's hook once and passes on every panic
//! that is not ours.

use std::backtrace::Backtrace;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::panic;
use std::sync::Once;
use std::time::Duration;

use crate::place::Place;

/// Something is wrong with the code under simulation.
#[derive(Clone, Debug)]
pub struct Finding {
    /// When, in virtual time since the start.
    pub at: Duration,
    /// Where.
    pub place: Place,
    /// Which life of that place.
    pub incarnation: u32,
    /// The number of the task in order of spawning; 0 outside any task.
    pub task: u64,
    /// What.
    pub kind: FindingKind,
}

/// What is wrong.
#[derive(Clone, Debug)]
pub enum FindingKind {
    /// A task panicked. The task ends, its node and the sweep go on.
    Panic {
        /// What it said.
        message: String,
        /// Source file and line of the panic.
        location: String,
        /// Source file and line where the task was spawned.
        spawned: String,
        /// The stack when it panicked.
        backtrace: String,
    },
    /// A task was woken by another thread, which no seed controls.
    ForeignWake,
    /// A node that was being killed, or its remains, tried to act. A real crash runs no `Drop`.
    ActsAfterDeath {
        /// What it tried.
        what: &'static str,
    },
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {}.{} ", self.at, self.place, self.incarnation)?;
        match &self.kind {
            FindingKind::Panic {
                message,
                location,
                spawned,
                ..
            } => write!(
                f,
                "task {} (spawned at {spawned}) panicked at {location}: {message}",
                self.task
            ),
            FindingKind::ForeignWake => f.write_str("a task was woken by another thread"),
            FindingKind::ActsAfterDeath { what } => write!(f, "it tried to {what} after its death"),
        }
    }
}

/// What the hook kept of a panic.
#[derive(Default)]
pub(super) struct Caught {
    pub message: String,
    pub location: String,
    pub backtrace: String,
}

thread_local! {
    static CATCHING: Cell<bool> = const { Cell::new(false) };
    static CAUGHT: RefCell<Option<Caught>> = const { RefCell::new(None) };
}

/// Puts the hook in place, once for the process.
pub(super) fn install_hook() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !CATCHING.get() {
                before(info);
                return;
            }
            let message = info.payload_as_str().unwrap_or("a value that is no text").to_owned();
            let location = info.location().map(ToString::to_string).unwrap_or_default();
            let backtrace = Backtrace::force_capture().to_string();
            CAUGHT.set(Some(Caught {
                message,
                location,
                backtrace,
            }));
        }));
    });
}

/// How a piece of work ended that was not to be trusted.
pub(super) enum Tried<T> {
    Done(T),
    Panicked(Caught),
    /// It asked to be crashed at this very point, see [`crash_here`].
    Crashed,
}

/// Runs untrusted code and catches its panics.
pub(super) fn attempt<T>(work: impl FnOnce() -> T) -> Tried<T> {
    let before = CATCHING.replace(true);
    let result = panic::catch_unwind(panic::AssertUnwindSafe(work));
    CATCHING.set(before);
    match result {
        Ok(value) => Tried::Done(value),
        Err(payload) if payload.is::<CrashHere>() => Tried::Crashed,
        Err(_) => Tried::Panicked(CAUGHT.take().unwrap_or_default()),
    }
}

struct CrashHere;

/// Leaves the running task for ever; the executor then ends its node's life. No hook runs.
pub(super) fn crash_here() -> ! {
    panic::resume_unwind(Box::new(CrashHere))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_caught_with_its_words_and_place() {
        install_hook();
        let tried = attempt(|| -> u32 { panic!("no {}", "quorum") });
        let Tried::Panicked(caught) = tried else {
            panic!("it did not panic")
        };
        assert_eq!(caught.message, "no quorum");
        assert!(caught.location.contains("finding.rs"), "{}", caught.location);
        assert!(!caught.backtrace.is_empty());
        assert!(matches!(attempt(|| 7), Tried::Done(7)));
        assert!(matches!(attempt(|| crash_here()), Tried::<()>::Crashed));
    }
}
