//! Where words go: results to standard output, the rest to standard error.

use std::{
    io::{IsTerminal, Write},
    path::PathBuf,
    process::ExitCode,
    sync::{Mutex, OnceLock},
    time::Duration,
};

use serde::Serialize;
use tracing_subscriber::fmt::writer::BoxMakeWriter;

use super::{
    args::{Common, Format},
    shape::{self, Table},
};
use crate::{
    base::{HasKind, cid},
    config::{
        Config, ConfigError, DEFAULT_TIMEOUT, Log, LogFormat, Settings, repo,
        settings::{SYSTEM_FOLDER, Search},
    },
    dag::cids::CidText,
    http::client::Reply,
};

/// Why a verb ends with an exit code that is not 0.
#[derive(Debug)]
pub enum Failure {
    /// A sentence for the person.
    Said(String),
    /// All was said already.
    Silent,
}

impl Failure {
    /// A failure with its sentence.
    pub fn new(text: impl Into<String>) -> Self {
        Failure::Said(text.into())
    }

    /// What is still to be said.
    pub fn text(&self) -> Option<&str> {
        match self {
            Failure::Said(text) => Some(text),
            Failure::Silent => None,
        }
    }

    /// The exit code.
    pub fn code(&self) -> ExitCode {
        ExitCode::FAILURE
    }
}

impl<E: HasKind> From<E> for Failure {
    fn from(error: E) -> Self {
        Failure::Said(error.to_string())
    }
}

/// What every verb has at hand.
pub struct Context {
    /// The flags of every verb.
    pub common: Common,
    settings: OnceLock<Result<Settings, ConfigError>>,
}

impl Context {
    /// The flags, ready for use.
    pub fn new(common: Common) -> Self {
        Context { common, settings: OnceLock::new() }
    }

    /// Where settings files are looked for.
    pub fn search(&self) -> Search {
        Search {
            named: self.common.config.clone().filter(|path| !path.as_os_str().is_empty()),
            here: ".".into(),
            repo: self.repo().ok(),
            home: std::env::var_os("HOME").filter(|home| !home.is_empty()).map(PathBuf::from),
            system: SYSTEM_FOLDER.into(),
        }
    }

    /// What file and environment say; read once.
    pub fn settings(&self) -> Result<&Settings, ConfigError> {
        let load = || Settings::load(&self.search(), &|name| std::env::var(name).ok());
        self.settings.get_or_init(load).as_ref().map_err(Clone::clone)
    }

    /// The settings of the repo.
    pub fn config(&self) -> Result<Config, ConfigError> {
        self.settings()?.config(self.repo()?)
    }

    /// The repo's folder.
    pub fn repo(&self) -> Result<std::path::PathBuf, ConfigError> {
        repo::folder(self.common.repo.clone(), std::env::var_os(repo::REPO_VARIABLE), std::env::var_os("HOME"))
    }

    /// The time limit: the flag's, else the settings'; `None` for 0. Wrong settings are another's to tell.
    pub fn timeout(&self) -> Option<Duration> {
        let said = || self.settings().and_then(|settings| settings.config("")).map(|config| config.timeout);
        match self.common.timeout {
            None => said().unwrap_or(Some(DEFAULT_TIMEOUT)),
            Some(_) => self.timeout_or(None),
        }
    }

    /// The time limit: the flag's, else another default.
    pub fn timeout_or(&self, default: Option<Duration>) -> Option<Duration> {
        match self.common.timeout {
            Some(Duration::ZERO) => None,
            Some(limit) => Some(limit),
            None => default,
        }
    }

    /// CIDs as the caller wants them written.
    pub fn cids(&self, cids: &[String]) -> Result<Vec<String>, Failure> {
        let Some(base) = &self.common.cid_base else { return Ok(cids.to_vec()) };
        let text = CidText::named(base)?;
        let one = |cid: &String| Ok(text.of(&cid::parse(cid)?));
        cids.iter().map(one).collect()
    }

    /// Prints a result: the object, or the text for people.
    pub fn show<T: Serialize>(&self, json: &T, text: impl FnOnce() -> String) -> Result<(), Failure> {
        let mut out = match self.common.format {
            Format::Json => serde_json::to_string(json).expect("plain data becomes JSON"),
            Format::Yaml => shape::yaml(json),
            Format::Table => shape::table(json),
            Format::Text => text(),
        };
        if !out.is_empty() && !out.ends_with('\n') {
            out.push('\n');
        }
        write(out.as_bytes())?;
        flush()
    }

    /// Whether progress is worth showing: someone watches.
    pub fn watched(&self) -> bool {
        !self.common.quiet && std::io::stderr().is_terminal()
    }

    /// Says something beside the result.
    pub fn note(&self, text: &str) {
        if !self.common.quiet {
            say(&format!("{text}\n"));
        }
    }
}

