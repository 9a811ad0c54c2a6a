//! openraft's own conformance suite for logs and state machines, on ours.

mod support;

use openraft::StorageError;
use openraft::testing::log::{StoreBuilder, Suite};
use openraft_rt_tokio::TokioRuntime;
use support::MemoryEnv;
use tribunal_env::AsyncRuntime as _;
use tribunal_store::consensus::{LogStore, Machine, Types};
use tribunal_store::wal::{Settings, SnapshotStore, Wal};

type T = Types<MemoryEnv>;

struct Builder;

impl StoreBuilder<T, LogStore<MemoryEnv>, Machine<MemoryEnv>> for Builder {
    async fn build(&self) -> Result<((), LogStore<MemoryEnv>, Machine<MemoryEnv>), StorageError<T>> {
        let env = MemoryEnv::default();
        let settings = Settings {
            segment_bytes: 4096,
            ..Settings::default()
        };
        let (wal, image) = Wal::open(&env, settings).await.expect("an empty disk opens");
        let log = LogStore::new(env.clone(), wal, image).expect("an empty log");
        let snapshots = SnapshotStore::open(&env).await.expect("an empty disk opens");
        let machine = Machine::new(env, log.clone(), snapshots);
        Ok(((), log, machine))
    }
}

#[test]
fn openrafts_suite_passes() {
    TokioRuntime::new(2)
        .block_on(Suite::test_all(Builder))
        .expect("the suite passes");
}
