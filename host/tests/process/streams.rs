//! What the process does with its standard streams, and with signals.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

use rustix::process::Signal;

use crate::home::{DRIVER, Home, Server, read};

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
    let mut server = home.serve_telling_all("node", writer.into());
    server.call(800);
    assert!(server.end(Signal::TERM).success());
    const FULL: usize = 60 << 10;
    assert!(read(reader).len() > FULL, "a pipe holds 64 KiB: it was full");
}

#[test]
fn signals_that_mean_something_else_do_not_end_a_server_and_sigquit_drains_it() {
    let home = Home::make();
    let (reader, writer) = std::io::pipe().unwrap();
    let mut server = home.serve("node", writer.into());
    server.call(1);
    let mut log = BufReader::new(reader).lines().map(Result::unwrap);
    for (signal, name, answer) in [
        (Signal::HUP, "SIGHUP", "in force already"),
        (Signal::USR1, "SIGUSR1", "ignored"),
        (Signal::USR2, "SIGUSR2", "ignored"),
    ] {
        server.send(signal);
        let line = log.find(|line| line.contains(name)).unwrap();
        assert!(line.contains(answer), "{line}");
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
    let plugins = home.directory.path().join("plugins");
    let directory = plugins.join("acme~disk");
    fs::create_dir_all(&directory).unwrap();
    fs::copy(env!("CARGO_BIN_EXE_wharf"), directory.join("disk")).unwrap();
    let description = format!(
        r#"{{"driver":"acme/disk","csi-driver":"{DRIVER}","backend":"disk","config":"/nonexistent/wharf.toml","version":"1","state":"{}","roots":["/r"],"attachable":true,"capabilities":{{"attach":true,"selinuxRelabel":true,"supportsMetrics":true,"fsGroup":true,"requiresFSResize":true}}}}"#,
        home.directory.path().join("state").display()
    );
    fs::write(directory.join(".wharf.json"), description).unwrap();
    let options = r#"{"kubernetes.io/pvOrVolumeName":"pv-1"}"#;
    let called =
        Command::new(directory.join("disk")).args(["attach", options, "n"]).output().unwrap();
    let said = String::from_utf8_lossy(&called.stdout).into_owned();
    assert!(said.contains("/nonexistent/wharf.toml cannot be read"), "{said}");
    assert!(said.contains("wharf flexvolume install") && !said.contains("--config"), "{said}");
}
