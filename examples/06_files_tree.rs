//! The files tree: changes a tree of files as on a disk; every change gives a new root.
//!
//! Run it with `cargo run --example 06_files_tree`.

use futures::{TryStreamExt, stream};
use ipfs_kit::{
    Node,
    content::{
        AddOptions,
        mfs::{CpOptions, DirOptions, FilesPath, WriteOptions},
    },
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let node = Node::builder().repo(folder.path()).offline().start().await?;
    let files = node.content().files();
    let at = FilesPath::parse;

    files.mkdir(&at("/docs/old")?, &DirOptions { parents: true, ..DirOptions::default() }, true).await?;
    let text = stream::iter([Ok(bytes::Bytes::from_static(b"first line\n"))]);
    let create = WriteOptions { create: true, ..WriteOptions::default() };
    files.write(&at("/docs/notes.txt")?, &create, text, true).await?;
    println!("the root is {}", files.root()?);

    // Content that is stored already is linked, not copied.
    let added = node.content().add_bytes("from elsewhere\n", AddOptions::default()).await?;
    files.cp(&format!("/ipfs/{}", added.cid), &at("/docs/linked.txt")?, &CpOptions::default(), true).await?;
    files.mv(&at("/docs/notes.txt")?, &at("/docs/old/notes.txt")?, true).await?;
    println!("the root is {}", files.root()?);

    let entries: Vec<_> = files.ls(&at("/docs")?, true).await?.try_collect().await?;
    for entry in entries {
        println!("  {} {}", entry.kind.as_str(), entry.name);
    }
    let read: Vec<_> = files.read(&at("/docs/old/notes.txt")?, 6, None).await?.try_collect().await?;
    print!("read from byte 6 on: {}", String::from_utf8_lossy(&read.concat()));

    // Without a flush a change is seen at once and made durable by a later one.
    let failed = files.rm(&["/docs/linked.txt".into(), "/docs/none".into()], false, false).await?;
    println!("what could not be removed: {}", failed.join("; "));
    let docs = files.stat("/docs", false).await?;
    println!("/docs is {} now", docs.cid);

    node.stop().await;
    Ok(())
}
