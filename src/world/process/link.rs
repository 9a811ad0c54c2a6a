//! Links between nodes: a proxy in front of each node's peer listener, on which directed links can be cut.
//!
//! A node advertises its link instead of itself, so everything between nodes passes here. For each connection the
//! dialler is identified (`link/dialler.rs`); from then on both directions have a name: what the dialler A sends to the
//! owner B of the link is A→B, what comes back is B→A. That works for any system, whichever side dials.
//!
//! A cut of A→B holds A's bytes, on connections of either dialler: at most one buffer is read, to prove that
//! there is something to hold, and then no more, so that the sender feels the back pressure of a dead link. As a
//! TCP handshake needs both directions, a new connection between the two is accepted and left hanging. At heal
//! each connection on which something was held is reset, so that both sides dial again at once; a stream never
//! goes on with bytes missing. One on which nothing was held goes on as if nothing had been.
//!
//! A connection whose dialler is not identified is held while any link of its node is cut.
//!
//! The proxy has a thread and a runtime of its own, so that a busy harness does not slow the nodes.
//!
//! Left out: bytes that were already in a node's receive buffer when a link is cut are not taken back; delay,
//! loss and reordering.

mod connection;
mod dialler;
mod gate;

use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use tokio::sync::oneshot;
use tribunal_history::NodeId;

use super::procfs::Process;
pub use gate::Blocked;
use gate::{Gates, Route};

/// A directed link: from the first node to the second.
pub type Pair = (NodeId, NodeId);

/// Where the link to a node begins and ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkEnd {
    /// The node behind it.
    pub node: NodeId,
    /// Where its peers find it: the link listens here.
    pub listen: SocketAddr,
    /// Where the node itself listens.
    pub forward: SocketAddr,
}

/// The links of a cluster. When dropped, all connections end.
#[derive(Debug)]
pub struct Links {
    shared: Arc<Shared>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    gates: Gates,
    processes: Mutex<BTreeMap<NodeId, Process>>,
}

impl Shared {
    fn processes(&self) -> MutexGuard<'_, BTreeMap<NodeId, Process>> {
        self.processes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Links {
    /// Listens at each end and begins to forward.
    ///
    /// # Errors
    /// If an address is taken, or there is no thread to be had.
    pub fn new(ends: &[LinkEnd]) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let mut listeners = Vec::with_capacity(ends.len());
        for end in ends {
            let listener = TcpListener::bind(end.listen)?;
            listener.set_nonblocking(true)?;
            let _of_runtime = runtime.enter();
            listeners.push((*end, tokio::net::TcpListener::from_std(listener)?));
        }
        let shared = Arc::new(Shared {
            gates: Gates::default(),
            processes: Mutex::default(),
        });
        let (stop, stopped) = oneshot::channel::<()>();
        let of_thread = Arc::clone(&shared);
        let thread = thread::Builder::new()
            .name("tribunal-links".to_owned())
            .spawn(move || {
                runtime.block_on(async {
                    let (desk, questions) = dialler::Desk::new();
                    tokio::spawn(dialler::answer(Arc::clone(&of_thread), questions));
                    for (end, listener) in listeners {
                        tokio::spawn(connection::serve(Arc::clone(&of_thread), desk.clone(), end, listener));
                    }
                    // Told to stop, or whoever could tell is gone.
                    let _ = stopped.await;
                });
                // Dropping the runtime drops its tasks, and they their sockets.
            })?;
        Ok(Self {
            shared,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// Says which process a node is now, or that it is none.
    pub fn set_process(&self, node: NodeId, process: Option<Process>) {
        match process {
            Some(process) => self.shared.processes().insert(node, process),
            None => self.shared.processes().remove(&node),
        };
    }

    /// Cuts these directed links; those that are cut already stay so, and keep their counts.
    pub fn cut(&self, links: &[Pair]) {
        self.shared.gates.cut(links);
    }

    /// Heals these directed links.
    pub fn heal(&self, links: &[Pair]) {
        self.shared.gates.heal(links);
    }

    /// Heals every link.
    pub fn heal_all(&self) {
        self.shared.gates.heal_all();
    }

    /// What a cut link has held back since it was cut; after its heal, what it had until then.
    pub fn blocked(&self, from: NodeId, to: NodeId) -> Blocked {
        self.shared.gates.blocked(Route::Link((from, to)))
    }

    /// What was held back, since the links began, of connections to a node whose dialler is unknown. It proves
    /// nothing of any one link.
    pub fn blocked_unidentified(&self, node: NodeId) -> Blocked {
        self.shared.gates.blocked(Route::Unknown(node))
    }
}

impl Drop for Links {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // It ends at its next turn: none of its tasks blocks. Its panic was printed and is not ours to repeat.
            let _ = thread.join();
        }
    }
}
