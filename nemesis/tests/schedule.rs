//! What every schedule keeps to, whatever it is drawn from.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::prelude::*;
use tribunal_history::{Direction, Fault, FaultKind, NodeId, Record as _, Schedule, Select};
use tribunal_nemesis::{Plan, draw, resolve};

fn all(seed: u64, nodes: u16, seconds: u64) -> Plan {
    Plan::new(seed, nodes, FaultKind::ALL.into(), Duration::from_secs(seconds))
}

fn counts(schedule: &Schedule) -> BTreeMap<FaultKind, usize> {
    let mut counts = BTreeMap::new();
    for step in &schedule.steps {
        *counts.entry(step.fault.kind()).or_default() += 1;
    }
    counts
}

/// A schedule is part of a run's identity: if this fails after an update of a library, old seeds mean other runs.
#[test]
fn a_seed_means_this_schedule() {
    let lines: Vec<String> = draw(&all(7, 3, 20))
        .steps
        .iter()
        .map(|step| format!("{} +{} {}", step.at_ms, step.duration_ms, step.fault))
        .collect();
    assert_eq!(
        lines,
        [
            "1240 +2500 isolate-inbound leader",
            "4787 +2500 isolate leader",
            "8305 +1597 kill all",
            "11979 +2079 pause leader",
            "15737 +2500 isolate-outbound n2",
        ]
    );
}

#[test]
fn the_same_plan_gives_the_same_bytes_and_another_seed_others() {
    for seed in 0..50 {
        let bytes = draw(&all(seed, 3, 60)).to_json();
        assert_eq!(bytes, draw(&all(seed, 3, 60)).to_json());
        assert_ne!(bytes, draw(&all(seed + 1, 3, 60)).to_json());
    }
}

#[test]
fn every_kind_has_its_turn_in_twenty_seconds() {
    for nodes in [2, 3, 5] {
        for seed in 0..200 {
            let schedule = draw(&all(seed, nodes, 20));
            let counts = counts(&schedule);
            assert_eq!(
                counts.len(),
                FaultKind::ALL.len(),
                "seed {seed}, {nodes} nodes: {counts:?}"
            );
            assert!(schedule.not_tried.is_empty());
        }
    }
}

#[test]
fn a_single_node_is_killed_and_paused_and_its_isolations_are_not_tried() {
    for seed in 0..50 {
        let schedule = draw(&all(seed, 1, 30));
        assert_eq!(
            counts(&schedule).into_keys().collect::<Vec<_>>(),
            [FaultKind::Kill, FaultKind::Pause]
        );
        assert_eq!(
            schedule.not_tried,
            [
                FaultKind::Isolate,
                FaultKind::IsolateInbound,
                FaultKind::IsolateOutbound
            ]
        );
        for step in &schedule.steps {
            assert_eq!(step.fault.select(), &Select::Nodes { nodes: vec![NodeId(1)] });
        }
    }
}

#[test]
fn the_first_isolation_is_the_leaders_and_outlasts_its_election() {
    for seed in 0..100 {
        let schedule = draw(&all(seed, 3, 20));
        let isolation = schedule
            .steps
            .iter()
            .find(|step| {
                matches!(
                    step.fault,
                    Fault::Isolate {
                        direction: Direction::Both,
                        ..
                    }
                )
            })
            .expect("a full deck");
        assert!(matches!(isolation.fault.select(), Select::Leader { .. }), "seed {seed}");
        assert!(
            isolation.duration_ms >= 2500,
            "seed {seed}: {} ms",
            isolation.duration_ms
        );
    }
}

#[test]
fn two_kills_bring_a_majority_down_once_and_four_have_all_shapes() {
    let shape = |select: &Select| match select {
        Select::Nodes { .. } => "one",
        Select::Leader { .. } => "leader",
        Select::Majority { .. } => "majority",
        Select::All => "all",
    };
    let mut first: BTreeSet<&str> = BTreeSet::new();
    for seed in 0..100 {
        let plan = Plan::new(seed, 3, [FaultKind::Kill].into(), Duration::from_secs(60));
        let schedule = draw(&plan);
        let shapes: Vec<&str> = schedule.steps.iter().map(|step| shape(step.fault.select())).collect();
        assert!(shapes.len() >= 12, "seed {seed}: {shapes:?}");
        first.insert(shapes[0]);
        for pair in shapes.chunks_exact(2) {
            let large = pair.iter().filter(|shape| ["majority", "all"].contains(shape)).count();
            assert_eq!(large, 1, "seed {seed}: {shapes:?}");
        }
        for four in shapes.chunks_exact(4) {
            assert_eq!(four.iter().collect::<BTreeSet<_>>().len(), 4, "seed {seed}: {shapes:?}");
            assert!(
                four[..2].contains(&"all"),
                "what is surest comes early; seed {seed}: {shapes:?}"
            );
        }
    }
    assert_eq!(
        first,
        ["all", "leader", "one"].into(),
        "each of these may be a run's only kill"
    );
}

