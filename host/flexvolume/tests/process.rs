//! The process around a call-out, as kubelet starts it: executed by the path of a driver, with one
//! pipe for both streams.
//!
//! This program plays both parts. Executed as a driver it answers like the real binary, with
//! services that misbehave as the driver's name says; executed as a test it installs copies of
//! itself and calls them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test speaks in assertions, its doubles and tables too"
)]

use std::fs::{self, Permissions};
use std::io::{PipeWriter, Read, Write, pipe};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use tempfile::TempDir;
use wharf_core::Error;
use wharf_flexvolume::install::install;
use wharf_flexvolume::{
    Capabilities, DriverFile, DriverName, LogLevel, NodeNames, Open, Services, Teardown,
    is_call_out, serve,
};

/// Far more than a call needs, and less than a person waits.
const PATIENCE: Duration = Duration::from_secs(20);

type Test = fn(&Bench);

/// Misbehaves as the driver's name says, and then refuses.
struct Misbehaving;

impl Open for Misbehaving {
    fn open(&self, driver: &DriverFile) -> Result<Services, Error> {
        match driver.driver.driver() {
            "panic" => panic!("hunter2"),
            "thread" => drop(thread::spawn(|| panic!("hunter2")).join()),
            "noise" => {
                println!("printed");
                eprintln!("printed");
                let _ = Command::new("sh").args(["-c", "echo printed; echo printed >&2"]).status();
            }
            "detail" => {
                tracing::debug!(target: "wharf::journal", "a plan");
                tracing::debug!(target: "hyper", "a packet");
            }
            // Lives as long as its standard input is open: a mount helper that stays.
            "child" => drop(Command::new("cat").spawn().unwrap()),
            _ => {}
        }
        Err(Error::precondition("refused"))
    }

    fn teardown(&self, _: &DriverFile) -> Result<Teardown, Error> {
        Err(Error::precondition("refused"))
    }
}

fn main() -> ExitCode {
    let argv: Vec<_> = std::env::args_os().collect();
    if is_call_out(&argv[0]) {
        return serve(&argv, &Misbehaving);
    }
    let bench = Bench::new();
    let tests: [(&str, Test); 11] = [
        ("init_answers_and_exits_with_zero", init_answers_and_exits_with_zero),
        (
            "a_failure_exits_with_zero_so_that_kubelet_does_not_log_the_arguments",
            a_failure_exits_with_zero_so_that_kubelet_does_not_log_the_arguments,
        ),
        ("what_is_not_supported_exits_with_zero", what_is_not_supported_exits_with_zero),
        ("a_panic_is_one_failure_and_nothing_else", a_panic_is_one_failure_and_nothing_else),
        ("what_others_print_never_reaches_kubelet", what_others_print_never_reaches_kubelet),
        (
            "a_child_that_stays_does_not_hold_kubelets_pipe",
            a_child_that_stays_does_not_hold_kubelets_pipe,
        ),
        ("the_version_is_printed_without_a_newline", the_version_is_printed_without_a_newline),
        ("calls_are_logged_without_their_options", calls_are_logged_without_their_options),
        (
            "the_log_names_volume_and_pod_and_leaves_out_what_does_nothing",
            the_log_names_volume_and_pod_and_leaves_out_what_does_nothing,
        ),
        ("a_log_in_detail_is_json_as_a_servers", a_log_in_detail_is_json_as_a_servers),
        (
            "a_log_directory_that_others_can_write_to_stays_empty_and_calls_are_answered",
            a_log_directory_that_others_can_write_to_stays_empty_and_calls_are_answered,
        ),
    ];
    for (name, test) in tests {
        test(&bench);
        println!("test {name} ... ok");
    }
    ExitCode::SUCCESS
}

fn init_answers_and_exits_with_zero(bench: &Bench) {
    let expected = "{\"status\":\"Success\",\"volumeName\":\"\",\"capabilities\":{\"attach\":true,\
                    \"selinuxRelabel\":true,\"supportsMetrics\":true,\"fsGroup\":true,\"\
                    requiresFSResize\":true}}\n";
    assert_eq!(bench.call("panic", &["init"]), expected);
}

const OPTIONS: &str = r#"{"kubernetes.io/pvOrVolumeName":"pv1","kubernetes.io/secret/pw":"hunter2","volumeId":"d-1"}"#;
const REFUSED: &str = "{\"status\":\"Failure\",\"message\":\"refused\",\"volumeName\":\"\"}\n";

fn a_failure_exits_with_zero_so_that_kubelet_does_not_log_the_arguments(bench: &Bench) {
    assert_eq!(bench.call("plain", &["attach", OPTIONS, "node"]), REFUSED);
    assert!(
        bench
            .call("plain", &["attach", "{\"pw\":hunter2", "node"])
            .contains("Attach Options format illegal")
    );
}

fn what_is_not_supported_exits_with_zero(bench: &Bench) {
    assert!(bench.call("plain", &["provision"]).starts_with("{\"status\":\"Not supported\""));
}

fn a_panic_is_one_failure_and_nothing_else(bench: &Bench) {
    for driver in ["panic", "thread"] {
        let printed = bench.call(driver, &["attach", OPTIONS, "node"]);
        let answer: serde_json::Value =
            serde_json::from_str(&printed).unwrap_or_else(|error| panic!("{error}: {printed:?}"));
        assert_eq!(answer["status"], "Failure");
        let message = answer["message"].as_str().unwrap();
        assert!(
            message.contains("tests/process.rs:") && message.ends_with("; please report it"),
            "a panic is found by its place: {message}"
        );
        assert!(!printed.contains("hunter2"), "{printed}");
    }
}

fn what_others_print_never_reaches_kubelet(bench: &Bench) {
    assert_eq!(bench.call("noise", &["attach", OPTIONS, "node"]), REFUSED);
}

