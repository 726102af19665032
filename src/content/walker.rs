//! Walks files and folders of this machine in the order they are added: a folder before what is in it, names in order.

use std::{
    ffi::OsString,
    fs::{self, File, Metadata, ReadDir},
    os::unix::{
        ffi::{OsStrExt, OsStringExt},
        fs::{MetadataExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
};

use rustix::fs::OFlags;

use super::{AddOptions, ContentError, rules::Rules, tree::MAX_DEPTH};
use crate::dag::{DagError, unixfs::Attributes};

/// Names of a folder read and put in order at a time, so that memory does not grow with the folder.
const BATCH_NAMES: usize = 65_536;

/// What a walk does with what it meets.
#[derive(Debug, Clone, Default)]
pub struct WalkOptions {
    /// Whether folders are walked; else they are refused.
    pub recursive: bool,
    /// Whether what has a dot in front of its name is met too.
    pub hidden: bool,
    /// What is left out.
    pub rules: Rules,
    /// Whether symbolic links are replaced by what they lead to.
    pub dereference: bool,
}

impl WalkOptions {
    /// As these options have it.
    pub fn new(options: &AddOptions, recursive: bool) -> Self {
        let AddOptions { hidden, dereference, .. } = *options;
        WalkOptions { recursive, hidden, dereference, rules: options.rules.clone() }
    }
}

/// Something a walk met. Names are those of the root and of all folders on the way, with slashes between them.
#[derive(Debug)]
pub enum Found {
    /// A folder begins.
    Dir(Vec<u8>, Attributes),
    /// All that is in the folder was met.
    DirEnd(Vec<u8>),
    /// A symbolic link and where it leads.
    Symlink(Vec<u8>, Attributes, Vec<u8>),
    /// A file, where it lies and its size at the time; [`Walker::open`] opens it.
    File(Vec<u8>, Attributes, PathBuf, u64),
}

/// A walk under way. Reading directories blocks.
#[derive(Debug)]
pub struct Walker {
    options: WalkOptions,
    /// What comes first.
    root: Option<(PathBuf, Vec<u8>)>,
    open: Vec<Level>,
}

#[derive(Debug)]
struct Level {
    path: PathBuf,
    name: Vec<u8>,
    /// What is still to be read.
    rest: Option<ReadDir>,
    /// Names that are next, the last one first.
    names: Vec<OsString>,
}

impl Walker {
    /// A walk of what lies at `path`, which is called `name`.
    pub fn new(path: &Path, name: &[u8], options: WalkOptions) -> Self {
        Walker { options, root: Some((path.to_owned(), name.to_vec())), open: Vec::new() }
    }

    /// What comes next; `None` at the end.
    pub fn step(&mut self) -> Result<Option<Found>, ContentError> {
        if let Some((path, name)) = self.root.take() {
            return self.meet(path, name).map(Some);
        }
        let Some(level) = self.open.last_mut() else { return Ok(None) };
        level.fill(&self.options)?;
        match level.names.pop() {
            Some(own) => {
                let (path, name) = (level.path.join(&own), [&level.name[..], b"/", own.as_bytes()].concat());
                self.meet(path, name).map(Some)
            }
            None => Ok(self.open.pop().map(|level| Found::DirEnd(level.name))),
        }
    }

    /// Opens a file that was met.
    pub fn open(&self, path: &Path) -> Result<File, ContentError> {
        // No following, should it have become a link since it was looked at; no waiting, should it be a pipe now.
        let nofollow = if self.options.dereference { OFlags::empty() } else { OFlags::NOFOLLOW };
        let flags = (nofollow | OFlags::NONBLOCK).bits() as i32;
        File::options().read(true).custom_flags(flags).open(path).map_err(|error| ContentError::io(path, error))
    }

    /// Walks to the end: bytes of all files that are met.
    pub fn total(mut self) -> Result<u64, ContentError> {
        let mut bytes = 0u64;
        while let Some(found) = self.step()? {
            if let Found::File(.., size) = found {
                bytes = bytes.saturating_add(size);
            }
        }
        Ok(bytes)
    }

    fn meet(&mut self, path: PathBuf, name: Vec<u8>) -> Result<Found, ContentError> {
        let fail = |error| ContentError::io(&path, error);
        let follow = self.options.dereference;
        let meta = if follow { fs::metadata(&path) } else { fs::symlink_metadata(&path) }.map_err(fail)?;
        let (kind, found) = (meta.file_type(), attributes(&meta));
        if kind.is_symlink() {
            let target = fs::read_link(&path).map_err(fail)?;
            Ok(Found::Symlink(name, found, target.into_os_string().into_vec()))
        } else if kind.is_file() {
            let size = meta.len();
            Ok(Found::File(name, found, path, size))
        } else if kind.is_dir() {
            if !self.options.recursive {
                return Err(ContentError::NeedsRecursive { path });
            }
            if self.open.len() + 1 >= MAX_DEPTH {
                let (count, limit) = (self.open.len() as u64 + 2, MAX_DEPTH as u64);
                return Err(DagError::TooLarge { what: "levels of folders", count, limit }.into());
            }
            let rest = Some(fs::read_dir(&path).map_err(fail)?);
            self.open.push(Level { path, name: name.clone(), rest, names: Vec::new() });
            Ok(Found::Dir(name, found))
        } else {
            Err(ContentError::UnsupportedFile { path })
        }
    }
}

impl Level {
    /// Reads the next names when there are none left. The order of the directory is the file system's whim.
    fn fill(&mut self, options: &WalkOptions) -> Result<(), ContentError> {
        let Some(rest) = self.rest.as_mut().filter(|_| self.names.is_empty()) else { return Ok(()) };
        while self.names.len() < BATCH_NAMES {
            let Some(entry) = rest.next() else {
                self.rest = None;
                break;
            };
            let name = entry.map_err(|e| ContentError::io(&self.path, e))?.file_name();
            let hidden = name.as_bytes().starts_with(b".") && !options.hidden;
            if !hidden && !options.rules.leaves_out(name.as_bytes()) {
                self.names.push(name);
            }
        }
        self.names.sort_unstable_by(|a, b| b.cmp(a));
        Ok(())
    }
}

/// What the file system says of something, as UnixFS has it.
fn attributes(meta: &Metadata) -> Attributes {
    let nanos = u32::try_from(meta.mtime_nsec()).unwrap_or(0);
    Attributes { mode: Some(meta.mode() & 0o7777), mtime: Some((meta.mtime(), nanos)) }
}

/// The name of a path's last part, also when it is written as "." or with ".."; `dereference` resolves links first.
pub fn root_of(path: &Path, dereference: bool) -> Result<(PathBuf, Vec<u8>), ContentError> {
    let fail = |error| ContentError::io(path, error);
    fs::symlink_metadata(path).map_err(fail)?;
    let path =
        if dereference || path.file_name().is_none() { path.canonicalize().map_err(fail)? } else { path.to_owned() };
    let name = path.file_name().map_or_else(|| b"root".to_vec(), |name| name.as_bytes().to_vec());
    Ok((path, name))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn names(path: &Path, options: WalkOptions) -> Result<Vec<String>, ContentError> {
        let mut walker = Walker::new(path, b"r", options);
        let mut out = Vec::new();
        while let Some(found) = walker.step()? {
            let text = |name: &[u8]| String::from_utf8_lossy(name).into_owned();
            out.push(match found {
                Found::Dir(name, _) => text(&name) + "/",
                Found::DirEnd(name) => "end of ".to_owned() + &text(&name),
                Found::Symlink(name, _, target) => text(&name) + " -> " + &text(&target),
                Found::File(name, .., size) => format!("{} {size}", text(&name)),
            });
        }
        Ok(out)
    }

    #[test]
    fn folders_are_walked_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        fs::create_dir_all(root.join("b/inner")).unwrap();
        for (name, text) in [("c", "cc"), ("a", ""), (".h", "hhh"), ("b/x.log", "1"), ("b/inner/y", "22")] {
            fs::write(root.join(name), text).unwrap();
        }
        symlink("b", root.join("d")).unwrap();
        let walk = |options| names(&root, options).unwrap();
        let plain = WalkOptions { recursive: true, ..WalkOptions::default() };
        assert_eq!(Walker::new(&root, b"r", plain.clone()).total().unwrap(), 5);
        let b = ["r/b/", "r/b/inner/", "r/b/inner/y 2", "end of r/b/inner", "r/b/x.log 1", "end of r/b"];
        let expected = [&["r/", "r/a 0"], &b[..], &["r/c 2", "r/d -> b", "end of r"]].concat();
        assert_eq!(walk(plain.clone()), expected);
        let (rules, _) = Rules::parse(["*.log", "inner"]);
        assert_eq!(
            walk(WalkOptions { rules, hidden: true, dereference: true, ..plain.clone() }),
            ["r/", "r/.h 3", "r/a 0", "r/b/", "end of r/b", "r/c 2", "r/d/", "end of r/d", "end of r"]
        );
        assert!(names(&root, WalkOptions::default()).is_err());
        // A loop of links ends with an error.
        symlink(".", root.join("b/loop")).unwrap();
        assert!(names(&root, WalkOptions { dereference: true, ..plain }).is_err());
    }
}
