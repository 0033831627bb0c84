//! `/healthz` and `/readyz` of the real binary: each check where it fails, and where it must not.
//! What needs a backend that works is tested with a simulated region (`host/dev/testing`).

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::Stdio;

use rustix::process::Signal;

use crate::home::{DRIVER, Home, Server, get, wait_for};
use crate::registration::{REASON, REFUSED, REGISTERED};

const OTHER: &str = "share.example.com";

/// The line of one check.
fn line<'a>(text: &'a str, check: &str) -> &'a str {
    let of =
        |line: &&str| line.get(3..).is_some_and(|rest| rest.starts_with(&format!("{check}: ")));
    text.lines().find(of).unwrap_or_else(|| panic!("no check `{check}`:\n{text}"))
}

fn is_ok(home: &Home, page: &str, check: &str) -> bool {
    line(&home.get(page).1, check).starts_with("[+]")
}

#[test]
fn a_socket_that_does_not_answer_fails_liveness_and_no_other_driver() {
    let home = Home::with_drivers(&[DRIVER, OTHER]);
    let mut server = home.serve_with_http();
    let (csi, other) = (format!("csi {DRIVER}"), format!("csi {OTHER}"));
    wait_for("both drivers", || (home.get("/healthz").0 == 200).then_some(()));
    fs::remove_file(&server.socket).unwrap();
    let (status, text) = home.get("/healthz");
    assert_eq!(status, 503, "{text}");
    assert!(
        line(&text, &csi).starts_with("[-]") && line(&text, &other).starts_with("[+]"),
        "{text}"
    );
    assert!(text.ends_with("healthz check failed\n"), "{text}");
    // A restart mends it.
    server.end(Signal::TERM);
    let _server = home.serve_with_http();
    assert!(is_ok(&home, "/healthz", &csi));
}

#[test]
fn what_a_restart_does_not_mend_fails_readiness_and_not_liveness() {
    let home = Home::with_drivers(&[DRIVER, OTHER]);
    let taken = home.socket(OTHER);
    fs::create_dir_all(taken.parent().unwrap()).unwrap();
    let somebody = UnixListener::bind(&taken).unwrap();
    let _server = home.serve_with_http();
    home.wait_for_log("one driver is not served");
    let other = format!("csi {OTHER}");
    let (status, text) = home.get("/readyz");
    assert!(status == 503 && line(&text, &other).contains("another process"), "{text}");
    let (status, text) = home.get("/healthz");
    assert!(status == 200 && line(&text, &other).starts_with("[+]"), "{text}");
    let served = |driver: &str| format!("wharf_driver_served{{driver=\"{driver}\"}} ");
    let text = home.get("/metrics").1;
    assert!(text.contains(&format!("{}0.0\n", served(OTHER))), "{text}");
    assert!(text.contains(&format!("{}1.0\n", served(DRIVER))), "{text}");
    drop(somebody);
    // Without a backend it does not become ready, and is served.
    wait_for("the driver", || {
        let text = home.get("/readyz").1;
        (!line(&text, &other).contains("another process")).then_some(())
    });
}

#[test]
fn a_backend_that_is_not_installed_fails_readiness_and_not_liveness() {
    let home = Home::make();
    let _server = home.serve_with_http();
    let (status, text) = home.get("/readyz");
    assert_eq!(status, 503, "{text}");
    assert!(line(&text, "backend disk").starts_with("[-]"), "{text}");
    assert!(line(&text, &format!("csi {DRIVER}")).starts_with("[-]"), "{text}");
    assert!(line(&text, "store").starts_with("[+]"), "{text}");
    assert_eq!(home.get("/healthz").0, 200);
}

#[test]
fn a_store_that_cannot_be_read_fails_readiness_and_not_liveness() {
    let home = Home::make();
    fs::write(home.directory.path().join("store"), "no directory").unwrap();
    let _server = home.serve_with_http();
    let text = home.get("/readyz").1;
    assert!(line(&text, "store").starts_with("[-]"), "{text}");
    assert_eq!(home.get("/healthz").0, 200);
}

