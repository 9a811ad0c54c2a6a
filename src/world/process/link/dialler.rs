//! Who dialled: the node whose process holds the other end of a connection.
//!
//! `/proc/net/tcp` has the inode of the socket at the dialler's address and port, `/proc/PID/fd` says which
//! process holds it. This needs no word from the system under test (etcd names itself on some of its connections
//! only) and takes about a millisecond, once per connection.
//!
//! Left out: a child that lets processes of its own dial is not recognised by them.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use tribunal_history::NodeId;

use crate::world::process::procfs::{Process, socket_inode};

/// The node that dialled from `source` to `destination`; none if no node's process holds that socket (any more).
pub(super) fn identify(
    source: SocketAddr,
    destination: SocketAddr,
    processes: &BTreeMap<NodeId, Process>,
) -> Option<NodeId> {
    let inode = socket_inode(source, destination)?;
    processes
        .iter()
        .find(|(_, process)| process.holds_socket(inode) && process.is_current())
        .map(|(node, _)| *node)
}
