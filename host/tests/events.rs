//! Kubernetes Events of the real binary, as an API server gets them.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "the helpers of tests fail as tests do"
)]

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

/// Two looks of a second each; a debug build on a loaded machine takes its time.
const PATIENCE: Duration = Duration::from_secs(60);
const TOKEN: &str = "t0ken-of-the-pod";

/// One request.
struct Asked {
    line: String,
    head: String,
    body: Value,
}

/// An API server that has this Event already, or none, and says whether Events are allowed.
struct FakeApi {
    address: String,
    asked: Receiver<Asked>,
}

impl FakeApi {
    /// `answer`: the status and the body for a request line.
    fn start(answer: fn(&str) -> (u16, Value)) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let (told, asked) = channel();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let told = told.clone();
                std::thread::spawn(move || serve(stream, answer, &told));
            }
        });
        Self { address, asked }
    }

    fn next(&self) -> Asked {
        let asked = self.asked.recv_timeout(PATIENCE).unwrap();
        assert!(
            asked.head.contains(&format!("authorization: Bearer {TOKEN}\r\n")),
            "{}",
            asked.head
        );
        asked
    }
}

fn serve(mut stream: TcpStream, answer: fn(&str) -> (u16, Value), told: &Sender<Asked>) {
    let mut bytes = Vec::new();
    let mut chunk = [0; 16 << 10];
    while let Ok(read @ 1..) = stream.read(&mut chunk) {
        bytes.extend_from_slice(&chunk[..read]);
        let Some(end) = bytes.windows(4).position(|it| it == b"\r\n\r\n") else { continue };
        let head = String::from_utf8(bytes[..end + 4].to_vec()).unwrap();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let length: usize = length.unwrap().parse().unwrap();
        if bytes.len() < end + 4 + length {
            continue;
        }
        let body = serde_json::from_slice(&bytes[end + 4..end + 4 + length]).unwrap();
        bytes.drain(..end + 4 + length);
        let line = head.lines().next().unwrap().to_owned();
        let (status, said) = answer(&line);
        let said = said.to_string();
        let _ = told.send(Asked { line, head, body });
        let length = said.len();
        let answer = format!("HTTP/1.1 {status} X\r\ncontent-length: {length}\r\n\r\n{said}");
        let _ = stream.write_all(answer.as_bytes());
    }
}

/// A node without a component for its driver.
fn home(api: &str) -> TempDir {
    let home = tempfile::tempdir().unwrap();
    let at = |name: &str| home.path().join(name).display().to_string();
    fs::create_dir(home.path().join("account")).unwrap();
    fs::write(home.path().join("account/token"), format!("{TOKEN}\n")).unwrap();
    let config = format!(
        "state = \"{}\"\nstore = \"{}\"\nkubelet-root = \"{}\"\nsockets = \"{}\"\n\
         [mounts]\nrun = \"{}\"\n[backend.disk]\n[driver.\"disk.example.com\"]\n\
         backend = \"disk\"\n[events]\nenabled = true\napi = \"{api}\"\naccount = \"{}\"\n\
         look-seconds = 1\n",
        at("state"),
        at("store"),
        at("kubelet"),
        at("sockets"),
        at("run/mounts"),
        at("account")
    );
    fs::write(home.path().join("wharf.toml"), config).unwrap();
    home
}

fn wharf(home: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wharf"));
    command.arg("--config").arg(home.join("wharf.toml")).args(arguments).stdin(Stdio::null());
    command.env("POD_NAME", "wharf-node-x2x4z").env("POD_NAMESPACE", "kube-system");
    command.env("POD_UID", "0c6c2a3e-0000-4000-8000-000000000000");
    command
}

/// A server that is killed with its test.
struct Server(Child);

