//! Values: stores JSON as DAG-CBOR, links one value from another, and reads along a path through both.
//!
//! Run it with `cargo run --example 05_values`.

use futures::TryStreamExt;
use ipfs_kit::{
    Node,
    base::{Codec, Hash},
    dag::DagPath,
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let node = Node::builder().repo(folder.path()).offline().start().await?;
    let content = node.content();

    let author = br#"{"name": "Ada", "born": 1815}"#.to_vec();
    let put = async |json: Vec<u8>| {
        let cids = content.dag_put(vec![json], Codec::DagJson, Codec::DagCbor, Hash::Sha2_256, true).await?;
        Ok::<_, Box<dyn std::error::Error>>(cids[0])
    };
    let author = put(author).await?;
    println!("the author is {author}");

    // A link is written as {"/": CID}, as in DAG-JSON.
    let note = put(format!(r#"{{"title": "On engines", "authors": [{{"/": "{author}"}}]}}"#).into_bytes()).await?;
    println!("the note is {note}");

    let path: DagPath = format!("{note}/authors/0/name").parse()?;
    let name = content.dag_get(&path, Codec::DagJson).await?;
    println!("its first author is {}", String::from_utf8_lossy(&name));

    let end = content.resolve_path(&path).await?;
    println!("the path ends in {}, at {}", end.cid, end.rest.join("/"));

    let stats: Vec<_> = content.dag_stat(vec![note]).try_collect().await?;
    if let Some(all) = stats.last() {
        println!("{} blocks of {} bytes in all", all.unique_blocks, all.unique_bytes);
    }

    node.stop().await;
    Ok(())
}
