//! Who this member is: known before the first start of a founder, asked for by one that joins, and kept on the disk,
//! so that a restart does not depend on what it is told then.
//!
//! The file is a magic with the format's version (8 bytes), the cluster's id and the member's (8 bytes each,
//! little-endian), and a crc32c of all that. It is written beside, synced and renamed.

use tribunal_env::{Disk, DiskFile, OpenMode};
use tribunal_history::MemberId;

use crate::consensus::Identity;
use crate::wal::WalError;

const FOLDER: &str = "member";
const PATH: &str = "member/identity";
const UNFINISHED: &str = "member/unfinished";
const MAGIC: [u8; 8] = *b"TRIBMEM\x01";
const FILE_BYTES: usize = 28;

/// Reads the identity; none on a new disk.
pub(super) async fn load(disk: &impl Disk) -> Result<Option<Identity>, WalError> {
    disk.create_dir(FOLDER)
        .await
        .map_err(|e| WalError::io("create", FOLDER, &e))?;
    let names = disk.list(FOLDER).await.map_err(|e| WalError::io("list", FOLDER, &e))?;
    if !names.iter().any(|name| name == "identity") {
        return Ok(None);
    }
    let read = async {
        let file = disk.open(PATH, OpenMode::Read).await?;
        file.read_at(0, FILE_BYTES + 1).await
    };
    let bytes = read.await.map_err(|e| WalError::io("read", PATH, &e))?;
    decode(&bytes).map(Some).ok_or_else(|| WalError::Corrupt {
        path: PATH.to_owned(),
        offset: 0,
        what: "it is not an identity".to_owned(),
    })
}

/// Writes the identity; durable when it returns.
pub(super) async fn save(disk: &impl Disk, identity: Identity) -> Result<(), WalError> {
    let names = disk.list(FOLDER).await.map_err(|e| WalError::io("list", FOLDER, &e))?;
    let write = async {
        if names.iter().any(|name| name == "unfinished") {
            disk.remove(UNFINISHED).await?;
        }
        let file = disk.open(UNFINISHED, OpenMode::Create).await?;
        file.write_at(0, encode(identity).into()).await?;
        file.sync_data().await?;
        disk.rename(UNFINISHED, PATH).await?;
        disk.sync_dir(FOLDER).await
    };
    write.await.map_err(|e| WalError::io("write", PATH, &e))
}

fn encode(identity: Identity) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(&identity.cluster.to_le_bytes());
    bytes.extend_from_slice(&identity.member.0.to_le_bytes());
    let checksum = crc32c::crc32c(&bytes);
    bytes.extend_from_slice(&checksum.to_le_bytes());
    bytes
}

fn decode(bytes: &[u8]) -> Option<Identity> {
    let (content, checksum) = bytes.split_last_chunk::<4>()?;
    let (magic, numbers) = content.split_first_chunk::<8>()?;
    let (cluster, member) = numbers.split_first_chunk::<8>()?;
    let is_whole = *magic == MAGIC && crc32c::crc32c(content) == u32::from_le_bytes(*checksum);
    is_whole.then_some(Identity {
        cluster: u64::from_le_bytes(*cluster),
        member: MemberId(u64::from_le_bytes(member.try_into().ok()?)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_reads_back_and_damage_is_none() {
        let identity = Identity {
            cluster: 7,
            member: MemberId(u64::MAX),
        };
        let bytes = encode(identity);
        assert_eq!((bytes.len(), decode(&bytes)), (FILE_BYTES, Some(identity)));
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 2;
            assert_eq!(decode(&damaged), None, "byte {at}");
            assert_eq!(decode(&bytes[..at]), None, "cut at {at}");
        }
    }
}
