//! Members who go up and down: from as many as there are at the start to as many as there can be, down to the fewest,
//! and up again; and a replacement wherever an odd number is reached that can spare one.
//!
//! At random a cluster of one would seldom get to five and back in a run of a minute.

use std::collections::BTreeSet;

use tribunal_history::FaultKind;

use crate::plan::Plan;

/// Fewest members of whom one is replaced: of three two are a quorum.
const REPLACED_OF_MIN: u16 = 3;

/// Which change of members comes next.
#[derive(Clone, Debug)]
pub(crate) struct Climb {
    kinds: BTreeSet<FaultKind>,
    /// How many there will be if every change succeeds.
    members: u16,
    least: u16,
    most: u16,
    goes_up: bool,
    /// Whether the number of members has changed since the last replacement.
    has_moved: bool,
}

impl Climb {
    /// From the first members of `plan` on, with the changes that it has.
    pub(crate) fn new(plan: &Plan) -> Self {
        Self {
            kinds: plan.applicable(),
            members: plan.nodes,
            least: plan.members_min(),
            most: plan.nodes.saturating_add(plan.spares),
            goes_up: true,
            has_moved: false,
        }
    }

    /// The next change; none if the plan has none that can be made.
    pub(crate) fn next(&mut self) -> Option<FaultKind> {
        let has = |kind| self.kinds.contains(&kind);
        let can_grow = has(FaultKind::MemberGrow) && self.members < self.most;
        let can_shrink = has(FaultKind::MemberShrink) && self.members > self.least;
        let is_stuck = !can_grow && !can_shrink;
        let is_sound = self.members >= REPLACED_OF_MIN && self.members % 2 == 1;
        if has(FaultKind::MemberReplace) && (is_stuck || is_sound && self.has_moved) {
            self.has_moved = false;
            return Some(FaultKind::MemberReplace);
        }
        if is_stuck {
            return None;
        }
        self.goes_up = if self.goes_up { can_grow } else { !can_shrink };
        self.has_moved = true;
        if self.goes_up {
            self.members += 1;
            Some(FaultKind::MemberGrow)
        } else {
            self.members -= 1;
            Some(FaultKind::MemberShrink)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// The first changes: `+` and `-` for one member more or fewer, `=` for a replacement.
    fn changes(nodes: u16, spares: u16, kinds: &[FaultKind], count: usize) -> String {
        let mut plan = Plan::new(1, nodes, kinds.iter().copied().collect(), Duration::from_secs(60));
        plan.spares = spares;
        plan.climbs = true;
        plan.aims_at_spares = true;
        let mut climb = Climb::new(&plan);
        let signs = std::iter::from_fn(|| climb.next()).map(|kind| match kind {
            FaultKind::MemberGrow => '+',
            FaultKind::MemberShrink => '-',
            _ => '=',
        });
        signs.take(count).collect()
    }

    #[test]
    fn one_member_becomes_five_and_five_become_one() {
        let all = [FaultKind::MemberReplace, FaultKind::MemberGrow, FaultKind::MemberShrink];
        assert_eq!(changes(1, 4, &all, 14), "++=++=--=--++=");
        assert_eq!(changes(3, 2, &all, 9), "++=--=++=");
        assert_eq!(changes(1, 4, &all[1..], 10), "++++----++");
    }

    #[test]
    fn what_is_not_asked_for_or_cannot_be_is_not_done() {
        assert_eq!(changes(3, 2, &[FaultKind::MemberReplace], 3), "===");
        assert_eq!(changes(3, 2, &[FaultKind::MemberGrow], 5), "++");
        assert_eq!(changes(5, 0, &[FaultKind::MemberShrink], 5), "--");
        assert_eq!(changes(3, 0, &[FaultKind::MemberShrink], 5), "");
    }
}
