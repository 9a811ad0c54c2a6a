//! Ordered streams, which break as a whole.
//!
//! One approximation: a sender that waits for room learns at once that the other side has read, and not one delay
//! later.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Poll, Waker};

use bytes::Bytes;
use tribunal_env::{CallError, Method, PeerStream};

use super::link::Packet;
use super::{Network, StreamHandler};
use crate::executor::{Kernel, lock};
use crate::place::{Owner, Place};
use crate::runtime::spawn_for;

/// Messages that may be under way or unread before their sender waits.
const WINDOW: usize = 64;

/// A stream's two ends; the first one has opened it.
pub(super) struct Pipe {
    ends: [End; 2],
    is_accepted: bool,
}

struct End {
    place: Place,
    /// None while nobody has accepted.
    owner: Option<Owner>,
    inbox: VecDeque<Bytes>,
    state: State,
    /// What it has sent and the other end has not read.
    unread: usize,
    /// Its handle is gone, or its life is over.
    is_gone: bool,
    wakers: Vec<Waker>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// The other end sends no more.
    Closed,
    Broken(&'static str),
}

impl End {
    fn new(place: Place, owner: Option<Owner>) -> Self {
        Self {
            place,
            owner,
            inbox: VecDeque::new(),
            state: State::Open,
            unread: 0,
            is_gone: false,
            wakers: Vec::new(),
        }
    }

    fn wake(&mut self) {
        for waker in self.wakers.drain(..) {
            waker.wake();
        }
    }

    fn wait(&mut self, waker: &Waker) {
        if !self.wakers.iter().any(|known| known.will_wake(waker)) {
            self.wakers.push(waker.clone());
        }
    }

    fn set(&mut self, state: State) {
        if !matches!(self.state, State::Broken(_)) {
            self.state = state;
        }
        if matches!(self.state, State::Broken(_)) {
            self.inbox.clear();
        }
        self.wake();
    }
}

impl Network {
    /// Ends whose life is over, and what their system says to the other ends.
    pub(super) fn break_pipes(&mut self, owner: Owner) -> Vec<(Place, Packet)> {
        let mut broken = Vec::new();
        for (number, pipe) in &mut self.pipes {
            for end in 0..2 {
                if pipe.ends[end].owner == Some(owner) {
                    pipe.ends[end].is_gone = true;
                    let why = "the connection was reset";
                    let packet = Packet::Reset {
                        stream: *number,
                        end: 1 - end,
                        why,
                    };
                    broken.push((pipe.ends[1 - end].place, packet));
                }
            }
        }
        self.forget_pipes();
        broken
    }

    /// Breaks both ends at once.
    pub(super) fn break_pipe(&mut self, stream: u64, why: &'static str) -> bool {
        let Some(pipe) = self.pipes.get_mut(&stream) else {
            return false;
        };
        for end in &mut pipe.ends {
            end.set(State::Broken(why));
        }
        true
    }

    fn forget_pipes(&mut self) {
        self.pipes.retain(|_, pipe| !pipe.ends.iter().all(|end| end.is_gone));
    }

    fn end(&mut self, stream: u64, end: usize) -> Option<&mut End> {
        self.pipes.get_mut(&stream).map(|pipe| &mut pipe.ends[end])
    }
}

impl Kernel {
    /// Opens a stream and waits until it is accepted, without end.
    pub(super) async fn open(
        self: &Arc<Self>,
        owner: Owner,
        to: Place,
        method: Method,
    ) -> Result<SimStream, CallError> {
        let stream = {
            let mut network = lock(&self.network);
            network.pipes_made += 1;
            let stream = network.pipes_made;
            let ends = [End::new(owner.place, Some(owner)), End::new(to, None)];
            network.pipes.insert(
                stream,
                Pipe {
                    ends,
                    is_accepted: false,
                },
            );
            stream
        };
        let handle = SimStream {
            kernel: Arc::clone(self),
            owner,
            stream,
            end: 0,
        };
        self.transmit(owner.place, to, Packet::Open { stream, method });
        poll_fn(|context| {
            let mut network = lock(&self.network);
            let Some(pipe) = network.pipes.get_mut(&stream) else {
                return Poll::Ready(Err(CallError::Refused("the stream is gone".to_owned())));
            };
            if let State::Broken(why) = pipe.ends[0].state {
                // Before it is accepted, nobody has seen a message of it.
                return Poll::Ready(Err(CallError::Refused(why.to_owned())));
            }
            if pipe.is_accepted {
                return Poll::Ready(Ok(()));
            }
            pipe.ends[0].wait(context.waker());
            Poll::Pending
        })
        .await?;
        Ok(handle)
    }

