//! Starts a node inside this program, adds a text, and reads it back by its CID.
//!
//! Run it with `cargo run --example 01_add_and_cat`.

use ipfs_kit::{Client, Node, content::AddOptions};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let node = Node::builder().repo(folder.path()).swarm(vec!["/ip4/127.0.0.1/tcp/0".parse()?]).start().await?;
    println!("this node is {}", node.peer_id());
    for address in node.swarm_addresses() {
        println!("it listens on {address}");
    }

    let added = node.content().add_bytes("hello from inside a program\n", AddOptions::default()).await?;
    println!("added {} ({} bytes in {} block)", added.cid, added.size, added.blocks);

    let text = node.content().cat_all(added.cid, 1024).await?;
    print!("read back: {}", String::from_utf8_lossy(&text));

    // The same node through the calls that also work over HTTP.
    let client = Client::in_process(node.clone());
    println!("its version is {}", client.version().await?.version);

    node.stop().await;
    Ok(())
}
