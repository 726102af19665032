//! `config`: settings, shown, changed and checked.

use std::{
    io::Write,
    path::{Path, PathBuf},
};

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::output::{Context, Failure};
use crate::config::{
    Config, ConfigError, Settings,
    keys::{self, KEYS, Key},
    settings,
};

/// Shows, changes and checks settings.
///
/// They come from flags, else from environment variables, else from one file, else they have their defaults. The file is
/// the first of ./ipfs_config.yaml, ./ipfs_config.json, config.yaml and config.json in the repo, in ~/.ipfs_kit and in
/// /etc/ipfs_kit; --config FILE names another. A running daemon has the settings it was started with.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  ipfs-kit config show                              every setting, its value and where that comes from
  ipfs-kit config set swarm.connections 500
  ipfs-kit config set swarm.listen /ip4/0.0.0.0/tcp/4001,/ip4/0.0.0.0/udp/4001/quic-v1
  ipfs-kit config get swarm.connections
  ipfs-kit config check")]
pub struct ConfigArgs {
    #[command(subcommand)]
    verb: ConfigVerb,
}

#[derive(Subcommand, Debug)]
enum ConfigVerb {
    /// Show one setting's value
    #[command(after_help = "JSON: {key, value, origin}

Examples:
  ipfs-kit config get timeouts.api")]
    Get {
        /// The setting
        key: String,
    },
    /// Change one setting in the file; the rest of the file stays as it is
    #[command(
        after_help = "The file is the one that is read, else config.yaml in the repo. It is replaced whole and synced.
JSON: {key, value, file}

Examples:
  ipfs-kit config set logging.level debug
  ipfs-kit --config site.yaml config set storage.segment_size 512MiB"
    )]
    Set {
        /// The setting
        key: String,
        /// Its value; several with commas between them
        value: String,
    },
    /// Show every setting: its value, where that comes from, and what it does
    #[command(after_help = "JSON: {file, settings: [{key, value, origin, default, allowed, variable, about}]}

Examples:
  ipfs-kit config show
  ipfs-kit config show --verbose                    what is allowed, and what each does
  ipfs-kit config show --format json")]
    Show {},
    /// Say what is wrong with the file and the environment, with file, line and column
    #[command(after_help = "JSON: {file, ok, errors}. The exit code is 1 when anything is wrong.

Examples:
  ipfs-kit config check
  ipfs-kit --config site.yaml config check")]
    Check {},
}

pub fn run(args: ConfigArgs, context: &Context) -> Result<(), Failure> {
    match args.verb {
        ConfigVerb::Get { key } => get(&key, context),
        ConfigVerb::Set { key, value } => set(&key, &value, context),
        ConfigVerb::Show {} => show(context),
        ConfigVerb::Check {} => check(context),
    }
}

fn find(name: &str) -> Result<&'static Key, Failure> {
    keys::find(name).ok_or_else(|| Failure::new(settings::unknown(name)))
}

fn effective(context: &Context) -> Result<(&Settings, Config), Failure> {
    let settings = context.settings()?;
    Ok((settings, settings.config(context.repo().unwrap_or_default())?))
}

fn get(name: &str, context: &Context) -> Result<(), Failure> {
    let key = find(name)?;
    let (settings, config) = effective(context)?;
    let origin = settings.origin(key).to_string();
    context.show(&json!({"key": key.name, "value": json_of(key, &config), "origin": origin}), || key.shown(&config))
}

fn json_of(key: &Key, config: &Config) -> Value {
    use crate::config::value::Value as Is;
    match key.value(config) {
        Is::Number(n) => json!(n),
        Is::Flag(on) => json!(on),
        Is::List(items) => json!(items),
        Is::Unset => Value::Null,
        other => json!(other.to_string()),
    }
}

