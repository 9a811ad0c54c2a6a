//! Small histories of any object, right and wrong, for the slow twins.

use tribunal_checker::generate::Draw;
use tribunal_checker::linearizability::Entry;
use tribunal_checker::spec::Spec;

/// How many of a hundred; drawn for each history.
#[derive(Clone, Copy, Debug)]
pub struct Odds {
    /// Results that another object gave: one of a while ago, or one that did something else.
    pub lies: u32,
    /// Operations that stay in doubt.
    pub doubts: u32,
    /// Results that are erased, so that the operation took effect and nobody knows how.
    pub erased: u32,
}

impl Odds {
    pub fn any(draw: &mut Draw) -> Self {
        Self {
            lies: [0, 10, 30][draw.below(3) as usize],
            doubts: [0, 20, 50][draw.below(3) as usize],
            erased: [0, 0, 0, 10][draw.below(4) as usize],
        }
    }
}

/// Up to `operations_max` operations of a few clients on one object. `op` makes what is asked; it is given how many were
/// made before.
pub fn small<S: Spec>(
    draw: &mut Draw,
    operations_max: u64,
    odds: Odds,
    op: impl FnMut(&mut Draw, usize) -> S::Op,
) -> Vec<Entry<S>> {
    let operations = 1 + draw.below(operations_max);
    let clients = 1 + draw.below(4);
    small_of(draw, operations, clients, odds, op)
}

/// So many operations of so many clients on one object.
pub fn small_of<S: Spec>(
    draw: &mut Draw,
    operations: u64,
    clients: u64,
    odds: Odds,
    mut op: impl FnMut(&mut Draw, usize) -> S::Op,
) -> Vec<Entry<S>> {
    let (operations, clients) = (operations as usize, clients as usize);
    let mut object = S::default();
    let mut other = S::default();
    let mut entries: Vec<Entry<S>> = Vec::new();
    let mut open: Vec<Option<(usize, Option<S::Ret>)>> = vec![None; clients];
    for now in (0..operations as u64 * 4).map(|turn| 2 * turn) {
        let client = draw.below(clients as u64) as usize;
        match open[client].take() {
            None if entries.len() < operations => {
                let made = entries.len();
                open[client] = Some((made, None));
                entries.push(Entry {
                    id: made,
                    op: op(draw, made),
                    ret: None,
                    call: now,
                    end: None,
                });
            }
            None => {}
            Some((id, None)) => {
                if draw.percent(20) {
                    other = object.clone();
                }
                let told = object.invoke(&entries[id].op);
                // Half of those in doubt did nothing, as far as the next ones can see.
                let lie = draw.percent(odds.lies).then(|| other.invoke(&entries[id].op));
                open[client] = Some((id, Some(lie.unwrap_or(told))));
            }
            Some((id, ret)) if !draw.percent(odds.doubts) => {
                entries[id].ret = ret.filter(|_| !draw.percent(odds.erased));
                entries[id].end = Some(now);
            }
            // In doubt: the client goes on.
            Some(_) => {}
        }
    }
    entries
}

/// How many histories: a hundred thousand where the compiler optimises, fewer where it does not, and as many as
/// `TRIBUNAL_DIFFERENTIAL` says where that is set.
pub fn rounds() -> u64 {
    match std::env::var("TRIBUNAL_DIFFERENTIAL") {
        Ok(rounds) => rounds.parse().expect("TRIBUNAL_DIFFERENTIAL is a number of histories"),
        Err(_) if cfg!(debug_assertions) => 2_000,
        Err(_) => 100_000,
    }
}
