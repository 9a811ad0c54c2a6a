//! Follows registers whose values are all different, and those whose answers carry the store's revisions.
//!
//! A key is followed in both ways as long as both can follow it, since nobody knows at its beginning whether a value will
//! repeat. Where either explains everything, the key holds; only zones know a violation.

use std::collections::{HashMap, VecDeque};
use std::hash::BuildHasherDefault;

use tribunal_history::operation::PairError;
use tribunal_history::{Completion, Ending, Event, Invocation, Operation, ProcessId, Seq, Value};

use super::key::{Key, Mix, Stop};
use super::order::{GivenUp, Order};
use super::{Follow, Followed, Reason, Violation};
use crate::judge::JudgeError;
use crate::spec::{Class, Recorded};

/// Follows all keys of a history of the specification `S`.
pub struct Zones<S: Recorded> {
    names: HashMap<Box<str>, usize, BuildHasherDefault<Mix>>,
    /// The place of the only object, where operations name no key.
    only: Option<usize>,
    objects: Vec<Object<S>>,
    open: HashMap<ProcessId, Open<S::Op>, BuildHasherDefault<Mix>>,
    /// Operations that are open, and places where one was.
    operations: Vec<Operation>,
    /// Those places.
    spare: Vec<usize>,
    calls: Calls,
    previous: Option<Seq>,
    followed: Followed,
}

impl<S: Recorded> Default for Zones<S> {
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
        }
    }
}

/// One object, and the ways in which it is followed still.
struct Object<S: Recorded> {
    /// As a register whose values are all different.
    zones: Option<Box<Key>>,
    /// By revisions.
    order: Option<Box<Order<S>>>,
}

impl<S: Recorded> Object<S> {
    fn new() -> Self {
        Self {
            zones: Some(Box::new(Key::new(S::default().value()))),
            order: Some(Box::default()),
        }
    }

    fn remembered(&self) -> usize {
        let zones = self.zones.as_ref().map_or(0, |zones| zones.remembered());
        zones + self.order.as_ref().map_or(0, |order| order.remembered())
    }

    fn is_followed(&self) -> bool {
        self.zones.is_some() || self.order.is_some()
    }
}

