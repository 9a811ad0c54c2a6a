//! Follows registers whose values are all different.

use std::collections::{HashMap, VecDeque};
use std::hash::BuildHasherDefault;

use tribunal_history::operation::PairError;
use tribunal_history::{Completion, Ending, Event, Invocation, Operation, ProcessId, Seq, Value};

use super::key::{Key, Mix, Stop};
use super::{Follow, Followed, Reason, Violation};
use crate::judge::JudgeError;
use crate::spec::{Class, Recorded};

/// Follows all keys of a history of the specification `S`.
pub struct Zones<S> {
    names: HashMap<Box<str>, usize, BuildHasherDefault<Mix>>,
    /// The place of the only object, where operations name no key.
    only: Option<usize>,
    objects: Vec<Object>,
    open: HashMap<ProcessId, Open, BuildHasherDefault<Mix>>,
    /// Operations that are open, and places where one was.
    operations: Vec<Operation>,
    /// Those places.
    spare: Vec<usize>,
    calls: Calls,
    previous: Option<Seq>,
    followed: Followed,
    specification: std::marker::PhantomData<fn() -> S>,
}

impl<S> Default for Zones<S> {
    fn default() -> Self {
        Self {
            names: HashMap::default(),
            only: None,
            objects: Vec::new(),
            open: HashMap::default(),
            operations: Vec::new(),
            spare: Vec::new(),
            calls: Calls::default(),
            previous: None,
            followed: Followed::default(),
            specification: std::marker::PhantomData,
        }
    }
}

/// One object.
enum Object {
    Followed(Box<Key>),
    GivenUp,
    Violated,
}

/// An operation that has begun.
struct Open {
    /// Its place among the operations.
    place: usize,
    object: usize,
    /// Its number among all calls.
    number: u64,
    /// What it may make.
    to: Option<Value>,
    /// What it compares with, if it may make something.
    from: Option<Value>,
}

/// Which calls are open, to know the oldest.
#[derive(Default)]
struct Calls {
    /// Moments of calls from the oldest open one on; 0 where it is not open any more.
    moments: VecDeque<u64>,
    /// Number of the first of them.
    first: u64,
}

impl Calls {
    fn begin(&mut self, moment: u64) -> u64 {
        self.moments.push_back(moment);
        self.first + self.moments.len() as u64 - 1
    }

    fn end(&mut self, number: u64) {
        self.moments[(number - self.first) as usize] = 0;
        while self.moments.front() == Some(&0) {
            self.moments.pop_front();
            self.first += 1;
        }
    }

    /// The oldest open call, or `now` if there is none.
    fn watermark(&self, now: u64) -> u64 {
        self.moments.front().copied().unwrap_or(now)
    }
}

/// A place in the run's order as a moment: 0 is before all of them.
fn moment(seq: Seq) -> u64 {
    seq.0.saturating_add(1)
}

impl<S: Recorded> Zones<S> {
    fn object(&mut self, key: Option<&str>) -> usize {
        let known = match key {
            Some(key) => self.names.get(key).copied(),
            None => self.only,
        };
        known.unwrap_or_else(|| {
            let place = self.objects.len();
            self.objects
                .push(Object::Followed(Box::new(Key::new(S::default().value()))));
            self.followed.keys += 1;
            self.followed.remembered += 1;
            match key {
                Some(key) => {
                    self.names.insert(key.into(), place);
                }
                None => self.only = Some(place),
            }
            place
        })
    }

    fn begin(&mut self, invocation: &mut Invocation) -> Result<(), JudgeError> {
        let Invocation { seq, process, .. } = *invocation;
        if let Some(open) = self.open.get(&process) {
            let open = self.operations[open.place].invoked;
            return Err(PairError::StillOpen { seq, process, open }.into());
        }
        let place = self.spare.pop().unwrap_or_else(|| {
            self.operations.push(Operation {
                process,
                node: invocation.node,
                function: String::new(),
                input: Value::Null,
                invoked: seq,
                invoked_ns: 0,
                ending: Ending::Info,
                completed: None,
                completed_ns: None,
                output: Value::Null,
                revision: None,
                term: None,
                member: None,
                cause: None,
            });
            self.operations.len() - 1
        });
        let operation = &mut self.operations[place];
        std::mem::swap(&mut operation.function, &mut invocation.function);
        std::mem::swap(&mut operation.input, &mut invocation.input);
        (operation.process, operation.node) = (process, invocation.node);
        (operation.invoked, operation.invoked_ns) = (seq, invocation.time_ns);
        (operation.ending, operation.completed, operation.completed_ns) = (Ending::Info, None, None);
        self.followed.operations += 1;
        let (op, _) = S::parse(operation)?;
        let may_follow = S::may_follow(operation).is_some();
        let object = self.object(S::partition(&op));
        let (mut from, mut to) = (None, None);
        if let Object::Followed(key) = &mut self.objects[object] {
            let before = key.remembered();
            let class = S::class(&op, None);
            let is_other = S::may_be_stale(&op) || may_follow;
            let asked = match class {
                _ if is_other => Err(Stop::GivenUp),
                Class::Read(_) => Ok(()),
                Class::Write(value) => {
                    to = Some(value.clone());
                    key.asked(moment(seq), None, value)
                }
                Class::Update {
                    from: before,
                    to: value,
                } => {
                    (from, to) = (Some(before.clone()), Some(value.clone()));
                    key.asked(moment(seq), Some(before), value)
                }
                Class::Differs(_) | Class::Grow(_) | Class::Opaque => Err(Stop::GivenUp),
            };
            self.followed.remembered += key.remembered() - before;
            if asked.is_err() {
                self.stop(object, Object::GivenUp);
            }
        }
        let number = self.calls.begin(moment(seq));
        let open = Open {
            place,
            object,
            number,
            to,
            from,
        };
        self.open.insert(process, open);
        Ok(())
    }

