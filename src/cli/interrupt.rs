//! Ctrl-C for verbs without a runtime: a flag that a thread of its own sets.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::run::interrupted;

/// A flag that is set when somebody presses Ctrl-C or asks the tool to terminate. The verb looks at it now and then.
#[expect(
    clippy::disallowed_methods,
    reason = "a signal is of this process and of no world; the thread does nothing but wait for it"
)]
pub fn flag() -> io::Result<Arc<AtomicBool>> {
    let flag = Arc::new(AtomicBool::new(false));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::spawn({
        let flag = Arc::clone(&flag);
        move || {
            runtime.block_on(interrupted());
            flag.store(true, Ordering::SeqCst);
        }
    });
    Ok(flag)
}
