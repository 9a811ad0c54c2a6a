//! One direction between two places: when a message arrives, if it does.

use std::collections::BTreeSet;

use bytes::Bytes;
use rand_chacha::ChaCha8Rng;
use tribunal_env::{CallError, Method, Purpose, Stream, seeded};
use tribunal_history::MemberId;

use super::settings::{Cut, LinkCounters, LinkSettings};
use crate::draw::{below, chance, nanos};
use crate::place::Place;

/// A stream's message that is lost arrives so much later, in nanoseconds: TCP's least time before it sends again.
const RETRANSMISSION: u64 = 200_000_000;

/// The most that waits in front of a slow link, in nanoseconds of its own time, as in the queue of a router: what comes
/// when it is full is dropped. So a link that is slow no longer is soon an usual one.
const QUEUE_MAX: u64 = 1_000_000_000;

/// The most that a copy of a call is late, in nanoseconds: something on the way kept it, or sent it again. As often as
/// so late it is at most half of that late, or a quarter, and so on: soon enough to meet the call itself, or so late that
/// much has happened since.
const COPY_LATE_MAX: u64 = 2_000_000_000;
const COPY_HALVINGS: u64 = 8;

/// Bytes that a message takes beside its body.
const OVERHEAD: u64 = 64;

/// What travels.
#[derive(Clone, Debug)]
pub(super) enum Packet {
    Request {
        call: u64,
        /// Whom it is for: another member in the same place does not answer it.
        member: MemberId,
        method: Method,
        body: Bytes,
    },
    Reply {
        call: u64,
        answer: Result<Bytes, CallError>,
    },
    Open {
        stream: u64,
        method: Method,
    },
    Accept {
        stream: u64,
    },
    Data {
        stream: u64,
        end: usize,
        body: Bytes,
    },
    Close {
        stream: u64,
        end: usize,
    },
    Reset {
        stream: u64,
        end: usize,
        why: &'static str,
    },
}

impl Packet {
    /// The stream that it must stay in order with.
    pub(super) fn stream(&self) -> Option<u64> {
        match self {
            Self::Request { .. } | Self::Reply { .. } => None,
            Self::Open { stream, .. }
            | Self::Accept { stream }
            | Self::Data { stream, .. }
            | Self::Close { stream, .. }
            | Self::Reset { stream, .. } => Some(*stream),
        }
    }

    pub(super) fn body(&self) -> &[u8] {
        match self {
            Self::Request { body, .. } | Self::Data { body, .. } => body,
            Self::Reply { answer: Ok(body), .. } => body,
            Self::Reply {
                answer: Err(CallError::Refused(why) | CallError::TimedOut(why)),
                ..
            } => why.as_bytes(),
            Self::Open { method, .. } => method.as_bytes(),
            Self::Accept { .. } => b"accept",
            Self::Close { .. } => b"close",
            Self::Reset { why, .. } => why.as_bytes(),
        }
    }
}

/// What becomes of a message that is sent.
pub(super) enum Way {
    /// It arrives at this time, and once more at the other, if there is one.
    Arrives(u64, Option<u64>),
    /// It never arrives.
    Lost,
    /// A cut link says no, which is heard at this time.
    Refused(u64),
    /// The link holds it.
    Held,
}

/// One direction between two places.
pub(super) struct Link {
    /// What differs from the usual.
    pub settings: Option<LinkSettings>,
    pub cut: Option<Cut>,
    /// What is held, while it is held.
    pub held: Option<Vec<Packet>>,
    pub counters: LinkCounters,
    /// Streams that wanted to send while the link was cut; they break when it heals.
    pub stalled: BTreeSet<u64>,
    last_arrival: u64,
    busy_until: u64,
    delays: ChaCha8Rng,
    losses: ChaCha8Rng,
    copies: ChaCha8Rng,
    orders: ChaCha8Rng,
}

impl Link {
    pub(super) fn new(seed: u64, from: Place, to: Place) -> Self {
        let lot = |kind: u64| {
            let stream = Stream {
                purpose: Purpose::Network,
                a: from.number(),
                b: to.number() | (kind << 56),
            };
            seeded(seed, 0, stream)
        };
        Self {
            settings: None,
            cut: None,
            held: None,
            counters: LinkCounters::default(),
            stalled: BTreeSet::new(),
            last_arrival: 0,
            busy_until: 0,
            delays: lot(0),
            losses: lot(1),
            copies: lot(2),
            orders: lot(3),
        }
    }

    /// Draws what becomes of a message sent now. As much is drawn for each message, whatever the settings are.
    pub(super) fn send(&mut self, now: u64, usual: &LinkSettings, packet: &Packet, may_copy: bool) -> Way {
        let settings = self.settings.unwrap_or(*usual);
        let delay = settings.delay.draw(&mut self.delays);
        let is_lost = chance(&mut self.losses, settings.loss);
        let is_copied = chance(&mut self.copies, settings.duplication) && may_copy;
        let copy_late_max = COPY_LATE_MAX >> below(&mut self.copies, COPY_HALVINGS);
        let copy_delay = settings.delay.draw(&mut self.copies) + below(&mut self.copies, copy_late_max);
        let is_late = chance(&mut self.orders, settings.reordering);
        let late_by = below(&mut self.orders, nanos(settings.reordering_max).saturating_add(1));

        self.counters.sent += 1;
        if let Some(cut) = self.cut {
            self.stop(packet);
            let is_new = matches!(packet, Packet::Request { .. } | Packet::Open { .. });
            return match cut {
                Cut::Refusing if is_new => Way::Refused(now.saturating_add(delay)),
                _ => Way::Lost,
            };
        }
        if self.held.is_some() {
            return Way::Held;
        }
        let is_ordered = packet.stream().is_some();
        let size = packet.body().len() as u64 + OVERHEAD;
        let sending = settings
            .bytes_per_second
            .map_or(0, |rate| size.saturating_mul(1_000_000_000) / rate.max(1));
        let is_full = self.busy_until.saturating_sub(now) > QUEUE_MAX;
        if !is_full {
            self.busy_until = self.busy_until.max(now).saturating_add(sending.min(QUEUE_MAX));
        }
        // What takes longer than the queue lasts shares the link: the calls behind it do not wait for its end.
        let rest = sending.saturating_sub(QUEUE_MAX);
        let mut at = self.busy_until.saturating_add(delay);
        if is_ordered {
            at = at.saturating_add(rest);
        }
        if is_lost || is_full {
            self.counters.lost += 1;
            if !is_ordered {
                return Way::Lost;
            }
            at = at.saturating_add(RETRANSMISSION);
        }
        if is_late && !is_ordered {
            self.counters.reordered += 1;
            at = at.saturating_add(late_by);
        } else {
            // Never in the same instant, in which the order of the tasks that take them would be drawn.
            at = at.max(self.last_arrival.saturating_add(1));
            self.last_arrival = at;
        }
        if !is_ordered {
            at = at.saturating_add(rest);
        }
        let copy = is_copied && matches!(packet, Packet::Request { .. });
        self.counters.duplicated += u64::from(copy);
        Way::Arrives(at, copy.then(|| self.busy_until.saturating_add(copy_delay)))
    }

    /// A cut stops this message.
    pub(super) fn stop(&mut self, packet: &Packet) {
        self.counters.cut += 1;
        if let Some(stream) = packet.stream() {
            self.stalled.insert(stream);
        }
    }
}
