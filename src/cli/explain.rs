//! `mailchute explain`: the life of one address.

use clap::Args;
use jiff::Timestamp;
use serde_json::json;

use super::ask::Asker;
use super::{Common, Exit, Failure, Outcome, outbox_to_look, runtime, say};
use crate::config::Config;
use crate::constant_contact::{Answer, CONTACTS, Held, words};
use crate::contact::EmailAddress;
use crate::outbox::{Attempt, Directory, Episode};
use crate::status::local;

/// The form of the JSON. Another number means that keys changed their meaning.
const VERSION: u32 = 1;

#[derive(Debug, Args)]
pub struct Arguments {
    /// The address
    #[arg(value_name = "EMAIL")]
    email: EmailAddress,
    /// One object with everything
    #[arg(long)]
    json: bool,
    /// Also ask the account what it holds now (one call)
    #[arg(long)]
    live: bool,
}

pub(super) fn run(common: &Common, arguments: &Arguments) -> Outcome {
    let config = common.config()?;
    let failed = |error| Failure::new(Exit::Failed, error);
    let mut outbox = outbox_to_look(&config)?;
    let episodes = outbox.life(&arguments.email.key()).map_err(failed)?;
    let directory = outbox.directory().map_err(failed)?;
    let live = if arguments.live { Some(ask(&config, &arguments.email)?) } else { None };
    if arguments.json {
        let mut told = json!({ "version": VERSION, "email": arguments.email.as_str(), "entries": episodes });
        if let (Some(live), Some(object)) = (live, told.as_object_mut()) {
            object.insert("live".to_owned(), json!(live));
        }
        say(told);
        return Ok(Exit::Done);
    }
    say(arguments.email.as_str());
    if episodes.is_empty() {
        say("\nno entry: it was in no file that is still remembered (`keep_history`)");
    }
    for episode in &episodes {
        say(episode_text(episode, Timestamp::now()));
    }
    if let Some(live) = live {
        say(live_text(live.as_ref(), &directory));
    }
    Ok(Exit::Done)
}

fn episode_text(episode: &Episode, now: Timestamp) -> String {
    let Episode { row, archived_as, consent_at, consent_is_stated, evidence, contact_id, calls, notes } =
        episode;
    let outcome = row.outcome.as_ref().filter(|outcome| **outcome != row.state);
    let outcome = outcome.map(|outcome| format!(" ({outcome})")).unwrap_or_default();
    let mut text = format!(
        "\n#{} {}{outcome}: {}, line {}, route `{}`\n",
        row.id, row.state, row.file, row.line, row.route
    );
    let mut say = |what: &str, words: &str| text += &format!("  {what:<9} {words}\n");
    say("came", &local(row.received_at));
    let source = if *consent_is_stated { "as the row says" } else { "the file's time" };
    let evidence = evidence.as_ref().map(|evidence| format!(", {evidence}")).unwrap_or_default();
    say("consent", &format!("{} ({source}){evidence}", local(*consent_at)));
    if let Some(archive) = archived_as {
        say("file", archive);
    }
    for call in calls {
        say("call", &call_text(call));
    }
    for note in notes {
        let field = note.field.as_ref().map(|field| format!("{field}: ")).unwrap_or_default();
        say("note", &format!("{field}{}", note.reason));
    }
    if let Some(id) = contact_id {
        say("contact", id);
    }
    if let Some(field) = &row.field {
        say("field", field);
    }
    if let Some(reason) = &row.reason {
        say("reason", reason);
    }
    let next = match (row.state.as_str(), row.due_at) {
        ("queued", None) => "waits for an older entry of this address".to_owned(),
        ("queued", Some(due)) if due <= now => "goes as soon as a call may leave".to_owned(),
        ("queued", Some(due)) => format!("is tried at {}", local(due)),
        ("sending", _) => "is under way".to_owned(),
        ("held", _) => {
            format!("waits for you: `mailchute queue release --id {0}` or `queue drop --id {0}`", row.id)
        }
        _ => row.settled_at.map(|at| format!("nothing; settled {}", local(at))).unwrap_or_default(),
    };
    say("next", &next);
    text.trim_end().to_owned()
}

fn call_text(call: &Attempt) -> String {
    let answer = match (call.status, call.answered_at) {
        (Some(status), _) => status.to_string(),
        (None, Some(_)) => "no answer".to_owned(),
        (None, None) => "under way, or its answer was lost".to_owned(),
    };
    let key = call.error_key.as_ref().map(|key| format!(" {key}")).unwrap_or_default();
    let message = call.message.as_ref().map(|message| format!(": {message}")).unwrap_or_default();
    format!("{} {} → {answer}{key}{message}", local(call.started_at), call.endpoint)
}

fn live_text(held: Option<&Held>, directory: &Directory) -> String {
    let Some(held) = held else { return "\nthe account holds no such contact now".to_owned() };
    let name = |id: &String| directory.lists.get(id).unwrap_or(id).clone();
    let lists = held.lists.iter().map(name).collect::<Vec<_>>().join(", ");
    let permission = match held.permission.as_deref() {
        // The account has Confirmed Opt-in switched on.
        Some("pending_confirmation") => {
            "pending_confirmation: not before the person follows the link in its mail"
        }
        permission => permission.unwrap_or("unknown"),
    };
    let deleted = held.deleted_at.as_ref().map(|at| format!("\n  deleted   {at}")).unwrap_or_default();
    format!(
        "\nthe account now holds\n  contact   {}\n  may mail  {permission}\n  lists     {}{deleted}",
        held.contact_id,
        if lists.is_empty() { "none" } else { &lists }
    )
}

/// One call, counted like every other.
fn ask(config: &Config, email: &EmailAddress) -> Result<Option<Held>, Failure> {
    runtime()?.block_on(async {
        let mut asker = Asker::new(config)?;
        let call = asker.begin(CONTACTS).await?;
        let held = asker.client.contact(email.as_str()).await;
        asker.end(call, &held)?;
        match held.answer {
            Answer::Done(held) => Ok(held),
            Answer::LoginNeeded { .. } => {
                Err(Failure::new(Exit::LoginNeeded, format!("sign in with `{}`", config.sign_in())))
            }
            _ => {
                let message = format!("the account does not say: {}", words(&held.trace));
                Err(Failure::new(Exit::Unreachable, message))
            }
        }
    })
}
