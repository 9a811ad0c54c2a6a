//! Who answers: the part of each response's header that depends on the member.

use tribunal_proto::etcdserverpb::ResponseHeader;

use super::consensus::Consensus;

/// A header without revision, for answers that concern no key.
pub(super) fn of_member(consensus: &impl Consensus) -> ResponseHeader {
    let status = consensus.status();
    ResponseHeader {
        cluster_id: status.cluster,
        member_id: status.member.0,
        revision: 0,
        raft_term: status.term.0,
    }
}

/// A header with the newest local revision.
pub(super) fn of_state(consensus: &impl Consensus) -> ResponseHeader {
    let revision = consensus.with_state(|kv| kv.revision()).0;
    ResponseHeader {
        revision,
        ..of_member(consensus)
    }
}

/// Completes the header of an answer of the state machine, which knows the revision.
pub(super) fn fill(consensus: &impl Consensus, header: &mut Option<ResponseHeader>) {
    let revision = header.take().map_or(0, |header| header.revision);
    *header = Some(ResponseHeader {
        revision,
        ..of_member(consensus)
    });
}
