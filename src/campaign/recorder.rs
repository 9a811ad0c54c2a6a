//! Writes down what happens, in one order.
//!
//! Every event takes its [`Seq`] and its time under one lock, so that the order of the file, of the memory and
//! of the numbers is one and the same. [`Recorder::flush`], which a task calls several times a second, appends them to
//! `history.jsonl` and forgets them: a crash of the tool loses the last moments at most, never the order, and to
//! record a long run takes no more memory than a short one. At the end the file is read.

use std::fs::File;
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tribunal_checker::online::{Follow, Violation};
use tribunal_env::Clock;
use tribunal_history::jsonl::Writer;
use tribunal_history::{
    Completion as Recorded, Event, Fault, Incarnation, Invocation, LeaderEvent, NemesisAction, NemesisEvent, NodeEvent,
    NodeId, NodeState, Phase, PhaseEvent, ProcessId, Seq, Term, Value,
};
use tribunal_nemesis::NemesisRecorder;
use tribunal_workload::{Completion, Recorder as WorkloadRecorder};

use crate::world::ClusterRecorder;

/// The history of a run while it is made. Clones write to the same one.
#[derive(Clone)]
pub struct Recorder {
    shared: Arc<Shared>,
    /// The client on whose behalf it writes.
    client: u32,
}

struct Shared {
    clock: Box<dyn Clock>,
    began: Duration,
    path: PathBuf,
    state: Mutex<State>,
}

struct State {
    /// Those that are not in the file yet; all of them, if there is no file.
    events: Vec<Event>,
    /// How many there were in all.
    count: u64,
    /// Which client each process is: the first ones are the client of their own number.
    clients: Vec<u32>,
    writer: Option<Writer<BufWriter<File>>>,
    counts: Counts,
    closed: bool,
    following: Following,
}

/// What judges the history while it is made.
#[derive(Default)]
struct Following {
    follow: Option<Box<dyn Follow>>,
    /// How many of `events` it has seen.
    seen: usize,
    /// What it found and nobody was told yet.
    found: Vec<Violation>,
}

impl Following {
    /// Judges what it has not seen of the events.
    fn catch_up(&mut self, events: &[Event]) {
        for event in &events[self.seen..] {
            let Some(follow) = &mut self.follow else { break };
            match follow.event(&mut event.clone()) {
                Ok(found) => self.found.extend(found),
                // The judgement at the end says what is wrong with the history.
                Err(_) => self.follow = None,
            }
        }
        self.seen = events.len();
    }
}

/// A history that was recorded, where it is.
#[derive(Clone, Debug)]
pub enum Closed {
    /// In memory.
    Memory(Vec<Event>),
    /// In a file.
    File {
        /// Its path.
        path: PathBuf,
        /// How many events it has.
        count: u64,
    },
}

/// What was recorded so far, for a live display.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Operations that ended ok.
    pub ok: u64,
    /// Operations that definitely did not happen.
    pub fail: u64,
    /// Operations in doubt.
    pub info: u64,
    /// The fault in force, for people.
    pub fault: Option<String>,
    /// The leader seen last.
    pub leader: Option<(NodeId, Term)>,
}

impl Recorder {
    /// Begins the history file in `folder`. `processes` numbers are taken already, 0 to `processes` − 1.
    pub fn create(folder: &Path, clock: Box<dyn Clock>, processes: u32) -> io::Result<Self> {
        let path = folder.join("history.jsonl");
        let writer = Writer::new(BufWriter::new(File::create_new(&path)?))?;
        Ok(Self::new(path, Some(writer), clock, processes))
    }

    /// Keeps the history in memory only.
    pub fn in_memory(clock: Box<dyn Clock>, processes: u32) -> Self {
        Self::new(PathBuf::new(), None, clock, processes)
    }

    fn new(path: PathBuf, writer: Option<Writer<BufWriter<File>>>, clock: Box<dyn Clock>, processes: u32) -> Self {
        let began = clock.monotonic();
        let state = State {
            events: Vec::new(),
            count: 0,
            clients: (0..processes).collect(),
            writer,
            counts: Counts::default(),
            closed: false,
            following: Following::default(),
        };
        Self {
            shared: Arc::new(Shared {
                clock,
                began,
                path,
                state: Mutex::new(state),
            }),
            client: 0,
        }
    }

