//! Calls and streams over links that fail.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use openraft_rt::AsyncRuntime;
use tribunal_env::{CallError, Env as _, PeerStream as _, Transport as _};
use tribunal_history::{MemberId, NodeId};
use tribunal_simulation::{Crash, Cut, Delay, LinkSettings, Place, Settings, SimEnv, SimRuntime, Simulation, World};

const N1: NodeId = NodeId(1);
const N2: NodeId = NodeId(2);
const P1: Place = Place::Node(N1);
const P2: Place = Place::Node(N2);
const M2: MemberId = MemberId(0xb0b);
const SECOND: Duration = Duration::from_secs(1);

/// Two nodes; the second one answers after what the method says, and keeps what it executed.
struct Pair {
    simulation: Simulation,
    world: World,
    executed: Arc<Mutex<Vec<String>>>,
}

impl Pair {
    fn new(seed: u64) -> Self {
        let mut simulation = Simulation::new(Settings {
            seed,
            ..Settings::default()
        });
        let world = simulation.world();
        let executed = Arc::new(Mutex::new(Vec::new()));
        assert!(world.boot(N1, |_| std::future::pending()));
        let kept = Arc::clone(&executed);
        assert!(world.boot(N2, move |env| {
            let kept = Arc::clone(&kept);
            env.serve(move |from, method, body| {
                let kept = Arc::clone(&kept);
                async move {
                    let text = format!("{from} {}", String::from_utf8_lossy(&body));
                    kept.lock().expect("not poisoned").push(text);
                    match method {
                        "slow" => SimRuntime::sleep(SECOND / 2).await,
                        "no" => return Err(CallError::Refused("not the leader".to_owned())),
                        "broken" => panic!("a broken handler"),
                        _ => {}
                    }
                    Ok(Bytes::from([b"re: ", &body[..]].concat()))
                }
            });
            env.serve_streams(|_, _, mut stream| async move {
                while let Ok(Some(body)) = stream.receive().await {
                    if body == "close" || stream.send(body).await.is_err() {
                        return;
                    }
                }
            });
            std::future::pending()
        }));
        world.add_member(M2, N2);
        world.set_links(LinkSettings {
            delay: Delay::uniform(Duration::from_millis(1), Duration::from_millis(5)),
            ..LinkSettings::default()
        });
        simulation.run_for(Duration::from_millis(1)).expect("boots");
        Self {
            simulation,
            world,
            executed,
        }
    }

    fn env(&self) -> SimEnv {
        self.world.env(P1).expect("it lives")
    }

    /// Calls the second node from the first one; the answer and how long it took.
    fn call(&mut self, method: &'static str, body: &'static str) -> (Result<Bytes, CallError>, Duration) {
        let (env, start) = (self.env(), self.world.now());
        let call = env.transport().call(M2, method, Bytes::from(body), SECOND);
        let answer = self.simulation.run_until(SECOND * 60, call).expect("it ends");
        (answer, self.world.now() - start)
    }

    fn executed(&self) -> Vec<String> {
        self.executed.lock().expect("not poisoned").clone()
    }

    fn set(&self, from: Place, to: Place, change: impl FnOnce(&mut LinkSettings)) {
        let mut settings = LinkSettings {
            delay: Delay::uniform(Duration::from_millis(1), Duration::from_millis(5)),
            ..LinkSettings::default()
        };
        change(&mut settings);
        self.world.set_link(from, to, Some(settings));
    }
}

fn is_refused(answer: &Result<Bytes, CallError>) -> bool {
    matches!(answer, Err(CallError::Refused(_)))
}

fn is_unknown(answer: &Result<Bytes, CallError>) -> bool {
    matches!(answer, Err(CallError::TimedOut(_)))
}

#[test]
fn a_call_is_answered_after_two_delays() {
    let mut pair = Pair::new(1);
    let (answer, took) = pair.call("echo", "hello");
    assert_eq!(answer, Ok(Bytes::from("re: hello")));
    assert!(
        (Duration::from_millis(2)..=Duration::from_millis(10)).contains(&took),
        "{took:?}"
    );
    assert_eq!(pair.executed(), ["n1 hello"]);
    let client = pair.world.client(4);
    let call = client.transport().call(M2, "echo", Bytes::from("hi"), SECOND);
    assert_eq!(pair.simulation.run_until(SECOND, call), Ok(Ok(Bytes::from("re: hi"))));
    assert_eq!(pair.executed(), ["n1 hello", "c4 hi"]);
    let stranger = client.transport().call(MemberId(9), "echo", Bytes::new(), SECOND);
    assert!(is_refused(
        &pair.simulation.run_until(SECOND, stranger).expect("it ends")
    ));
}

