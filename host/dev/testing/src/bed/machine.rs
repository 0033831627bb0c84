//! One machine: its directories, its commands, its server.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::fuse_helpers::{self, Helper};
use super::server::Server;
use super::{BedError, Parts};
use crate::configuration::{AUTH, Configuration, install_command};
use crate::player::FlexNode;

/// A page comes within a few seconds, or not at all.
const PAGE: Duration = Duration::from_secs(60);

/// A machine of the bed.
pub struct Machine {
    name: String,
    id: String,
    /// The driver whose socket says that the server is there.
    driver: &'static str,
    directory: PathBuf,
    by_id: PathBuf,
    sysfs: PathBuf,
    server: Mutex<Option<Server>>,
}

/// What a server writes to its log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Telling {
    /// As in production.
    Plainly,
    /// What somebody follows who wants to see everything.
    All,
}

/// Calls, requests and plans of components, and the steps and programs of the node.
const ALL: &str = "info,wharf=debug,wharf_node=debug";

/// What a command of `wharf` came to.
#[derive(Debug, Clone)]
pub struct Ran {
    /// Exit code; `None`: killed.
    pub code: Option<i32>,
    /// What it printed.
    pub stdout: String,
    /// What it complained of.
    pub stderr: String,
}

impl Machine {
    pub(super) fn new(
        name: &str,
        id: String,
        driver: &'static str,
        directory: PathBuf,
        by_id: PathBuf,
        sysfs: PathBuf,
    ) -> Self {
        Self {
            name: name.to_owned(),
            id,
            driver,
            directory,
            by_id,
            sysfs,
            server: Mutex::new(None),
        }
    }

    /// Its name in the cluster.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its instance's id in the region.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Everything that is its own.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// What stands for its `/dev/disk/by-id`.
    pub fn by_id(&self) -> &Path {
        &self.by_id
    }

    /// What stands for its `/sys`.
    pub fn sysfs(&self) -> &Path {
        &self.sysfs
    }

    /// `wharf.toml`.
    pub fn config(&self) -> PathBuf {
        self.directory.join("wharf.toml")
    }

    /// Wharf's state directory.
    pub fn state(&self) -> PathBuf {
        self.directory.join("state")
    }

    /// The component store.
    pub fn store(&self) -> PathBuf {
        self.directory.join("store")
    }

    /// kubelet's root directory.
    pub fn kubelet(&self) -> PathBuf {
        self.directory.join("kubelet")
    }

    /// kubelet's plugin directory for FlexVolume.
    pub fn plugins(&self) -> PathBuf {
        self.directory.join("plugins")
    }

    /// Where an earlier plugin kept `<volume name>.conf`.
    pub fn legacy(&self) -> PathBuf {
        self.directory.join("legacy")
    }

    /// The CSI socket of the bed's first driver: the manager serves the controller, everybody else
    /// a node.
    pub fn socket(&self) -> PathBuf {
        self.socket_of(self.driver)
    }

    /// The same of another driver.
    pub fn socket_of(&self, driver: &str) -> PathBuf {
        let file = if self.name == "manager" { "controller.sock" } else { "csi.sock" };
        self.directory.join("sockets").join(driver).join(file)
    }

    /// Where the server tells of its health and its numbers.
    pub fn http(&self) -> PathBuf {
        self.directory.join("http.sock")
    }

    /// Status and text of a page of the server's.
    ///
    /// # Errors
    /// When nobody listens, or what comes is no answer.
    pub fn page(&self, path: &str) -> std::io::Result<(u16, String)> {
        let mut socket = UnixStream::connect(self.http())?;
        socket.set_read_timeout(Some(PAGE))?;
        socket.write_all(format!("GET {path} HTTP/1.1\r\nhost: wharf\r\n\r\n").as_bytes())?;
        let mut answer = String::new();
        socket.read_to_string(&mut answer)?;
        let parsed = answer.split_once("\r\n\r\n").and_then(|(head, text)| {
            Some((head.split(' ').nth(1)?.parse().ok()?, text.to_owned()))
        });
        parsed.ok_or_else(|| std::io::Error::other(format!("no answer of HTTP: {answer:?}")))
    }

    /// What the server wrote.
    pub fn server_log(&self) -> PathBuf {
        self.directory.join("server.log")
    }

    /// Where the supervisor of mounts and its helpers have their things.
    pub fn helper_mounts(&self) -> PathBuf {
        self.directory.join("mounts")
    }

    /// The processes that serve its FUSE mounts.
    pub fn helpers(&self) -> Vec<Helper> {
        fuse_helpers::helpers(&self.helper_mounts())
    }

    /// The process that keeps them, while one runs.
    pub fn supervisor_pid(&self) -> Option<i32> {
        fuse_helpers::supervisor(&self.helper_mounts())
    }

    /// `kill -9` of all of them; says which.
    pub fn kill_helpers(&self) -> Vec<String> {
        fuse_helpers::kill_all(self.helpers())
    }

    /// Ends both, by force.
    pub(super) fn end_helpers(&self) {
        fuse_helpers::end(&self.helper_mounts());
    }

    /// For a [`crate::player::FlexPlayer`].
    pub fn flex_node(&self) -> FlexNode {
        FlexNode::new(&self.name, self.plugins(), self.kubelet())
    }

