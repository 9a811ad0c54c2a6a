//! Acknowledgements while the members change.

use super::tests::{Cluster, voters};
use tribunal_history::{Evidence, LogIndex, Term};

/// n4 has joined. n1 leads, and `holders` have entry 3 too, and entry 4 with which n5 joins; n1 takes both as committed
/// at once, and appends entry 5, with which n4 goes.
fn n5_joins_and_n4_goes(holders: &[u16]) -> Cluster {
    let mut cluster = Cluster::founded();
    for node in [4, 5] {
        cluster.boot(node, None, None);
        cluster.persist(node, 0, 1, 1);
    }
    for node in 1..=4 {
        configured(&mut cluster, node, 2, &[1, 2, 3, 4]);
        cluster.persist(node, 2, 2, 1);
    }
    cluster.commit(1, 2, 1);
    cluster.persist(5, 2, 2, 1);
    for node in holders {
        configured(&mut cluster, *node, 4, &[1, 2, 3, 4, 5]);
        cluster.persist(*node, 3, 4, 1);
    }
    cluster.commit(1, 4, 1);
    configured(&mut cluster, 1, 5, &[1, 2, 3, 5]);
    cluster
}

/// Three of the five that n1 counted have entry 3, but neither a majority of those before nor of those after.
#[test]
fn an_entry_counts_under_the_configuration_that_committed_it() {
    let mut cluster = n5_joins_and_n4_goes(&[1, 4, 5]);
    cluster.is_healthy();
    cluster.ack(1, 3, 1, 7);
    cluster.is_healthy();
}

#[test]
fn an_entry_that_no_configuration_holds_is_found() {
    let mut cluster = n5_joins_and_n4_goes(&[1, 5]);
    cluster.ack(1, 3, 1, 7);
    assert_eq!(cluster.broken(), ["committed-on-quorum", "acknowledged-on-quorum"]);
}

fn configured(cluster: &mut Cluster, node: u16, index: u64, nodes: &[u16]) {
    cluster.say(
        node,
        Evidence::Configured {
            index: LogIndex(index),
            term: Term(1),
            configuration: voters(nodes),
        },
    );
}
