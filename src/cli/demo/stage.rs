//! The demo's stage: a sandbox, a spool, a sign-in, and the real daemon as a process of its own.

use std::{
    fs::{self, File},
    net::TcpListener,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;
use tokio::{process::Child, time::timeout};

use super::samples::{KNOWN_BEFORE, LISTS, Sample, Samples};
use super::{Exit, Failure};
use crate::clock::Clock;
use crate::config::Config;
use crate::daemon::private_folder;
use crate::oauth::{self, Place, Way};
use crate::outbox::{Outbox, OutboxError};
use crate::sandbox::{Permission, Sandbox, Settings, person};

/// How long a daemon that was told to stop may take; it promises less.
const STOPPING: Duration = Duration::from_secs(10);

/// Everything that the demo stands on.
pub(super) struct Stage {
    home: PathBuf,
    _temporary: Option<TempDir>,
    sandbox: Sandbox,
    config: Config,
    daemon: Option<Child>,
}

fn failed(error: impl std::fmt::Display) -> Failure {
    Failure::new(Exit::Failed, error)
}

impl Stage {
    /// Starts the sandbox, writes a configuration for it, and signs in as the person at the browser would.
    pub(super) async fn set(keep: Option<&Path>, _samples: &Samples) -> Result<Self, Failure> {
        let temporary = keep
            .is_none()
            .then(|| tempfile::Builder::new().prefix("mailchute-demo-").tempdir())
            .transpose()?;
        let home = match (&temporary, keep) {
            (Some(folder), _) => folder.path().to_owned(),
            (None, keep) => keep.map(Path::to_owned).unwrap_or_default(),
        };
        if home.join("mailchute.toml").exists() {
            return Err(failed(format!("{} holds an earlier demo: name another folder", home.display())));
        }
        fs::create_dir_all(home.join("spool/inbox/customers"))?;
        let redirect_uri = format!("http://localhost:{}/callback", free_port()?);
        let settings = Settings {
            redirect_uris: vec![redirect_uri.clone()],
            lists: LISTS.map(str::to_owned).to_vec(),
            ..Settings::default()
        };
        let (client_id, secret) =
            (settings.client_id.clone(), settings.client_secret.clone().unwrap_or_default());
        let sandbox = Sandbox::start(settings).await?;
        sandbox.change(|world| {
            world.add_contact(KNOWN_BEFORE, Permission::Implicit);
        });
        write_private(&home.join("client_secret"), &secret)?;
        let text = configuration(&client_id, &redirect_uri, &sandbox);
        let file = home.join("mailchute.toml");
        fs::write(&file, &text)?;
        let config = Config::parse(&file, &text)?;
        let stage = Self { home, _temporary: temporary, sandbox, config, daemon: None };
        stage.sign_in().await?;
        Ok(stage)
    }

    async fn sign_in(&self) -> Result<(), Failure> {
        private_folder(&self.config.state)?;
        let application = self.config.application()?;
        let mut visit = |address: &url::Url| {
            let address = address.clone();
            // The person at the browser acts by herself while the listener waits for her.
            tokio::spawn(async move {
                if let Err(stuck) = person::allow(&address).await {
                    tracing::error!(%stuck, "the sign-in");
                }
            });
        };
        let place = Place {
            application: &application,
            state_folder: &self.config.state,
            clock: Clock::system().as_fn(),
            expected: &self.config.expected(),
        };
        oauth::authorize(&place, Way::Loopback { visit: &mut visit }).await.map_err(failed)?;
        Ok(())
    }

    pub(super) fn inbox(&self) -> PathBuf {
        self.config.inbox_folder()
    }

    pub(super) fn log(&self) -> PathBuf {
        self.home.join("daemon.log")
    }

    pub(super) fn sandbox(&self) -> &Sandbox {
        &self.sandbox
    }

    pub(super) fn calls(&self) -> u64 {
        self.sandbox.inspect(crate::sandbox::World::all_calls)
    }

    /// Starts this very program as the daemon.
    pub(super) fn start_daemon(&mut self) -> Result<(), Failure> {
        let program = std::env::current_exe()?;
        let child = tokio::process::Command::new(program)
            .args(["run", "--config"])
            .arg(&self.config.file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(self.log())?)
            .kill_on_drop(true)
            .spawn()?;
        self.daemon = Some(child);
        Ok(())
    }

    pub(super) fn daemon_is_alive(&mut self) -> Result<(), Failure> {
        if let Some(Ok(None)) = self.daemon.as_mut().map(Child::try_wait) {
            Ok(())
        } else {
            let log = fs::read_to_string(self.log()).unwrap_or_default();
            Err(failed(format!("the daemon ended early:\n{log}")))
        }
    }

    /// Stops the daemon as a service manager would.
    pub(super) async fn stop_daemon(&mut self) -> Result<(), Failure> {
        let Some(mut daemon) = self.daemon.take() else { return Ok(()) };
        let pid = daemon.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        if let Some(pid) = pid {
            kill_process(pid, Signal::TERM).map_err(failed)?;
        }
        let status =
            timeout(STOPPING, daemon.wait()).await.map_err(|_| failed("the daemon did not stop"))??;
        if status.success() { Ok(()) } else { Err(failed(format!("the daemon ended with {status}"))) }
    }

    /// Drops files as every writer should: under a hidden name first, then by a rename into place.
    pub(super) fn drop_files(&self, samples: &[Sample]) -> Result<(), Failure> {
        for sample in samples {
            let target = self.inbox().join(sample.path);
            let name = target.file_name().unwrap_or_default().to_string_lossy();
            let hidden = target.with_file_name(format!(".{name}"));
            fs::write(&hidden, &sample.bytes)?;
            fs::rename(&hidden, &target)?;
        }
        Ok(())
    }

    /// Looks into the outbox beside the daemon; before there is one, there is nothing in it.
    pub(super) fn look<T: Default>(
        &self,
        look: impl FnOnce(&mut Outbox) -> Result<T, OutboxError>,
    ) -> Result<T, Failure> {
        let opened = Outbox::open_to_look(&self.config.state).map_err(failed)?;
        opened.map_or_else(|| Ok(T::default()), |mut outbox| look(&mut outbox).map_err(failed))
    }

    /// How many files have their receipt.
    pub(super) fn answered(&self) -> Result<usize, Failure> {
        let files = self.look(Outbox::files)?;
        let has_receipt =
            |archived: &String| self.config.spool.join(format!("{archived}.receipt.json")).exists();
        Ok(files.iter().filter(|(_, archived, _)| has_receipt(archived)).count())
    }

    /// Files that could not be read: name, reason, and where the reason lies.
    pub(super) fn failed_files(&self) -> Vec<(String, String, String)> {
        let days = fs::read_dir(self.config.spool.join("failed")).into_iter().flatten().flatten();
        let files = days.flat_map(|day| fs::read_dir(day.path()).into_iter().flatten().flatten());
        let reasons = files.filter(|file| file.file_name().to_string_lossy().ends_with(".reason.json"));
        reasons
            .filter_map(|file| {
                let reason: Value = serde_json::from_slice(&fs::read(file.path()).ok()?).ok()?;
                let place = file.path().strip_prefix(&self.config.spool).ok()?.to_string_lossy().into_owned();
                Some((reason["file"].as_str()?.to_owned(), reason["reason"].as_str()?.to_owned(), place))
            })
            .collect()
    }
}

fn free_port() -> std::io::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    fs::write(path, text)?;
    fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o600))
}

fn configuration(client_id: &str, redirect_uri: &str, sandbox: &Sandbox) -> String {
    format!(
        "spool = \"spool\"\nstate = \"state\"\n\n[application]\nclient_id = \"{client_id}\"\n\
         client_secret_file = \"client_secret\"\nredirect_uri = \"{redirect_uri}\"\n\n{}\n\
         [[route]]\nfolder = \".\"\nlists = [\"{}\"]\nconsent = \"explicit\"\n\n\
         [[route]]\nfolder = \"customers\"\nlists = [\"{}\"]\nconsent = \"explicit\"\n",
        sandbox.configuration(),
        LISTS[0],
        LISTS[1]
    )
}