/// An operation that has begun.
struct Open<O> {
    /// Its place among the operations.
    place: usize,
    /// What was asked.
    op: O,
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
            self.objects.push(Object::new());
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
        let is_other = S::may_be_stale(&op) || may_follow;
        if let Some(key) = &mut self.objects[object].zones {
            let before_asked = key.remembered();
            let asked = match S::class(&op, None) {
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
            self.followed.remembered += key.remembered() - before_asked;
            if asked.is_err() {
                self.leave_zones(object);
            }
        }
        match &mut self.objects[object].order {
            Some(_) if is_other => self.leave_order(object),
            Some(order) => order.called(moment(seq), op.clone()),
            None => {}
        }
        let number = self.calls.begin(moment(seq));
        let open = Open {
            place,
            op,
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
        let violation = match self.judge(&open, ending, moment(seq))? {
            Ok(()) => None,
            Err(reason) => Some(Violation {
                seq,
                time_ns: completion.time_ns,
                key: S::partition(&open.op).map(str::to_owned),
                operation: S::label(&self.operations[open.place]),
                reason,
            }),
        };
        self.spare.push(open.place);
        Ok(violation)
    }

    /// What the end of an operation says.
    fn judge(&mut self, open: &Open<S::Op>, ending: Ending, now: u64) -> Result<Result<(), Reason>, JudgeError> {
        // Read even where nothing is followed: a malformed operation is a mistake all the same.
        let operation = &self.operations[open.place];
        let ret = S::answer(&open.op, operation)?;
        if ending == Ending::Ok && ret.as_ref().is_some_and(|ret| S::observes(&open.op, ret)) {
            self.followed.reads += 1;
        }
        let (call, revision) = (moment(operation.invoked), operation.revision);
        let watermark = self.calls.watermark(now);
        let object = &mut self.objects[open.object];
        if !object.is_followed() {
            return Ok(Ok(()));
        }
        let before = object.remembered();
        let by_zones = object.zones.as_mut().map_or(Ok(()), |key| {
            let result = zones_end(key, open, ending, &S::class(&open.op, ret.as_ref()), (call, now));
            key.sweep(watermark);
            result
        });
        let by_order = object.order.as_mut().map_or(Ok(()), |order| match (ending, ret) {
            (Ending::Ok, Some(ret)) => order.answered(call, ret, revision),
            (Ending::Ok, None) => Err(GivenUp),
            (Ending::Fail, _) => order.failed(call),
            (Ending::Info, _) => order.doubted(call),
        });
        let after = object.remembered();
        self.followed.remembered = self.followed.remembered + after - before;
        self.followed.remembered_max = self.followed.remembered_max.max(self.followed.remembered);
        match by_zones {
            Err(Stop::Violated(reason)) => {
                self.followed.remembered -= after;
                let object = &mut self.objects[open.object];
                (object.zones, object.order) = (None, None);
                return Ok(Err(reason));
            }
            Err(Stop::GivenUp) => self.leave_zones(open.object),
            Ok(()) => {}
        }
        if by_order.is_err() {
            self.leave_order(open.object);
        }
        Ok(Ok(()))
    }

    /// Follows an object no further as one whose values are all different.
    fn leave_zones(&mut self, object: usize) {
        let object = &mut self.objects[object];
        if let Some(zones) = object.zones.take() {
            self.followed.remembered -= zones.remembered();
            self.followed.given_up += usize::from(!object.is_followed());
        }
    }

    /// Follows an object no further by revisions.
    fn leave_order(&mut self, object: usize) {
        let object = &mut self.objects[object];
        if let Some(order) = object.order.take() {
            self.followed.remembered -= order.remembered();
            self.followed.given_up += usize::from(!object.is_followed());
        }
    }
}

/// What the end of an operation says to the zones of its key. `moments` are those of its call and of now.
fn zones_end<O>(key: &mut Key, open: &Open<O>, ending: Ending, class: &Class, moments: (u64, u64)) -> Result<(), Stop> {
    let (call, now) = moments;
    match (ending, class) {
        (Ending::Info, _) => Ok(()),
        (Ending::Fail, _) => open.to.as_ref().map_or(Ok(()), |to| key.withdrawn(call, to)),
        (Ending::Ok, Class::Read(Some(value))) => {
            // It may have made something, and did not.
            let withdrawn = open.to.as_ref().map_or(Ok(()), |to| key.withdrawn(call, to));
            match (&open.from, &open.to) {
                (Some(from), Some(to)) if from == value && from == to => Err(Stop::GivenUp),
                (Some(from), _) if from == value => Err(Stop::Violated(Reason::Contradiction)),
                _ => withdrawn.and_then(|()| key.seen(call, now, value)),
            }
        }
        (Ending::Ok, Class::Write(value)) if open.to.as_ref() == Some(value) && open.from.is_none() => {
            key.made(call, now, value)
        }
        (Ending::Ok, Class::Update { from, to })
            if open.to.as_ref() == Some(to) && open.from.as_ref() == Some(from) =>
        {
            key.made(call, now, to)
        }
        // It did something else than was known when it began, or nothing that is known.
        (Ending::Ok, _) => Err(Stop::GivenUp),
    }
}

impl<S: Recorded + Send> Follow for Zones<S>
where
    S::Op: Send,
    S::Ret: Send,
{
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
        let by_order = self.objects.iter().filter(|object| object.zones.is_none());
        // What still waits for its place is settled as if nothing came any more.
        let unsettled = by_order.filter(|object| object.order.as_ref().is_some_and(|order| !order.would_hold()));
        Followed {
            given_up: self.followed.given_up + unsettled.count(),
            ..self.followed
        }
    }
}
