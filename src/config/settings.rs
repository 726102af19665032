//! Where settings come from: defaults, then a file, then the environment, then flags; the later one decides.

use std::{
    io::Read,
    path::{Path, PathBuf},
};

use super::{
    Config, ConfigError,
    keys::{self, KEYS, Key},
    repo::DEFAULT_FOLDER,
    tree::{self, Node, Place, What},
    value::Value,
};

/// The environment variable that names the file.
pub const FILE_VARIABLE: &str = "IPFS_KIT_CONFIG";
/// The machine's folder of settings.
pub const SYSTEM_FOLDER: &str = "/etc/ipfs_kit";
/// The older switch that means `logging.level: debug`.
pub const DEBUG_VARIABLE: &str = "IPFS_KIT_MP_DEBUG";
/// Most bytes of a settings file.
const MAX_FILE_BYTES: u64 = 256 * 1024;
/// Names in the working folder, and those in other folders.
const HERE: [&str; 3] = ["ipfs_config.yaml", "ipfs_config.yml", "ipfs_config.json"];
const ELSEWHERE: [&str; 3] = ["config.yaml", "config.yml", "config.json"];

/// Where a settings file is looked for. The first that is there is read, and no other.
#[derive(Debug, Clone, Default)]
pub struct Search {
    /// The file named by a flag or the environment; it must be there.
    pub named: Option<PathBuf>,
    /// The working folder.
    pub here: PathBuf,
    /// The repo.
    pub repo: Option<PathBuf>,
    /// The home folder.
    pub home: Option<PathBuf>,
    /// The machine's folder.
    pub system: PathBuf,
}

impl Search {
    /// Every file that would be read, in order.
    pub fn candidates(&self) -> Vec<PathBuf> {
        if let Some(named) = &self.named {
            return vec![named.clone()];
        }
        let here = HERE.iter().map(|name| self.here.join(name));
        let home = self.home.as_ref().map(|home| home.join(DEFAULT_FOLDER));
        let folders = [self.repo.clone(), home, Some(self.system.clone())];
        let mut out: Vec<PathBuf> = here.collect();
        for folder in folders.into_iter().flatten() {
            let files = ELSEWHERE.iter().map(|name| folder.join(name));
            out.extend(files);
        }
        out.dedup();
        out
    }

    /// The file to read, with its text; `None` when there is none.
    fn find(&self) -> Result<Option<(PathBuf, String)>, ConfigError> {
        let here: Vec<PathBuf> = HERE.iter().map(|name| self.here.join(name)).collect();
        for path in self.candidates() {
            let failed = |reason: String| ConfigError::File { file: path.clone(), reason };
            let file = match std::fs::File::open(&path) {
                Ok(file) => file,
                Err(e) if e.kind() == std::io::ErrorKind::NotFound && self.named.is_none() => continue,
                Err(e) => return Err(failed(e.to_string())),
            };
            if self.named.is_none() && here.contains(&path) && !trusted(&file) {
                let why = "it belongs to another user, who could decide what this program does; \
                           take it over, or name it with --config";
                return Err(failed(why.into()));
            }
            let mut bytes = Vec::new();
            file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(|e| failed(e.to_string()))?;
            if bytes.len() as u64 > MAX_FILE_BYTES {
                return Err(failed(format!("it has more than {} KiB; is it a settings file?", MAX_FILE_BYTES / 1024)));
            }
            let text = String::from_utf8(bytes).map_err(|_| failed("it is not text in UTF-8".into()))?;
            return Ok(Some((path, text)));
        }
        Ok(None)
    }

    /// The file that `set` changes: the one that is read, else a new one in the repo.
    pub fn target(&self) -> Result<Option<PathBuf>, ConfigError> {
        if let Some(named) = &self.named {
            return Ok(Some(named.clone()));
        }
        let found = self.find()?.map(|(path, _)| path);
        Ok(found.or_else(|| self.repo.as_ref().map(|repo| repo.join(ELSEWHERE[0]))))
    }
}

