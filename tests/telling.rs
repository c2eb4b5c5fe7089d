//! Telling a person: the hook, the heartbeat, the ready examples of `contrib/`, and a rehearsal of the whole.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on says so at once"
)]

mod common;

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
    time::{Duration, Instant},
};

use common::companion::companion;
use common::{Bench, PATIENCE, free_port, real_part, table, text};
use jiff::Timestamp;
use mailchute::outbox::Outbox;
use mailchute::sandbox::{World, person};
use serde_json::Value;

/// Whoever listens on the other side: an address, and each request's head and body.
fn listener() -> (String, Receiver<(String, String)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let (sender, requests) = channel();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let (mut head, mut length) = (String::new(), 0);
            loop {
                let mut line = String::new();
                reader.read_line(&mut line).unwrap();
                if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                }
                if line.trim().is_empty() {
                    break;
                }
                head += &line;
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").unwrap();
            if sender.send((head, text(&body))).is_err() {
                break;
            }
        }
    });
    (address, requests)
}

/// A program of these lines of shell.
fn program(bench: &Bench, name: &str, lines: &str) -> PathBuf {
    let path = bench.home.path().join(name);
    fs::write(&path, format!("#!/bin/sh\n{lines}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

/// A program that appends each message that it gets to a file.
fn hook(bench: &mut Bench) -> PathBuf {
    let told = bench.home.path().join("told");
    let program = program(bench, "tell", &format!("exec cat >> {}", told.display()));
    bench.configure("delivery", &format!("on_attention = [\"{}\"]", program.display()));
    told
}

fn messages(told: &Path) -> Vec<Value> {
    let text = fs::read_to_string(told).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_revoked_authorization_is_told_once_and_mended_by_one_command_and_that_is_told_once() {
    let mut bench = Bench::new();
    let told = hook(&mut bench);
    bench.start();
    bench.drop_file("a.csv", table(0, 2));
    bench.wait_until("the first receipt", |bench| bench.receipts().len() == 1);
    bench.sandbox.change(World::revoke_all);
    bench.drop_file("b.csv", table(2, 3));
    bench.wait_at_most(Duration::from_mins(1), "attention within a minute", |bench| {
        bench.status()["health"] == "attention"
    });
    bench.wait_at_most(Duration::from_mins(1), "a person is told", |_| messages(&told).len() == 1);
    let first = &messages(&told)[0];
    assert_eq!((first["health"].as_str(), first["before"].as_str()), (Some("attention"), Some("ok")));
    assert!(first["reason"].as_str().unwrap().contains("mailchute-auth --config"), "{first}");
    assert_eq!(bench.command(&["status"]).status.code(), Some(77));
    // `run --once` says the same by its status; the command that it names is the one that mends it.
    bench.stop();
    let said = bench.run_once(77);
    let command = format!("sign in with `mailchute-auth --config {}`", bench.config().display());
    assert!(said.contains(&command), "{said}");
    bench.start();
    bench.wait_until("the daemon", |bench| bench.status()["daemon"]["running"] == true);
    let (status, _, said) = companion(&bench, |bench, address| {
        let page = bench.runtime().block_on(person::allow(&address)).unwrap();
        assert!(page.contains("Signed in"), "{page}");
    });
    assert_eq!(status, Some(0), "{said}");
    bench.wait_until("all is delivered", |bench| bench.receipts().len() == 2);
    assert_eq!(bench.account(World::contact_count), 5);
    bench.wait_until("health", |bench| bench.status()["health"] == "ok");
    // The next message may come a minute after the one before at the earliest.
    bench.wait_at_most(Duration::from_mins(3), "a person is told that it is over", |_| {
        messages(&told).len() == 2
    });
    let told_at =
        |number: usize| messages(&told)[number]["at"].as_str().unwrap().parse::<Timestamp>().unwrap();
    assert_eq!(messages(&told)[1]["health"], "ok");
    bench.stop();
    assert_eq!(messages(&told).len(), 2, "each once, also over a restart");
    assert_eq!(bench.command(&["status"]).status.code(), Some(0));
    let apart = told_at(1).duration_since(told_at(0));
    assert!(apart >= jiff::SignedDuration::from_mins(1), "more often than once a minute: {apart}");
}

#[test]
fn a_hook_that_is_not_there_changes_nothing() {
    let mut bench = Bench::new();
    bench.configure("delivery", "on_attention = [\"/nowhere/tell\"]");
    bench.sandbox.change(World::revoke_all);
    bench.drop_file("a.csv", table(0, 1));
    bench.start();
    bench.wait_until("the failure is said", |bench| bench.log().contains("on_attention failed"));
    assert_eq!(bench.log().matches("on_attention failed").count(), 1);
    let reason = bench.status()["reason"].to_string();
    assert!(reason.contains("mailchute-auth"), "the cause, and not the hook: {reason}");
    bench.sign_in();
    bench.wait_until("the receipt", |bench| bench.receipts().len() == 1);
    bench.stop();
}

#[test]
fn a_heartbeat_comes_while_all_goes_well_and_stays_away_while_a_person_must_act() {
    let (address, beats) = listener();
    let url = format!("{address}/beat");
    let mut bench = Bench::new();
    bench.configure("delivery", &format!("heartbeat_url = \"{url}\""));
    bench.start();
    let (beat, _) = beats.recv_timeout(PATIENCE).expect("a heartbeat");
    assert!(beat.starts_with("GET /beat HTTP/1.1\r\n"), "{beat}");
    bench.stop();
    bench.sandbox.change(World::revoke_all);
    bench.drop_file("a.csv", table(0, 1));
    bench.run_once(77);
    bench.start();
    bench.wait_until("attention", |bench| bench.status()["health"] == "attention");
    bench.drop_file("b.csv", table(1, 1));
    bench.wait_until("a second file is taken in", |bench| bench.status()["outbox"]["queued"] == 2);
    assert!(beats.try_recv().is_err(), "it beats although nothing goes");
    bench.stop();
}

#[test]
fn a_hook_that_hangs_is_stopped_with_all_that_it_started_and_meanwhile_rows_go_out() {
    let mut bench = Bench::new();
    let pids = bench.home.path().join("pids");
    let lines = format!("echo $$ >> {0}; sleep 1000 & echo $! >> {0}; wait", pids.display());
    let program = program(&bench, "hangs", &lines);
    bench.configure("delivery", &format!("on_attention = [\"{}\"]", program.display()));
    fs::remove_file(bench.state().join("tokens.json")).unwrap();
    bench.start();
    let started = |_: &Bench| fs::read_to_string(&pids).unwrap_or_default().lines().count() == 2;
    bench.wait_until("the hook and its child", started);
    bench.sign_in();
    bench.drop_file("a.csv", table(0, 2));
    bench.wait_until("the receipt", |bench| bench.receipts().len() == 1);
    assert!(!bench.log().contains("took too long"), "the rows waited for the hook");
    bench.wait_until("the hook is stopped", |bench| {
        bench.log().contains("on_attention took too long and was stopped")
    });
    for pid in fs::read_to_string(&pids).unwrap().lines() {
        // A process that nobody has waited for yet is gone as well.
        let gone =
            || fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "));
        bench.wait_until("each process of the hook is gone", |_| !gone());
    }
    bench.wait_until("health", |bench| bench.status()["health"] == "ok");
    bench.stop();
}

#[test]
fn a_daemon_that_runs_and_gets_nothing_out_does_not_beat() {
    let (address, beats) = listener();
    let mut bench = Bench::new();
    bench.configure("delivery", &format!("heartbeat_url = \"{address}\""));
    bench.run_once(0);
    // Not by the command, which would send its signal to this process.
    let outbox = || Outbox::open(&bench.state()).unwrap();
    outbox().pause("", Timestamp::now()).unwrap();
    bench.drop_file("a.csv", table(0, 1));
    let inside = bench.start_inside();
    beats.recv_timeout(PATIENCE).expect("a heartbeat: the row came just now");
    let samples = |bench: &Bench| {
        let connection = rusqlite::Connection::open(bench.state().join("outbox.db")).unwrap();
        connection.query_row("SELECT count(*) FROM sample", (), |row| row.get::<_, i64>(0)).unwrap()
    };
    let state = bench.state();
    let wait = |what: &str, condition: &mut dyn FnMut(&Bench) -> bool| {
        let ended = Instant::now() + PATIENCE;
        while !condition(&bench) {
            assert!(Instant::now() < ended, "waited in vain: {what}");
            thread::park_timeout(Duration::from_millis(5));
        }
    };
    wait("the row is taken in", &mut |bench| bench.status()["outbox"]["queued"] == 1);
    wait("a sample", &mut |bench| samples(bench) >= 1);
    let before = samples(&bench);
    inside.advance(&bench, Duration::from_mins(10));
    // A sample is taken behind the decision about the beat.
    wait("it was looked at", &mut |bench| samples(bench) > before);
    assert!(beats.try_recv().is_err(), "it beats although the row is late and nothing goes out");
    Outbox::open(&state).unwrap().resume().unwrap();
    inside.advance(&bench, Duration::from_secs(1));
    beats.recv_timeout(PATIENCE).expect("a heartbeat: the row went out");
    inside.stop(&bench);
    assert_eq!(bench.receipts().len(), 1);
}

fn example(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("contrib/attention").join(name);
    path.display().to_string()
}

/// Runs the daemon with an example as its hook, for a person who must sign in, until somebody was told.
fn tells(bench: &mut Bench, command: &[&str], environment: &[(&str, &str)]) {
    bench.configure("delivery", &format!("on_attention = {command:?}"));
    fs::remove_file(bench.state().join("tokens.json")).unwrap();
    bench.start_with(environment);
    bench.wait_until("a person is told", |bench| bench.log().contains("a person was told"));
    bench.stop();
}

const WORDS: &str = "nobody has signed in yet: sign in with `mailchute-auth --config";

#[test]
fn the_example_for_mail_hands_a_whole_message_to_sendmail() {
    if !real_part("jq", "--version") {
        return;
    }
    let mut bench = Bench::new();
    let mail = bench.home.path().join("mail");
    let sendmail = program(&bench, "sendmail", &format!("{{ echo \"$@\"; cat; }} > {}", mail.display()));
    let sendmail = sendmail.display().to_string();
    tells(&mut bench, &[&example("mail"), "jane@example.org"], &[("SENDMAIL", &sendmail)]);
    let sent = fs::read_to_string(mail).unwrap();
    assert!(
        sent.starts_with("-i -- jane@example.org\nTo: jane@example.org\nSubject: mailchute on "),
        "{sent}"
    );
    let (head, body) = sent.split_once("\n\n").expect("a head and a body");
    assert!(head.lines().nth(2).unwrap().ends_with(": attention"), "{head}");
    assert!(head.contains("\nAuto-Submitted: auto-generated") && body.starts_with(WORDS), "{sent}");
}

#[test]
fn the_example_for_chats_posts_the_words_and_keeps_the_address_out_of_the_arguments() {
    if !real_part("jq", "--version") || !real_part("curl", "--version") {
        return;
    }
    let (address, requests) = listener();
    let mut bench = Bench::new();
    let file = bench.home.path().join("webhook-address");
    fs::write(&file, format!("{address}/hooks/secret\n")).unwrap();
    tells(&mut bench, &[&example("webhook"), &file.display().to_string()], &[]);
    let (head, body) = requests.recv_timeout(PATIENCE).expect("a request");
    assert!(head.starts_with("POST /hooks/secret HTTP/1.1\r\n"), "{head}");
    assert!(head.to_lowercase().contains("content-type: application/json"), "{head}");
    let body: Value = serde_json::from_str(&body).unwrap();
    assert!(body["text"].as_str().unwrap().starts_with(&format!("mailchute: *attention* {WORDS}")), "{body}");
}

#[test]
fn the_example_for_ntfy_sends_a_push_message_of_high_priority() {
    if !real_part("jq", "--version") || !real_part("curl", "--version") {
        return;
    }
    let (address, requests) = listener();
    let mut bench = Bench::new();
    tells(&mut bench, &[&example("ntfy"), &format!("{address}/topic")], &[]);
    let (head, body) = requests.recv_timeout(PATIENCE).expect("a request");
    assert!(head.starts_with("POST /topic HTTP/1.1\r\n") && body.starts_with(WORDS), "{head}{body}");
    for line in ["Title: mailchute: attention", "Priority: high", "Tags: warning"] {
        assert!(head.contains(line), "{line} is not in {head}");
    }
}

/// Names of metrics in a text.
fn metrics_in(text: &str) -> std::collections::BTreeSet<String> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    words.filter(|word| word.starts_with("mailchute_")).map(str::to_owned).collect()
}

/// Every expression of a dashboard, however deep it lies.
fn expressions(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                match value.as_str() {
                    Some(text) if name == "expr" || name == "query" || name == "definition" => {
                        found.push(text.to_owned());
                    }
                    _ => expressions(value, found),
                }
            }
        }
        Value::Array(values) => values.iter().for_each(|value| expressions(value, found)),
        _ => {}
    }
}

