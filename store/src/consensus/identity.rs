//! Ids of members and clusters: 64-bit hashes of what they are configured with, as in etcd, so that all members
//! compute the same ones and none is 1, 2 or 3.

use tribunal_history::MemberId;
use xxhash_rust::xxh3::xxh3_64;

/// A member as the initial cluster names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its name.
    pub name: String,
    /// Where other members reach it.
    pub peer_urls: Vec<String>,
}

/// Who a member is, for as long as it is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The cluster.
    pub cluster: u64,
    /// The member.
    pub member: MemberId,
}

impl Identity {
    /// The identity of the member at `place` of an initial cluster.
    ///
    /// # Panics
    /// If there is no such place.
    pub fn of_founder(peers: &[Peer], place: usize, token: &str) -> Self {
        Self {
            cluster: cluster_id(peers, token),
            member: member_id(&peers[place], token),
        }
    }
}

/// The id of a member: a hash of its name, its peer URLs and the cluster's token.
pub fn member_id(peer: &Peer, token: &str) -> MemberId {
    let mut urls = peer.peer_urls.clone();
    urls.sort();
    MemberId(hash(&[peer.name.as_str(), &urls.join(","), token]))
}

/// The id of a member that joins: a hash of its peer URLs, the cluster's token, and the term and index of the entry
/// whose membership it was added to. A number tells attempts apart if an id is taken.
pub(super) fn joined_id(peer_urls: &[String], token: &str, entry: (u64, u64), attempt: u64) -> MemberId {
    let mut urls = peer_urls.to_vec();
    urls.sort();
    let place = format!("{}-{}-{attempt}", entry.0, entry.1);
    MemberId(hash(&["joined", &urls.join(","), token, &place]))
}

/// The id of a cluster: a hash of its members' ids and its token.
pub fn cluster_id(peers: &[Peer], token: &str) -> u64 {
    let mut members: Vec<_> = peers.iter().map(|peer| member_id(peer, token).to_string()).collect();
    members.sort();
    hash(&[&members.join(","), token])
}

/// Zero means "none" in etcd's API and is avoided.
fn hash(parts: &[&str]) -> u64 {
    xxh3_64(parts.join("\0").as_bytes()).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(name: &str) -> Peer {
        Peer {
            name: name.to_owned(),
            peer_urls: vec![format!("http://127.0.0.1:1/{name}"), "http://127.0.0.1:2".to_owned()],
        }
    }

    #[test]
    fn ids_depend_on_the_configuration_and_not_on_its_order() {
        let mut turned = peer("a");
        turned.peer_urls.reverse();
        assert_eq!(member_id(&peer("a"), "t"), member_id(&turned, "t"));
        assert_ne!(member_id(&peer("a"), "t"), member_id(&peer("b"), "t"));
        assert_ne!(member_id(&peer("a"), "t"), member_id(&peer("a"), "u"));
        assert_eq!(
            cluster_id(&[peer("a"), peer("b")], "t"),
            cluster_id(&[peer("b"), peer("a")], "t")
        );
    }

    #[test]
    fn who_joins_again_has_another_id() {
        let urls = peer("a").peer_urls;
        let first = joined_id(&urls, "t", (1, 7), 0);
        assert_eq!(first, joined_id(&urls, "t", (1, 7), 0));
        for other in [
            joined_id(&urls, "t", (1, 8), 0),
            joined_id(&urls, "t", (2, 7), 0),
            joined_id(&urls, "t", (1, 7), 1),
        ] {
            assert_ne!(first, other);
        }
    }
}
