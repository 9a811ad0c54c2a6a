//! The phases of a run on a cluster that is up, in whatever world: safety under faults, heal, liveness, final reads.

use std::collections::BTreeSet;
use std::future::Future;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tribunal_history::{NodeId, Phase, ProcessId, Schedule};
use tribunal_workload::{Generator, Lane, Mix, RegisterSettings, Settings, Worker};

use super::judge::Observed;
use super::recorder::Recorder;
use super::{Plan, Progress, Stage};
use crate::world::simulation::swarm;
use crate::world::{TaskLost, World};

/// A run on a cluster that is up.
pub(super) struct Phases<'a, W, P: ?Sized> {
    pub plan: &'a Plan,
    pub world: &'a W,
    pub recorder: &'a Recorder,
    /// Ends the run early when set.
    pub stop: &'a Arc<AtomicBool>,
    pub shown: &'a P,
}

impl<W: World, P: Progress + ?Sized> Phases<'_, W, P> {
    /// Goes through all of them, and adds to `seen` what shows beside the history.
    pub async fn run(&self, schedule: &Schedule, seen: &mut Observed) {
        let keys = self.safety(schedule, seen).await;
        if self.stopped() {
            return;
        }
        self.shown.stage(Stage::Liveness);
        self.recorder.phase(Phase::Liveness);
        let bound = self.plan.liveness_bound;
        let progress = self.on_each_node(self.plan.clients, seen, move |mut seat| async move {
            let (worker, generator) = seat.work();
            tribunal_workload::liveness(worker, generator, bound).await
        });
        let progress = progress.await;
        if self.stopped() {
            return;
        }
        seen.progress = Some(progress);
        self.shown.stage(Stage::FinalReads);
        self.recorder.phase(Phase::FinalReads);
        let first = self.plan.clients + self.plan.nodes_max();
        let reads = self.on_each_node(first, seen, move |mut seat| {
            let keys = keys.clone();
            async move {
                let (worker, generator) = seat.work();
                tribunal_workload::final_reads(worker, generator, &keys, bound).await
            }
        });
        let reads = reads.await;
        seen.final_reads = Some(reads);
    }

    /// Clients work while the nemesis follows its schedule; then every fault is undone. Returns the keys in use.
    async fn safety(&self, schedule: &Schedule, seen: &mut Observed) -> BTreeSet<String> {
        self.shown.stage(Stage::Safety);
        self.recorder.phase(Phase::Safety);
        let limit = self.plan.time_limit;
        let nodes = self.world.homes();
        let mut tasks = Vec::new();
        for number in 0..self.plan.clients {
            let mut seat = self.seat(nodes[number as usize % nodes.len()], number);
            tasks.push(self.world.spawn(number, async move {
                let (worker, generator) = seat.work();
                tribunal_workload::work(worker, generator, limit).await
            }));
        }
        let mut target = self.world.target();
        let env = self.world.env();
        let driven = tribunal_nemesis::drive(env, &mut target, self.recorder, schedule, limit, self.stop).await;
        let mut keys = BTreeSet::new();
        for report in join(tasks, seen).await {
            keys.extend(report.keys);
        }
        // Between two faults nothing is in force, so the heal is short unless the run was cut short.
        self.shown.stage(Stage::Heal);
        self.recorder.phase(Phase::Heal);
        if let Err(error) = driven.healed {
            seen.harness_errors
                .push(format!("a fault could not be undone: {error}"));
        }
        keys
    }

    /// Runs `task` at a client of each node at once, and returns what each found.
    async fn on_each_node<T, F>(
        &self,
        first: u32,
        seen: &mut Observed,
        task: impl Fn(Seat<W::Env, W::Client>) -> F,
    ) -> Vec<T>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        let seats = (first..).zip(self.world.nodes());
        let tasks = seats.map(|(number, node)| self.world.spawn(number, task(self.seat(node, number))));
        let tasks = tasks.collect();
        join(tasks, seen).await
    }

    /// What client `number` of the run needs.
    fn seat(&self, node: NodeId, number: u32) -> Seat<W::Env, W::Client> {
        let lane = Lane {
            index: number,
            count: self.plan.lanes(),
        };
        let keys = NonZeroU32::new(self.plan.keys).unwrap_or(NonZeroU32::MIN);
        let is_simulated = self.plan.defendant.is_simulated();
        let settings = RegisterSettings {
            keys,
            mix: if is_simulated {
                swarm::role(self.plan.seed, number)
            } else {
                Mix::default()
            },
            value_bytes: self.plan.value_bytes,
            ..RegisterSettings::default()
        };
        let (env, client) = self.world.client(number, node);
        Seat {
            env,
            client,
            recorder: self.recorder.of_client(number),
            process: ProcessId(number),
            lane,
            settings: Settings {
                operation_timeout: self.plan.op_timeout,
                ..Settings::at_rate(self.plan.rate, self.plan.clients)
            },
            stop: self.stop.clone(),
            kept: self.plan.kept_of(number),
            generator: self.plan.workload.generator(&settings, lane),
        }
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }
}

async fn join<T>(tasks: Vec<impl Future<Output = Result<T, TaskLost>>>, seen: &mut Observed) -> Vec<T> {
    let mut found = Vec::new();
    for task in tasks {
        match task.await {
            Ok(what) => found.push(what),
            Err(lost) => seen.harness_errors.push(lost.to_string()),
        }
    }
    found
}

/// A client's place in a run.
struct Seat<E, C> {
    env: E,
    client: C,
    recorder: Recorder,
    process: ProcessId,
    lane: Lane,
    settings: Settings,
    stop: Arc<AtomicBool>,
    kept: Option<BTreeSet<u32>>,
    generator: Box<dyn Generator>,
}

impl<E, C> Seat<E, C> {
    /// The worker on this seat and what it asks.
    fn work(&mut self) -> (Worker<'_, E, C, Recorder>, &mut dyn Generator) {
        let worker = Worker {
            env: &self.env,
            client: &mut self.client,
            recorder: &self.recorder,
            process: self.process,
            lane: self.lane,
            settings: self.settings,
            stop: &self.stop,
            kept: self.kept.as_ref(),
        };
        (worker, &mut *self.generator)
    }
}