#[test]
fn what_the_handler_says_is_what_the_caller_hears() {
    let mut pair = Pair::new(1);
    assert_eq!(
        pair.call("no", "x").0,
        Err(CallError::Refused("not the leader".to_owned()))
    );
    assert_eq!(pair.world.findings().1, 0);
    assert!(is_unknown(&pair.call("broken", "x").0));
    assert_eq!(pair.world.findings().1, 1, "and the panic is found");
}

#[test]
fn a_dead_process_refuses_and_a_dead_machine_is_silent() {
    for (crash, is_quick) in [(Crash::PROCESS, true), (Crash::REBOOT, true), (Crash::MACHINE, false)] {
        let mut pair = Pair::new(1);
        assert!(pair.world.crash(N2, crash));
        let (answer, took) = pair.call("echo", "x");
        assert_eq!(
            (is_refused(&answer), took < SECOND / 10),
            (is_quick, is_quick),
            "{answer:?}"
        );
        assert!(pair.world.restart(N2));
        assert!(pair.call("echo", "x").0.is_ok());
    }
}

#[test]
fn a_call_that_a_crash_breaks_off_is_unknown() {
    for (crash, took_max) in [(Crash::PROCESS, SECOND / 2), (Crash::MACHINE, SECOND * 2)] {
        let mut pair = Pair::new(1);
        let world = pair.world.clone();
        drop(pair.world.spawn(Place::Harness, async move {
            world.sleep(SECOND / 4).await;
            world.crash(N2, crash);
        }));
        let (answer, took) = pair.call("slow", "x");
        assert!(is_unknown(&answer), "{answer:?}");
        assert!(took < took_max, "{took:?}");
        assert_eq!(pair.executed().len(), 1);
    }
}

#[test]
fn a_cut_has_a_direction_and_a_manner() {
    // The request is cut, then the answer, then the request by a wall that says so.
    for (from, to, cut, executes, refuses) in [
        (P1, P2, Cut::Silent, false, false),
        (P2, P1, Cut::Silent, true, false),
        (P1, P2, Cut::Refusing, false, true),
    ] {
        let mut pair = Pair::new(1);
        pair.world.cut(from, to, cut);
        let (answer, took) = pair.call("echo", "x");
        assert_eq!(is_refused(&answer), refuses, "{answer:?}");
        assert_eq!(is_unknown(&answer), !refuses, "{answer:?}");
        assert_eq!(took >= SECOND, !refuses);
        assert_eq!(!pair.executed().is_empty(), executes);
        assert_eq!(pair.world.link_counters(from, to).cut, 1);
        pair.world.heal(from, to);
        assert!(pair.call("echo", "y").0.is_ok());
    }
}

#[test]
fn held_messages_arrive_when_they_are_released() {
    let mut pair = Pair::new(1);
    pair.world.hold(P1, P2);
    assert!(is_unknown(&pair.call("echo", "1").0));
    assert!(is_unknown(&pair.call("echo", "2").0));
    assert!(pair.executed().is_empty());
    assert_eq!(pair.world.release(P1, P2), 2);
    pair.simulation.run_for(SECOND).expect("runs");
    assert_eq!(pair.executed(), ["n1 1", "n1 2"], "long after their callers gave up");
}

/// A hundred calls at a millisecond's distance, and the order in which they are executed.
fn hundred(pair: &mut Pair, env: SimEnv) -> Vec<u32> {
    for number in 0..100_u32 {
        let env = env.clone();
        drop(pair.world.spawn(Place::Harness, async move {
            let body = Bytes::from(number.to_string());
            env.transport().call(M2, "echo", body, SECOND).await
        }));
        pair.simulation.run_for(Duration::from_millis(1)).expect("runs");
    }
    // Longer than a copy is late.
    pair.simulation.run_for(SECOND * 3).expect("runs");
    let number = |line: &String| line.split(' ').nth(1).and_then(|word| word.parse().ok());
    pair.executed()
        .iter()
        .map(|line| number(line).expect("a number"))
        .collect()
}

#[test]
fn a_healthy_link_keeps_order_and_count() {
    let mut pair = Pair::new(1);
    let env = pair.env();
    assert_eq!(hundred(&mut pair, env), (0..100).collect::<Vec<_>>());
}

