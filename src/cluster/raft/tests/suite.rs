//! openraft's own storage tests over our log and state.

use openraft::{
    StorageError,
    testing::log::{StoreBuilder, Suite},
};
use tempfile::TempDir;
use tokio::sync::broadcast;

use crate::cluster::raft::{log::LogStore, machine::Machine, start::Disk, types::TypeConfig};

struct Builder;

impl StoreBuilder<TypeConfig, LogStore, Machine, TempDir> for Builder {
    async fn build(&self) -> Result<(TempDir, LogStore, Machine), StorageError<TypeConfig>> {
        let dir = tempfile::tempdir().unwrap();
        let Disk { folder, wal: (wal, recovered), kv, .. } = super::disk_at(dir.path(), [0; 16]);
        let log = LogStore::open(wal, recovered).await.unwrap();
        let machine = Machine::open(kv, &folder.join("snapshots"), broadcast::channel(16).0).unwrap();
        Ok((dir, log, machine))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn openrafts_storage_suite_passes() {
    Suite::test_all(Builder).await.unwrap();
}
