//! What every driver does with its client: connect, wait, and perform one operation with both ends recorded.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;
use tribunal_env::{AsyncRuntime as _, Clock as _, Env, Purpose, Stream};
use tribunal_history::{Cause, CauseCode, MemberId, ProcessId, Revision, Term, Value};

use crate::classify::classify;
use crate::client::{Client, Failure, Response};
use crate::generator::{Generator, Lane, Next, Op};
use crate::recorder::{Completion, Recorder, Reply};

/// Longest sleep between two looks at the stop flag: short enough that an interrupted run ends at once for a person.
const LOOK_AT_STOP: Duration = Duration::from_millis(50);

/// First and longest wait between two attempts to connect. A node that is being restarted takes some hundred
/// milliseconds; its first operations afterwards are those that tell what it lost, so a client is back soon.
const BACKOFF_FIRST: Duration = Duration::from_millis(20);
const BACKOFF_MAX: Duration = Duration::from_millis(250);

/// What a client is given beyond its own deadline before the driver stops waiting for it: a client that forgets its
/// deadline must not hang a run.
const GRACE: Duration = Duration::from_millis(500);

/// How clients behave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Mean time between the starts of two operations of one client; zero for the next as soon as the last ended.
    pub gap_mean: Duration,
    /// How long a client waits for an answer.
    pub operation_timeout: Duration,
    /// How long one attempt to connect may take.
    pub connect_timeout: Duration,
}

impl Settings {
    /// Default of [`Settings::operation_timeout`]. As long as an election with etcd's timeouts, so that an
    /// operation mostly survives one; much shorter than a fault, so that a client of a node that is cut off asks it
    /// again while the fault lasts, which is when its answers are telling.
    pub const OPERATION_TIMEOUT: Duration = Duration::from_secs(1);

    /// Default of [`Settings::connect_timeout`]: a node on this machine accepts at once or is stopped.
    pub const CONNECT_TIMEOUT: Duration = Duration::from_millis(500);

    /// Default timeouts, and a pace at which `clients` together start `per_second` operations in each second. A rate
    /// that is no positive number means as fast as answers come.
    pub fn at_rate(per_second: f64, clients: u32) -> Self {
        Self {
            gap_mean: Duration::try_from_secs_f64(f64::from(clients) / per_second).unwrap_or_default(),
            operation_timeout: Self::OPERATION_TIMEOUT,
            connect_timeout: Self::CONNECT_TIMEOUT,
        }
    }
}

/// How operations ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Ok.
    pub ok: u64,
    /// Definitely did not happen.
    pub fail: u64,
    /// In doubt.
    pub info: u64,
}

impl Counts {
    /// All of them.
    pub fn total(self) -> u64 {
        self.ok + self.fail + self.info
    }
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.ok += other.ok;
        self.fail += other.fail;
        self.info += other.info;
    }
}

/// A client in its world.
pub struct Worker<'a, E, C, R> {
    /// Its world.
    pub env: &'a E,
    /// Its way to its node.
    pub client: &'a mut C,
    /// Where its operations are written down.
    pub recorder: &'a R,
    /// Its number until an operation of its own is in doubt; nobody else uses it.
    pub process: ProcessId,
    /// Which of the run's clients it is: its streams of random numbers.
    pub lane: Lane,
    /// How it behaves.
    pub settings: Settings,
    /// Ends its work early when set.
    pub stop: &'a AtomicBool,
    /// The operations that it may issue: places in the sequence that it would issue, from 0. The others are left out
    /// as if they had been done, so that a run can be shrunk without moving anything else. None for all.
    pub kept: Option<&'a BTreeSet<u32>>,
}

/// A worker until a moment.
pub(crate) struct Session<'a, E, C, R> {
    worker: Worker<'a, E, C, R>,
    until: Duration,
    retired: bool,
    backoff: ChaCha8Rng,
    /// How its operations ended so far.
    pub(crate) counts: Counts,
    /// How many numbers it used, one after the other.
    pub(crate) processes: u32,
    /// Attempts to connect that failed.
    pub(crate) connects_failed: u64,
    /// The most that a sleep was longer than asked for: stalls of our own scheduling.
    pub(crate) stall: Duration,
    /// Operations so far, those that were left out among them.
    place: u32,
}

impl<'a, E: Env, C: Client, R: Recorder> Session<'a, E, C, R> {
    /// A session that lasts `limit` from now, or until the worker is told to stop.
    pub(crate) fn new(worker: Worker<'a, E, C, R>, limit: Duration) -> Self {
        Self {
            until: worker.env.clock().monotonic().saturating_add(limit),
            retired: false,
            // Apart from the pace, so that what depends on the moment (how often connecting fails) draws nothing
            // that the pace would have drawn.
            backoff: worker.env.rng(Stream {
                purpose: Purpose::Pace,
                a: u64::from(worker.lane.index),
                b: 1,
            }),
            worker,
            counts: Counts::default(),
            processes: 1,
            connects_failed: 0,
            stall: Duration::ZERO,
            place: 0,
        }
    }

