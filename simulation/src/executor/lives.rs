//! How a place comes to life, stops, goes on and dies.
//!
//! To kill a node is to drop all of its tasks between two polls. A real crash runs no `Drop`; here drops do run,
//! since they free memory, but nothing that they try has an effect: the life is over before the first one runs,
//! and what acts after its death is a finding.

use std::sync::Arc;
use std::task::{Poll, Waker};

use super::finding::crash_here;
use super::task::{Key, Task, TaskFuture};
use super::trace::Kind;
use super::{Kernel, enter};
use crate::clock::Dial;
use crate::crash::Crash;
use crate::place::{Owner, Place};

/// Makes the first task of a life, given the number of that life.
pub(crate) type Program = Arc<dyn Fn(u32) -> TaskFuture + Send + Sync>;

/// What the executor knows of a place.
pub(crate) struct Life {
    pub is_alive: bool,
    pub incarnation: u32,
    pub dial: Dial,
    /// While it is stopped: the tasks that would be polled.
    pub(super) stopped: Option<Vec<Key>>,
    pub(super) program: Option<Program>,
    armed: Option<Armed>,
    /// How many random streams it has asked for without a label.
    pub streams: u64,
    ends: Vec<Waker>,
}

/// A crash that waits for its moment.
struct Armed {
    crash: Crash,
    moment: Moment,
}

enum Moment {
    /// After so many more polls of the place's tasks.
    Polls(u64),
    /// When the point is passed so many more times.
    Point { point: &'static str, passes: u64 },
}

impl Life {
    /// A place that lives without a program.
    pub(crate) fn begun() -> Self {
        Self {
            is_alive: true,
            incarnation: 0,
            dial: Dial::default(),
            stopped: None,
            program: None,
            armed: None,
            streams: 0,
            ends: Vec::new(),
        }
    }

    /// A place that waits for its program.
    pub(crate) fn unborn() -> Self {
        Self {
            is_alive: false,
            ..Self::begun()
        }
    }

    /// Counts down to a crash at a poll.
    pub(super) fn crashes_before_this_poll(&mut self) -> bool {
        match &mut self.armed {
            Some(Armed {
                moment: Moment::Polls(0),
                ..
            }) => true,
            Some(Armed {
                moment: Moment::Polls(polls),
                ..
            }) => {
                *polls -= 1;
                false
            }
            _ => false,
        }
    }
}

impl Kernel {
    /// Makes a place known; one that is known already stays as it is, which is said by `false`.
    pub(crate) fn add_place(&self, place: Place, life: Life) -> bool {
        let mut state = self.state();
        if state.lives.contains_key(&place) {
            return false;
        }
        state.lives.insert(place, life);
        true
    }

    /// Gives a place that has not lived yet its program and starts it.
    pub(crate) fn begin(self: &Arc<Self>, place: Place, program: Program) -> bool {
        let mut state = self.state();
        let Some(life) = state.lives.get_mut(&place).filter(|life| life.program.is_none()) else {
            return false;
        };
        life.program = Some(program);
        drop(state);
        self.start(place, 0)
    }

    /// Starts a place's program again after its life has ended.
    pub(crate) fn begin_again(self: &Arc<Self>, place: Place) -> bool {
        let state = self.state();
        let Some(life) = state.lives.get(&place).filter(|life| !life.is_alive) else {
            return false;
        };
        let incarnation = life.incarnation + 1;
        drop(state);
        self.start(place, incarnation)
    }

    #[track_caller]
    fn start(self: &Arc<Self>, place: Place, incarnation: u32) -> bool {
        let owner = Owner { place, incarnation };
        let mut state = self.state();
        let now = state.now;
        let Some(life) = state.lives.get_mut(&place) else {
            return false;
        };
        let Some(program) = life.program.clone() else {
            return false;
        };
        life.is_alive = true;
        life.incarnation = incarnation;
        life.streams = 0;
        life.stopped = None;
        state
            .trace
            .record(Kind::Life, now, place.number(), u64::from(incarnation), b"begin");
        drop(state);
        self.answer_again(place);
        let future: TaskFuture = Box::pin(async move { program(incarnation).await });
        self.spawn(owner, std::panic::Location::caller(), true, future)
    }

    /// Ends a life: drops its tasks, and leaves disk and network as this crash leaves them.
    pub(crate) fn end(self: &Arc<Self>, place: Place, crash: Crash) -> bool {
        let mut guard = self.state();
        let state = &mut *guard;
        let Some(life) = state.lives.get_mut(&place).filter(|life| life.is_alive) else {
            return false;
        };
        let owner = Owner {
            place,
            incarnation: life.incarnation,
        };
        life.is_alive = false;
        life.stopped = None;
        // A point may be one that only the next life passes, when it recovers.
        life.armed.take_if(|armed| matches!(armed.moment, Moment::Polls(_)));
        let ends = std::mem::take(&mut life.ends);
        let mut tasks: Vec<Task> = Vec::new();
        for (index, slot) in state.slots.iter_mut().enumerate() {
            if slot.task.as_ref().is_some_and(|task| task.owner.place == place) {
                tasks.extend(slot.task.take());
                state.free.push(u32::try_from(index).expect("fewer than 2^32 tasks"));
            }
        }
        state.trace.record(
            Kind::Life,
            state.now,
            place.number(),
            u64::from(owner.incarnation),
            b"end",
        );
        drop(guard);
        // It may be called from outside of any run.
        let _entered = enter(self);
        self.aftermath(owner, crash);
        for task in tasks {
            self.drop_of(owner, task);
        }
        for waker in ends {
            waker.wake();
        }
        true
    }

