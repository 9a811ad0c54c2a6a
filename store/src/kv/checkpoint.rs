//! The whole state as bytes and back, in chunks of bounded size.
//!
//! A head with the format's version, then the keys in order with their histories, then a tail with the number of
//! chunks and a hash of all bytes before it. [`Kv::decode`] accepts exactly what [`Kv::encode`] made: a chunk that
//! is missing, repeated, out of order or damaged is an error, never another state. Equal states make equal bytes.

use bytes::Bytes;
use prost::Message as _;
use tribunal_proto::checkpoint::{self as pb, Chunk, Head, Keys, Tail, chunk::Content};
use xxhash_rust::xxh3::Xxh3;

use super::Kv;
use super::history::{History, Version};

/// A chunk is closed when its content reaches this: large enough to be read and sent without much ado, small
/// enough to be held many times over. It can exceed this by one version.
pub const CHUNK_BYTES: usize = 1 << 20;

/// Version of the format.
const FORMAT: u32 = 1;

/// Why bytes are not a state.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// A chunk does not decode.
    #[error("chunk {chunk} of the checkpoint is damaged: {what}")]
    Damaged {
        /// Counted from 0.
        chunk: usize,
        /// What is wrong with it.
        what: String,
    },
    /// It was written by another version.
    #[error("the checkpoint has format {found}; this program reads format {FORMAT}")]
    Format {
        /// The version it names.
        found: u32,
    },
    /// It ends before its tail.
    #[error("the checkpoint ends after {chunks} chunks without its tail")]
    Cut {
        /// How many there are.
        chunks: usize,
    },
    /// The bytes are not those that were written.
    #[error("the checkpoint's hash does not match its content")]
    Hash,
}

impl Kv {
    /// The state as bytes.
    pub fn encode(&self) -> Vec<Bytes> {
        let mut writer = Writer::default();
        let digest = Bytes::copy_from_slice(&self.digest.to_le_bytes());
        let (revision, compacted) = (self.revision, self.compacted);
        writer.write(Content::Head(Head {
            format: FORMAT,
            revision,
            compacted,
            digest,
        }));
        for (key, history) in &self.keys {
            let versions = history.since(compacted);
            versions.iter().for_each(|version| writer.add(key, version));
        }
        writer.finish()
    }

    /// The state from bytes.
    ///
    /// # Errors
    /// They are not what [`Kv::encode`] made.
    pub fn decode(chunks: impl IntoIterator<Item = Bytes>) -> Result<Self, CheckpointError> {
        let mut decoder = Decoder::default();
        for bytes in chunks {
            decoder.add(&bytes)?;
        }
        decoder.finish()
    }
}

impl Kv {
    /// Finds what later compactions will forget.
    fn note_superseded(&mut self) {
        let mut changes = Vec::new();
        for (key, history) in &self.keys {
            let versions = history.versions().iter().enumerate();
            let leaves = versions.filter(|(place, version)| *place > 0 || version.is_deleted());
            changes.extend(leaves.map(|(_, version)| (version.main, version.sub, key.clone())));
        }
        changes.sort_unstable();
        self.superseded = changes.into_iter().map(|(main, _, key)| (main, key)).collect();
    }
}

#[derive(Default)]
struct Writer {
    chunks: Vec<Bytes>,
    hash: Xxh3,
    open: Keys,
    open_bytes: usize,
}

impl Writer {
    fn add(&mut self, key: &Bytes, version: &Version) {
        if self.open_bytes >= CHUNK_BYTES {
            self.close();
        }
        if self.open.keys.last().is_none_or(|last| last.key != key) {
            let versions = Vec::new();
            self.open.keys.push(pb::Key {
                key: key.clone(),
                versions,
            });
            self.open_bytes += key.len();
        }
        self.open_bytes += size_of::<pb::Version>() + version.value.len();
        let versions = &mut self.open.keys.last_mut().expect("a key was pushed").versions;
        versions.push(pb::Version {
            main: version.main,
            sub: version.sub,
            create_revision: version.create_revision,
            version: version.version,
            lease: version.lease,
            value: version.value.clone(),
        });
    }

    fn close(&mut self) {
        self.open_bytes = 0;
        let keys = std::mem::take(&mut self.open);
        if !keys.keys.is_empty() {
            self.write(Content::Keys(keys));
        }
    }

