//! One thread, virtual time, and an order of tasks that the seed draws.
//!
//! As long as a task is ready, one of the ready ones is drawn and polled; time stands still. When none is, time
//! jumps to the earliest timer, and all timers of that instant fire. So a run costs what its tasks compute, and
//! nothing for waiting.
//!
//! Nothing here is drawn from anything but the seed, and everything that happens enters the [`trace`].
//!
//! Locks are taken for a moment each and never while foreign code runs (a poll, a waker, a drop); they exist only
//! because the traits ask for `Send` and `Sync`, and are never contended.

mod current;
mod finding;
mod lives;
mod task;
pub(crate) mod timer;
pub mod trace;

use std::collections::BTreeMap;
use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use tribunal_env::{Purpose, Stream, seeded};

pub(crate) use current::{acting, current, enter, owner, with_current};
pub use finding::{Finding, FindingKind};
use finding::{Tried, attempt, install_hook};
pub(crate) use lives::Life;
use task::{Alarm, Awake, Key, Ready, Slot, Task, TaskFuture};
use timer::{Event, Timers};
use trace::{Kind, Trace};

use crate::buggify::Points;
use crate::clock::Dial;
use crate::disk::DiskState;
use crate::draw::below;
use crate::evidence::Records;
use crate::network::Network;
use crate::place::{Owner, Place};

/// More findings than this are counted and not kept: one broken loop must not fill the memory.
const FINDINGS_KEPT: usize = 100;

/// Bounds of a run.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Polls in all.
    pub polls: u64,
    /// Polls at one instant of virtual time; more means that tasks wake each other for ever.
    pub polls_at_an_instant: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            polls: u64::MAX,
            // A busy cluster polls some thousand times at an instant when a partition heals.
            polls_at_an_instant: 1_000_000,
        }
    }
}

/// Why a run did not go on to its end.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Stopped {
    /// The future that was waited for can never be ready.
    #[error("deadlock: nothing is ready and no timer is set")]
    Deadlock,
    /// The future that was waited for was not ready in time.
    #[error("the future was not ready after {within:?} of virtual time")]
    NotInTime {
        /// How long it was waited for.
        within: Duration,
    },
    /// The bound of all polls was reached.
    #[error("{polls} polls were allowed and made")]
    Polls {
        /// The bound.
        polls: u64,
    },
    /// Time stands still: tasks wake each other without end.
    #[error(
        "livelock: {polls} polls without any time passing; the last one was of {place}, of the task spawned at {spawned}"
    )]
    Livelock {
        /// How many polls.
        polls: u64,
        /// Whose task was polled last.
        place: String,
        /// Where that task was spawned.
        spawned: String,
    },
}

/// The executor of one simulation.
pub(crate) struct Kernel {
    pub seed: u64,
    ready: Arc<Ready>,
    state: Mutex<State>,
    pub points: Mutex<Points>,
    pub disks: Mutex<BTreeMap<Place, DiskState>>,
    pub network: Mutex<Network>,
    pub evidence: Mutex<Records>,
}

/// What is behind the one lock.
pub(crate) struct State {
    /// True time in nanoseconds since the start.
    pub now: u64,
    pub timers: Timers,
    slots: Vec<Slot>,
    free: Vec<u32>,
    spawned: u64,
    mains: u32,
    pub lives: BTreeMap<Place, Life>,
    scheduling: ChaCha8Rng,
    pub trace: Trace,
    findings: Vec<Finding>,
    findings_count: u64,
    polls: u64,
    polls_at_this_instant: u64,
    limits: Limits,
}

