//! The driver against a target that does as it is told, in virtual time: what is recorded, when, and that whatever
//! was started is undone on every path.
#![expect(clippy::disallowed_methods, reason = "tests run in tokio's paused time")]

mod support;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use support::World;
use tribunal_history::{Direction, Fault, FaultKind, NemesisAction, NodeId, Schedule, Select, Step};
use tribunal_nemesis::{Driven, Effect, FaultError, NemesisRecorder, Plan, StepEnd, Target, draw, drive};

/// What the target and the recorder were told, in order, each with its time in milliseconds.
#[derive(Clone)]
struct Diary {
    world: World,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Diary {
    fn write(&self, line: String) {
        let line = format!("{:>5} {line}", self.world.now().as_millis());
        self.lines.lock().expect("not poisoned").push(line);
    }

    fn lines(&self) -> Vec<String> {
        self.lines.lock().expect("not poisoned").clone()
    }
}

impl NemesisRecorder for Diary {
    fn nemesis(&self, step: u32, action: NemesisAction, fault: &Fault, nodes: &[NodeId], detail: &str) {
        self.write(
            format!("{step} {action:?} [{fault}] {} {detail}", names(nodes))
                .trim_end()
                .to_owned(),
        );
    }
}

fn names(nodes: &[NodeId]) -> String {
    nodes.iter().map(NodeId::to_string).collect::<Vec<_>>().join(",")
}

/// How a target behaves.
#[derive(Clone)]
struct Habits {
    leader: Option<NodeId>,
    leader_takes: Duration,
    start_fails: bool,
    start_takes: Duration,
    /// How long after its start a fault is proved; none: never.
    proved_after: Option<Duration>,
    stop_fails: bool,
    stop_takes: Duration,
    heal_hangs: bool,
    /// How many faults may be in force at a time.
    at_a_time: usize,
}

impl Default for Habits {
    fn default() -> Self {
        Self {
            leader: Some(NodeId(2)),
            leader_takes: Duration::ZERO,
            start_fails: false,
            start_takes: Duration::ZERO,
            proved_after: Some(Duration::ZERO),
            stop_fails: false,
            stop_takes: Duration::ZERO,
            heal_hangs: false,
            at_a_time: 1,
        }
    }
}

struct Fake {
    diary: Diary,
    habits: Habits,
    /// What is in force, and since when.
    active: Vec<(Fault, Duration)>,
}

impl Fake {
    fn begin(&mut self, fault: &Fault) {
        assert!(
            self.active.len() < self.habits.at_a_time,
            "{fault} starts while {:?} is in force",
            self.active
        );
        self.active.push((fault.clone(), self.diary.world.now()));
    }
}

impl Target for Fake {
    fn nodes(&self) -> Vec<NodeId> {
        (1..=3).map(NodeId).collect()
    }

    fn abilities(&self) -> BTreeSet<FaultKind> {
        FaultKind::ALL.into()
    }

    async fn leader(&mut self) -> Option<NodeId> {
        tokio::time::sleep(self.habits.leader_takes).await;
        self.habits.leader
    }

    async fn start(&mut self, fault: &Fault, nodes: &[NodeId]) -> Result<(), FaultError> {
        self.diary.write(format!("start {fault} {}", names(nodes)));
        self.begin(fault);
        tokio::time::sleep(self.habits.start_takes).await;
        if self.habits.start_fails {
            return Err(FaultError("no such process".to_owned()));
        }
        Ok(())
    }

    async fn effect(&mut self, fault: &Fault, _nodes: &[NodeId]) -> Effect {
        let mut in_force = self.active.iter().filter(|(active, _)| active == fault);
        let (_, since) = in_force.next().expect("only asked while the fault is in force");
        let age = self.diary.world.now() - *since;
        match self.habits.proved_after {
            Some(after) if age >= after => Effect::Proved("felt".to_owned()),
            _ => Effect::NotYet("nothing was held".to_owned()),
        }
    }

    async fn stop(&mut self, fault: &Fault, nodes: &[NodeId]) -> Result<(), FaultError> {
        self.diary.write(format!("stop {fault} {}", names(nodes)));
        tokio::time::sleep(self.habits.stop_takes).await;
        if self.habits.stop_fails {
            return Err(FaultError("the process does not start".to_owned()));
        }
        self.active.retain(|(active, _)| active != fault);
        Ok(())
    }

