//! `mailchute add`: one contact into the inbox, as every writer should do it.

use clap::Args;
use jiff::Timestamp;
use serde_json::{Map, Value};

use super::{Common, Exit, Failure, Outcome, say};
use crate::contact::EmailAddress;
use crate::durable;

/// Readable for the daemon, whoever it runs as; the folder decides who may come so far.
const MODE: u32 = 0o644;

#[derive(Debug, Args)]
pub struct Arguments {
    /// The address
    #[arg(value_name = "EMAIL")]
    email: EmailAddress,
    /// Given name
    #[arg(long, value_name = "S")]
    first_name: Option<String>,
    /// Family name
    #[arg(long, value_name = "S")]
    last_name: Option<String>,
    /// Another field, as `company_name=Acme` or `cf:member_no=17`; can be given again
    #[arg(long = "field", value_name = "NAME=VALUE", value_parser = pair)]
    fields: Vec<(String, String)>,
    /// The route's folder
    #[arg(long, default_value = ".", value_name = "FOLDER")]
    route: String,
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write it as NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

pub(super) fn run(common: &Common, arguments: &Arguments) -> Outcome {
    let config = common.config()?;
    let Some(route) = config.route(arguments.route.trim_end_matches('/')) else {
        let known = config.routes.iter().map(|route| format!("`{}`", route.folder)).collect::<Vec<_>>();
        let message = format!("there is no route `{}`; there are: {}", arguments.route, known.join(", "));
        return Err(Failure::new(Exit::Failed, message));
    };
    let names = [("first_name", &arguments.first_name), ("last_name", &arguments.last_name)];
    let names = names.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value.clone()?)));
    let mut contact = Map::from_iter([("email".to_owned(), Value::from(arguments.email.as_str()))]);
    contact.extend(names.chain(arguments.fields.clone()).map(|(name, value)| (name, Value::from(value))));
    let folder = route.place(&config.inbox_folder());
    // Two in the same millisecond are of two processes.
    let name = format!("add-{}-{}.json", Timestamp::now().as_millisecond(), std::process::id());
    let path = folder.join(&name);
    let written =
        durable::write(&path, MODE, |out| serde_json::to_writer(out, &contact).map_err(std::io::Error::from));
    written.map_err(|error| {
        let message = format!(
            "cannot write into {}: {error}. The first `mailchute run` makes the folder",
            folder.display()
        );
        Failure::new(Exit::Failed, message)
    })?;
    say(format!(
        "{name} lies in the inbox; `mailchute explain {}` says what becomes of it.",
        arguments.email.as_str()
    ));
    Ok(Exit::Done)
}
