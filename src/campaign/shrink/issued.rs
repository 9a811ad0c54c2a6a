//! The operations that the clients of a run issued.

use std::collections::{BTreeMap, BTreeSet};

use tribunal_history::{Event, Seq, SimulatedPlan};

use super::{Size, Tried};

/// An operation that a client issued.
#[derive(Clone, Debug)]
pub(super) struct Issued {
    pub client: u32,
    /// Its place in the sequence that the client would issue.
    pub place: u32,
    pub seq: Seq,
    pub time_ns: u64,
}

/// The operations of a run, in order.
pub(super) fn issued(plan: &SimulatedPlan, tried: &Tried) -> Vec<Issued> {
    let mut counts: BTreeMap<u32, usize> = BTreeMap::new();
    let invoked = tried.events.iter().filter_map(|event| match event {
        Event::Invoke(invoked) => Some(invoked),
        _ => None,
    });
    let mut issued = Vec::new();
    for invoked in invoked {
        let Some(client) = tried.clients.get(invoked.process.0 as usize).copied() else {
            continue;
        };
        let count = counts.entry(client).or_default();
        let nth = *count;
        *count += 1;
        let place = match &plan.kept {
            Some(kept) => kept.get(&client).and_then(|places| places.get(nth)).copied(),
            None => u32::try_from(nth).ok(),
        };
        issued.extend(place.map(|place| Issued {
            client,
            place,
            seq: invoked.seq,
            time_ns: invoked.time_ns,
        }));
    }
    issued
}

pub(super) fn kept<'a>(issued: impl Iterator<Item = &'a Issued>) -> BTreeMap<u32, Vec<u32>> {
    let mut kept: BTreeMap<u32, BTreeSet<u32>> = BTreeMap::new();
    for operation in issued {
        kept.entry(operation.client).or_default().insert(operation.place);
    }
    let lists = kept.into_iter();
    lists
        .map(|(client, places)| (client, places.into_iter().collect()))
        .collect()
}

/// The same plan, with every operation that was issued named.
pub(super) fn explicit(plan: &SimulatedPlan, tried: &Tried) -> SimulatedPlan {
    let issued = issued(plan, tried);
    SimulatedPlan {
        kept: Some(kept(issued.iter())),
        ..plan.clone()
    }
}

pub(super) fn size(plan: &SimulatedPlan, tried: &Tried) -> Size {
    let issued = issued(plan, tried);
    let clients: BTreeSet<u32> = issued.iter().map(|operation| operation.client).collect();
    Size {
        faults: plan.schedule.steps.len(),
        clients: clients.len(),
        operations: issued.len(),
    }
}
