//! One healthy cluster by hand, and for each property the smallest change that breaks it.

use std::collections::BTreeMap;

use tribunal_history::evidence::{Ballot, Chain, Configuration, Position, SnapshotOrigin};
use tribunal_history::picture::{Holding, Standing};
use tribunal_history::{Evidence, Incarnation, LogIndex, MemberId, NodeId, Revision, Term};

use super::{Auditor, DurableLog, Moment, NoWitness, Scope, Witness};

/// A cluster of n1, n2, n3 with members 11, 12, 13, and the events that it tells an auditor.
pub(super) struct Cluster {
    auditor: Auditor,
    lives: BTreeMap<u16, u32>,
    time_ns: u64,
}

fn member(node: u16) -> MemberId {
    MemberId(u64::from(node) + 10)
}

fn chain(index: u64, term: u64) -> Chain {
    Chain(u128::from(index + 1) << 64 | u128::from(term))
}

fn position(index: u64, term: u64) -> Position {
    Position {
        index: LogIndex(index),
        term: Term(term),
        chain: chain(index, term),
    }
}

pub(super) fn voters(nodes: &[u16]) -> Configuration {
    Configuration {
        voters: vec![nodes.iter().map(|node| member(*node)).collect()],
        learners: Vec::new(),
    }
}

impl Cluster {
    fn silent(scope: Scope) -> Self {
        Self {
            auditor: Auditor::new(scope),
            lives: BTreeMap::new(),
            time_ns: 0,
        }
    }

    /// Founded: all have entry 0, the configuration, and n1 leads term 1 and has committed its blank entry 1.
    pub(super) fn founded() -> Self {
        let mut cluster = Self::silent(Scope::Exact);
        for node in 1..=3 {
            cluster.boot(node, None, None);
            cluster.say(
                node,
                Evidence::Configured {
                    index: LogIndex(0),
                    term: Term(0),
                    configuration: voters(&[1, 2, 3]),
                },
            );
            cluster.persist(node, 0, 0, 0);
        }
        cluster.elect(1, &[1, 2], 1);
        for node in 1..=3 {
            cluster.persist(node, 1, 1, 1);
        }
        cluster.commit(1, 1, 1);
        for node in 1..=3 {
            cluster.apply(node, 0, 0, 1, 0);
            cluster.apply(node, 1, 1, 1, 0);
        }
        cluster.is_healthy();
        cluster
    }

    pub(super) fn say(&mut self, node: u16, evidence: Evidence) {
        self.say_with(node, evidence, &mut NoWitness);
    }

    fn say_with(&mut self, node: u16, evidence: Evidence, witness: &mut dyn Witness) {
        self.time_ns += 1_000;
        let moment = Moment {
            node: NodeId(node),
            incarnation: Incarnation(self.lives.get(&node).copied().unwrap_or_default()),
            time_ns: self.time_ns,
            own_ns: self.time_ns,
        };
        self.auditor.hear(moment, &evidence, witness);
    }

    pub(super) fn boot(&mut self, node: u16, vote: Option<Ballot>, last: Option<Position>) {
        if let Some(life) = self.lives.get_mut(&node) {
            *life += 1;
        } else {
            self.lives.insert(node, 0);
        }
        self.say(
            node,
            Evidence::Boot {
                node: NodeId(node),
                member: member(node),
                vote,
                last,
                purged: None,
            },
        );
    }

    fn vote(&mut self, node: u16, candidate: u16, term: u64, committed: bool) {
        self.say(
            node,
            Evidence::Vote {
                term: Term(term),
                voted_for: member(candidate),
                committed,
            },
        );
    }

    fn elect(&mut self, node: u16, by: &[u16], term: u64) {
        for voter in by {
            self.vote(*voter, node, term, false);
        }
        self.vote(node, node, term, true);
    }

    pub(super) fn persist(&mut self, node: u16, from: u64, to: u64, term: u64) {
        self.say(
            node,
            Evidence::Persist {
                from: LogIndex(from),
                to: LogIndex(to),
                term: Term(term),
                chain: chain(to, term),
                under: Term(term),
            },
        );
    }

    pub(super) fn commit(&mut self, node: u16, index: u64, term: u64) {
        self.say(
            node,
            Evidence::Commit {
                index: LogIndex(index),
                term: Term(term),
                chain: Some(chain(index, term)),
            },
        );
    }

