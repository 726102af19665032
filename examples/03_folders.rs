//! Folders: adds one from disk and one that never was on a disk, lists them, and writes one out again.
//!
//! Run it with `cargo run --example 03_folders`.

use futures::{TryStreamExt, stream};
use ipfs_kit::{
    Node,
    content::{AddOptions, LsOptions},
    dag::{DagPath, unixfs::Attributes},
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let node = Node::builder().repo(folder.path().join("repo")).offline().start().await?;
    let content = node.content();

    let photos = folder.path().join("photos");
    std::fs::create_dir_all(photos.join("2024"))?;
    std::fs::write(photos.join("2024/beach.txt"), "sand\n")?;
    std::fs::write(photos.join("index.txt"), "one photo\n")?;
    let added = content.add_path(&photos, true, AddOptions::default()).await?;
    println!("added {} of {} bytes as {}", added.path, added.size, added.cid);

    // All entries at once, sorted by name.
    for entry in content.ls(&added.cid.into()).await? {
        println!("  {} {} of {} bytes", entry.kind.as_str(), entry.name, entry.size);
    }

    // A folder whose files come from anywhere; a big one is listed as it comes, without holding its entries.
    let mut tree = content.add_tree(AddOptions::default())?;
    for i in 0..2000 {
        let name = format!("many/number-{i:04}-{}", "x".repeat(100));
        let bytes = stream::iter([Ok(bytes::Bytes::from(i.to_string()))]);
        tree.file(name.as_bytes(), Attributes::default(), bytes).await?;
    }
    let many = tree.finish().await?.remove(0);
    let listed = content.ls_stream(many.cid, LsOptions::default());
    let total = listed.try_fold(0, |sum, entry| std::future::ready(Ok(sum + entry.size))).await?;
    println!("{} has files of {total} bytes in all", many.path);

    let out = folder.path().join("out");
    let path: DagPath = format!("/ipfs/{}/2024", added.cid).parse()?;
    let written = content.get_to(&path, &out).await?;
    print!("wrote {} file: {}", written.files, std::fs::read_to_string(out.join("beach.txt"))?);

    node.stop().await;
    Ok(())
}
