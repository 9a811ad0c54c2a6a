//! The state machine: keys, values and their history, with etcd's revisions.
//!
//! [`Kv::apply`] is a pure function of the state and the command: no clock, no randomness, no order that depends
//! on addresses. Members that apply the same log therefore hold the same state, and [`Kv::digest`] proves it.
//!
//! The store has one revision, which starts at 1. A command that changes something makes the next one, however
//! many keys it changes (its changes are told apart by a sub revision); one that changes nothing makes none. Each
//! key keeps what every change left, a delete leaving a mark, so that any revision since the last compaction can
//! be read. A key that comes back after a delete begins a new life, with a new create revision and version 1.
//!
//! Commands are checked against the state here and nowhere else; what can be checked without the state is
//! checked before a command is proposed (`crate::service`).
//!
//! A compaction forgets at once: states before its revision cannot be asked for any more, and a checkpoint leaves out
//! what only they need. The memory is given back step by step, with the commands that follow (`compaction`).
//!
//! Left out, with room kept: leases (each lease that is named is not found) and the events that watchers see.
//!
//! Source: etcd, `server/storage/mvcc` and `server/etcdserver/apply`; its documentation, "Data model".

mod checkpoint;
mod compaction;
mod error;
mod history;
mod range;
mod txn;

use std::collections::BTreeMap;

use bytes::Bytes;
use tribunal_history::Revision;
use tribunal_proto::etcdserverpb::{RangeRequest, RangeResponse, TxnRequest, TxnResponse};
use tribunal_proto::peer::{Command, CommandReply, command, command_reply};
use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

pub use checkpoint::{CHUNK_BYTES, CheckpointError, Decoder};
pub use error::KvError;
pub use range::KeyRange;
pub use txn::is_read_only;

use compaction::Superseded;
use history::{History, Version};
use txn::{Plan, Transaction};

/// The state: all keys with their histories.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kv {
    /// The newest revision.
    revision: i64,
    /// States before this revision are gone; [`NEVER_COMPACTED`] at first.
    compacted: i64,
    keys: BTreeMap<Bytes, History>,
    /// Hash over all changes in order.
    digest: u128,
    size_bytes: u64,
    /// What a compaction of a later revision will find.
    superseded: Superseded,
}

/// What etcd starts with, below any revision that can be asked for.
const NEVER_COMPACTED: i64 = -1;

impl Default for Kv {
    fn default() -> Self {
        Self::new()
    }
}

impl Kv {
    /// The state of a new cluster, at revision 1.
    pub fn new() -> Self {
        Self {
            revision: 1,
            compacted: NEVER_COMPACTED,
            keys: BTreeMap::new(),
            digest: 0,
            size_bytes: 0,
            superseded: Superseded::default(),
        }
    }

    /// The newest revision.
    pub fn revision(&self) -> Revision {
        Revision(self.revision)
    }

    /// A hash over all changes ever made, in order: equal on all members at equal revisions.
    pub fn digest(&self) -> u128 {
        self.digest
    }

    /// Bytes of keys and values with all their history, and a constant for each version. An approximation of
    /// the memory used.
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// Reads keys, now or at an earlier revision.
    ///
    /// # Errors
    /// The revision is compacted, or in the future.
    pub fn range(&self, request: &RangeRequest) -> Result<RangeResponse, KvError> {
        range::range(self, request, self.revision)
    }

    /// Does a transaction that only reads.
    ///
    /// # Errors
    /// A range asks for a revision that is compacted, or in the future.
    ///
    /// # Panics
    /// If it could write, see [`is_read_only`].
    pub fn read_txn(&self, request: &TxnRequest) -> Result<TxnResponse, KvError> {
        assert!(
            is_read_only(request),
            "a transaction that may write goes through the log"
        );
        Plan::new(self, request)?.read(self)
    }

    /// Whether a transaction's conditions hold now; for the planted defect `txn-not-atomic`.
    pub(crate) fn conditions_hold(&self, request: &TxnRequest) -> bool {
        txn::conditions_hold(self, request)
    }

    /// Planted defect `reused-revision`: drops keys that are deleted, and takes the newest revision from the rest.
    pub(crate) fn forget_deleted_keys(&mut self) {
        self.keys.retain(|_, history| !history.newest().is_deleted());
        let newest = self.keys.values().map(|history| history.newest().main).max();
        self.revision = newest.unwrap_or(1).max(self.compacted);
    }

    /// Does what a log entry says. The reply's headers have nothing but the revision: the newest one, after this
    /// command. A command that is refused changes nothing.
    pub fn apply(&mut self, command: &Command) -> CommandReply {
        let response = self
            .try_apply(command)
            .unwrap_or_else(|error| command_reply::Response::Error(error.into()));
        self.reclaim(compaction::STEPS);
        CommandReply {
            response: Some(response),
        }
    }

    fn try_apply(&mut self, command: &Command) -> Result<command_reply::Response, KvError> {
        match &command.request {
            Some(command::Request::Put(request)) => {
                // A put of its own asks for the lease first, one in a transaction for the key: as etcd does.
                self.check_lease(request.lease)?;
                self.check_kept(request)?;
                Ok(command_reply::Response::Put(Transaction::begin(self).put(request)))
            }
            Some(command::Request::DeleteRange(request)) => Ok(command_reply::Response::DeleteRange(
                Transaction::begin(self).delete_range(request),
            )),
            Some(command::Request::Txn(request)) => {
                let plan = Plan::new(self, request)?;
                Ok(command_reply::Response::Txn(Transaction::begin(self).execute(&plan)))
            }
            Some(command::Request::Compact(request)) => self.compact(request).map(command_reply::Response::Compact),
            None => Err(KvError::EmptyCommand),
        }
    }

    /// The key as it was at a revision that is not compacted.
    fn version_at(&self, key: &[u8], revision: i64) -> Option<&Version> {
        self.keys.get(key)?.at(revision)
    }

    /// Adds what a change left of a key.
    fn record(&mut self, key: &[u8], version: Version) {
        self.digest = next_digest(self.digest, key, &version);
        self.size_bytes += version.size_bytes(key);
        let (main, is_deleted) = (version.main, version.is_deleted());
        let known = match self.keys.get_mut(key) {
            Some(history) => {
                history.push(version);
                self.keys.get_key_value(key).map(|(key, _)| key.clone())
            }
            None => {
                let key = Bytes::copy_from_slice(key);
                self.keys.insert(key.clone(), History::starting_with(version));
                is_deleted.then_some(key)
            }
        };
        if let Some(key) = known {
            self.superseded.add(main, key);
        }
    }
}

/// Chains one change to the hash of all changes before it.
fn next_digest(digest: u128, key: &[u8], version: &Version) -> u128 {
    let Version {
        main,
        sub,
        create_revision,
        version,
        lease,
        value,
    } = version;
    let mut bytes = [0_u8; 72];
    bytes[..16].copy_from_slice(&digest.to_le_bytes());
    let numbers = [*main, *sub, *create_revision, *version, *lease].map(i64::to_le_bytes);
    let hashes = [xxh3_64(key), xxh3_64(value)].map(u64::to_le_bytes);
    for (place, number) in bytes[16..].chunks_exact_mut(8).zip(numbers.into_iter().chain(hashes)) {
        place.copy_from_slice(&number);
    }
    xxh3_128(&bytes)
}

#[cfg(test)]
mod tests;
