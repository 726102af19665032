//! `task`: work for the cluster.

use std::{collections::BTreeMap, path::PathBuf};

use clap::{Args, Subcommand};
use serde_json::json;

use super::{
    output::{self, Context, Failure},
    reach::{self, Need},
};
use crate::http::{
    client::Client,
    model::{TaskReply, TaskRequest},
};

/// Submits tasks to the cluster and reads their results.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  ipfs-kit task submit word-count CID --wait     prints the task's ID and its result's CID
  ipfs-kit task result ID                        writes the result")]
pub struct TaskArgs {
    #[command(subcommand)]
    pub verb: TaskVerb,
}

/// What to do with tasks.
#[derive(Subcommand, Debug)]
pub enum TaskVerb {
    /// Publish a task; returns when a master has accepted it
    #[command(after_help = "Kinds: noop does nothing; word-count counts files, bytes, lines and words as wc does.
JSON: {id, state, kind, input, worker, result, error, attempts, fence, accepted_index,
       accepted_by, outcome_index, outcome_by}; what is not known yet is null. With --wait the exit code is 1 unless completed.

Examples:
  ipfs-kit task submit word-count CID --wait
  ipfs-kit task submit noop --direct")]
    Submit {
        /// The kind of task: noop or word-count
        kind: String,
        /// The CID it works on
        #[arg(value_name = "CID")]
        input: Option<String>,
        /// Wait for the outcome
        #[arg(long)]
        wait: bool,
        /// Ask a master instead of publishing
        #[arg(long)]
        direct: bool,
        /// A setting of the kind; may be repeated
        #[arg(long = "param", value_name = "KEY=VALUE", value_parser = pair)]
        params: Vec<(String, String)>,
    },
    /// Show how far a task is
    #[command(after_help = "JSON: as 'task submit'

Examples:
  ipfs-kit task status ID")]
    Status {
        /// What 'task submit' printed
        id: String,
    },
    /// Write the bytes of a task's result
    #[command(after_help = "JSON, with -o: {id, cid, path, size}; without it the bytes, whatever --format says

Examples:
  ipfs-kit task result ID
  ipfs-kit task result ID -o counted.json")]
    Result {
        /// What 'task submit' printed
        id: String,
        /// Where to write [default: standard output]
        #[arg(short, long, value_name = "PATH")]
        output: Option<PathBuf>,
    },
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}

pub async fn run(args: TaskArgs, context: &Context) -> Result<(), Failure> {
    let node = reach::node(context, Need::Daemon).await?;
    let client = node.client();
    match args.verb {
        TaskVerb::Submit { kind, input, wait, direct, params } => {
            let timeout_ms = context.timeout().map(|t| t.as_millis() as u64);
            let params: BTreeMap<_, _> = params.into_iter().collect();
            let mut task = client.task_submit(&TaskRequest { kind, input, params, direct, timeout_ms }).await?;
            if wait {
                let outcome = client.task_wait(&task.id).await?;
                task = TaskReply { accepted_index: task.accepted_index, accepted_by: task.accepted_by, ..outcome };
            }
            context.show(&task, || text(&task))?;
            if !wait || task.state == "completed" {
                return Ok(());
            }
            let why = task.error.unwrap_or_else(|| "no reason was given".into());
            Err(Failure::new(format!("the task ended as {}: {why}", task.state)))
        }
        TaskVerb::Status { id } => {
            let task = client.task_status(&id).await?;
            context.show(&task, || text(&task))
        }
        TaskVerb::Result { id, output } => result(client, &id, output, context).await,
    }
}

async fn result(client: &Client, id: &str, output: Option<PathBuf>, context: &Context) -> Result<(), Failure> {
    let task = client.task_status(id).await?;
    let cid = match (task.state.as_str(), task.result) {
        ("completed", Some(cid)) => cid,
        ("completed", None) => {
            return Err(Failure::new(format!("task {id} completed without a result, as its kind does")));
        }
        (state, _) => {
            let why = task.error.map(|e| format!(" ({e})")).unwrap_or_default();
            return Err(Failure::new(format!("task {id} has no result: it is {state}{why}")));
        }
    };
    match output {
        None => output::copy(&mut client.cat(&cid, 0, None).await?, |_| ()).await,
        Some(path) => {
            let written = client.get(&cid, &path, |_| {}).await?;
            let shown = path.display().to_string();
            context.show(&json!({"id": id, "cid": cid, "path": shown, "size": written.bytes}), || {
                format!("{shown}: {}", output::bytes(written.bytes))
            })
        }
    }
}

fn text(task: &TaskReply) -> String {
    let mut out = format!("task       {}\nstate      {}", task.id, task.state);
    let mut line = |name: &str, value: Option<&str>| {
        if let Some(value) = value {
            out.push_str(&format!("\n{name:<10} {value}"));
        }
    };
    line("kind", task.kind.as_deref());
    line("input", task.input.as_deref());
    line("worker", task.worker.as_deref());
    line("result", task.result.as_deref());
    line("error", task.error.as_deref());
    out
}
