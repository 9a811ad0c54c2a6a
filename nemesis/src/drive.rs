//! Applies a schedule to a cluster and writes down what really happened.
//!
//! For each step: resolve whom it hits, start it, look for proof that it acts until there is some, stop it when its
//! time is over. Whatever was started is stopped, on every path: when the fault could not be started completely, when
//! the run is told to stop early, and at the end everything is healed once more. Every question to the target has a
//! bound, so a target that hangs cannot hang the run.
//!
//! Steps overlap where the schedule lets them, and nowhere else: a step that is late because one that should be over
//! took long to undo waits for that, starts at once then, keeps at least half of its duration, and ends as planned
//! otherwise. A step that could only start after the time limit does not start. The target is asked one thing at a
//! time, whatever is in force.
//!
//! Left out: a future of [`drive()`] that is dropped halfway undoes nothing. Whoever may drop it must heal the target.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tribunal_env::{AsyncRuntime as _, Clock as _, Env};
use tribunal_history::{FaultKind, NemesisAction, NodeId, Schedule, Step};

use crate::resolve::{View, needs_leader, resolve};
use crate::target::{Effect, FaultError, NemesisRecorder, Target};

/// Longest sleep between two looks at the stop flag: short enough that an interrupted run ends at once for a person.
const LOOK_AT_STOP: Duration = Duration::from_millis(50);

/// Time between two looks for proof: well under the shortest fault, and cheap for the host.
const LOOK_FOR_PROOF: Duration = Duration::from_millis(100);

/// How long the target may look for the leader. Beyond this the stand-in is hit; the fault must not be late.
const LEADER_WITHIN: Duration = Duration::from_secs(2);

/// How long anything else asked of the target may take: far longer than starting a process, shorter than a
/// person's patience.
const TARGET_WITHIN: Duration = Duration::from_secs(20);

/// What became of a schedule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Driven {
    /// What became of each step, in order; one for each step of the schedule.
    pub steps: Vec<StepOutcome>,
    /// Whether everything was undone at the end.
    pub healed: Result<(), FaultError>,
}

/// What became of one step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepOutcome {
    /// Its number in the schedule, from 0.
    pub step: u32,
    /// Its kind of fault.
    pub kind: FaultKind,
    /// Whom it hit; empty if it did not start.
    pub nodes: Vec<NodeId>,
    /// How it went.
    pub end: StepEnd,
    /// The proof, or the reason why there is none.
    pub detail: String,
}

/// How a step went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepEnd {
    /// The fault was proved to act.
    Effective,
    /// It was applied, and nothing showed it.
    NoEffect,
    /// It could not be applied.
    Error,
    /// The run ended before its turn.
    NotStarted,
}

/// Applies `schedule` to `target`, from now until `time_limit` has passed or `stop` is set, then heals. Ends soon
/// after either; a fault that is in force then is cut short and undone.
pub async fn drive<E: Env, T: Target, R: NemesisRecorder>(
    env: &E,
    target: &mut T,
    recorder: &R,
    schedule: &Schedule,
    time_limit: Duration,
    stop: &AtomicBool,
) -> Driven {
    let began = env.clock().monotonic();
    let mut driver = Driver {
        env,
        target,
        recorder,
        schedule,
        stop,
        began,
        end: began.saturating_add(time_limit),
        running: Vec::new(),
        outcomes: BTreeMap::new(),
    };
    driver.run().await;
    let healed = within::<E, _>(TARGET_WITHIN, "healing", driver.target.heal()).await;
    Driven {
        steps: driver.outcomes.into_values().collect(),
        healed,
    }
}

struct Driver<'a, E, T, R> {
    env: &'a E,
    target: &'a mut T,
    recorder: &'a R,
    schedule: &'a Schedule,
    stop: &'a AtomicBool,
    began: Duration,
    end: Duration,
    /// What is in force, in order of its start.
    running: Vec<Running>,
    outcomes: BTreeMap<u32, StepOutcome>,
}