    fn apply(&mut self, node: u16, index: u64, term: u64, revision: i64, operation: u64) {
        self.say(
            node,
            Evidence::Apply {
                index: LogIndex(index),
                term: Term(term),
                revision: Revision(revision),
                operation,
            },
        );
    }

    pub(super) fn ack(&mut self, node: u16, index: u64, term: u64, operation: u64) {
        self.say(
            node,
            Evidence::Ack {
                operation,
                index: LogIndex(index),
                term: Term(term),
                revision: Revision(2),
            },
        );
    }

    /// A read on the leader n1, confirmed by n2 with a message sent after it arrived, or long before.
    fn read(&mut self, read: u64, index: u64, is_confirmed: bool) {
        self.say(1, Evidence::ReadBegun { read });
        let sent_ns = if is_confirmed { self.time_ns } else { 1 };
        self.say(
            1,
            Evidence::Confirmed {
                by: member(2),
                term: Term(1),
                sent_ns,
            },
        );
        self.name(read, index);
        self.answer(1, read, index);
    }

    fn name(&mut self, read: u64, index: u64) {
        self.say(
            1,
            Evidence::ReadIndex {
                read,
                term: Term(1),
                index: LogIndex(index),
                lease: false,
            },
        );
    }

    fn answer(&mut self, node: u16, read: u64, index: u64) {
        self.say(
            node,
            Evidence::Read {
                operation: 900 + read,
                read: Some(read),
                term: Term(1),
                read_index: LogIndex(index),
                revision: Revision(2),
            },
        );
    }

    /// A write that everything goes right with: operation 7 in entry 2.
    fn write(&mut self) {
        self.persist(1, 2, 2, 1);
        self.persist(2, 2, 2, 1);
        self.commit(1, 2, 1);
        self.apply(1, 2, 1, 2, 7);
        self.ack(1, 2, 1, 7);
    }

    #[track_caller]
    pub(super) fn is_healthy(&self) {
        assert_eq!(self.auditor.findings(), [], "the cluster is healthy");
    }

    /// The properties that are broken, in the order in which they were.
    pub(super) fn broken(&self) -> Vec<&str> {
        let findings = self.auditor.findings();
        findings.iter().map(|finding| finding.property.as_str()).collect()
    }
}

#[test]
fn a_healthy_cluster_is_silent_and_everything_is_judged() {
    let mut cluster = Cluster::founded();
    cluster.write();
    cluster.read(1, 2, true);
    cluster.persist(3, 2, 2, 1);
    cluster.apply(3, 2, 1, 2, 7);
    cluster.auditor.failed(8, 0, &mut NoWitness);
    // A divergent tail of a deposed leader goes, as it must.
    cluster.persist(1, 3, 4, 1);
    cluster.elect(2, &[2, 3], 2);
    cluster.persist(2, 3, 3, 2);
    cluster.persist(3, 3, 3, 2);
    cluster.commit(2, 3, 2);
    cluster.vote(1, 2, 2, true);
    cluster.say(
        1,
        Evidence::Truncate {
            after: Some(LogIndex(2)),
        },
    );
    cluster.persist(1, 3, 3, 2);
    cluster.boot(
        1,
        Some(Ballot {
            term: Term(2),
            voted_for: member(2),
            committed: true,
        }),
        Some(position(3, 2)),
    );
    cluster.is_healthy();
    for judged in cluster.auditor.judged() {
        assert!(judged.judged > 0, "{} is exercised", judged.id);
    }
}

#[test]
fn an_acknowledgement_before_the_commit_is_seen_with_who_had_what() {
    let mut cluster = Cluster::founded();
    cluster.persist(1, 2, 2, 1);
    cluster.ack(1, 2, 1, 7);
    assert_eq!(cluster.broken(), ["acknowledged-on-quorum"]);
    let finding = &cluster.auditor.findings()[0];
    assert!(finding.sentence.contains("only n1 has it"), "{}", finding.sentence);
    let picture = finding.picture.as_ref().expect("a picture");
    assert_eq!(picture.entry, Some(LogIndex(2)));
    assert_eq!(picture.members.len(), 3);
    assert!(picture.members.iter().all(|member| member.standing == Standing::Voter));
    assert_eq!(picture.members[1].holds, Holding::No);
}