impl Kernel {
    pub(crate) fn new(seed: u64, limits: Limits, keep_trace: bool) -> Arc<Self> {
        install_hook();
        let stream = Stream {
            purpose: Purpose::Scheduling,
            a: 0,
            b: 0,
        };
        let mut lives = BTreeMap::new();
        lives.insert(Place::Harness, Life::begun());
        Arc::new(Self {
            seed,
            ready: Arc::new(Ready::new()),
            state: Mutex::new(State {
                now: 0,
                timers: Timers::default(),
                slots: Vec::new(),
                free: Vec::new(),
                spawned: 0,
                mains: 0,
                lives,
                scheduling: seeded(seed, 0, stream),
                trace: Trace::new(keep_trace),
                findings: Vec::new(),
                findings_count: 0,
                polls: 0,
                polls_at_this_instant: 0,
                limits,
            }),
            points: Mutex::default(),
            disks: Mutex::default(),
            network: Mutex::new(Network::new(seed)),
            evidence: Mutex::default(),
        })
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    pub(crate) fn now(&self) -> u64 {
        self.state().now
    }

    /// Adds to the trace.
    pub(crate) fn trace(&self, kind: Kind, a: u64, b: u64, data: &[u8]) {
        let mut state = self.state();
        let now = state.now;
        state.trace.record(kind, now, a, b, data);
    }

    /// What a place's clock is.
    pub(crate) fn with_dial<R>(&self, place: Place, read: impl FnOnce(&Dial, u64) -> R) -> R {
        let state = self.state();
        let life = state.lives.get(&place);
        let dial = life.map(|life| life.dial).unwrap_or_default();
        read(&dial, state.now)
    }

    /// Spawns a task; none of a life that is over.
    pub(crate) fn spawn(
        &self,
        owner: Owner,
        spawned: &'static Location<'static>,
        is_program: bool,
        future: TaskFuture,
    ) -> bool {
        let mut state = self.state();
        if !state.is_alive(owner) {
            state.find(owner, 0, FindingKind::ActsAfterDeath { what: "spawn a task" });
            drop(state);
            drop(future);
            return false;
        }
        let index = state.free.pop().unwrap_or_else(|| {
            state.slots.push(Slot {
                generation: 0,
                task: None,
            });
            u32::try_from(state.slots.len() - 1).expect("fewer than 2^32 tasks")
        });
        state.spawned += 1;
        let number = state.spawned;
        let slot = &mut state.slots[index as usize];
        slot.generation = slot.generation.wrapping_add(1);
        let key = Key {
            index,
            generation: slot.generation,
        };
        let alarm = Arc::new(Alarm {
            key,
            ready: Arc::clone(&self.ready),
            queued: AtomicBool::new(true),
        });
        slot.task = Some(Task {
            number,
            owner,
            awake: Some(Awake {
                future,
                waker: Waker::from(Arc::clone(&alarm)),
            }),
            alarm,
            spawned,
            is_program,
        });
        let now = state.now;
        state.trace.record(Kind::Spawn, now, number, owner.place.number(), &[]);
        self.ready.push(key);
        true
    }

    /// Runs until `main` is ready, or until this true time, whichever is first.
    pub(crate) fn run<T>(
        self: &Arc<Self>,
        mut main: Option<Pin<&mut dyn Future<Output = T>>>,
        until: u64,
    ) -> Result<Option<T>, Stopped> {
        let _entered = enter(self);
        let main_alarm = main.is_some().then(|| self.wake_main());
        loop {
            self.note_foreign_wakes();
            let Some((key, state)) = self.draw_ready()? else {
                if self.advance(until) {
                    continue;
                }
                let is_deadlock = main.is_some() && self.state().timers.first().is_none_or(|at| at == u64::MAX);
                if is_deadlock {
                    return Err(Stopped::Deadlock);
                }
                return Ok(None);
            };
            if key.index != Key::MAIN {
                self.poll(key, state);
                continue;
            }
            drop(state);
            if let (Some(main), Some(alarm)) = (main.as_mut(), &main_alarm)
                && alarm.key == key
            {
                alarm.queued.store(false, Ordering::Relaxed);
                self.trace(Kind::Poll, 0, 0, &[]);
                let waker = Waker::from(Arc::clone(alarm));
                if let Poll::Ready(value) = main.as_mut().poll(&mut Context::from_waker(&waker)) {
                    return Ok(Some(value));
                }
            }
        }
    }

    /// The alarm of the future that the harness waits for, which is polled first when it is drawn.
    fn wake_main(&self) -> Arc<Alarm> {
        let mut state = self.state();
        state.mains = state.mains.wrapping_add(1);
        let key = Key {
            index: Key::MAIN,
            generation: state.mains,
        };
        drop(state);
        self.ready.push(key);
        Arc::new(Alarm {
            key,
            ready: Arc::clone(&self.ready),
            queued: AtomicBool::new(true),
        })
    }

    /// The next task to poll, if one is ready, and the lock that was taken to draw it.
    fn draw_ready(&self) -> Result<Option<(Key, MutexGuard<'_, State>)>, Stopped> {
        let mut guard = self.state();
        let state = &mut *guard;
        let limits = state.limits;
        let drawn = self.ready.take(|count| match count {
            1 => 0,
            _ => below(&mut state.scheduling, count as u64) as usize,
        });
        let Some(key) = drawn else {
            return Ok(None);
        };
        if state.polls >= limits.polls {
            // It stays ready, for who raises the bound.
            self.ready.push(key);
            return Err(Stopped::Polls { polls: limits.polls });
        }
        state.polls += 1;
        state.polls_at_this_instant += 1;
        if state.polls_at_this_instant > limits.polls_at_an_instant {
            let task = state.slots.get(key.index as usize).and_then(|slot| slot.task.as_ref());
            return Err(Stopped::Livelock {
                polls: limits.polls_at_an_instant,
                place: task.map_or(Place::Harness, |task| task.owner.place).to_string(),
                spawned: task.map(|task| task.spawned.to_string()).unwrap_or_default(),
            });
        }
        Ok(Some((key, guard)))
    }

    /// Polls a task, unless it is gone or its place is stopped.
    fn poll(self: &Arc<Self>, key: Key, mut guard: MutexGuard<'_, State>) {
        let state = &mut *guard;
        let slot = &mut state.slots[key.index as usize];
        let Some(task) = slot.task.as_mut().filter(|_| slot.generation == key.generation) else {
            return;
        };
        let owner = task.owner;
        let life = state.lives.get_mut(&owner.place).expect("a task's place is known");
        if let Some(stopped) = &mut life.stopped {
            stopped.push(key);
            return;
        }
        if life.crashes_before_this_poll() {
            drop(guard);
            self.crash_as_armed(owner);
            return;
        }
        let mut awake = task.awake.take().expect("a ready task is not being polled");
        task.alarm.queued.store(false, Ordering::Relaxed);
        let (number, spawned, is_program) = (task.number, task.spawned, task.is_program);
        state
            .trace
            .record(Kind::Poll, state.now, number, owner.place.number(), &[]);
        drop(guard);

        let tried = acting(owner, || {
            attempt(|| awake.future.as_mut().poll(&mut Context::from_waker(&awake.waker)))
        });
        let is_done = match tried {
            Tried::Done(poll) => poll.is_ready(),
            Tried::Crashed => {
                // What is left of the future goes with the rest of its node.
                self.put_back(key, awake, false);
                self.crash_as_armed(owner);
                return;
            }
            Tried::Panicked(caught) => {
                let mut state = self.state();
                let now = state.now;
                let text = format!("{} at {}", caught.message, caught.location);
                state
                    .trace
                    .record(Kind::Panic, now, number, owner.place.number(), text.as_bytes());
                state.find(
                    owner,
                    number,
                    FindingKind::Panic {
                        message: caught.message,
                        location: caught.location,
                        spawned: spawned.to_string(),
                        backtrace: caught.backtrace,
                    },
                );
                true
            }
        };
        acting(owner, || self.put_back(key, awake, is_done));
        if is_done && is_program {
            self.exit(owner);
        }
    }

    /// Gives a future back to its task, or drops it if the task is done or gone.
    fn put_back(&self, key: Key, awake: Awake, is_done: bool) {
        let mut state = self.state();
        let slot = &mut state.slots[key.index as usize];
        let mut leftover = (None, Some(awake));
        if slot.generation == key.generation && slot.task.is_some() {
            if is_done {
                leftover.0 = slot.task.take();
                state.free.push(key.index);
            } else if let Some(task) = &mut slot.task {
                task.awake = leftover.1.take();
            }
        }
        drop(state);
        if leftover.0.is_some() || leftover.1.is_some() {
            self.drop_of(owner(), leftover);
        }
    }

    /// Fires the timers of the next instant; false if there is none until then.
    fn advance(self: &Arc<Self>, until: u64) -> bool {
        let mut state = self.state();
        let instant = match state.timers.first() {
            // A timer at the end of time waits for what its clock will never show.
            Some(at) if at <= until && at != u64::MAX => at.max(state.now),
            _ => {
                if until != u64::MAX {
                    state.now = state.now.max(until);
                }
                return false;
            }
        };
        state.now = instant;
        state.polls_at_this_instant = 0;
        drop(state);
        loop {
            let mut state = self.state();
            let Some((number, event)) = state.timers.pop_until(instant) else {
                return true;
            };
            state.trace.record(Kind::Timer, instant, number, 0, &[]);
            drop(state);
            match event {
                Event::Wake(waker) => waker.wake(),
                Event::Run(work) => acting(Owner::HARNESS, || work(self)),
            }
        }
    }

    /// Does something after this much true time.
    pub(crate) fn after(&self, delay: u64, work: impl FnOnce(&Arc<Self>) + Send + 'static) {
        let mut state = self.state();
        let at = state.now.saturating_add(delay);
        state.timers.insert(at, None, Event::Run(Box::new(work)));
    }

    /// Drops what belongs to somebody. A `Drop` that panics is a finding and must not end the sweep.
    fn drop_of<T>(&self, owner: Owner, value: T) {
        if let Tried::Panicked(caught) = acting(owner, || attempt(move || drop(value))) {
            let kind = FindingKind::Panic {
                message: caught.message,
                location: caught.location,
                spawned: "a drop".to_owned(),
                backtrace: caught.backtrace,
            };
            self.state().find(owner, 0, kind);
        }
    }

    fn note_foreign_wakes(&self) {
        if self.ready.take_foreign() {
            self.state().find(Owner::HARNESS, 0, FindingKind::ForeignWake);
        }
    }

    /// Adds a finding about a life that is over.
    pub(crate) fn find_act_after_death(&self, owner: Owner, what: &'static str) {
        self.state().find(owner, 0, FindingKind::ActsAfterDeath { what });
    }

    /// What was found so far, at most a hundred, and how many there were in all.
    pub(crate) fn findings(&self) -> (Vec<Finding>, u64) {
        self.note_foreign_wakes();
        let state = self.state();
        (state.findings.clone(), state.findings_count)
    }

    /// How many polls were made.
    pub(crate) fn polls(&self) -> u64 {
        self.state().polls
    }

    /// Drops every task and timer. They may hold this kernel, so it would never be dropped by itself.
    pub(crate) fn tear_down(self: &Arc<Self>) {
        let _entered = enter(self);
        loop {
            let mut state = self.state();
            for life in state.lives.values_mut() {
                life.is_alive = false;
            }
            let tasks: Vec<_> = state.slots.iter_mut().filter_map(|slot| slot.task.take()).collect();
            let timers = state.timers.take_all();
            let services = self.take_services();
            let programs: Vec<_> = state
                .lives
                .values_mut()
                .filter_map(|life| life.program.take())
                .collect();
            drop(state);
            self.ready.clear();
            self.silence();
            if tasks.is_empty() && timers.is_empty() && programs.is_empty() && services.is_empty() {
                lock(&self.disks).clear();
                return;
            }
            for task in tasks {
                self.drop_of(task.owner, task);
            }
            self.drop_of(Owner::HARNESS, (timers, programs, services));
        }
    }
}

impl State {
    pub(crate) fn is_alive(&self, owner: Owner) -> bool {
        self.lives
            .get(&owner.place)
            .is_some_and(|life| life.is_alive && life.incarnation == owner.incarnation)
    }

    fn find(&mut self, owner: Owner, task: u64, kind: FindingKind) {
        self.findings_count += 1;
        if self.findings.len() < FINDINGS_KEPT {
            self.findings.push(Finding {
                at: Duration::from_nanos(self.now),
                place: owner.place,
                incarnation: owner.incarnation,
                task,
                kind,
            });
        }
    }
}

/// Locks; what a panic left behind is used as it is, since panics are what we look for.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