/// Whether a file in whatever folder a person happens to be in is that person's own, or root's.
fn trusted(file: &std::fs::File) -> bool {
    use std::os::unix::fs::MetadataExt;
    let me = rustix::process::geteuid().as_raw();
    file.metadata().is_ok_and(|facts| facts.uid() == me || facts.uid() == 0)
}

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Nothing was said.
    Default,
    /// A line of the file.
    File(PathBuf, usize),
    /// An environment variable.
    Variable(&'static str),
    /// A flag.
    Flag(&'static str),
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::File(path, line) => write!(f, "{}:{line}", path.display()),
            Origin::Variable(name) => write!(f, "${name}"),
            Origin::Flag(name) => f.write_str(name),
        }
    }
}

/// What file and environment say.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// The file that was read.
    pub file: Option<PathBuf>,
    /// What in it is no setting.
    pub unknown: Vec<ConfigError>,
    chosen: Vec<(usize, Value, Origin)>,
}

impl Settings {
    /// Reads the file that is found, and the variables.
    pub fn load(search: &Search, variable: &dyn Fn(&str) -> Option<String>) -> Result<Settings, ConfigError> {
        let mut out = match search.find()? {
            Some((path, text)) => Settings::read(&path, &text)?,
            None => Settings::default(),
        };
        let set = |name: &str| variable(name).filter(|text| !text.trim().is_empty());
        for (index, key) in KEYS.iter().enumerate() {
            let mut text = set(key.variable);
            if text.is_none() && key.name == "logging.level" {
                text = set(DEBUG_VARIABLE).filter(|text| text.trim() == "1").map(|_| "debug".to_owned());
            }
            let Some(text) = text else { continue };
            let wrong = |reason| ConfigError::Variable { name: key.variable, reason: with_allowed(key, reason) };
            let value = key.shape.read(&text).map_err(wrong)?;
            try_out(key, &value).map_err(wrong)?;
            out.chosen.retain(|(other, ..)| *other != index);
            out.chosen.push((index, value, Origin::Variable(key.variable)));
        }
        Ok(out)
    }

    /// Reads a file's text.
    pub fn read(path: &Path, text: &str) -> Result<Settings, ConfigError> {
        let at = |place: Place, reason: String| ConfigError::Place {
            file: path.into(),
            line: place.line,
            column: place.column,
            reason,
        };
        if is_json(path) && !text.trim().is_empty() {
            let checked: Result<serde_json::Value, _> = serde_json::from_str(text);
            if let Err(error) = checked {
                let place = Place { line: error.line().max(1), column: error.column().max(1) };
                let whole = error.to_string();
                let reason = whole.split(" at line ").next().unwrap_or(&whole);
                return Err(at(place, format!("this is no JSON: {reason}")));
            }
        }
        let root = tree::parse(text).map_err(|wrong| at(wrong.place, wrong.reason))?;
        let mut out = Settings { file: Some(path.into()), ..Settings::default() };
        for (names, place, node) in root.leaves() {
            let name = names.join(".");
            let Some(index) = KEYS.iter().position(|key| key.name == name) else {
                let reason = unknown(&name);
                out.unknown.push(at(place, reason));
                continue;
            };
            let key = &KEYS[index];
            let Some(value) = read_node(key, node).map_err(|(place, reason)| at(place, with_allowed(key, reason)))?
            else {
                continue;
            };
            try_out(key, &value).map_err(|reason| at(node.place, with_allowed(key, reason)))?;
            out.chosen.push((index, value, Origin::File(path.into(), place.line)));
        }
        Ok(out)
    }

    /// Sets one as a flag does.
    pub fn flag(&mut self, name: &'static str, flag: &'static str, value: Value) {
        if let Some(index) = KEYS.iter().position(|key| key.name == name) {
            self.chosen.retain(|(other, ..)| *other != index);
            self.chosen.push((index, value, Origin::Flag(flag)));
        }
    }

