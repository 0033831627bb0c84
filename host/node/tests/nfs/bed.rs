//! Exports, and servers that can be stopped.
//!
//! The machine's NFS server listens on 127.0.0.1. Each [`Server`] here is another loopback address
//! at which a forwarder passes everything on to it: to a client a server of its own, which a test
//! can silence as a crash or a broken network would.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Condvar, Mutex};

/// A test of this program: its name, and what it does.
pub type Test = (&'static str, fn());

/// Names functions as tests.
#[macro_export]
macro_rules! tests {
    ($($test:ident),* $(,)?) => {
        pub const TESTS: &[$crate::bed::Test] =
            &[$((concat!(module_path!(), "::", stringify!($test)), $test)),*];
    };
}

const NFS_PORT: u16 = 2049;
const MOUNT_PORT: u16 = 20048;

/// Numbers for exports and addresses; a test shares its export with no other.
fn next() -> u8 {
    static NEXT: AtomicU8 = AtomicU8::new(2);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// A folder that is exported under the same path to NFSv3 and NFSv4.
pub struct Export(PathBuf);

impl Export {
    pub fn new() -> Self {
        let number = next();
        let path = PathBuf::from(format!("/export/{number}"));
        std::fs::create_dir_all(&path).unwrap();
        let options = format!("rw,async,no_root_squash,insecure,no_subtree_check,fsid={number}");
        sh(&format!("exportfs -o {options} '*:{}'", path.display()));
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Export {
    fn drop(&mut self) {
        // It may be busy, and the machine goes with everything in it.
        let _ = Command::new("exportfs").args(["-u", &format!("*:{}", self.0.display())]).output();
    }
}

/// Whether what comes in is passed on.
#[derive(Default)]
struct Gate {
    is_closed: Mutex<bool>,
    changed: Condvar,
}

impl Gate {
    fn set(&self, is_closed: bool) {
        *self.is_closed.lock().unwrap() = is_closed;
        self.changed.notify_all();
    }

    fn pass(&self) {
        let closed = self.is_closed.lock().unwrap();
        drop(self.changed.wait_while(closed, |is_closed| *is_closed).unwrap());
    }
}

/// An NFS server of its own, to its clients.
pub struct Server {
    address: Ipv4Addr,
    gate: Arc<Gate>,
}

impl Server {
    pub fn start() -> Self {
        let server = Self { address: Ipv4Addr::new(127, 0, 1, next()), gate: Arc::default() };
        server.forward(NFS_PORT, NFS_PORT);
        // The kernel's mountd listens on every address, so this one has another port.
        server.forward(MOUNT_PORT + 1, MOUNT_PORT);
        server
    }

    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// Takes connections and bytes, and answers nothing, like a machine that hangs.
    pub fn stop(&self) {
        self.gate.set(true);
    }

    pub fn go_on(&self) {
        self.gate.set(false);
    }

    fn forward(&self, from: u16, to: u16) {
        let listener = TcpListener::bind((self.address, from)).unwrap();
        let gate = Arc::clone(&self.gate);
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let Ok(client) = client else { return };
                let gate = Arc::clone(&gate);
                std::thread::spawn(move || {
                    gate.pass();
                    let to = SocketAddr::from((Ipv4Addr::LOCALHOST, to));
                    let Ok(server) = TcpStream::connect(to) else { return };
                    let (from, into) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                    let there = Arc::clone(&gate);
                    std::thread::spawn(move || pump(from, into, &there));
                    pump(server, client, &gate);
                });
            }
        });
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.go_on();
    }
}

fn pump(mut from: TcpStream, mut into: TcpStream, gate: &Gate) {
    let mut buffer = [0; 65536];
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        gate.pass();
        if into.write_all(&buffer[..read]).is_err() {
            break;
        }
    }
    let _ = into.shutdown(Shutdown::Write);
}

/// For what only a test does; fails the test when the command fails.
pub fn sh(script: &str) -> String {
    let output = Command::new("sh").args(["-euc", script]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script}: {said}");
    String::from_utf8(output.stdout).unwrap()
}
