//! A configuration of its own for the real binary, and servers that end with their test.

use std::fs::{self, File};
use std::io::{PipeReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tonic::transport::{Channel, Endpoint};
use wharf_csi::proto::GetPluginInfoRequest;
use wharf_csi::proto::identity_client::IdentityClient;

/// The driver of [`Home::make`].
pub const DRIVER: &str = "disk.example.com";
/// A debug build on a loaded machine takes its time.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A configuration with its drivers, and a directory for everything.
pub struct Home {
    pub directory: TempDir,
}

impl Home {
    pub fn make() -> Self {
        Self::with_drivers(&[DRIVER])
    }

    pub fn with_drivers(drivers: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name).display().to_string();
        let mut config = format!(
            "state = \"{}\"\nstore = \"{}\"\nkubelet-root = \"{}\"\nsockets = \"{}\"\n\
             status = \"{}\"\n[backend.disk]\n",
            at("state"),
            at("store"),
            at("kubelet"),
            at("sockets"),
            at("status")
        );
        for driver in drivers {
            config += &format!("[driver.\"{driver}\"]\nbackend = \"disk\"\n");
        }
        fs::write(directory.path().join("wharf.toml"), config).unwrap();
        Self { directory }
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_wharf"));
        command.arg("--config").arg(self.directory.path().join("wharf.toml")).args(arguments);
        command.stdin(Stdio::null());
        command
    }

    pub fn socket(&self, driver: &str) -> PathBuf {
        self.directory.path().join("sockets").join(driver).join("csi.sock")
    }

    /// Adds to the configuration.
    pub fn configure(&self, text: &str) {
        let path = self.directory.path().join("wharf.toml");
        let config = fs::read_to_string(&path).unwrap();
        fs::write(&path, config + text).unwrap();
    }

    /// Where servers of [`Home::serve_with_http`] listen.
    pub fn http(&self) -> PathBuf {
        self.directory.path().join("http.sock")
    }

    /// A node's server that listens for HTTP.
    pub fn serve_with_http(&self) -> Server {
        let http = format!("unix://{}", self.http().display());
        let server = self.serve_logging(&["csi", "--role", "node", "--http", &http]);
        wait_for("HTTP", || UnixStream::connect(self.http()).ok());
        server
    }

    /// Status and text of a page.
    pub fn get(&self, path: &str) -> (u16, String) {
        get(&self.http(), path)
    }

    pub fn log(&self) -> PathBuf {
        self.directory.path().join("server.log")
    }

    pub fn serve(&self, role: &str, errors: Stdio) -> Server {
        self.start(&["csi", "--role", role], errors)
    }

    /// A server whose log is in a file, on whose first driver's socket somebody listens.
    pub fn serve_logging(&self, arguments: &[&str]) -> Server {
        let log = File::options().create(true).append(true).open(self.log()).unwrap();
        self.start(arguments, log.into())
    }

    fn start(&self, arguments: &[&str], errors: Stdio) -> Server {
        self.run(self.command(arguments), errors)
    }

    /// A server that writes a line for every call, questions about no volume included.
    pub fn serve_telling_all(&self, role: &str, errors: Stdio) -> Server {
        let mut command = self.command(&["csi", "--role", role]);
        command.env("RUST_LOG", "info,wharf_csi=debug");
        self.run(command, errors)
    }

    fn run(&self, mut command: Command, errors: Stdio) -> Server {
        let process = command.stdout(Stdio::null()).stderr(errors).spawn().unwrap();
        let mut server = Server { process, socket: self.socket(DRIVER) };
        server.wait_for("the socket", |server| UnixStream::connect(&server.socket).ok());
        server
    }

    /// Waits until the server's log has a line with this in it, and returns the last such line.
    pub fn wait_for_log(&self, text: &str) -> String {
        wait_for(&format!("a line with `{text}`"), || {
            let log = fs::read_to_string(self.log()).unwrap();
            log.lines().rev().find(|line| line.contains(text)).map(str::to_owned)
        })
    }
}

/// A server that is killed with its test.
pub struct Server {
    pub process: Child,
    pub socket: PathBuf,
}

impl Server {
    pub fn wait_for<T>(&mut self, what: &str, mut look: impl FnMut(&mut Self) -> Option<T>) -> T {
        wait_for(what, || look(self))
    }

    pub fn send(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.process.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    pub fn end(&mut self, signal: Signal) -> ExitStatus {
        self.send(signal);
        self.wait_for("the end", |server| server.process.try_wait().unwrap())
    }

    /// So many calls, one after the other; each is answered.
    pub fn call(&self, times: usize) {
        call(&self.socket, DRIVER, times);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Status and text of a page of whoever listens here.
pub fn get(socket: &Path, path: &str) -> (u16, String) {
    let mut socket = UnixStream::connect(socket).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.write_all(format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes()).unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    let (head, text) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), text.to_owned())
}

pub fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "{what} within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

pub fn call(socket: &Path, driver: &str, times: usize) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let socket = format!("unix://{}", socket.display());
    runtime.block_on(async {
        let channel: Channel = Endpoint::try_from(socket).unwrap().connect().await.unwrap();
        let mut identity = IdentityClient::new(channel);
        for _ in 0..times {
            let call = identity.get_plugin_info(GetPluginInfoRequest {});
            let info = tokio::time::timeout(PATIENCE, call).await.unwrap().unwrap();
            assert_eq!(info.into_inner().name, driver);
        }
    });
}

pub fn read(mut reader: PipeReader) -> String {
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    text
}
