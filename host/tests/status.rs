//! `wharf status` against a running server.

#![allow(clippy::unwrap_used, reason = "the helpers of tests fail as tests do")]

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

const DRIVER: &str = "disk.example.com";
/// A debug build on a loaded machine takes its time.
const PATIENCE: Duration = Duration::from_secs(60);

fn home() -> TempDir {
    let home = tempfile::tempdir().unwrap();
    let at = |name: &str| home.path().join(name).display().to_string();
    let config = format!(
        "state = \"{}\"\nstore = \"{}\"\nkubelet-root = \"{}\"\nsockets = \"{}\"\n\
         [mounts]\nrun = \"{}\"\n[backend.disk]\n[driver.\"{DRIVER}\"]\nbackend = \"disk\"\n",
        at("state"),
        at("store"),
        at("kubelet"),
        at("sockets"),
        at("run/mounts")
    );
    fs::write(home.path().join("wharf.toml"), config).unwrap();
    home
}

fn wharf(home: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wharf"));
    command.arg("--config").arg(home.join("wharf.toml")).args(arguments).stdin(Stdio::null());
    command
}

fn status(home: &Path, arguments: &[&str]) -> Output {
    wharf(home, &[&["status"], arguments].concat()).output().unwrap()
}

fn json(home: &Path) -> Value {
    serde_json::from_slice(&status(home, &["--output", "json"]).stdout).unwrap()
}

/// A server that is killed with its test.
struct Server(Child);

impl Server {
    fn start(home: &Path) -> Self {
        let mut command = wharf(home, &["csi", "--role", "node"]);
        let server = Self(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
        let socket = home.join("sockets").join(DRIVER).join("csi.sock");
        let end = Instant::now() + PATIENCE;
        while UnixStream::connect(&socket).is_err() {
            assert!(Instant::now() < end, "a socket within {PATIENCE:?}");
            std::thread::yield_now();
        }
        server
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_running_server_tells_its_drivers_and_what_of_its_components_serves() {
    let home = home();
    let mut server = Server::start(home.path());
    let seen = json(home.path());
    let told = &seen["servers"][0];
    assert_eq!((&told["role"], &told["drivers"][0]["name"]), (&"node".into(), &DRIVER.into()));
    assert_eq!(told["pid"], server.0.id());
    let component = &told["components"][0];
    assert_eq!((&component["kind"], &component["component"]), (&"backend".into(), &"disk".into()));
    assert_eq!(component["generation"], Value::Null);
    assert!(component["why-not"].as_str().unwrap().contains("disk"), "{component}");
    assert_eq!(seen["unserved"].as_array().unwrap().len(), 0);
    let text = String::from_utf8(status(home.path(), &[]).stdout).unwrap();
    assert!(text.contains("wharf csi --role node"), "{text}");
    assert!(text.contains(&format!("driver {DRIVER} at ")), "{text}");
    assert!(text.contains("no supervisor of mounts runs"), "{text}");
    server.0.kill().unwrap();
    server.0.wait().unwrap();
    let seen = json(home.path());
    assert_eq!(
        (seen["servers"].as_array().unwrap().len(), &seen["unserved"][0]),
        (0, &DRIVER.into())
    );
}

#[test]
fn watching_prints_one_document_after_the_other_until_it_is_ended() {
    use std::io::{BufRead, BufReader};
    let home = home();
    let mut watching = wharf(home.path(), &["status", "--watch", "--output", "json"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(watching.stdout.take().unwrap()).lines();
    for line in lines.take(2) {
        let seen: Value = serde_json::from_str(&line.unwrap()).unwrap();
        assert_eq!(seen["unserved"][0], DRIVER);
    }
    watching.kill().unwrap();
    watching.wait().unwrap();
}
