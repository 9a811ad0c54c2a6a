//! Whether the faults were felt: without proof of that, a green run says nothing.

use std::collections::{BTreeMap, BTreeSet};

use tribunal_history::{Event, FaultKind, NemesisAction, NemesisEvent, Outcome, Property, PropertyClass, Schedule};

/// What became of the faults of a run, by kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    /// Kinds that were tried at least once.
    pub kinds: BTreeMap<FaultKind, KindCoverage>,
    /// Kinds that were asked for and never started: no step in the schedule, or the run ended before it.
    pub not_tried: Vec<FaultKind>,
}

/// What became of the faults of one kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KindCoverage {
    /// Faults that were started, or that should have been and could not.
    pub tried: u32,
    /// Of these, how many were proved to act.
    pub effective: u32,
    /// Why the last one that did not act did not; none if all did.
    pub miss: Option<String>,
}

impl Coverage {
    /// Counts the nemesis' events of a run against its schedule.
    pub fn of<'a>(schedule: &Schedule, events: impl IntoIterator<Item = &'a Event>) -> Self {
        let mut kinds: BTreeMap<FaultKind, KindCoverage> = BTreeMap::new();
        let mut tried: BTreeSet<u32> = BTreeSet::new();
        let mut effective: BTreeSet<u32> = BTreeSet::new();
        let nemesis = events.into_iter().filter_map(|event| match event {
            Event::Nemesis(event) => Some(event),
            _ => None,
        });
        for NemesisEvent {
            step,
            action,
            kind,
            detail,
            ..
        } in nemesis
        {
            let kind = kinds.entry(*kind).or_default();
            if tried.insert(*step) {
                kind.tried += 1;
            }
            match action {
                NemesisAction::Effective if effective.insert(*step) => kind.effective += 1,
                NemesisAction::NoEffect | NemesisAction::Error if !effective.contains(step) => {
                    kind.miss = Some(detail.clone());
                }
                _ => {}
            }
        }
        let asked: BTreeSet<FaultKind> = schedule
            .steps
            .iter()
            .map(|step| step.fault.kind())
            .chain(schedule.not_tried.iter().copied())
            .collect();
        let not_tried = asked.into_iter().filter(|kind| !kinds.contains_key(kind)).collect();
        Self { kinds, not_tried }
    }

    /// The property that every kind of fault which was tried took effect at least once. Vacuous if none was tried;
    /// kinds that were not reached in time, and those that need luck to act, are named and do not decide.
    pub fn property(&self) -> Property {
        let missed = self
            .kinds
            .iter()
            .any(|(kind, counts)| counts.effective == 0 && is_certain(*kind));
        let verdict = match (self.kinds.is_empty(), missed) {
            (true, _) => Outcome::Vacuous,
            (false, true) => Outcome::Fail,
            (false, false) => Outcome::Pass,
        };
        Property {
            id: "faults-effective".to_owned(),
            title: "Every kind of fault took effect".to_owned(),
            class: PropertyClass::Coverage,
            verdict,
            detail: self.detail(),
        }
    }

    /// What was counted, in one line.
    fn detail(&self) -> String {
        let mut parts: Vec<String> = Vec::new();
        for (kind, counts) in &self.kinds {
            let mut part = format!("{kind} {} of {}", counts.effective, counts.tried);
            if let Some(miss) = &counts.miss {
                part.push_str(&format!(" ({miss})"));
            }
            parts.push(part);
        }
        if parts.is_empty() {
            parts.push("no fault was tried".to_owned());
        }
        if !self.not_tried.is_empty() {
            let names: Vec<&str> = self.not_tried.iter().map(|kind| kind.name()).collect();
            parts.push(format!("not tried: {}", names.join(", ")));
        }
        parts.join("; ")
    }
}