    pub(crate) fn now(&self) -> Duration {
        self.worker.env.clock().monotonic()
    }

    /// Whether its time is over.
    pub(crate) fn over(&self) -> bool {
        self.worker.stop.load(Ordering::Relaxed) || self.now() >= self.until
    }

    /// Sleeps until the clock shows `moment`, or the session is over.
    pub(crate) async fn sleep_until(&mut self, moment: Duration) {
        let moment = moment.min(self.until);
        while !self.over() {
            let now = self.now();
            let left = moment.saturating_sub(now);
            if left.is_zero() {
                return;
            }
            let asked = left.min(LOOK_AT_STOP);
            E::Runtime::sleep(asked).await;
            let slept = self.now().saturating_sub(now);
            self.stall = self.stall.max(slept.saturating_sub(asked));
        }
    }

    /// Connects, with growing and jittered waits in between; false if the session was over first.
    pub(crate) async fn connect(&mut self) -> bool {
        let mut wait = BACKOFF_FIRST;
        while !self.over() {
            let within = self.worker.settings.connect_timeout;
            let attempt = E::Runtime::timeout(within + GRACE, self.worker.client.connect(within)).await;
            if let Ok(Ok(())) = attempt {
                return true;
            }
            self.connects_failed += 1;
            let jittered = wait.mul_f64(self.backoff.random_range(0.5..=1.0));
            self.sleep_until(self.now().saturating_add(jittered)).await;
            wait = (wait * 2).min(BACKOFF_MAX);
        }
        false
    }

    /// Counts the next operation, and says whether it is to be left out.
    pub(crate) fn leaves_out_next(&mut self) -> bool {
        let place = self.place;
        self.place = place.saturating_add(1);
        self.worker.kept.is_some_and(|kept| !kept.contains(&place))
    }

    /// Whether every operation from the next one on is to be left out.
    pub(crate) fn leaves_out_rest(&self) -> bool {
        let last = self.worker.kept.map(|kept| kept.last());
        last.is_some_and(|last| last.is_none_or(|last| *last < self.place))
    }

    /// Sends an operation's requests, one after the other, all of them within this time.
    async fn ask(&mut self, generator: &mut dyn Generator, op: &Op, within: Duration) -> Completion {
        let until = self.now().saturating_add(within);
        let (mut call, mut access) = (op.call.clone(), op.access);
        let mut responses: Vec<Response> = Vec::new();
        loop {
            let left = until.saturating_sub(self.now());
            let answer = E::Runtime::timeout(left + GRACE, self.worker.client.call(call, left)).await;
            match answer.unwrap_or(Err(Failure::Deadline)) {
                Ok(response) => responses.push(response),
                Err(failure) => return classify(access, &failure),
            }
            match generator.proceed(op, &responses) {
                Ok(Next::Done(output)) => return Completion::Ok(reply(output, responses.last())),
                Ok(Next::Ask(next, effect)) => (call, access) = (next, effect),
                Ok(Next::Failed(cause)) => return Completion::Fail(cause),
                Err(bad) => {
                    return Completion::Info(Cause {
                        code: CauseCode::BadReply,
                        text: bad.to_string(),
                    });
                }
            }
        }
    }

    /// Performs one operation on the established connection, however long the session still lasts; whether it ended
    /// ok.
    pub(crate) async fn perform(&mut self, generator: &mut dyn Generator, op: &Op) -> bool {
        if self.retired {
            self.worker.process = self.worker.recorder.new_process();
            self.processes += 1;
            self.retired = false;
        }
        let within = self.worker.settings.operation_timeout;
        self.worker
            .recorder
            .invoked(self.worker.process, self.worker.client.node(), op.function, &op.input);
        let completion = self.ask(generator, op, within).await;
        self.worker.recorder.completed(self.worker.process, &completion);
        match completion {
            Completion::Ok(_) => self.counts.ok += 1,
            Completion::Fail(_) => self.counts.fail += 1,
            Completion::Info(_) => {
                self.counts.info += 1;
                self.retired = true;
            }
        }
        generator.observe(op, &completion);
        matches!(completion, Completion::Ok(_))
    }
}

/// `output` with what the header says; etcd's zeros mean that nothing was said.
fn reply(output: Value, response: Option<&Response>) -> Reply {
    let header = response.and_then(Response::header);
    Reply {
        output,
        revision: header
            .map(|header| Revision(header.revision))
            .filter(|revision| revision.0 != 0),
        term: header.map(|header| Term(header.raft_term)).filter(|term| term.0 != 0),
        member: header
            .map(|header| MemberId(header.member_id))
            .filter(|member| member.0 != 0),
    }
}
