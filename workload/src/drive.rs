//! The three things that clients do in a run: work, show progress after the heal, and read everything once more.
//!
//! A client performs one operation at a time, each exactly once. An operation in doubt retires its process, since
//! it may still be running: the same client goes on under a new number. Connecting is no operation; it is repeated
//! with growing waits. What is in flight when the time is over is awaited up to its own timeout, so that no
//! operation stays open because we stopped listening.

use std::collections::BTreeSet;
use std::time::Duration;

use rand::RngExt as _;
use tribunal_env::{Env, Purpose, Stream};
use tribunal_history::{NodeId, Outcome, Property, PropertyClass};

use crate::client::Client;
use crate::generator::Generator;
use crate::recorder::Recorder;
use crate::session::{Counts, Session, Worker};

/// A client waits at least so long after an operation that did not end ok, so that a node which refuses at once
/// does not fill the history with refusals.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_millis(20);

/// The same in the phases after the heal, where the point is to wait for the node.
const PAUSE_BETWEEN_ATTEMPTS: Duration = Duration::from_millis(100);

/// Longest gap between two operations, as a multiple of the mean; cuts the long tail of the exponential
/// distribution, which would leave a client idle for a whole fault.
const GAP_MAX: f64 = 4.0;

/// What one client did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientReport {
    /// The node that it worked on.
    pub node: NodeId,
    /// How its operations ended.
    pub counts: Counts,
    /// The keys that it used.
    pub keys: BTreeSet<String>,
    /// How many process numbers it used, one after the other.
    pub processes: u32,
    /// Attempts to connect that failed.
    pub connects_failed: u64,
    /// The most that a sleep was longer than asked for: stalls of the tool itself.
    pub stall: Duration,
}

/// Works for `limit` from now, or until told to stop: operations of `generator` at exponentially distributed gaps.
/// Ends at most one operation timeout after its time is over.
pub async fn work<E: Env, C: Client, R: Recorder>(
    worker: Worker<'_, E, C, R>,
    generator: &mut dyn Generator,
    limit: Duration,
) -> ClientReport {
    let node = worker.client.node();
    let stream = |purpose| {
        worker.env.rng(Stream {
            purpose,
            a: u64::from(worker.lane.index),
            b: 0,
        })
    };
    let (mut asks, mut pace) = (stream(Purpose::Workload), stream(Purpose::Pace));
    let gap_mean = worker.settings.gap_mean;
    let mut gap = move || {
        // The inverse of the exponential distribution's function; 1 - u is never 0.
        let u: f64 = pace.random_range(0.0..1.0);
        gap_mean.mul_f64((-(1.0 - u).ln()).min(GAP_MAX))
    };
    let mut keys = BTreeSet::new();
    let mut session = Session::new(worker, limit);
    let mut next = session.now().saturating_add(gap());
    loop {
        session.sleep_until(next).await;
        if session.over() || session.leaves_out_rest() {
            break;
        }
        if session.leaves_out_next() {
            // What it draws is drawn all the same.
            generator.next(&mut asks);
            next = session.now().saturating_add(gap());
            continue;
        }
        if !session.connect().await {
            break;
        }
        let started = session.now();
        let op = generator.next(&mut asks);
        let ok = session.perform(generator, &op).await;
        keys.extend(generator.touched(&op));
        next = started.saturating_add(gap());
        if !ok {
            next = next.max(session.now().saturating_add(PAUSE_AFTER_FAILURE));
        }
    }
    ClientReport {
        node,
        counts: session.counts,
        keys,
        processes: session.processes,
        connects_failed: session.connects_failed,
        stall: session.stall,
    }
}

/// How soon a node made progress after the heal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeProgress {
    /// Which node.
    pub node: NodeId,
    /// Time until its first write that ended ok; none if there was none.
    pub write_after: Option<Duration>,
    /// Time until its first linearizable read that ended ok; none if there was none.
    pub read_after: Option<Duration>,
    /// How its operations ended.
    pub counts: Counts,
    /// The most that a sleep was longer than asked for: stalls of the tool itself.
    pub stall: Duration,
}

