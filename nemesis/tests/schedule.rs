//! What every schedule keeps to, whatever it is drawn from.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::prelude::*;
use tribunal_history::{Direction, DiskEffect, Fault, FaultKind, LinkEffect, NodeId, Record as _, Schedule, Select};
use tribunal_nemesis::{Plan, View, draw, kinds_in, parse_kinds, resolve, together};

/// What a run with processes has unless more is asked for.
fn usual() -> BTreeSet<FaultKind> {
    parse_kinds("kill,pause,partition", &kinds_in("process")).expect("its groups")
}

fn all(seed: u64, nodes: u16, seconds: u64) -> Plan {
    Plan::new(seed, nodes, usual(), Duration::from_secs(seconds))
}

/// What a simulated run may have: every kind, several at a time.
fn everything(seed: u64, nodes: u16, seconds: u64) -> Plan {
    Plan {
        spares: 2,
        points: ["log.append".to_owned(), "snapshot.save".to_owned()].into(),
        rare_points: ["snapshot.save".to_owned()].into(),
        tracks: 3,
        ..Plan::new(seed, nodes, FaultKind::ALL.into(), Duration::from_secs(seconds))
    }
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
            assert_eq!(counts.len(), usual().len(), "seed {seed}, {nodes} nodes: {counts:?}");
            assert!(schedule.not_tried.is_empty());
        }
    }
}