    fn write(&mut self, content: Content) {
        let bytes = Bytes::from(Chunk { content: Some(content) }.encode_to_vec());
        self.hash.update(&bytes);
        self.chunks.push(bytes);
    }

    fn finish(mut self) -> Vec<Bytes> {
        self.close();
        let hash = Bytes::copy_from_slice(&self.hash.digest128().to_le_bytes());
        self.write(Content::Tail(Tail {
            chunks: self.chunks.len() as u64,
            hash,
        }));
        self.chunks
    }
}

/// Makes a state of chunks that come one after the other.
#[derive(Default)]
pub struct Decoder {
    kv: Option<Kv>,
    hash: Xxh3,
    chunks: usize,
    complete: bool,
}

impl Decoder {
    /// Takes the next chunk.
    ///
    /// # Errors
    /// It is not what [`Kv::encode`] made, or not at this place.
    pub fn add(&mut self, bytes: &Bytes) -> Result<(), CheckpointError> {
        let decoded = Chunk::decode(bytes.clone()).map_err(|error| self.damaged(error.to_string()))?;
        let content = decoded.content.ok_or_else(|| self.damaged("it is empty"))?;
        match (content, &mut self.kv) {
            _ if self.complete => return Err(self.damaged("it follows the tail")),
            (Content::Head(head), None) => self.kv = Some(self.head(&head)?),
            (Content::Keys(keys), Some(kv)) => {
                if let Err(what) = keys.keys.iter().try_for_each(|key| add(kv, key)) {
                    return Err(self.damaged(what));
                }
            }
            (Content::Tail(tail), Some(kv)) => {
                let hash = self.hash.digest128().to_le_bytes();
                if tail.chunks != self.chunks as u64 || tail.hash[..] != hash {
                    return Err(CheckpointError::Hash);
                }
                kv.note_superseded();
                self.complete = true;
            }
            (Content::Head(_), Some(_)) => return Err(self.damaged("it is a second head")),
            (_, None) => return Err(self.damaged("it comes before the head")),
        }
        self.hash.update(bytes);
        self.chunks += 1;
        Ok(())
    }

    /// The state, after the last chunk.
    ///
    /// # Errors
    /// The tail did not come.
    pub fn finish(self) -> Result<Kv, CheckpointError> {
        match self.kv {
            Some(kv) if self.complete => Ok(kv),
            _ => Err(CheckpointError::Cut { chunks: self.chunks }),
        }
    }

    fn head(&self, head: &Head) -> Result<Kv, CheckpointError> {
        if head.format != FORMAT {
            return Err(CheckpointError::Format { found: head.format });
        }
        let digest = head.digest[..]
            .try_into()
            .map_err(|_| self.damaged("its digest is not 16 bytes long"))?;
        let digest = u128::from_le_bytes(digest);
        Ok(Kv {
            revision: head.revision,
            compacted: head.compacted,
            digest,
            ..Kv::new()
        })
    }

    fn damaged(&self, what: impl Into<String>) -> CheckpointError {
        CheckpointError::Damaged {
            chunk: self.chunks,
            what: what.into(),
        }
    }
}

/// Adds a key, or more of the history of the last one.
fn add(kv: &mut Kv, key: &pb::Key) -> Result<(), &'static str> {
    if kv.keys.last_key_value().is_some_and(|(last, _)| last > &key.key) {
        return Err("its keys are out of order");
    }
    for version in &key.versions {
        // Shared bytes would keep the whole chunk for as long as the smallest value of it.
        let value = Bytes::copy_from_slice(&version.value);
        let pb::Version {
            main,
            sub,
            create_revision,
            version,
            lease,
            ..
        } = *version;
        let version = Version {
            main,
            sub,
            create_revision,
            version,
            lease,
            value,
        };
        if main > kv.revision {
            return Err("a change is newer than the state");
        }
        kv.size_bytes += version.size_bytes(&key.key);
        match kv.keys.get_mut(&key.key) {
            Some(history) if (history.newest().main, history.newest().sub) >= (main, sub) => {
                return Err("the changes of a key are out of order");
            }
            Some(history) => history.push(version),
            None => {
                kv.keys
                    .insert(Bytes::copy_from_slice(&key.key), History::starting_with(version));
            }
        }
    }
    Ok(())
}