    /// The settings of the repo in `folder`.
    pub fn config(&self, folder: impl Into<PathBuf>) -> Result<Config, ConfigError> {
        let mut config = Config::new(folder);
        let mut chosen: Vec<_> = self.chosen.iter().collect();
        chosen.sort_by_key(|(index, ..)| *index);
        for (index, value, origin) in chosen {
            let key = &KEYS[*index];
            let wrong = |reason| ConfigError::Together { reason: format!("{} ({origin}) {reason}", key.name) };
            key.set(&mut config, value).map_err(wrong)?;
        }
        let wrong = |e: crate::dag::DagError| ConfigError::Together { reason: format!("the import.… settings: {e}") };
        config.import.validate().map_err(wrong)?;
        Ok(config)
    }

    /// Where the value of a setting comes from.
    pub fn origin(&self, key: &Key) -> Origin {
        let found = self.chosen.iter().find(|(index, ..)| KEYS[*index].name == key.name);
        found.map_or(Origin::Default, |(_, _, origin)| origin.clone())
    }
}

/// Whether a file is JSON by its name.
pub fn is_json(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("json"))
}

/// What is said of a name that is no setting.
pub fn unknown(name: &str) -> String {
    let shown: String = name.chars().take(80).collect();
    match keys::nearest(name) {
        Some(nearest) => format!("there is no setting '{shown}'; the nearest is '{nearest}'"),
        None => format!("there is no setting '{shown}'; 'ipfs-kit config show' lists them all"),
    }
}

fn with_allowed(key: &Key, reason: String) -> String {
    format!("{} {reason}; allowed: {}", key.name, key.shape.allowed())
}

/// Settings are tried on a node that is never started, so that a mistake is found where it stands.
fn try_out(key: &Key, value: &Value) -> Result<(), String> {
    key.set(&mut Config::new("/"), value)
}

/// A value of the file; `None` when nothing stands behind the name.
fn read_node(key: &Key, node: &Node) -> Result<Option<Value>, (Place, String)> {
    match &node.what {
        What::Scalar(text) if text.is_empty() || text == "null" || text == "~" => Ok(None),
        What::Scalar(text) if key.shape.is_list() => {
            key.shape.read_list(std::iter::once(text.as_str())).map(Some).map_err(|e| (node.place, e))
        }
        What::Scalar(text) => key.shape.read(text).map(Some).map_err(|e| (node.place, e)),
        What::List(items) if key.shape.is_list() => {
            let mut texts = Vec::new();
            for item in items {
                match &item.what {
                    What::Scalar(text) => texts.push(text.as_str()),
                    _ => return Err((item.place, "holds more than words".into())),
                }
            }
            key.shape.read_list(texts.into_iter()).map(Some).map_err(|e| (node.place, e))
        }
        What::List(_) => Err((node.place, "is a list, but has one value".into())),
        What::Map { .. } => Err((node.place, "has settings below it, but is one itself".into())),
    }
}

