//! The application as the portal has it, and who signs in for it.
//!
//! Promises that the secret is read only when somebody asks for it, and that a secret which others can read is refused.

use std::{
    env, fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use secrecy::{ExposeSecret, SecretString};
use toml::Spanned;
use url::Url;

use super::folders::Folders;
use super::place::{ConfigError, Source};
use super::raw::{RawApi, RawApplication};
use super::{Config, values};
use crate::oauth::Application;

const AUTHORIZE_URL: &str = "https://authz.constantcontact.com/oauth2/default/v1/authorize";
const TOKEN_URL: &str = "https://authz.constantcontact.com/oauth2/default/v1/token";
const DEVICE_URL: &str = "https://authz.constantcontact.com/oauth2/default/v1/device/authorize";
/// Where systemd keeps the state folders of services.
const SERVICES: &str = "/var/lib";
/// Is there while systemd is the init.
const SYSTEMD_RUNS: &str = "/run/systemd/system";
/// Bits of a file's mode that let somebody else than the owner look in.
const OTHERS_MAY_LOOK: u32 = 0o077;

/// The application without its secret.
#[derive(Debug, Clone)]
pub(super) struct PublicApplication {
    client_id: String,
    client_secret_file: Option<PathBuf>,
    redirect_uri: String,
    scopes: Vec<String>,
    authorize_url: Url,
    token_url: Url,
    device_url: Url,
}

impl Config {
    /// The application with its secret, read now: `$CREDENTIALS_DIRECTORY/client_secret`, else the configured file.
    pub fn application(&self) -> Result<Application, ConfigError> {
        let public = self.application.clone();
        Ok(Application {
            client_id: public.client_id,
            client_secret: self.secret(public.client_secret_file.as_deref())?,
            redirect_uri: public.redirect_uri,
            scopes: public.scopes,
            authorize_url: public.authorize_url,
            token_url: public.token_url,
            device_url: public.device_url,
            base_url: self.base_url.clone(),
            sign_in: self.sign_in(),
        })
    }

    /// The command line that signs in for this configuration; for the packaged service, as its user and with its secret.
    #[must_use]
    pub fn sign_in(&self) -> String {
        let file = self.file.display();
        // The folder that exists where systemd runs (sd_booted(3)): in a container the same paths are no unit's.
        let booted = Path::new(SYSTEMD_RUNS).is_dir();
        match service(&self.state).filter(|_| booted) {
            None => format!("mailchute-auth --config {file}"),
            Some(name) => format!(
                "sudo systemd-run --pty --collect --uid=mailchute --property=LoadCredential=client_secret:{name}.client_secret \
                 mailchute-auth --no-open --config {file}"
            ),
        }
    }

    fn secret(&self, configured: Option<&Path>) -> Result<Option<SecretString>, ConfigError> {
        let credential =
            env::var_os("CREDENTIALS_DIRECTORY").map(|folder| Path::new(&folder).join("client_secret"));
        if let Some(path) = credential.filter(|path| path.exists()) {
            return self.read_secret(&path).map(Some);
        }
        let Some(path) = configured else { return Ok(None) };
        let mode = fs::metadata(path).map(|meta| meta.permissions().mode()).unwrap_or_default();
        if mode & OTHERS_MAY_LOOK != 0 {
            let path = path.display();
            return Err(self.secret_error(format!("other users can read {path}: `chmod 600 {path}`")));
        }
        self.read_secret(path).map(Some)
    }

    fn read_secret(&self, path: &Path) -> Result<SecretString, ConfigError> {
        let text = fs::read_to_string(path)
            .map_err(|error| self.secret_error(format!("{} cannot be read: {error}", path.display())))?;
        let text = SecretString::from(text);
        let secret = text.expose_secret().trim();
        if secret.is_empty() {
            return Err(
                self.secret_error(format!("{} is empty: put the client secret into it", path.display()))
            );
        }
        Ok(SecretString::from(secret))
    }

    fn secret_error(&self, problem: String) -> ConfigError {
        ConfigError {
            file: self.file.clone(),
            line: None,
            key: Some("application.client_secret_file".to_owned()),
            problem,
        }
    }
}

/// The name of the packaged service whose state folder this is: `mailchute`, or `mailchute-NAME` of an instance.
pub(super) fn service(state: &Path) -> Option<&str> {
    let name = state.strip_prefix(SERVICES).ok()?.to_str()?;
    let is_ours = name == "mailchute" || (name.starts_with("mailchute-") && !name.contains('/'));
    is_ours.then_some(name)
}

/// A configured address, or the service's.
pub(super) fn address(configured: Option<&values::Address>, default: &str) -> Url {
    configured.map_or_else(
        || {
            Url::parse(default)
                .unwrap_or_else(|error| unreachable!("the default {default} is an address: {error}"))
        },
        |address| address.0.clone(),
    )
}

/// What a file says of the application.
pub(super) fn read(
    source: &Source<'_>,
    raw: &Spanned<RawApplication>,
    api: &RawApi,
) -> Result<PublicApplication, ConfigError> {
    let inner = raw.get_ref();
    let id = &inner.client_id;
    if id.get_ref().trim().is_empty() || id.get_ref().contains(['…', '<', ' ']) {
        return Err(source.error_at(
            id.span().start,
            "is not filled in: copy the API key (client id) from the developer portal's application page",
        ));
    }
    let redirect = &inner.redirect_uri;
    if let Err(error) = Url::parse(redirect.get_ref()) {
        let problem =
            format!("is not an address ({error}): write the string that is registered in the portal");
        return Err(source.error_at(redirect.span().start, problem));
    }
    let folders = Folders::new(source.file);
    Ok(PublicApplication {
        client_id: id.get_ref().trim().to_owned(),
        client_secret_file: inner.client_secret_file.as_ref().map(|path| folders.base.join(path)),
        // Kept to the letter: the service compares strings, and a parsed address may be spelled differently.
        redirect_uri: redirect.get_ref().clone(),
        scopes: inner.scopes.clone(),
        authorize_url: address(api.authorize_url.as_ref(), AUTHORIZE_URL),
        token_url: address(api.token_url.as_ref(), TOKEN_URL),
        device_url: address(api.device_url.as_ref(), DEVICE_URL),
    })
}
