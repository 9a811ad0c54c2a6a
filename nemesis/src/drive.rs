//! Applies a schedule to a cluster and writes down what really happened.
//!
//! One step after the other: resolve whom it hits, start it, look for proof that it acts until there is some, stop
//! it when its time is over. Whatever was started is stopped, on every path: when the fault could not be started
//! completely, when the run is told to stop early, and at the end everything is healed once more. Every question
//! to the target has a bound, so a target that hangs cannot hang the run.
//!
//! Steps do not overlap: a step that is late because the one before it took long to undo starts at once, keeps at
//! least half of its duration, and ends as planned otherwise. A step that could only start after the time limit
//! does not start.
//!
//! Left out: a future of [`drive()`] that is dropped halfway undoes nothing. Whoever may drop it must heal the target.

use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tribunal_env::{AsyncRuntime as _, Clock as _, Env};
use tribunal_history::{FaultKind, NemesisAction, NodeId, Schedule, Step};

use crate::resolve::{needs_leader, resolve};
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
        stop,
        end: began.saturating_add(time_limit),
    };
    let mut steps = Vec::with_capacity(schedule.steps.len());
    for (number, step) in schedule.steps.iter().enumerate() {
        let number = u32::try_from(number).unwrap_or(u32::MAX);
        steps.push(driver.step(began, number, step).await);
    }
    let healed = within::<E, _>(TARGET_WITHIN, "healing", driver.target.heal()).await;
    Driven { steps, healed }
}

struct Driver<'a, E, T, R> {
    env: &'a E,
    target: &'a mut T,
    recorder: &'a R,
    stop: &'a AtomicBool,
    end: Duration,
}

impl<E: Env, T: Target, R: NemesisRecorder> Driver<'_, E, T, R> {
    async fn step(&mut self, began: Duration, number: u32, step: &Step) -> StepOutcome {
        let starts = began.saturating_add(Duration::from_millis(step.at_ms));
        let lasts = Duration::from_millis(step.duration_ms);
        self.sleep_until(starts).await;
        let outcome = |nodes: &[NodeId], end, detail: String| StepOutcome {
            step: number,
            kind: step.fault.kind(),
            nodes: nodes.to_vec(),
            end,
            detail,
        };
        if self.stopped() {
            return outcome(&[], StepEnd::NotStarted, "the run ended before its turn".to_owned());
        }

        let leader = if needs_leader(step.fault.select()) {
            E::Runtime::timeout(LEADER_WITHIN, self.target.leader())
                .await
                .unwrap_or(None)
        } else {
            None
        };
        let nodes = match resolve(step.fault.select(), &self.target.nodes(), leader) {
            Ok(nodes) => nodes,
            Err(error) => {
                self.record(number, NemesisAction::Error, step, &[], &error.to_string());
                return outcome(&[], StepEnd::Error, error.to_string());
            }
        };

        self.record(number, NemesisAction::Start, step, &nodes, "");
        let ends = starts.saturating_add(lasts).max(self.now().saturating_add(lasts / 2));
        let started = within::<E, _>(
            TARGET_WITHIN,
            "starting the fault",
            self.target.start(&step.fault, &nodes),
        )
        .await;
        let (end, detail) = match started {
            Ok(()) => match self.prove(step, &nodes, ends).await {
                Effect::Proved(proof) => {
                    self.record(number, NemesisAction::Effective, step, &nodes, &proof);
                    self.sleep_until(ends).await;
                    (StepEnd::Effective, proof)
                }
                Effect::NotYet(reason) => {
                    self.record(number, NemesisAction::NoEffect, step, &nodes, &reason);
                    (StepEnd::NoEffect, reason)
                }
            },
            Err(FaultError(reason)) => {
                self.record(number, NemesisAction::Error, step, &nodes, &reason);
                (StepEnd::Error, reason)
            }
        };

        let undone = self.undo(step, &nodes).await;
        let detail_of_stop = match undone {
            Ok(()) => String::new(),
            Err(FaultError(reason)) => {
                self.record(number, NemesisAction::Error, step, &nodes, &reason);
                reason
            }
        };
        self.record(number, NemesisAction::Stop, step, &nodes, &detail_of_stop);
        outcome(&nodes, end, detail)
    }

    /// Looks for proof until there is some, or until `ends`; looks once at least.
    async fn prove(&mut self, step: &Step, nodes: &[NodeId], ends: Duration) -> Effect {
        loop {
            let effect = match E::Runtime::timeout(TARGET_WITHIN, self.target.effect(&step.fault, nodes)).await {
                Ok(effect) => effect,
                Err(_) => Effect::NotYet(too_long("looking for proof", TARGET_WITHIN)),
            };
            if matches!(effect, Effect::Proved(_)) || self.stopped() || self.now() >= ends {
                return effect;
            }
            self.sleep_until(ends.min(self.now().saturating_add(LOOK_FOR_PROOF)))
                .await;
        }
    }

    /// Stops the fault; if that fails, undoes everything instead. An error means that something may be left.
    async fn undo(&mut self, step: &Step, nodes: &[NodeId]) -> Result<(), FaultError> {
        let stopped = within::<E, _>(
            TARGET_WITHIN,
            "stopping the fault",
            self.target.stop(&step.fault, nodes),
        )
        .await;
        let Err(FaultError(reason)) = stopped else {
            return Ok(());
        };
        match within::<E, _>(TARGET_WITHIN, "healing", self.target.heal()).await {
            Ok(()) => Err(FaultError(format!("{reason}; everything was healed instead"))),
            Err(FaultError(worse)) => Err(FaultError(format!("{reason}; healing failed too: {worse}"))),
        }
    }

    fn record(&self, number: u32, action: NemesisAction, step: &Step, nodes: &[NodeId], detail: &str) {
        self.recorder.nemesis(number, action, &step.fault, nodes, detail);
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
