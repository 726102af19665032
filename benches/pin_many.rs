//! Pins CIDs one after another over one connection to any node that speaks Kubo's RPC.
//!
//! `pin_many HOST:PORT` reads CIDs from standard input, a line each, and prints the seconds until the last one was
//! answered. Driven by `benches/content.sh`.
#![allow(clippy::disallowed_methods)]

use std::{
    error::Error,
    io::{self, BufRead},
    time::Instant,
};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::{Request, header::HOST};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let address = std::env::args().nth(1).ok_or("usage: pin_many HOST:PORT < CIDS")?;
    let cids: Vec<String> = io::stdin().lock().lines().collect::<Result<_, _>>()?;
    let stream = TcpStream::connect(&address).await?;
    stream.set_nodelay(true)?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let begin = Instant::now();
    for cid in &cids {
        let request =
            Request::post(format!("/api/v0/pin/add?arg={cid}")).header(HOST, &address).body(Empty::<Bytes>::new())?;
        sender.ready().await?;
        let answer = sender.send_request(request).await?;
        let status = answer.status();
        let body = answer.into_body().collect().await?.to_bytes();
        if !status.is_success() {
            return Err(format!("{cid}: {status}: {}", String::from_utf8_lossy(&body)).into());
        }
    }
    println!("{:.3}", begin.elapsed().as_secs_f64());
    Ok(())
}
