//! The command line: one file per verb.
//!
//! For people and scripts. What always holds: results go to standard output and everything else to standard error; the
//! exit code is 0 only when all that was asked is done; with `--format json` a verb prints one object whose keys do
//! not change. Verbs ask a node through `http::client`; when no daemon runs, those that need no network ask the same
//! routes of a node opened in this process ([`reach`]). Start with [`main`].

mod add;
mod args;
mod block;
mod cat;
mod cid;
mod cluster;
mod completions;
mod config;
mod connect;
mod daemon;
mod dag;
mod demo;
mod files;
mod get;
mod id;
mod init;
mod ipfs;
mod list_pins;
mod ls;
mod output;
mod peers;
mod pin;
mod progress;
mod reach;
mod refs;
mod repo;
mod resolve;
mod routing;
mod several;
mod shape;
mod stat;
mod task;
mod throw_away;
mod unpin;
mod version;

use std::process::ExitCode;

use clap::Parser;

use crate::config::{Log, LogFormat};

use args::{Cli, Verb};
use output::{Context, Failure};

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let mut cli = Cli::parse();
    if let Verb::Ipfs(args) = &cli.verb {
        cli = Cli::parse_from(ipfs::respelled(std::env::args_os().collect(), &args.rest));
    }
    if let Verb::Demo(demo) = cli.verb {
        return demo::run(demo, &cli.common);
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            output::say(&format!("error: this process cannot start: {error}\n"));
            return ExitCode::FAILURE;
        }
    };
    let context = Context::new(cli.common);
    let outcome = runtime.block_on(dispatch(cli.verb, &context));
    runtime.shutdown_background();
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if let Some(text) = failure.text() {
                output::say(&format!("error: {text}\n"));
            }
            failure.code()
        }
    }
}

async fn dispatch(verb: Verb, context: &Context) -> Result<(), Failure> {
    if !matches!(verb, Verb::Daemon(_)) {
        output::log(&Log { level: "warn".into(), format: LogFormat::Text, file: None }, "warn")?;
    }
    match verb {
        Verb::Init(args) => init::run(args, context).await,
        Verb::Config(args) => config::run(args, context),
        Verb::Daemon(args) => daemon::run(args, context).await,
        Verb::Add(args) => add::run(args, context).await,
        Verb::Cat(args) => cat::run(args, context).await,
        Verb::Dag(args) => dag::run(args, context).await,
        Verb::Files(args) => files::run(args, context).await,
        Verb::Block(args) => block::run(args, context).await,
        Verb::Cid(args) => cid::run(args, context),
        Verb::Refs(args) => refs::run(args, context).await,
        Verb::Repo(args) => repo::run(args, context).await,
        Verb::Resolve(args) => resolve::run(args, context).await,
        Verb::Ls(args) => ls::run(args, context).await,
        Verb::Stat(args) => stat::run(args, context).await,
        Verb::Get(args) => get::run(args, context).await,
        Verb::Id(args) => id::run(args, context).await,
        Verb::Peers(args) => peers::run(args, context).await,
        Verb::Connect(args) => connect::run(args, context).await,
        Verb::Pin(args) => pin::run(args, context).await,
        Verb::Unpin(args) => unpin::run(args, context).await,
        Verb::ListPins(args) => list_pins::run(args, context).await,
        Verb::Routing(args) => routing::run(args, context).await,
        Verb::Cluster(args) => cluster::run(args, context).await,
        Verb::Task(args) => task::run(args, context).await,
        Verb::Version(args) => version::run(args, context).await,
        Verb::Completions(args) => completions::run(&args),
        // Told apart before.
        Verb::Demo(_) | Verb::Ipfs(_) => Ok(()),
    }
}