/// Writes and reads through the client's node until one of each ended ok, for at most `bound` from now. Each attempt
/// is an operation of its own.
pub async fn liveness<E: Env, C: Client, R: Recorder>(
    worker: Worker<'_, E, C, R>,
    generator: &mut dyn Generator,
    bound: Duration,
) -> NodeProgress {
    let node = worker.client.node();
    let keys = generator.keys();
    assert!(!keys.is_empty(), "a workload has keys");
    let key = &keys[worker.lane.index as usize % keys.len()];
    let mut session = Session::new(worker, bound);
    let began = session.now();
    let (mut write_after, mut read_after) = (None, None);
    while write_after.is_none() || read_after.is_none() {
        let is_left_out = session.leaves_out_next();
        if !is_left_out && !session.connect().await {
            break;
        }
        let op = if write_after.is_none() {
            generator.write(key)
        } else {
            generator.read(key)
        };
        if is_left_out || session.perform(generator, &op).await {
            let after = Some(session.now().saturating_sub(began));
            if write_after.is_none() {
                write_after = after;
            } else {
                read_after = after;
            }
        } else {
            session
                .sleep_until(session.now().saturating_add(PAUSE_BETWEEN_ATTEMPTS))
                .await;
        }
    }
    NodeProgress {
        node,
        write_after,
        read_after,
        counts: session.counts,
        stall: session.stall,
    }
}

/// The property that every node answers a write and a linearizable read within `bound` after the heal. Inconclusive
/// rather than violated if the tool itself was stalled for a good part of it.
pub fn progress_property(nodes: &[NodeProgress], bound: Duration) -> Property {
    let late: Vec<String> = nodes
        .iter()
        .filter_map(|progress| {
            let missing = match (progress.write_after, progress.read_after) {
                (Some(_), Some(_)) => return None,
                (Some(_), None) => "no linearizable read",
                (None, Some(_)) => "no write",
                (None, None) => "neither a write nor a linearizable read",
            };
            Some(format!("{} answered {missing}", progress.node))
        })
        .collect();
    let stall = nodes.iter().map(|progress| progress.stall).max().unwrap_or_default();
    let slowest = nodes
        .iter()
        .filter_map(|progress| Some((progress.write_after?.max(progress.read_after?), progress.node)))
        .max();
    let (verdict, detail) = match slowest {
        _ if nodes.is_empty() => (Outcome::Vacuous, "no node was asked".to_owned()),
        Some((after, node)) if late.is_empty() => (
            Outcome::Pass,
            format!(
                "every node answered a write and a linearizable read within {:.2} s, {node} last",
                after.as_secs_f64()
            ),
        ),
        _ => {
            let what = format!("{} within {:.0} s", late.join(", "), bound.as_secs_f64());
            if stall > bound / STALL_SHARE {
                let stalled = format!(
                    "{what}; but Tribunal itself was stalled for {:.1} s",
                    stall.as_secs_f64()
                );
                (Outcome::Unknown, stalled)
            } else {
                (Outcome::Fail, what)
            }
        }
    };
    Property {
        id: "progress-after-heal".to_owned(),
        title: "Every node answers again after the heal".to_owned(),
        class: PropertyClass::Liveness,
        verdict,
        detail,
    }
}

/// A stall of more than this part of the bound makes the judgement of progress inconclusive.
const STALL_SHARE: u32 = 4;

/// What was read from a node at the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeReads {
    /// Which node.
    pub node: NodeId,
    /// The keys that were read ok.
    pub read: BTreeSet<String>,
    /// The keys that were not, within the bound.
    pub unread: BTreeSet<String>,
    /// How its operations ended.
    pub counts: Counts,
}

/// Reads each of `keys` through the client's node until it ended ok once, for at most `bound` from now. Each attempt
/// is an operation of its own; a key that fails does not keep the others waiting.
pub async fn final_reads<E: Env, C: Client, R: Recorder>(
    worker: Worker<'_, E, C, R>,
    generator: &mut dyn Generator,
    keys: &BTreeSet<String>,
    bound: Duration,
) -> NodeReads {
    let node = worker.client.node();
    let mut session = Session::new(worker, bound);
    let mut unread = keys.clone();
    while !unread.is_empty() && !session.over() {
        let mut read = BTreeSet::new();
        for key in &unread {
            if session.leaves_out_next() {
                read.insert(key.clone());
                continue;
            }
            if !session.connect().await {
                break;
            }
            let op = generator.read(key);
            if session.perform(generator, &op).await {
                read.insert(key.clone());
            }
        }
        let complete = read.len() == unread.len();
        unread.retain(|key| !read.contains(key));
        if !complete {
            session
                .sleep_until(session.now().saturating_add(PAUSE_BETWEEN_ATTEMPTS))
                .await;
        }
    }
    NodeReads {
        node,
        read: keys.difference(&unread).cloned().collect(),
        unread,
        counts: session.counts,
    }
}
