//! Calls and streams: over HTTP/2 on loopback, and over simulated links.
//!
//! The line that matters most is between *refused*, which promises that nothing was executed, and *no answer*, which
//! promises nothing.

use std::time::Duration;

use bytes::Bytes;
use tribunal_env::{AsyncRuntime, CallError, Env, PeerStream as _, Transport as _};
use tribunal_history::MemberId;

use crate::in_every_world;
use crate::other::BURST;
use crate::real::Real;
use crate::simulated::Simulated;
use crate::world::{BOUND, DOWN, THERE, UNKNOWN, World};

in_every_world! {
    real: crate::transport::Real, simulated: crate::transport::Simulated => [
        a_call_is_answered,
        large_messages_pass,
        calls_under_way_at_once_keep_their_answers,
        a_call_that_is_refused_was_not_executed,
        a_failed_call_is_in_doubt,
        a_call_without_an_answer_is_given_up_and_executed_once,
        a_call_to_a_member_that_dies_is_in_doubt,
        a_member_that_is_back_answers,
        a_stream_keeps_its_order_in_both_directions,
        a_stream_closed_here_ends_there_after_its_last_message,
        a_stream_closed_there_ends_here_after_its_last_message,
        a_stream_breaks_as_a_whole,
        a_stream_that_nobody_serves_is_refused,
    ]
}

/// Long enough for a call that is answered at once, and not waited for by one that is never answered.
const PATIENCE: Duration = Duration::from_millis(300);

async fn call<W: World>(world: &W, to: MemberId, method: &'static str, body: &[u8]) -> Result<Bytes, CallError> {
    let env = world.here();
    env.transport()
        .call(to, method, Bytes::copy_from_slice(body), BOUND)
        .await
}

fn a_call_is_answered<W: World>() {
    W::run(async |world| {
        assert_eq!(call(world, THERE, "echo", b"hello").await.expect("answered"), "hello");
        assert_eq!(call(world, THERE, "echo", b"").await.expect("answered"), "");
        assert_eq!(call(world, THERE, "say", b"executed").await.expect("answered"), "");
        assert_eq!(world.script().unheard().await, ["executed"], "once, before the answer");
    });
}

fn large_messages_pass<W: World>() {
    W::run(async |world| {
        // Beyond the 4 MiB at which gRPC stops by default.
        let large: Vec<u8> = (0..6 << 20_u32).map(|byte| (byte % 251) as u8).collect();
        assert!(call(world, THERE, "echo", &large).await.expect("answered") == large);
        let env = world.here();
        let mut stream = env.transport().stream(THERE, "echo").await.expect("opened");
        stream.send(large.clone().into()).await.expect("sent");
        assert!(stream.receive().await.expect("received").expect("a message") == large);
    });
}

fn calls_under_way_at_once_keep_their_answers<W: World>() {
    W::run(async |world| {
        let calls: Vec<_> = (0..50_u8)
            .map(|number| {
                let transport = world.here().transport().clone();
                <W::Env as Env>::Runtime::spawn(async move {
                    transport.call(THERE, "echo", Bytes::from(vec![number]), BOUND).await
                })
            })
            .collect();
        for (number, answer) in calls.into_iter().enumerate() {
            let Ok(answer) = answer.await else {
                panic!("the task of call {number} failed")
            };
            assert_eq!(answer.expect("answered")[..], [number as u8]);
        }
    });
}

fn a_call_that_is_refused_was_not_executed<W: World>() {
    W::run(async |world| {
        for (to, method) in [
            (THERE, "refuse"),
            (THERE, "no such method"),
            (UNKNOWN, "say"),
            (DOWN, "say"),
        ] {
            let refused = call(world, to, method, b"executed").await;
            assert!(
                matches!(refused, Err(CallError::Refused(_))),
                "{method} of {to}: {refused:?}"
            );
        }
        assert!(world.script().unheard().await.is_empty());
        let Err(CallError::Refused(why)) = call(world, THERE, "refuse", b"").await else {
            panic!("it was not refused");
        };
        assert!(why.contains("not now"), "the reason arrives: {why}");
    });
}

fn a_failed_call_is_in_doubt<W: World>() {
    W::run(async |world| {
        let failed = call(world, THERE, "fail", b"").await;
        assert!(
            matches!(&failed, Err(CallError::TimedOut(why)) if why.contains("half done")),
            "{failed:?}"
        );
        let panicked = call(world, THERE, "panic", b"").await;
        assert!(matches!(panicked, Err(CallError::TimedOut(_))), "{panicked:?}");
        assert_eq!(call(world, THERE, "echo", b"x").await.expect("it goes on"), "x");
    });
}

fn a_call_without_an_answer_is_given_up_and_executed_once<W: World>() {
    W::run(async |world| {
        // So that there is a connection, and the next call is surely sent.
        call(world, THERE, "echo", b"").await.expect("answered");
        let env = world.here();
        let began = tribunal_env::Clock::monotonic(env.clock());
        let given_up = env.transport().call(THERE, "wait", Bytes::new(), PATIENCE).await;
        assert!(matches!(given_up, Err(CallError::TimedOut(_))), "{given_up:?}");
        let waited = tribunal_env::Clock::monotonic(env.clock()) - began;
        assert!(waited >= PATIENCE, "given up after {waited:?}");
        assert_eq!(world.script().hear().await, "began");
        world.script().open_gate();
        assert_eq!(
            world.script().hear().await,
            "ended",
            "whoever hangs up leaves no call half done"
        );
        assert_eq!(call(world, THERE, "echo", b"x").await.expect("answered"), "x");
        assert!(world.script().unheard().await.is_empty(), "nothing is sent twice");
    });
}

