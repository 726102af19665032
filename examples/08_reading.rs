//! Reading: a file as a stream, a range of it, and as something that reads and seeks; and whether it is there at all.
//!
//! Run it with `cargo run --example 08_reading`.

use std::{io::SeekFrom, time::Duration};

use futures::TryStreamExt;
use ipfs_kit::{Cid, Node, content::AddOptions};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncSeekExt, BufReader};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let node = Node::builder().repo(folder.path()).offline().start().await?;
    // Calls on this handle wait this long for any one block.
    let content = node.content().with_timeout(Duration::from_secs(10));

    let lines: String = (1..=100_000).map(|i| format!("line {i}\n")).collect();
    let added = content.add_bytes(lines, AddOptions::default()).await?;
    println!("the file has {} bytes in {} blocks", added.size, added.blocks);

    // As a stream: blocks are fetched ahead and verified, and come in order.
    let pieces = content.cat(added.cid, None);
    let count = pieces.try_fold(0, |sum, piece| std::future::ready(Ok(sum + piece.len()))).await?;
    println!("read {count} bytes as a stream");

    // A range: only the blocks it lies in are read.
    let range: Vec<_> = content.cat(added.cid, Some(0..7)).try_collect().await?;
    println!("the first seven: {:?}", String::from_utf8_lossy(&range.concat()));

    // As a file: anything that takes AsyncRead and AsyncSeek works on it.
    let mut file = content.open(added.cid).await?;
    file.seek(SeekFrom::End(-12)).await?;
    let mut end = String::new();
    file.read_to_string(&mut end).await?;
    println!("the end: {end:?}");
    file.seek(SeekFrom::Start(692_883)).await?;
    let mut next = BufReader::new(file).lines();
    println!("from the middle on: {:?}", next.next_line().await?);

    let absent: Cid = "QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPbdG".parse()?;
    println!("it is here: {}; another is: {}", content.exists(added.cid).await?, content.exists(absent).await?);

    node.stop().await;
    Ok(())
}