    fn end(&mut self, ending: Ending, completion: &mut Completion) -> Result<Option<Violation>, JudgeError> {
        let Completion { seq, process, .. } = *completion;
        let Some(open) = self.open.remove(&process) else {
            return Err(PairError::NotInvoked { seq, process }.into());
        };
        self.calls.end(open.number);
        let operation = &mut self.operations[open.place];
        operation.ending = ending;
        (operation.completed, operation.completed_ns) = (Some(seq), Some(completion.time_ns));
        std::mem::swap(&mut operation.output, &mut completion.output);
        (operation.revision, operation.term, operation.member) =
            (completion.revision, completion.term, completion.member);
        let stopped = self.judge(&open, ending, moment(seq))?;
        let violation = match stopped {
            Ok(()) => None,
            Err(Stop::GivenUp) => {
                self.stop(open.object, Object::GivenUp);
                None
            }
            Err(Stop::Violated(reason)) => {
                self.stop(open.object, Object::Violated);
                let (op, _) = S::parse(&self.operations[open.place])?;
                Some(Violation {
                    seq,
                    time_ns: completion.time_ns,
                    key: S::partition(&op).map(str::to_owned),
                    operation: S::label(&self.operations[open.place]),
                    reason,
                })
            }
        };
        self.spare.push(open.place);
        Ok(violation)
    }

    /// What the end of an operation says.
    fn judge(&mut self, open: &Open, ending: Ending, now: u64) -> Result<Result<(), Stop>, JudgeError> {
        // Read even where nothing is followed: a malformed operation is a mistake all the same.
        let operation = &self.operations[open.place];
        let (op, ret) = S::parse(operation)?;
        if ending == Ending::Ok && ret.as_ref().is_some_and(|ret| S::observes(&op, ret)) {
            self.followed.reads += 1;
        }
        let watermark = self.calls.watermark(now);
        let Object::Followed(key) = &mut self.objects[open.object] else {
            return Ok(Ok(()));
        };
        let before = key.remembered();
        let call = moment(operation.invoked);
        let result = match ending {
            Ending::Info => Ok(()),
            Ending::Fail => match &open.to {
                Some(to) => key.withdrawn(call, to),
                None => Ok(()),
            },
            Ending::Ok => match S::class(&op, ret.as_ref()) {
                Class::Read(Some(value)) => {
                    // It may have made something, and did not.
                    let withdrawn = open.to.as_ref().map_or(Ok(()), |to| key.withdrawn(call, to));
                    match (&open.from, &open.to) {
                        (Some(from), Some(to)) if *from == value && from == to => Err(Stop::GivenUp),
                        (Some(from), _) if *from == value => Err(Stop::Violated(Reason::Contradiction)),
                        _ => withdrawn.and_then(|()| key.seen(call, now, &value)),
                    }
                }
                Class::Write(value) if open.to.as_ref() == Some(&value) && open.from.is_none() => {
                    key.made(call, now, &value)
                }
                Class::Update { from, to } if open.to.as_ref() == Some(&to) && open.from.as_ref() == Some(&from) => {
                    key.made(call, now, &to)
                }
                // It did something else than was known when it began, or nothing that is known.
                _ => Err(Stop::GivenUp),
            },
        };
        key.sweep(watermark);
        let after = key.remembered();
        self.followed.remembered = self.followed.remembered + after - before;
        self.followed.remembered_max = self.followed.remembered_max.max(self.followed.remembered);
        Ok(result)
    }

    fn stop(&mut self, object: usize, as_what: Object) {
        self.followed.given_up += usize::from(matches!(as_what, Object::GivenUp));
        if let Object::Followed(key) = std::mem::replace(&mut self.objects[object], as_what) {
            self.followed.remembered -= key.remembered();
        }
    }
}

impl<S: Recorded> Follow for Zones<S> {
    fn event(&mut self, event: &mut Event) -> Result<Option<Violation>, JudgeError> {
        let seq = event.seq();
        if let Some(previous) = self.previous.filter(|previous| *previous >= seq) {
            return Err(PairError::OutOfOrder { seq, previous }.into());
        }
        self.previous = Some(seq);
        match event {
            Event::Invoke(invocation) => self.begin(invocation).map(|()| None),
            Event::Ok(completion) => self.end(Ending::Ok, completion),
            Event::Fail(completion) => self.end(Ending::Fail, completion),
            Event::Info(completion) => self.end(Ending::Info, completion),
            Event::Nemesis(_) | Event::Node(_) | Event::Leader(_) | Event::Phase(_) => Ok(None),
        }
    }

    fn followed(&self) -> Followed {
        self.followed
    }
}
