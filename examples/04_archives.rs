//! Archives (CAR): carries a DAG from one repo to another in one file.
//!
//! Run it with `cargo run --example 04_archives`.

use futures::TryStreamExt;
use ipfs_kit::{
    Node,
    content::{AddOptions, ExportOptions},
};
use tokio::{fs::File, io::AsyncWriteExt};
use tokio_util::io::ReaderStream;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let here = Node::builder().repo(folder.path().join("here")).offline().start().await?;
    let there = Node::builder().repo(folder.path().join("there")).offline().start().await?;
    let added = here.content().add_bytes(vec![7; 1_000_000], AddOptions::default()).await?;

    // The archive comes as a stream: memory does not grow with it.
    let car = folder.path().join("million.car");
    let mut file = File::create(&car).await?;
    let mut archive = here.content().export(added.cid, ExportOptions::default());
    while let Some(piece) = archive.try_next().await? {
        file.write_all(&piece).await?;
    }
    file.sync_all().await?;
    println!("exported {} as {} bytes", added.cid, file.metadata().await?.len());

    // Each block is hashed before it is stored; one that is not what it says ends the import.
    let mut import = there.content().import();
    import.archive(ReaderStream::new(File::open(&car).await?)).await?;
    println!("imported {} blocks", import.stats().blocks);
    // Nothing of it is collected until the roots are pinned.
    let (roots, _kept) = import.finish().await?;
    for root in roots {
        there.content().pin_local(&root).await?;
        println!("pinned {root}, of {} bytes", there.content().stat(&root.into()).await?.size);
    }

    here.stop().await;
    there.stop().await;
    Ok(())
}
