//! Kubernetes Events of the real binary, as an API server gets them.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "the helpers of tests fail as tests do"
)]

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use wharf_testing::http_server::{FakeHttpServer, HttpRequest};

/// Two looks of a second each; a debug build on a loaded machine takes its time.
const PATIENCE: Duration = Duration::from_secs(60);
const TOKEN: &str = "t0ken-of-the-pod";

/// The next request, with the pod's token, and its body.
fn next(api: &FakeHttpServer) -> (HttpRequest, Value) {
    let asked = api.next(PATIENCE).unwrap();
    let token = format!("authorization: Bearer {TOKEN}\r\n");
    assert!(asked.head.contains(&token), "{}", asked.head);
    let body = serde_json::from_slice(&asked.body).unwrap();
    (asked, body)
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
    let api = FakeHttpServer::start(|_| (201, "{}".to_owned())).unwrap();
    let home = home(&api.address);
    let _server = Server::start(home.path());
    let (HttpRequest { line, head, .. }, body) = next(&api);
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
    assert!(api.next(Duration::from_secs(3)).is_err());
}

#[test]
fn an_event_that_is_there_is_counted_up() {
    let answer = |line: &str| (if line.starts_with("POST") { 409 } else { 200 }, "{}".to_owned());
    let api = FakeHttpServer::start(answer).unwrap();
    let home = home(&api.address);
    let _server = Server::start(home.path());
    let (_, made) = next(&api);
    let name = made["metadata"]["name"].as_str().unwrap().to_owned();
    let (HttpRequest { line, head, .. }, body) = next(&api);
    assert_eq!(line, format!("PATCH {EVENTS}/{name} HTTP/1.1"));
    assert!(head.contains("content-type: application/merge-patch+json\r\n"), "{head}");
    assert_eq!(body["message"], made["message"]);
}

#[test]
fn a_right_that_is_missing_is_a_line_of_the_log_and_a_finding_and_tried_again() {
    let refuse = |line: &str| match line.contains("selfsubjectaccessreviews") {
        true => (201, json!({ "status": { "allowed": false } }).to_string()),
        false => (403, json!({ "message": "events is forbidden" }).to_string()),
    };
    let api = FakeHttpServer::start(refuse).unwrap();
    let home = home(&api.address);
    let server = Server::start(home.path());
    assert!(next(&api).0.line.starts_with("POST"));
    assert!(next(&api).0.line.starts_with("POST"));
    drop(server);
    let log = fs::read_to_string(home.path().join("log")).unwrap();
    assert!(log.contains("events is forbidden") && log.contains("`create` and `patch`"), "{log}");
    assert!(!log.contains(TOKEN), "{log}");

    let doctor = ["doctor", "--only", "events", "--output", "json"];
    let output = wharf(home.path(), &doctor).output().unwrap();
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    let problem = found["findings"][0]["problem"].as_str().unwrap();
    assert!(problem.contains("may not `create`, `patch` events"), "{problem}");
}

#[test]
fn a_right_that_is_there_is_no_finding() {
    let allow = |_: &str| (201, json!({ "status": { "allowed": true } }).to_string());
    let api = FakeHttpServer::start(allow).unwrap();
    let home = home(&api.address);
    let doctor = ["doctor", "--only", "events", "--output", "json"];
    let output = wharf(home.path(), &doctor).output().unwrap();
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((output.status.code(), &found["well"]), (Some(0), &json!(true)), "{found}");
    for verb in ["create", "patch"] {
        let attributes = next(&api).1["spec"]["resourceAttributes"].clone();
        let right = (&attributes["verb"], &attributes["resource"], &attributes["namespace"]);
        assert_eq!(right, (&json!(verb), &json!("events"), &json!("kube-system")));
    }
}
