//! Counterexamples are small, true, and wrong by themselves.
//!
//! Violations are planted in generated histories of 2,000 operations; what is left of them is tried in every order.
//! On small random histories every counterexample is checked to be made of the history's own operations.

mod support;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use support::{Long, Planted, Small};
use tribunal_checker::Options;
use tribunal_checker::judge::{self, judge};
use tribunal_checker::linearizability::brute;
use tribunal_checker::minimise::minimise;
use tribunal_checker::spec::Register;
use tribunal_history::operation::pair;
use tribunal_history::{AnomalyClass, Outcome};

/// What each planted violation is minimised to, over several seeds: `(class, operations left)`.
fn minimised(planted: Planted) -> Vec<(AnomalyClass, usize)> {
    let mut found = Vec::new();
    for seed in 0..10 {
        let shape = Long {
            operations: 2_000,
            clients: 5,
            keys: 3,
            info: 5,
            seed,
        };
        let history = shape.history(planted);
        let judgement = judge("register", &history.events, &Options::default()).expect("a history of registers");
        assert_eq!(judgement.outcome, Outcome::Fail, "seed {seed}: {}", judgement.detail);
        let operations = pair(&history.events).expect("well formed");
        for finding in &judgement.findings {
            assert!(finding.minimised.proved_again, "seed {seed}: {finding:#?}");
            assert!(finding.minimised.from > 500, "seed {seed}: {:?}", finding.minimised);
            assert_eq!(finding.minimised.to, finding.operations.len());
            for drawn in &finding.operations {
                let recorded = operations.iter().find(|operation| operation.invoked == drawn.invoked);
                let recorded = recorded.expect("what is drawn was recorded");
                assert_eq!(
                    (&recorded.input, &recorded.output, recorded.completed_ns),
                    (&drawn.input, &drawn.output, drawn.completed_ns)
                );
            }
            found.push((finding.class, finding.operations.len()));
        }
    }
    found
}

#[test]
fn a_planted_stale_read_is_found_and_small() {
    let found = minimised(Planted::StaleReads);
    assert!(found.len() >= 10, "each seed has one: {found:?}");
    assert!(found.iter().all(|(_, left)| *left <= 6), "{found:?}");
    let typical = found.iter().filter(|(_, left)| *left <= 4).count();
    assert!(typical * 10 >= found.len() * 9, "{found:?}");
    let named = found
        .iter()
        .filter(|(class, _)| *class == AnomalyClass::StaleRead)
        .count();
    assert!(named * 10 >= found.len() * 9, "{found:?}");
}

#[test]
fn a_planted_lost_write_is_found_and_small() {
    let found = minimised(Planted::LostWrites);
    assert!(found.len() >= 10, "each seed has one: {found:?}");
    assert!(found.iter().all(|(_, left)| *left <= 6), "{found:?}");
    let typical = found.iter().filter(|(_, left)| *left <= 4).count();
    assert!(typical * 10 >= found.len() * 9, "{found:?}");
    // A write that is overwritten before anybody looked twice cannot be told from a stale read.
    let named = found
        .iter()
        .filter(|(class, _)| matches!(class, AnomalyClass::LostWrite | AnomalyClass::LostUpdate))
        .count();
    assert!(named * 2 > found.len(), "{found:?}");
}

/// Twenty clients on one key: a search takes millions of steps to refute the whole, shrinking must not.
#[test]
fn much_concurrency_does_not_hinder_shrinking() {
    for planted in [Planted::StaleReads, Planted::LostWrites] {
        let shape = Long {
            operations: 4_000,
            clients: 20,
            keys: 1,
            info: 10,
            seed: 7,
        };
        let operations = pair(&shape.history(planted).events).expect("well formed");
        let partitions = judge::partitions::<Register>(&operations).expect("registers");
        let minimal = minimise(&partitions[0], 2_000_000);
        assert!(minimal.entries.len() <= 6, "{planted:?}: {minimal:#?}");
        assert_eq!(minimal.proved_again, Some(true), "{planted:?}: {minimal:#?}");
    }
}

#[test]
fn every_small_counterexample_is_illegal_by_itself() {
    let mut rng = ChaCha8Rng::seed_from_u64(11);
    let mut counterexamples = 0;
    for round in 0..20_000 {
        let history = Small::any(&mut rng, 9).history(&mut rng);
        let operations = pair(&history.events).expect("well formed");
        for partition in judge::partitions::<Register>(&operations).expect("registers") {
            if brute::try_every_order(&partition.entries) {
                continue;
            }
            let minimal = minimise(&partition, 1_000_000);
            counterexamples += 1;
            assert_eq!(minimal.proved_again, Some(true), "round {round}: {minimal:#?}");
            // One read less would be legal: nothing is there without need.
            for place in 0..minimal.entries.len() {
                let mut fewer = minimal.entries.clone();
                let entry = fewer.remove(place);
                if entry.ret.is_some() && matches!(entry.op.action, tribunal_checker::spec::register::Action::Read) {
                    assert!(brute::try_every_order(&fewer), "round {round}: {minimal:#?}");
                }
            }
        }
    }
    assert!(counterexamples > 2_000, "{counterexamples}");
}
