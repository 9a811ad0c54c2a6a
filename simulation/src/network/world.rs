//! What the harness does to the network.

use tribunal_env::Method;
use tribunal_history::{MemberId, NodeId};

use super::link::{Link, Packet};
use super::settings::{Cut, LinkCounters, LinkSettings};
use crate::executor::lock;
use crate::executor::trace::Kind;
use crate::place::Place;
use crate::world::World;

impl World {
    /// Lets a member be reached at a node from now on; a later member at the same node does not undo it.
    pub fn add_member(&self, member: MemberId, node: NodeId) {
        lock(&self.kernel.network).members.insert(member, node);
    }

    /// Lets a member be reached no more, also not by requests that are on their way.
    pub fn remove_member(&self, member: MemberId) {
        lock(&self.kernel.network).members.remove(&member);
    }

    /// How every link behaves that is not told otherwise.
    pub fn set_links(&self, settings: LinkSettings) {
        lock(&self.kernel.network).usual = settings;
    }

    /// Which calls between nodes may arrive twice, where a link duplicates; all of them unless told otherwise. A
    /// connection doubles none; what a protocol promises to bear (Raft's own messages) is worth doubling all the same,
    /// and a command that is forwarded once is not.
    pub fn set_copied(&self, methods: &'static [Method]) {
        lock(&self.kernel.network).copied = Some(methods);
    }

    /// How every link behaves that is not told otherwise.
    pub fn links(&self) -> LinkSettings {
        lock(&self.kernel.network).usual
    }

    /// How one direction between two places behaves; none for as every other.
    pub fn set_link(&self, from: Place, to: Place, settings: Option<LinkSettings>) {
        self.with_link(from, to, |link| link.settings = settings);
    }

    /// Cuts one direction between two places.
    pub fn cut(&self, from: Place, to: Place, cut: Cut) {
        self.kernel.trace(Kind::Note, from.number(), to.number(), b"cut");
        self.with_link(from, to, |link| link.cut = Some(cut));
    }

    /// Undoes [`World::cut`]. Streams that had something to send meanwhile break as a whole; no message of theirs is
    /// left out and a later one delivered.
    pub fn heal(&self, from: Place, to: Place) {
        self.kernel.trace(Kind::Note, from.number(), to.number(), b"heal");
        let mut network = lock(&self.kernel.network);
        let link = network.link(from, to);
        link.cut = None;
        let stalled = std::mem::take(&mut link.stalled);
        let mut broken = 0;
        for stream in stalled {
            broken += u64::from(network.break_pipe(stream, "it was cut"));
        }
        network.link(from, to).counters.streams_broken += broken;
    }

    /// Holds everything that is sent in one direction, and what is under way, until [`World::release`].
    pub fn hold(&self, from: Place, to: Place) {
        self.kernel.trace(Kind::Note, from.number(), to.number(), b"hold");
        self.with_link(from, to, |link| {
            link.held.get_or_insert_default();
        });
    }

    /// Sends what was held on its way, in its order. Says how many messages that were.
    pub fn release(&self, from: Place, to: Place) -> usize {
        self.kernel.trace(Kind::Note, from.number(), to.number(), b"release");
        let held: Vec<Packet> = self.with_link(from, to, |link| link.held.take()).unwrap_or_default();
        let count = held.len();
        for packet in held {
            self.kernel.transmit(from, to, packet);
        }
        count
    }

    /// Heals and releases every link.
    pub fn heal_all(&self) {
        let links: Vec<(Place, Place)> = lock(&self.kernel.network).links.keys().copied().collect();
        for (from, to) in links {
            self.heal(from, to);
            self.release(from, to);
        }
    }

    /// How often one direction between two places did what.
    pub fn link_counters(&self, from: Place, to: Place) -> LinkCounters {
        self.with_link(from, to, |link| link.counters)
    }

    fn with_link<R>(&self, from: Place, to: Place, act: impl FnOnce(&mut Link) -> R) -> R {
        act(lock(&self.kernel.network).link(from, to))
    }
}
