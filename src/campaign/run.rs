//! One run: start, safety under faults, heal, liveness, final reads, judge, report.
//!
//! Whatever happens on the way, a failed start and Ctrl-C included, the way out is the same: faults are undone,
//! every child is stopped, and what was recorded is judged and reported.

use std::collections::BTreeSet;
use std::future::Future;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use tribunal_env::{AsyncRuntime as _, Clock as _, Env as _};
use tribunal_history::report::RunOutcome;
use tribunal_history::{Manifest, NodeId, Phase, ProcessId, Record as _, Report, Schedule};
use tribunal_workload::{Generator, Lane, RegisterSettings, Settings, Worker};

use super::judge::{self, Observed};
use super::outcome::ExitPolicy;
use super::recorder::Recorder;
use super::run_dir::RunDir;
use super::{Plan, Progress, RunError, Stage, write_report};
use crate::world::process::{
    Cluster, ClusterConfig, TonicClient, ToolEnv, ToolRuntime, UnexpectedExit, own_executable, sha256_file,
};

/// How often the history is handed to the system, the display refreshed, and the tool's own stalls measured.
const TICK: Duration = Duration::from_millis(100);

/// Runs `plan`; ends early, with its report, when `interrupt` does.
pub async fn run(
    plan: &Plan,
    policy: &ExitPolicy,
    shown: &(impl Progress + ?Sized),
    interrupt: impl Future<Output = ()> + Send + 'static,
) -> Result<(Report, PathBuf), RunError> {
    let stamp = &plan.started;
    let dir = RunDir::create(&plan.runs_dir, &plan.name, stamp, plan.seed)?;
    let schedule = schedule(plan);
    save_plan(plan, &schedule, &dir)?;

    let env = ToolEnv::new(plan.seed);
    let recorder = Recorder::create(dir.path(), Box::new(*env.clock()), plan.lanes())
        .map_err(RunError::write(dir.path().join("history.jsonl")))?;
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
    let run = Run {
        plan,
        env,
        recorder: recorder.clone(),
        stop,
        shown,
        numbers: Arc::default(),
        seen: Observed::default(),
    };
    let mut seen = keeper.beside(shown, run.trial(&dir, &schedule)).await;
    seen.interrupted = interrupted.load(Ordering::SeqCst);

    shown.stage(Stage::Check);
    recorder.phase(Phase::End);
    let history = dir.path().join("history.jsonl");
    let (events, path) = recorder.close().map_err(RunError::write(&history))?;
    let judgement = tribunal_checker::judge(plan.workload.specification(), &events, &plan.check);

    shown.stage(Stage::Report);
    tribunal_history::jsonl::compress(&path).map_err(RunError::write(&history))?;
    let mut report = judge::report(plan, dir.path(), &schedule, &events, judgement, &seen, policy);
    if !plan.keep_data && report.verdict.outcome == RunOutcome::Pass {
        remove_data(&dir);
    }
    write_report(&mut report, &dir, &events)?;
    Ok((report, dir.path().to_owned()))
}

/// The faults of the run, drawn before it begins.
fn schedule(plan: &Plan) -> Schedule {
    let kinds = plan.kinds.iter().copied().collect();
    let mut drawn = tribunal_nemesis::Plan::new(plan.seed, plan.nodes, kinds, plan.time_limit);
    drawn.interval = plan.interval;
    drawn.election_timeout_max = plan.election * 2;
    tribunal_nemesis::draw(&drawn)
}