/// A step that is in force.
struct Running {
    number: u32,
    nodes: Vec<NodeId>,
    ends: Duration,
    /// Its proof; until there is one, why there is none.
    effect: Effect,
    looks: Duration,
}

/// What comes next.
enum Next {
    Start(u32),
    /// Places in `running`.
    Look(usize),
    Stop(usize),
}

impl<E: Env, T: Target, R: NemesisRecorder> Driver<'_, E, T, R> {
    async fn run(&mut self) {
        let count = u32::try_from(self.schedule.steps.len()).unwrap_or(u32::MAX);
        let mut started = 0;
        while let Some((moment, next)) = self.next(started, count) {
            self.sleep_until(moment).await;
            if self.stopped() {
                break;
            }
            match next {
                Next::Start(number) => {
                    started += 1;
                    self.start(number).await;
                }
                Next::Look(place) => self.look(place).await,
                Next::Stop(place) => self.finish(place).await,
            }
        }
        while !self.running.is_empty() {
            self.finish(0).await;
        }
        for number in started..count {
            let detail = "the run ended before its turn".to_owned();
            self.outcome(number, Vec::new(), StepEnd::NotStarted, detail);
        }
    }

    /// The earliest of what is to be done, and its time; stops before looks, and these before starts.
    fn next(&self, started: u32, count: u32) -> Option<(Duration, Next)> {
        let stop = self.running.iter().enumerate();
        let stop = stop.map(|(place, running)| (running.ends, 0, Next::Stop(place)));
        let look = self.running.iter().enumerate();
        let look =
            look.filter(|(_, running)| matches!(running.effect, Effect::NotYet(_)) && running.looks < running.ends);
        let look = look.map(|(place, running)| (running.looks, 1, Next::Look(place)));
        let start = (started < count)
            .then(|| self.planned(started))
            .filter(|(starts, _)| {
                self.running
                    .iter()
                    .all(|running| self.planned(running.number).1 > *starts)
            })
            .map(|(starts, _)| (starts, 2, Next::Start(started)));
        let all = stop.chain(look).chain(start);
        all.min_by_key(|(moment, rank, _)| (*moment, *rank))
            .map(|(moment, _, next)| (moment, next))
    }

    /// When a step starts and ends by the schedule.
    fn planned(&self, number: u32) -> (Duration, Duration) {
        let step = self.step(number);
        let starts = self.began.saturating_add(Duration::from_millis(step.at_ms));
        (starts, starts.saturating_add(Duration::from_millis(step.duration_ms)))
    }

    fn step(&self, number: u32) -> &Step {
        &self.schedule.steps[number as usize]
    }

    async fn start(&mut self, number: u32) {
        let schedule = self.schedule;
        let step = &schedule.steps[number as usize];
        let leader = if needs_leader(step.fault.select()) {
            E::Runtime::timeout(LEADER_WITHIN, self.target.leader())
                .await
                .unwrap_or(None)
        } else {
            None
        };
        let view = View {
            members: self.target.nodes(),
            spares: self.target.spares(),
            leader,
        };
        let nodes = match resolve(step.fault.select(), &view) {
            Ok(nodes) => nodes,
            Err(error) => {
                self.record(number, NemesisAction::Error, &[], &error.to_string());
                self.outcome(number, Vec::new(), StepEnd::Error, error.to_string());
                return;
            }
        };

        self.record(number, NemesisAction::Start, &nodes, "");
        let lasts = Duration::from_millis(step.duration_ms);
        let ends = self.planned(number).1.max(self.now().saturating_add(lasts / 2));
        let started = within::<E, _>(
            TARGET_WITHIN,
            "starting the fault",
            self.target.start(&step.fault, &nodes),
        )
        .await;
        match started {
            Ok(()) => {
                self.running.push(Running {
                    number,
                    nodes,
                    ends,
                    effect: Effect::NotYet(String::new()),
                    looks: self.now(),
                });
                self.look(self.running.len() - 1).await;
            }
            Err(FaultError(reason)) => {
                self.record(number, NemesisAction::Error, &nodes, &reason);
                self.undo(number, &nodes).await;
                self.outcome(number, nodes, StepEnd::Error, reason);
            }
        }
    }

    /// Looks for proof once.
    async fn look(&mut self, place: usize) {
        let running = &self.running[place];
        let fault = &self.schedule.steps[running.number as usize].fault;
        let asked = E::Runtime::timeout(TARGET_WITHIN, self.target.effect(fault, &running.nodes)).await;
        let effect = asked.unwrap_or_else(|_| Effect::NotYet(too_long("looking for proof", TARGET_WITHIN)));
        if let Effect::Proved(proof) = &effect {
            self.record(running.number, NemesisAction::Effective, &running.nodes, proof);
        }
        let looks = self.now().saturating_add(LOOK_FOR_PROOF);
        let running = &mut self.running[place];
        running.effect = effect;
        running.looks = looks;
    }

    /// Ends a step that is in force; looks for proof a last time if there is none and its time is over.
    async fn finish(&mut self, place: usize) {
        if matches!(self.running[place].effect, Effect::NotYet(_)) && !self.stopped() {
            self.look(place).await;
        }
        let Running {
            number, nodes, effect, ..
        } = self.running.remove(place);
        let (end, detail) = match effect {
            Effect::Proved(proof) => (StepEnd::Effective, proof),
            Effect::NotYet(reason) => {
                self.record(number, NemesisAction::NoEffect, &nodes, &reason);
                (StepEnd::NoEffect, reason)
            }
        };
        self.undo(number, &nodes).await;
        self.outcome(number, nodes, end, detail);
    }

    /// Stops the fault; if that fails, undoes everything instead. An error means that something may be left.
    async fn undo(&mut self, number: u32, nodes: &[NodeId]) {
        let schedule = self.schedule;
        let fault = &schedule.steps[number as usize].fault;
        let stopped = within::<E, _>(TARGET_WITHIN, "stopping the fault", self.target.stop(fault, nodes)).await;
        let detail = match stopped {
            Ok(()) => String::new(),
            Err(FaultError(reason)) => {
                let healed = within::<E, _>(TARGET_WITHIN, "healing", self.target.heal()).await;
                let reason = match healed {
                    Ok(()) => format!("{reason}; everything was healed instead"),
                    Err(FaultError(worse)) => format!("{reason}; healing failed too: {worse}"),
                };
                self.record(number, NemesisAction::Error, nodes, &reason);
                reason
            }
        };
        self.record(number, NemesisAction::Stop, nodes, &detail);
    }

    fn outcome(&mut self, number: u32, nodes: Vec<NodeId>, end: StepEnd, detail: String) {
        let outcome = StepOutcome {
            step: number,
            kind: self.step(number).fault.kind(),
            nodes,
            end,
            detail,
        };
        self.outcomes.insert(number, outcome);
    }

    fn record(&self, number: u32, action: NemesisAction, nodes: &[NodeId], detail: &str) {
        self.recorder
            .nemesis(number, action, &self.step(number).fault, nodes, detail);
    }

    fn now(&self) -> Duration {
        self.env.clock().monotonic()
    }

    /// Whether the run is over.
    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed) || self.now() >= self.end
    }

    /// Sleeps until the clock shows `moment`, or the run is over.
    async fn sleep_until(&self, moment: Duration) {
        let moment = moment.min(self.end);
        while !self.stopped() {
            let left = moment.saturating_sub(self.now());
            if left.is_zero() {
                return;
            }
            E::Runtime::sleep(left.min(LOOK_AT_STOP)).await;
        }
    }
}

/// Waits for `action` at most this long.
async fn within<E: Env, F: Future<Output = Result<(), FaultError>> + Send>(
    limit: Duration,
    what: &str,
    action: F,
) -> Result<(), FaultError> {
    match E::Runtime::timeout(limit, action).await {
        Ok(result) => result,
        Err(_) => Err(FaultError(too_long(what, limit))),
    }
}

fn too_long(what: &str, limit: Duration) -> String {
    format!("{what} took longer than {} s", limit.as_secs())
}
