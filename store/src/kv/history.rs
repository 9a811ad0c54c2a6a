//! What became of one key.

use bytes::Bytes;
use tribunal_proto::mvccpb::KeyValue;

/// A key as a change left it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Version {
    /// Revision of the change.
    pub main: i64,
    /// Place of the change among those of its revision.
    pub sub: i64,
    /// Revision at which the key's present life began; 0 for a delete.
    pub create_revision: i64,
    /// Puts in the key's present life; 0 for a delete.
    pub version: i64,
    /// Lease that the key is bound to; 0 for none.
    pub lease: i64,
    /// Empty for a delete.
    pub value: Bytes,
}

impl Version {
    /// What a delete leaves.
    pub fn deleted(main: i64, sub: i64) -> Self {
        Self {
            main,
            sub,
            create_revision: 0,
            version: 0,
            lease: 0,
            value: Bytes::new(),
        }
    }

    pub fn is_deleted(&self) -> bool {
        self.version == 0
    }

    pub fn key_value(&self, key: &Bytes) -> KeyValue {
        KeyValue {
            key: key.clone(),
            create_revision: self.create_revision,
            mod_revision: self.main,
            version: self.version,
            value: self.value.clone(),
            lease: self.lease,
        }
    }

    /// Bytes that this version occupies, roughly.
    pub fn size_bytes(&self, key: &[u8]) -> u64 {
        (size_of::<Self>() + key.len() + self.value.len()) as u64
    }
}

/// All versions of one key since the last compaction; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct History {
    versions: Vec<Version>,
}

impl History {
    pub fn starting_with(version: Version) -> Self {
        Self {
            versions: vec![version],
        }
    }

    /// The key at a revision, if it was there.
    pub fn at(&self, revision: i64) -> Option<&Version> {
        let newest = self.newest();
        let version = if newest.main <= revision {
            newest
        } else {
            let later = self.versions.partition_point(|version| version.main <= revision);
            &self.versions[later.checked_sub(1)?]
        };
        (!version.is_deleted()).then_some(version)
    }

    pub fn push(&mut self, version: Version) {
        let newest = self.newest();
        let (before, after) = ((newest.main, newest.sub), (version.main, version.sub));
        assert!(before < after, "a change at {after:?} follows one at {before:?}");
        self.versions.push(version);
    }

    pub fn newest(&self) -> &Version {
        self.versions.last().expect("a key that is known has a version")
    }

    /// The versions that states from revision `compacted` on can see.
    pub fn since(&self, compacted: i64) -> &[Version] {
        &self.versions[self.forgotten(compacted)..]
    }

    /// How many versions no state from revision `compacted` on can see: all that came before the one it sees, and
    /// that one as well if it is a delete.
    fn forgotten(&self, compacted: i64) -> usize {
        let later = self.versions.partition_point(|version| version.main <= compacted);
        match later.checked_sub(1) {
            Some(seen) if !self.versions[seen].is_deleted() => seen,
            _ => later,
        }
    }

    /// Takes away what [`History::since`] leaves out. A history without versions is to be removed.
    pub fn forget(&mut self, compacted: i64) -> Vec<Version> {
        self.versions.drain(..self.forgotten(compacted)).collect()
    }

    pub fn versions(&self) -> &[Version] {
        &self.versions
    }
}
