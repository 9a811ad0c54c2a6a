//! Calls: who waits for an answer, and what is known of the request's copies.

use std::sync::Arc;

use bytes::Bytes;
use openraft_rt::{Oneshot, OneshotSender as _};
use openraft_rt_tokio::{TokioOneshot, TokioOneshotSender};
use tribunal_env::{CallError, Method};
use tribunal_history::MemberId;

use super::link::Packet;
use super::{Handler, Network};
use crate::executor::{Kernel, lock};
use crate::place::{Owner, Place};
use crate::runtime::spawn_for;

type Answer = Result<Bytes, CallError>;
type Receiver = <TokioOneshot as Oneshot>::Receiver<Answer>;

/// A call, until nobody waits for it and no copy of it is left.
pub(super) struct Call {
    from: Place,
    waiting: Option<TokioOneshotSender<Answer>>,
    /// Requests on the way.
    copies: u32,
    /// Where it is being executed, once for each copy.
    executing: Vec<Owner>,
    /// How many copies were executed, at least in part.
    executions: u32,
    /// The caller was told that it is not executed, so no copy may be.
    was_refused: bool,
}

impl Network {
    fn new_call(&mut self, from: Place) -> (u64, Receiver) {
        let (waiting, receiver) = TokioOneshot::channel();
        self.calls_made += 1;
        self.calls.insert(
            self.calls_made,
            Call {
                from,
                waiting: Some(waiting),
                copies: 1,
                executing: Vec::new(),
                executions: 0,
                was_refused: false,
            },
        );
        (self.calls_made, receiver)
    }

    pub(super) fn add_copy(&mut self, call: u64) {
        if let Some(call) = self.calls.get_mut(&call) {
            call.copies += 1;
        }
    }

    pub(super) fn drop_copy(&mut self, call: u64) {
        self.with_call(call, |call| call.copies -= 1);
    }

    /// Changes a call, and forgets it if that was the last that can happen to it.
    fn with_call<R>(&mut self, number: u64, change: impl FnOnce(&mut Call) -> R) -> Option<R> {
        let call = self.calls.get_mut(&number)?;
        let result = change(call);
        if call.waiting.is_none() && call.copies == 0 && call.executing.is_empty() {
            self.calls.remove(&number);
        }
        Some(result)
    }

    /// Calls that a life which has ended was executing, and the answers that its system gives for it.
    pub(super) fn break_calls(&mut self, owner: Owner) -> Vec<(Place, Packet)> {
        let mut broken = Vec::new();
        let numbers: Vec<u64> = self.calls.keys().copied().collect();
        for number in numbers {
            self.with_call(number, |call| {
                if call.executing.contains(&owner) {
                    call.executing.retain(|executing| *executing != owner);
                    let answer = Err(CallError::TimedOut("the connection was reset".to_owned()));
                    broken.push((call.from, Packet::Reply { call: number, answer }));
                }
            });
        }
        broken
    }
}

/// Forgets who waits when the caller gives up.
struct Patience {
    kernel: Arc<Kernel>,
    call: u64,
}

impl Drop for Patience {
    fn drop(&mut self) {
        let waiting = lock(&self.kernel.network).with_call(self.call, |call| call.waiting.take());
        drop(waiting);
    }
}

/// Answers in any case: a handler that panicked has been executed in part.
struct Duty {
    kernel: Arc<Kernel>,
    owner: Owner,
    from: Place,
    call: u64,
    answer: Option<Answer>,
}

impl Drop for Duty {
    fn drop(&mut self) {
        if !self.kernel.state().is_alive(self.owner) {
            return;
        }
        let executed = lock(&self.kernel.network).with_call(self.call, |call| {
            if let Some(place) = call.executing.iter().position(|owner| *owner == self.owner) {
                call.executing.remove(place);
            }
        });
        if executed.is_none() {
            return;
        }
        let broken = || Err(CallError::TimedOut("the call was broken off".to_owned()));
        let answer = self.answer.take().unwrap_or_else(broken);
        let packet = Packet::Reply {
            call: self.call,
            answer,
        };
        self.kernel.transmit(self.owner.place, self.from, packet);
    }
}

