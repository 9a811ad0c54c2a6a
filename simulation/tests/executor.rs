//! Time, order, life and death, without network or disk.
#![expect(clippy::disallowed_methods, reason = "one test brings in a thread to see it refused")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use openraft_rt::AsyncRuntime;
use tribunal_env::{Clock as _, Env as _, Purpose, Stream};
use tribunal_history::NodeId;
use tribunal_simulation::{
    Buggify, Crash, FindingKind, JoinError, Limits, Place, Settings, SimRuntime, Simulation, Stopped, yield_now,
};

const N1: NodeId = NodeId(1);
const SECOND: Duration = Duration::from_secs(1);

fn simulation(seed: u64) -> Simulation {
    Simulation::new(Settings {
        seed,
        keep_trace: true,
        ..Settings::default()
    })
}

type Log = Arc<Mutex<Vec<String>>>;

fn log(log: &Log, line: impl ToString) {
    log.lock().expect("not poisoned").push(line.to_string());
}

fn lines(log: &Log) -> Vec<String> {
    log.lock().expect("not poisoned").clone()
}

/// Ten tasks that take turns, and the order in which they came.
fn order(seed: u64) -> (Vec<String>, Vec<u8>) {
    let mut simulation = simulation(seed);
    let world = simulation.world();
    let seen = Log::default();
    for task in 0..10 {
        let seen = Arc::clone(&seen);
        drop(world.spawn(Place::Harness, async move {
            for _ in 0..3 {
                log(&seen, task);
                yield_now().await;
            }
        }));
    }
    simulation.run_for(SECOND).expect("runs");
    (lines(&seen), simulation.trace().expect("kept"))
}

#[test]
fn the_seed_draws_the_order_of_tasks() {
    assert_eq!(order(1), order(1));
    assert_ne!(order(1).0, order(2).0);
    assert_ne!(order(1).1, order(2).1);
}

#[test]
fn time_passes_only_when_nothing_is_ready_and_costs_nothing() {
    let mut simulation = simulation(1);
    let world = simulation.world();
    let year = Duration::from_secs(365 * 24 * 3600);
    let woken = simulation.run_until(year * 2, async {
        SimRuntime::sleep(year).await;
        world.now()
    });
    assert_eq!(woken, Ok(year));
    assert_eq!(simulation.run_for(SECOND), Ok(()));
    assert_eq!(simulation.world().now(), year + SECOND);
}

#[test]
fn a_run_that_cannot_end_says_why() {
    let mut simulation = simulation(1);
    let never = std::future::pending::<()>;
    assert_eq!(simulation.run_until(SECOND, never()), Err(Stopped::Deadlock));
    let ticks = async {
        loop {
            SimRuntime::sleep(SECOND).await;
        }
    };
    drop(simulation.world().spawn(Place::Harness, ticks));
    let within = SECOND * 10;
    assert_eq!(
        simulation.run_until(within, never()),
        Err(Stopped::NotInTime { within })
    );
}

