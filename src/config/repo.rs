//! Sans-IO: which folder holds the repo, and which files in it say where the API is.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

use super::ConfigError;

/// The environment variable that names the repo.
pub const REPO_VARIABLE: &str = "IPFS_KIT_PATH";
/// The environment variable that names the API.
pub const API_VARIABLE: &str = "IPFS_KIT_API_URL";
/// The repo's folder in the home folder.
pub const DEFAULT_FOLDER: &str = ".ipfs_kit";

/// The repo folder: the flag, else the variable, else `~/.ipfs_kit`. Empty values count as unset.
pub fn folder(
    flag: Option<PathBuf>,
    variable: Option<OsString>,
    home: Option<OsString>,
) -> Result<PathBuf, ConfigError> {
    let set = |value: Option<OsString>| value.filter(|v| !v.is_empty()).map(PathBuf::from);
    flag.filter(|f| !f.as_os_str().is_empty())
        .or_else(|| set(variable))
        .or_else(|| set(home).map(|h| h.join(DEFAULT_FOLDER)))
        .ok_or(ConfigError::NoRepo)
}

/// The file a running daemon keeps its API's multiaddress in.
pub fn api_file(repo: &Path) -> PathBuf {
    repo.join("api")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flag_beats_the_variable_beats_home() {
        let some = |s: &str| Some(OsString::from(s));
        assert_eq!(folder(Some("/f".into()), some("/v"), some("/h")).unwrap(), PathBuf::from("/f"));
        assert_eq!(folder(None, some("/v"), some("/h")).unwrap(), PathBuf::from("/v"));
        assert_eq!(folder(None, some(""), some("/h")).unwrap(), PathBuf::from("/h/.ipfs_kit"));
        assert_eq!(folder(None, None, None), Err(ConfigError::NoRepo));
    }
}