#[test]
fn the_dashboard_and_the_alert_rules_ask_only_for_what_there_is_and_prometheus_takes_all_of_it() {
    let mut bench = Bench::new();
    let listen = format!("127.0.0.1:{}", free_port());
    bench.configure("metrics", &format!("listen = \"{listen}\""));
    bench.drop_file("a.csv", table(0, 1));
    bench.start();
    bench.wait_until("the receipt", |bench| bench.receipts().len() == 1);
    let mut stream = TcpStream::connect(&listen).unwrap();
    write!(stream, "GET /metrics HTTP/1.1\r\nHost: {listen}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let figures = answer.split_once("\r\n\r\n").unwrap().1;
    let there: std::collections::BTreeSet<String> = figures
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split(['{', ' ']).next())
        .map(str::to_owned)
        .collect();
    assert!(there.len() >= 10, "{figures}");
    let contrib = Path::new(env!("CARGO_MANIFEST_DIR")).join("contrib");
    let dashboard = fs::read_to_string(contrib.join("dashboards/mailchute.json")).unwrap();
    let mut asked = Vec::new();
    expressions(&serde_json::from_str(&dashboard).unwrap(), &mut asked);
    assert!(asked.len() >= 8, "{asked:?}");
    let rules = contrib.join("alerts/mailchute.rules.yml");
    let rules_text = fs::read_to_string(&rules).unwrap();
    asked.extend(rules_text.lines().filter_map(|line| line.trim().strip_prefix("expr: ")).map(str::to_owned));
    for expression in &asked {
        for name in metrics_in(expression) {
            assert!(there.contains(&name), "{expression}: there is no {name} in\n{figures}");
        }
    }
    let promtool_says = |arguments: &[&str], input: &str| {
        let mut promtool = Command::new("promtool");
        promtool.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut promtool = promtool.spawn().unwrap();
        promtool.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = promtool.wait_with_output().unwrap();
        (output.status.success(), format!("{}{}", text(&output.stdout), text(&output.stderr)))
    };
    if !real_part("promtool", "--version") || !real_part("prometheus", "--version") {
        return;
    }
    let (good, said) = promtool_says(&["check", "rules", &rules.display().to_string()], "");
    assert!(good && said.contains("4 rules found"), "{said}");
    // It lints the older form of the text, which has everything but what the program says of itself.
    let older: String = figures
        .lines()
        .filter(|line| !line.contains("mailchute_build"))
        .map(|line| format!("{line}\n"))
        .collect();
    assert_eq!(promtool_says(&["check", "metrics"], &older), (true, String::new()));
    assert_prometheus_takes(&bench, &listen, &rules, &asked);
    bench.stop();
}

