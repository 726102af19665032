//! Who tells what happens: to people on standard output; on standard error when a program reads the verdict.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use serde_json::{Value, json};

use crate::{
    base::time,
    cli::{args::Format, output},
};

/// Tells the demo's steps and keeps them for the verdict. Cheap to clone; clones tell the same story.
#[derive(Clone)]
pub struct Teller {
    format: Format,
    started: Instant,
    steps: Arc<Mutex<Vec<Told>>>,
}

/// A step as it was told.
struct Told {
    title: String,
    lines: Vec<String>,
    took_ms: Option<u64>,
}

impl Teller {
    /// Nothing told yet.
    pub fn new(format: Format) -> Teller {
        Teller { format, started: time::now(), steps: Arc::default() }
    }

    /// Writes a line for people. Nobody may read it any more, which is no reason to leave the daemons behind.
    pub fn line(&self, text: &str) {
        match self.format {
            Format::Json => output::say(&format!("{text}\n")),
            _ => drop(output::write(format!("{text}\n").as_bytes()).and_then(|()| output::flush())),
        }
    }

    /// Begins a step.
    pub fn step(&self, title: impl Into<String>) -> Step {
        let title = title.into();
        self.line(&format!("\n{title}"));
        let mut steps = self.steps.lock().unwrap_or_else(PoisonError::into_inner);
        steps.push(Told { title, lines: Vec::new(), took_ms: None });
        Step { teller: self.clone(), at: steps.len() - 1, started: time::now() }
    }

    /// Ends the story: words for people, and for programs the one object.
    pub fn verdict(&self, told: &Result<(), String>) {
        match told {
            Ok(()) => self.line("\nVerdict: every step went well."),
            Err(why) => output::say(&format!("\nVerdict: FAILED: {why}\n")),
        }
        if self.format != Format::Json {
            return;
        }
        let steps = self.steps.lock().unwrap_or_else(PoisonError::into_inner);
        let steps: Vec<Value> =
            steps.iter().map(|s| json!({"title": s.title, "lines": s.lines, "took_ms": s.took_ms})).collect();
        let took_ms = self.started.elapsed().as_millis() as u64;
        let object = json!({"ok": told.is_ok(), "error": told.as_ref().err(), "took_ms": took_ms, "steps": steps});
        drop(output::write(format!("{object}\n").as_bytes()).and_then(|()| output::flush()));
    }
}

/// One step: its title, what happens, and how long it took.
pub struct Step {
    teller: Teller,
    at: usize,
    started: Instant,
}

impl Step {
    /// Something that happened in it.
    pub fn say(&self, line: impl AsRef<str>) {
        self.tell(line.as_ref(), line.as_ref(), None);
    }

    /// Its end, and what came of it.
    pub fn done(&self, line: impl AsRef<str>) {
        let line = line.as_ref();
        self.tell(line, &format!("{line} [{}]", took(self.started)), Some(self.started.elapsed().as_millis() as u64));
    }

    fn tell(&self, line: &str, shown: &str, took_ms: Option<u64>) {
        self.teller.line(&format!("   {shown}"));
        let mut steps = self.teller.steps.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(step) = steps.get_mut(self.at) {
            step.lines.push(line.to_owned());
            step.took_ms = took_ms;
        }
    }
}

/// How long ago that was, as people read it.
pub fn took(since: Instant) -> String {
    let ms = since.elapsed().as_millis();
    if ms < 1000 { format!("{ms} ms") } else { format!("{:.1} s", ms as f64 / 1000.0) }
}
