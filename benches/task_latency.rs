//! Time from submitting a no-op task to its verified outcome, through a running daemon's API.
//!
//! `task_latency API_URL COUNT direct|gossip` submits one task after another and prints p50, p99 and the maximum in
//! milliseconds. Driven by `benches/cluster.sh`.
#![allow(clippy::disallowed_methods)]

use std::{
    error::Error,
    time::{Duration, Instant},
};

use ipfs_kit::http::{client::Client, model::TaskRequest};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let arguments: Vec<String> = std::env::args().collect();
    let usage = "usage: task_latency API_URL COUNT direct|gossip";
    let [_, url, count, way] = arguments.as_slice() else { return Err(usage.into()) };
    let client = Client::connect(url)?.with_timeout(Some(Duration::from_secs(30)));
    let count: usize = count.parse()?;
    let mut accepted = Vec::with_capacity(count);
    let mut ended = Vec::with_capacity(count);
    for round in 0..count + 10 {
        let request = TaskRequest {
            kind: "noop".into(),
            input: None,
            params: Default::default(),
            direct: way == "direct",
            timeout_ms: None,
        };
        let begin = Instant::now();
        let task = client.task_submit(&request).await?;
        let receipt = begin.elapsed();
        let outcome = client.task_wait(&task.id).await?;
        let whole = begin.elapsed();
        if outcome.state != "completed" {
            return Err(format!("task {} ended as {}: {:?}", task.id, outcome.state, outcome.error).into());
        }
        // The first ten warm up.
        if round >= 10 {
            accepted.push(receipt);
            ended.push(whole);
        }
    }
    for (what, mut times) in [("accepted", accepted), ("outcome", ended)] {
        times.sort();
        let at = |part: f64| times[((times.len() - 1) as f64 * part).round() as usize].as_secs_f64() * 1000.0;
        println!("{way} {what} p50 {:.2} p99 {:.2} max {:.2} n {}", at(0.5), at(0.99), at(1.0), times.len());
    }
    Ok(())
}