#[test]
fn links_lose_double_and_reorder_calls_as_they_are_told() {
    let mut lossy = Pair::new(1);
    lossy.set(P1, P2, |link| link.loss = 0.3);
    let env = lossy.env();
    let executed = hundred(&mut lossy, env);
    assert!((50..90).contains(&executed.len()), "{}", executed.len());
    assert_eq!(lossy.world.link_counters(P1, P2).lost as usize, 100 - executed.len());

    let mut doubling = Pair::new(1);
    doubling.set(P1, P2, |link| link.duplication = 0.3);
    let env = doubling.env();
    let executed = hundred(&mut doubling, env);
    let doubled = doubling.world.link_counters(P1, P2).duplicated as usize;
    assert!((10..50).contains(&doubled));
    assert_eq!(executed.len(), 100 + doubled);

    let mut mixing = Pair::new(1);
    mixing.set(P1, P2, |link| link.reordering = 0.3);
    let env = mixing.env();
    let executed = hundred(&mut mixing, env);
    assert_ne!(executed, (0..100).collect::<Vec<_>>());
    assert_eq!(executed.into_iter().collect::<BTreeSet<_>>().len(), 100);
}

#[test]
fn a_clients_calls_are_never_doubled() {
    let mut pair = Pair::new(1);
    let client = pair.world.client(1);
    pair.set(Place::Client(1), P2, |link| link.duplication = 1.0);
    assert_eq!(hundred(&mut pair, client).len(), 100);
}

#[test]
fn a_call_said_to_be_refused_is_never_executed() {
    // The link doubles and shuffles while the node dies and comes back again and again.
    let mut refused = 0;
    for seed in 0..20 {
        let mut pair = Pair::new(seed);
        pair.set(P1, P2, |link| {
            (link.duplication, link.reordering, link.loss) = (0.5, 0.5, 0.05);
            link.reordering_max = SECOND / 2;
        });
        let world = pair.world.clone();
        drop(pair.world.spawn(Place::Harness, async move {
            for _ in 0..20 {
                world.crash(N2, Crash::PROCESS);
                world.sleep(SECOND / 10).await;
                world.restart(N2);
                world.sleep(SECOND / 10).await;
            }
        }));
        let mut calls = Vec::new();
        for number in 0..100_u32 {
            let env = pair.env();
            calls.push(pair.world.spawn(Place::Harness, async move {
                let body = Bytes::from(number.to_string());
                (number, env.transport().call(M2, "echo", body, SECOND).await)
            }));
            pair.simulation.run_for(Duration::from_millis(30)).expect("runs");
        }
        pair.simulation.run_for(SECOND * 3).expect("runs");
        let executed = pair.executed();
        for call in calls {
            let (number, answer) = pair
                .simulation
                .run_until(SECOND, call)
                .expect("done")
                .expect("no panic");
            let was_executed = executed.contains(&format!("n1 {number}"));
            assert!(!is_refused(&answer) || !was_executed, "seed {seed}: {number}");
            assert!(answer.is_err() || was_executed, "seed {seed}: {number}");
            refused += u32::from(is_refused(&answer));
        }
    }
    assert!(refused > 100, "{refused}");
}

#[test]
fn a_slow_link_takes_its_time() {
    let mut pair = Pair::new(1);
    pair.set(P1, P2, |link| link.bytes_per_second = Some(1_000));
    let (answer, took) = pair.call(
        "echo",
        "0123456789012345678901234567890123456789012345678901234567890123456789",
    );
    assert!(answer.is_ok());
    assert!(took > Duration::from_millis(130), "{took:?}");
}

/// What is sent to a slow link is dropped when too much waits already, and the link is an usual one soon after.
#[test]
fn a_slow_link_keeps_little_back() {
    let mut pair = Pair::new(1);
    pair.set(P1, P2, |link| link.bytes_per_second = Some(100));
    let env = pair.env();
    let calls = async {
        let body = Bytes::from(vec![b'x'; 936]);
        let calls = (0..20).map(|_| {
            let (env, body) = (env.clone(), body.clone());
            async move { env.transport().call(M2, "echo", body, SECOND).await }
        });
        futures_util::future::join_all(calls).await
    };
    let answers = pair.simulation.run_until(SECOND * 60, calls).expect("no panic");
    assert!(answers.iter().all(Result::is_err), "a thousand bytes take ten seconds");
    assert_eq!(pair.world.link_counters(P1, P2).lost, 18);
    pair.set(P1, P2, |link| link.bytes_per_second = None);
    pair.simulation.run_for(SECOND).expect("no panic");
    let (answer, took) = pair.call("echo", "soon");
    assert!(answer.is_ok() && took < SECOND / 10, "{took:?}");
}