#[test]
fn endless_polls_are_bounded() {
    for (polls, polls_at_an_instant) in [(1000, u64::MAX), (u64::MAX, 1000)] {
        let mut simulation = Simulation::new(Settings {
            limits: Limits {
                polls,
                polls_at_an_instant,
            },
            ..Settings::default()
        });
        let spin = async {
            loop {
                yield_now().await;
            }
        };
        drop(simulation.world().spawn(Place::Harness, spin));
        match simulation.run_for(SECOND) {
            Err(Stopped::Polls { polls: 1000 }) => assert_eq!(polls, 1000),
            Err(Stopped::Livelock { spawned, .. }) => {
                assert_eq!(polls_at_an_instant, 1000);
                assert!(spawned.contains("executor.rs"), "{spawned}");
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_nodes_tasks_die_with_it_and_their_children_too() {
    let mut simulation = simulation(1);
    let world = simulation.world();
    let seen = Log::default();
    let in_node = Arc::clone(&seen);
    world.boot(N1, move |env| {
        let seen = Arc::clone(&in_node);
        async move {
            let child = SimRuntime::spawn(async move {
                // A grandchild inherits the node as well.
                let tick = SimRuntime::spawn(async move {
                    loop {
                        log(&seen, env.incarnation());
                        SimRuntime::sleep(SECOND).await;
                    }
                });
                tick.await
            });
            let _: Result<_, JoinError> = child.await;
        }
    });
    simulation.run_for(SECOND * 5 / 2).expect("runs");
    assert!(world.crash(N1, Crash::MACHINE));
    assert!(!world.crash(N1, Crash::MACHINE), "it is dead already");
    assert!(!world.is_up(N1));
    simulation.run_for(SECOND * 10).expect("runs");
    assert_eq!(lines(&seen), ["0"; 3]);
    assert!(world.restart(N1));
    assert!(!world.restart(N1), "it lives already");
    simulation.run_for(SECOND * 3 / 2).expect("runs");
    assert_eq!(lines(&seen), ["0", "0", "0", "1", "1"]);
    assert_eq!(world.findings().1, 0);
}

#[test]
fn a_paused_node_does_nothing_until_it_is_resumed() {
    let mut simulation = simulation(1);
    let world = simulation.world();
    let seen = Log::default();
    let in_node = Arc::clone(&seen);
    world.boot(N1, move |env| {
        let seen = Arc::clone(&in_node);
        async move {
            let start = env.clock().monotonic();
            loop {
                SimRuntime::sleep(SECOND).await;
                log(&seen, (env.clock().monotonic() - start).as_secs());
            }
        }
    });
    simulation.run_for(SECOND * 3 / 2).expect("runs");
    assert!(world.pause(N1));
    assert!(!world.pause(N1));
    simulation.run_for(SECOND * 8).expect("runs");
    assert_eq!(lines(&seen), ["1"]);
    assert!(world.resume(N1));
    simulation.run_for(SECOND * 2).expect("runs");
    assert_eq!(lines(&seen), ["1", "9", "10", "11"], "its clock went on");
}

#[test]
fn a_panic_is_a_finding_and_nothing_else_ends() {
    let mut simulation = simulation(1);
    let world = simulation.world();
    world.boot(N1, |_| async {
        let task = SimRuntime::spawn(async {
            SimRuntime::sleep(SECOND).await;
            panic!("index {} is not there", 7);
        });
        assert_eq!(task.await, Err(JoinError::Panicked));
        std::future::pending().await
    });
    simulation.run_for(SECOND * 10).expect("runs");
    assert!(world.is_up(N1), "only the task ended");
    let (findings, count) = world.findings();
    assert_eq!(count, 1);
    assert_eq!((findings[0].place, findings[0].at), (Place::Node(N1), SECOND));
    let FindingKind::Panic {
        message,
        location,
        backtrace,
        ..
    } = &findings[0].kind
    else {
        panic!("{}", findings[0]);
    };
    assert_eq!(message, "index 7 is not there");
    assert!(location.contains("tests/executor.rs"), "{location}");
    assert!(!backtrace.is_empty());
}

#[test]
fn a_process_ends_with_its_program() {
    let mut simulation = simulation(1);
    let world = simulation.world();
    let seen = Log::default();
    let in_node = Arc::clone(&seen);
    world.boot(N1, move |_| {
        let seen = Arc::clone(&in_node);
        async move {
            drop(SimRuntime::spawn(async move {
                loop {
                    log(&seen, "tick");
                    SimRuntime::sleep(SECOND).await;
                }
            }));
            SimRuntime::sleep(SECOND / 2).await;
        }
    });
    simulation.run_until(SECOND * 2, world.ended(N1)).expect("it ends");
    simulation.run_for(SECOND * 5).expect("runs");
    assert_eq!(lines(&seen), ["tick"]);
}

#[test]
fn a_thread_that_wakes_a_task_is_refused_and_found() {
    let mut simulation = simulation(1);
    let world = simulation.world();
    let (give, take) = std::sync::mpsc::channel();
    drop(world.spawn(Place::Harness, async move {
        std::future::poll_fn(|context| {
            let _ = give.send(context.waker().clone());
            std::task::Poll::<()>::Pending
        })
        .await;
    }));
    simulation.run_for(SECOND).expect("runs");
    let waker = take.recv().expect("a waker");
    let outcome = std::thread::spawn(move || waker.wake()).join();
    assert!(outcome.is_err(), "the thread panics");
    let (findings, _) = world.findings();
    assert!(matches!(findings[..], [ref one] if matches!(one.kind, FindingKind::ForeignWake)));
}

#[test]
fn a_drop_that_acts_is_a_finding() {
    struct Acts;
    impl Drop for Acts {
        fn drop(&mut self) {
            drop(SimRuntime::spawn(async {}));
        }
    }
    let mut simulation = simulation(1);
    let world = simulation.world();
    world.boot(N1, |_| async {
        let _acts = Acts;
        std::future::pending().await
    });
    simulation.run_for(SECOND).expect("runs");
    world.crash(N1, Crash::PROCESS);
    let (findings, _) = world.findings();
    assert!(
        matches!(findings[..], [ref one] if matches!(one.kind, FindingKind::ActsAfterDeath { .. })),
        "{findings:?}"
    );
}

#[test]
fn a_node_crashes_at_the_await_point_that_was_chosen() {
    for polls in 0..5 {
        let mut simulation = simulation(1);
        let world = simulation.world();
        let seen = Log::default();
        let in_node = Arc::clone(&seen);
        world.boot(N1, move |_| {
            let seen = Arc::clone(&in_node);
            async move {
                for step in 0..10 {
                    log(&seen, step);
                    yield_now().await;
                }
            }
        });
        assert!(world.crash_after_polls(N1, polls, Crash::MACHINE));
        simulation.run_for(SECOND).expect("runs");
        assert!(!world.is_up(N1));
        assert_eq!(lines(&seen).len() as u64, polls);
    }
}

#[test]
fn a_node_crashes_at_the_point_that_was_named() {
    let mut simulation = simulation(1);
    let world = simulation.world();
    let seen = Log::default();
    let in_node = Arc::clone(&seen);
    world.boot(N1, move |env| {
        let seen = Arc::clone(&in_node);
        async move {
            for step in 0..5 {
                log(&seen, format!("before {step}"));
                assert!(!env.buggify("between write and sync"));
                log(&seen, format!("after {step}"));
                yield_now().await;
            }
            std::future::pending().await
        }
    });
    assert!(world.crash_at(N1, "between write and sync", 1, Crash::MACHINE));
    simulation.run_for(SECOND).expect("runs");
    assert!(!world.is_up(N1));
    assert_eq!(lines(&seen), ["before 0", "after 0", "before 1"]);
    assert_eq!(world.findings().1, 0, "a crash is no finding");
    assert!(world.restart(N1));
    simulation.run_for(SECOND).expect("runs");
    assert!(world.is_up(N1), "it is armed once");
    // A point that only a later life passes.
    assert!(world.crash_at(N1, "between write and sync", 0, Crash::MACHINE));
    assert!(world.crash(N1, Crash::MACHINE) && world.restart(N1));
    simulation.run_for(SECOND).expect("runs");
    assert!(!world.is_up(N1), "it waits for the next life");
}

#[test]
fn points_act_as_often_as_they_are_told() {
    let simulation = simulation(1);
    let world = simulation.world();
    let env = world.client(1);
    assert!(!(0..100).any(|_| env.buggify("rare")));
    world.set_buggify(Buggify {
        enabled: 1.0,
        acts: 0.5,
        acts_seldom: 0.0,
    });
    let acted = (0..100).filter(|_| env.buggify("rare")).count() as u64;
    assert!((30..70).contains(&acted), "{acted}");
    assert_eq!(world.buggified().get("rare"), Some(&acted));
}

#[test]
fn clocks_drift_leap_and_wake_their_sleepers() {
    let mut simulation = simulation(1);
    let world = simulation.world();
    let woken = Log::default();
    for (node, seconds) in [(1, 10), (2, 10), (3, 10)] {
        let (woken, world_in) = (Arc::clone(&woken), world.clone());
        world.boot(NodeId(node), move |env| {
            let (woken, world) = (Arc::clone(&woken), world_in.clone());
            async move {
                let before = env.clock().monotonic();
                SimRuntime::sleep(SECOND * seconds).await;
                assert!(env.clock().monotonic() - before >= SECOND * seconds);
                log(&woken, format!("n{node} {}", world.now().as_secs()));
            }
        });
    }
    assert!(
        world.set_drift(Place::Node(NodeId(2)), 250_000),
        "runs a quarter faster"
    );
    simulation.run_for(SECOND * 4).expect("runs");
    assert!(
        world.leap(Place::Node(NodeId(3)), SECOND * 7),
        "is past its deadline at once"
    );
    assert!(world.set_wall(Place::Node(NodeId(1)), -5_000_000_000));
    simulation.run_for(SECOND * 20).expect("runs");
    assert_eq!(lines(&woken), ["n3 4", "n2 8", "n1 10"]);
    assert!(!world.set_drift(Place::Client(9), 1), "nobody is there");
}

#[test]
fn streams_differ_by_place_and_life() {
    use rand::Rng as _;
    let mut simulation = simulation(1);
    let world = simulation.world();
    let drawn = Log::default();
    for node in [1, 2] {
        let drawn = Arc::clone(&drawn);
        world.boot(NodeId(node), move |env| {
            let drawn = Arc::clone(&drawn);
            async move {
                let stream = Stream {
                    purpose: Purpose::Test,
                    a: 0,
                    b: 0,
                };
                log(&drawn, env.rng(stream).next_u64());
                log(&drawn, SimRuntime::thread_rng().next_u64());
                log(&drawn, SimRuntime::thread_rng().next_u64());
            }
        });
    }
    simulation.run_for(SECOND).expect("runs");
    assert!(world.restart(N1));
    simulation.run_for(SECOND).expect("runs");
    let mut drawn = lines(&drawn);
    assert_eq!(drawn.len(), 9);
    drawn.sort();
    drawn.dedup();
    assert_eq!(drawn.len(), 9, "all differ");
}
