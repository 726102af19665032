//! Progress on standard error: a line rewritten in place for people, JSON events for programs, nothing in a pipe.

use std::{
    sync::{Mutex, MutexGuard},
    time::{Duration, Instant},
};

use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use super::output::{self, Context, bytes};
use crate::{base::time, http::Client};

/// Time between two lines or events.
const EVERY: Duration = Duration::from_millis(500);

/// Whether progress is shown.
#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// Whoever watches.
    #[value(name = "true", alias = "1")]
    Yes,
    /// Never.
    #[value(name = "false", alias = "0")]
    No,
    /// As JSON, one object a line.
    Json,
}

/// The flag of verbs that may take long.
#[derive(Args, Debug, Clone, Copy, Default)]
pub struct ProgressArg {
    /// Show progress on standard error; json: one object a line, twice a second [default: when it is a terminal]
    #[arg(short, long, value_enum, hide_possible_values = true, value_name = "true|false|json")]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub progress: Option<When>,
}

/// How it is shown.
enum Face {
    Bar(ProgressBar),
    Lines,
    Json,
}

struct State {
    what: &'static str,
    face: Face,
    began: Instant,
    said: Option<Instant>,
    total: usize,
    completed: usize,
    failed: usize,
    bytes: Vec<u64>,
    total_bytes: Option<u64>,
    blocks: Option<u64>,
}

/// The progress of one command, gone from the terminal when it is dropped.
pub struct Progress {
    state: Option<Mutex<State>>,
}

impl Progress {
    /// Progress of so many things, in a word such as `added`; shown when someone watches, unless the flag says otherwise.
    pub fn new(context: &Context, flag: ProgressArg, what: &'static str, total: usize) -> Self {
        let face = match flag.progress {
            Some(When::No) => None,
            Some(When::Json) => Some(Face::Json),
            Some(When::Yes) | None if context.watched() => Some(Face::Bar(bar(what))),
            Some(When::Yes) => Some(Face::Lines),
            None => None,
        };
        let state = face.map(|face| {
            Mutex::new(State {
                what,
                face,
                began: time::now(),
                said: None,
                total,
                completed: 0,
                failed: 0,
                bytes: vec![0; total.max(1)],
                total_bytes: None,
                blocks: None,
            })
        });
        Progress { state }
    }

    /// Whether anything is shown.
    pub fn shown(&self) -> bool {
        self.state.is_some()
    }

    /// Whom the bytes of one of the things are told to, as they come.
    pub fn of(&self, number: usize) -> impl FnMut(u64) + Send + '_ {
        move |done| {
            self.change(|state| {
                if let Some(slot) = state.bytes.get_mut(number) {
                    *slot = done;
                }
            });
        }
    }

    /// The bytes so far of what is counted as one.
    pub fn bytes(&self, done: u64) {
        self.of(0)(done);
    }

    /// The blocks so far, and their bytes.
    pub fn blocks(&self, blocks: u64, done: u64) {
        self.change(|state| {
            state.blocks = Some(blocks);
            state.bytes[0] = done;
        });
    }

    /// One of the things is done or has failed.
    pub fn ended(&self, well: bool) {
        self.change(|state| {
            state.completed += 1;
            state.failed += usize::from(!well);
        });
    }

    /// How many bytes there are in all, so that the time left can be told.
    pub fn expect(&self, total: u64) {
        self.change(|state| {
            state.total_bytes = Some(total);
            if let Face::Bar(bar) = &state.face {
                bar.set_length(total);
                bar.set_style(style("{msg} {bytes} of {total_bytes} [{bar:30}] {bytes_per_sec}, {eta} left"));
            }
        });
    }

    /// Does the work, and meanwhile finds out how many bytes there are in all.
    pub async fn while_counting<T>(
        &self,
        work: impl Future<Output = T>,
        counting: impl Future<Output = Option<u64>>,
    ) -> T {
        let told = async {
            if self.shown()
                && let Some(total) = counting.await
            {
                self.expect(total);
            }
            std::future::pending().await
        };
        tokio::select! {
            done = work => done,
            never = told => never,
        }
    }

    fn state(&self) -> Option<MutexGuard<'_, State>> {
        self.state.as_ref().map(|state| state.lock().unwrap_or_else(|e| e.into_inner()))
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        if let Some(mut state) = self.state() {
            change(&mut state);
            state.show(time::now(), false);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(mut state) = self.state() {
            state.show(time::now(), true);
        }
    }
}

