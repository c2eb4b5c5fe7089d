//! `on_attention`: telling a person, through a program of theirs.
//!
//! Promises that it runs once when a person must act and once when that is over, never more often than once a minute,
//! never longer than half a minute, without a shell, and that nothing it does or fails to do changes the health: it
//! cannot loop. It knows only what is handed to it, and so works when the outbox does not.

use std::{io, process::Stdio, time::Duration};

use jiff::Timestamp;
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::{Value, json};
use tokio::{
    io::AsyncWriteExt,
    process::{Child, Command},
    time::timeout,
};

use crate::outbox::Health;

/// The form of the JSON. Another number means that keys changed their meaning.
const VERSION: u32 = 1;
/// A health that goes back and forth is told at this pace at most.
const AT_MOST_EVERY: Duration = Duration::from_mins(1);
/// A mail is sent in a second; a program that takes longer hangs.
const TIME_OUT: Duration = Duration::from_secs(30);

/// What was told last, and when.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Told {
    /// Whether the person was told to act, and not yet that it is over.
    pub(super) attention: bool,
    /// When something was last told.
    pub(super) at: Option<Timestamp>,
}

impl Told {
    /// Whether a person is to be told now. What passes by itself is not told, neither its beginning nor its end.
    pub(super) fn is_news(&self, health: Health, now: Timestamp) -> bool {
        let changed = match health {
            Health::Attention => !self.attention,
            Health::Waiting => false,
            Health::Ok => self.attention,
        };
        let soon = self.at.is_some_and(|at| at.checked_add(AT_MOST_EVERY).is_ok_and(|again| again > now));
        changed && !soon
    }
}

/// What the program gets on its standard input.
pub(super) fn message(health: Health, reason: &str, overdue: Duration, now: Timestamp) -> Value {
    let before = if health == Health::Ok { Health::Attention } else { Health::Ok };
    json!({
        "version": VERSION,
        "health": health.as_str(),
        "before": before.as_str(),
        "reason": reason,
        "overdue_seconds": overdue.as_secs(),
        "at": now,
    })
}

/// Runs the program with the message. Whatever goes wrong is logged and left at that.
pub(super) async fn run(program: &[String], message: &Value) {
    let mut child = match start(program) {
        Ok(child) => child,
        Err(error) => {
            return tracing::error!(program = program[0], %error, "on_attention failed: nobody was told");
        }
    };
    let group = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
    let told = timeout(TIME_OUT, tell(&mut child, message)).await;
    // What a script started and left behind hangs as much as the script itself.
    if let (Err(_), Some(group)) = (&told, group) {
        let _all_gone = kill_process_group(group, Signal::KILL);
        let _reaped = child.wait().await;
    }
    match told {
        Ok(Ok(())) => tracing::info!(program = program[0], health = %message["health"], "a person was told"),
        Ok(Err(error)) => {
            tracing::error!(program = program[0], error, "on_attention failed: nobody was told");
        }
        Err(_) => tracing::error!(
            program = program[0],
            seconds = TIME_OUT.as_secs(),
            "on_attention took too long and was stopped"
        ),
    }
}

fn start(program: &[String]) -> io::Result<Child> {
    let mut command = Command::new(&program[0]);
    // Its words belong into our log; systemd's socket and watchdog are ours alone.
    command
        .args(&program[1..])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .process_group(0);
    for name in ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"] {
        command.env_remove(name);
    }
    command.spawn()
}

async fn tell(child: &mut Child, message: &Value) -> Result<(), String> {
    if let Some(mut input) = child.stdin.take() {
        // A program that does not read is none of our business.
        let _not_read = input.write_all(format!("{message}\n").as_bytes()).await;
    }
    let status = child.wait().await.map_err(|error| error.to_string())?;
    if status.success() { Ok(()) } else { Err(status.to_string()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(seconds: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + jiff::SignedDuration::from_secs(seconds)
    }

    #[test]
    fn a_person_is_told_when_to_act_and_when_it_is_over_and_of_nothing_that_passes() {
        let fine = Told::default();
        let acting = Told { attention: true, at: Some(after(0)) };
        assert!(fine.is_news(Health::Attention, after(0)));
        assert!(!fine.is_news(Health::Waiting, after(0)));
        assert!(!fine.is_news(Health::Ok, after(0)));
        assert!(acting.is_news(Health::Ok, after(60)));
        assert!(!acting.is_news(Health::Attention, after(600)));
        assert!(!acting.is_news(Health::Waiting, after(600)));
    }

    #[test]
    fn a_health_that_flutters_is_told_once_a_minute_at_most() {
        let (mut told, mut runs) = (Told::default(), 0);
        for second in 0..600 {
            let health = if second % 2 == 0 { Health::Attention } else { Health::Ok };
            if told.is_news(health, after(second)) {
                told = Told { attention: health == Health::Attention, at: Some(after(second)) };
                runs += 1;
            }
        }
        assert_eq!(runs, 10);
    }
}