#[test]
fn a_durable_entry_that_nobody_committed_is_not_to_be_acknowledged() {
    let mut cluster = Cluster::founded();
    cluster.persist(1, 2, 2, 1);
    cluster.persist(2, 2, 2, 1);
    cluster.ack(1, 2, 1, 7);
    assert_eq!(cluster.broken(), ["acknowledged-on-quorum"]);
}

#[test]
fn a_commit_counts_only_what_is_durable_and_not_truncated() {
    let mut cluster = Cluster::founded();
    cluster.persist(2, 2, 2, 1);
    cluster.say(
        2,
        Evidence::Truncate {
            after: Some(LogIndex(1)),
        },
    );
    cluster.persist(1, 2, 2, 1);
    cluster.commit(1, 2, 1);
    assert_eq!(cluster.broken(), ["committed-on-quorum"]);
}

#[test]
fn a_quorum_without_the_leaders_own_sync_suffices() {
    let mut cluster = Cluster::founded();
    cluster.persist(2, 2, 2, 1);
    cluster.persist(3, 2, 2, 1);
    cluster.commit(1, 2, 1);
    cluster.is_healthy();
}

#[test]
fn a_learner_is_not_counted() {
    let mut cluster = Cluster::founded();
    let mut configuration = voters(&[1, 2]);
    configuration.learners = vec![member(3)];
    cluster.say(
        1,
        Evidence::Configured {
            index: LogIndex(2),
            term: Term(1),
            configuration,
        },
    );
    cluster.persist(1, 2, 2, 1);
    cluster.persist(3, 2, 2, 1);
    cluster.commit(1, 2, 1);
    assert_eq!(cluster.broken(), ["committed-on-quorum"]);
}

#[test]
fn each_of_two_sets_of_voters_needs_its_majority() {
    let mut cluster = Cluster::founded();
    let mut configuration = voters(&[1, 2, 3]);
    configuration.voters.push(vec![member(3)]);
    cluster.say(
        1,
        Evidence::Configured {
            index: LogIndex(2),
            term: Term(1),
            configuration,
        },
    );
    cluster.persist(1, 2, 2, 1);
    cluster.persist(2, 2, 2, 1);
    cluster.commit(1, 2, 1);
    assert_eq!(cluster.broken(), ["committed-on-quorum"]);
}

#[test]
fn two_entries_cannot_be_committed_at_one_place() {
    let mut cluster = Cluster::founded();
    cluster.write();
    cluster.commit(3, 2, 2);
    assert!(
        cluster.broken().contains(&"committed-on-quorum"),
        "{:?}",
        cluster.broken()
    );
}

#[test]
fn an_entry_of_an_older_term_is_not_committed_by_counting() {
    let mut cluster = Cluster::founded();
    cluster.persist(1, 2, 2, 1);
    cluster.persist(2, 2, 2, 1);
    cluster.elect(2, &[2, 3], 2);
    cluster.commit(2, 2, 1);
    assert_eq!(cluster.broken(), ["commits-own-term"]);
}

#[test]
fn a_term_has_one_leader() {
    let mut cluster = Cluster::founded();
    cluster.vote(3, 3, 1, true);
    assert!(cluster.broken().contains(&"one-leader"), "{:?}", cluster.broken());
}

#[test]
fn a_leader_needs_durable_votes_of_a_majority() {
    let mut cluster = Cluster::founded();
    cluster.elect(2, &[2], 2);
    assert_eq!(cluster.broken(), ["one-leader"]);
}

#[test]
fn a_member_votes_once_in_a_term() {
    let mut cluster = Cluster::founded();
    cluster.vote(3, 2, 2, false);
    cluster.is_healthy();
    cluster.vote(3, 3, 2, false);
    assert_eq!(cluster.broken(), ["votes-kept"]);
}

#[test]
fn a_vote_is_not_forgotten_by_a_restart_unless_the_disk_lied() {
    for lied in [false, true] {
        let mut cluster = Cluster::founded();
        cluster.vote(3, 2, 2, false);
        if lied {
            cluster
                .auditor
                .suspect(NodeId(3), Some("it lied about a sync".to_owned()));
        }
        cluster.boot(3, None, Some(position(1, 1)));
        let expected: &[&str] = if lied { &[] } else { &["votes-kept"] };
        assert_eq!(cluster.broken(), expected);
    }
}