/// A real Prometheus scrapes the daemon, loads the rules, and understands every expression.
fn assert_prometheus_takes(bench: &Bench, listen: &str, rules: &Path, asked: &[String]) {
    let (home, port) = (bench.home.path(), free_port());
    let config = home.join("prometheus.yml");
    let scrape = format!(
        "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\nrule_files: ['{}']\n\
         scrape_configs: [{{job_name: mailchute, static_configs: [{{targets: ['{listen}']}}]}}]\n",
        rules.display()
    );
    fs::write(&config, scrape).unwrap();
    let server = Command::new("prometheus")
        .arg(format!("--config.file={}", config.display()))
        .arg(format!("--storage.tsdb.path={}", home.join("tsdb").display()))
        .arg(format!("--web.listen-address=127.0.0.1:{port}"))
        .stdout(Stdio::null())
        .stderr(fs::File::create(home.join("prometheus.log")).unwrap())
        .spawn()
        .unwrap();
    let _ended_with_the_test = Ended(server);
    let ask = |query: &str| -> Option<Value> {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
        let query: String = url::form_urlencoded::byte_serialize(query.as_bytes()).collect();
        write!(stream, "GET /api/v1/query?query={query} HTTP/1.0\r\nHost: localhost\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        serde_json::from_str(answer.split_once("\r\n\r\n")?.1).ok()
    };
    let results = |answer: Option<Value>| {
        answer.map_or(0, |answer| answer["data"]["result"].as_array().map_or(0, Vec::len))
    };
    let ended = Instant::now() + PATIENCE;
    while results(ask("mailchute_health")) != 3 {
        let log = fs::read_to_string(home.join("prometheus.log")).unwrap_or_default();
        assert!(Instant::now() < ended, "Prometheus does not scrape: {log}");
        thread::park_timeout(Duration::from_millis(50));
    }
    for expression in asked {
        let expression = expression.replace("$instance", ".*");
        // What Grafana itself resolves is no question to Prometheus.
        if expression.starts_with("label_values(") {
            continue;
        }
        let answer = ask(&expression).expect("an answer");
        assert_eq!(answer["status"], "success", "{expression}: {answer}");
    }
    assert_eq!(results(ask("mailchute_outbox_rows{state=\"delivered\"} == 1")), 1);
}

/// A process that ends with the test.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _reaped = self.0.wait();
    }
}
