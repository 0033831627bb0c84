//! The process itself: what it does with its standard streams, and with signals. No backend is
//! needed for that, so none is installed.

#![allow(clippy::unwrap_used, reason = "the helpers of tests fail as tests do")]

use std::fs::{self, File};
use std::io::{BufRead, BufReader, PipeReader, Read};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tonic::transport::{Channel, Endpoint};
use wharf_csi::proto::GetPluginInfoRequest;
use wharf_csi::proto::identity_client::IdentityClient;

const DRIVER: &str = "disk.example.com";
/// A debug build on a loaded machine takes its time.
const PATIENCE: Duration = Duration::from_secs(60);

/// A configuration with one driver, and a folder for everything.
struct Home {
    folder: TempDir,
}

impl Home {
    fn make() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name).display().to_string();
        let config = format!(
            "state = \"{}\"\nstore = \"{}\"\nkubelet-root = \"{}\"\nsockets = \"{}\"\n\
             [backend.disk]\n[driver.\"{DRIVER}\"]\nbackend = \"disk\"\n",
            at("state"),
            at("store"),
            at("kubelet"),
            at("sockets")
        );
        fs::write(folder.path().join("wharf.toml"), config).unwrap();
        Self { folder }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_wharf"));
        command.arg("--config").arg(self.folder.path().join("wharf.toml")).args(arguments);
        command.stdin(Stdio::null());
        command
    }

    fn serve(&self, role: &str, errors: Stdio) -> Server {
        let process = self
            .command(&["csi", "--role", role])
            .stdout(Stdio::null())
            .stderr(errors)
            .spawn()
            .unwrap();
        let socket = self.folder.path().join("sockets").join(DRIVER).join("csi.sock");
        let mut server = Server { process, socket };
        server.wait_for("the socket", |server| UnixStream::connect(&server.socket).ok());
        server
    }
}

/// A server that is killed with its test.
struct Server {
    process: Child,
    socket: PathBuf,
}