/// One member becomes five and five become one, beside faults that are drawn as if nothing else came.
#[test]
fn members_go_up_and_down_beside_the_other_faults() {
    let others = Plan {
        spares: 4,
        aims_at_spares: true,
        ..all(5, 1, 60)
    };
    let changes = Plan {
        kinds: parse_kinds("membership", &kinds_in("process")).expect("a group"),
        first_track: 1,
        climbs: true,
        ..others.clone()
    };
    let both = together([&others, &changes].map(draw));
    assert!(both.steps.is_sorted_by_key(|step| step.at_ms));
    let (mut apart, mut members) = (draw(&others), Vec::new());
    let mut count = 1;
    for step in &both.steps {
        match step.fault.kind() {
            FaultKind::MemberGrow => count += 1,
            FaultKind::MemberShrink => count -= 1,
            _ => continue,
        }
        members.push(count);
    }
    assert_eq!(members[..8], [2, 3, 4, 5, 4, 3, 2, 1]);
    apart.steps.retain(|step| both.steps.contains(step));
    assert_eq!(apart, draw(&others), "what is drawn for the others does not change");
    assert!(
        counts(&apart).contains_key(&FaultKind::Isolate),
        "there will be somebody to be cut off from"
    );
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

/// A crash that waits at a point waits while all are up, so it is no outage, even if it waits at all of them.
#[test]
fn a_crash_at_a_point_has_as_much_time_on_all_nodes_as_on_one() {
    let mut on_all = 0;
    for seed in 0..50 {
        let plan = everything(seed, 3, 60);
        let interval = u64::try_from(plan.interval().as_millis()).expect("a short time");
        for step in draw(&plan).steps {
            if step.fault.kind() == FaultKind::CrashAtPoint {
                assert!(2 * step.duration_ms >= interval, "seed {seed}: {step:?}");
                on_all += u32::from(step.fault.select() == &Select::All);
            }
        }
    }
    assert!(on_all > 10, "{on_all}");
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
        Select::Spare => "spare",
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
    assert_eq!(schedule.not_tried.len(), usual().len() - tried.len());

    let schedule = draw(&all(3, 3, 2));
    assert_eq!((schedule.steps.len(), schedule.not_tried.len()), (0, usual().len()));
}

#[test]
fn no_kinds_no_steps() {
    let schedule = draw(&Plan::new(1, 3, BTreeSet::new(), Duration::from_secs(60)));
    assert_eq!((schedule.steps.len(), schedule.not_tried.len()), (0, 0));
}

/// What a seed means in the simulation, as far as faults go.
#[test]
fn a_seed_means_this_schedule_with_everything_on() {
    let lines: Vec<String> = draw(&everything(7, 5, 30))
        .steps
        .iter()
        .take(12)
        .map(|step| format!("{} +{} {}", step.at_ms, step.duration_ms, step.fault))
        .collect();
    assert_eq!(
        lines,
        [
            "1156 +1437 link-slow leader (outbound, 2000 B/s)",
            "1858 +1866 member-replace n1",
            "2711 +1444 crash-at-point leader (reboot, at snapshot.save after 2 passes)",
            "3454 +1202 link-delay n3 (both ways, 30 to 100 ms)",
            "4335 +1866 isolate-outbound n5",
            "4923 +1267 write-error n1 (5 %)",
            "5734 +1866 member-grow a new node",
            "6588 +1644 sync-error leader (5 %)",
            "7393 +1447 transfer-leader n2",
            "8115 +1347 wall-jump leader (-500 ms)",
            "8972 +1296 latent-sector n5 (1 sectors)",
            "9648 +1517 clock-drift n2 (+22572 ppm)",
        ]
    );
}

#[test]
fn every_kind_has_its_turn_in_a_simulated_minute() {
    for nodes in [5, 7] {
        for seed in 0..100 {
            let schedule = draw(&everything(seed, nodes, 60));
            let kinds: BTreeSet<FaultKind> = counts(&schedule).into_keys().collect();
            let missing: Vec<FaultKind> = FaultKind::ALL
                .into_iter()
                .filter(|kind| !kinds.contains(kind))
                .collect();
            // A growth and a shrinking may stand in for each other where one of them cannot be.
            let is_change = |kind: &FaultKind| matches!(kind, FaultKind::MemberGrow | FaultKind::MemberShrink);
            assert!(missing.iter().all(is_change), "seed {seed}, {nodes} nodes: {missing:?}");
        }
    }
}

/// Disks that forget what they promised, or give back something else, are always the same minority.
#[test]
fn promises_are_lost_in_a_minority_only() {
    for nodes in 1..=7 {
        for seed in 0..50 {
            let plan = everything(seed, nodes, 120);
            let mut hit: BTreeSet<NodeId> = BTreeSet::new();
            for step in draw(&plan).steps {
                if let FaultKind::BitRot | FaultKind::LatentSector | FaultKind::LyingSync = step.fault.kind() {
                    match step.fault.select() {
                        Select::Nodes { nodes } => hit.extend(nodes),
                        other => panic!("{other} is not a fixed node"),
                    }
                }
            }
            assert!(
                hit.len() * 2 < usize::from(nodes),
                "seed {seed}, {nodes} nodes: {hit:?}"
            );
            assert!(hit.is_subset(&plan.frail().into_iter().collect()));
        }
    }
}

#[test]
fn members_are_added_and_removed_within_bounds() {
    for (nodes, spares, least) in [(1, 4, 1), (3, 2, 3), (5, 2, 3), (7, 0, 3)] {
        for seed in 0..50 {
            let kinds = [FaultKind::MemberGrow, FaultKind::MemberShrink].into();
            let plan = Plan {
                spares,
                ..Plan::new(seed, nodes, kinds, Duration::from_secs(120))
            };
            let mut members = nodes;
            for step in draw(&plan).steps {
                match step.fault {
                    Fault::MemberGrow { .. } => members += 1,
                    Fault::MemberShrink { .. } => members -= 1,
                    other => panic!("{other} was not asked for"),
                }
                assert!(
                    (least..=nodes + spares).contains(&members),
                    "seed {seed}: {members} members"
                );
            }
        }
    }
    let plan = Plan::new(1, 3, [FaultKind::MemberShrink].into(), Duration::from_secs(60));
    assert_eq!(plan.applicable(), BTreeSet::new(), "three are not made two");
}

/// A track is a schedule by itself: another one beside it moves none of its times, and its kinds come from a deck that
/// is dealt out.
#[test]
fn tracks_overlap_and_each_by_itself_does_not() {
    let mut overlapping = 0;
    for seed in 0..50 {
        let plan = Plan {
            interval: Some(Duration::from_secs(3)),
            ..everything(seed, 5, 60)
        };
        let steps = draw(&plan).steps;
        assert!(steps.is_sorted_by_key(|step| step.at_ms));
        overlapping += steps
            .windows(2)
            .filter(|pair| pair[0].at_ms + pair[0].duration_ms > pair[1].at_ms)
            .count();
        for at in (0..60_000).step_by(100) {
            let in_force = steps
                .iter()
                .filter(|step| (step.at_ms..step.at_ms + step.duration_ms).contains(&at))
                .count();
            assert!(in_force <= 3, "seed {seed}: {in_force} at {at} ms");
        }
    }
    assert!(overlapping > 1000, "{overlapping}");
}

proptest! {
    #[test]
    fn a_simulated_schedule_is_in_order_and_in_time(
        seed: u64,
        nodes in 1_u16..=7,
        tracks in 1_u16..=4,
        spares in 0_u16..=4,
        limit_ms in 0_u64..120_000,
    ) {
        let plan = Plan {
            tracks,
            spares,
            time_limit: Duration::from_millis(limit_ms),
            ..everything(seed, nodes, 1)
        };
        let schedule = draw(&plan);
        prop_assert_eq!(&schedule, &draw(&plan));
        prop_assert!(schedule.steps.is_sorted_by_key(|step| step.at_ms));
        let tried: BTreeSet<FaultKind> = schedule.steps.iter().map(|step| step.fault.kind()).collect();
        prop_assert!(tried.is_subset(&plan.applicable()));
        for step in &schedule.steps {
            prop_assert!(step.at_ms >= 1_000 && step.duration_ms > 0);
            prop_assert!(step.at_ms + step.duration_ms + 1_000 <= limit_ms);
            let percent = match &step.fault {
                Fault::Link { effect: LinkEffect::Loss { percent } | LinkEffect::Duplicate { percent }, .. } => *percent,
                Fault::Disk { effect: DiskEffect::SyncError { percent } | DiskEffect::LyingSync { percent }, .. } => {
                    *percent
                }
                _ => 0,
            };
            prop_assert!(percent <= 100);
        }
        prop_assert_eq!(Schedule::from_json(&schedule.to_json()).expect("reads back"), schedule);
    }

    #[test]
    fn every_schedule_is_in_order_in_time_and_in_the_cluster(
        seed: u64,
        nodes in 1_u16..=9,
        kinds in proptest::sample::subsequence(FaultKind::ALL.to_vec(), 0..=FaultKind::ALL.len()),
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
        let view = View { members: cluster.clone(), spares: Vec::new(), leader: leader.map(NodeId) };
        for step in &schedule.steps {
            let hit = resolve(step.fault.select(), &view).expect("names nodes that are there");
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
