//! How fast bytes move between two nodes over one raw stream of `net`: the ceiling for any fetch on this machine.
//!
//! `raw_stream serve` prints its addresses, TCP first, and sends what it is asked for; `raw_stream pull ADDRESS BYTES` takes that
//! many bytes in pieces of 256 KiB and prints bytes per second. Two processes, as two nodes are. Driven by `benches/fetch.sh`.
#![allow(clippy::disallowed_methods)]

use std::{error::Error, sync::Arc, time::Instant};

use futures::{AsyncReadExt, AsyncWriteExt};
use ipfs_kit::{
    base::{Keypair, Multiaddr, Tasks},
    net::{Class, MemoryDhtStore, Net, NetOptions},
};

type Fail = Box<dyn Error + Send + Sync>;

const PROTOCOL: &str = "/ipfs-kit/bench-raw/1.0.0";
const PIECE_BYTES: usize = 256 * 1024;

#[tokio::main]
async fn main() -> Result<(), Fail> {
    let arguments: Vec<String> = std::env::args().collect();
    let tasks = Tasks::new();
    let mut options = NetOptions::new(Keypair::generate_ed25519());
    options.listen.push("/ip4/127.0.0.1/udp/0/quic-v1".parse()?);
    let net = Net::start(options, Arc::new(MemoryDhtStore::default()), &tasks).await?;
    match arguments.get(1).map(String::as_str) {
        Some("serve") => serve(net).await,
        Some("pull") if arguments.len() == 4 => {
            // As the services of a node do: the main thread is no worker of the runtime, so every wake-up of it costs more.
            tokio::spawn(pull(net, arguments[2].parse()?, arguments[3].parse()?)).await?
        }
        _ => Err("usage: raw_stream serve | raw_stream pull ADDRESS BYTES".into()),
    }
}

async fn serve(net: Net) -> Result<(), Fail> {
    let mut asked = net.streams().accept(&[PROTOCOL], Class::Bulk, 16);
    let mut addresses: Vec<String> = net.peers().listen_addrs().iter().map(ToString::to_string).collect();
    addresses.sort_by_key(|address| !address.contains("/tcp/"));
    for address in addresses {
        println!("{address}/p2p/{}", net.local_peer());
    }
    while let Some(mut inbound) = asked.recv().await {
        tokio::spawn(async move {
            let mut length = [0; 8];
            if inbound.stream.read_exact(&mut length).await.is_err() {
                return;
            }
            let piece = vec![7; PIECE_BYTES];
            let mut left = usize::try_from(u64::from_be_bytes(length)).unwrap_or(0);
            while left > 0 {
                let part = left.min(PIECE_BYTES);
                if inbound.stream.write_all(&piece[..part]).await.is_err() {
                    return;
                }
                left -= part;
            }
            let _ = inbound.stream.close().await;
        });
    }
    Ok(())
}

async fn pull(net: Net, address: Multiaddr, bytes: u64) -> Result<(), Fail> {
    let peer = net.peers().connect(address).await?;
    // Once to warm up, then the measured one.
    for measured in [false, true] {
        let (_, mut stream) = net.streams().open(peer, &[PROTOCOL], Class::Bulk).await?;
        let wanted = if measured { bytes } else { bytes / 8 };
        let begin = Instant::now();
        stream.write_all(&wanted.to_be_bytes()).await?;
        stream.flush().await?;
        let mut piece = vec![0; PIECE_BYTES];
        let mut left = usize::try_from(wanted)?;
        while left > 0 {
            let part = left.min(PIECE_BYTES);
            stream.read_exact(&mut piece[..part]).await?;
            left -= part;
        }
        if measured {
            println!("{:.0}", wanted as f64 / begin.elapsed().as_secs_f64());
        }
    }
    Ok(())
}