#[test]
fn a_refused_registration_fails_readiness_until_kubelet_has_registered_the_driver() {
    let home = Home::make();
    let _server = home.serve_with_http();
    let check = format!("registration {DRIVER}");
    wait_for("the registration socket", || is_ok(&home, "/readyz", &check).then_some(()));
    home.register(DRIVER, REFUSED);
    let text = home.get("/readyz").1;
    let refused = line(&text, &check);
    assert!(refused.starts_with("[-]") && refused.contains(REASON), "{text}");
    assert_eq!(home.get("/healthz").0, 200);
    let metric = format!("wharf_driver_registered{{driver=\"{DRIVER}\"}} ");
    assert!(home.get("/metrics").1.contains(&format!("{metric}0.0\n")));
    home.register(DRIVER, REGISTERED);
    assert!(home.get("/metrics").1.contains(&format!("{metric}1.0\n")));
    let text = home.get("/readyz").1;
    let registered = line(&text, &check);
    assert!(registered.starts_with("[+]") && registered.contains("registered with"), "{text}");
}

impl Home {
    fn supervise(&self) -> (Server, std::path::PathBuf) {
        let http = self.directory.path().join("mounts-http.sock");
        let address = format!("unix://{}", http.display());
        let mut command = self.command(&["mounts", "serve", "--http", &address]);
        let process = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let socket = self.directory.path().join("run/supervisor.sock");
        wait_for("the supervisor's HTTP", || UnixStream::connect(&http).ok());
        (Server { process, socket }, http)
    }
}

#[test]
fn a_supervisor_that_is_to_run_and_does_not_answer_fails_readiness_and_not_liveness() {
    let home = Home::make();
    let run = home.directory.path().join("run");
    home.configure(&format!("[mounts]\nsupervisor = \"service\"\nrun = {run:?}\n"));
    let _server = home.serve_with_http();
    let text = home.get("/readyz").1;
    let missing = line(&text, "supervisor");
    assert!(missing.starts_with("[-]") && missing.contains("wharf mounts serve"), "{text}");
    assert_eq!(home.get("/healthz").0, 200);

    let (supervisor, pages) = home.supervise();
    wait_for("the supervisor", || is_ok(&home, "/readyz", "supervisor").then_some(()));
    assert_eq!(get(&pages, "/healthz").0, 200);
    assert_eq!(get(&pages, "/readyz").0, 200);
    assert!(get(&pages, "/metrics").1.contains("wharf_supervisor_up 1.0\n"));
    assert!(home.get("/metrics").1.contains("wharf_supervisor_up 1.0\n"));

    // It is there, and answers nobody.
    supervisor.send(Signal::STOP);
    assert!(!is_ok(&home, "/readyz", "supervisor"));
    assert_eq!(home.get("/healthz").0, 200);
    supervisor.send(Signal::CONT);
    wait_for("the supervisor", || is_ok(&home, "/readyz", "supervisor").then_some(()));
}

#[test]
fn a_supervisor_that_nobody_promised_is_not_missed() {
    let home = Home::make();
    let _server = home.serve_with_http();
    let text = home.get("/readyz").1;
    assert!(!text.contains("supervisor"), "{text}");
    assert!(!home.get("/metrics").1.contains("wharf_supervisor_up"));
}

#[test]
fn a_caller_of_the_listener_gets_no_more_than_a_page() {
    let home = Home::make();
    let _server = home.serve_with_http();
    let (status, text) = home.get("/secrets");
    assert!(status == 404 && text.contains("/metrics"), "{text}");
    let ask = |request: &str| {
        let mut socket = UnixStream::connect(home.http()).unwrap();
        // It may be closed before all of it is taken.
        let _ = socket.write_all(request.as_bytes());
        let mut answer = String::new();
        let _ = socket.read_to_string(&mut answer);
        answer
    };
    assert!(
        ask("POST /healthz HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n").contains(" 405 ")
    );
    let long = "x".repeat(64 << 10);
    assert!(ask(&format!("GET /healthz HTTP/1.1\r\nx: {long}\r\n\r\n")).contains(" 431 "));
    assert!(!ask("garbage\r\n\r\n").contains(" 200 "));
    // Who says nothing has one of 32 places, for five seconds.
    let silent: Vec<_> = (0..32).map(|_| UnixStream::connect(home.http()).unwrap()).collect();
    assert_eq!(home.get("/healthz").0, 200);
    drop(silent);
}

#[test]
fn an_address_that_is_taken_or_none_is_told_and_a_taken_one_costs_no_volume() {
    let home = Home::make();
    let wrong = home.command(&["csi", "--http", "9808"]).output().unwrap();
    assert_eq!(wrong.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("127.0.0.1:9808"));
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    home.configure(&format!("[http]\nlisten = \"{}\"\n", port.local_addr().unwrap()));
    let server = home.serve_logging(&["csi", "--role", "node"]);
    home.wait_for_log("health and metrics are not served");
    server.call(1);
    drop(port);
    home.wait_for_log("serving health and metrics");
}
