//! Where the configuration is looked for, and where the folders are that it does not name.

use std::{
    env,
    path::{Path, PathBuf},
};

use directories::ProjectDirs;

use super::place::ConfigError;

/// Where a system-wide installation keeps its configuration.
const SYSTEM_CONFIG: &str = "/etc/mailchute/mailchute.toml";

/// Where `init` writes when no file is named: the user's own configuration.
#[must_use]
pub fn user_file() -> Option<PathBuf> {
    project().map(|dirs| dirs.config_dir().join("mailchute.toml"))
}

fn project() -> Option<ProjectDirs> {
    ProjectDirs::from("", "", "mailchute")
}

/// The given file, else `$MAILCHUTE_CONFIG`, the user's, the system's.
pub(super) fn find(given: Option<&Path>) -> Result<PathBuf, ConfigError> {
    if let Some(file) = given {
        return Ok(file.to_owned());
    }
    if let Some(file) = env::var_os("MAILCHUTE_CONFIG") {
        return Ok(PathBuf::from(file));
    }
    let user = user_file();
    let candidates = user.iter().cloned().chain([PathBuf::from(SYSTEM_CONFIG)]);
    candidates.into_iter().find(|file| file.exists()).ok_or_else(|| ConfigError {
        file: user.unwrap_or_else(|| PathBuf::from(SYSTEM_CONFIG)),
        line: None,
        key: None,
        problem: format!(
            "there is no configuration here, nor at {SYSTEM_CONFIG}: `mailchute init` writes one"
        ),
    })
}

/// Where relative and missing folder names lead.
pub(super) struct Folders {
    pub(super) base: PathBuf,
    file: PathBuf,
    /// systemd's folder first, then the user's data folder.
    data: Option<PathBuf>,
}

impl Folders {
    pub(super) fn new(file: &Path) -> Self {
        let whole = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
        let base = whole.parent().map(Path::to_owned).unwrap_or_default();
        // systemd separates several StateDirectory= entries by colons; the first one is ours.
        let service =
            env::var("STATE_DIRECTORY").ok().and_then(|all| all.split(':').next().map(PathBuf::from));
        let data = service.or_else(|| project().map(|dirs| dirs.data_dir().to_owned()));
        Self { base, file: file.to_owned(), data }
    }

    pub(super) fn resolve(&self, named: Option<&Path>, below_data: &str) -> Result<PathBuf, ConfigError> {
        match (named, &self.data) {
            (Some(path), _) => Ok(self.base.join(path)),
            (None, Some(data)) => {
                Ok(if below_data.is_empty() { data.clone() } else { data.join(below_data) })
            }
            (None, None) => Err(ConfigError {
                file: self.file.clone(),
                line: None,
                key: Some(if below_data.is_empty() { "state" } else { below_data }.to_owned()),
                problem: "this user has no home folder to take a default from: name the folder".to_owned(),
            }),
        }
    }
}