    /// Somebody wants to open a stream.
    pub(super) fn open_pipe(self: &Arc<Self>, from: Place, to: Place, stream: u64, method: Method) {
        let alive = self.alive(to);
        let mut network = lock(&self.network);
        let is_silent = network.silent.contains(&to);
        let service = network.services.get(&to).filter(|service| Some(service.owner) == alive);
        let handler: Option<(Owner, StreamHandler)> =
            service.and_then(|service| Some((service.owner, Arc::clone(service.streams.as_ref()?))));
        let end = network.end(stream, 1);
        match (handler, end) {
            (Some((owner, handler)), Some(end)) => {
                end.owner = Some(owner);
                drop(network);
                let handle = SimStream {
                    kernel: Arc::clone(self),
                    owner,
                    stream,
                    end: 1,
                };
                self.transmit(to, from, Packet::Accept { stream });
                drop(spawn_for(
                    self,
                    owner,
                    async move { handler(from, method, handle).await },
                ));
            }
            (None, Some(end)) => {
                end.is_gone = true;
                drop(network);
                if !is_silent {
                    let why = "no streams are served there";
                    self.transmit(to, from, Packet::Reset { stream, end: 0, why });
                }
            }
            (_, None) => {}
        }
    }

    pub(super) fn accept_pipe(&self, stream: u64) {
        let mut network = lock(&self.network);
        if let Some(pipe) = network.pipes.get_mut(&stream) {
            pipe.is_accepted = true;
            pipe.ends[0].wake();
        }
    }

    /// A message of a stream arrives.
    pub(super) fn pass_on(self: &Arc<Self>, from: Place, to: Place, stream: u64, end: usize, body: Bytes) {
        let mut network = lock(&self.network);
        let is_silent = network.silent.contains(&to);
        let Some(there) = network.end(stream, end) else {
            return;
        };
        if !there.is_gone {
            if there.state == State::Open {
                there.inbox.push_back(body);
                there.wake();
            }
            return;
        }
        drop(network);
        if !is_silent {
            let why = "the connection was reset";
            let end = 1 - end;
            self.transmit(to, from, Packet::Reset { stream, end, why });
        }
    }

    pub(super) fn close_end(&self, stream: u64, end: usize) {
        if let Some(end) = lock(&self.network).end(stream, end) {
            end.set(State::Closed);
        }
    }

    pub(super) fn break_end(&self, stream: u64, end: usize, why: &'static str) {
        if let Some(end) = lock(&self.network).end(stream, end) {
            end.set(State::Broken(why));
        }
    }
}

/// One end of an ordered stream. Dropping it closes the stream in good order; a crash breaks it.
pub struct SimStream {
    kernel: Arc<Kernel>,
    owner: Owner,
    stream: u64,
    end: usize,
}

fn broken(why: &str) -> CallError {
    CallError::TimedOut(format!("the stream is broken: {why}"))
}

impl PeerStream for SimStream {
    async fn send(&mut self, body: Bytes) -> Result<(), CallError> {
        let to = poll_fn(|context| {
            let mut network = lock(&self.kernel.network);
            let Some(end) = network.end(self.stream, self.end) else {
                return Poll::Ready(Err(broken("both ends are gone")));
            };
            if let State::Broken(why) = end.state {
                return Poll::Ready(Err(broken(why)));
            }
            if end.unread >= WINDOW {
                end.wait(context.waker());
                return Poll::Pending;
            }
            end.unread += 1;
            let other = network.end(self.stream, 1 - self.end);
            Poll::Ready(other.map(|end| end.place).ok_or_else(|| broken("both ends are gone")))
        })
        .await?;
        let packet = Packet::Data {
            stream: self.stream,
            end: 1 - self.end,
            body,
        };
        self.kernel.transmit(self.owner.place, to, packet);
        Ok(())
    }

    async fn receive(&mut self) -> Result<Option<Bytes>, CallError> {
        poll_fn(|context| {
            let mut network = lock(&self.kernel.network);
            let Some(end) = network.end(self.stream, self.end) else {
                return Poll::Ready(Err(broken("both ends are gone")));
            };
            if let Some(body) = end.inbox.pop_front() {
                if let Some(other) = network.end(self.stream, 1 - self.end) {
                    other.unread = other.unread.saturating_sub(1);
                    other.wake();
                }
                return Poll::Ready(Ok(Some(body)));
            }
            match end.state {
                State::Open => {
                    end.wait(context.waker());
                    Poll::Pending
                }
                State::Closed => Poll::Ready(Ok(None)),
                State::Broken(why) => Poll::Ready(Err(broken(why))),
            }
        })
        .await
    }
}

impl Drop for SimStream {
    fn drop(&mut self) {
        if !self.kernel.state().is_alive(self.owner) {
            // Its death has broken it already.
            return;
        }
        let mut network = lock(&self.kernel.network);
        let Some(end) = network.end(self.stream, self.end) else {
            return;
        };
        end.is_gone = true;
        let says_so = !matches!(end.state, State::Broken(_));
        let other = network.end(self.stream, 1 - self.end).map(|end| {
            // Nobody has taken that end, and nobody will.
            end.is_gone |= end.owner.is_none();
            end.place
        });
        network.forget_pipes();
        drop(network);
        if let Some(to) = other.filter(|_| says_so) {
            let packet = Packet::Close {
                stream: self.stream,
                end: 1 - self.end,
            };
            self.kernel.transmit(self.owner.place, to, packet);
        }
    }
}
