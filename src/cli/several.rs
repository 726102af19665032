//! Several things in one command: a few at a time, answered in the order they were named.

use clap::Args;

use super::output::{self, Failure};

/// How many are worked on at a time.
pub const LANES: usize = 4;

/// For those who are used to saying it.
#[derive(Args, Debug, Clone, Copy, Default)]
pub struct Parallel {
    /// Several at a time, which is always so: accepted and without effect
    #[arg(long)]
    pub parallel: bool,
}

/// What went wrong with some of several things. The failure of the only one is the command's own; else each is said when
/// it is known, and the command fails at its end.
pub struct Errors {
    asked: usize,
    failed: usize,
    only: Option<Failure>,
}

impl Errors {
    /// Nothing went wrong yet with so many things.
    pub fn new(asked: usize) -> Self {
        Errors { asked, failed: 0, only: None }
    }

    /// This one failed.
    pub fn add(&mut self, which: &str, failure: impl Into<Failure>) {
        let failure = failure.into();
        self.failed += 1;
        if self.asked == 1 {
            self.only = Some(failure);
            return;
        }
        match failure.text() {
            // Most sentences name it already.
            Some(text) if text.contains(which) => output::say(&format!("error: {text}\n")),
            Some(text) => output::say(&format!("error: {which}: {text}\n")),
            None => {}
        }
    }

    /// Whether nothing came of any of them.
    pub fn all(&self) -> bool {
        self.failed == self.asked
    }

    /// How the command ends.
    pub fn end(self) -> Result<(), Failure> {
        match (self.only, self.failed) {
            (Some(failure), _) => Err(failure),
            (None, 0) => Ok(()),
            (None, failed) => Err(Failure::new(format!("{failed} of {} failed", self.asked))),
        }
    }
}