    async fn heal(&mut self) -> Result<(), FaultError> {
        self.diary.write("heal".to_owned());
        if self.habits.heal_hangs {
            std::future::pending::<()>().await;
        }
        self.active.clear();
        Ok(())
    }
}

/// Drives `schedule` against a target with these habits for ten seconds, setting the stop flag after `stop_after`.
fn run(schedule: &Schedule, habits: Habits, stop_after: Option<Duration>) -> (Driven, Vec<String>) {
    support::run(async {
        let world = World::new(1);
        let diary = Diary {
            world: world.clone(),
            lines: Arc::default(),
        };
        let mut target = Fake {
            diary: diary.clone(),
            habits,
            active: Vec::new(),
        };
        let stop = Arc::new(AtomicBool::new(false));
        if let Some(after) = stop_after {
            let stop = stop.clone();
            tokio::spawn(async move {
                tokio::time::sleep(after).await;
                stop.store(true, Ordering::Relaxed);
            });
        }
        let limit = Duration::from_secs(10);
        let driven = drive(&world, &mut target, &diary, schedule, limit, &stop).await;
        assert_eq!(target.active, [], "something is still in force");
        (driven, diary.lines())
    })
}

fn step(at_ms: u64, duration_ms: u64, fault: Fault) -> Step {
    Step {
        at_ms,
        duration_ms,
        fault,
    }
}

fn schedule(steps: Vec<Step>) -> Schedule {
    Schedule {
        seed: 1,
        steps,
        not_tried: Vec::new(),
    }
}

fn kill_leader() -> Fault {
    Fault::Kill {
        select: Select::Leader { otherwise: NodeId(3) },
    }
}

fn isolate_one() -> Fault {
    Fault::Isolate {
        select: Select::Nodes { nodes: vec![NodeId(1)] },
        direction: Direction::Both,
    }
}

fn ends(driven: &Driven) -> Vec<StepEnd> {
    driven.steps.iter().map(|step| step.end).collect()
}

#[test]
fn steps_are_applied_in_time_with_proof_and_undone() {
    let schedule = schedule(vec![step(1000, 2000, kill_leader()), step(5000, 1000, isolate_one())]);
    let habits = Habits {
        proved_after: Some(Duration::from_millis(250)),
        ..Habits::default()
    };
    let (driven, lines) = run(&schedule, habits, None);
    assert_eq!(
        lines,
        [
            " 1000 0 Start [kill leader] n2",
            " 1000 start kill leader n2",
            " 1300 0 Effective [kill leader] n2 felt",
            " 3000 stop kill leader n2",
            " 3000 0 Stop [kill leader] n2",
            " 5000 1 Start [isolate n1] n1",
            " 5000 start isolate n1 n1",
            " 5300 1 Effective [isolate n1] n1 felt",
            " 6000 stop isolate n1 n1",
            " 6000 1 Stop [isolate n1] n1",
            " 6000 heal",
        ]
    );
    assert_eq!(ends(&driven), [StepEnd::Effective, StepEnd::Effective]);
    assert_eq!(driven.steps[0].nodes, [NodeId(2)]);
    assert_eq!(driven.healed, Ok(()));
}

#[test]
fn a_fault_without_effect_is_recorded_as_one() {
    let habits = Habits {
        proved_after: None,
        ..Habits::default()
    };
    let (driven, lines) = run(&schedule(vec![step(100, 500, isolate_one())]), habits, None);
    assert_eq!(
        lines,
        [
            "  100 0 Start [isolate n1] n1",
            "  100 start isolate n1 n1",
            "  600 0 NoEffect [isolate n1] n1 nothing was held",
            "  600 stop isolate n1 n1",
            "  600 0 Stop [isolate n1] n1",
            "  600 heal",
        ]
    );
    assert_eq!(ends(&driven), [StepEnd::NoEffect]);
    assert_eq!(driven.steps[0].detail, "nothing was held");
}

#[test]
fn a_fault_that_cannot_start_is_undone_all_the_same() {
    let habits = Habits {
        start_fails: true,
        ..Habits::default()
    };
    let (driven, lines) = run(&schedule(vec![step(100, 500, kill_leader())]), habits, None);
    assert_eq!(
        lines,
        [
            "  100 0 Start [kill leader] n2",
            "  100 start kill leader n2",
            "  100 0 Error [kill leader] n2 no such process",
            "  100 stop kill leader n2",
            "  100 0 Stop [kill leader] n2",
            "  100 heal",
        ]
    );
    assert_eq!(ends(&driven), [StepEnd::Error]);
}

#[test]
fn a_target_that_hangs_does_not_hang_the_run() {
    let habits = Habits {
        start_takes: Duration::from_secs(3600),
        ..Habits::default()
    };
    let (driven, lines) = run(&schedule(vec![step(100, 500, kill_leader())]), habits, None);
    assert_eq!(ends(&driven), [StepEnd::Error]);
    assert_eq!(driven.steps[0].detail, "starting the fault took longer than 20 s");
    assert_eq!(lines.last().map(String::as_str), Some("20100 heal"));
}

#[test]
fn what_cannot_be_stopped_is_healed_at_once() {
    let habits = Habits {
        stop_fails: true,
        ..Habits::default()
    };
    let two = vec![step(100, 500, kill_leader()), step(1000, 500, isolate_one())];
    let (driven, lines) = run(&schedule(two), habits, None);
    assert_eq!(
        lines[3..7],
        [
            "  600 stop kill leader n2",
            "  600 heal",
            "  600 0 Error [kill leader] n2 the process does not start; everything was healed instead",
            "  600 0 Stop [kill leader] n2 the process does not start; everything was healed instead",
        ]
    );
    assert_eq!(ends(&driven), [StepEnd::Effective, StepEnd::Effective]);
}

#[test]
fn an_early_stop_cuts_the_fault_short_and_undoes_it() {
    let two = schedule(vec![step(100, 5000, kill_leader()), step(6000, 1000, isolate_one())]);
    let (driven, lines) = run(&two, Habits::default(), Some(Duration::from_millis(1010)));
    assert_eq!(
        lines[3..],
        [
            " 1050 stop kill leader n2",
            " 1050 0 Stop [kill leader] n2",
            " 1050 heal",
        ]
    );
    assert_eq!(ends(&driven), [StepEnd::Effective, StepEnd::NotStarted]);
}

#[test]
fn the_time_limit_ends_a_schedule_that_is_longer() {
    let late = schedule(vec![step(8000, 5000, kill_leader()), step(14_000, 1000, isolate_one())]);
    let (driven, lines) = run(&late, Habits::default(), None);
    assert_eq!(lines.last().map(String::as_str), Some("10000 heal"));
    assert_eq!(ends(&driven), [StepEnd::Effective, StepEnd::NotStarted]);
}

#[test]
fn a_step_that_is_late_keeps_half_of_its_duration() {
    let habits = Habits {
        stop_takes: Duration::from_secs(3),
        ..Habits::default()
    };
    let two = vec![step(0, 1000, kill_leader()), step(2000, 2500, isolate_one())];
    let (driven, lines) = run(&schedule(two), habits, None);
    assert_eq!(ends(&driven), [StepEnd::Effective, StepEnd::Effective]);
    assert_eq!(
        lines[5..7],
        [" 4000 1 Start [isolate n1] n1", " 4000 start isolate n1 n1"]
    );
    assert_eq!(lines[8], " 5250 stop isolate n1 n1");
}

#[test]
fn steps_that_overlap_are_in_force_together_and_each_ends_in_its_own_time() {
    let pause = Fault::Pause { select: Select::All };
    let three = schedule(vec![
        step(1000, 4000, kill_leader()),
        step(2000, 1000, isolate_one()),
        step(3000, 3000, pause),
    ]);
    let habits = Habits {
        at_a_time: 2,
        ..Habits::default()
    };
    let (driven, lines) = run(&three, habits, None);
    assert_eq!(
        lines,
        [
            " 1000 0 Start [kill leader] n2",
            " 1000 start kill leader n2",
            " 1000 0 Effective [kill leader] n2 felt",
            " 2000 1 Start [isolate n1] n1",
            " 2000 start isolate n1 n1",
            " 2000 1 Effective [isolate n1] n1 felt",
            " 3000 stop isolate n1 n1",
            " 3000 1 Stop [isolate n1] n1",
            " 3000 2 Start [pause all] n1,n2,n3",
            " 3000 start pause all n1,n2,n3",
            " 3000 2 Effective [pause all] n1,n2,n3 felt",
            " 5000 stop kill leader n2",
            " 5000 0 Stop [kill leader] n2",
            " 6000 stop pause all n1,n2,n3",
            " 6000 2 Stop [pause all] n1,n2,n3",
            " 6000 heal",
        ]
    );
    assert_eq!(ends(&driven), [StepEnd::Effective; 3]);
}

#[test]
fn an_early_stop_undoes_everything_that_is_in_force() {
    let two = schedule(vec![step(100, 5000, kill_leader()), step(200, 6000, isolate_one())]);
    let habits = Habits {
        at_a_time: 2,
        proved_after: None,
        ..Habits::default()
    };
    let (driven, lines) = run(&two, habits, Some(Duration::from_millis(1010)));
    assert_eq!(
        lines[4..],
        [
            " 1050 0 NoEffect [kill leader] n2 nothing was held",
            " 1050 stop kill leader n2",
            " 1050 0 Stop [kill leader] n2",
            " 1050 1 NoEffect [isolate n1] n1 nothing was held",
            " 1050 stop isolate n1 n1",
            " 1050 1 Stop [isolate n1] n1",
            " 1050 heal",
        ]
    );
    assert_eq!(ends(&driven), [StepEnd::NoEffect; 2]);
}

#[test]
fn an_unknown_or_slow_leader_has_a_stand_in() {
    let one = schedule(vec![step(100, 500, kill_leader())]);
    let unknown = Habits {
        leader: None,
        ..Habits::default()
    };
    assert_eq!(run(&one, unknown, None).0.steps[0].nodes, [NodeId(3)]);
    let slow = Habits {
        leader_takes: Duration::from_secs(60),
        ..Habits::default()
    };
    let (driven, lines) = run(&one, slow, None);
    assert_eq!(driven.steps[0].nodes, [NodeId(3)]);
    assert_eq!(lines[0], " 2100 0 Start [kill leader] n3");
}

#[test]
fn a_schedule_for_another_cluster_is_an_error_and_touches_nothing() {
    let stranger = Fault::Pause {
        select: Select::Nodes { nodes: vec![NodeId(9)] },
    };
    let (driven, lines) = run(&schedule(vec![step(100, 500, stranger)]), Habits::default(), None);
    assert_eq!(ends(&driven), [StepEnd::Error]);
    assert_eq!(
        lines,
        [
            "  100 0 Error [pause n9]  the schedule names n9, but the nodes are n1 n2 n3",
            "  100 heal",
        ]
    );
}

#[test]
fn healing_that_hangs_is_given_up_and_told() {
    let schedule = schedule(vec![step(100, 500, kill_leader())]);
    let habits = Habits {
        heal_hangs: true,
        ..Habits::default()
    };
    let (driven, _) = run(&schedule, habits, None);
    assert_eq!(
        driven.healed,
        Err(FaultError("healing took longer than 20 s".to_owned()))
    );
}

#[test]
fn drawn_schedules_run_as_they_are_written() {
    for seed in 0..20 {
        let tracks = 1 + u16::try_from(seed % 3).expect("small");
        // The target has no spare nodes.
        let mut kinds: BTreeSet<FaultKind> = FaultKind::ALL.into();
        kinds.remove(&FaultKind::MemberGrow);
        let plan = Plan {
            tracks,
            ..Plan::new(seed, 3, kinds, Duration::from_secs(10))
        };
        let schedule = draw(&plan);
        let habits = Habits {
            at_a_time: usize::from(tracks),
            ..Habits::default()
        };
        let (driven, lines) = run(&schedule, habits, None);
        assert!(
            driven.steps.iter().all(|step| step.end == StepEnd::Effective),
            "{driven:?}"
        );
        let started: Vec<u64> = lines
            .iter()
            .filter(|line| line.contains(" Start "))
            .map(|line| {
                line.split_whitespace()
                    .next()
                    .and_then(|ms| ms.parse().ok())
                    .expect("a time")
            })
            .collect();
        let planned: Vec<u64> = schedule.steps.iter().map(|step| step.at_ms).collect();
        assert_eq!(started, planned, "seed {seed}");
    }
}
