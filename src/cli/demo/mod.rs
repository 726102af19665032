//! `demo`: a whole cluster on this machine, told step by step.
//!
//! Six daemons are started as separate processes of this very binary, with throw-away repos on free loopback ports and
//! a DHT of their own. What always holds: whatever ends the demo (its end, Ctrl-C, SIGTERM, the death of its process),
//! the daemons end with it and their folders are removed. Start with `story.rs`.

mod members;
mod story;
mod teller;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use self::{members::Cast, teller::Teller};
use super::{args::Common, daemon::Stop};

/// Longest the steps may take before the demo counts as failed; what is left of 45 seconds is for ending the daemons.
const WHOLE: Duration = Duration::from_secs(38);

/// Runs a whole cluster on this machine and tells what happens.
#[derive(clap::Args, Debug)]
#[command(
    after_help = "JSON: {ok, error, took_ms, steps: [{title, lines, took_ms}]}; the story goes to standard error then.

Examples:
  ipfs-kit demo                 start the cluster, show every step, keep it running until Ctrl-C
  ipfs-kit demo ~/notes         count the words of another folder
  ipfs-kit demo --exit          end after the last step; the exit code says whether all went well"
)]
pub struct DemoArgs {
    /// The folder or file whose words are counted [default: docs, or a small text where there is no such folder]
    pub path: Option<PathBuf>,
    /// End after the last step, within 45 seconds, with a verdict and an exit code
    #[arg(long)]
    pub exit: bool,
}

/// Runs the demo; the exit code is 0 only when every step went well.
pub fn run(args: DemoArgs, common: &Common) -> ExitCode {
    // One thread: a daemon ends with the thread that started it, and this one lives as long as the process.
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(e) => {
            eprintln!("demo: cannot start: {e}");
            return ExitCode::FAILURE;
        }
    };
    let code = runtime.block_on(perform(args, common));
    runtime.shutdown_timeout(Duration::from_secs(1));
    code
}

async fn perform(args: DemoArgs, common: &Common) -> ExitCode {
    // Taken before anything is made, so that no signal leaves anything behind.
    let begin = Stop::listen().map_err(|e| e.text().unwrap_or_default().to_owned());
    let (mut stop, stage) = match begin.and_then(|stop| Ok((stop, Stage::build(args.path)?))) {
        Ok(begun) => begun,
        Err(e) => {
            eprintln!("demo: {e}");
            return ExitCode::FAILURE;
        }
    };
    let teller = Teller::new(common.format);
    teller.line(&format!(
        "A cluster of six processes on this machine. Their repos lie in {};\n\
         all of it is removed at the end, which Ctrl-C brings at any time.",
        stage.folder.display()
    ));
    let mut cast = Cast::new(stage.folder.clone(), teller.clone());
    let limit = common.timeout.filter(|limit| !limit.is_zero()).map_or(WHOLE, |limit| limit.min(WHOLE));
    let told = tokio::select! {
        told = tokio::time::timeout(limit, story::tell(&mut cast, &stage.input)) => match told {
            Ok(told) => told,
            Err(_) => Err(format!("the demo was not over after {} seconds", limit.as_secs())),
        },
        () = stop.wait() => {
            teller.line("\nInterrupted. Removing the cluster …");
            leave(&mut cast, &stage).await;
            return ExitCode::FAILURE;
        }
    };
    teller.verdict(&told);
    let code = match told {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => {
            cast.show_last_words();
            ExitCode::FAILURE
        }
    };
    if code == ExitCode::SUCCESS && !args.exit {
        story::invite(&cast);
        stop.wait().await;
        teller.line("\nRemoving the cluster …");
    }
    leave(&mut cast, &stage).await;
    code
}

/// Ends every daemon and removes the folder.
async fn leave(cast: &mut Cast, stage: &Stage) {
    cast.end().await;
    let remove = || std::fs::remove_dir_all(&stage.folder);
    // A daemon that was killed while it started may have written into its folder until just now.
    if let Err(e) = remove().or_else(|_| remove())
        && e.kind() != std::io::ErrorKind::NotFound
    {
        eprintln!("demo: could not remove {}: {e}", stage.folder.display());
    }
}

/// The throw-away folder and the content to work on.
struct Stage {
    folder: PathBuf,
    input: PathBuf,
}

impl Stage {
    fn build(path: Option<PathBuf>) -> Result<Stage, String> {
        if let Some(path) = &path
            && !path.exists()
        {
            return Err(format!("{} does not exist; give a file or folder to count the words of", path.display()));
        }
        let name = format!("ipfs-kit-demo-{}", data_encoding::HEXLOWER.encode(&crate::base::random::bytes::<4>()));
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&folder).map_err(|e| format!("cannot make {}: {e}", folder.display()))?;
        let input = match path {
            Some(path) => path,
            None if Path::new("docs").is_dir() => PathBuf::from("docs"),
            None => {
                let input = folder.join("text");
                std::fs::create_dir_all(&input)
                    .and_then(|()| std::fs::write(input.join("about.txt"), include_str!("about.txt")))
                    .map_err(|e| format!("cannot write {}: {e}", input.display()))?;
                input
            }
        };
        let input = input.canonicalize().map_err(|e| format!("cannot read {}: {e}", input.display()))?;
        Ok(Stage { folder, input })
    }
}
