//! One run on processes: start, the phases, judge, report.
//!
//! Whatever happens on the way, a failed start and Ctrl-C included, the way out is the same: faults are undone,
//! every child is stopped, and what was recorded is judged and reported.

use std::future::Future;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use tribunal_env::{AsyncRuntime as _, Clock as _, Env as _};
use tribunal_history::{Report, Schedule};

use super::evidence::Snapshots;
use super::judge::Observed;
use super::outcome::ExitPolicy;
use super::phases::Phases;
use super::recorder::Recorder;
use super::run_dir::RunDir;
use super::{Plan, Progress, RunError, Stage, files};
use crate::world::process::{Cluster, ClusterConfig, ProcessWorld, System, ToolEnv, ToolRuntime, UnexpectedExit};

/// How often the history is handed to the system, the display refreshed, and the tool's own stalls measured.
const TICK: Duration = Duration::from_millis(100);

/// Runs `plan` on processes of `system`; ends early, with its report, when `interrupt` does.
pub async fn run(
    plan: &Plan,
    system: &System,
    policy: &ExitPolicy,
    shown: &(impl Progress + ?Sized),
    interrupt: impl Future<Output = ()> + Send + 'static,
) -> Result<(Report, PathBuf), RunError> {
    let (dir, schedule) = files::begin(plan)?;
    let env = ToolEnv::new(plan.seed);
    let recorder = Recorder::create(dir.path(), Box::new(*env.clock()), plan.lanes())
        .map_err(RunError::write(dir.path().join("history.jsonl")))?;
    recorder.follow(plan.workload.specification());
    let stop = Arc::new(AtomicBool::new(false));
    let interrupted = Arc::new(AtomicBool::new(false));
    ToolRuntime::spawn({
        let (stop, interrupted) = (stop.clone(), interrupted.clone());
        async move {
            interrupt.await;
            interrupted.store(true, Ordering::SeqCst);
            stop.store(true, Ordering::SeqCst);
        }
    });

    let keeper = Keeper {
        env: env.clone(),
        recorder: recorder.clone(),
        stop: stop.clone(),
        state: Mutex::new(Kept::default()),
    };
    let trial = trial(plan, system, env, (&dir, &schedule), (&recorder, &stop), shown);
    let mut seen = keeper.beside(shown, trial).await;
    seen.interrupted = interrupted.load(Ordering::SeqCst);

    let report = files::end(plan, &dir, &schedule, &recorder, &seen, policy, shown)?;
    Ok((report, dir.path().to_owned()))
}

/// Everything between the start and the end of the cluster.
async fn trial(
    plan: &Plan,
    system: &System,
    env: ToolEnv,
    (dir, schedule): (&RunDir, &Schedule),
    (recorder, stop): (&Recorder, &Arc<AtomicBool>),
    shown: &(impl Progress + ?Sized),
) -> Observed {
    let mut seen = Observed::default();
    shown.stage(Stage::Start);
    let config = ClusterConfig {
        heartbeat: plan.heartbeat,
        election: plan.election,
        spares: plan.spares(),
        seed: plan.seed,
        snapshots: plan.snapshots,
        keep_data: true,
        ..ClusterConfig::new(system.clone(), plan.nodes, dir.path())
    };
    let start = Cluster::start(config, Arc::new(recorder.clone()));
    match unless(stop, start).await {
        Some(Ok(cluster)) => {
            seen.started = true;
            let phases = Phases {
                plan,
                world: &ProcessWorld::new(env, &cluster),
                recorder,
                stop,
                shown,
            };
            phases.run(schedule, &mut seen).await;
            seen.unexpected_exits = cluster.unexpected_exits().iter().map(exit_sentence).collect();
            if let Err(error) = cluster.shutdown().await {
                seen.harness_errors
                    .push(format!("the cluster did not stop in good order: {error}"));
            }
            if plan.shortens_logs() {
                seen.snapshots = Some(Snapshots::count(dir.path()));
            }
        }
        Some(Err(error)) => seen
            .harness_errors
            .push(format!("the system could not be started: {error}")),
        // Interrupted while it started; what was started is gone with the future.
        None => {}
    }
    seen
}

/// What is said of a node that ended by itself.
fn exit_sentence(exit: &UnexpectedExit) -> String {
    format!(
        "{} ended by itself ({}); the last line of its log: {}",
        exit.node, exit.ending, exit.last_line
    )
}

/// Awaits `future`, or drops it when `stop` is set.
async fn unless<T>(stop: &AtomicBool, future: impl Future<Output = T>) -> Option<T> {
    let mut future = std::pin::pin!(future);
    loop {
        if let Some(output) = within(TICK, future.as_mut()).await {
            return Some(output);
        }
        if stop.load(Ordering::SeqCst) {
            return None;
        }
    }
}

/// Polls `future` for at most `time`.
async fn within<F: Future + Unpin>(time: Duration, mut future: F) -> Option<F::Output> {
    let mut sleep = std::pin::pin!(ToolRuntime::sleep(time));
    std::future::poll_fn(|context| {
        if let Poll::Ready(output) = std::pin::Pin::new(&mut future).poll(context) {
            return Poll::Ready(Some(output));
        }
        sleep.as_mut().poll(context).map(|()| None)
    })
    .await
}

/// What is done beside the run, several times a second.
struct Keeper {
    env: ToolEnv,
    recorder: Recorder,
    stop: Arc<AtomicBool>,
    state: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    stall_max: Duration,
    write_error: Option<String>,
}

impl Keeper {
    /// Awaits `trial` while the history is written and the display refreshed.
    async fn beside(&self, shown: &(impl Progress + ?Sized), trial: impl Future<Output = Observed>) -> Observed {
        let mut trial = std::pin::pin!(trial);
        loop {
            let before = self.env.clock().monotonic();
            let done = within(TICK, trial.as_mut()).await;
            let late = self.env.clock().monotonic().saturating_sub(before).saturating_sub(TICK);
            let mut kept = self.lock();
            kept.stall_max = kept.stall_max.max(late);
            if let Err(error) = self.recorder.flush() {
                kept.write_error
                    .get_or_insert_with(|| format!("the history cannot be written: {error}; is the disk full?"));
                self.stop.store(true, Ordering::SeqCst);
            }
            for violation in self.recorder.violations() {
                shown.violated(&violation);
            }
            if let Some(mut seen) = done {
                seen.stall_max = kept.stall_max;
                seen.harness_errors.extend(kept.write_error.take());
                return seen;
            }
            drop(kept);
            shown.counts(self.recorder.elapsed(), &self.recorder.counts());
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