#[test]
fn a_stream_keeps_order_over_a_lossy_link_and_closes_in_good_order() {
    let mut pair = Pair::new(1);
    pair.set(P1, P2, |link| link.loss = 0.2);
    let env = pair.env();
    let talk = async {
        let mut stream = env.transport().stream(M2, "echo").await.expect("accepted");
        for number in 0..50_u32 {
            stream.send(Bytes::from(number.to_string())).await.expect("sent");
        }
        for number in 0..50_u32 {
            assert_eq!(stream.receive().await, Ok(Some(Bytes::from(number.to_string()))));
        }
        stream.send(Bytes::from("close")).await.expect("sent");
        stream.receive().await
    };
    assert_eq!(pair.simulation.run_until(SECOND * 60, talk), Ok(Ok(None)));
    assert!(pair.world.link_counters(P1, P2).lost > 0);
}

#[test]
fn a_stream_that_was_stuck_breaks_as_a_whole() {
    let mut pair = Pair::new(1);
    let (env, world) = (pair.env(), pair.world.clone());
    let talk = async {
        let mut stream = env.transport().stream(M2, "echo").await.expect("accepted");
        stream.send(Bytes::from("1")).await.expect("sent");
        assert_eq!(stream.receive().await, Ok(Some(Bytes::from("1"))));
        world.cut(P1, P2, Cut::Silent);
        stream.send(Bytes::from("2")).await.expect("it cannot know");
        world.sleep(SECOND).await;
        world.heal(P1, P2);
        let broken = (stream.send(Bytes::from("3")).await, stream.receive().await);
        assert!(matches!(
            broken,
            (Err(CallError::TimedOut(_)), Err(CallError::TimedOut(_)))
        ));
        let mut idle = env.transport().stream(M2, "echo").await.expect("accepted");
        world.cut(P1, P2, Cut::Silent);
        world.sleep(SECOND).await;
        world.heal(P1, P2);
        idle.send(Bytes::from("4")).await.expect("nothing was stuck");
        idle.receive().await
    };
    let answer = pair.simulation.run_until(SECOND * 60, talk);
    assert_eq!(answer, Ok(Ok(Some(Bytes::from("4")))));
    assert_eq!(pair.world.link_counters(P1, P2).streams_broken, 1);
}

#[test]
fn a_stream_breaks_with_its_other_end() {
    let mut pair = Pair::new(1);
    let (env, world) = (pair.env(), pair.world.clone());
    let talk = async {
        let mut stream = env.transport().stream(M2, "echo").await.expect("accepted");
        world.crash(N2, Crash::PROCESS);
        let broken = stream.receive().await;
        assert!(matches!(broken, Err(CallError::TimedOut(_))), "{broken:?}");
        let refused = env.transport().stream(M2, "echo").await;
        assert!(matches!(refused, Err(CallError::Refused(_))));
        world.crash(N2, Crash::MACHINE);
        world.restart(N2);
        world.sleep(SECOND).await;
        let mut stream = env.transport().stream(M2, "echo").await.expect("accepted");
        world.crash(N2, Crash::MACHINE);
        world.restart(N2);
        stream
            .send(Bytes::from("to the life before"))
            .await
            .expect("it cannot know");
        stream.receive().await
    };
    let broken = pair.simulation.run_until(SECOND * 60, talk).expect("it ends");
    assert!(matches!(broken, Err(CallError::TimedOut(_))), "{broken:?}");
}

#[test]
fn a_sender_waits_for_a_slow_reader() {
    let mut pair = Pair::new(1);
    let (env, world) = (pair.env(), pair.world.clone());
    let talk = async {
        let mut stream = env.transport().stream(M2, "echo").await.expect("accepted");
        world.pause(N2);
        let flood = async {
            for _ in 0..1000 {
                stream.send(Bytes::from("x")).await.expect("sent");
            }
        };
        let waited = SimRuntime::timeout(SECOND, flood).await;
        assert!(waited.is_err(), "a thousand messages fit into nowhere");
    };
    assert_eq!(pair.simulation.run_until(SECOND * 60, talk), Ok(()));
}