    /// Ends a life, and leaves the task that runs now if it is of that life.
    pub(crate) fn end_now(self: &Arc<Self>, place: Place, crash: Crash) -> bool {
        let is_suicide = self.alive(place) == Some(super::owner());
        let has_ended = self.end(place, crash);
        // Unwinding twice at once would abort the process.
        if has_ended && is_suicide && !std::thread::panicking() {
            crash_here();
        }
        has_ended
    }

    /// The program has returned or panicked, and with it its process.
    pub(super) fn exit(self: &Arc<Self>, owner: Owner) {
        if self.state().is_alive(owner) {
            self.end(owner.place, Crash::PROCESS);
        }
    }

    /// Ends a life in the way that was chosen when the crash was armed.
    pub(super) fn crash_as_armed(self: &Arc<Self>, owner: Owner) {
        let mut state = self.state();
        let life = state.lives.get_mut(&owner.place);
        let armed = life.and_then(|life| life.armed.take());
        drop(state);
        self.end(owner.place, armed.map_or(Crash::PROCESS, |armed| armed.crash));
    }

    /// Crashes a place after so many more polls of its tasks: at any await point.
    pub(crate) fn arm_polls(&self, place: Place, polls: u64, crash: Crash) -> bool {
        self.arm(place, crash, Moment::Polls(polls))
    }

    /// Crashes a place when it passes a point, in this life or a later one; the first pass is number 0.
    pub(crate) fn arm_point(&self, place: Place, point: &'static str, passes: u64, crash: Crash) -> bool {
        self.arm(place, crash, Moment::Point { point, passes })
    }

    fn arm(&self, place: Place, crash: Crash, moment: Moment) -> bool {
        let mut state = self.state();
        let outlives = matches!(moment, Moment::Point { .. });
        let life = state.lives.get_mut(&place);
        let life = life.filter(|life| life.is_alive || outlives);
        life.is_some_and(|life| {
            life.armed = Some(Armed { crash, moment });
            true
        })
    }

    /// Forgets a crash that was armed.
    pub(crate) fn disarm(&self, place: Place) -> bool {
        let mut state = self.state();
        let life = state.lives.get_mut(&place);
        life.is_some_and(|life| life.armed.take().is_some())
    }

    /// A task passes a named point. If its place is to crash there, this does not return.
    pub(crate) fn pass(&self, owner: Owner, passed: &'static str) {
        let mut state = self.state();
        let is_running = super::owner() == owner && state.is_alive(owner) && !std::thread::panicking();
        let life = state.lives.get_mut(&owner.place).filter(|_| is_running);
        let armed = life.and_then(|life| life.armed.as_mut());
        if let Some(Armed {
            moment: Moment::Point { point, passes },
            ..
        }) = armed
            && *point == passed
        {
            if *passes == 0 {
                drop(state);
                crash_here();
            }
            *passes -= 1;
        }
    }

    /// Polls none of a place's tasks from now on (SIGSTOP), or polls them again (SIGCONT).
    pub(crate) fn set_stopped(&self, place: Place, is_stopped: bool) -> bool {
        let mut guard = self.state();
        let state = &mut *guard;
        let Some(life) = state.lives.get_mut(&place).filter(|life| life.is_alive) else {
            return false;
        };
        let incarnation = u64::from(life.incarnation);
        let what: &[u8] = match (is_stopped, &mut life.stopped) {
            (true, stopped @ None) => {
                *stopped = Some(Vec::new());
                b"stop"
            }
            (false, stopped @ Some(_)) => {
                for key in stopped.take().unwrap_or_default() {
                    self.ready.push(key);
                }
                b"continue"
            }
            _ => return false,
        };
        state
            .trace
            .record(Kind::Life, state.now, place.number(), incarnation, what);
        true
    }

    /// Whether a place lives, and in which incarnation.
    pub(crate) fn alive(&self, place: Place) -> Option<Owner> {
        let state = self.state();
        let life = state.lives.get(&place).filter(|life| life.is_alive)?;
        Some(Owner {
            place,
            incarnation: life.incarnation,
        })
    }

    /// Ready once the place does not live; else the waker is kept.
    pub(crate) fn poll_end(&self, place: Place, waker: &Waker) -> Poll<()> {
        let mut state = self.state();
        match state.lives.get_mut(&place).filter(|life| life.is_alive) {
            None => Poll::Ready(()),
            Some(life) => {
                if !life.ends.iter().any(|known| known.will_wake(waker)) {
                    life.ends.push(waker.clone());
                }
                Poll::Pending
            }
        }
    }

    /// Changes a place's clock; its sleepers look again.
    pub(crate) fn turn_dial(&self, place: Place, change: impl FnOnce(&mut Dial, u64)) -> bool {
        let mut guard = self.state();
        let state = &mut *guard;
        let Some(life) = state.lives.get_mut(&place) else {
            return false;
        };
        change(&mut life.dial, state.now);
        let shown = life.dial.monotonic(state.now);
        state.timers.recheck(place, state.now);
        state.trace.record(Kind::Clock, state.now, place.number(), shown, &[]);
        true
    }
}

impl Kernel {
    /// What a death leaves to others.
    fn aftermath(self: &Arc<Self>, owner: Owner, crash: Crash) {
        self.break_connections(owner, crash.is_silent);
        self.lose_evidence(owner);
        self.close_files(owner.place);
        if crash.loses_unsynced {
            self.lose_power(owner.place);
        }
    }
}
