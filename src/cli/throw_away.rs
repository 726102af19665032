//! Daemons of a demo: they end with the process that started them and remove what they wrote.

use std::path::{Path, PathBuf};

use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};

use super::output::Failure;

/// How a demo's folder is named; nothing else is ever removed.
const DEMO_PREFIX: &str = "ipfs-kit-demo-";

/// A promise to end with the parent.
pub struct ThrowAway {
    parent: Pid,
}

impl ThrowAway {
    /// From now on the death of the process `parent`, which must be this one's parent, ends this one like SIGTERM. `repo`
    /// is where this one will keep its own.
    pub fn follow(parent: u32, repo: &Path) -> Result<Self, Failure> {
        set_parent_process_death_signal(Some(Signal::TERM))
            .map_err(|e| Failure::new(format!("cannot follow the process that started this one: {e}")))?;
        let parent = i32::try_from(parent).ok().and_then(Pid::from_raw);
        // It may have died before the line above; then no signal comes any more.
        match parent {
            Some(parent) if getppid() == Some(parent) => Ok(ThrowAway { parent }),
            _ => {
                // Empty when this daemon was the first; otherwise another one removes it.
                let _ = demo_folder(repo).map(std::fs::remove_dir);
                Err(Failure::new("the process that started this one is gone"))
            }
        }
    }

    /// After the daemon has stopped: when the parent is dead, removes the repo and the demo's folder around it.
    pub fn clean_up(&self, repo: &Path) {
        if getppid() == Some(self.parent) {
            return;
        }
        let Some(folder) = demo_folder(repo) else { return };
        // Other daemons of the demo may still write into theirs; the last one to end finds nobody in its way.
        let _ = std::fs::remove_dir_all(repo);
        let _ = std::fs::remove_dir_all(folder);
    }
}

fn demo_folder(repo: &Path) -> Option<PathBuf> {
    let folder = repo.parent()?;
    folder.file_name()?.to_str()?.starts_with(DEMO_PREFIX).then(|| folder.to_owned())
}
