//! A configuration that is changed under a running server.

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use rustix::process::Signal;

use crate::home::{DRIVER, Home, wait_for};

const OTHER: &str = "share.example.com";

impl Home {
    fn config(&self) -> PathBuf {
        self.directory.path().join("wharf.toml")
    }

    fn is_refused(&self) -> bool {
        let (_, text) = self.get("/metrics");
        ["0", "1"].map(|it| text.contains(&format!("wharf_configuration_refused {it}.0\n")))
            == [false, true]
    }

    fn status(&self) -> String {
        let output = self.command(&["status"]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    }
}

#[test]
fn a_changed_configuration_comes_into_force_by_itself_in_the_same_process() {
    let home = Home::make();
    let mut server = home.serve_with_http();
    server.call(1);
    let driver = format!("[driver.\"{OTHER}\"]\nbackend = \"disk\"\n");
    let before = fs::read_to_string(home.config()).unwrap();
    home.configure(&driver);
    wait_for("the new driver", || UnixStream::connect(home.socket(OTHER)).ok());
    server.wait_for("the old driver", |server| UnixStream::connect(&server.socket).ok());
    server.call(1);
    assert!(server.process.try_wait().unwrap().is_none(), "it is the same process");
    fs::write(home.config(), before).unwrap();
    wait_for("the old driver alone", || {
        let status = home.status();
        (status.contains(&format!("driver {DRIVER} at")) && !status.contains(OTHER)).then_some(())
    });
    assert!(server.end(Signal::TERM).success());
}

#[test]
fn a_configuration_that_is_wrong_changes_nothing_and_is_told_until_it_is_mended() {
    let home = Home::make();
    let mut server = home.serve_with_http();
    let before = fs::read_to_string(home.config()).unwrap();
    let no_driver = before.split("[driver.").next().unwrap();
    for (wrong, why) in [
        (format!("driverz = 1\n{before}"), "driverz"),
        (no_driver.to_owned(), "no driver to serve"),
        (format!("{before}[endpoint.api]\nurl = \"ftp://x\"\n"), "ftp"),
    ] {
        fs::write(home.config(), wrong).unwrap();
        server.send(Signal::HUP);
        let line = home.wait_for_log(why);
        assert!(line.contains("stays as it was"), "{line}");
        wait_for("the metric", || home.is_refused().then_some(()));
        server.call(1);
    }
    fs::remove_file(home.config()).unwrap();
    server.send(Signal::HUP);
    home.wait_for_log("cannot be read");
    fs::write(home.config(), before).unwrap();
    // Taken back before the server is asked.
    wait_for("the metric", || (!home.is_refused()).then_some(()));
    let status = home.status();
    assert!(status.contains(DRIVER) && !status.contains("not in force"), "{status}");
    server.call(1);
    assert!(server.end(Signal::TERM).success());
}

#[test]
fn hangups_that_come_while_it_starts_again_do_not_end_it() {
    let home = Home::make();
    let mut server = home.serve_with_http();
    for number in 0..10 {
        home.configure(&format!("# {number}\n"));
        for _ in 0..20 {
            server.send(Signal::HUP);
            std::thread::sleep(std::time::Duration::from_millis(3));
        }
    }
    wait_for("nothing left to read", || {
        server.send(Signal::HUP);
        let log = fs::read_to_string(home.log()).unwrap();
        let told = |line: &&str| line.contains("starting again") || line.contains("SIGHUP");
        let last = log.lines().rfind(told)?;
        (last.contains("in force already") && log.contains("starting again")).then_some(())
    });
    server.wait_for("the driver", |server| UnixStream::connect(&server.socket).ok());
    server.call(1);
    assert!(server.end(Signal::TERM).success());
}
