//! Each class of anomaly in the smallest history that shows it, and nothing where there is none.

use tribunal_checker::{Consistency, JudgeError, Options, judge};
use tribunal_history::{AnomalyClass, Outcome};

use crate::history::{Txn, at_once, by_clients, events, in_turn, judged};
use Consistency::{
    ReadCommitted, ReadUncommitted, Serializable, SnapshotIsolation, StrictSerializable, StrongSessionSerializable,
    StrongSessionSnapshotIsolation, StrongSnapshotIsolation,
};

/// The first finding's class and how many transactions are in it, by the strongest model.
fn first(txns: &[Txn]) -> (AnomalyClass, usize) {
    let judgement = judged(txns, StrictSerializable);
    assert_eq!(judgement.outcome, Outcome::Fail, "{}", judgement.detail);
    let finding = &judgement.findings[0];
    assert!(finding.minimised.proved_again, "{}", finding.sentence);
    (finding.class, finding.operations.len())
}

/// The strongest models that stand, as the detail has them.
fn standing(txns: &[Txn]) -> String {
    let detail = judged(txns, StrictSerializable).detail;
    let part = detail.split("; ").nth(1).expect("the second part");
    part.trim_start_matches("still standing: ").to_owned()
}

fn holds(txns: &[Txn], model: Consistency) -> bool {
    match judged(txns, model).outcome {
        Outcome::Pass => true,
        Outcome::Fail => false,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_one_order_explains_is_valid() {
    let txns = in_turn(&["ax=1 ay=1", "rx=1 ax=2", "rx=1,2 ry=1", "ry=1 ay=2 ry=1,2", "rz="]);
    let judgement = judged(&txns, StrictSerializable);
    assert_eq!(
        (judgement.outcome, judgement.certificates_verified),
        (Outcome::Pass, 1),
        "{}",
        judgement.detail
    );
    assert!(holds(&in_turn(&["wx=1", "rx=1 wx=2", "rx=2 ry="]), StrictSerializable));
    // Nothing is read, so nothing can be wrong.
    assert_eq!(
        judged(&at_once(&["ax=1", "ax=2"]), StrictSerializable).outcome,
        Outcome::Vacuous
    );
}

#[test]
fn g0_two_transactions_overwrite_each_other() {
    let txns = at_once(&["ax=1 ay=1", "ax=2 ay=2", "rx=1,2 ry=2,1"]);
    assert_eq!(first(&txns), (AnomalyClass::G0, 3));
    assert_eq!(standing(&txns), "no model of isolation stands");
    let sentence = &judged(&txns, ReadUncommitted).findings[0].sentence;
    for part in [
        "T1 is the transaction of client 0 on n1",
        "T1 came before T2: T1 appended 1 to x and then T2 appended 2, since it was read as [1 2].",
        "T2 came before T1: T2 appended 2 to y and then T1 appended 1, since it was read as [2 1].",
        "write cycle (G0)",
    ] {
        assert!(sentence.contains(part), "{part}: {sentence}");
    }
}

#[test]
fn g1a_what_failed_is_read() {
    let txns = at_once(&["fail ax=1", "rx=1"]);
    assert_eq!(first(&txns), (AnomalyClass::G1a, 2));
    assert_eq!(standing(&txns), "read-uncommitted");
    assert_eq!(first(&at_once(&["fail wx=1", "rx=1"])).0, AnomalyClass::G1a);
    // Unknown is not failed: what is seen has happened.
    assert!(holds(&at_once(&["info ax=1", "rx=1"]), StrictSerializable));
    assert!(holds(&at_once(&["info ax=1", "rx="]), StrictSerializable));
}

#[test]
fn g1b_half_a_transaction_is_read() {
    let txns = at_once(&["ax=1 ax=2", "rx=1", "rx=1,2"]);
    assert_eq!(first(&txns), (AnomalyClass::G1b, 2));
    assert_eq!(first(&at_once(&["wx=1 wx=2", "rx=1"])), (AnomalyClass::G1b, 2));
    assert!(holds(&at_once(&["ax=1 rx=1 ax=2", "rx=1,2"]), StrictSerializable));
}

#[test]
fn g1c_two_transactions_read_from_each_other() {
    let txns = at_once(&["ax=1 ry=1", "ay=1 rx=1"]);
    assert_eq!(first(&txns), (AnomalyClass::G1c, 2));
    assert_eq!(standing(&txns), "read-uncommitted");
    assert_eq!(first(&at_once(&["wx=1 ry=1", "wy=1 rx=1"])), (AnomalyClass::G1c, 2));
    // With an overwritten element in place of one of the reads.
    assert_eq!(
        first(&at_once(&["ax=1 ry=1", "ax=2 ay=1", "rx=1,2"])).0,
        AnomalyClass::G1c
    );
}

#[test]
fn g_single_one_transaction_misses_half_of_another() {
    let txns = at_once(&["ax=1 ay=1", "rx=1 ry="]);
    assert_eq!(first(&txns), (AnomalyClass::GSingle, 2));
    assert_eq!(standing(&txns), "read-committed");
    assert!(!holds(&txns, SnapshotIsolation) && holds(&txns, ReadCommitted));
    assert_eq!(first(&at_once(&["wx=1 wy=1", "rx=1 ry="])), (AnomalyClass::GSingle, 2));
}

#[test]
fn g_nonadjacent_two_readers_see_two_writers_in_different_orders() {
    let txns = at_once(&["ax=1", "ay=1", "rx=1 ry=", "rx= ry=1"]);
    assert_eq!(first(&txns), (AnomalyClass::GNonadjacent, 4));
    assert_eq!(standing(&txns), "read-committed");
    assert_eq!(
        first(&at_once(&["wx=1", "wy=1", "rx=1 ry=", "rx= ry=1"])),
        (AnomalyClass::GNonadjacent, 4)
    );
}

#[test]
fn g2_item_two_transactions_miss_each_other() {
    let txns = at_once(&["rx= ay=1", "ry= ax=1"]);
    assert_eq!(first(&txns), (AnomalyClass::G2Item, 2));
    assert_eq!(standing(&txns), "strong-snapshot-isolation");
    assert!(holds(&txns, SnapshotIsolation) && !holds(&txns, Serializable));
    assert_eq!(first(&at_once(&["rx= wy=1", "ry= wx=1"])), (AnomalyClass::G2Item, 2));
}

#[test]
fn lost_update_two_transactions_build_on_the_same_state() {
    let txns = at_once(&["ax=1", "rx=1 ax=2", "rx=1 ax=3", "rx=1,2,3"]);
    assert_eq!(first(&txns), (AnomalyClass::LostUpdate, 2));
    assert_eq!(standing(&txns), "read-committed");
    // Also where nobody reads what became of it.
    assert_eq!(
        first(&at_once(&["rx= ax=2", "rx= ax=3"])),
        (AnomalyClass::LostUpdate, 2)
    );
    assert_eq!(
        first(&at_once(&["wx=1", "rx=1 wx=2", "rx=1 wx=3"])),
        (AnomalyClass::LostUpdate, 2)
    );
}

#[test]
fn internal_a_transaction_contradicts_itself() {
    for steps in [
        "ax=1 rx=",
        "rx=1 rx=",
        "rx=1 ax=9 rx=1",
        "ax=9 rx=1",
        "rx=1 ax=9 rx=1,9,2",
    ] {
        let txns = at_once(&[steps, "ax=2", if steps.contains("ax=1 ") { "ay=1" } else { "ax=1" }]);
        let judgement = judged(&txns, Serializable);
        let classes: Vec<_> = judgement.findings.iter().map(|finding| finding.class).collect();
        assert!(classes.contains(&AnomalyClass::Internal), "{steps}: {classes:?}");
    }
    assert_eq!(first(&at_once(&["wx=1 rx="])), (AnomalyClass::Internal, 1));
    assert_eq!(first(&at_once(&["rx=1 wx=1"])), (AnomalyClass::Internal, 1));
    // It reads what it is yet to append.
    assert_eq!(first(&at_once(&["rx=1 ax=1"])), (AnomalyClass::Internal, 1));
}

#[test]
fn what_lists_cannot_hold() {
    assert_eq!(first(&at_once(&["ax=1", "rx=1,1"])).0, AnomalyClass::DuplicateElements);
    assert_eq!(first(&at_once(&["ax=1", "rx=1,7"])).0, AnomalyClass::PhantomValue);
    assert_eq!(first(&at_once(&["rx=7", "wy=1"])).0, AnomalyClass::PhantomValue);
    let txns = at_once(&["ax=1", "ax=2", "rx=1,2", "rx=2"]);
    assert_eq!(first(&txns), (AnomalyClass::IncompatibleOrder, 2));
    assert_eq!(standing(&txns), "read-uncommitted");
    let txns = at_once(&["fail ax=1", "ax=2", "rx=1,2"]);
    let judgement = judged(&txns, ReadCommitted);
    let classes: Vec<_> = judgement.findings.iter().map(|finding| finding.class).collect();
    assert!(classes.contains(&AnomalyClass::DirtyUpdate) && classes.contains(&AnomalyClass::G1a));
}

#[test]
fn a_stale_read_is_serializable_and_not_strict_serializable() {
    let txns = in_turn(&["ax=1", "rx=", "rx=1"]);
    assert!(holds(&txns, Serializable) && holds(&txns, StrongSessionSerializable));
    assert_eq!(first(&txns), (AnomalyClass::GSingleRealtime, 2));
    assert_eq!(standing(&txns), "strong-session-serializable");
    let sentence = &judged(&txns, StrictSerializable).findings[0].sentence;
    assert!(
        sentence.contains("T1 read x as nil, without the 1 of T2")
            || sentence.contains("T2 read x as nil, without the 1 of T1"),
        "{sentence}"
    );
    let registers = in_turn(&["wx=1", "wx=2", "rx=1"]);
    assert!(holds(&registers, Serializable));
    assert_eq!(first(&registers).0, AnomalyClass::GSingleRealtime);
    // One in doubt may have happened later than its client gave it up.
    assert!(holds(&in_turn(&["info ax=1", "rx=", "rx=1"]), StrictSerializable));
}

#[test]
fn a_client_that_misses_its_own_write_breaks_its_session() {
    let txns = by_clients(&[&["ax=1", "rx="], &["rx=1"]]);
    assert!(holds(&txns, Serializable));
    assert!(!holds(&txns, StrongSessionSnapshotIsolation) && !holds(&txns, StrongSnapshotIsolation));
    let judgement = judged(&txns, StrongSessionSerializable);
    assert_eq!(
        judgement.findings[0].class,
        AnomalyClass::GSingleProcess,
        "{}",
        judgement.detail
    );
}

#[test]
fn every_class_of_circle_has_its_kind_against_real_time() {
    // What is read last shows the order in which the first two, one after the other, were applied.
    let found = |txns: &[Txn]| judged(txns, StrictSerializable).findings[0].class;
    assert_eq!(found(&in_turn(&["ax=1", "ax=2", "rx=2,1"])), AnomalyClass::G0Realtime);
    assert_eq!(found(&in_turn(&["rx=1", "ax=1"])), AnomalyClass::G1cRealtime);
    // T0 misses T1, T1 misses T2, and T2 had ended before T0 began.
    let late = |process, began, ended, steps: &str| Txn {
        process,
        began,
        ended,
        ending: tribunal_history::Ending::Ok,
        steps: steps.to_owned(),
    };
    let txns = [
        late(0, 0, 2, "ay=1"),
        late(1, 1, 6, "ry= ax=1"),
        late(2, 4, 8, "rx= rz="),
    ];
    assert_eq!(found(&txns), AnomalyClass::G2ItemRealtime);
    assert!(holds(&txns, StrongSnapshotIsolation) && holds(&txns, StrongSessionSerializable));
}

#[test]
fn each_part_of_a_history_gets_its_own_shortest_circle() {
    let txns = at_once(&[
        "ax=1 ay=1",
        "rx=1 ry=",
        // Three that follow each other in a circle, two of which make a shorter one.
        "au=1 rv=1",
        "av=1 rw=1",
        "aw=1 ru=1 rv=",
    ]);
    let judgement = judged(&txns, Serializable);
    let found: Vec<_> = judgement
        .findings
        .iter()
        .map(|finding| (finding.class, finding.operations.len()))
        .collect();
    assert_eq!(
        found,
        [(AnomalyClass::G1c, 3), (AnomalyClass::GSingle, 2)],
        "{judgement:?}"
    );
}

/// Figure 2 of the paper on Elle: T3 misses the 8 of T1, T2 sees it, and T3's 3 comes behind what T2 saw.
#[test]
fn the_example_of_the_paper_is_read_skew() {
    let txns = at_once(&[
        "a253=1 a253=3 a253=4 a255=2 a255=3 a255=4 a255=5 a256=1 a256=2",
        "a255=8 r253=1,3,4",
        "a256=4 r255=2,3,4,5,8 r256=1,2,4 r253=1,3,4",
        "a250=10 r253=1,3,4 r255=2,3,4,5 a256=3",
    ]);
    assert_eq!(first(&txns), (AnomalyClass::GSingle, 3));
    assert_eq!(standing(&txns), "read-committed");
    let sentence = &judged(&txns, Serializable).findings[0].sentence;
    assert!(
        sentence.contains("read 255 as [2 3 4 5], without the 8 of"),
        "{sentence}"
    );
}

/// The case studies of the same paper: TiDB retried a transaction on a newer state, YugaByte DB lost a read's trace when a
/// leader changed, FaunaDB did not see its own append, and Dgraph read a value and not the one beside it.
#[test]
fn the_case_studies_of_the_paper_are_judged_as_it_says() {
    let tidb = at_once(&["a34=2", "a34=1", "r34=2,1 a36=5 a34=4", "a34=5", "r34=2,1,5,4"]);
    assert_eq!(first(&tidb).0, AnomalyClass::GSingle);
    let yugabyte = at_once(&["a3=837 r4=", "a4=885 r3=", "r3=837 r4=885"]);
    assert_eq!(first(&yugabyte).0, AnomalyClass::G2Item);
    let fauna = at_once(&["a0=6 r0="]);
    assert_eq!(first(&fauna).0, AnomalyClass::Internal);
    let dgraph = at_once(&["w2432=10 r2434=", "w2434=10 r2432=10", "r2432= r2434=10"]);
    assert!(!holds(&dgraph, Serializable));
}

/// A history of Elle's own: long fork and write skew at once, which snapshot isolation forbids although there is no
/// G-single in it.
#[test]
fn snapshot_isolation_can_be_violated_without_read_skew() {
    let txns = in_turn(&["a9=2", "a8=1 r9=", "r6= r8= a9=5", "a6=2 r9=2"]);
    assert!(!holds(&txns, StrongSnapshotIsolation));
    assert!(!holds(&txns, Serializable));
    let at_once = at_once(&["a9=2", "a8=1 r9=", "r6= r8= a9=5", "a6=2 r9=2"]);
    let classes: Vec<_> = judged(&at_once, SnapshotIsolation)
        .findings
        .iter()
        .map(|finding| finding.class)
        .collect();
    assert_eq!(classes, [], "two that missed something are neighbours in every circle");
}

#[test]
fn what_cannot_be_read_is_named() {
    let error = |text: &str| {
        let options = Options::default();
        judge("list-append", &events(&at_once(&[text])), &options).expect_err("malformed")
    };
    let said = error("ax=1 ax=1").to_string();
    assert!(said.contains("a value that nothing else writes to this key"), "{said}");
    let said = error("wx=1").to_string();
    assert!(said.contains("[\"append\", key, value]"), "{said}");
    let options = Options {
        consistency: Some(Consistency::Linearizable),
        ..Options::default()
    };
    assert!(matches!(
        judge("list-append", &[], &options),
        Err(JudgeError::NoSuchConsistency { .. })
    ));
    let options = Options {
        consistency: Some(Serializable),
        ..Options::default()
    };
    assert!(matches!(
        judge("register", &[], &options),
        Err(JudgeError::NoSuchConsistency { .. })
    ));
}

#[test]
fn transactions_are_recognised_by_their_steps() {
    let recognised = |texts: &[&str]| tribunal_checker::transactions::recognise(&events(&at_once(texts)));
    assert_eq!(recognised(&["ax=1", "rx=1"]), Some("list-append"));
    assert_eq!(recognised(&["wx=1", "rx=1"]), Some("rw-register"));
    assert_eq!(recognised(&["rx="]), None, "reads alone do not tell");
    assert_eq!(recognised(&["ax=1", "wx=1"]), None);
}
