//! openraft's way to the other members, over [`Transport`].

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use openraft::errors::{ErrorSource as _, RPCError, ReplicationClosed, StreamingError, Timeout, Unreachable};
use openraft::impls::BoxedErrorSource;
use openraft::network::{Backoff, RPCOption, RaftNetworkFactory, RaftNetworkV2};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest, TransferLeaderResponse,
    VoteRequest, VoteResponse,
};
use openraft::{OptionalSend, RPCTypes, StorageError};
use openraft_rt::{AsyncRuntime, Select2};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tribunal_env::{CallError, Clock as _, Env, Method, Transport};
use tribunal_history::{Evidence, MemberId, Term};

use super::read::Reads;
use super::types::{Member, Snapshot, Types, Vote};
use super::wire::{self, Install, Installed, Piece};
use crate::wal::snapshot::Stored;

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

    async fn new_client(&mut self, target: u64, node: &Member) -> Link<E> {
        self.env.transport().learn(MemberId(target), &node.peer_urls);
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
    /// The member has answered, under this leader, something that was sent at `sent`; told if a read may wait for it.
    fn confirmed(&self, term: Term, sent: Duration) {
        if self.reads.are_waiting() {
            self.env.record(Evidence::Confirmed {
                by: self.target,
                term,
                sent_ns: u64::try_from(sent.as_nanos()).unwrap_or(u64::MAX),
            });
        }
    }

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

/// Bytes of a piece of a snapshot: sent well within a heartbeat, and few to send again.
const PIECE_BYTES: usize = 256 << 10;

/// Bytes of a snapshot that the other one is given a second to install: syncing and decoding, on a slow disk.
const INSTALL_BYTES_PER_SECOND: u64 = 10 << 20;

/// Heartbeats that the other one is given beside that: several syncs, each on a bad day.
const INSTALL_HEARTBEATS: u32 = 40;

/// How long the answer to a request to install a snapshot of so many bytes is waited for. Nothing else goes to that
/// member meanwhile, so an answer that was lost must not cost openraft's whole timeout; asking again is harmless.
fn install_within(heartbeat: Duration, length: u64) -> Duration {
    heartbeat * INSTALL_HEARTBEATS + Duration::from_millis(length.saturating_mul(1000) / INSTALL_BYTES_PER_SECOND)
}

impl<E: Env> Link<E> {
    /// Sends a snapshot piece by piece and asks to install it. The other one says where the next piece begins, so
    /// that a transfer which was broken off goes on where it was.
    async fn send_snapshot(
        &self,
        vote: Vote,
        snapshot: &Stored<E>,
        within: Duration,
    ) -> Result<SnapshotResponse<Types<E>>, StreamingError<Types<E>>> {
        let content = snapshot.id();
        let mut offset = 0;
        // Each piece moves on, or begins anew where the other one has lost what it had: that is not for ever.
        let mut lost = 0;
        while offset < snapshot.length() {
            let bytes = snapshot.piece(offset, PIECE_BYTES).await;
            // What this node cannot read of its own disk stops it.
            let bytes =
                bytes.map_err(|error| StorageError::read_snapshot(None, BoxedErrorSource::from_error(&error)))?;
            let piece = Piece { content, offset, bytes };
            // A piece is answered when it is written, before it is synced.
            let within = self.within_min.max(self.pause * 4);
            let came: u64 = self
                .call(wire::PIECE, RPCTypes::InstallSnapshot, &piece, within)
                .await?;
            if came <= offset {
                lost += 1;
            }
            if lost > 3 || came > snapshot.length() {
                let why = format!("it wants the snapshot from byte {came} on, after byte {offset}");
                return Err(Unreachable::from_string(why).into());
            }
            offset = came;
        }
        let install = Install {
            vote,
            content,
            length: snapshot.length(),
        };
        let within = within.min(install_within(self.pause, snapshot.length()));
        let answer = self
            .call(wire::INSTALL, RPCTypes::InstallSnapshot, &install, within)
            .await?;
        match answer {
            Installed::Answered(answer) => Ok(answer),
            Installed::Missing => Err(Unreachable::from_string("it lost pieces of the snapshot").into()),
        }
    }
}

impl<E: Env> RaftNetworkV2<Types<E>> for Link<E> {
    type SnapshotData = Stored<E>;

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
        if !matches!(answer, AppendEntriesResponse::HigherVote(_)) {
            self.confirmed(term, sent);
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
        snapshot: Snapshot<E>,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse<Types<E>>, StreamingError<Types<E>>> {
        let sent = self.env.clock().monotonic();
        let send = self.send_snapshot(vote, &snapshot.snapshot, option.hard_ttl());
        match E::Runtime::select2(send, cancel).await {
            Select2::First(answer) => {
                // For openraft the answer confirms the leader as of the beginning, as one to a heartbeat does.
                if answer.as_ref().is_ok_and(|answer| answer.vote <= vote) {
                    self.confirmed(Term(vote.leader_id.term), sent);
                }
                answer
            }
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