#[test]
fn equal_index_and_term_mean_equal_chains() {
    let mut cluster = Cluster::founded();
    cluster.persist(1, 2, 2, 1);
    cluster.say(
        2,
        Evidence::Persist {
            from: LogIndex(2),
            to: LogIndex(2),
            term: Term(1),
            chain: Chain(5),
            under: Term(1),
        },
    );
    assert_eq!(cluster.broken(), ["logs-match"]);
}

#[test]
fn a_leader_without_a_committed_entry_is_seen_when_it_is_elected() {
    let mut cluster = Cluster::founded();
    cluster.write();
    cluster.elect(3, &[2, 3], 2);
    assert_eq!(cluster.broken(), ["leader-completeness"]);
}

/// n3 was elected in term 2 and hears of it only after n1 has led term 3 and committed there.
#[test]
fn a_leader_that_is_late_owes_nothing_to_later_terms() {
    let mut cluster = Cluster::founded();
    cluster.vote(2, 3, 2, false);
    cluster.vote(3, 3, 2, false);
    cluster.elect(1, &[1, 2], 3);
    cluster.persist(1, 2, 2, 3);
    cluster.persist(2, 2, 2, 3);
    cluster.commit(1, 2, 3);
    cluster.vote(3, 3, 2, true);
    cluster.is_healthy();
}

#[test]
fn a_committed_entry_is_not_cut_off() {
    let mut cluster = Cluster::founded();
    cluster.write();
    cluster.say(
        2,
        Evidence::Truncate {
            after: Some(LogIndex(1)),
        },
    );
    assert_eq!(cluster.broken(), ["committed-kept"]);
}

/// n2 kept an entry of a deposed leader where n1 and n3 committed another one. What it held before that place, nobody
/// counts on.
#[test]
fn a_divergent_log_may_be_cut_off_earlier_than_where_it_diverges() {
    let mut cluster = Cluster::founded();
    cluster.write();
    cluster.persist(3, 2, 2, 1);
    cluster.persist(2, 3, 3, 1);
    cluster.elect(3, &[1, 3], 2);
    cluster.persist(1, 3, 3, 2);
    cluster.persist(3, 3, 3, 2);
    cluster.commit(3, 3, 2);
    cluster.say(
        2,
        Evidence::Truncate {
            after: Some(LogIndex(1)),
        },
    );
    cluster.is_healthy();
}

#[test]
fn nothing_that_was_applied_is_cut_off() {
    let mut cluster = Cluster::founded();
    cluster.say(3, Evidence::Truncate { after: None });
    assert_eq!(cluster.broken(), ["committed-kept"]);
}

#[test]
fn a_purge_needs_a_snapshot() {
    let snapshot = |last| Evidence::Snapshot {
        origin: SnapshotOrigin::Built,
        last,
        digest: 1,
        revision: Revision(1),
        configured: Some(LogIndex(0)),
        configuration: voters(&[1, 2, 3]),
    };
    let mut cluster = Cluster::founded();
    cluster.say(2, snapshot(position(1, 1)));
    cluster.say(2, Evidence::Purge { upto: position(1, 1) });
    cluster.is_healthy();
    cluster.say(3, snapshot(position(0, 0)));
    cluster.say(3, Evidence::Purge { upto: position(1, 1) });
    assert_eq!(cluster.broken(), ["committed-kept"]);
}

#[test]
fn snapshots_of_one_place_are_equal() {
    let mut cluster = Cluster::founded();
    for (node, digest) in [(1, 1), (2, 2)] {
        cluster.say(
            node,
            Evidence::Snapshot {
                origin: SnapshotOrigin::Built,
                last: position(1, 1),
                digest,
                revision: Revision(1),
                configured: Some(LogIndex(0)),
                configuration: voters(&[1, 2, 3]),
            },
        );
    }
    assert_eq!(cluster.broken(), ["applied-agree"]);
}

#[test]
fn a_snapshot_has_the_revision_that_its_last_entry_led_to() {
    for (revision, expected) in [(1, &[][..]), (2, &["applied-agree"][..])] {
        let mut cluster = Cluster::founded();
        cluster.say(
            2,
            Evidence::Snapshot {
                origin: SnapshotOrigin::Loaded,
                last: position(1, 1),
                digest: 1,
                revision: Revision(revision),
                configured: Some(LogIndex(0)),
                configuration: voters(&[1, 2, 3]),
            },
        );
        assert_eq!(cluster.broken(), expected, "revision {revision}");
    }
}

