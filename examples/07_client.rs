//! The typed client: serves a node over HTTP inside this program and talks to it as to any daemon.
//!
//! Run it with `cargo run --example 07_client`. Against a daemon that runs, `Client::connect("127.0.0.1:5001")` is all.

use std::time::Duration;

use ipfs_kit::{
    Client, Node,
    http::{
        self,
        client::{AddOptions, PinQuery},
        model::PinLine,
    },
};
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let node = Node::builder().repo(folder.path().join("repo")).offline().start().await?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    http::serve(listener, http::router(node.clone()), node.tasks());

    let client = Client::connect(&address.to_string())?.with_timeout(Some(Duration::from_secs(30)));
    println!("it calls itself {}", client.id().await?.agent_version);

    let tree = folder.path().join("tree");
    std::fs::create_dir(&tree)?;
    std::fs::write(tree.join("a.txt"), "alpha\n")?;
    std::fs::write(tree.join("b.txt"), "beta\n")?;
    let mut options = AddOptions { pin_name: Some("letters".into()), ..AddOptions::default() };
    options.walk.recursive = true;
    let added = client.add(&tree, &options, |_| ()).await?;
    println!("added {} of {} bytes as {}", added.name, added.size, added.cid);

    let mut listing = client.ls(std::slice::from_ref(&added.cid), true).await?;
    while let Some((_, link)) = listing.next().await? {
        println!("  {} of {} bytes", link.name, link.size);
    }
    let bytes = client.cat(&format!("{}/b.txt", added.cid), 0, Some(4)).await?.bytes().await?;
    println!("the first four bytes of b.txt: {}", String::from_utf8_lossy(&bytes));

    let query = PinQuery { kind: "recursive".into(), names: true, ..PinQuery::default() };
    let mut pins = client.pins(&query).await?;
    while let Some(pin) = pins.next::<PinLine>().await? {
        println!("pinned as {}: {}", pin.name, pin.cid == added.cid);
    }

    // Errors have a kind and say what to do.
    match client.cat(&format!("{}/none", added.cid), 0, None).await {
        Ok(_) => println!("it is there?"),
        Err(error) => println!("refused: {error}"),
    }

    node.stop().await;
    Ok(())
}
