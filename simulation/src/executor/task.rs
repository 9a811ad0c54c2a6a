//! Tasks and how they are woken.

use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Wake, Waker};
use std::thread::{self, ThreadId};

use super::lock;
use crate::place::Owner;

/// A task's future.
pub(super) type TaskFuture = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Names a task while it lives: places are used again, generations are not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key {
    pub index: u32,
    pub generation: u32,
}

impl Key {
    /// The index of the future that the harness itself waits for.
    pub(super) const MAIN: u32 = u32::MAX;
}

/// A place for a task, free if there is no task.
pub(super) struct Slot {
    pub generation: u32,
    pub task: Option<Task>,
}

/// A spawned task.
pub(super) struct Task {
    /// In order of spawning, never used twice; the trace names tasks so.
    pub number: u64,
    pub owner: Owner,
    /// None while it is polled.
    pub awake: Option<Awake>,
    pub alarm: Arc<Alarm>,
    pub spawned: &'static Location<'static>,
    /// Its end is the end of its place's life.
    pub is_program: bool,
}

/// What is taken out of a task to poll it.
pub(super) struct Awake {
    pub future: TaskFuture,
    pub waker: Waker,
}

/// The tasks that want to be polled.
pub(super) struct Ready {
    thread: ThreadId,
    keys: Mutex<Vec<Key>>,
    foreign_wakes: AtomicBool,
}

impl Ready {
    /// A queue of the calling thread.
    pub(super) fn new() -> Self {
        Self {
            thread: thread::current().id(),
            keys: Mutex::default(),
            foreign_wakes: AtomicBool::new(false),
        }
    }

    pub(super) fn push(&self, key: Key) {
        lock(&self.keys).push(key);
    }

    /// Takes the key at the place that is drawn among so many; the last one fills it. None is drawn among none.
    pub(super) fn take(&self, draw: impl FnOnce(usize) -> usize) -> Option<Key> {
        let mut keys = lock(&self.keys);
        if keys.is_empty() {
            return None;
        }
        let place = draw(keys.len());
        Some(keys.swap_remove(place))
    }

    pub(super) fn clear(&self) {
        lock(&self.keys).clear();
    }

    /// Whether another thread has woken a task since the last call.
    pub(super) fn take_foreign(&self) -> bool {
        self.foreign_wakes.load(Ordering::Relaxed) && self.foreign_wakes.swap(false, Ordering::Relaxed)
    }
}

/// Wakes one task.
pub(super) struct Alarm {
    pub key: Key,
    pub ready: Arc<Ready>,
    /// It is in the queue already.
    pub queued: AtomicBool,
}

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        Self::wake_by_ref(&self);
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if thread::current().id() != self.ready.thread {
            self.ready.foreign_wakes.store(true, Ordering::Relaxed);
            panic!("a simulated task is woken by another thread: no seed controls threads, so use none");
        }
        if !self.queued.swap(true, Ordering::Relaxed) {
            self.ready.push(self.key);
        }
    }
}
