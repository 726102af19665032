//! How long one `add` of 1 MiB takes at a daemon, again and again, each time of other bytes.
//!
//! `add_latency API FILE COUNT` writes the bytes to FILE, adds it COUNT times and prints `p50 MS p99 MS max MS count N`; with
//! COUNT 0 it goes on until its standard input ends. Driven by `benches/gc_latency.sh`.
#![allow(clippy::disallowed_methods)]

use std::{
    error::Error,
    io::Read,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use ipfs_kit::http::{Client, client::AddOptions};

type Fail = Box<dyn Error + Send + Sync>;

const BYTES: usize = 1 << 20;
/// Between two adds, so that it is the daemon's other work that makes them wait and not the adds before.
const PAUSE: Duration = Duration::from_millis(5);

#[tokio::main]
async fn main() -> Result<(), Fail> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [api, file, count] = arguments.as_slice() else { return Err("usage: add_latency API FILE COUNT".into()) };
    let (file, count) = (Path::new(file), count.parse::<usize>()?);
    let client = Client::connect(api)?;
    let over = Arc::new(AtomicBool::new(false));
    if count == 0 {
        let over = Arc::clone(&over);
        std::thread::spawn(move || {
            let _ = std::io::stdin().read_to_end(&mut Vec::new());
            over.store(true, Ordering::Release);
        });
    }
    let mut state = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_nanos() as u64 | 1;
    let mut bytes = vec![0; BYTES];
    let mut times = Vec::new();
    while if count > 0 { times.len() < count } else { !over.load(Ordering::Acquire) || times.is_empty() } {
        for part in bytes.chunks_exact_mut(8) {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            part.copy_from_slice(&(state ^ state >> 29).to_le_bytes());
        }
        std::fs::write(file, &bytes)?;
        let begin = Instant::now();
        client.add(file, &AddOptions { pin: false, ..AddOptions::default() }, |_| {}).await?;
        times.push(begin.elapsed());
        tokio::time::sleep(PAUSE).await;
    }
    times.sort_unstable();
    let at = |share: usize| times[(times.len() - 1) * share / 100].as_secs_f64() * 1000.0;
    println!("p50 {:.2} p99 {:.2} max {:.2} count {}", at(50), at(99), at(100), times.len());
    Ok(())
}