fn a_call_to_a_member_that_dies_is_in_doubt<W: World>() {
    W::run(async |world| {
        let transport = world.here().transport().clone();
        let answer =
            <W::Env as Env>::Runtime::spawn(
                async move { transport.call(THERE, "wait", Bytes::new(), BOUND * 2).await },
            );
        assert_eq!(world.script().hear().await, "began");
        world.kill_there();
        let Ok(answer) = answer.await else {
            panic!("the task of the call failed")
        };
        assert!(matches!(answer, Err(CallError::TimedOut(_))), "{answer:?}");
        assert!(
            world.script().unheard().await.is_empty(),
            "nothing of it runs after its death"
        );
    });
}

fn a_member_that_is_back_answers<W: World>() {
    W::run(async |world| {
        assert_eq!(call(world, THERE, "echo", b"1").await.expect("answered"), "1");
        world.kill_there();
        // The first ones may still meet the connection to the dead; none is answered, and soon all are refused.
        for attempt in 0.. {
            match call(world, THERE, "say", b"executed").await {
                Err(CallError::Refused(_)) => break,
                Err(CallError::TimedOut(why)) => assert!(attempt < 1000, "still in doubt: {why}"),
                Ok(_) => panic!("the dead answer"),
            }
        }
        world.start_there(true).await;
        for attempt in 0.. {
            match call(world, THERE, "echo", b"2").await {
                Ok(answer) => {
                    assert_eq!(answer, "2");
                    break;
                }
                Err(why) => assert!(attempt < 1000, "still no answer: {why}"),
            }
            <W::Env as Env>::Runtime::sleep(Duration::from_millis(10)).await;
        }
        assert!(
            world.script().unheard().await.is_empty(),
            "what was refused stays undone"
        );
    });
}

fn a_stream_keeps_its_order_in_both_directions<W: World>() {
    W::run(async |world| {
        let env = world.here();
        let mut stream = env.transport().stream(THERE, "echo").await.expect("opened");
        let (mut sent, mut received) = (0_u32, 0_u32);
        while received < 500 {
            while sent < 500 && sent < received + 20 {
                stream.send(sent.to_be_bytes().to_vec().into()).await.expect("sent");
                sent += 1;
            }
            let message = stream.receive().await.expect("received").expect("it is open");
            assert_eq!(message[..], received.to_be_bytes());
            received += 1;
        }
    });
}

fn a_stream_closed_here_ends_there_after_its_last_message<W: World>() {
    W::run(async |world| {
        let env = world.here();
        let mut stream = env.transport().stream(THERE, "collect").await.expect("opened");
        for number in 0..BURST {
            stream.send(number.to_be_bytes().to_vec().into()).await.expect("sent");
        }
        drop(stream);
        for number in 0..BURST {
            assert_eq!(world.script().hear().await[..], number.to_be_bytes());
        }
        assert_eq!(world.script().hear().await, "closed");
    });
}

fn a_stream_closed_there_ends_here_after_its_last_message<W: World>() {
    W::run(async |world| {
        let env = world.here();
        let mut stream = env.transport().stream(THERE, "burst").await.expect("opened");
        for number in 0..BURST {
            let message = stream.receive().await.expect("received").expect("there are more");
            assert_eq!(message[..], number.to_be_bytes());
        }
        assert_eq!(stream.receive().await.expect("closed in good order"), None);
    });
}

fn a_stream_breaks_as_a_whole<W: World>() {
    W::run(async |world| {
        let env = world.here();
        let mut stream = env.transport().stream(THERE, "sit").await.expect("opened");
        assert_eq!(world.script().hear().await, "began");
        world.kill_there();
        let broken = stream.receive().await;
        assert!(
            matches!(broken, Err(CallError::TimedOut(_))),
            "no good order: {broken:?}"
        );
        // What is sent now is lost, which is said at once or soon.
        for attempt in 0.. {
            match stream.send(Bytes::from_static(b"x")).await {
                Err(CallError::TimedOut(_)) => break,
                other => assert!(attempt < 1000, "a broken stream takes messages: {other:?}"),
            }
            <W::Env as Env>::Runtime::sleep(Duration::from_millis(1)).await;
        }
        world.start_there(true).await;
        assert!(stream.receive().await.is_err(), "it stays broken");
    });
}

fn a_stream_that_nobody_serves_is_refused<W: World>() {
    W::run(async |world| {
        let env = world.here();
        for to in [DOWN, UNKNOWN] {
            let refused = env.transport().stream(to, "echo").await.err();
            assert!(matches!(refused, Some(CallError::Refused(_))), "of {to}: {refused:?}");
        }
        world.kill_there();
        world.start_there(false).await;
        // Until the other is reached again, nobody is there; from then on it says that it serves no streams.
        let mut is_back = false;
        for attempt in 0.. {
            is_back |= call(world, THERE, "echo", b"").await.is_ok();
            let refused = env.transport().stream(THERE, "echo").await.err();
            match refused {
                Some(CallError::Refused(_)) if is_back => break,
                Some(_) => assert!(attempt < 1000, "{refused:?}"),
                None => panic!("nobody serves it"),
            }
            <W::Env as Env>::Runtime::sleep(Duration::from_millis(10)).await;
        }
    });
}
