//! The network: calls and ordered streams, as bytes, over links that fail.
//!
//! A call is a request and an answer, each a message of its own on the link of its direction. Who calls learns one of
//! three things: the answer; *refused*, which is said only if no copy of the request was or ever will be executed; or
//! nothing until its patience ends. A stream is ordered and never loses a message in its middle: where one is stuck,
//! the stream breaks as a whole.
//!
//! Requests reach the handler that the node registered with [`SimEnv::serve`](crate::SimEnv::serve), the same that
//! real transports deliver to.

mod call;
mod link;
mod settings;
mod stream;
mod transport;
mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use tribunal_env::{CallError, Method};
use tribunal_history::{MemberId, NodeId};

use crate::executor::trace::Kind;
use crate::executor::{Kernel, lock};
use crate::place::{Owner, Place};
use call::Call;
use link::{Link, Packet, Way};
use stream::Pipe;

pub use settings::{Cut, LinkCounters, LinkSettings};
pub use stream::SimStream;
pub use transport::SimTransport;

/// An answer under way.
pub(crate) type Answering = Pin<Box<dyn Future<Output = Result<Bytes, CallError>> + Send>>;

/// A stream under way.
pub(crate) type Streaming = Pin<Box<dyn Future<Output = ()> + Send>>;

type Handler = Arc<dyn Fn(Place, Method, Bytes) -> Answering + Send + Sync>;
type StreamHandler = Arc<dyn Fn(Place, Method, SimStream) -> Streaming + Send + Sync>;

/// What a living node answers.
pub(crate) struct Service {
    owner: Owner,
    calls: Option<Handler>,
    streams: Option<StreamHandler>,
}

/// Everything between the places.
pub(crate) struct Network {
    seed: u64,
    members: BTreeMap<MemberId, NodeId>,
    usual: LinkSettings,
    /// Calls that may arrive twice; none for all of them.
    copied: Option<&'static [Method]>,
    links: BTreeMap<(Place, Place), Link>,
    services: BTreeMap<Place, Service>,
    /// Machines that are gone: nobody there says even no.
    silent: BTreeSet<Place>,
    calls: BTreeMap<u64, Call>,
    calls_made: u64,
    pipes: BTreeMap<u64, Pipe>,
    pipes_made: u64,
}

impl Network {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            seed,
            members: BTreeMap::new(),
            usual: LinkSettings::default(),
            copied: None,
            links: BTreeMap::new(),
            services: BTreeMap::new(),
            silent: BTreeSet::new(),
            calls: BTreeMap::new(),
            calls_made: 0,
            pipes: BTreeMap::new(),
            pipes_made: 0,
        }
    }

    fn may_copy(&self, packet: &Packet) -> bool {
        match (packet, self.copied) {
            (Packet::Request { method, .. }, Some(copied)) => copied.contains(method),
            _ => true,
        }
    }

    fn link(&mut self, from: Place, to: Place) -> &mut Link {
        let seed = self.seed;
        self.links
            .entry((from, to))
            .or_insert_with(|| Link::new(seed, from, to))
    }
}

impl Kernel {
    pub(crate) fn serve(&self, owner: Owner, handler: Handler) {
        self.with_service(owner, |service| drop(service.calls.replace(handler)));
    }

    pub(crate) fn serve_streams(&self, owner: Owner, handler: StreamHandler) {
        self.with_service(owner, |service| drop(service.streams.replace(handler)));
    }

    fn with_service(&self, owner: Owner, change: impl FnOnce(&mut Service)) {
        if !self.state().is_alive(owner) {
            self.find_act_after_death(owner, "serve");
            return;
        }
        let mut network = lock(&self.network);
        let service = network.services.entry(owner.place).or_insert(Service {
            owner,
            calls: None,
            streams: None,
        });
        change(service);
    }

    /// Takes every handler away, to be dropped without a lock.
    pub(crate) fn take_services(&self) -> Vec<Service> {
        std::mem::take(&mut lock(&self.network).services)
            .into_values()
            .collect()
    }