impl Server {
    fn start(home: &Path) -> Self {
        let mut command = wharf(home, &["csi", "--role", "node"]);
        let log = fs::File::create(home.join("log")).unwrap();
        Self(command.stdout(Stdio::null()).stderr(log).spawn().unwrap())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

const EVENTS: &str = "/api/v1/namespaces/kube-system/events";

#[test]
fn a_component_that_is_missing_is_told_once_on_the_pod() {
    let api = FakeApi::start(|_| (201, json!({})));
    let home = home(&api.address);
    let _server = Server::start(home.path());
    let Asked { line, head, body } = api.next();
    assert_eq!(line, format!("POST {EVENTS} HTTP/1.1"));
    assert!(head.contains("content-type: application/json\r\n"), "{head}");
    let involved = &body["involvedObject"];
    assert_eq!((&involved["kind"], &involved["name"]), (&json!("Pod"), &json!("wharf-node-x2x4z")));
    assert_eq!(involved["uid"], "0c6c2a3e-0000-4000-8000-000000000000");
    // The API refuses an Event that stands in another namespace than its object.
    assert_eq!(involved["namespace"], body["metadata"]["namespace"]);
    assert_eq!((&body["reason"], &body["type"]), (&json!("ComponentRefused"), &json!("Warning")));
    assert!(body["message"].as_str().unwrap().contains("\"disk\""), "{body}");
    let name = body["metadata"]["name"].as_str().unwrap();
    assert!(name.starts_with("wharf-node-x2x4z."), "{name}");
    assert_eq!(body["count"], 1);
    let stamp = body["lastTimestamp"].as_str().unwrap();
    assert!(stamp.len() == 20 && stamp.ends_with('Z'), "{stamp}");
    // Three more looks see the same.
    assert!(api.asked.recv_timeout(Duration::from_secs(3)).is_err());
}

#[test]
fn an_event_that_is_there_is_counted_up() {
    let api = FakeApi::start(|line| (if line.starts_with("POST") { 409 } else { 200 }, json!({})));
    let home = home(&api.address);
    let _server = Server::start(home.path());
    let made = api.next();
    let name = made.body["metadata"]["name"].as_str().unwrap().to_owned();
    let Asked { line, head, body } = api.next();
    assert_eq!(line, format!("PATCH {EVENTS}/{name} HTTP/1.1"));
    assert!(head.contains("content-type: application/merge-patch+json\r\n"), "{head}");
    assert_eq!(body["message"], made.body["message"]);
}

#[test]
fn a_right_that_is_missing_is_a_line_of_the_log_and_a_finding_and_tried_again() {
    let refuse = |line: &str| match line.contains("selfsubjectaccessreviews") {
        true => (201, json!({ "status": { "allowed": false } })),
        false => (403, json!({ "message": "events is forbidden" })),
    };
    let api = FakeApi::start(refuse);
    let home = home(&api.address);
    let server = Server::start(home.path());
    assert!(api.next().line.starts_with("POST"));
    assert!(api.next().line.starts_with("POST"));
    drop(server);
    let log = fs::read_to_string(home.path().join("log")).unwrap();
    assert!(log.contains("events is forbidden") && log.contains("`create` and `patch`"), "{log}");
    assert!(!log.contains(TOKEN), "{log}");

    let doctor = ["doctor", "--only", "events", "--output", "json"];
    let output = wharf(home.path(), &doctor).output().unwrap();
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    let problem = found["findings"][0]["problem"].as_str().unwrap();
    assert!(problem.contains("may not `create`, `patch` events"), "{problem}");
    while api.asked.try_recv().is_ok() {}
}

#[test]
fn a_right_that_is_there_is_no_finding() {
    let api = FakeApi::start(|_| (201, json!({ "status": { "allowed": true } })));
    let home = home(&api.address);
    let doctor = ["doctor", "--only", "events", "--output", "json"];
    let output = wharf(home.path(), &doctor).output().unwrap();
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((output.status.code(), &found["well"]), (Some(0), &json!(true)), "{found}");
    for verb in ["create", "patch"] {
        let attributes = api.next().body["spec"]["resourceAttributes"].clone();
        let right = (&attributes["verb"], &attributes["resource"], &attributes["namespace"]);
        assert_eq!(right, (&json!(verb), &json!("events"), &json!("kube-system")));
    }
}