    /// Directories, keys, configuration. The store is left to the caller.
    pub(super) fn equip(&self, configuration: &Configuration<'_>) -> Result<(), BedError> {
        for name in ["plugins", "legacy"] {
            let directory = self.directory.join(name);
            fs::create_dir_all(&directory)
                .map_err(BedError::system(format!("make {}", directory.display())))?;
        }
        configuration.write().map_err(BedError::system("write a machine's configuration"))
    }

    pub(super) fn install_all(&self, parts: &Parts, backends: &[&str]) -> Result<(), BedError> {
        std::iter::once(&AUTH)
            .chain(backends)
            .try_for_each(|name| self.install(parts, name, &parts.component(name)))
    }

    /// Replaces the store by a copy of another's.
    ///
    /// # Errors
    /// When it cannot be copied.
    pub fn take_store(&self, store: &Path) -> Result<(), BedError> {
        let _ = fs::remove_dir_all(self.store());
        copy(store, &self.store())
    }

    pub(super) fn copy_store_to(&self, to: &Path) -> Result<(), BedError> {
        copy(&self.store(), to)
    }

    /// `wharf backend install NAME FILE --activate`, or the same of an authenticator.
    ///
    /// # Errors
    /// What it said.
    pub fn install(&self, parts: &Parts, name: &str, component: &Path) -> Result<(), BedError> {
        let command = install_command(name, component);
        self.must(parts, &command.iter().map(OsString::as_os_str).collect::<Vec<_>>()).map(drop)
    }

    pub(super) fn install_flexvolume(&self, parts: &Parts) -> Result<(), BedError> {
        self.must(
            parts,
            &[
                "flexvolume".as_ref(),
                "install".as_ref(),
                "--dir".as_ref(),
                self.plugins().as_os_str(),
            ],
        )
        .map(drop)
    }

    /// Runs `wharf --config … ARGUMENTS` to its end.
    ///
    /// # Errors
    /// When it cannot be executed at all.
    pub fn run<S: AsRef<OsStr>>(&self, parts: &Parts, arguments: &[S]) -> Result<Ran, BedError> {
        let output =
            self.command(parts, arguments).output().map_err(BedError::system("execute wharf"))?;
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Ok(Ran {
            code: output.status.code(),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        })
    }

    fn must(&self, parts: &Parts, arguments: &[&OsStr]) -> Result<Ran, BedError> {
        let ran = self.run(parts, arguments)?;
        if ran.code == Some(0) {
            return Ok(ran);
        }
        let command = arguments
            .iter()
            .map(|argument| argument.to_string_lossy())
            .collect::<Vec<_>>()
            .join(" ");
        Err(BedError::Failed {
            command: format!("wharf {command}"),
            output: format!("{}{}", ran.stdout, ran.stderr),
        })
    }

    /// The command line, for callers that run it in their own way.
    pub fn command<S: AsRef<OsStr>>(&self, parts: &Parts, arguments: &[S]) -> Command {
        let mut command = Command::new(&parts.wharf);
        command.arg("--config").arg(self.config()).args(arguments);
        command
    }

    /// Starts the server; when it dies it is started again, as kubelet does with a container.
    /// Running already: nothing is done.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn serve(&self, role: &str, parts: &Parts) -> Result<(), BedError> {
        self.start(role, parts, Telling::Plainly)
    }

    /// The same, and its log says in JSON what components and node steps do.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn serve_telling_all(&self, role: &str, parts: &Parts) -> Result<(), BedError> {
        self.start(role, parts, Telling::All)
    }

    fn start(&self, role: &str, parts: &Parts, telling: Telling) -> Result<(), BedError> {
        let mut server = self.server.lock().unwrap_or_else(PoisonError::into_inner);
        if server.is_none() {
            let parts = parts.clone();
            let (config, wharf, role) = (self.config(), parts.wharf, role.to_owned());
            let http = format!("unix://{}", self.http().display());
            let command = move || {
                let mut command = Command::new(&wharf);
                command.arg("--config").arg(&config).args(["csi", "--role", &role]);
                command.args(["--http", &http]);
                if telling == Telling::All {
                    command.arg("--log-json").env("RUST_LOG", ALL);
                }
                command
            };
            *server = Some(Server::start(
                &self.name,
                &self.socket(),
                &self.server_log(),
                Box::new(command),
            )?);
        }
        Ok(())
    }

    /// The server's process; 0 when none runs.
    pub fn server_pid(&self) -> i32 {
        self.server.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map_or(0, Server::pid)
    }

    /// `kill -9`, and waits until its successor answers.
    ///
    /// # Errors
    /// When no successor does.
    pub fn kill_server(&self) -> Result<(), BedError> {
        match &*self.server.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(server) => server.kill_and_wait(),
            None => Ok(()),
        }
    }

    /// Waits until the server, or the successor of one that was killed, answers.
    ///
    /// # Errors
    /// When none does.
    pub fn wait_for_server(&self, other_than: i32) -> Result<(), BedError> {
        match &*self.server.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(server) => server.wait(other_than),
            None => Ok(()),
        }
    }

    /// Ends the server, by SIGTERM and then by force.
    pub fn stop(&self) {
        drop(self.server.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

fn copy(from: &Path, to: &Path) -> Result<(), BedError> {
    let output = Command::new("cp")
        .arg("-a")
        .arg(from)
        .arg(to)
        .output()
        .map_err(BedError::system("execute cp"))?;
    if output.status.success() {
        return Ok(());
    }
    let command = format!("cp -a {} {}", from.display(), to.display());
    Err(BedError::Failed { command, output: String::from_utf8_lossy(&output.stderr).into_owned() })
}
