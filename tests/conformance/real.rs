//! The real world: the system's clock, files in a folder of their own, HTTP/2 on loopback. Each member that answers
//! has a runtime of its own, whose end is the end of its process.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpSocket};
use tokio::runtime::{Builder, Runtime};
use tribunal_env::CallError;
use tribunal_history::{Evidence, evidence};
use tribunal_store::consensus::HandlerError;
use tribunal_store::real::{
    AcceptedStream, Answers, AnyDisk, DiskKind, EvidenceFile, GrpcTransport, RealEnv, serve_peers,
};

use crate::other::Script;
use crate::world::{BOUND, DOWN, HERE, THERE, World};

/// A process whose un-synced writes are kept by the system.
pub struct Real(Process);

/// A process whose un-synced writes die with it.
pub struct Volatile(Process);

/// One process, in one life after another, and the one that answers it.
pub struct Process {
    disk: DiskKind,
    folder: TempDir,
    life: Mutex<RealEnv>,
    incarnation: AtomicU32,
    there: SocketAddr,
    down: SocketAddr,
    other: Mutex<Option<Runtime>>,
    script: Script,
}

/// A connection that answers nothing for half of this is dropped. Nothing here is silent for so long.
const ELECTION: Duration = Duration::from_secs(20);

impl Process {
    fn run(disk: DiskKind, act: impl AsyncFnOnce(Self)) {
        let runtime = Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(async {
            let folder = tempfile::tempdir().expect("a folder");
            // Bound and not listening: nobody else can take the address, and who dials it is refused.
            let reserved = TcpSocket::new_v4().expect("a socket");
            reserved.bind(([127, 0, 0, 1], 0).into()).expect("an address");
            let down = reserved.local_addr().expect("an address");
            let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("an address");
            let there = listener.local_addr().expect("an address");
            let life = live(disk, folder.path(), 0, there, down);
            let process = Self {
                disk,
                folder,
                life: Mutex::new(life),
                incarnation: AtomicU32::new(0),
                there,
                down,
                other: Mutex::new(None),
                script: Script::default(),
            };
            process.serve(listener, true);
            act(process).await;
            drop(reserved);
        });
        // Connections are kept up for as long as there is a runtime.
        runtime.shutdown_background();
    }

    fn restart(&self) {
        let incarnation = self.incarnation.fetch_add(1, Ordering::Relaxed) + 1;
        *lock(&self.life) = live(self.disk, self.folder.path(), incarnation, self.there, self.down);
    }

    fn serve(&self, listener: TcpListener, serves_streams: bool) {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let answers = Arc::new(Other {
            script: self.script.clone(),
            serves_streams,
        });
        let listener = listener.into_std().expect("a socket");
        runtime.spawn(async move {
            let listener = TcpListener::from_std(listener).expect("a socket");
            serve_peers(listener, THERE, answers).await
        });
        *lock(&self.other) = Some(runtime);
    }

    fn kill(&self) {
        let runtime = lock(&self.other).take();
        runtime.expect("it lives").shutdown_background();
    }

    async fn start(&self, serves_streams: bool) {
        let deadline = Instant::now() + BOUND;
        // The dead one's socket is closed when its threads have noticed that it is dead.
        let listener = loop {
            match TcpListener::bind(self.there).await {
                Ok(listener) => break listener,
                Err(error) => assert!(Instant::now() < deadline, "{}: {error}", self.there),
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        };
        self.serve(listener, serves_streams);
    }

    fn settled(&self) -> Vec<Evidence> {
        let last = self.incarnation.load(Ordering::Relaxed) - 1;
        let bytes = std::fs::read(evidence_of(self.folder.path(), last)).expect("evidence");
        let stamped = evidence::decode(&bytes[..]).expect("evidence");
        stamped.into_iter().map(|stamped| stamped.evidence).collect()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(runtime) = lock(&self.other).take() {
            runtime.shutdown_background();
        }
    }
}

fn live(disk: DiskKind, folder: &Path, incarnation: u32, there: SocketAddr, down: SocketAddr) -> RealEnv {
    let data = folder.join("data");
    std::fs::create_dir_all(&data).expect("a folder");
    let url = |address: SocketAddr| vec![format!("http://{address}")];
    let peers = [(THERE, url(there)), (DOWN, url(down))];
    let transport = GrpcTransport::start(HERE, incarnation, peers, ELECTION);
    let evidence = EvidenceFile::create(&evidence_of(folder, incarnation)).expect("a file");
    let seed = 20_261_126;
    RealEnv::new(
        AnyDisk::new(disk, data),
        transport,
        Some(evidence),
        Some(seed),
        incarnation,
    )
}

fn evidence_of(folder: &Path, incarnation: u32) -> PathBuf {
    folder.join(format!("evidence-{incarnation}.bin"))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The other member's program, as the server of members takes it.
struct Other {
    script: Script,
    serves_streams: bool,
}

impl Answers for Other {
    async fn call(&self, method: String, body: Bytes) -> Result<Bytes, HandlerError> {
        let answer = self.script.clone().answer(method, body).await;
        answer.map_err(|error| match error {
            CallError::Refused(why) => HandlerError::Refused(why),
            CallError::TimedOut(why) => HandlerError::Failed(why),
        })
    }

    fn accepts(&self, _method: &str) -> bool {
        self.serves_streams
    }

    async fn converse(&self, method: String, stream: AcceptedStream) {
        self.script.clone().converse(method, stream).await;
    }
}

macro_rules! world_of_a_process {
    ($name:ident, $kind:expr) => {
        impl World for $name {
            type Env = RealEnv;

            fn run(act: impl AsyncFnOnce(&Self)) {
                Process::run($kind, async |process| act(&Self(process)).await);
            }

            fn here(&self) -> RealEnv {
                lock(&self.0.life).clone()
            }

            fn restart_here(&self) {
                self.0.restart();
            }

            fn kill_there(&self) {
                self.0.kill();
            }

            async fn start_there(&self, serves_streams: bool) {
                self.0.start(serves_streams).await;
            }

            fn script(&self) -> &Script {
                &self.0.script
            }

            fn settled(&self) -> Vec<Evidence> {
                self.0.settled()
            }
        }
    };
}

world_of_a_process!(Real, DiskKind::Real);
world_of_a_process!(Volatile, DiskKind::Volatile);
