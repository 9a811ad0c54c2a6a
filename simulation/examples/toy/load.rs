//! What clients do to the toy, what befalls it, and what is left in the end.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use rand::Rng as _;
use tribunal_env::{CallError, Env as _, Purpose, Stream, Transport as _};
use tribunal_history::{MemberId, NodeId};
use tribunal_simulation::{Crash, Cut, LinkSettings, Place, SimEnv, World};

use super::{NODES, store};

/// Longer than an election, so that most calls meet a leader in the end.
const WITHIN: Duration = Duration::from_millis(500);

/// Writes keys of its own, one after another, and says which were acknowledged.
pub async fn write(world: World, client: u32, end: Duration) -> Vec<String> {
    let env: SimEnv = world.client(client);
    let mut rng = env.rng(Stream {
        purpose: Purpose::Workload,
        a: 0,
        b: 0,
    });
    let (mut acknowledged, mut target) = (Vec::new(), 1);
    for value in 0.. {
        if world.now() >= end {
            break;
        }
        world
            .sleep(Duration::from_micros((rng.next_u32() % 20_000).into()))
            .await;
        let key = format!("c{client}-{value}");
        let body = store::encode(&store::Put {
            key: key.clone(),
            value,
        });
        let answer = env.transport().call(MemberId(target), "put", body, WITHIN).await;
        match answer.and_then(|bytes| store::decode::<store::PutAnswer>(&bytes)) {
            Ok(Ok(_index)) => acknowledged.push(key),
            Ok(Err(Some(leader))) => target = leader,
            Ok(Err(None)) | Err(CallError::Refused(_) | CallError::TimedOut(_)) => target = target % 3 + 1,
        }
    }
    acknowledged
}

/// Bad weather all the time, and one fault after another, each undone before the next.
pub async fn trouble(world: World, end: Duration) {
    let stream = Stream {
        purpose: Purpose::Nemesis,
        a: 0,
        b: 0,
    };
    let mut rng = world.rng(stream);
    let mut draw = |bound: u32| rng.next_u32() % bound;
    world.set_links(LinkSettings {
        loss: 0.002,
        duplication: 0.01,
        reordering: 0.02,
        ..LinkSettings::default()
    });
    for node in NODES {
        let drift_ppm = i32::try_from(draw(100_000)).unwrap_or(0) - 50_000;
        world.set_drift(Place::Node(NodeId(node)), drift_ppm);
    }
    while world.now() < end {
        world.sleep(Duration::from_millis(300 + u64::from(draw(1000)))).await;
        let (kind, chosen) = (draw(9), NodeId(NODES[draw(3) as usize]));
        let (here, span) = (Place::Node(chosen), Duration::from_millis(100 + u64::from(draw(1400))));
        let others = NODES.map(|node| Place::Node(NodeId(node)));
        let others = others.into_iter().filter(|there| *there != here);
        match kind {
            0 => others.for_each(|there| world.cut(here, there, Cut::Silent)),
            1 => others.for_each(|there| world.cut(there, here, Cut::Refusing)),
            2 => others.for_each(|there| world.hold(here, there)),
            3 => {
                world.pause(chosen);
            }
            4 => {
                world.leap(here, span);
            }
            5 => {
                world.crash(chosen, Crash::MACHINE);
            }
            6 => {
                world.crash_after_polls(chosen, u64::from(draw(1000)), Crash::REBOOT);
            }
            _ => {
                for node in NODES {
                    world.crash(NodeId(node), Crash::REBOOT);
                }
            }
        }
        world.sleep(span).await;
        world.heal_all();
        for node in NODES {
            world.resume(NodeId(node));
            world.restart(NodeId(node));
        }
    }
}

/// The whole map, from whoever can read it linearizably.
pub async fn read(world: &World) -> BTreeMap<String, u64> {
    let env = world.client(99);
    for node in NODES.iter().cycle() {
        let answer = env
            .transport()
            .call(MemberId((*node).into()), "map", Bytes::new(), WITHIN)
            .await;
        if let Ok(map) = answer.and_then(|bytes| store::decode(&bytes)) {
            return map;
        }
    }
    BTreeMap::new()
}