/// Bytes of a list that are written at a time.
const LIST_BYTES: usize = 32 * 1024;

/// A result that is a list, written while its items come: one object with the list under a key, or a line for each item.
pub struct Listing {
    format: Format,
    key: &'static str,
    out: Vec<u8>,
    any: bool,
    table: Table,
    // A person sees every item at once.
    at_once: bool,
}

impl Listing {
    /// An empty list under `key`.
    pub fn new(context: &Context, key: &'static str) -> Self {
        let at_once = std::io::stdout().is_terminal();
        Listing { format: context.common.format, key, out: Vec::new(), any: false, table: Table::default(), at_once }
    }

    /// The next item: an object, or its text for people.
    pub fn item<T: Serialize>(&mut self, json: &T, text: impl FnOnce() -> String) -> Result<(), Failure> {
        match self.format {
            Format::Json => {
                let before = if self.any { ",".to_owned() } else { format!("{{\"{}\":[", self.key) };
                self.out.extend_from_slice(before.as_bytes());
                serde_json::to_writer(&mut self.out, json).expect("plain data becomes JSON");
            }
            Format::Yaml => {
                if !self.any {
                    self.out.extend_from_slice(format!("{}:\n", self.key).as_bytes());
                }
                self.out.extend_from_slice(shape::yaml_item(json).as_bytes());
            }
            Format::Table => {
                let value = serde_json::to_value(json).expect("plain data becomes JSON");
                let row = value.as_object().map(|row| self.table.row(row));
                self.out.extend_from_slice(row.unwrap_or_default().as_bytes());
            }
            Format::Text => {
                self.out.extend_from_slice(text().as_bytes());
                self.out.push(b'\n');
            }
        }
        self.any = true;
        if self.at_once || self.out.len() > LIST_BYTES { self.write() } else { Ok(()) }
    }

    /// A line for people beside the items.
    pub fn remark(&mut self, text: &str) {
        if self.format == Format::Text {
            self.out.extend_from_slice(text.as_bytes());
        }
    }

    /// The end of the list.
    pub fn end(mut self) -> Result<(), Failure> {
        let end = match (self.format, self.any) {
            (Format::Json, true) => "]}\n".to_owned(),
            (Format::Json, false) => format!("{{\"{}\":[]}}\n", self.key),
            (Format::Yaml, false) => format!("{}: []\n", self.key),
            (Format::Table, _) => self.table.end(),
            (Format::Yaml, true) | (Format::Text, _) => String::new(),
        };
        self.out.extend_from_slice(end.as_bytes());
        self.write()
    }

    fn write(&mut self) -> Result<(), Failure> {
        write(&self.out)?;
        self.out.clear();
        flush()
    }
}

/// Writes to standard error. Nobody may read it any more (the reader of a pipe has ended), which is no reason to fail.
pub fn say(text: &str) {
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}

/// Writes a piece of a result.
pub fn write(bytes: &[u8]) -> Result<(), Failure> {
    std::io::stdout().lock().write_all(bytes).map_err(|e| stdout_failed(&e))
}

/// Makes sure that all of the result is out.
pub fn flush() -> Result<(), Failure> {
    std::io::stdout().lock().flush().map_err(|e| stdout_failed(&e))
}

fn stdout_failed(error: &std::io::Error) -> Failure {
    // The reader of a pipe that has seen enough needs no words, but the result is not all out.
    if error.kind() == std::io::ErrorKind::BrokenPipe {
        return Failure::Silent;
    }
    Failure::new(format!("standard output: {error}"))
}

/// Writes an answer to standard output as it comes; `progress` is told the bytes so far.
pub async fn copy(reply: &mut Reply, mut progress: impl FnMut(u64)) -> Result<(), Failure> {
    let mut done = 0;
    while let Some(piece) = reply.next().await? {
        write(&piece)?;
        done += piece.len() as u64;
        progress(done);
    }
    flush()
}

/// A number of bytes as people read it.
pub fn bytes(n: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if n < 1024 {
        return format!("{n} bytes");
    }
    let mut value = n as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// Sends the log to standard error or to a file. `RUST_LOG`, when it is set, decides what is logged; else `filter` does.
pub fn log(log: &Log, filter: &str) -> Result<(), Failure> {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(filter));
    let to = match &log.file {
        None => BoxMakeWriter::new(std::io::stderr),
        Some(path) => {
            let opened = std::fs::OpenOptions::new().create(true).append(true).open(path);
            let file = opened.map_err(|e| Failure::new(format!("logging.file {}: {e}", path.display())))?;
            BoxMakeWriter::new(Mutex::new(file))
        }
    };
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(to)
        // Else it would panic when nobody reads standard error any more.
        .log_internal_errors(false)
        .with_ansi(log.file.is_none() && std::io::stderr().is_terminal());
    let _ = match log.format {
        LogFormat::Text => lines.try_init(),
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
    };
    Ok(())
}