#[test]
fn a_long_run_has_kills_enough() {
    let few: Vec<u64> = (0..1000)
        .filter(|seed| counts(&draw(&all(*seed, 3, 60)))[&FaultKind::Kill] < 2)
        .collect();
    assert!(few.len() < 50, "{} of 1000 runs of 60 s have a single kill", few.len());
}

#[test]
fn what_does_not_fit_is_listed() {
    let schedule = draw(&all(3, 3, 7));
    let tried: BTreeSet<FaultKind> = counts(&schedule).into_keys().collect();
    assert_eq!(
        tried.len(),
        2,
        "one fault each two seconds between the first second and the last"
    );
    assert_eq!(schedule.not_tried.len(), FaultKind::ALL.len() - tried.len());

    let schedule = draw(&all(3, 3, 2));
    assert_eq!(
        (schedule.steps.len(), schedule.not_tried.len()),
        (0, FaultKind::ALL.len())
    );
}

#[test]
fn no_kinds_no_steps() {
    let schedule = draw(&Plan::new(1, 3, BTreeSet::new(), Duration::from_secs(60)));
    assert_eq!((schedule.steps.len(), schedule.not_tried.len()), (0, 0));
}

proptest! {
    #[test]
    fn every_schedule_is_in_order_in_time_and_in_the_cluster(
        seed: u64,
        nodes in 1_u16..=9,
        kinds in proptest::sample::subsequence(FaultKind::ALL.to_vec(), 0..=5),
        limit_ms in 0_u64..120_000,
        interval_ms in proptest::option::of(0_u64..10_000),
        election_ms in 0_u64..5_000,
        leader in proptest::option::of(1_u16..=9),
    ) {
        let asked: BTreeSet<FaultKind> = kinds.into_iter().collect();
        let plan = Plan {
            interval: interval_ms.map(Duration::from_millis),
            election_timeout_max: Duration::from_millis(election_ms),
            ..Plan::new(seed, nodes, asked.clone(), Duration::from_millis(limit_ms))
        };
        let schedule = draw(&plan);
        let interval = plan.interval().as_millis() as u64;

        let mut free = 1_000;
        for (number, step) in schedule.steps.iter().enumerate() {
            prop_assert!(step.at_ms >= free, "step {} begins at {} ms, before {} ms", number, step.at_ms, free);
            prop_assert!(step.duration_ms > 0);
            free = step.at_ms + step.duration_ms + interval / 10;
        }
        if let Some(last) = schedule.steps.last() {
            prop_assert!(last.at_ms + last.duration_ms + 1_000 <= limit_ms);
        }

        let cluster: Vec<NodeId> = (1..=nodes).map(NodeId).collect();
        for step in &schedule.steps {
            let hit = resolve(step.fault.select(), &cluster, leader.map(NodeId)).expect("names nodes that are there");
            prop_assert!(!hit.is_empty());
            prop_assert!(hit.iter().all(|node| cluster.contains(node)), "{:?}", hit);
        }

        let tried: BTreeSet<FaultKind> = schedule.steps.iter().map(|step| step.fault.kind()).collect();
        prop_assert!(tried.is_subset(&plan.applicable()));
        let not_tried: BTreeSet<FaultKind> = schedule.not_tried.iter().copied().collect();
        prop_assert!(tried.is_disjoint(&not_tried));
        prop_assert_eq!(tried.union(&not_tried).copied().collect::<BTreeSet<_>>(), asked);
    }

    /// The first kinds of a longer run are those of a shorter one: a run can be extended without becoming another.
    #[test]
    fn more_time_only_adds_steps(seed: u64, seconds in 3_u64..60) {
        let fixed = |seconds| Plan {
            interval: Some(Duration::from_secs(3)),
            ..all(seed, 3, seconds)
        };
        let (short, long) = (draw(&fixed(seconds)), draw(&fixed(seconds + 30)));
        prop_assert_eq!(&short.steps[..], &long.steps[..short.steps.len()]);
    }
}