/// Bytes of all that lies below these paths, as its authors say; `None` when one does not say it.
pub async fn expected(client: &Client, paths: &[String]) -> Option<u64> {
    let mut sum = 0u64;
    for path in paths {
        // What is wrong with a path is for the work itself to tell.
        let stat = client.stat(path).await.ok()?;
        sum = sum.saturating_add(stat.size.or(stat.cumulative_size)?);
    }
    Some(sum)
}

impl State {
    fn show(&mut self, now: Instant, last: bool) {
        let done: u64 = self.bytes.iter().sum();
        if let Face::Bar(bar) = &self.face {
            if last {
                return bar.finish_and_clear();
            }
            if let Some(blocks) = self.blocks {
                bar.set_message(format!("{} {blocks} blocks,", self.what));
            }
            return bar.set_position(done);
        }
        let since = self.said.unwrap_or(self.began);
        if !last && now.saturating_duration_since(since) < EVERY {
            return;
        }
        self.said = Some(now);
        let text = match &self.face {
            Face::Json => self.event(now, done).to_string(),
            _ => self.line(now, done),
        };
        output::say(&format!("{text}\n"));
    }

    /// Seconds that are left, judged by what was done in those that have passed.
    fn eta(&self, elapsed: f64, done: u64) -> Option<f64> {
        let share = match self.total_bytes {
            Some(total) if done > 0 => done as f64 / total.max(done) as f64,
            None if self.completed > 0 => self.completed as f64 / self.total.max(self.completed) as f64,
            _ => return None,
        };
        Some(elapsed * (1.0 - share) / share)
    }

    fn event(&self, now: Instant, done: u64) -> Value {
        let elapsed = now.saturating_duration_since(self.began).as_secs_f64();
        let well = self.completed - self.failed;
        json!({
            "what": self.what,
            "total": self.total,
            "completed": self.completed,
            "failed": self.failed,
            "success_rate": (self.completed > 0).then(|| well as f64 / self.completed as f64),
            "bytes": done,
            "total_bytes": self.total_bytes,
            "blocks": self.blocks,
            "elapsed": rounded(elapsed),
            "eta": self.eta(elapsed, done).map(rounded),
        })
    }

    fn line(&self, now: Instant, done: u64) -> String {
        let elapsed = now.saturating_duration_since(self.began).as_secs_f64();
        let rate = bytes((done as f64 / elapsed.max(0.001)) as u64);
        let of = self.total_bytes.map(|total| format!(" of {}", bytes(total))).unwrap_or_default();
        let left = self.eta(elapsed, done).map(|left| format!(", {left:.0} s left")).unwrap_or_default();
        format!("{} {}{of}, {rate}/s{left}", self.what, bytes(done))
    }
}

fn rounded(seconds: f64) -> f64 {
    (seconds * 1000.0).round() / 1000.0
}

fn bar(what: &'static str) -> ProgressBar {
    let bar = ProgressBar::new_spinner().with_message(what);
    bar.set_style(style("{msg} {bytes} ({bytes_per_sec})"));
    bar
}

fn style(template: &str) -> ProgressStyle {
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    style.progress_chars("=> ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(total: usize) -> State {
        State {
            what: "added",
            face: Face::Json,
            began: time::now(),
            said: None,
            total,
            completed: 0,
            failed: 0,
            bytes: vec![0; total],
            total_bytes: None,
            blocks: None,
        }
    }

    #[test]
    fn the_time_left_is_judged_by_bytes_else_by_things() {
        let mut state = state(4);
        assert_eq!(state.eta(10.0, 500), None);
        state.completed = 1;
        assert_eq!(state.eta(10.0, 500), Some(30.0));
        state.total_bytes = Some(1000);
        assert_eq!(state.eta(10.0, 500), Some(10.0));
        // More than was expected: done any moment.
        assert_eq!(state.eta(10.0, 1200), Some(0.0));
        assert_eq!(state.eta(10.0, 0), None);
    }

    #[test]
    fn events_count_what_failed_as_done() {
        let mut state = state(4);
        let event = state.event(state.began + Duration::from_millis(2500), 0);
        assert_eq!(event["success_rate"], Value::Null);
        (state.completed, state.failed, state.total_bytes) = (3, 1, Some(400));
        let event = state.event(state.began + Duration::from_millis(2500), 100);
        let expected = json!({
            "what": "added", "total": 4, "completed": 3, "failed": 1, "success_rate": 2.0 / 3.0, "bytes": 100,
            "total_bytes": 400, "blocks": null, "elapsed": 2.5, "eta": 7.5,
        });
        assert_eq!(event, expected);
        assert_eq!(
            state.line(state.began + Duration::from_secs(1), 100),
            "added 100 bytes of 400 bytes, 100 bytes/s, 3 s left"
        );
    }
}
