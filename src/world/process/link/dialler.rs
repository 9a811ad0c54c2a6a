//! Who dialled: the node whose process holds the other end of a connection.
//!
//! `/proc/net/tcp` has the inode of the socket at the dialler's address and port, `/proc/PID/fd` says which
//! process holds it. This needs no word from the system under test (etcd names itself on some of its connections
//! only).
//!
//! A look at these tables takes as long as there are sockets on the machine, some milliseconds to some tens of them, and
//! nodes that find nobody dial again many times a second. So one look answers all who wait for it, and it is made beside
//! the thread that forwards. One look for each connection would be too slow for five nodes: diallers give up before they
//! are let through and dial again, and nobody ever gets through.
//!
//! Left out: a child that lets processes of its own dial is not recognised by them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};
use tribunal_history::NodeId;

use super::Shared;
use crate::world::process::procfs::{Process, socket_inodes};

/// The two ends of a connection: the dialler's, and the one that was dialled.
pub(super) type Ends = (SocketAddr, SocketAddr);

/// Somebody wants to know who dialled.
#[derive(Debug)]
pub(super) struct Question {
    ends: Ends,
    answer: oneshot::Sender<Option<NodeId>>,
}

/// Where questions are asked.
#[derive(Clone, Debug)]
pub(super) struct Desk(mpsc::UnboundedSender<Question>);

impl Desk {
    /// One at which nobody sits yet, and what is asked there.
    pub(super) fn new() -> (Self, mpsc::UnboundedReceiver<Question>) {
        let (asked, questions) = mpsc::unbounded_channel();
        (Self(asked), questions)
    }

    /// The node that dialled; none if no node's process holds that socket (any more).
    pub(super) async fn identify(&self, ends: Ends) -> Option<NodeId> {
        let (answer, answered) = oneshot::channel();
        self.0.send(Question { ends, answer }).ok()?;
        answered.await.ok().flatten()
    }
}

/// Answers questions for ever, all that have come by then at a time.
pub(super) async fn answer(shared: Arc<Shared>, mut questions: mpsc::UnboundedReceiver<Question>) {
    let mut asked = Vec::new();
    while questions.recv_many(&mut asked, usize::MAX).await > 0 {
        let ends: BTreeSet<Ends> = asked.iter().map(|question| question.ends).collect();
        let of_look = Arc::clone(&shared);
        let look = tokio::task::spawn_blocking(move || {
            let processes = of_look.processes().clone();
            diallers(&ends, &processes)
        });
        // A look that panicked knows nobody.
        let found = look.await.unwrap_or_default();
        for Question { ends, answer } in asked.drain(..) {
            // Whoever asked may be gone.
            let _ = answer.send(found.get(&ends).copied());
        }
    }
}

/// The nodes that dialled these connections, as far as they are known.
fn diallers(ends: &BTreeSet<Ends>, processes: &BTreeMap<NodeId, Process>) -> BTreeMap<Ends, NodeId> {
    let inodes = socket_inodes(ends);
    let mut holders = BTreeMap::new();
    for (node, process) in processes {
        let sockets = process.sockets();
        if process.is_current() {
            holders.extend(sockets.into_iter().map(|inode| (inode, *node)));
        }
    }
    let holder = |(ends, inode): (Ends, u64)| holders.get(&inode).map(|node| (ends, *node));
    inodes.into_iter().filter_map(holder).collect()
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;
    use crate::world::process::link::Gates;

    /// Goal: all who ask at once are answered, those whose dialler is unknown too. Method: connections of this process,
    /// which passes for a node, to itself.
    #[tokio::test]
    async fn all_who_ask_at_once_are_answered() {
        let own = Process::with_pid(std::process::id()).expect("we run");
        let shared = Arc::new(Shared {
            gates: Gates::default(),
            processes: std::sync::Mutex::new(BTreeMap::from([(NodeId(7), own)])),
        });
        let (desk, questions) = Desk::new();
        tokio::spawn(answer(shared, questions));

        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let to = listener.local_addr().expect("bound");
        let streams: Vec<TcpStream> = (0..40).map(|_| TcpStream::connect(to).expect("it listens")).collect();
        let ask = |source| {
            let desk = desk.clone();
            tokio::spawn(async move { desk.identify((source, to)).await })
        };
        let sources = streams.iter().map(|stream| stream.local_addr().expect("connected"));
        let asked: Vec<_> = sources.map(ask).collect();
        let nobody = ask("127.0.0.1:1".parse().expect("an address"));
        for answered in asked {
            assert_eq!(answered.await.expect("no panic"), Some(NodeId(7)));
        }
        assert_eq!(nobody.await.expect("no panic"), None);
    }
}