/// Whether it acts whenever it is applied for long enough. The others wait for something that the nodes may not do in
/// that time: pass a point, write where a write would fail, agree on members.
pub fn is_certain(kind: FaultKind) -> bool {
    match kind {
        FaultKind::Kill
        | FaultKind::Pause
        | FaultKind::Crash
        | FaultKind::Isolate
        | FaultKind::IsolateInbound
        | FaultKind::IsolateOutbound
        | FaultKind::Split
        | FaultKind::Bridge
        | FaultKind::Ring
        | FaultKind::LinkDelay
        | FaultKind::LinkSlow
        | FaultKind::LinkHold
        | FaultKind::ClockDrift
        | FaultKind::ClockJump
        | FaultKind::WallJump => true,
        FaultKind::CrashAfterPolls
        | FaultKind::CrashAtPoint
        | FaultKind::LinkLoss
        | FaultKind::LinkDuplicate
        | FaultKind::LinkReorder
        | FaultKind::LinkRefuse
        | FaultKind::SlowSync
        | FaultKind::SyncError
        | FaultKind::WriteError
        | FaultKind::DiskFull
        | FaultKind::BitRot
        | FaultKind::LatentSector
        | FaultKind::LyingSync
        | FaultKind::MemberReplace
        | FaultKind::MemberGrow
        | FaultKind::MemberShrink
        | FaultKind::TransferLeader
        | FaultKind::Compact
        | FaultKind::Snapshot => false,
    }
}

#[cfg(test)]
mod tests {
    use tribunal_history::{Fault, NodeId, Select, Seq, Step};

    use super::*;

    fn kill() -> Fault {
        Fault::Kill { select: Select::All }
    }

    fn pause() -> Fault {
        Fault::Pause { select: Select::All }
    }

    fn schedule(faults: &[Fault], not_tried: &[FaultKind]) -> Schedule {
        Schedule {
            seed: 1,
            steps: faults
                .iter()
                .map(|fault| Step {
                    at_ms: 0,
                    duration_ms: 1,
                    fault: fault.clone(),
                })
                .collect(),
            not_tried: not_tried.to_vec(),
        }
    }

    fn event(step: u32, fault: &Fault, action: NemesisAction, detail: &str) -> Event {
        Event::Nemesis(NemesisEvent {
            seq: Seq(0),
            time_ns: 0,
            step,
            action,
            kind: fault.kind(),
            fault: fault.clone(),
            nodes: vec![NodeId(1)],
            detail: detail.to_owned(),
        })
    }

    #[test]
    fn a_kind_is_covered_by_one_fault_that_acted() {
        let schedule = schedule(&[kill(), kill(), pause()], &[FaultKind::Isolate]);
        let events = [
            event(0, &kill(), NemesisAction::Start, ""),
            event(0, &kill(), NemesisAction::NoEffect, "the process was gone before"),
            event(0, &kill(), NemesisAction::Stop, ""),
            event(1, &kill(), NemesisAction::Start, ""),
            event(1, &kill(), NemesisAction::Effective, "gone"),
            event(1, &kill(), NemesisAction::Stop, ""),
            event(2, &pause(), NemesisAction::Start, ""),
            event(2, &pause(), NemesisAction::Effective, "stopped"),
        ];
        let property = Coverage::of(&schedule, &events).property();
        assert_eq!(property.verdict, Outcome::Pass);
        assert_eq!(
            property.detail,
            "kill 1 of 2 (the process was gone before); pause 1 of 1; not tried: isolate"
        );
    }

    #[test]
    fn a_kind_that_never_acted_fails_and_an_error_counts_as_tried() {
        let events = [
            event(0, &kill(), NemesisAction::Start, ""),
            event(0, &kill(), NemesisAction::Effective, "gone"),
            event(1, &pause(), NemesisAction::Start, ""),
            event(1, &pause(), NemesisAction::Error, "no such process"),
            event(1, &pause(), NemesisAction::Stop, ""),
        ];
        let property = Coverage::of(&schedule(&[kill(), pause()], &[]), &events).property();
        assert_eq!(property.verdict, Outcome::Fail);
        assert_eq!(property.detail, "kill 1 of 1; pause 0 of 1 (no such process)");
    }

    #[test]
    fn without_faults_nothing_was_exercised() {
        let coverage = Coverage::of(&schedule(&[kill()], &[]), &[]);
        assert_eq!(coverage.not_tried, [FaultKind::Kill], "the run ended before its step");
        assert_eq!(coverage.property().verdict, Outcome::Vacuous);
        assert_eq!(coverage.property().detail, "no fault was tried; not tried: kill");
        assert_eq!(
            Coverage::of(&Schedule::default(), &[]).property().detail,
            "no fault was tried"
        );
    }
}