impl Kernel {
    /// Sends a request and waits for its answer, without end.
    pub(super) async fn call(
        self: &Arc<Self>,
        from: Place,
        (to, member): (Place, MemberId),
        method: Method,
        body: Bytes,
    ) -> Answer {
        let (call, answer) = lock(&self.network).new_call(from);
        let _patience = Patience {
            kernel: Arc::clone(self),
            call,
        };
        let request = Packet::Request {
            call,
            member,
            method,
            body,
        };
        self.transmit(from, to, request);
        answer
            .await
            .unwrap_or_else(|_| Err(CallError::TimedOut("the network is gone".to_owned())))
    }

    /// A request arrives. Whoever is there answers only if it is the member that is meant: on its way a request may
    /// outlive its member, and the next one in that place has promised nothing.
    pub(super) fn request(
        self: &Arc<Self>,
        (from, to): (Place, Place),
        call: u64,
        member: MemberId,
        method: Method,
        body: Bytes,
    ) {
        let alive = self.alive(to);
        let mut network = lock(&self.network);
        let is_silent = network.silent.contains(&to);
        let is_meant = network.members.get(&member).map(|node| Place::Node(*node)) == Some(to);
        let service = network.services.get(&to);
        let service = service.filter(|service| Some(service.owner) == alive && is_meant);
        let handler: Option<(Owner, Handler)> =
            service.and_then(|service| Some((service.owner, Arc::clone(service.calls.as_ref()?))));
        let says_no = network.with_call(call, |call| {
            call.copies -= 1;
            match &handler {
                _ if call.was_refused => None,
                Some((owner, _)) => {
                    call.executing.push(*owner);
                    call.executions += 1;
                    Some(false)
                }
                None if is_silent || call.executions > 0 => None,
                None => {
                    call.was_refused = true;
                    Some(true)
                }
            }
        });
        drop(network);
        match (says_no.flatten(), handler) {
            (Some(false), Some((owner, handler))) => {
                let kernel = Arc::clone(self);
                let duty = Duty {
                    kernel,
                    owner,
                    from,
                    call,
                    answer: None,
                };
                drop(spawn_for(self, owner, async move {
                    let mut duty = duty;
                    let answer = handler(from, method, body).await;
                    duty.answer = Some(answer);
                }));
            }
            (Some(true), _) => {
                let why = match alive {
                    Some(_) if is_meant => "nobody serves there yet",
                    Some(_) => "another member is there",
                    None => "nobody is there",
                };
                let answer = Err(CallError::Refused(why.to_owned()));
                self.transmit(to, from, Packet::Reply { call, answer });
            }
            _ => {}
        }
    }

    /// An answer arrives.
    pub(super) fn reply(&self, call: u64, answer: Answer) {
        let waiting = lock(&self.network).with_call(call, |call| {
            if matches!(answer, Err(CallError::Refused(_))) {
                // What the handler says of one copy is not true of another one that it did not refuse.
                if call.executions > 1 {
                    return None;
                }
                call.was_refused = true;
            }
            call.waiting.take()
        });
        if let Some(waiting) = waiting.flatten() {
            // Who waited may have given up in this instant.
            let _ = waiting.send(answer);
        }
    }

    /// The way itself says no.
    pub(super) fn refuse_here(&self, call: u64, why: &str) {
        let is_refused = lock(&self.network).with_call(call, |call| {
            call.copies -= 1;
            let may_refuse = call.executions == 0;
            call.was_refused |= may_refuse;
            may_refuse
        });
        if is_refused == Some(true) {
            self.reply(call, Err(CallError::Refused(why.to_owned())));
        }
    }
}