/// Every disk is empty.
struct Empty(DurableLog);

impl Witness for Empty {
    fn log(&mut self, _node: NodeId) -> Option<&DurableLog> {
        Some(&self.0)
    }
}

#[test]
fn a_node_recovers_what_is_on_its_disk_and_nothing_else() {
    for (last, expected) in [(None, &[][..]), (Some(position(1, 1)), &["boot-is-fold"][..])] {
        let mut cluster = Cluster::silent(Scope::Exact);
        cluster.say_with(
            1,
            Evidence::Boot {
                node: NodeId(1),
                member: member(1),
                vote: None,
                last,
                purged: None,
            },
            &mut Empty(DurableLog::default()),
        );
        assert_eq!(cluster.broken(), expected, "{last:?}");
    }
}

#[test]
fn a_durable_entry_is_there_after_a_restart() {
    let vote = Some(Ballot {
        term: Term(1),
        voted_for: member(1),
        committed: true,
    });
    let mut cluster = Cluster::founded();
    cluster.persist(2, 2, 4, 1);
    // A truncation that may or may not have reached the disk before the end.
    cluster.say(
        2,
        Evidence::Truncate {
            after: Some(LogIndex(3)),
        },
    );
    cluster.boot(2, vote, Some(position(4, 1)));
    cluster.is_healthy();
    cluster.boot(2, vote, Some(position(2, 1)));
    assert_eq!(cluster.broken(), ["boot-is-fold"]);
}

#[test]
fn what_was_purged_is_not_applied_again_without_a_snapshot() {
    let mut cluster = Cluster::founded();
    cluster.boot(
        3,
        Some(Ballot {
            term: Term(2),
            voted_for: member(1),
            committed: false,
        }),
        Some(position(1, 1)),
    );
    cluster.apply(3, 1, 1, 1, 0);
    assert_eq!(cluster.broken(), ["boot-is-fold"]);
}

#[test]
fn all_apply_the_same_to_the_same_effect() {
    let mut cluster = Cluster::founded();
    cluster.write();
    cluster.apply(2, 2, 1, 3, 7);
    assert_eq!(cluster.broken(), ["applied-agree"]);
}

#[test]
fn nothing_is_applied_twice_or_left_out() {
    for index in [1, 3] {
        let mut cluster = Cluster::founded();
        cluster.write();
        cluster.apply(2, index, 1, 2, 0);
        assert_eq!(cluster.broken(), ["applied-agree"], "after entry 1 entry {index}");
    }
}

#[test]
fn a_read_waits_for_what_was_acknowledged_before_it() {
    let mut cluster = Cluster::founded();
    cluster.write();
    cluster.read(1, 1, true);
    assert_eq!(cluster.broken(), ["read-index-fresh"]);
}

#[test]
fn a_read_is_not_answered_before_its_index_is_applied() {
    let mut cluster = Cluster::founded();
    cluster.persist(1, 2, 2, 1);
    cluster.persist(2, 2, 2, 1);
    cluster.commit(1, 2, 1);
    cluster.read(1, 2, true);
    assert_eq!(cluster.broken(), ["read-index-fresh"]);
}

#[test]
fn a_read_that_no_quorum_confirmed_is_seen() {
    let mut cluster = Cluster::founded();
    cluster.read(1, 1, true);
    cluster.is_healthy();
    cluster.read(2, 1, false);
    assert_eq!(cluster.broken(), ["reads-confirmed"]);
}

#[test]
fn an_index_that_was_named_before_the_read_arrived_is_not_for_it() {
    let mut cluster = Cluster::founded();
    cluster.read(1, 1, true);
    cluster.say(2, Evidence::ReadBegun { read: 1 });
    cluster.answer(2, 1, 1);
    assert_eq!(cluster.broken(), ["reads-confirmed"]);
}