/// Writes down what is to be run before anything is started.
fn save_plan(plan: &Plan, schedule: &Schedule, dir: &RunDir) -> Result<(), RunError> {
    let manifest = Manifest {
        argv: plan.argv.clone(),
        config: plan.config.clone(),
        seed: plan.seed,
        started: plan.started.clone(),
        tribunal_version: env!("CARGO_PKG_VERSION").to_owned(),
        // A binary that can be executed and not read has no hash that we could know.
        tribunal_sha256: sha256_file(&own_executable()).unwrap_or_default(),
        system: plan.config.get("system").cloned().unwrap_or_default(),
        system_version: format!("{} {}", plan.system.name(), plan.system.version()),
        system_sha256: plan.system.sha256().ok(),
        host: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
    };
    let path = dir.path().join("run.json");
    manifest.save(&path).map_err(RunError::write(path))?;
    let path = dir.path().join("schedule.json");
    schedule.save(&path).map_err(RunError::write(path))
}

/// After a pass nobody needs the nodes' data; what cannot be removed stays, and is listed with the files.
fn remove_data(dir: &RunDir) {
    for name in dir.files() {
        if name.ends_with("/data/") {
            let _ = std::fs::remove_dir_all(dir.path().join(name));
        }
    }
}

struct Run<'a, P: ?Sized> {
    plan: &'a Plan,
    env: ToolEnv,
    recorder: Recorder,
    stop: Arc<AtomicBool>,
    shown: &'a P,
    /// Numbers the operations of all clients, for the nodes' evidence.
    numbers: Arc<AtomicU64>,
    seen: Observed,
}