impl Server {
    fn wait_for<T>(&mut self, what: &str, mut look: impl FnMut(&mut Self) -> Option<T>) -> T {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = look(self) {
                return found;
            }
            assert!(Instant::now() < end, "{what} within {PATIENCE:?}");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    fn send(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.process.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    fn end(&mut self, signal: Signal) -> ExitStatus {
        self.send(signal);
        self.wait_for("the end", |server| server.process.try_wait().unwrap())
    }

    /// So many calls, one after the other; each is answered.
    fn call(&self, times: usize) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let socket = format!("unix://{}", self.socket.display());
        runtime.block_on(async {
            let channel: Channel = Endpoint::try_from(socket).unwrap().connect().await.unwrap();
            let mut identity = IdentityClient::new(channel);
            for _ in 0..times {
                let call = identity.get_plugin_info(GetPluginInfoRequest {});
                let info = tokio::time::timeout(PATIENCE, call).await.unwrap().unwrap();
                assert_eq!(info.into_inner().name, DRIVER);
            }
        });
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn a_log_on_a_full_disk_costs_no_call() {
    let home = Home::make();
    let full = File::options().write(true).open("/dev/full").unwrap();
    let mut server = home.serve("node", full.into());
    server.call(3);
    assert!(server.end(Signal::TERM).success());
}

#[test]
fn a_log_that_nobody_reads_any_more_costs_no_call() {
    let home = Home::make();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut server = home.serve("node", writer.into());
    server.call(3);
    assert!(server.end(Signal::TERM).success());
}

#[test]
fn a_log_pipe_that_nobody_empties_holds_up_neither_calls_nor_the_end() {
    let home = Home::make();
    let (reader, writer) = std::io::pipe().unwrap();
    let mut server = home.serve("node", writer.into());
    server.call(800);
    assert!(server.end(Signal::TERM).success());
    const FULL: usize = 60 << 10;
    assert!(read(reader).len() > FULL, "a pipe holds 64 KiB: it was full");
}

fn read(mut reader: PipeReader) -> String {
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    text
}

#[test]
fn signals_that_mean_something_else_do_not_end_a_server_and_sigquit_drains_it() {
    let home = Home::make();
    let (reader, writer) = std::io::pipe().unwrap();
    let mut server = home.serve("node", writer.into());
    server.call(1);
    let mut log = BufReader::new(reader).lines().map(Result::unwrap);
    for (signal, name) in
        [(Signal::HUP, "SIGHUP"), (Signal::USR1, "SIGUSR1"), (Signal::USR2, "SIGUSR2")]
    {
        server.send(signal);
        let line = log.find(|line| line.contains(name)).unwrap();
        assert!(line.contains("ignored"), "{line}");
        server.call(1);
    }
    assert!(server.end(Signal::QUIT).success());
    assert!(!server.socket.exists());
    assert!(log.any(|line| line.contains("draining")));
}

#[test]
fn a_node_and_a_controller_run_beside_each_other_with_one_configuration() {
    let home = Home::make();
    let node = home.serve("node", Stdio::null());
    let process =
        home.command(&["csi", "--role", "controller"]).stderr(Stdio::null()).spawn().unwrap();
    let socket = node.socket.with_file_name("controller.sock");
    let mut controller = Server { process, socket };
    controller.wait_for("the socket", |server| UnixStream::connect(&server.socket).ok());
    controller.call(1);
    node.call(1);
}

#[test]
fn a_command_whose_reader_is_gone_ends_quietly_with_code_1() {
    let home = Home::make();
    for arguments in [
        ["backend", "list"].as_slice(),
        &["backend", "list", "--output", "json"],
        &["completions", "bash"],
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let ended = home.command(arguments).stdout(writer).stderr(Stdio::piped()).output().unwrap();
        assert_eq!(ended.status.code(), Some(1), "{arguments:?}: {ended:?}");
        assert_eq!(String::from_utf8_lossy(&ended.stderr), "", "{arguments:?}");
    }
}

#[test]
fn a_result_that_does_not_fit_on_a_disk_is_an_error_in_words() {
    let home = Home::make();
    let full = File::options().write(true).open("/dev/full").unwrap();
    let ended = home.command(&["backend", "list"]).stdout(full).output().unwrap();
    assert_eq!(ended.status.code(), Some(1));
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert!(said.starts_with("wharf: cannot write to standard output"), "{said}");
}

#[test]
fn a_complaint_that_nobody_hears_does_not_keep_the_process() {
    let home = Home::make();
    let full = File::options().write(true).open("/dev/full").unwrap();
    let ended = home.command(&["backend", "show", "none"]).stderr(full).status().unwrap();
    assert_eq!(ended.code(), Some(1));
}

#[test]
fn a_call_out_without_its_configuration_is_not_told_of_an_option_that_it_has_not() {
    let home = Home::make();
    let plugins = home.folder.path().join("plugins");
    let folder = plugins.join("acme~disk");
    fs::create_dir_all(&folder).unwrap();
    fs::copy(env!("CARGO_BIN_EXE_wharf"), folder.join("disk")).unwrap();
    let description = format!(
        r#"{{"driver":"acme/disk","csi-driver":"{DRIVER}","backend":"disk","config":"/nonexistent/wharf.toml","version":"1","state":"{}","roots":["/r"],"attachable":true,"capabilities":{{"attach":true,"selinuxRelabel":true,"supportsMetrics":true,"fsGroup":true,"requiresFSResize":true}}}}"#,
        home.folder.path().join("state").display()
    );
    fs::write(folder.join(".wharf.json"), description).unwrap();
    let options = r#"{"kubernetes.io/pvOrVolumeName":"pv-1"}"#;
    let called = Command::new(folder.join("disk")).args(["attach", options, "n"]).output().unwrap();
    let said = String::from_utf8_lossy(&called.stdout).into_owned();
    assert!(said.contains("/nonexistent/wharf.toml cannot be read"), "{said}");
    assert!(said.contains("wharf flexvolume install") && !said.contains("--config"), "{said}");
}
