//! Who runs now: a runtime's functions are static, so the running task's place is a thread-local.

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use super::Kernel;
use crate::place::Owner;

thread_local! {
    static KERNEL: RefCell<Option<Arc<Kernel>>> = const { RefCell::new(None) };
    static OWNER: Cell<Owner> = const { Cell::new(Owner::HARNESS) };
}

/// While it lives, static functions act in this simulation.
pub(crate) struct Entered {
    before: Option<Arc<Kernel>>,
    owner: Owner,
}

pub(crate) fn enter(kernel: &Arc<Kernel>) -> Entered {
    Entered {
        before: KERNEL.replace(Some(Arc::clone(kernel))),
        owner: OWNER.replace(Owner::HARNESS),
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        OWNER.set(self.owner);
        KERNEL.set(self.before.take());
    }
}

/// Does something as somebody.
pub(crate) fn acting<T>(owner: Owner, work: impl FnOnce() -> T) -> T {
    struct Restore(Owner);
    impl Drop for Restore {
        fn drop(&mut self) {
            OWNER.set(self.0);
        }
    }
    let _restore = Restore(OWNER.replace(owner));
    work()
}

/// The simulation and the owner of the task that runs now.
pub(crate) fn current() -> (Arc<Kernel>, Owner) {
    let kernel = KERNEL.with_borrow(Clone::clone);
    let kernel = kernel.expect(NOBODY_RUNS);
    (kernel, OWNER.get())
}

/// Reads something of the simulation, for the owner of the task that runs now.
pub(crate) fn with_current<T>(read: impl FnOnce(&Kernel, Owner) -> T) -> T {
    KERNEL.with_borrow(|kernel| {
        let kernel = kernel.as_ref().expect(NOBODY_RUNS);
        read(kernel, OWNER.get())
    })
}

const NOBODY_RUNS: &str = "SimRuntime works only in code that a Simulation runs; use World::spawn or boot";

/// The owner of the task that runs now.
pub(crate) fn owner() -> Owner {
    OWNER.get()
}
