//! Reading the configuration again while the loops run on under the old one.
//!
//! Promises that nothing is stopped for a configuration that could not be started: it is checked as at a start, and a
//! bad one is said, in the log and in `status`, until a good one replaces it.

use jiff::Timestamp;
use secrecy::ExposeSecret;

use super::{DaemonError, prepare_folders};
use crate::config::{Config, ConfigError};
use crate::oauth::Application;
use crate::outbox::{Health, SharedOutbox};

/// The scope of our trouble.
const SCOPE: &str = "configuration";

/// The configuration as its file has it now, if it is one to run with.
pub(super) async fn read_again(
    old: &Config,
    outbox: &SharedOutbox,
    now: Timestamp,
) -> Result<Option<Box<Config>>, DaemonError> {
    match check(old) {
        Ok(new) => Ok(Some(Box::new(new))),
        Err(error) => {
            let reason = format!("the new configuration is not used, the one before stays: {error}");
            tracing::error!("{reason}");
            outbox
                .ask(move |outbox| outbox.set_trouble(SCOPE, Health::Attention, &reason, None, now))
                .await?;
            Ok(None)
        }
    }
}

/// The loops run with what the file says.
pub(super) async fn is_over(outbox: &SharedOutbox) -> Result<(), DaemonError> {
    Ok(outbox.ask(|outbox| outbox.clear_trouble(SCOPE)).await?)
}

fn check(old: &Config) -> Result<Config, DaemonError> {
    let new = Config::load(Some(&old.file))?;
    if new.state != old.state {
        return Err(DaemonError::Config(ConfigError {
            file: new.file,
            line: None,
            key: Some("state".to_owned()),
            problem: format!(
                "a running daemon keeps its state folder {}: stop it and start it again to move to {}",
                old.state.display(),
                new.state.display()
            ),
        }));
    }
    new.application()?;
    prepare_folders(&new)?;
    Ok(new)
}

/// Whether two configurations are about the same application, to the letter.
pub(super) fn is_the_same(old: &Application, new: &Application) -> bool {
    let secret = |application: &Application| {
        application.client_secret.as_ref().map(|secret| secret.expose_secret().to_owned())
    };
    let public = |application: &Application| {
        let Application { client_id, redirect_uri, scopes, .. } = application.clone();
        (client_id, redirect_uri, scopes, application.token_url.clone(), application.base_url.clone())
    };
    public(old) == public(new) && secret(old) == secret(new)
}