fn show(context: &Context) -> Result<(), Failure> {
    let (settings, config) = effective(context)?;
    let default = Config::new(context.repo().unwrap_or_default());
    let rows: Vec<Value> = KEYS
        .iter()
        .map(|key| {
            json!({
                "key": key.name, "value": json_of(key, &config), "origin": settings.origin(key).to_string(),
                "default": json_of(key, &default), "allowed": key.shape.allowed(), "variable": key.variable,
                "about": key.about,
            })
        })
        .collect();
    let file = settings.file.as_ref().map(|path| path.display().to_string());
    context.show(&json!({"file": file, "settings": rows}), || {
        let mut out = match &file {
            Some(file) => format!("file: {file}\n"),
            None => "file: none\n".to_owned(),
        };
        let width = KEYS.iter().map(|key| key.name.len()).max().unwrap_or_default();
        for key in KEYS {
            let origin = settings.origin(key);
            let (name, value) = (key.name, key.shown(&config));
            out.push_str(&format!("{name:width$}  {value}  ({origin})\n"));
            if context.common.verbose {
                let (about, allowed, variable) = (key.about, key.shape.allowed(), key.variable);
                out.push_str(&format!("{:width$}  {about}; {allowed}; ${variable}\n", ""));
            }
        }
        out
    })?;
    for unknown in &settings.unknown {
        context.note(&format!("note: {unknown}; it is ignored"));
    }
    Ok(())
}

fn check(context: &Context) -> Result<(), Failure> {
    let mut errors: Vec<ConfigError> = Vec::new();
    let mut file: Option<PathBuf> = None;
    match context.settings() {
        Ok(settings) => {
            file.clone_from(&settings.file);
            errors.extend(settings.unknown.iter().cloned());
            errors.extend(settings.config(context.repo().unwrap_or_default()).err());
        }
        Err(error) => errors.push(error),
    }
    let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
    let shown = file.as_ref().map(|path| path.display().to_string());
    context.show(&json!({"file": shown, "ok": errors.is_empty(), "errors": errors}), || {
        match (&shown, errors.len()) {
            (Some(file), 0) => format!("{file}: nothing is wrong"),
            (None, 0) => "there is no settings file, and nothing is wrong with the environment".into(),
            _ => String::new(),
        }
    })?;
    match errors.is_empty() {
        true => Ok(()),
        false => Err(Failure::new(errors.join("\nerror: "))),
    }
}

fn set(name: &str, value: &str, context: &Context) -> Result<(), Failure> {
    let key = find(name)?;
    let nowhere = || Failure::new("no file to write to: name one with --config, or a repo with --repo");
    let path = context.search().target()?.ok_or_else(nowhere)?;
    // What a link leads to is changed, not the link.
    let path = path.canonicalize().unwrap_or(path);
    let failed = |e: std::io::Error| Failure::new(format!("the settings file {}: {e}", path.display()));
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(e) => return Err(failed(e)),
    };
    let edited = settings::set(&path, &text, key, value)?;
    replace(&path, &edited).map_err(failed)?;
    let now = Settings::read(&path, &edited)?.config(context.repo().unwrap_or_default());
    let shown = now.as_ref().map(|config| key.shown(config)).unwrap_or_else(|_| value.to_owned());
    context.show(&json!({"key": key.name, "value": shown, "file": path.display().to_string()}), || {
        format!("{}: {} = {shown}", path.display(), key.name)
    })?;
    if let Err(error) = now {
        context.note(&format!("note: {error}"));
    }
    Ok(())
}

/// Writes the file beside its place, syncs it and renames it, so that at any moment there is the old one or the new one.
fn replace(path: &Path, text: &str) -> std::io::Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let mut new = tempfile::Builder::new().prefix(".config-").tempfile_in(folder)?;
    new.write_all(text.as_bytes())?;
    if let Ok(old) = std::fs::metadata(path) {
        new.as_file().set_permissions(old.permissions())?;
    }
    new.as_file().sync_all()?;
    new.persist(path)?;
    std::fs::File::open(folder)?.sync_all()
}
