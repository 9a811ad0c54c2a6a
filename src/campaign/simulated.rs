//! One run in virtual time: start, the phases, judge, report.
//!
//! The run is a function of its plan. Its history, its trace and everything in its directory but `run.json` are the
//! same bytes whenever and wherever it is run, by one version of the program.

use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tribunal_env::Env as _;
use tribunal_history::{Phase, Report, Schedule};
use tribunal_simulation::trace::Digest;
use tribunal_simulation::{FindingKind, Place, Settings, SimClock, Simulation, Stopped};
use tribunal_store::defect::Defects;

use super::judge::{self, FaultyCode, Observed};
use super::outcome::ExitPolicy;
use super::phases::Phases;
use super::recorder::Recorder;
use super::{Plan, Progress, RunError, Stage, files};
use crate::world::simulation::{SimulatedCluster, SimulationWorld};

/// How much virtual time passes between two looks at the display and at Ctrl-C.
const SLICE: Duration = Duration::from_secs(1);

/// Virtual time beyond the phases' own bounds: starting, waiting for what is in flight, undoing faults.
const SLACK: Duration = Duration::from_secs(300);

/// What became of a simulation, beside its history.
#[derive(Clone, Debug)]
pub struct Simulated {
    /// What its runner saw.
    pub seen: Observed,
    /// Hash of everything that happened.
    pub digest: Digest,
    /// Everything that happened, if it was kept.
    pub trace: Option<Vec<u8>>,
    /// Virtual time in all.
    pub lasted: Duration,
}

/// Runs `plan` on the bundled store with these planted bugs, judges it and writes its directory; ends early, with its
/// report, when `interrupted` is set.
pub fn run(
    plan: &Plan,
    defects: &Defects,
    policy: &ExitPolicy,
    shown: &(impl Progress + ?Sized),
    interrupted: &AtomicBool,
    keep_trace: bool,
) -> Result<(Report, PathBuf, Simulated), RunError> {
    let (dir, schedule) = files::begin(plan)?;
    let mut simulation = simulation(plan, keep_trace);
    let recorder = Recorder::create(dir.path(), Box::new(clock(&simulation)), plan.lanes())
        .map_err(RunError::write(dir.path().join("history.jsonl")))?;
    let simulated = simulate(plan, defects, &schedule, &mut simulation, &recorder, shown, interrupted);
    let report = files::end(plan, &dir, &schedule, &recorder, &simulated.seen, policy, shown)?;
    Ok((report, dir.path().to_owned(), simulated))
}

/// Runs `plan` and judges it without leaving anything on disk: the report, whose directory does not exist.
pub fn look(
    plan: &Plan,
    defects: &Defects,
    policy: &ExitPolicy,
    shown: &(impl Progress + ?Sized),
    interrupted: &AtomicBool,
) -> (Report, Simulated) {
    let schedule = files::schedule(plan);
    let mut simulation = simulation(plan, false);
    let recorder = Recorder::in_memory(Box::new(clock(&simulation)), plan.lanes());
    let simulated = simulate(plan, defects, &schedule, &mut simulation, &recorder, shown, interrupted);
    recorder.phase(Phase::End);
    let (events, _) = recorder
        .close()
        .unwrap_or_else(|error| panic!("nothing is written: {error}"));
    let judgement = tribunal_checker::judge(plan.workload.specification(), &events, &plan.check);
    let seen = &simulated.seen;
    let report = judge::report(plan, Path::new(""), &schedule, &events, judgement, seen, policy);
    (report, simulated)
}

/// The harness's clock, which is the true time.
fn clock(simulation: &Simulation) -> SimClock {
    let env = simulation.world().env(Place::Harness);
    env.unwrap_or_else(|| panic!("the harness lives")).clock().clone()
}

fn simulation(plan: &Plan, keep_trace: bool) -> Simulation {
    Simulation::new(Settings {
        seed: plan.seed,
        keep_trace,
        ..Settings::default()
    })
}

/// Lets the run happen.
fn simulate(
    plan: &Plan,
    defects: &Defects,
    schedule: &Schedule,
    simulation: &mut Simulation,
    recorder: &Recorder,
    shown: &(impl Progress + ?Sized),
    interrupted: &AtomicBool,
) -> Simulated {
    let cluster = SimulatedCluster {
        nodes: plan.nodes,
        heartbeat: plan.heartbeat,
        election: plan.election,
        defects: defects.clone(),
    };
    let simulator = simulation.world();
    let stop = Arc::new(AtomicBool::new(false));
    let trial = async {
        let mut seen = Observed::default();
        shown.stage(Stage::Start);
        let world = SimulationWorld::boot(&simulator, &cluster, Arc::new(recorder.clone()));
        match world.ready().await {
            Ok(()) => {
                seen.started = true;
                let phases = Phases {
                    plan,
                    world: &world,
                    recorder,
                    stop: &stop,
                    shown,
                };
                phases.run(schedule, &mut seen).await;
            }
            Err(error) => seen.harness_errors.push(format!("the system did not start: {error}")),
        }
        seen.unexpected_exits = world.unexpected_exits();
        seen
    };
    let mut trial = pin!(trial);
    let limit = plan.time_limit + plan.liveness_bound * 2 + SLACK;
    let mut seen = loop {
        let stopped = match simulation.run_until(SLICE, trial.as_mut()) {
            Ok(seen) => break seen,
            Err(stopped) => stopped,
        };
        shown.counts(recorder.elapsed(), &recorder.counts());
        if interrupted.load(Ordering::SeqCst) {
            stop.store(true, Ordering::SeqCst);
        }
        let error = match stopped {
            Stopped::NotInTime { .. } if simulator.now() < limit => match recorder.flush() {
                Ok(()) => continue,
                Err(error) => format!("the history cannot be written: {error}; is the disk full?"),
            },
            Stopped::NotInTime { .. } => format!("the run had not ended after {} s of virtual time", limit.as_secs()),
            other => format!("the simulation stopped: {other}"),
        };
        break Observed {
            harness_errors: vec![error],
            ..Observed::default()
        };
    };
    let faulty_code = simulator.findings().0.iter().map(faulty_code).collect();
    seen.faulty_code = Some(faulty_code);
    seen.interrupted = interrupted.load(Ordering::SeqCst);
    Simulated {
        seen,
        digest: simulation.digest(),
        trace: simulation.trace(),
        lasted: simulator.now(),
    }
}

fn faulty_code(finding: &tribunal_simulation::Finding) -> FaultyCode {
    FaultyCode {
        title: finding.to_string(),
        backtrace: match &finding.kind {
            FindingKind::Panic { backtrace, .. } => Some(backtrace.clone()),
            FindingKind::ForeignWake | FindingKind::ActsAfterDeath { .. } => None,
        },
    }
}