    /// A machine that was gone is back.
    pub(crate) fn answer_again(&self, place: Place) {
        lock(&self.network).silent.remove(&place);
    }

    /// A life has ended: nobody serves there, and what was under way breaks off, audibly or not.
    pub(crate) fn break_connections(self: &Arc<Self>, owner: Owner, is_silent: bool) {
        let mut network = lock(&self.network);
        let service = network.services.remove(&owner.place);
        if is_silent {
            network.silent.insert(owner.place);
        }
        let broken_calls = network.break_calls(owner);
        let broken_pipes = network.break_pipes(owner);
        drop(network);
        drop(service);
        if is_silent {
            return;
        }
        for (from, packet) in broken_calls.into_iter().chain(broken_pipes) {
            self.transmit(owner.place, from, packet);
        }
    }

    /// Sends a message.
    fn transmit(self: &Arc<Self>, from: Place, to: Place, packet: Packet) {
        let now = self.now();
        let mut network = lock(&self.network);
        let may_copy = matches!((from, to), (Place::Node(_), Place::Node(_))) && network.may_copy(&packet);
        let usual = network.usual;
        let link = network.link(from, to);
        let way = link.send(now, &usual, &packet, may_copy);
        if matches!(way, Way::Held) {
            link.counters.held += 1;
            self.trace(Kind::Send, from.number(), to.number(), packet.body());
            link.held.get_or_insert_default().push(packet);
            return;
        }
        if let (Packet::Request { call, .. }, Way::Arrives(_, Some(_))) = (&packet, &way) {
            network.add_copy(*call);
        }
        drop(network);
        match way {
            Way::Held => unreachable!("it was returned above"),
            Way::Arrives(at, copy) => {
                self.trace(Kind::Send, from.number(), to.number(), packet.body());
                if let Some(at) = copy {
                    let packet = packet.clone();
                    self.after(at - now, move |kernel| kernel.arrive(from, to, packet));
                }
                self.after(at - now, move |kernel| kernel.arrive(from, to, packet));
            }
            Way::Lost => self.lose(from, to, &packet),
            Way::Refused(at) => {
                self.trace(Kind::Lose, from.number(), to.number(), packet.body());
                self.after(at - now, move |kernel| match packet {
                    Packet::Request { call, .. } => kernel.refuse_here(call, "the link is cut"),
                    Packet::Open { stream, .. } => kernel.break_end(stream, 0, "the link is cut"),
                    _ => {}
                });
            }
        }
    }

    fn lose(&self, from: Place, to: Place, packet: &Packet) {
        self.trace(Kind::Lose, from.number(), to.number(), packet.body());
        if let Packet::Request { call, .. } = packet {
            lock(&self.network).drop_copy(*call);
        }
    }

    /// A message has come to the end of its link.
    fn arrive(self: &Arc<Self>, from: Place, to: Place, packet: Packet) {
        let mut network = lock(&self.network);
        let link = network.link(from, to);
        if link.cut.is_some() {
            link.stop(&packet);
            drop(network);
            self.lose(from, to, &packet);
            return;
        }
        if let Some(held) = &mut link.held {
            link.counters.held += 1;
            held.push(packet);
            return;
        }
        link.counters.arrived += 1;
        drop(network);
        self.trace(Kind::Arrive, from.number(), to.number(), &[]);
        match packet {
            Packet::Request {
                call,
                member,
                method,
                body,
            } => self.request((from, to), call, member, method, body),
            Packet::Reply { call, answer } => self.reply(call, answer),
            Packet::Open { stream, method } => self.open_pipe(from, to, stream, method),
            Packet::Accept { stream } => self.accept_pipe(stream),
            Packet::Data { stream, end, body } => self.pass_on(from, to, stream, end, body),
            Packet::Close { stream, end } => self.close_end(stream, end),
            Packet::Reset { stream, end, why } => self.break_end(stream, end, why),
        }
    }
}