impl<P: Progress + ?Sized> Run<'_, P> {
    /// Everything between the start and the end of the cluster.
    async fn trial(mut self, dir: &RunDir, schedule: &Schedule) -> Observed {
        self.shown.stage(Stage::Start);
        let config = ClusterConfig {
            heartbeat: self.plan.heartbeat,
            election: self.plan.election,
            keep_data: true,
            ..ClusterConfig::new(self.plan.system.clone(), self.plan.nodes, dir.path())
        };
        let start = Cluster::start(config, Arc::new(self.recorder.clone()));
        match unless(&self.stop, start).await {
            Some(Ok(cluster)) => {
                self.seen.started = true;
                self.phases(&cluster, schedule).await;
                self.seen.unexpected_exits = cluster.unexpected_exits().iter().map(exit_sentence).collect();
                if let Err(error) = cluster.shutdown().await {
                    self.seen
                        .harness_errors
                        .push(format!("the cluster did not stop in good order: {error}"));
                }
            }
            Some(Err(error)) => self
                .seen
                .harness_errors
                .push(format!("the system could not be started: {error}")),
            // Interrupted while it started; what was started is gone with the future.
            None => {}
        }
        self.seen
    }

    async fn phases(&mut self, cluster: &Cluster, schedule: &Schedule) {
        let keys = self.safety(cluster, schedule).await;
        if self.stopped() {
            return;
        }
        self.shown.stage(Stage::Liveness);
        self.recorder.phase(Phase::Liveness);
        let bound = self.plan.liveness_bound;
        let progress = self.on_each_node(cluster, self.plan.clients, move |mut seat| async move {
            let (worker, generator) = seat.work();
            tribunal_workload::liveness(worker, generator, bound).await
        });
        let progress = progress.await;
        if self.stopped() {
            return;
        }
        self.seen.progress = Some(progress);
        self.shown.stage(Stage::FinalReads);
        self.recorder.phase(Phase::FinalReads);
        let reads = self.on_each_node(
            cluster,
            self.plan.clients + u32::from(self.plan.nodes),
            move |mut seat| {
                let keys = keys.clone();
                async move {
                    let (worker, generator) = seat.work();
                    tribunal_workload::final_reads(worker, generator, &keys, bound).await
                }
            },
        );
        self.seen.final_reads = Some(reads.await);
    }

    /// Clients work while the nemesis follows its schedule; then every fault is undone. Returns the keys in use.
    async fn safety(&mut self, cluster: &Cluster, schedule: &Schedule) -> BTreeSet<String> {
        self.shown.stage(Stage::Safety);
        self.recorder.phase(Phase::Safety);
        let limit = self.plan.time_limit;
        let nodes = cluster.nodes();
        let mut tasks = Vec::new();
        for number in 0..self.plan.clients {
            let mut seat = self.seat(cluster, nodes[number as usize % nodes.len()], number);
            tasks.push(ToolRuntime::spawn(async move {
                let (worker, generator) = seat.work();
                tribunal_workload::work(worker, generator, limit).await
            }));
        }
        let mut target = cluster.target();
        let driven = tribunal_nemesis::drive(&self.env, &mut target, &self.recorder, schedule, limit, &self.stop).await;
        let mut keys = BTreeSet::new();
        for report in self.join(tasks).await {
            keys.extend(report.keys);
        }
        // Between two faults nothing is in force, so the heal is short unless the run was cut short.
        self.shown.stage(Stage::Heal);
        self.recorder.phase(Phase::Heal);
        if let Err(error) = driven.healed {
            self.seen
                .harness_errors
                .push(format!("a fault could not be undone: {error}"));
        }
        keys
    }

    /// Runs `task` at a client of each node at once, and returns what each found.
    async fn on_each_node<T, F>(&mut self, cluster: &Cluster, first: u32, task: impl Fn(Seat) -> F) -> Vec<T>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        let seats = (first..)
            .zip(cluster.nodes())
            .map(|(number, node)| self.seat(cluster, node, number));
        let tasks = seats.map(|seat| ToolRuntime::spawn(task(seat))).collect();
        self.join(tasks).await
    }

    async fn join<T>(&mut self, tasks: Vec<impl Future<Output = Result<T, impl Sized>>>) -> Vec<T> {
        let mut found = Vec::new();
        for task in tasks {
            match task.await {
                Ok(what) => found.push(what),
                Err(_) => self
                    .seen
                    .harness_errors
                    .push("a client of the tool panicked; its message is on standard error".to_owned()),
            }
        }
        found
    }

    /// What client `number` of the run needs.
    fn seat(&self, cluster: &Cluster, node: NodeId, number: u32) -> Seat {
        let lane = Lane {
            index: number,
            count: self.plan.lanes(),
        };
        let keys = NonZeroU32::new(self.plan.keys).unwrap_or(NonZeroU32::MIN);
        let settings = RegisterSettings {
            keys,
            ..RegisterSettings::default()
        };
        let url = format!("http://{}", cluster.target().endpoint(node));
        let client = TonicClient::new(node, &url, self.numbers.clone())
            .unwrap_or_else(|error| panic!("{url} is made by us: {error}"));
        Seat {
            env: self.env.clone(),
            client,
            recorder: self.recorder.clone(),
            process: ProcessId(number),
            lane,
            settings: Settings {
                operation_timeout: self.plan.op_timeout,
                ..Settings::at_rate(self.plan.rate, self.plan.clients)
            },
            stop: self.stop.clone(),
            generator: self.plan.workload.generator(&settings, lane),
        }
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }
}

/// What is said of a node that ended by itself.
fn exit_sentence(exit: &UnexpectedExit) -> String {
    format!(
        "{} ended by itself ({}); the last line of its log: {}",
        exit.node, exit.ending, exit.last_line
    )
}

/// A client's place in a run.
struct Seat {
    env: ToolEnv,
    client: TonicClient,
    recorder: Recorder,
    process: ProcessId,
    lane: Lane,
    settings: Settings,
    stop: Arc<AtomicBool>,
    generator: Box<dyn Generator>,
}

impl Seat {
    /// The worker on this seat and what it asks.
    fn work(&mut self) -> (Worker<'_, ToolEnv, TonicClient, Recorder>, &mut dyn Generator) {
        let worker = Worker {
            env: &self.env,
            client: &mut self.client,
            recorder: &self.recorder,
            process: self.process,
            lane: self.lane,
            settings: self.settings,
            stop: &self.stop,
        };
        (worker, &mut *self.generator)
    }
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
