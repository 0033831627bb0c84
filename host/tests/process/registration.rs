//! Kubelet registers the drivers of the real binary: byte for byte what kubelet 1.36 sends over the
//! registration socket (grpc-go 1.79.3, dialled as kubelet does), as recorded from the real client.
//! Its `:authority` is the socket's path, percent-encoded.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use prost::Message;
use rustix::process::Signal;
use wharf_csi::proto::registration::PluginInfo;

use crate::home::{DRIVER, Home, PATIENCE, call, wait_for};

/// `GetInfo`, then `NotifyRegistrationStatus` with `plugin_registered`.
pub const REGISTERED: &[u8] =
    include_bytes!("../../csi/tests/service/clients/kubelet-1.36-registered.bin");
/// The same with an error, of a kubelet that cannot reach the API server.
pub const REFUSED: &[u8] =
    include_bytes!("../../csi/tests/service/clients/kubelet-1.36-refused.bin");
pub const REASON: &str = "RegisterPlugin error -- plugin registration failed with err: error updating \
                      Node object with CSI driver node info: error updating node: timed out \
                      waiting for the condition";

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const GOAWAY: u8 = 7;
const END_STREAM: u8 = 1;
/// The stream of each of the two calls.
const GET_INFO: u32 = 1;
const NOTIFY: u32 = 3;

impl Home {
    fn registration_socket(&self, driver: &str) -> PathBuf {
        self.directory.path().join("kubelet/plugins_registry").join(format!("{driver}-reg.sock"))
    }

    /// Plays kubelet once with these bytes; what it was told.
    pub fn register(&self, driver: &str, bytes: &[u8]) -> PluginInfo {
        answers(self.connect(driver), bytes)
    }

    fn connect(&self, driver: &str) -> UnixStream {
        let path = self.registration_socket(driver);
        wait_for("the registration socket", || UnixStream::connect(&path).ok())
    }
}

/// Sends both calls and reads both answers. Each is one message and trailers.
fn answers(mut socket: UnixStream, bytes: &[u8]) -> PluginInfo {
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.write_all(bytes).unwrap();
    let (mut info, mut notified, mut ended) = (Vec::new(), Vec::new(), Vec::new());
    while ended.len() < 2 {
        let mut header = [0; 9];
        socket.read_exact(&mut header).unwrap();
        let length = u32::from_be_bytes([0, header[0], header[1], header[2]]);
        let stream = u32::from_be_bytes([header[5], header[6], header[7], header[8]]);
        let mut payload = vec![0; length as usize];
        socket.read_exact(&mut payload).unwrap();
        match (header[3], header[4], stream) {
            (DATA, _, GET_INFO) => info.extend(payload),
            (DATA, _, NOTIFY) => notified.extend(payload),
            (HEADERS, flags, _) if flags & END_STREAM != 0 => ended.push(stream),
            // An end in peace lets the calls under way be answered.
            (GOAWAY, ..) if payload[4..8] == [0; 4] => {}
            (RST_STREAM | GOAWAY, ..) => panic!("kubelet is refused: {header:?} {payload:?}"),
            _ => {}
        }
    }
    // One message that is empty: a call that fails has trailers and no message.
    assert_eq!(notified, [0; 5]);
    PluginInfo::decode(&info[5..]).unwrap()
}

/// Tells a file from one that was made at the same path later, which may get the number of the
/// one before.
fn identity(path: &Path) -> Option<(u64, SystemTime)> {
    let found = fs::metadata(path).ok()?;
    Some((found.ino(), found.modified().unwrap()))
}

