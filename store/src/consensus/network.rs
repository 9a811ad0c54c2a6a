//! openraft's way to the other members, over [`Transport`].

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use openraft::errors::{RPCError, ReplicationClosed, StreamingError, Timeout, Unreachable};
use openraft::network::{Backoff, RPCOption, RaftNetworkFactory, RaftNetworkV2};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest, TransferLeaderResponse,
    VoteRequest, VoteResponse,
};
use openraft::{OptionalSend, RPCTypes};
use openraft_rt::{AsyncRuntime, Select2};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tribunal_env::{CallError, Clock as _, Env, Method, Transport};
use tribunal_history::{Evidence, MemberId, Term};

use super::read::Reads;
use super::types::{Member, Snapshot, Types, Vote};
use super::wire::{self, SentSnapshot};

/// Makes a [`Link`] to each member.
pub(super) struct Network<E: Env> {
    pub env: E,
    pub own: MemberId,
    pub reads: Arc<Reads>,
    pub heartbeat: Duration,
}

impl<E: Env> Network<E> {
    fn link(&self, target: u64, within_min: Duration) -> Link<E> {
        Link {
            env: self.env.clone(),
            own: self.own,
            reads: Arc::clone(&self.reads),
            target: MemberId(target),
            within_min,
            pause: self.heartbeat,
        }
    }
}

impl<E: Env> RaftNetworkFactory<Types<E>> for Network<E> {
    type Network = Link<E>;

    async fn new_client(&mut self, target: u64, _node: &Member) -> Link<E> {
        // An append is answered after the follower's sync, which may take longer than a heartbeat on a busy disk.
        // Giving up before that would send the same entries again and again.
        self.link(target, self.heartbeat * 4)
    }

    async fn new_heartbeat_client(&mut self, target: u64, _node: &Member) -> Link<E> {
        self.link(target, Duration::ZERO)
    }
}

/// The way to one member.
pub(super) struct Link<E: Env> {
    env: E,
    own: MemberId,
    reads: Arc<Reads>,
    target: MemberId,
    within_min: Duration,
    /// Between attempts while the member cannot be reached.
    pause: Duration,
}

impl<E: Env> Link<E> {
    /// Calls and decodes; a remote failure counts as no answer, since nothing is known of what it did.
    async fn call<Q: Serialize, A: DeserializeOwned>(
        &self,
        method: Method,
        kind: RPCTypes,
        request: &Q,
        within: Duration,
    ) -> Result<A, RPCError<Types<E>>> {
        let body = wire::encode(request);
        let answer = self.env.transport().call(self.target, method, body, within).await;
        match answer {
            Ok(bytes) => {
                wire::decode(method, &bytes).map_err(|what| RPCError::Unreachable(Unreachable::from_string(what)))
            }
            Err(CallError::Refused(why)) => Err(RPCError::Unreachable(Unreachable::from_string(why))),
            Err(CallError::TimedOut(_)) => Err(RPCError::Timeout(Timeout {
                action: kind,
                id: self.own.0,
                target: self.target.0,
                timeout: within,
            })),
        }
    }
}

impl<E: Env> RaftNetworkV2<Types<E>> for Link<E> {
    type SnapshotData = Bytes;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<Types<E>>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<Types<E>>, RPCError<Types<E>>> {
        let within = option.soft_ttl().max(self.within_min);
        let sent = self.env.clock().monotonic();
        let term = Term(request.vote.leader_id.term);
        let answer = self
            .call(wire::APPEND, RPCTypes::AppendEntries, &request, within)
            .await?;
        if self.reads.are_waiting() && !matches!(answer, AppendEntriesResponse::HigherVote(_)) {
            self.env.record(Evidence::Confirmed {
                by: self.target,
                term,
                sent_ns: u64::try_from(sent.as_nanos()).unwrap_or(u64::MAX),
            });
        }
        Ok(answer)
    }

    async fn vote(
        &mut self,
        request: VoteRequest<Types<E>>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types<E>>, RPCError<Types<E>>> {
        self.call(wire::VOTE, RPCTypes::Vote, &request, option.soft_ttl()).await
    }

    async fn pre_vote(
        &mut self,
        request: VoteRequest<Types<E>>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types<E>>, RPCError<Types<E>>> {
        self.call(wire::PRE_VOTE, RPCTypes::Vote, &request, option.soft_ttl())
            .await
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse<Types<E>>, StreamingError<Types<E>>> {
        let request = SentSnapshot {
            vote,
            meta: snapshot.meta,
            data: snapshot.snapshot,
        };
        let call = self.call(wire::SNAPSHOT, RPCTypes::InstallSnapshot, &request, option.hard_ttl());
        match E::Runtime::select2(call, cancel).await {
            Select2::First(answer) => answer.map_err(StreamingError::from),
            Select2::Second(closed) => Err(StreamingError::Closed(closed)),
        }
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<Types<E>>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<Types<E>>, RPCError<Types<E>>> {
        self.call(wire::TRANSFER, RPCTypes::TransferLeader, &request, option.soft_ttl())
            .await
    }

    fn backoff(&self) -> Option<Backoff> {
        Some(Backoff::new(std::iter::repeat(self.pause)))
    }
}
