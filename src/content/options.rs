//! What callers may choose, and what they are told.

use bytes::Bytes;
use tokio::sync::mpsc;

use super::rules::Rules;
use crate::{
    base::Cid,
    dag::{ImportParams, unixfs::Attributes},
};

/// How to add. The default pins, skips hidden files and gives Kubo's default CIDs.
#[derive(Debug, Clone)]
pub struct AddOptions {
    /// How bytes become blocks.
    pub params: ImportParams,
    /// Whether the roots are pinned recursively.
    pub pin: bool,
    /// The pins' name.
    pub pin_name: Option<String>,
    /// Whether files and folders whose name begins with a dot are added too.
    pub hidden: bool,
    /// Files and folders of this machine whose names these rules match are left out.
    pub rules: Rules,
    /// Whether symbolic links below the path that is added are replaced by what they lead to.
    pub dereference: bool,
    /// Whether empty folders are added too.
    pub empty_dirs: bool,
    /// One root: a folder without a name around all that is added.
    pub wrap: bool,
    /// Keep the mode that files and folders have, and their time of modification.
    pub preserve_mode: bool,
    /// See [`AddOptions::preserve_mode`].
    pub preserve_mtime: bool,
    /// What everything is said to have, whatever it has.
    pub set: Attributes,
    /// Compute CIDs only; nothing is stored.
    pub only_hash: bool,
    /// Hold the root for this owner (see the store's pins) until it is released.
    pub hold: Option<String>,
    /// Where to tell what was added. Progress is dropped while the queue is full, [`AddEvent::Added`] is not.
    pub events: Option<mpsc::Sender<AddEvent>>,
    /// Of what is told there.
    pub news: News,
}

impl Default for AddOptions {
    fn default() -> Self {
        AddOptions {
            params: ImportParams::default(),
            pin: true,
            pin_name: None,
            hidden: false,
            rules: Rules::default(),
            dereference: false,
            empty_dirs: true,
            wrap: false,
            preserve_mode: false,
            preserve_mtime: false,
            set: Attributes::default(),
            only_hash: false,
            hold: None,
            events: None,
            news: News::default(),
        }
    }
}

impl AddOptions {
    /// What is kept of what something's source says of it. A mode of 0 says nothing, as in Kubo.
    pub fn attributes(&self, found: &Attributes) -> Attributes {
        let mode = self.set.mode.or(found.mode.filter(|_| self.preserve_mode));
        let mtime = self.set.mtime.or(found.mtime.filter(|_| self.preserve_mtime));
        Attributes { mode: mode.map(|mode| mode & 0o7777).filter(|mode| *mode != 0), mtime }
    }
}

/// What is told while adding.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum News {
    /// All that was added, and progress.
    #[default]
    All,
    /// All that was added.
    Added,
    /// What lies in no folder: the roots, or what stands in the folder around all.
    Roots,
}

/// News while adding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AddEvent {
    /// So many bytes of this item have been read, in all.
    Progress {
        /// The item's path, from the root's own name on.
        path: String,
        /// Bytes so far.
        bytes: u64,
    },
    /// An item is done: a file, a symbolic link, or (when all are read) a directory.
    Added(Box<Added>),
}

/// Something that was added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Added {
    /// Its path, from the root's own name on; empty for bytes without a name.
    pub path: String,
    /// Its CID.
    pub cid: Cid,
    /// Bytes of its files' content.
    pub size: u64,
    /// Bytes of all its blocks, repeated ones repeated (the size that links carry).
    pub tsize: u64,
    /// Blocks it is made of, repeated ones repeated.
    pub blocks: u64,
    /// What its source said of it, kept or not.
    pub attributes: Attributes,
}

/// What an entry of a directory is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// A file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// Not known: its block is not here and cannot be asked for, or it is not UnixFS.
    Unknown,
}

impl EntryKind {
    /// The kind's name in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            EntryKind::File => "file",
            EntryKind::Directory => "directory",
            EntryKind::Symlink => "symlink",
            EntryKind::Unknown => "unknown",
        }
    }
}

/// What a path leads to, as [`super::Content::stat`] gives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    /// Its CID.
    pub cid: Cid,
    /// What it is.
    pub kind: EntryKind,
    /// Bytes of a file's content; 0 for others.
    pub size: u64,
    /// Entries of a directory or direct parts of a file.
    pub links: usize,
}

/// A part of a tree, in the order it is written: a directory before what is in it, a file's data behind the file.
/// Paths are names from the root on; the root's own path is empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TreeEvent {
    /// What the directory, file or symbolic link that comes next says of itself; left out when that is nothing.
    Attributes(Attributes),
    /// A directory.
    Dir {
        /// Where.
        path: Vec<Vec<u8>>,
    },
    /// A file begins.
    File {
        /// Where.
        path: Vec<Vec<u8>>,
        /// Its bytes, all of which follow.
        size: u64,
    },
    /// The next bytes of the file that began last.
    Data(Bytes),
    /// A symbolic link.
    Symlink {
        /// Where.
        path: Vec<Vec<u8>>,
        /// Where it leads; whatever its author wrote.
        target: Vec<u8>,
    },
}

/// What [`super::Content::get_to`] has written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Written {
    /// Files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Directories.
    pub directories: u64,
    /// Symbolic links.
    pub symlinks: u64,
}

/// How something is pinned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PinType {
    /// With all below it.
    Recursive,
    /// This block alone.
    Direct,
    /// Because it lies below a recursive pin.
    Indirect,
}

impl PinType {
    /// The type's name in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            PinType::Recursive => "recursive",
            PinType::Direct => "direct",
            PinType::Indirect => "indirect",
        }
    }
}

/// Which pins to list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PinFilter {
    /// Recursive and direct ones, then what lies below.
    All,
    /// Only these.
    Only(PinType),
    /// Recursive and direct ones, without walking what lies below.
    Roots,
}

/// One pin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PinEntry {
    /// What is pinned.
    pub cid: Cid,
    /// How.
    pub kind: PinType,
    /// Its name, if it was given one.
    pub name: Option<String>,
    /// For an indirect one, the recursive pin it was found below first.
    pub via: Option<Cid>,
}

/// What became of the check of a recursive pin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PinCheck {
    /// The pin's root.
    pub cid: Cid,
    /// Whether all below it is here and readable.
    pub ok: bool,
    /// The blocks that are not, each with why; at most [`MAX_BAD_BLOCKS`].
    pub bad: Vec<(Cid, String)>,
}

/// Most bad blocks that are named for one pin.
pub const MAX_BAD_BLOCKS: usize = 1000;
