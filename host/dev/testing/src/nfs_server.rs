//! NFS servers for a machine that has the kernel's ([`crate::nfs_machine`]): each has an address of
//! its own, can be silenced as a crash or a broken network would, and is slow on demand.
//!
//! A [`Forwarder`] takes connections at a loopback address and passes everything on. The kernel has
//! one server for each network namespace, so a [`NfsServer`] that shows one directory as its `/`
//! lives in a namespace, and its forwarder reaches it there. What it leaves out: names; see
//! [`crate::nas_servers`].

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use nix::sched::{CloneFlags, setns};

/// Where NFS servers listen.
pub const NFS_PORT: u16 = 2049;
/// Where `nfs_machine` has the protocol answered that tells version 3 what to mount.
pub const MOUNT_PORT: u16 = 20048;

/// What runs in the namespaces of a server: `$1` is its directory, `$2` the port of its mount
/// protocol. It says when it serves, and ends with its standard input.
const SERVE: &str = include_str!("nfs_server/serve.sh");
/// Its name in a process list.
const SERVER: &str = "wharf-nfs-server";

/// A number that no export and no address of this process has yet.
///
/// # Panics
/// When there are none left.
pub fn next_number() -> u8 {
    static NEXT: AtomicU8 = AtomicU8::new(2);
    let next = NEXT.fetch_add(1, Ordering::Relaxed);
    assert!(next < u8::MAX, "a test program has at most 253 exports and addresses");
    next
}

/// Opens a connection to the port of a server, wherever that is.
pub type Reach = dyn Fn(u16) -> io::Result<TcpStream> + Send + Sync;

/// Whether what comes in is passed on.
#[derive(Default)]
struct Gate {
    is_closed: Mutex<bool>,
    changed: Condvar,
    delay: Mutex<Duration>,
    /// After so many answers more it closes.
    answers_left: Mutex<Option<usize>>,
}

impl Gate {
    fn set(&self, is_closed: bool) {
        *self.is_closed.lock().unwrap_or_else(PoisonError::into_inner) = is_closed;
        self.changed.notify_all();
    }

    /// For what comes from the server.
    fn pass_answer(&self) {
        let mut left = self.answers_left.lock().unwrap_or_else(PoisonError::into_inner);
        match left.as_mut() {
            Some(0) => self.set(true),
            Some(more) => *more -= 1,
            None => {}
        }
        drop(left);
        self.pass();
    }

    fn pass(&self) {
        let closed = self.is_closed.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.changed.wait_while(closed, |is_closed| *is_closed);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
        let delay = *self.delay.lock().unwrap_or_else(PoisonError::into_inner);
        if !delay.is_zero() {
            std::thread::sleep(delay);
        }
    }
}

/// Passes on what comes to a loopback address of its own: to a client a server of its own.
pub struct Forwarder {
    address: Ipv4Addr,
    gate: Arc<Gate>,
}

impl Forwarder {
    /// Takes connections at these ports and passes each on to its other one.
    ///
    /// # Errors
    /// When somebody else listens there.
    pub fn start(ports: &[(u16, u16)], reach: Arc<Reach>) -> io::Result<Self> {
        let address = Ipv4Addr::new(127, 0, 1, next_number());
        let this = Self { address, gate: Arc::default() };
        for (from, to) in ports {
            let listener = TcpListener::bind((address, *from))?;
            let (gate, reach, to) = (Arc::clone(&this.gate), Arc::clone(&reach), *to);
            std::thread::spawn(move || forward(&listener, to, &gate, &reach));
        }
        Ok(this)
    }

    /// Where.
    pub fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// Takes connections and bytes, and answers nothing, like a machine that hangs.
    pub fn stop(&self) {
        self.gate.set(true);
    }

    /// Passes on so many answers more (pieces of at most 64 KiB), and then as after
    /// [`Forwarder::stop`].
    pub fn stop_after(&self, answers: usize) {
        *self.gate.answers_left.lock().unwrap_or_else(PoisonError::into_inner) = Some(answers);
    }

    /// Answers again, also what came meanwhile.
    pub fn go_on(&self) {
        *self.gate.answers_left.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.gate.set(false);
    }

    /// Takes so long for each 64 KiB, and for each answer.
    pub fn slow_down(&self, delay: Duration) {
        *self.gate.delay.lock().unwrap_or_else(PoisonError::into_inner) = delay;
    }
}

impl Drop for Forwarder {
    fn drop(&mut self) {
        self.go_on();
    }
}

fn forward(listener: &TcpListener, to: u16, gate: &Arc<Gate>, reach: &Arc<Reach>) {
    for client in listener.incoming() {
        let Ok(client) = client else { return };
        let (gate, reach) = (Arc::clone(gate), Arc::clone(reach));
        std::thread::spawn(move || {
            gate.pass();
            let Ok(server) = reach(to) else { return };
            let (Ok(from), Ok(into)) = (client.try_clone(), server.try_clone()) else { return };
            let there = Arc::clone(&gate);
            std::thread::spawn(move || pump(from, into, || there.pass()));
            pump(server, client, || gate.pass_answer());
        });
    }
}

fn pump(mut from: TcpStream, mut into: TcpStream, pass: impl Fn()) {
    let mut buffer = [0; 65536];
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        pass();
        let Some(bytes) = buffer.get(..read) else { break };
        if into.write_all(bytes).is_err() {
            break;
        }
    }
    let _ = into.shutdown(Shutdown::Write);
}

/// A server that shows one directory as its `/`, to every version of the protocol.
pub struct NfsServer {
    forwarder: Forwarder,
    process: Child,
}

impl NfsServer {
    /// Starts it.
    ///
    /// # Errors
    /// When the namespaces or the server cannot be made; what it complained of is in the words.
    pub fn of(directory: &Path) -> io::Result<Self> {
        let mut unshare = Command::new("unshare");
        unshare.args(["--net", "--uts", "--mount", "--pid", "--fork", "--kill-child"]);
        unshare.args(["--mount-proc", "--", "/bin/sh", "-euc", SERVE, SERVER]).arg(directory);
        unshare.arg(MOUNT_PORT.to_string()).stdin(Stdio::piped());
        let mut process = unshare.stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn()?;
        let mut said = String::new();
        if let Some(output) = process.stdout.take() {
            BufReader::new(output).read_line(&mut said)?;
        }
        if said.trim_end() != "serving" {
            let status = process.wait()?;
            return Err(io::Error::other(format!("the NFS server did not come up: {status}")));
        }
        let namespace = File::open(format!("/proc/{}/ns/net", process.id()))?;
        let reach = move |port: u16| reach(&namespace, port);
        let ports = [NFS_PORT, MOUNT_PORT].map(|port| (port, port));
        Ok(Self { forwarder: Forwarder::start(&ports, Arc::new(reach))?, process })
    }
}

impl std::ops::Deref for NfsServer {
    type Target = Forwarder;

    fn deref(&self) -> &Forwarder {
        &self.forwarder
    }
}

impl Drop for NfsServer {
    fn drop(&mut self) {
        // It ends its threads in the kernel, and goes.
        drop(self.process.stdin.take());
        let _ = self.process.wait();
    }
}

/// A connection that begins in another network namespace; a thread that has gone there does not
/// come back.
fn reach(namespace: &File, port: u16) -> io::Result<TcpStream> {
    let namespace = namespace.try_clone()?;
    let connect = move || {
        setns(&namespace, CloneFlags::CLONE_NEWNET)?;
        TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
    };
    let thread = std::thread::spawn(connect);
    thread.join().map_err(|_| io::Error::other("the thread that connects ended badly"))?
}
