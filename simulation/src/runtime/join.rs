//! Waiting for a task's result.

use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use crate::executor::{Kernel, lock};
use crate::place::Owner;

/// Why a task has no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JoinError {
    /// It panicked.
    #[error("the task panicked")]
    Panicked,
    /// Its node was killed.
    #[error("the task was killed with its node")]
    Killed,
}

/// The way to a task's result. Dropping it leaves the task alone.
pub struct JoinHandle<T> {
    shared: Arc<Mutex<Shared<T>>>,
}

impl<T> JoinHandle<T> {
    /// Of a task that never ran.
    pub(crate) fn killed() -> Self {
        let shared = Shared {
            result: Some(Err(JoinError::Killed)),
            waiting: None,
        };
        Self {
            shared: Arc::new(Mutex::new(shared)),
        }
    }
}

struct Shared<T> {
    result: Option<Result<T, JoinError>>,
    waiting: Option<Waker>,
}

/// Says in any case how the task ended: its drop without a result means a panic or a kill.
struct Promise<T> {
    kernel: Arc<Kernel>,
    owner: Owner,
    shared: Arc<Mutex<Shared<T>>>,
}

impl<T> Promise<T> {
    fn settle(&self, result: Result<T, JoinError>) {
        let waiting = {
            let mut shared = lock(&self.shared);
            if shared.result.is_none() {
                shared.result = Some(result);
            }
            shared.waiting.take()
        };
        if let Some(waker) = waiting {
            waker.wake();
        }
    }
}

impl<T> Drop for Promise<T> {
    fn drop(&mut self) {
        // Nobody holds the handle: nobody asks.
        if Arc::strong_count(&self.shared) == 1 {
            return;
        }
        let is_alive = self.kernel.state().is_alive(self.owner);
        self.settle(Err(if is_alive {
            JoinError::Panicked
        } else {
            JoinError::Killed
        }));
    }
}

pub(super) fn spawn<T>(
    kernel: &Arc<Kernel>,
    owner: Owner,
    spawned: &'static Location<'static>,
    future: T,
) -> JoinHandle<T::Output>
where
    T: Future + Send + 'static,
    T::Output: Send + 'static,
{
    let shared = Arc::new(Mutex::new(Shared {
        result: None,
        waiting: None,
    }));
    let promise = Promise {
        kernel: Arc::clone(kernel),
        owner,
        shared: Arc::clone(&shared),
    };
    let task = async move {
        let promise = promise;
        let value = future.await;
        promise.settle(Ok(value));
    };
    kernel.spawn(owner, spawned, false, Box::pin(task));
    JoinHandle { shared }
}

impl<T> Future for JoinHandle<T> {
    type Output = Result<T, JoinError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut shared = lock(&self.shared);
        match shared.result.take() {
            Some(result) => Poll::Ready(result),
            None => {
                shared.waiting = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}
