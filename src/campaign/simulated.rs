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
use tribunal_history::{Event, Phase, Record as _, Report, Schedule, TraceSummary};
use tribunal_simulation::{FindingKind, Place, Settings, SimClock, Simulation, Stopped};

use super::judge::{self, FaultyCode, Observed, Told};
use super::outcome::ExitPolicy;
use super::phases::Phases;
use super::plan::Simulated;
use super::recorder::{Closed, Recorder};
use super::{Plan, Progress, RunError, Stage, files, record};
use crate::world::simulation::{SimulatedCluster, SimulationWorld};

/// How much virtual time passes between two looks at the display and at Ctrl-C.
const SLICE: Duration = Duration::from_secs(1);

/// Virtual time beyond the phases' own bounds: starting, waiting for what is in flight, undoing faults.
const SLACK: Duration = Duration::from_secs(300);

/// What became of a simulation, beside its history.
#[derive(Clone, Debug)]
pub struct Ended {
    /// What its runner saw.
    pub seen: Observed,
    /// What is told of it to others.
    pub summary: TraceSummary,
    /// Everything that happened, if it was kept.
    pub trace: Option<Vec<u8>>,
}

/// A run that left nothing on disk.
#[derive(Clone, Debug)]
pub struct Looked {
    /// Its report; its directory does not exist.
    pub report: Report,
    /// Its history.
    pub events: Vec<Event>,
    /// Which client each process was, by its number.
    pub clients: Vec<u32>,
    /// What became of it beside that.
    pub ended: Ended,
}

/// Runs the plan of a simulation, judges it and writes its directory; ends early, with its report, when `interrupted`
/// is set.
///
/// # Errors
/// If a file cannot be written.
///
/// # Panics
/// If the plan is one of a run on processes.
pub fn run(
    plan: &Plan,
    policy: &ExitPolicy,
    shown: &(impl Progress + ?Sized),
    interrupted: &AtomicBool,
    keep_trace: bool,
) -> Result<(Report, PathBuf, Ended), RunError> {
    let (dir, schedule) = files::begin(plan)?;
    let mut simulation = simulation(plan, keep_trace);
    let recorder = Recorder::create(dir.path(), Box::new(clock(&simulation)), plan.lanes())
        .map_err(RunError::write(dir.path().join("history.jsonl")))?;
    let ended = simulate(
        plan,
        &schedule,
        &mut simulation,
        &recorder,
        Watched {
            shown,
            interrupted,
            until: None,
        },
    );
    // What it holds is not needed any more, and what follows takes as much.
    drop(simulation);
    let path = dir.path().join(record::TRACE_FILE);
    ended.summary.save(&path).map_err(RunError::write(path))?;
    let report = files::end(plan, &dir, &schedule, &recorder, &ended.seen, policy, shown)?;
    Ok((report, dir.path().to_owned(), ended))
}

/// Runs the plan of a simulation and judges it without leaving anything on disk.
///
/// # Panics
/// If the plan is one of a run on processes.
pub fn look(
    plan: &Plan,
    policy: &ExitPolicy,
    shown: &(impl Progress + ?Sized),
    interrupted: &AtomicBool,
    keep_trace: bool,
) -> Looked {
    look_until(
        plan,
        policy,
        Watched {
            shown,
            interrupted,
            until: None,
        },
        keep_trace,
    )
}

/// As [`look`], but the run ends soon after the auditor has found this property violated.
///
/// # Panics
/// If the plan is one of a run on processes.
pub fn look_until_found(plan: &Plan, property: &str, interrupted: &AtomicBool) -> Looked {
    let watched = Watched {
        shown: &Silent,
        interrupted,
        until: Some(property),
    };
    look_until(plan, &ExitPolicy::default(), watched, false)
}

/// Shows nothing.
struct Silent;

impl Progress for Silent {
    fn stage(&self, _: Stage) {}

    fn counts(&self, _: Duration, _: &super::recorder::Counts) {}

    fn violated(&self, _: &tribunal_checker::online::Violation) {}
}

/// Who watches a run, what interrupts it, and the property at whose violation it ends.
struct Watched<'a, P: ?Sized> {
    shown: &'a P,
    interrupted: &'a AtomicBool,
    until: Option<&'a str>,
}

fn look_until<P: Progress + ?Sized>(
    plan: &Plan,
    policy: &ExitPolicy,
    watched: Watched<'_, P>,
    keep_trace: bool,
) -> Looked {
    let schedule = plan.schedule();
    let mut simulation = simulation(plan, keep_trace);
    let recorder = Recorder::in_memory(Box::new(clock(&simulation)), plan.lanes());
    let shown = watched.shown;
    let ended = simulate(plan, &schedule, &mut simulation, &recorder, watched);
    drop(simulation);
    shown.stage(Stage::Check);
    recorder.phase(Phase::End);
    let clients = recorder.clients();
    let Ok(Closed::Memory(events)) = recorder.close() else {
        panic!("nothing was written");
    };
    let told = Told::whole(plan, &events);
    let report = judge::report(plan, Path::new(""), &schedule, told, &ended.seen, policy);
    Looked {
        report,
        events,
        clients,
        ended,
    }
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
        forget_evidence: true,
        ..Settings::default()
    })
}

/// Lets the run happen.
fn simulate<P: Progress + ?Sized>(
    plan: &Plan,
    schedule: &Schedule,
    simulation: &mut Simulation,
    recorder: &Recorder,
    watched: Watched<'_, P>,
) -> Ended {
    let Watched {
        shown,
        interrupted,
        until,
    } = watched;
    let Some(Simulated { defects, weather, .. }) = plan.simulated() else {
        panic!("the plan is that of a run on processes");
    };
    let cluster = SimulatedCluster {
        nodes: plan.nodes,
        spares: plan.spares(),
        heartbeat: plan.heartbeat,
        election: plan.election,
        defects: defects.clone(),
        weather: weather.clone(),
    };
    let simulator = simulation.world();
    let stop = Arc::new(AtomicBool::new(false));
    shown.stage(Stage::Start);
    let world = SimulationWorld::boot(&simulator, &cluster, Arc::new(recorder.clone()));
    let trial = async {
        let mut seen = Observed::default();
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
        // Whoever wanted to hear it has heard it; a long run would fill the memory with it.
        drop(simulator.take_evidence());
        if interrupted.load(Ordering::SeqCst) {
            stop.store(true, Ordering::SeqCst);
        }
        if until.is_some_and(|property| world.has_found(property)) {
            break Observed {
                started: true,
                ..Observed::default()
            };
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
            started: true,
            harness_errors: vec![error],
            ..Observed::default()
        };
    };
    seen.unexpected_exits = world.unexpected_exits();
    seen.audited = Some(world.audited());
    seen.faulty_code = Some(simulator.findings().0.iter().map(faulty_code).collect());
    seen.interrupted = interrupted.load(Ordering::SeqCst);
    let digest = simulation.digest();
    Ended {
        seen,
        summary: TraceSummary {
            hash: format!("{:032x}", digest.hash),
            records: digest.records,
            lasted_ns: u64::try_from(simulator.now().as_nanos()).unwrap_or(u64::MAX),
            counters: world.counters(),
        },
        trace: simulation.trace(),
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
