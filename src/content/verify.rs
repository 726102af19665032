//! Whether everything in the repo is what was written; what cannot be read is named, dropped or fetched again.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures::Stream;

use super::{
    Content, ContentError,
    source::{Sender, driven, empty_dir, gone},
};
use crate::{
    base::Cid,
    store::{Damage, Fault},
};

/// How often is told how far it is.
const TICK: Duration = Duration::from_millis(500);

/// What becomes of damaged blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mend {
    /// They stay where they are, and count as missing until the next start.
    Nothing,
    /// They are removed.
    Drop,
    /// They are removed and fetched from the network, each for so long at most.
    Heal(Duration),
}

/// What a check has come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verified {
    /// So many blocks were hashed.
    Blocks(u64),
    /// Something is not what was written.
    Fault(Box<Fault>),
}

impl Content {
    /// Hashes every block and checks every other file of the repo, but those of the cluster. The last count comes at the
    /// end.
    pub fn verify(&self, mend: Mend) -> impl Stream<Item = Result<Verified, ContentError>> + Send + Unpin + 'static {
        let content = self.clone();
        driven(64, move |sender| async move {
            let repo = content.repo.clone();
            let files = tokio::task::spawn_blocking(move || repo.check_files());
            for fault in files.await.map_err(ContentError::joined)?? {
                sender.send(Ok(Verified::Fault(Box::new(fault)))).await.map_err(gone)?;
            }
            let counted = Arc::new(AtomicU64::new(0));
            let blocks = content.repo.blocks().clone();
            let mut hashing = std::pin::pin!(blocks.verify_counted(Arc::clone(&counted)));
            let mut ticks = tokio::time::interval(TICK);
            let report = loop {
                tokio::select! {
                    report = &mut hashing => break report?,
                    _ = ticks.tick() => {
                        let so_far = Verified::Blocks(counted.load(Ordering::Relaxed));
                        sender.send(Ok(so_far)).await.map_err(gone)?;
                    }
                }
            };
            let damaged = report.damaged.len() as u64;
            for damage in report.damaged {
                let fault = content.mend(damage, mend).await?;
                sender.send(Ok(Verified::Fault(Box::new(fault)))).await.map_err(gone)?;
            }
            content.check_roots(&sender).await?;
            sender.send(Ok(Verified::Blocks(report.blocks + damaged))).await.map_err(gone)
        })
    }

    async fn mend(&self, damage: Damage, mend: Mend) -> Result<Fault, ContentError> {
        let Damage { segment, offset, cid, mut reason } = damage;
        let mut mended = false;
        if let Some(cid) = cid.filter(|_| mend != Mend::Nothing) {
            let blocks = self.repo.blocks();
            blocks.forget(vec![cid]).await?;
            blocks.sync().await?;
            reason.push_str(", removed");
            mended = mend == Mend::Drop;
            if let Mend::Heal(limit) = mend {
                match self.with_timeout(limit).block_get(&cid).await {
                    Ok(_) => reason.push_str(", healed"),
                    Err(error) => reason.push_str(&format!(", failed to heal ({error})")),
                }
                mended = blocks.has(&cid).await?;
                blocks.sync().await?;
            }
        }
        Ok(Fault { file: format!("blocks/{segment:08}.seg"), offset: Some(offset), cid, reason, mended })
    }

    /// Whether the roots of all that is kept are here.
    async fn check_roots(&self, sender: &Sender<Verified>) -> Result<(), ContentError> {
        let missing = async |cid: Cid, why: &str| {
            let here = cid == *empty_dir().cid() || self.repo.blocks().has(&cid).await?;
            let what = format!("{cid} {why} and is missing; fetch it by 'ipfs-kit pin add', or let go of it");
            let fault = Fault { cid: Some(cid), ..Fault::of("repo.redb", what) };
            if here { Ok(()) } else { sender.send(Ok(Verified::Fault(Box::new(fault)))).await.map_err(gone) }
        };
        let mut after = None;
        // Rows that cannot be read were named before.
        while let Ok(page) = self.page(after.as_ref()).await
            && let Some(last) = page.last()
        {
            after = Some(last.cid);
            for pin in &page {
                missing(pin.cid, "is pinned").await?;
            }
        }
        for (owner, cid) in self.repo.pins().holds("").unwrap_or_default() {
            missing(cid, &format!("is held by {owner}")).await?;
        }
        if let Ok(Some(root)) = self.repo.files_root() {
            missing(root, "is the root of the files tree").await?;
        }
        Ok(())
    }
}
