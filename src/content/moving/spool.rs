//! Pins on their way, in a file without a name: another repo's list is read at once, whatever its length, so that
//! nothing there waits for blocks to come.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, BufWriter, Seek, Write},
    path::Path,
};

use super::{MoveError, PinRow};
use crate::{
    content::ContentError,
    store::{Pin, StoreError},
};

/// Longest line of a list of pins, in bytes: a CID, a name, and what stands around them.
pub(super) const MAX_LINE_BYTES: usize = 4096;

/// Most bytes of a list: tens of millions of pins. Whoever sends more means harm.
const MAX_LIST_BYTES: u64 = 4 << 30;

/// A list that is being written.
pub(super) struct Spool {
    file: BufWriter<File>,
    count: u64,
    bytes: u64,
}

impl Spool {
    /// An empty list; its file lies in `dir` and is gone when the process is.
    pub fn new(dir: &Path) -> Result<Spool, ContentError> {
        let file = tempfile::tempfile_in(dir).map_err(writing)?;
        Ok(Spool { file: BufWriter::new(file), count: 0, bytes: 0 })
    }

    pub fn push(&mut self, pin: &Pin) -> Result<(), ContentError> {
        let mut line = serde_json::to_vec(&PinRow::from(pin)).expect("plain data becomes JSON");
        line.push(b'\n');
        self.bytes += line.len() as u64;
        if self.bytes > MAX_LIST_BYTES {
            let (what, reason) = ("the list of pins".into(), format!("it has no end within {MAX_LIST_BYTES} bytes"));
            return Err(MoveError::Damaged { what, reason }.into());
        }
        self.file.write_all(&line).map_err(writing)?;
        self.count += 1;
        Ok(())
    }

    pub fn count(&self) -> u64 {
        self.count
    }

    /// The list, from its beginning.
    pub fn read(self) -> Result<Rows, ContentError> {
        let mut file = self.file.into_inner().map_err(|e| writing(e.into_error()))?;
        file.rewind().map_err(writing)?;
        Ok(Rows::new(file, "the list of pins"))
    }
}

fn writing(error: io::Error) -> ContentError {
    StoreError::io("writing down the pins that come")(error).into()
}

/// A list of pins that is being read.
pub(super) struct Rows {
    file: BufReader<File>,
    what: String,
    line: u64,
}

impl Rows {
    /// Reads `file`, called `what` in messages.
    pub fn new(file: File, what: impl Into<String>) -> Rows {
        Rows { file: BufReader::new(file), what: what.into(), line: 0 }
    }

    /// The next pin.
    pub fn next(&mut self) -> Result<Option<Pin>, ContentError> {
        let mut line = Vec::new();
        let limit = MAX_LINE_BYTES as u64;
        let read = io::Read::take(&mut self.file, limit).read_until(b'\n', &mut line);
        let read = read.map_err(StoreError::io("reading the pins that come"))?;
        self.line += 1;
        let damaged = |reason: String| {
            let what = self.what.clone();
            ContentError::from(MoveError::Damaged { what, reason: format!("line {}: {reason}", self.line) })
        };
        if read == 0 {
            return Ok(None);
        }
        if line.pop() != Some(b'\n') {
            return Err(damaged(format!("it is cut off, or longer than {limit} bytes")));
        }
        let row: PinRow = serde_json::from_slice(&line).map_err(|e| damaged(e.to_string()))?;
        Pin::try_from(row).map(Some).map_err(damaged)
    }

    /// At most `limit` pins; empty at the end.
    pub fn page(&mut self, limit: usize) -> Result<Vec<Pin>, ContentError> {
        let mut page = Vec::new();
        while page.len() < limit
            && let Some(pin) = self.next()?
        {
            page.push(pin);
        }
        Ok(page)
    }
}
