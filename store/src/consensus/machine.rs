//! The state machine as openraft drives it: [`Kv`] in memory, snapshots on disk.

use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use bytes::Bytes;
use futures_util::{Stream, TryStreamExt as _};
use openraft::storage::{EntryResponder, RaftStateMachine};
use openraft::{OptionalSend, RaftSnapshotBuilder};
use prost::Message as _;
use serde::{Deserialize, Serialize};
use tribunal_env::Env;
use tribunal_history::evidence::SnapshotOrigin;
use tribunal_history::{Evidence, LogIndex, Revision, Term};
use tribunal_proto::peer;

use super::log::{LogStore, log_id};
use super::progress::Progress;
use super::types::{LogId, Payload, Reply, Snapshot, SnapshotMeta, StoredMembership, Types, configuration};
use crate::defect::{Defect, Defects};
use crate::kv::{Decoder, Kv};
use crate::points;
use crate::wal::snapshot::{ContentId, SnapshotStore, Stored};
use crate::wal::{Chain, Position};

/// The state machine; clones share it.
pub struct Machine<E: Env> {
    env: E,
    log: LogStore<E>,
    snapshots: SnapshotStore<E>,
    state: Arc<RwLock<State>>,
    /// Last applied index plus one; changes after the state did.
    applied: Progress<E>,
    /// Planted bugs; those of snapshots act here.
    defects: Defects,
}

#[derive(Default)]
struct State {
    kv: Kv,
    applied: Option<LogId>,
    membership: StoredMembership,
    /// Who was a member and is none any more.
    removed: BTreeSet<u64>,
}

/// What a snapshot says of itself; its chunks are those of the state.
#[derive(Serialize, Deserialize)]
struct About {
    /// The chain that the log had at its last entry. It comes first, where a reader finds it that knows no more.
    chain: Chain,
    meta: SnapshotMeta,
    /// Who was a member and is none any more.
    removed: BTreeSet<u64>,
}

/// Reads what a snapshot says of itself.
fn about<E: Env>(stored: &Stored<E>) -> Result<About, io::Error> {
    postcard::from_bytes(stored.meta()).map_err(|error| invalid("metadata", &error))
}

fn invalid(what: &str, error: &dyn std::fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("a snapshot's {what}: {error}"))
}

impl<E: Env> Machine<E> {
    /// A state machine that is empty until openraft loads the last snapshot into it.
    pub fn new(env: E, log: LogStore<E>, snapshots: SnapshotStore<E>) -> Self {
        Self {
            env,
            log,
            snapshots,
            state: Arc::default(),
            applied: Progress::new(0),
            defects: Defects::new(),
        }
    }

    /// Plants those of the defects that act here.
    pub(super) fn plant(mut self, defects: &Defects) -> Self {
        self.defects.clone_from(defects);
        self
    }

    /// Runs `read` on the applied state, under its lock.
    pub fn with_state<R>(&self, read: impl FnOnce(&Kv) -> R) -> R {
        read(&self.read().kv)
    }

    /// The last membership that was applied; none if there was none yet.
    pub(super) fn membership(&self) -> Option<StoredMembership> {
        let state = self.read();
        state.membership.log_id().is_some().then(|| state.membership.clone())
    }

    /// Whether a member was removed, as far as entries are applied here.
    pub(super) fn is_removed(&self, member: u64) -> bool {
        self.read().removed.contains(&member)
    }

    /// How many members were removed, as far as entries are applied here.
    pub(super) fn count_removed(&self) -> usize {
        self.read().removed.len()
    }

    /// A copy of the applied state, and the index of the next entry.
    pub(super) fn copy(&self) -> (Kv, u64) {
        let state = self.read();
        (state.kv.clone(), state.applied.map_or(0, |last| last.index + 1))
    }

    /// The snapshots on disk.
    pub(super) fn snapshots(&self) -> &SnapshotStore<E> {
        &self.snapshots
    }

