//! A number that only matters as "at least": who waits for it is woken when it changed.

use std::sync::{Arc, Mutex, PoisonError};

use openraft_rt::{AsyncRuntime, RecvError, Watch, WatchReceiver as _, WatchSender as _};
use tribunal_env::Env;

type Sender<E> = <<<E as Env>::Runtime as AsyncRuntime>::Watch as Watch>::Sender<u64>;
type Receiver<E> = <<<E as Env>::Runtime as AsyncRuntime>::Watch as Watch>::Receiver<u64>;

/// A watched number; clones share it.
pub(super) struct Progress<E: Env> {
    // Senders of a runtime need not be shareable between threads.
    sender: Arc<Mutex<Sender<E>>>,
    receiver: Receiver<E>,
}

impl<E: Env> Progress<E> {
    pub(super) fn new(value: u64) -> Self {
        let (sender, receiver) = <E::Runtime as AsyncRuntime>::Watch::channel(value);
        Self {
            sender: Arc::new(Mutex::new(sender)),
            receiver,
        }
    }

    pub(super) fn set(&self, value: u64) {
        let sender = self.sender.lock().unwrap_or_else(PoisonError::into_inner);
        sender.send_if_different(value);
    }

    pub(super) fn get(&self) -> u64 {
        *self.receiver.borrow_watched()
    }

    /// Waits until the number is at least `value`.
    pub(super) async fn reaches(&self, value: u64) -> Result<u64, RecvError> {
        self.receiver.clone().wait_until_ge(&value).await
    }
}

impl<E: Env> Clone for Progress<E> {
    fn clone(&self) -> Self {
        Self {
            sender: Arc::clone(&self.sender),
            receiver: self.receiver.clone(),
        }
    }
}