#[test]
fn kubelet_s_own_bytes_register_a_driver_whose_csi_socket_answers() {
    let home = Home::make();
    let mut server = home.serve_logging(&["csi", "--role", "node"]);
    let info = home.register(DRIVER, REGISTERED);
    assert_eq!((info.r#type.as_str(), info.name.as_str()), ("CSIPlugin", DRIVER));
    assert_eq!(info.supported_versions, ["1.0.0"]);
    call(Path::new(&info.endpoint), DRIVER, 1);
    home.wait_for_log("kubelet has registered the driver");
    // Kubelet was started again: it finds the socket and asks again.
    home.register(DRIVER, REGISTERED);
    let path = home.registration_socket(DRIVER);
    assert!(server.end(Signal::TERM).success());
    assert!(!path.exists());
}

#[test]
fn a_driver_that_kubelet_refuses_is_offered_again_and_the_log_says_why() {
    let home = Home::make();
    let server = home.serve_logging(&["csi"]);
    let path = home.registration_socket(DRIVER);
    let socket = home.connect(DRIVER);
    let refused = identity(&path);
    answers(socket, REFUSED);
    let line = home.wait_for_log("kubelet refuses to register the driver");
    assert!(line.contains("ERROR") && line.contains(REASON) && line.contains(DRIVER), "{line}");
    // Kubelet, which does not ask twice, finds another socket.
    wait_for("a socket made anew", || {
        identity(&path).is_some_and(|now| Some(now) != refused).then_some(())
    });
    home.register(DRIVER, REGISTERED);
    home.wait_for_log("kubelet has registered the driver");
    server.call(1);
}

#[test]
fn the_socket_of_a_killed_predecessor_is_replaced() {
    let home = Home::make();
    let mut server = home.serve_logging(&["csi", "--role", "node"]);
    home.register(DRIVER, REGISTERED);
    server.end(Signal::KILL);
    let path = home.registration_socket(DRIVER);
    assert!(path.exists() && UnixStream::connect(&path).is_err());
    let mut server = home.serve_logging(&["csi", "--role", "node"]);
    assert_eq!(home.register(DRIVER, REGISTERED).name, DRIVER);
    assert!(server.end(Signal::TERM).success());
    assert!(!path.exists());
}

#[test]
fn nothing_is_registered_by_a_controller_nor_beside_node_driver_registrar() {
    for arguments in [
        ["csi", "--role", "node", "--no-registration"],
        ["csi", "--role", "controller", "--driver"],
    ] {
        let home = Home::make();
        let mut arguments = arguments.to_vec();
        let endpoint = format!("unix://{}", home.socket(DRIVER).display());
        if arguments.contains(&"--driver") {
            arguments.extend([DRIVER, "--endpoint", &endpoint]);
        }
        let mut server = home.serve_logging(&arguments);
        server.call(3);
        assert!(server.end(Signal::TERM).success());
        assert!(!home.directory.path().join("kubelet/plugins_registry").exists(), "{arguments:?}");
    }
}

#[test]
fn a_registration_socket_that_cannot_be_had_costs_the_driver_nothing() {
    let home = Home::make();
    let path = home.registration_socket(DRIVER);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, "somebody's").unwrap();
    let mut server = home.serve_logging(&["csi", "--role", "node"]);
    let line = home.wait_for_log("kubelet cannot register the driver");
    assert!(line.contains("is not a socket"), "{line}");
    server.call(3);
    fs::remove_file(&path).unwrap();
    assert_eq!(home.register(DRIVER, REGISTERED).name, DRIVER);
    assert!(server.end(Signal::TERM).success());
}

#[test]
fn one_driver_s_trouble_takes_no_other_down_and_is_over_when_its_reason_is() {
    const OTHER: &str = "share.example.com";
    let home = Home::with_drivers(&[DRIVER, OTHER]);
    let taken = home.socket(OTHER);
    fs::create_dir_all(taken.parent().unwrap()).unwrap();
    let somebody = UnixListener::bind(&taken).unwrap();
    let mut server = home.serve_logging(&["csi", "--role", "node"]);
    let line = home.wait_for_log("one driver is not served");
    assert!(line.contains(OTHER) && line.contains("another process is listening"), "{line}");
    assert_eq!(home.register(DRIVER, REGISTERED).name, DRIVER);
    assert!(!home.registration_socket(OTHER).exists());
    drop(somebody);
    assert_eq!(home.register(OTHER, REGISTERED).name, OTHER);
    server.call(1);
    assert!(server.end(Signal::TERM).success());
}

#[test]
fn a_process_that_can_serve_no_driver_ends_and_leaves_the_other_one_s_sockets() {
    let home = Home::make();
    let server = home.serve_logging(&["csi", "--role", "node"]);
    home.register(DRIVER, REGISTERED);
    let second = home.command(&["csi", "--role", "node"]).output().unwrap();
    assert_eq!(second.status.code(), Some(1));
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(said.contains("another process is listening"), "{said}");
    home.register(DRIVER, REGISTERED);
    server.call(1);
}