#[test]
fn a_leader_that_was_not_elected_in_this_life_names_no_index() {
    let mut cluster = Cluster::founded();
    cluster.boot(
        1,
        Some(Ballot {
            term: Term(1),
            voted_for: member(1),
            committed: true,
        }),
        Some(position(1, 1)),
    );
    cluster.apply(1, 0, 0, 1, 0);
    cluster.apply(1, 1, 1, 1, 0);
    cluster.read(1, 1, true);
    assert_eq!(cluster.broken(), ["reads-confirmed"]);
}

#[test]
fn an_operation_is_committed_once() {
    let mut cluster = Cluster::founded();
    cluster.write();
    cluster.persist(1, 3, 3, 1);
    cluster.persist(2, 3, 3, 1);
    cluster.commit(1, 3, 1);
    cluster.apply(1, 3, 1, 3, 7);
    assert_eq!(cluster.broken(), ["committed-once"]);
}

#[test]
fn what_failed_has_no_effect_before_or_after() {
    let mut cluster = Cluster::founded();
    cluster.write();
    cluster.auditor.failed(7, 0, &mut NoWitness);
    assert_eq!(cluster.broken(), ["failed-stays-out"]);

    let mut cluster = Cluster::founded();
    cluster.auditor.failed(7, 0, &mut NoWitness);
    cluster.write();
    assert_eq!(cluster.broken(), ["failed-stays-out"]);
}

#[test]
fn recorded_evidence_is_judged_by_the_rules_that_need_no_common_order() {
    let mut cluster = Cluster::silent(Scope::Recorded);
    // The whole of n2 first: its commits come before those of the leader that made them.
    cluster.boot(2, None, None);
    cluster.vote(2, 1, 1, true);
    cluster.persist(2, 0, 0, 0);
    cluster.persist(2, 1, 2, 1);
    cluster.commit(2, 2, 1);
    cluster.apply(2, 0, 0, 1, 0);
    cluster.apply(2, 1, 1, 1, 0);
    cluster.apply(2, 2, 1, 2, 7);
    cluster.boot(1, None, None);
    cluster.elect(1, &[1], 1);
    cluster.persist(1, 0, 0, 0);
    cluster.persist(1, 1, 2, 1);
    cluster.commit(1, 2, 1);
    cluster.apply(1, 0, 0, 1, 0);
    cluster.apply(1, 1, 1, 1, 0);
    cluster.apply(1, 2, 1, 2, 7);
    cluster.is_healthy();
    let judged: Vec<&str> = cluster.auditor.judged().iter().map(|judged| judged.id).collect();
    assert!(!judged.contains(&"acknowledged-on-quorum"), "{judged:?}");
    assert!(judged.contains(&"applied-agree"), "{judged:?}");
}

#[test]
fn an_empty_disk_holds_nothing() {
    let log = DurableLog::default();
    assert_eq!(log.holds(LogIndex(0), chain(0, 0)), None);
    assert_eq!(log.last(), None);
}

#[test]
fn a_new_leader_names_no_index_of_an_older_term_before_its_first_commit() {
    for (index, expected) in [(2, &[][..]), (1, &["reads-confirmed"][..])] {
        let mut cluster = Cluster::founded();
        cluster.elect(2, &[2, 3], 2);
        cluster.say(2, Evidence::ReadBegun { read: 1 });
        let sent_ns = cluster.time_ns;
        for by in [1, 3] {
            let (by, term) = (member(by), Term(2));
            cluster.say(2, Evidence::Confirmed { by, term, sent_ns });
        }
        cluster.say(
            2,
            Evidence::ReadIndex {
                read: 1,
                term: Term(2),
                index: LogIndex(index),
                lease: false,
            },
        );
        assert_eq!(cluster.broken(), expected, "index {index}");
    }
}

#[test]
fn who_lost_an_election_follows_the_winner_and_nobody_else() {
    let mut cluster = Cluster::founded();
    cluster.vote(3, 3, 2, false);
    cluster.elect(2, &[1, 2], 2);
    cluster.vote(3, 2, 2, true);
    cluster.is_healthy();
    cluster.vote(3, 3, 2, false);
    assert_eq!(cluster.broken(), ["votes-kept"]);
}

#[test]
fn a_new_leader_may_act_on_a_commit_of_the_one_before() {
    let mut cluster = Cluster::founded();
    cluster.write();
    cluster.elect(2, &[2, 3], 2);
    cluster.commit(2, 2, 1);
    cluster.is_healthy();
}
