//! Addresses for the nodes of one run: a random block `127.a.b.0/24` with fixed ports.
//!
//! All of `127.0.0.0/8` is this machine, so each run takes a block of its own and node k has `127.a.b.k` for
//! itself. Ports are fixed and below the range that the kernel hands out to outgoing connections; a free port
//! from that range could be taken by anybody while its node is down. The block is drawn from the system's
//! randomness and not from the seed, since two runs with the same seed may go on at once. It is claimed by a
//! listener that lives as long as the run.

use std::io::{self, Read};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use tribunal_history::NodeId;

use super::error::WorldError;

/// Most nodes of a cluster: the last byte of an address is k for a node and 100 + k for its link.
pub const NODES_MAX: u16 = 99;

/// Last byte of the address that claims a block.
const CLAIM: u8 = 254;

/// Ports for clients; the one for peers follows it. etcd's own first; the others for a machine on which
/// something listens on all addresses at that port.
const CLIENT_PORTS: [u16; 3] = [2379, 12379, 22379];

/// How many blocks are tried for each port. Two runs draw the same block in 1 of 64,770 cases.
const BLOCKS_MAX: usize = 8;

/// A claimed block of addresses.
#[derive(Debug)]
pub struct Addresses {
    block: [u8; 2],
    client_port: u16,
    _claim: TcpListener,
}

impl Addresses {
    /// Finds a block in which `nodes` nodes and their links can listen, and claims it.
    ///
    /// # Errors
    /// If there is none: most likely a program listens on the port at all addresses.
    pub fn claim(nodes: u16) -> Result<Self, WorldError> {
        if nodes == 0 || nodes > NODES_MAX {
            return Err(WorldError::NodeCount {
                asked: nodes,
                max: NODES_MAX,
            });
        }
        let mut last = io::Error::from(io::ErrorKind::AddrInUse);
        for client_port in CLIENT_PORTS {
            for _ in 0..BLOCKS_MAX {
                match random_block().and_then(|block| Self::claim_block(block, client_port, nodes)) {
                    Ok(addresses) => return Ok(addresses),
                    Err(error) => last = error,
                }
            }
        }
        let ports = CLIENT_PORTS.map(|port| format!("{port} or {}", port + 1)).join(", ");
        Err(WorldError::NoAddresses { ports, last })
    }

    fn claim_block(block: [u8; 2], client_port: u16, nodes: u16) -> io::Result<Self> {
        let address = |last| Ipv4Addr::new(127, block[0], block[1], last);
        let claim = TcpListener::bind((address(CLAIM), client_port))?;
        let addresses = Self {
            block,
            client_port,
            _claim: claim,
        };
        for node in (1..=nodes).map(NodeId) {
            TcpListener::bind(addresses.client(node))?;
            TcpListener::bind(addresses.peer(node))?;
            TcpListener::bind(addresses.link(node))?;
        }
        Ok(addresses)
    }

    /// Where a node serves clients.
    pub fn client(&self, node: NodeId) -> SocketAddr {
        self.address(node.0, self.client_port)
    }

    /// Where a node listens for its peers, or rather for its link.
    pub fn peer(&self, node: NodeId) -> SocketAddr {
        self.address(node.0, self.client_port + 1)
    }

    /// Where a node's peers are told to find it: its link listens there.
    pub fn link(&self, node: NodeId) -> SocketAddr {
        self.address(100 + node.0, self.client_port + 1)
    }

    fn address(&self, last: u16, port: u16) -> SocketAddr {
        let last = u8::try_from(last).expect("a node's number is at most NODES_MAX");
        SocketAddr::from(([127, self.block[0], self.block[1], last], port))
    }
}

/// A block that is neither `127.0.x`, where others live, nor at an edge.
fn random_block() -> io::Result<[u8; 2]> {
    let mut bytes = [0; 2];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok([1 + bytes[0] % 254, bytes[1]])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claimed_block_cannot_be_claimed_again() {
        let first = Addresses::claim(3).expect("this machine has free loopback addresses");
        let again = Addresses::claim_block(first.block, first.client_port, 3);
        assert_eq!(again.err().map(|error| error.kind()), Some(io::ErrorKind::AddrInUse));
    }

    #[test]
    fn a_block_with_a_taken_port_is_left_alone() {
        let first = Addresses::claim(3).expect("this machine has free loopback addresses");
        let (block, port, n2) = (first.block, first.client_port, first.client(NodeId(2)));
        drop(first);
        let _other = TcpListener::bind(n2).expect("it was free a moment ago");
        assert!(Addresses::claim_block(block, port, 3).is_err());
        assert!(
            Addresses::claim_block(block, port, 1).is_ok(),
            "n1 alone does not need it"
        );
    }

    #[test]
    fn every_node_has_addresses_of_its_own() {
        let addresses = Addresses::claim(NODES_MAX).expect("this machine has free loopback addresses");
        let all: std::collections::BTreeSet<_> = (1..=NODES_MAX)
            .map(NodeId)
            .flat_map(|node| [addresses.client(node), addresses.peer(node), addresses.link(node)])
            .collect();
        assert_eq!(all.len(), 3 * usize::from(NODES_MAX));
    }

    #[test]
    fn a_cluster_has_at_least_one_node_and_not_too_many() {
        for asked in [0, NODES_MAX + 1] {
            let error = Addresses::claim(asked).expect_err("refused");
            assert!(matches!(error, WorldError::NodeCount { asked: a, .. } if a == asked));
        }
    }
}