    /// Changes whenever entries were applied; holds the index of the next one.
    pub(super) fn applied(&self) -> &Progress<E> {
        &self.applied
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<E: Env> RaftStateMachine<Types<E>> for Machine<E> {
    type SnapshotData = Stored<E>;
    type SnapshotBuilder = FrozenState<E>;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), io::Error> {
        let state = self.read();
        Ok((state.applied, state.membership.clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> Result<(), io::Error>
    where
        S: Stream<Item = Result<EntryResponder<Types<E>>, io::Error>> + Unpin + OptionalSend,
    {
        while let Some((entry, responder)) = entries.try_next().await? {
            points::linger(&self.env, points::APPLY_BEFORE).await;
            let log_id = entry.log_id;
            let (reply, revision, operation) = {
                let mut operation = 0;
                let mut state = self.write();
                let reply = match entry.payload {
                    Payload::Blank => Reply::default(),
                    Payload::Normal(proposal) => {
                        let command = peer::Command::decode(proposal.0).map_err(|error| {
                            io::Error::new(
                                io::ErrorKind::InvalidData,
                                format!("entry {} holds no command: {error}", log_id.index),
                            )
                        })?;
                        operation = command.operation;
                        Reply(state.kv.apply(&command))
                    }
                    Payload::Membership(membership) => {
                        let before: Vec<u64> = state.membership.nodes().map(|(id, _)| *id).collect();
                        let gone = before.into_iter().filter(|id| membership.get_node(id).is_none());
                        state.removed.extend(gone);
                        state.membership = StoredMembership::new(Some(log_id), membership);
                        Reply::default()
                    }
                };
                state.applied = Some(log_id);
                (reply, state.kv.revision(), operation)
            };
            self.env.record(Evidence::Apply {
                index: LogIndex(log_id.index),
                term: Term(log_id.leader_id.term),
                revision,
                operation,
            });
            self.applied.set(log_id.index + 1);
            points::pass(&self.env, points::APPLY_BEFORE_REPLY);
            if let Some(responder) = responder {
                responder.send(reply);
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> FrozenState<E> {
        let state = self.read();
        let mut last_log_id = state.applied;
        if self.defects.contains(&Defect::ApplyTwiceAfterRestart) {
            last_log_id = self.one_before(&state);
        }
        let last = last_log_id.and_then(|last| self.log.position(last.index));
        FrozenState {
            machine: self.clone(),
            // Now, since the log may be purged while the snapshot is written.
            chain: last.map(|last| last.chain).unwrap_or_default(),
            meta: SnapshotMeta {
                last_log_id,
                last_membership: state.membership.clone(),
            },
            removed: state.removed.clone(),
            revision: state.kv.revision(),
            chunks: state.kv.encode(),
        }
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, stored: Stored<E>) -> Result<(), io::Error> {
        let About { chain, removed, .. } = about(&stored)?;
        let kv = self.load(&stored).await?;
        let content = stored.id();
        // At a restart it is the current one already.
        let is_known = self
            .snapshots
            .current()
            .is_some_and(|current| current.name() == stored.name());
        if !is_known {
            points::linger(&self.env, points::SNAPSHOT_INSTALL_BEFORE_SAVE).await;
            self.keep(meta, stored).await?;
            points::linger(&self.env, points::SNAPSHOT_INSTALL_AFTER_SAVE).await;
        }
        if let Some(last) = meta.last_log_id {
            let last = position(last, chain);
            self.log.note_snapshot(last);
            let origin = if is_known {
                SnapshotOrigin::Loaded
            } else {
                SnapshotOrigin::Received
            };
            self.tell(origin, last, (content, kv.revision()), meta);
        }
        self.enter(meta, kv, removed);
        points::pass(&self.env, points::SNAPSHOT_INSTALL_BEFORE_PURGE);
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot<E>>, io::Error> {
        let Some(stored) = self.snapshots.current() else {
            return Ok(None);
        };
        Ok(Some(as_snapshot(stored)?))
    }
}

/// A stored snapshot as openraft knows it.
pub(super) fn as_snapshot<E: Env>(stored: Stored<E>) -> Result<Snapshot<E>, io::Error> {
    Ok(Snapshot {
        meta: about(&stored)?.meta,
        snapshot: stored,
    })
}

impl<E: Env> Machine<E> {
    /// Planted defect `apply-twice-after-restart`: the entry before the last one that was applied. A change of the
    /// membership is not applied twice.
    fn one_before(&self, state: &State) -> Option<LogId> {
        let last = state.applied?;
        let before = last.index.checked_sub(1).and_then(|index| self.log.position(index));
        let is_change = state.membership.log_id().as_ref() == Some(&last);
        match before {
            Some(before) if !is_change => Some(log_id(before.term, before.index)),
            _ => Some(last),
        }
    }

    /// Planted defect `stale-snapshot-installed`: a snapshot that is older than the state takes its place. One that
    /// is newer is left to consensus.
    pub(super) async fn install_late(&self, snapshot: &Snapshot<E>) -> Result<(), io::Error> {
        if self.read().applied > snapshot.meta.last_log_id {
            let kv = self.load(&snapshot.snapshot).await?;
            self.enter(&snapshot.meta, kv, about(&snapshot.snapshot)?.removed);
        }
        Ok(())
    }

    /// Reads the state that a snapshot holds.
    async fn load(&self, stored: &Stored<E>) -> Result<Kv, io::Error> {
        let mut decoder = Decoder::default();
        let mut chunks = stored.chunks();
        while let Some(chunk) = chunks.next().await? {
            decoder.add(&chunk).map_err(|error| invalid("state", &error))?;
        }
        let mut kv = decoder.finish().map_err(|error| invalid("state", &error))?;
        if self.defects.contains(&Defect::ReusedRevision) {
            kv.forget_deleted_keys();
        }
        Ok(kv)
    }

    /// Puts the state that a snapshot holds in the place of the present one.
    fn enter(&self, meta: &SnapshotMeta, kv: Kv, removed: BTreeSet<u64>) {
        {
            let mut state = self.write();
            state.kv = kv;
            state.applied = meta.last_log_id;
            state.membership = meta.last_membership.clone();
            state.removed = removed;
        }
        self.applied.set(meta.last_log_id.map_or(0, |last| last.index + 1));
    }

    async fn keep(&self, meta: &SnapshotMeta, stored: Stored<E>) -> Result<bool, io::Error> {
        let (term, index) = meta.last_log_id.map_or((Term(0), LogIndex(0)), |last| {
            (Term(last.leader_id.term), LogIndex(last.index))
        });
        self.snapshots.keep(term, index, stored).await.map_err(io::Error::from)
    }

    /// Evidence of a snapshot that is on the disk: the hash of what is in it, and the revision.
    fn tell(&self, origin: SnapshotOrigin, last: Position, content: (ContentId, Revision), meta: &SnapshotMeta) {
        let (digest, revision) = content;
        let membership = &meta.last_membership;
        self.env.record(Evidence::Snapshot {
            origin,
            last,
            digest,
            revision,
            configured: membership.log_id().map(|log_id| LogIndex(log_id.index)),
            configuration: configuration(membership.membership()),
        });
    }
}

/// The state as of one entry, on its way to the disk.
pub struct FrozenState<E: Env> {
    machine: Machine<E>,
    meta: SnapshotMeta,
    chain: Chain,
    removed: BTreeSet<u64>,
    revision: Revision,
    chunks: Vec<Bytes>,
}

impl<E: Env> FrozenState<E> {
    /// Planted defect `snapshot-without-log-tail`: names the entry that is the last one by now.
    fn label_late(&mut self) {
        let applied = self.machine.read().applied;
        if let Some(position) = applied.and_then(|last| self.machine.log.position(last.index)) {
            self.meta.last_log_id = applied;
            self.chain = position.chain;
        }
    }
}

impl<E: Env> RaftSnapshotBuilder<Types<E>> for FrozenState<E> {
    type SnapshotData = Stored<E>;

    async fn build_snapshot(&mut self) -> Result<Snapshot<E>, io::Error> {
        points::linger(&self.machine.env, points::SNAPSHOT_BUILD_FROZEN).await;
        if self.machine.defects.contains(&Defect::SnapshotWithoutLogTail) {
            self.label_late();
        }
        let meta = self.meta.clone();
        let chain = self.chain;
        let about = postcard::to_allocvec(&About {
            meta: meta.clone(),
            chain,
            removed: std::mem::take(&mut self.removed),
        })
        .map_err(io::Error::other)?;
        let chunks = std::mem::take(&mut self.chunks);
        let stored = self.machine.snapshots.write(&about, chunks).await?;
        let is_kept = self.machine.keep(&meta, stored.clone()).await?;
        if let Some(last) = meta.last_log_id
            && is_kept
        {
            let last = position(last, chain);
            self.machine.log.note_snapshot(last);
            let content = (stored.id(), self.revision);
            self.machine.tell(SnapshotOrigin::Built, last, content, &meta);
        }
        Ok(Snapshot { meta, snapshot: stored })
    }
}

impl<E: Env> Clone for Machine<E> {
    fn clone(&self) -> Self {
        Self {
            env: self.env.clone(),
            log: self.log.clone(),
            snapshots: self.snapshots.clone(),
            state: Arc::clone(&self.state),
            applied: self.applied.clone(),
            defects: self.defects.clone(),
        }
    }
}

fn position(last: LogId, chain: Chain) -> Position {
    Position {
        index: LogIndex(last.index),
        term: Term(last.leader_id.term),
        chain,
    }
}
