//! The kind `word-count`: counts as `wc` does, over all files of the input.
//!
//! As GNU `wc` in the C locale: a line is a newline byte, a word is a longest run of bytes that are none of space, tab,
//! newline, vertical tab, form feed and carriage return. Every file is counted for itself, so no word spans two; a file
//! that stands in the tree twice counts twice; symbolic links are not files. The result is one JSON file,
//! `{"files":…,"bytes":…,"lines":…,"words":…}` with a newline behind it.

use futures::TryStreamExt;
use serde::{Deserialize, Serialize};

use super::{TaskContext, TaskHandler, TaskResult, WorkError};
use crate::{cluster::BoxFuture, content::TreeEvent};

/// The sums over all files.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WordCounts {
    /// Files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Newlines in them.
    pub lines: u64,
    /// Words in them.
    pub words: u64,
}

/// Counts bytes as they come.
#[derive(Debug, Clone, Copy, Default)]
pub struct WordCounter {
    counts: WordCounts,
    in_word: bool,
}

impl WordCounter {
    /// Nothing counted yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// A file begins.
    pub fn file(&mut self) {
        self.counts.files += 1;
        self.in_word = false;
    }

    /// The file goes on.
    pub fn data(&mut self, bytes: &[u8]) {
        self.counts.bytes += bytes.len() as u64;
        let (mut lines, mut words, mut before) = (0u64, 0u64, self.in_word);
        for byte in bytes {
            let now = !matches!(byte, b' ' | b'\t' | b'\n' | 0x0b | 0x0c | b'\r');
            lines += u64::from(*byte == b'\n');
            words += u64::from(now & !before);
            before = now;
        }
        self.in_word = before;
        self.counts.lines += lines;
        self.counts.words += words;
    }

    /// The sums so far.
    pub fn counts(&self) -> WordCounts {
        self.counts
    }
}

/// The handler of `word-count`.
#[derive(Debug, Clone, Copy, Default)]
pub struct WordCount;

impl TaskHandler for WordCount {
    fn run(&self, context: TaskContext) -> BoxFuture<'static, Result<TaskResult, WorkError>> {
        Box::pin(async move {
            let mut counter = WordCounter::new();
            let mut events = std::pin::pin!(context.content.walk(context.input()?));
            while let Some(event) = events.try_next().await? {
                match event {
                    TreeEvent::File { .. } => counter.file(),
                    TreeEvent::Data(bytes) => counter.data(&bytes),
                    TreeEvent::Attributes(_) | TreeEvent::Dir { .. } | TreeEvent::Symlink { .. } => {}
                }
            }
            let json = serde_json::to_string(&counter.counts()).map_err(|e| WorkError::failed(e.to_string()))?;
            context.output(json + "\n").await
        })
    }
}
