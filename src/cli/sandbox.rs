//! `mailchute sandbox`

use std::net::SocketAddr;

use clap::Args;

use super::{Exit, Failure, Outcome, runtime, say};
use crate::sandbox::{FAULTS, Sandbox, Settings};

#[derive(Debug, Args)]
#[command(after_long_help = faults())]
pub struct Arguments {
    /// Where to listen; port 0 takes any
    #[arg(long, default_value = "127.0.0.1:8080", value_name = "ADDR")]
    listen: SocketAddr,
    /// Switch a fault on: NAME=always, once, nth:3, next:5 or share:0.2; NAME@ENDPOINT=… for one endpoint
    #[arg(long = "fault", value_name = "NAME=VALUE")]
    faults: Vec<String>,
    /// A list of the account; can be given again
    #[arg(long = "list", value_name = "NAME", default_value = "Newsletter")]
    lists: Vec<String>,
    /// A registered redirect address; can be given again
    #[arg(long = "redirect-uri", value_name = "URI", default_value = "http://localhost:28910/callback")]
    redirect_uris: Vec<String>,
}

fn faults() -> String {
    let lines: String = FAULTS.iter().map(|(name, what)| format!("  {name:<21} {what}\n")).collect();
    format!("Example:\n  mailchute sandbox --fault 500@sign_up_form=share:0.1\n\nFaults:\n{lines}")
}

pub(super) fn run(arguments: &Arguments) -> Outcome {
    if !arguments.listen.ip().is_loopback() {
        let message = format!(
            "{} is not a loopback address: the sandbox has no secrets worth the name",
            arguments.listen
        );
        return Err(Failure::new(Exit::Failed, message));
    }
    let settings = Settings {
        listen: arguments.listen,
        lists: arguments.lists.clone(),
        redirect_uris: arguments.redirect_uris.clone(),
        ..Settings::default()
    };
    let (id, secret) = (settings.client_id.clone(), settings.client_secret.clone().unwrap_or_default());
    runtime()?.block_on(async {
        let listening =
            |error| Failure::new(Exit::Failed, format!("cannot listen on {}: {error}", arguments.listen));
        let sandbox = Sandbox::start(settings).await.map_err(listening)?;
        for fault in &arguments.faults {
            sandbox.fault(fault).map_err(|error| Failure::new(Exit::Failed, error))?;
        }
        say(format!("# The sandbox listens on http://{}. Put this into mailchute.toml:", sandbox.address()));
        say(format!("# [application] client_id = \"{id}\", and a client_secret_file that holds: {secret}"));
        say(sandbox.configuration());
        say(format!("# What it holds: curl http://{}/sandbox/state", sandbox.address()));
        sandbox.serve().await;
        Ok(Exit::Done)
    })
}
