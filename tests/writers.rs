//! The kits of `contrib/writers`, each run for real against the daemon.
//!
//! What they write must arrive as it was meant, quotes and letters included, and no kit may ever create a file under its
//! final name: their system calls are watched.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on says so at once"
)]

mod common;

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    os::unix::{
        fs::{PermissionsExt, chown},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use common::{Bench, PATIENCE, address, free_port, real_part, table, text};

/// A name that every kind of quoting must carry.
const NAME: &str = "Zoë \"Zo\" O'Neil, Jr.";
/// How often a server that starts is asked whether it has.
const LOOK: Duration = Duration::from_millis(20);

fn kit(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("contrib/writers").join(name)
}

/// A writer whose system calls are written down.
struct Watched {
    trace: PathBuf,
    command: Command,
}

impl Watched {
    fn new(bench: &Bench, program: impl AsRef<std::ffi::OsStr>) -> Self {
        let trace = bench.home.path().join("writer.trace");
        let mut command = Command::new("strace");
        command
            .args(["-f", "-qq", "-s", "4096", "-e", "trace=open,openat,creat", "-o"])
            .arg(&trace)
            .arg(program);
        command.env("MAILCHUTE_INBOX", bench.inbox());
        Self { trace, command }
    }

    /// Runs the writer to its end and checks how it wrote.
    fn run(mut self, bench: &Bench) {
        let output = self.command.stdin(Stdio::null()).output().unwrap();
        assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
        assert_hidden_first(&self.trace, bench);
    }
}

/// Every file that was created in the inbox had a name that the daemon leaves alone.
fn assert_hidden_first(trace: &Path, bench: &Bench) {
    let inbox = bench.inbox().to_string_lossy().into_owned();
    let trace = fs::read_to_string(trace).unwrap();
    let created: Vec<&str> = trace
        .lines()
        .filter(|line| line.contains("O_CREAT") || line.contains("creat("))
        .filter_map(|line| line.split('"').nth(1))
        // Some go into the folder first and create there.
        .filter(|path| path.starts_with(&inbox) || !path.starts_with('/'))
        .map(|path| path.rsplit('/').next().unwrap_or_default())
        .collect();
    let open: Vec<_> = created
        .iter()
        .filter(|name| !name.starts_with('.') && Path::new(name).extension() != Some("part".as_ref()))
        .collect();
    assert!(!created.is_empty(), "nothing was seen to be created: {trace}");
    assert_eq!(open, Vec::<&&str>::new(), "created under their final names");
}

/// The kits need `strace` to be watched, and what they are written in.
fn can_run(parts: &[(&str, &str)]) -> bool {
    real_part("strace", "-V") && parts.iter().all(|(program, question)| real_part(program, question))
}

fn assert_arrived(bench: &Bench, expected: &[(&str, &str)]) {
    bench.run_once(0);
    bench.account(|world| {
        assert_eq!(world.contact_count(), expected.len());
        for (address, name) in expected {
            let contact = world.contact(address).unwrap_or_else(|| panic!("{address} is missing"));
            assert_eq!(contact.details["first_name"], *name, "{address}");
        }
    });
    assert_eq!(bench.files("inbox"), Vec::<PathBuf>::new());
}

#[test]
fn a_shell_script() {
    if !can_run(&[]) {
        return;
    }
    let bench = Bench::new();
    let mut writer = Watched::new(&bench, kit("drop.sh"));
    writer.command.args(["zoe@example.org", NAME]);
    writer.run(&bench);
    assert_arrived(&bench, &[("zoe@example.org", NAME)]);
}

#[test]
fn a_python_program() {
    if !can_run(&[("python3", "--version")]) {
        return;
    }
    let bench = Bench::new();
    let mut writer = Watched::new(&bench, "python3");
    writer.command.arg(kit("drop.py")).args(["zoe@example.org", NAME]);
    writer.run(&bench);
    assert_arrived(&bench, &[("zoe@example.org", NAME)]);
}

#[test]
fn a_node_program() {
    if !can_run(&[("node", "--version")]) {
        return;
    }
    let bench = Bench::new();
    let mut writer = Watched::new(&bench, "node");
    writer.command.arg(kit("drop.mjs")).args(["zoe@example.org", NAME]);
    writer.run(&bench);
    assert_arrived(&bench, &[("zoe@example.org", NAME)]);
}

/// A server that is ended with the test, with everything that it started.
struct Server(Child);

impl Server {
    fn start(command: &mut Command) -> Self {
        Self(command.process_group(0).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let id = i32::try_from(self.0.id()).unwrap();
        // The group, because whoever watches a program does not end it with itself.
        let _asked = rustix::process::kill_process_group(
            rustix::process::Pid::from_raw(id).unwrap(),
            rustix::process::Signal::TERM,
        );
        let _reaped = self.0.wait();
    }
}

/// Sends a form's POST and gives the answer.
fn post(port: u16, form: &str) -> String {
    let ends = Instant::now() + PATIENCE;
    let mut stream = loop {
        match TcpStream::connect(("127.0.0.1", port)) {
            Ok(stream) => break stream,
            Err(error) => assert!(Instant::now() < ends, "the web server does not start: {error}"),
        }
        thread::park_timeout(LOOK);
    };
    let request = format!(
        "POST / HTTP/1.0\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{form}",
        form.len()
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn a_web_form_in_php() {
    if !can_run(&[("php", "--version")]) {
        return;
    }
    let bench = Bench::new();
    let port = free_port();
    let mut writer = Watched::new(&bench, "php");
    writer.command.args(["-S", &format!("127.0.0.1:{port}")]).arg(kit("form.php"));
    let server = Server::start(&mut writer.command);
    let form = url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs([("email", "zoe@example.org"), ("first_name", NAME), ("unknown", "x")])
        .finish();
    assert!(post(port, &form).contains("Thank you"), "a good form");
    assert!(post(port, "email=nobody").contains(" 400 "), "a form without an address");
    drop(server);
    assert_hidden_first(&writer.trace, &bench);
    assert_arrived(&bench, &[("zoe@example.org", NAME)]);
}

#[test]
fn the_form_plug_ins_of_wordpress() {
    if !can_run(&[("php", "--version")]) {
        return;
    }
    let bench = Bench::new();
    let mut writer = Watched::new(&bench, "php");
    let stand_in = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/wordpress.php");
    writer.command.arg(stand_in).arg(kit("wordpress.php"));
    writer.run(&bench);
    assert_arrived(&bench, &[("zoe@example.org", NAME), ("ann@example.org", "Ann")]);
}

/// A table with one person, for any SQL.
fn subscribers() -> String {
    let name = NAME.replace('\'', "''");
    format!(
        "CREATE TABLE subscribers (email VARCHAR(80), first_name VARCHAR(50), last_name VARCHAR(50)); \
         INSERT INTO subscribers VALUES ('zoe@example.org', '{name}', NULL);"
    )
}

fn succeed(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}{}", text(&output.stdout), text(&output.stderr));
}

#[test]
fn an_export_from_sqlite() {
    if !can_run(&[("sqlite3", "--version")]) {
        return;
    }
    let bench = Bench::new();
    let database = bench.home.path().join("people.db");
    succeed(Command::new("sqlite3").arg(&database).arg(subscribers()));
    let mut writer = Watched::new(&bench, kit("sqlite.sh"));
    writer.command.arg(&database);
    writer.run(&bench);
    assert_arrived(&bench, &[("zoe@example.org", NAME)]);
    let mut failing = Command::new(kit("sqlite.sh"));
    failing.arg(&database).env("MAILCHUTE_INBOX", bench.inbox()).env("MAILCHUTE_QUERY", "SELECT nonsense");
    assert!(!failing.output().unwrap().status.success());
    assert_eq!(bench.files("inbox"), Vec::<PathBuf>::new(), "a failed query leaves nothing behind");
}

/// The id of a system user that a database server runs as.
fn user_id(name: &str) -> u32 {
    let output = Command::new("id").args(["-u", name]).output().unwrap();
    text(&output.stdout).trim().parse().unwrap_or_else(|_| panic!("there is no user {name}"))
}

/// A folder that a database server may fill, outside the bench's own, which nobody else may enter.
fn database_folder(user: &str) -> tempfile::TempDir {
    let folder = tempfile::Builder::new().prefix("mailchute-db-").tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    chown(folder.path(), Some(user_id(user)), None).unwrap();
    folder
}

/// Waits until a client gets through to a server.
fn wait_for(server: &mut Server, client: &mut Command) {
    let ends = Instant::now() + PATIENCE;
    while !client.output().unwrap().status.success() {
        assert!(server.0.try_wait().unwrap().is_none(), "the database server ended");
        assert!(Instant::now() < ends, "the database server does not start");
        thread::park_timeout(LOOK);
    }
}

/// The server's programs lie in a folder of their version on some systems.
fn postgresql(program: &str) -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let newest =
        versions.map(|version| version.path().join("bin").join(program)).filter(|path| path.exists()).max();
    newest.unwrap_or_else(|| PathBuf::from(program))
}

#[test]
fn an_export_from_postgresql() {
    let server_program = postgresql("postgres");
    if !can_run(&[("psql", "--version"), (&server_program.to_string_lossy(), "--version")]) {
        return;
    }
    let bench = Bench::new();
    let folder = database_folder("postgres");
    let as_server = |program: &Path| {
        let mut command = Command::new("runuser");
        command.args(["-u", "postgres", "--"]).arg(program).current_dir("/");
        command
    };
    let data = folder.path().join("data");
    succeed(
        as_server(&postgresql("initdb")).args(["-A", "trust", "-E", "UTF8", "--no-sync", "-D"]).arg(&data),
    );
    let mut command = as_server(&server_program);
    command.arg("-D").arg(&data).args(["-c", "listen_addresses=", "-F", "-k"]).arg(folder.path());
    let mut server = Server::start(&mut command);
    let options = [format!("--host={}", folder.path().display()), "--username=postgres".to_owned()];
    wait_for(&mut server, Command::new("psql").args(&options).args(["-c", "SELECT 1"]));
    succeed(Command::new("psql").args(&options).args(["-c", &subscribers()]));
    let mut writer = Watched::new(&bench, kit("postgresql.sh"));
    writer.command.args(&options).env("PGCLIENTENCODING", "UTF8");
    writer.run(&bench);
    assert_arrived(&bench, &[("zoe@example.org", NAME)]);
}

#[test]
fn an_export_from_mariadb() {
    if !can_run(&[("mysql", "--version"), ("mariadbd", "--version")]) {
        return;
    }
    let bench = Bench::new();
    let folder = database_folder("mysql");
    let data = folder.path().join("data");
    let mut install = Command::new("mariadb-install-db");
    install.args([
        "--no-defaults",
        "--user=mysql",
        "--auth-root-authentication-method=normal",
        "--skip-test-db",
    ]);
    succeed(install.arg(format!("--datadir={}", data.display())));
    let socket = folder.path().join("socket");
    let mut command = Command::new("mariadbd");
    command.args(["--no-defaults", "--user=mysql", "--skip-networking", "--character-set-server=utf8mb4"]);
    command.arg(format!("--datadir={}", data.display())).arg(format!("--socket={}", socket.display()));
    let mut server = Server::start(&mut command);
    let socket = format!("--socket={}", socket.display());
    let client = || {
        let mut client = Command::new("mysql");
        client.args([socket.as_str(), "--user=root", "--default-character-set=utf8mb4"]);
        client
    };
    wait_for(&mut server, client().arg("--execute=CREATE DATABASE IF NOT EXISTS site CHARACTER SET utf8mb4"));
    succeed(client().args(["site", &format!("--execute={}", subscribers())]));
    let mut writer = Watched::new(&bench, kit("mysql.sh"));
    writer.command.args([socket.as_str(), "--user=root", "site"]);
    writer.run(&bench);
    assert_arrived(&bench, &[("zoe@example.org", NAME)]);
}

#[test]
fn rsync_from_another_folder() {
    if !can_run(&[("rsync", "--version")]) {
        return;
    }
    let bench = Bench::new();
    let exports = bench.home.path().join("exports");
    fs::create_dir(&exports).unwrap();
    fs::write(exports.join("a.csv"), table(0, 2)).unwrap();
    fs::write(exports.join("b.csv.part"), "email\nhalf@exam").unwrap();
    let mut writer = Watched::new(&bench, kit("rsync.sh"));
    writer.command.arg(format!("{}/", exports.display())).arg(format!("{}/", bench.inbox().display()));
    writer.run(&bench);
    assert_arrived(&bench, &[(&address(0), "First0"), (&address(1), "First1")]);
    assert!(exports.join("b.csv.part").exists() && !exports.join("a.csv").exists());
}

#[test]
fn sftp_to_another_machine() {
    const SERVER: &str = "/usr/lib/openssh/sftp-server";
    if !can_run(&[(SERVER, "-Qrequests")]) {
        return;
    }
    let bench = Bench::new();
    let file = bench.home.path().join("a list.csv");
    fs::write(&file, table(0, 1)).unwrap();
    let mut writer = Watched::new(&bench, kit("sftp.sh"));
    // The server is spoken to directly: what the kit says travels as it would over ssh.
    writer.command.arg(&file).arg(bench.inbox()).args(["-D", SERVER]);
    writer.run(&bench);
    assert_arrived(&bench, &[(&address(0), "First0")]);
}