    /// The same history, written on behalf of a client: processes that it makes are that client's.
    pub fn of_client(&self, client: u32) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            client,
        }
    }

    /// Which client each process was, by its number.
    pub fn clients(&self) -> Vec<u32> {
        self.lock().clients.clone()
    }

    /// A run enters its next phase.
    pub fn phase(&self, phase: Phase) {
        self.add(|seq, time_ns, _| Event::Phase(PhaseEvent { seq, time_ns, phase }));
    }

    /// Appends what is new to the file and hands it to the system.
    pub fn flush(&self) -> io::Result<()> {
        let mut state = self.lock();
        let State {
            events,
            writer,
            following,
            ..
        } = &mut *state;
        let Some(writer) = writer else { return Ok(()) };
        following.catch_up(events);
        let mut written = 0;
        let result = events.iter().try_for_each(|event| {
            writer.write(event)?;
            written += 1;
            Ok(())
        });
        events.drain(..written);
        following.seen -= written;
        result.and_then(|()| writer.flush())
    }

    /// Has what is recorded judged as it comes, if histories of the specification can be: see [`Recorder::violations`].
    pub fn follow(&self, specification: &str) {
        self.lock().following.follow = tribunal_checker::online::follow(specification);
    }

    /// What was violated since this was asked last. The judgement at the end finds it again, with its counterexample.
    pub fn violations(&self) -> Vec<Violation> {
        let mut state = self.lock();
        let State { events, following, .. } = &mut *state;
        following.catch_up(events);
        std::mem::take(&mut following.found)
    }

    /// What was recorded so far.
    pub fn counts(&self) -> Counts {
        self.lock().counts.clone()
    }

    /// Time since the recording began.
    pub fn elapsed(&self) -> Duration {
        self.shared.clock.monotonic().saturating_sub(self.shared.began)
    }

    /// Ends the recording: what comes later is dropped, since nobody will judge it.
    pub fn close(&self) -> io::Result<Closed> {
        self.lock().closed = true;
        let flushed = self.flush();
        let mut state = self.lock();
        let has_file = state.writer.take().is_some();
        let events = std::mem::take(&mut state.events);
        state.following = Following::default();
        flushed.map(|()| {
            if has_file {
                Closed::File {
                    path: self.shared.path.clone(),
                    count: state.count,
                }
            } else {
                Closed::Memory(events)
            }
        })
    }

    fn add(&self, event: impl FnOnce(Seq, u64, &mut Counts) -> Event) {
        let mut state = self.lock();
        if state.closed {
            return;
        }
        let seq = Seq(state.count);
        state.count += 1;
        let time_ns = u64::try_from(self.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let event = event(seq, time_ns, &mut state.counts);
        state.events.push(event);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere must not cost the history that was recorded before it.
        self.shared
            .state
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl WorkloadRecorder for Recorder {
    fn invoked(&self, process: ProcessId, node: NodeId, function: &str, input: &Value) {
        self.add(|seq, time_ns, _| {
            Event::Invoke(Invocation {
                seq,
                time_ns,
                process,
                node,
                function: function.to_owned(),
                input: input.clone(),
            })
        });
    }

    fn completed(&self, process: ProcessId, completion: &Completion) {
        self.add(|seq, time_ns, counts| {
            let empty = Recorded {
                seq,
                time_ns,
                process,
                output: Value::Null,
                revision: None,
                term: None,
                member: None,
                cause: None,
            };
            match completion {
                Completion::Ok(reply) => {
                    counts.ok += 1;
                    let (output, revision, term, member) =
                        (reply.output.clone(), reply.revision, reply.term, reply.member);
                    Event::Ok(Recorded {
                        output,
                        revision,
                        term,
                        member,
                        ..empty
                    })
                }
                Completion::Fail(cause) => {
                    counts.fail += 1;
                    Event::Fail(Recorded {
                        cause: Some(cause.clone()),
                        ..empty
                    })
                }
                Completion::Info(cause) => {
                    counts.info += 1;
                    Event::Info(Recorded {
                        cause: Some(cause.clone()),
                        ..empty
                    })
                }
            }
        });
    }

    fn new_process(&self) -> ProcessId {
        let mut state = self.lock();
        let process = ProcessId(u32::try_from(state.clients.len()).unwrap_or(u32::MAX));
        state.clients.push(self.client);
        process
    }
}

impl NemesisRecorder for Recorder {
    fn nemesis(&self, step: u32, action: NemesisAction, fault: &Fault, nodes: &[NodeId], detail: &str) {
        self.add(|seq, time_ns, counts| {
            match action {
                NemesisAction::Start => {
                    let names: Vec<String> = nodes.iter().map(ToString::to_string).collect();
                    counts.fault = Some(format!("{} {}", fault.kind(), names.join(" ")));
                }
                NemesisAction::Stop | NemesisAction::Error => counts.fault = None,
                NemesisAction::Effective | NemesisAction::NoEffect => {}
            }
            let (kind, fault, nodes, detail) = (fault.kind(), fault.clone(), nodes.to_vec(), detail.to_owned());
            Event::Nemesis(NemesisEvent {
                seq,
                time_ns,
                step,
                action,
                kind,
                fault,
                nodes,
                detail,
            })
        });
    }
}

impl ClusterRecorder for Recorder {
    fn node(&self, node: NodeId, incarnation: Incarnation, state: NodeState, detail: &str) {
        self.add(|seq, time_ns, _| {
            Event::Node(NodeEvent {
                seq,
                time_ns,
                node,
                incarnation,
                state,
                detail: detail.to_owned(),
            })
        });
    }

    fn leader(&self, node: NodeId, term: Term) {
        self.add(|seq, time_ns, counts| {
            counts.leader = Some((node, term));
            Event::Leader(LeaderEvent {
                seq,
                time_ns,
                node,
                term,
            })
        });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use tribunal_history::jsonl;

    use super::*;

    struct Ticks(AtomicU64);

    impl Clock for Ticks {
        fn monotonic(&self) -> Duration {
            Duration::from_millis(self.0.fetch_add(1, Ordering::Relaxed))
        }

        fn wall(&self) -> Duration {
            Duration::ZERO
        }
    }

    #[test]
    fn a_violation_is_told_once_and_while_the_run_goes_on() {
        let recorder = Recorder::in_memory(Box::new(Ticks(AtomicU64::new(0))), 2);
        recorder.follow("register");
        let key = || Value::map([("key", "k".into())]);
        let read = |process: u32, output: Value| {
            recorder.invoked(ProcessId(process), NodeId(1), "read", &key());
            let reply = tribunal_workload::Reply {
                output,
                ..Default::default()
            };
            recorder.completed(ProcessId(process), &Completion::Ok(reply));
        };
        read(0, Value::Null);
        assert_eq!(recorder.violations(), []);
        read(1, Value::Int(7));
        let found = recorder.violations();
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!((found[0].seq, found[0].key.as_deref()), (Seq(3), Some("k")));
        read(0, Value::Int(7));
        assert_eq!(recorder.violations(), []);
    }

    #[test]
    fn file_and_memory_have_one_order_and_nothing_is_added_after_the_end() {
        let folder = tempfile::tempdir().expect("a folder");
        let recorder = Recorder::create(folder.path(), Box::new(Ticks(AtomicU64::new(0))), 2).expect("a file");
        assert_eq!(recorder.new_process(), ProcessId(2));
        recorder.phase(Phase::Safety);
        recorder.invoked(ProcessId(0), NodeId(1), "read", &Value::Null);
        recorder.flush().expect("writes");
        assert!(recorder.lock().events.is_empty(), "what is written is forgotten");
        recorder.completed(ProcessId(0), &Completion::Ok(tribunal_workload::Reply::default()));
        let Ok(Closed::File { path, count: 3 }) = recorder.close() else {
            panic!("three events are in the file");
        };
        recorder.phase(Phase::End);
        let events = jsonl::read(&path).expect("reads");
        assert_eq!(
            events.iter().map(Event::seq).collect::<Vec<_>>(),
            [Seq(0), Seq(1), Seq(2)]
        );
        assert_eq!(recorder.counts().ok, 1);
    }
}