fn a_child_that_stays_does_not_hold_kubelets_pipe(bench: &Bench) {
    // The child ends with the bench, which holds the other end of its standard input.
    assert_eq!(bench.call("child", &["attach", OPTIONS, "node"]), REFUSED);
}

fn the_version_is_printed_without_a_newline(bench: &Bench) {
    assert_eq!(bench.call("plain", &["--version"]), env!("CARGO_PKG_VERSION"));
}

fn calls_are_logged_without_their_options(bench: &Bench) {
    bench.call("plain", &["attach", OPTIONS, "node"]);
    bench.call("panic", &["attach", OPTIONS, "node"]);
    let read = |driver: &str| {
        fs::read_to_string(bench.directory.path().join(format!("log/flexvolume_{driver}.log")))
            .unwrap()
    };
    assert!(
        read("plain").contains("call_out=\"attach\"") && read("plain").contains("refused"),
        "{}",
        read("plain")
    );
    assert!(
        read("panic").contains("tests/process.rs"),
        "a panic is found by its place: {}",
        read("panic")
    );
    assert!(!read("plain").contains("hunter2") && !read("panic").contains("hunter2"));
}

fn the_log_names_volume_and_pod_and_leaves_out_what_does_nothing(bench: &Bench) {
    let options = r#"{"kubernetes.io/pvOrVolumeName":"pv-1","kubernetes.io/pod.name":"web-0","kubernetes.io/pod.namespace":"shop"}"#;
    bench.call("named", &["mount", "/r/pods/u/volumes/acme~named/pv-1", options]);
    assert!(bench.call("named", &["getvolumename", options]).contains("Success"));
    let log = bench.directory.path().join("log/flexvolume_named.log");
    let text = fs::read_to_string(&log).unwrap();
    assert!(text.contains("volume=\"pv-1\"") && text.contains("pod=\"shop/web-0\""), "{text}");
    assert!(!text.contains("getvolumename"), "{text}");
    let mode = fs::metadata(&log).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

fn a_log_in_detail_is_json_as_a_servers(bench: &Bench) {
    bench.call("detail", &["attach", OPTIONS, "node"]);
    let text =
        fs::read_to_string(bench.directory.path().join("log/flexvolume_detail.log")).unwrap();
    let lines: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |target: &str| {
        lines
            .iter()
            .find(|line| line["target"] == target)
            .map(|line| line["fields"]["message"].clone())
    };
    assert_eq!(of("wharf::journal"), Some("a plan".into()), "{text}");
    assert_eq!(of("hyper"), None, "{text}");
    assert_eq!(of("wharf_flexvolume::answer"), Some("failed".into()), "{text}");
}

fn a_log_directory_that_others_can_write_to_stays_empty_and_calls_are_answered(bench: &Bench) {
    let log = bench.directory.path().join("log");
    let file = log.join("flexvolume_open.log");
    let mode = |mode| fs::set_permissions(&log, Permissions::from_mode(mode)).unwrap();
    mode(0o777);
    assert_eq!(bench.call("open", &["attach", OPTIONS, "node"]), REFUSED);
    assert!(!file.exists());
    mode(0o750);
    assert_eq!(bench.call("open", &["attach", OPTIONS, "node"]), REFUSED);
    assert!(file.exists());
}

/// Installed drivers, and the standard input that they get.
struct Bench {
    directory: TempDir,
    _input: PipeWriter,
    input: std::io::PipeReader,
}

impl Bench {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let drivers = ["panic", "thread", "noise", "child", "plain", "detail", "named", "open"]
            .map(|driver| driver_file(directory.path(), driver));
        let binary = std::env::current_exe().unwrap();
        for outcome in install(&directory.path().join("plugins"), &binary, &drivers) {
            outcome.result.unwrap();
        }
        let (input, writer) = pipe().unwrap();
        Self { directory, _input: writer, input }
    }

    /// What the driver prints, until everybody has closed the pipe.
    fn call(&self, driver: &str, arguments: &[&str]) -> String {
        let executable: PathBuf =
            self.directory.path().join(format!("plugins/acme~{driver}/{driver}"));
        let (mut reader, writer) = pipe().unwrap();
        let mut command = Command::new(executable);
        command
            .args(arguments)
            .stdin(Stdio::from(self.input.try_clone().unwrap()))
            .stderr(writer.try_clone().unwrap())
            .stdout(writer);
        let mut process = command.spawn().unwrap();
        drop(command);
        let (sender, printed) = mpsc::channel();
        thread::spawn(move || {
            let mut text = String::new();
            reader.read_to_string(&mut text).unwrap();
            sender.send(text)
        });
        let printed = printed
            .recv_timeout(PATIENCE)
            .unwrap_or_else(|_| panic!("{driver} {arguments:?}: somebody still holds the pipe"));
        assert_eq!(process.wait().unwrap().code(), Some(0), "{driver} {arguments:?}: {printed}");
        std::io::stdout().flush().unwrap();
        printed
    }
}

fn driver_file(directory: &Path, driver: &str) -> DriverFile {
    DriverFile {
        driver: DriverName::parse(&format!("acme/{driver}")).unwrap(),
        csi_driver: "acme.example.com".into(),
        backend: "acme".into(),
        config: directory.join("wharf.toml"),
        version: "1".into(),
        state: directory.join("state"),
        roots: vec!["/var/lib/kubelet".into()],
        attachable: true,
        capabilities: Capabilities::of_disks(),
        nodes: NodeNames::default(),
        secret_options: Vec::new(),
        legacy_state: None,
        log: Some(directory.join("log")),
        log_level: if driver == "detail" { LogLevel::Debug } else { LogLevel::Info },
    }
}
