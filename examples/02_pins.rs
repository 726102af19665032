//! Pins: what is kept and what may go, by name and kind.
//!
//! Run it with `cargo run --example 02_pins`.

use ipfs_kit::{
    Node,
    content::{AddOptions, PinFilter},
    store::PinKind,
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let node = Node::builder().repo(folder.path()).offline().start().await?;
    let content = node.content();

    // Adding pins what is added, unless told otherwise.
    let named = AddOptions { pin_name: Some("notes".into()), ..AddOptions::default() };
    let notes = content.add_bytes("keep me\n", named).await?.cid;
    let loose = AddOptions { pin: false, ..AddOptions::default() };
    let draft = content.add_bytes("only for now\n", loose).await?.cid;
    println!("the draft is pinned: {}", content.pinned(&draft)?.is_some());

    content.pin(&draft, PinKind::Direct, None).await?;
    for pin in content.list_pins(PinFilter::Roots).await? {
        println!("{} pin {} named {}", pin.kind.as_str(), pin.cid, pin.name.as_deref().unwrap_or("nothing"));
    }

    // A newer version takes the pin over; what both have in common is not walked again.
    let newer = content.add_bytes("keep me, revised\n", AddOptions { pin: false, ..AddOptions::default() }).await?.cid;
    content.update_pin(&notes, &newer, true).await?;
    println!("after the update the old one is pinned: {}", content.pinned(&notes)?.is_some());

    content.unpin(&draft, None).await?;
    match content.unpin(&draft, None).await {
        Ok(()) => println!("it was pinned twice?"),
        Err(error) => println!("unpinning again: {error}"),
    }
    println!("{} pin is left", content.list_pins(PinFilter::Roots).await?.len());

    node.stop().await;
    Ok(())
}