/// Writes the setting into the text of a file; the rest stays as it is.
pub fn set(path: &Path, text: &str, key: &Key, typed: &str) -> Result<String, ConfigError> {
    let wrong = |reason| ConfigError::Setting { reason: with_allowed(key, reason) };
    let value = key.shape.read(typed).map_err(wrong)?;
    try_out(key, &value).map_err(wrong)?;
    let words = match value {
        Value::List(items) => items,
        Value::Flag(on) => vec![on.to_string()],
        _ => vec![typed.trim().to_owned()],
    };
    let names: Vec<&str> = key.name.split('.').collect();
    let edited = super::edit::set(text, &names, &words, key.shape.is_list(), is_json(path))
        .map_err(|reason| ConfigError::File { file: path.into(), reason })?;
    Settings::read(path, &edited)?;
    Ok(edited)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn none(_: &str) -> Option<String> {
        None
    }

    fn search(root: &Path) -> Search {
        for folder in ["here", "repo", "home/.ipfs_kit", "etc"] {
            std::fs::create_dir_all(root.join(folder)).unwrap();
        }
        Search {
            named: None,
            here: root.join("here"),
            repo: Some(root.join("repo")),
            home: Some(root.join("home")),
            system: root.join("etc"),
        }
    }

    #[test]
    fn the_first_file_is_read_and_no_other() {
        let root = tempfile::tempdir().unwrap();
        let mut search = search(root.path());
        let name = |settings: &Settings| settings.config("/r").unwrap().dht_namespace;
        assert_eq!(name(&Settings::load(&search, &none).unwrap()), None);
        let places = [
            "etc/config.json",
            "home/.ipfs_kit/config.yaml",
            "repo/config.json",
            "repo/config.yaml",
            "here/ipfs_config.json",
            "here/ipfs_config.yaml",
        ];
        for (n, place) in places.iter().enumerate() {
            let path = root.path().join(place);
            let text = match place.ends_with("json") {
                true => format!("{{\"dht\": {{\"namespace\": \"n{n}\"}}}}"),
                false => format!("dht:\n  namespace: n{n}\n"),
            };
            std::fs::write(&path, text).unwrap();
            let settings = Settings::load(&search, &none).unwrap();
            assert_eq!(name(&settings), Some(format!("n{n}")), "{place}");
            assert_eq!(settings.file.as_deref(), Some(path.as_path()));
            assert_eq!(search.target().unwrap(), Some(path));
        }
        search.named = Some(root.path().join("etc/config.json"));
        assert_eq!(name(&Settings::load(&search, &none).unwrap()), Some("n0".into()));
        search.named = Some(root.path().join("nowhere.yaml"));
        assert!(Settings::load(&search, &none).unwrap_err().to_string().contains("nowhere.yaml"));
        search.named = Some("/dev/null".into());
        assert_eq!(name(&Settings::load(&search, &none).unwrap()), None);
    }

    #[test]
    fn flags_beat_the_environment_which_beats_the_file() {
        let text = "swarm:\n  connections: 7\n  known_peers: 20\nlogging: {level: warn}\n";
        let root = tempfile::tempdir().unwrap();
        let search = search(root.path());
        std::fs::write(root.path().join("here/ipfs_config.yaml"), text).unwrap();
        let variables = |name: &str| (name == "IPFS_KIT_SWARM_CONNECTIONS").then(|| "8".to_owned());
        let mut settings = Settings::load(&search, &variables).unwrap();
        let limits = |settings: &Settings| settings.config("/r").unwrap().limits;
        assert_eq!((limits(&settings).connections, limits(&settings).known_peers), (8, 20));
        settings.flag("swarm.connections", "--connections", Value::Number(9));
        assert_eq!(limits(&settings).connections, 9);
        let origin = |name: &str| settings.origin(keys::find(name).unwrap()).to_string();
        assert_eq!(origin("swarm.connections"), "--connections");
        assert!(origin("swarm.known_peers").ends_with("ipfs_config.yaml:3"), "{}", origin("swarm.known_peers"));
        assert_eq!(origin("role"), "default");
        // The older debug switch, and its successor before it.
        let old = |name: &str| (name == DEBUG_VARIABLE).then(|| "1".to_owned());
        assert_eq!(Settings::load(&search, &old).unwrap().config("/r").unwrap().log.level, "debug");
        let both = |name: &str| match name {
            DEBUG_VARIABLE => Some("1".to_owned()),
            "IPFS_KIT_LOG" => Some("error".to_owned()),
            _ => None,
        };
        assert_eq!(Settings::load(&search, &both).unwrap().config("/r").unwrap().log.level, "error");
        let bad = |name: &str| (name == "IPFS_KIT_WORKERS").then(|| "many".to_owned());
        let error = Settings::load(&search, &bad).unwrap_err().to_string();
        assert!(error.contains("IPFS_KIT_WORKERS") && error.contains("1 to 1024"), "{error}");
    }

    #[test]
    fn mistakes_are_named_with_file_line_column_and_what_is_allowed() {
        let read = |text: &str| Settings::read(Path::new("f.yaml"), text);
        for (text, words) in [
            (
                "swarm:\n  connections: many\n",
                "f.yaml:2:16: swarm.connections is 'many', which is no whole number; allowed: 1 to 100000",
            ),
            ("role: king\n", "f.yaml:1:7: role is 'king'; allowed: master, worker or leecher"),
            ("swarm:\n  listen:\n    - /ip4/1.2.3.4\n", "f.yaml:3:5: swarm.listen cannot be used: '/ip4/1.2.3.4'"),
            ("storage: {segment_size: 2XB}\n", "f.yaml:1:25: storage.segment_size is '2XB', which is no size"),
            ("timeouts:\n  api: soon\n", "f.yaml:2:8: timeouts.api is 'soon', which is no span of time"),
            ("timeouts: 7\nrole: {a: b\n", "f.yaml:"),
            ("role: [master]\n", "f.yaml:1:7: role is a list"),
            ("api: {address: '0.0.0.0:5001'}\n", "f.yaml:1:16: api.address cannot be used: the API gives full control"),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.starts_with(words), "{text}: {error}");
        }
        let error = Settings::read(Path::new("f.json"), "{\n  \"role\": \"worker\",\n}").unwrap_err().to_string();
        assert!(error.starts_with("f.json:3:1: this is no JSON: trailing comma"), "{error}");
        let settings = read("swarm:\n  connection: 7\nplugins: []\nrole: worker\n").unwrap();
        let unknown: Vec<String> = settings.unknown.iter().map(ToString::to_string).collect();
        assert_eq!(
            unknown[0],
            "f.yaml:2:3: there is no setting 'swarm.connection'; the nearest is 'swarm.connections'"
        );
        assert!(unknown[1].starts_with("f.yaml:3:1: there is no setting 'plugins'"), "{unknown:?}");
        assert_eq!(settings.config("/r").unwrap().role, Some(crate::base::Role::Worker));
        // Each is fine, but not beside the other.
        let settings = read("import: {hash: sha1, cid_version: 0}").unwrap();
        assert!(settings.config("/r").unwrap_err().to_string().contains("CID version 1"));
        assert!(read("role:\nlogging:\n  level: ~\n").unwrap().config("/r").unwrap().role.is_none());
    }

    #[test]
    fn a_value_is_checked_before_it_is_written() {
        let key = keys::find("swarm.connections").unwrap();
        let text = "role: worker # mine\n";
        let path = Path::new("f.yaml");
        assert_eq!(set(path, text, key, "70").unwrap(), "role: worker # mine\nswarm:\n  connections: 70\n");
        assert!(set(path, text, key, "0").unwrap_err().to_string().contains("1 to 100000"));
        let listen = keys::find("swarm.listen").unwrap();
        let two = set(path, text, listen, "/ip4/0.0.0.0/tcp/1,/ip4/0.0.0.0/udp/1/quic-v1").unwrap();
        assert!(two.ends_with("listen: [/ip4/0.0.0.0/tcp/1, /ip4/0.0.0.0/udp/1/quic-v1]\n"), "{two}");
        // Found by fuzzing: it was taken for JSON where it was to be changed.
        let yaml = "# c\nrole: worker\nlogging: # few\n";
        assert!(set(Path::new("f.json"), yaml, key, "70").unwrap_err().to_string().contains("no JSON"));
        let json = set(Path::new("f.json"), "", key, "70").unwrap();
        assert_eq!(json, "{\n  \"swarm\": {\"connections\": 70}\n}\n");
    }
}
