//! Bringing a repo's folder to another version of its layout.
//!
//! A step may be stopped between any two lines: it is written so that it can be run again from its start, what it makes is
//! durable when it ends, and only then the folder's version changes.

use std::path::Path;

use super::{
    Repo, StoreError,
    files::{Lock, read_small, write_whole},
    repo::{LAYOUT, VERSION_FILE, layout},
};

/// A step from one version to the next.
pub(super) struct Step {
    /// The version it begins with.
    pub from: u32,
    /// What it does, for people.
    pub about: &'static str,
    /// Does it; blocks.
    pub run: fn(&Path) -> Result<(), StoreError>,
}

/// Every step there is, in order: the one at `n` begins with version `n + 1`. The first layout is 1, and the newest.
const STEPS: &[Step] = &[];

/// What a migration did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Migration {
    /// The version before.
    pub from: u32,
    /// The version now.
    pub to: u32,
    /// What was done.
    pub steps: Vec<&'static str>,
}

impl Repo {
    /// Brings the repo in `dir` to the layout `to` (`None` = the newest known); an error when a daemon runs on it, and when
    /// its layout is newer than this program. Blocks.
    pub fn migrate(dir: &Path, to: Option<u32>) -> Result<Migration, StoreError> {
        migrate(dir, STEPS, to)
    }
}

fn migrate(dir: &Path, steps: &[Step], to: Option<u32>) -> Result<Migration, StoreError> {
    let newest = steps.last().map_or(1, |step| step.from + 1);
    debug_assert!(steps.iter().zip(1..).all(|(step, from)| step.from == from));
    let to = to.unwrap_or(newest);
    if to == 0 || to > newest {
        let reason = format!("layout {to} is not known to this program, which knows 1 to {newest}");
        return Err(layout(dir, reason));
    }
    if !dir.join(VERSION_FILE).exists() {
        return Err(layout(dir, "there is no repo in it; make one with 'ipfs-kit init'".into()));
    }
    let _lock = Lock::take(dir)?;
    let from = version(dir)?;
    if from > newest {
        let reason = format!("its layout is version {from}, this program knows up to {newest}; use a newer one");
        return Err(layout(dir, reason));
    }
    if from > to {
        let reason = format!("its layout is version {from} and cannot go back to {to}; restore a backup from before");
        return Err(layout(dir, reason));
    }
    let mut done = Vec::new();
    for step in steps.iter().filter(|step| (from..to).contains(&step.from)) {
        (step.run)(dir)?;
        let version = (step.from + 1).to_string();
        write_whole(&dir.join(VERSION_FILE), version.as_bytes()).map_err(StoreError::io("migrating the repo"))?;
        done.push(step.about);
    }
    Ok(Migration { from, to, steps: done })
}

/// The version of the layout in `dir`.
fn version(dir: &Path) -> Result<u32, StoreError> {
    let bytes = read_small(&dir.join(VERSION_FILE)).map_err(StoreError::io("reading the repo's version"))?;
    let text = String::from_utf8_lossy(bytes.as_deref().unwrap_or_default()).trim().to_owned();
    let number = text.parse().ok().filter(|number| *number > 0);
    number.ok_or_else(|| {
        layout(dir, format!("its version {text:?} is no number such as {LAYOUT}; restore it from a backup"))
    })
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, fs};

    use super::*;
    use crate::store::files::sync_dir;

    thread_local! {
        /// How many more lines a step gets through before the process ends.
        static LINES: Cell<u32> = const { Cell::new(u32::MAX) };
    }

    fn line() -> Result<(), StoreError> {
        let left = LINES.get();
        LINES.set(left.saturating_sub(1));
        if left == 0 { Err(StoreError::Closed) } else { Ok(()) }
    }

    /// A note goes from the file `note` to the file `notes`, in capitals.
    fn capitals(dir: &Path) -> Result<(), StoreError> {
        let io = StoreError::io("migrating a note");
        line()?;
        if let Some(note) = read_small(&dir.join("note")).map_err(&io)? {
            line()?;
            write_whole(&dir.join("notes"), &note.to_ascii_uppercase()).map_err(&io)?;
            line()?;
            fs::remove_file(dir.join("note")).map_err(&io)?;
            line()?;
            sync_dir(dir).map_err(&io)?;
        }
        line()
    }

    /// The notes get a head, once.
    fn head(dir: &Path) -> Result<(), StoreError> {
        let io = StoreError::io("migrating notes");
        line()?;
        let notes = read_small(&dir.join("notes")).map_err(&io)?.unwrap_or_default();
        if !notes.starts_with(b"3:") {
            line()?;
            write_whole(&dir.join("notes"), &[b"3:", &notes[..]].concat()).map_err(&io)?;
        }
        line()
    }

    const TWO: &[Step] = &[
        Step { from: 1, about: "notes in capitals", run: capitals },
        Step { from: 2, about: "notes with a head", run: head },
    ];

    #[test]
    fn a_migration_stopped_between_any_two_lines_is_completed_later() {
        for lines in 0..10 {
            let dir = tempfile::tempdir().unwrap();
            Repo::init(dir.path()).unwrap();
            fs::write(dir.path().join("note"), "abc").unwrap();
            LINES.set(lines);
            let first = migrate(dir.path(), TWO, None);
            assert_eq!(first.is_ok(), lines >= 8, "{lines}");
            LINES.set(u32::MAX);
            let then = migrate(dir.path(), TWO, None).unwrap();
            assert_eq!(then.to, 3);
            assert_eq!(fs::read(dir.path().join("notes")).unwrap(), b"3:ABC", "{lines}");
            assert!(!dir.path().join("note").exists());
            assert_eq!(migrate(dir.path(), TWO, None).unwrap(), Migration { from: 3, to: 3, steps: Vec::new() });
            // An older program says that it does not know it, and changes nothing.
            let text = Repo::migrate(dir.path(), None).unwrap_err().to_string();
            assert!(text.contains("version 3") && text.contains("newer"), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_migrated_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        assert!(migrate(dir.path(), TWO, None).unwrap_err().to_string().contains("init"));
        Repo::init(dir.path()).unwrap();
        assert_eq!(Repo::migrate(dir.path(), None).unwrap(), Migration { from: 1, to: 1, steps: Vec::new() });
        assert!(Repo::migrate(dir.path(), Some(2)).unwrap_err().to_string().contains("not known"));
        assert_eq!(migrate(dir.path(), TWO, Some(2)).unwrap().steps, ["notes in capitals"]);
        assert!(migrate(dir.path(), TWO, Some(1)).unwrap_err().to_string().contains("cannot go back"));
        fs::write(dir.path().join(VERSION_FILE), "one").unwrap();
        assert!(migrate(dir.path(), TWO, None).unwrap_err().to_string().contains("no number"));
        fs::write(dir.path().join(VERSION_FILE), "1").unwrap();
        let _lock = Lock::take(dir.path()).unwrap();
        assert!(matches!(migrate(dir.path(), TWO, None), Err(StoreError::Locked { .. })));
    }
}
