//! A server that stops: every call ends by its deadline and names the server; another server's
//! mounts do not notice; and all is well when it comes back.

use std::io::{Read, Write};
use std::net::UdpSocket;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use wharf_core::ErrorKind;
use wharf_core::plan::{DirectoryBase, DirectoryPath, MountNfs, RemoveTree, Step};
use wharf_core::ports::{Node, RemovePath};
use wharf_node::{LinuxNode, NodeOptions};

use crate::bed::{
    Bed, Export, LONG, Server, VERSIONS, Writing, mount, mount_two, scratch, sh, timed, within,
};
use wharf_testing::latency::median;
use wharf_testing::tests;

tests![
    mounting_ends_by_its_deadline_and_leaves_nothing,
    a_volume_whose_server_is_dead_is_abnormal_and_names_it,
    a_volume_whose_server_is_slow_is_not_taken_for_dead,
    unmounting_ends_although_something_was_written,
    unmounting_harms_no_other_volume_of_a_silent_servers_file_system,
    a_call_that_is_too_short_to_tell_gives_up_nothing_that_was_written,
    a_call_that_nobody_waits_for_gives_up_nothing_that_was_written,
    short_calls_end_a_dead_servers_mount_together,
    a_slow_server_gets_everything_that_was_written,
    removing_ends_by_its_deadline_and_goes_on_when_the_server_is_back,
    another_servers_mounts_keep_their_latency,
    a_mount_asks_its_server_once_at_a_time,
    a_dead_server_takes_its_share_of_the_processes_and_no_more,
    a_call_that_is_tried_again_adds_no_process_to_the_one_that_waits,
    a_resolver_that_hangs_ends_the_call_by_its_deadline_and_holds_up_no_other_volume,
];

/// What a call has, and what it may take on busy processors.
const SHORT: Duration = Duration::from_millis(1500);
const SHORT_AND_A_BIT: Duration = Duration::from_secs(8);

/// A bed whose node soon takes a server for dead.
fn impatient() -> Bed {
    let mut bed = Bed::new();
    bed.options.patience = Duration::from_millis(500);
    bed
}

fn mounting_ends_by_its_deadline_and_leaves_nothing() {
    let (bed, export, server) = (Bed::new(), Export::new(), Server::start());
    server.stop();
    for version in VERSIONS {
        let step = mount(&server, export.path(), version);
        let (result, took) = timed(|| bed.run_within(SHORT, vec![step.into()], "a/b"));
        let error = result.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unavailable, "{version}: {error}");
        assert!(error.message.contains(&server.address()), "{error}");
        assert!(took < SHORT_AND_A_BIT, "{took:?}");
        assert!(bed.mounts().is_empty() && !bed.path("a").exists(), "{version}");
    }
    server.go_on();
    bed.run(vec![mount(&server, export.path(), "vers=4.0").into()], "a/b").unwrap();
}

fn a_volume_whose_server_is_dead_is_abnormal_and_names_it() {
    let (bed, export, server) = (impatient(), Export::new(), Server::start());
    for version in VERSIONS {
        bed.run(vec![mount(&server, export.path(), version).into()], "a").unwrap();
        assert!(!bed.look("a").condition.abnormal);
        server.stop();
        let (stats, took) = timed(|| bed.look("a"));
        assert!(stats.condition.abnormal && stats.usage.is_none(), "{stats:?}");
        let message = &stats.condition.message;
        assert!(message.contains(&server.address()), "{message}");
        assert!(message.contains("answered nothing"), "{message}");
        assert!(took < SHORT_AND_A_BIT, "{took:?}");
        // What only reads the table goes on.
        assert!(bed.is_mounted("a"));
        server.go_on();
        let patient = Bed::new().options.patience;
        let options = NodeOptions { patience: patient, ..bed.options.clone() };
        let stats = LinuxNode::new(options).stats(&within(LONG), &bed.path("a")).unwrap();
        assert!(!stats.condition.abnormal && stats.usage.is_some(), "{stats:?}");
        bed.unmount("a", LONG).unwrap();
    }
}

fn a_volume_whose_server_is_slow_is_not_taken_for_dead() {
    let (mut bed, export, server) = (Bed::new(), Export::new(), Server::start());
    bed.options.patience = Duration::from_millis(200);
    for version in VERSIONS {
        let mut step = mount(&server, export.path(), version);
        // An answer for each 64 KiB.
        step.options.push("wsize=65536".to_owned());
        bed.run(vec![step.into()], "a").unwrap();
        let mut writer = Writer::open(&bed.path("a/file"), MUCH);
        server.slow_down(Duration::from_millis(20));
        writer.write();
        let sync = Command::new("sync").arg("-f").arg(bed.path("a")).spawn();
        // The question waits behind what is written.
        while memory("Writeback:") == 0 {
            std::thread::yield_now();
        }
        let stats = bed.look("a");
        println!("{version}: {stats:?}");
        server.slow_down(Duration::ZERO);
        sync.unwrap().wait().unwrap();
        drop(writer);
        assert!(!stats.condition.abnormal && stats.usage.is_none(), "{version}: {stats:?}");
        assert!(stats.condition.message.contains("slow"), "{version}: {stats:?}");
        bed.unmount("a", LONG).unwrap();
    }
}

/// A process with a file open that writes when it is told to, and keeps the file open.
struct Writer(Child);

/// Bytes that a slow server takes within seconds.
const SOME: u64 = 4 << 20;
/// The same, and not before a question was asked and waited for, on busy processors too.
const MUCH: u64 = 32 << 20;

impl Writer {
    fn open(file: &Path, bytes: u64) -> Self {
        let script = "exec 3>\"$1\"; echo open; read -r _; head -c \"$2\" /dev/zero >&3; sleep 600";
        let mut process = Command::new("sh")
            .args(["-c", script, "writer"])
            .arg(file)
            .arg(bytes.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .unwrap();
        process.stdout.as_mut().unwrap().read_exact(&mut [0; 5]).unwrap();
        Self(process)
    }

    /// Returns when something is written that its server does not have.
    fn write(&mut self) {
        self.0.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
        while memory("Dirty:") + memory("Writeback:") < 1024 {
            std::thread::yield_now();
        }
    }
}

/// KiB of this kind in the whole machine.
fn memory(kind: &str) -> u64 {
    let memory = std::fs::read_to_string("/proc/meminfo").unwrap();
    let line = memory.lines().find(|line| line.starts_with(kind)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

impl Drop for Writer {
    fn drop(&mut self) {
        sh(&format!("kill -9 -{}", self.0.id()));
        self.0.wait().unwrap();
    }
}

fn unmounting_ends_although_something_was_written() {
    let (bed, export, server) = (impatient(), Export::new(), Server::start());
    for version in VERSIONS {
        let _writer = written_to_a_stopped_server(&bed, &export, &server, version);
        let (result, took) = timed(|| bed.unmount("a", Duration::from_secs(20)));
        server.go_on();
        result.unwrap();
        println!("unmounting a dead server's mount over {version}: {took:?}");
        assert!(took < Duration::from_secs(20), "{version}: {took:?}");
        assert!(bed.mounts().is_empty() && !bed.path("a").exists(), "{version}");
    }
}

fn unmounting_harms_no_other_volume_of_a_silent_servers_file_system() {
    let (bed, export, server) = (impatient(), Export::new(), Server::start());
    for version in VERSIONS {
        mount_two(&bed, &export, &server, version);
        let mut writing = Writing::begin(&bed.path("b/file"), export.path().join("b/file"));
        server.stop();
        let (result, took) = timed(|| bed.unmount("a", Duration::from_secs(20)));
        let is_gone = !bed.is_mounted("a") && bed.is_mounted("b");
        server.go_on();
        result.unwrap();
        assert!(is_gone && took < Duration::from_secs(20), "{version}: {took:?}");
        writing.wait_for_more();
        drop(writing);
        bed.unmount("b", LONG).unwrap();
        assert!(bed.mounts().is_empty(), "{version}");
    }
}

/// What was written is with the server, although somebody still has it open; then that one is gone.
fn assert_written_and_unmount(bed: &Bed, export: &Export, writer: Writer) {
    let refused = bed.unmount("a", LONG).unwrap_err();
    assert_eq!(refused.kind, ErrorKind::FailedPrecondition, "it is in use: {refused}");
    assert_eq!(std::fs::metadata(export.path().join("file")).unwrap().len(), SOME);
    drop(writer);
    bed.unmount("a", LONG).unwrap();
}

/// Mounts, stops the server, and writes what it does not get.
fn written_to_a_stopped_server(
    bed: &Bed,
    export: &Export,
    server: &Server,
    version: &str,
) -> Writer {
    bed.run(vec![mount(server, export.path(), version).into()], "a").unwrap();
    let mut writer = Writer::open(&bed.path("a/file"), SOME);
    server.stop();
    writer.write();
    writer
}

fn a_call_that_is_too_short_to_tell_gives_up_nothing_that_was_written() {
    let (bed, export, server) = (Bed::new(), Export::new(), Server::start());
    for version in VERSIONS {
        let writer = written_to_a_stopped_server(&bed, &export, &server, version);
        // The second one finds the process of the first, which the kernel may not let go.
        let node = bed.node();
        for _ in 0..2 {
            let unmount = || node.unmount(&within(SHORT), &bed.path("a"), RemovePath::Yes);
            let (result, took) = timed(unmount);
            let error = result.unwrap_err();
            assert_eq!(error.kind, ErrorKind::Unavailable, "{version}: {error}");
            assert!(error.message.contains(&server.address()), "{version}: {error}");
            assert!(took < SHORT_AND_A_BIT, "{version}: {took:?}");
            assert!(bed.is_mounted("a"), "{version}");
        }
        server.go_on();
        assert_written_and_unmount(&bed, &export, writer);
    }
}

fn a_call_that_nobody_waits_for_gives_up_nothing_that_was_written() {
    let (mut bed, export, server) = (Bed::new(), Export::new(), Server::start());
    bed.options.patience = Duration::from_secs(1);
    for version in VERSIONS {
        let writer = written_to_a_stopped_server(&bed, &export, &server, version);
        let call = within(LONG);
        let result = std::thread::scope(|scope| {
            let unmounting =
                scope.spawn(|| bed.node().unmount(&call, &bed.path("a"), RemovePath::Yes));
            while bed.processes_below() == 0 {
                std::thread::yield_now();
            }
            call.cancel();
            unmounting.join().unwrap()
        });
        let error = result.unwrap_err();
        assert!(error.message.contains(&server.address()), "{version}: {error}");
        assert!(bed.is_mounted("a"), "{version}");
        server.go_on();
        assert_written_and_unmount(&bed, &export, writer);
    }
}

fn short_calls_end_a_dead_servers_mount_together() {
    let (bed, export, server) = (impatient(), Export::new(), Server::start());
    for version in VERSIONS {
        let _writer = written_to_a_stopped_server(&bed, &export, &server, version);
        let node = bed.node();
        let mut refused = 0;
        let unmount = || node.unmount(&within(SHORT), &bed.path("a"), RemovePath::Yes);
        while let Err(error) = unmount() {
            assert_eq!(error.kind, ErrorKind::Unavailable, "{version}: {error}");
            assert!(error.message.contains(&server.address()), "{version}: {error}");
            refused += 1;
            assert!(refused < 10, "{version}: {error}");
        }
        println!("{version}: {refused} short calls were refused before the mount was taken away");
        // Half of a call's time is for taking a mount away, and a server has six times the patience.
        let least = bed.options.patience * 6 - SHORT / 2;
        assert!(SHORT / 2 * refused >= least, "{version}: {refused}");
        assert!(bed.mounts().is_empty(), "{version}");
        server.go_on();
    }
}

fn a_slow_server_gets_everything_that_was_written() {
    let (mut bed, export, server) = (Bed::new(), Export::new(), Server::start());
    bed.options.patience = Duration::from_millis(50);
    for version in VERSIONS {
        bed.run(vec![mount(&server, export.path(), version).into()], "a").unwrap();
        let mut writer = Writer::open(&bed.path("a/file"), SOME);
        server.slow_down(Duration::from_millis(20));
        writer.write();
        let (result, took) = timed(|| bed.unmount("a", LONG));
        assert_eq!(result.unwrap_err().kind, ErrorKind::FailedPrecondition, "it is in use");
        assert!(took > bed.options.patience * 10, "{took:?}");
        assert_eq!(std::fs::metadata(export.path().join("file")).unwrap().len(), SOME);
        server.slow_down(Duration::ZERO);
        drop(writer);
        bed.unmount("a", LONG).unwrap();
    }
}

fn remove(path: &str) -> Step {
    let base = DirectoryBase::Scratch;
    RemoveTree { at: DirectoryPath { base, path: path.into() } }.into()
}

fn removing_ends_by_its_deadline_and_goes_on_when_the_server_is_back() {
    let (bed, export, server) = (Bed::new(), Export::new(), Server::start());
    for version in VERSIONS {
        sh(&format!("cd {} && mkdir v && touch v/$(seq -s ' v/' 500)", export.path().display()));
        let steps = || vec![scratch(&server, export.path(), version), remove("v")];
        // The first file is gone when the server stops.
        let is_over = AtomicBool::new(false);
        let stopped = std::thread::scope(|scope| {
            scope.spawn(|| {
                let all = || std::fs::read_dir(export.path().join("v")).unwrap().count();
                while all() == 500 && !is_over.load(Ordering::SeqCst) {
                    std::thread::yield_now();
                }
                server.stop();
            });
            let ended = timed(|| bed.run_within(SHORT, steps(), "unused"));
            is_over.store(true, Ordering::SeqCst);
            ended
        });
        let (result, took) = stopped;
        assert!(took < SHORT_AND_A_BIT, "{took:?}");
        if let Err(error) = result {
            assert!(error.message.contains(&server.address()), "{error}");
            let (result, took) = timed(|| bed.run_within(SHORT, steps(), "unused"));
            assert!(result.unwrap_err().message.contains(&server.address()));
            assert!(took < SHORT_AND_A_BIT, "{took:?}");
        }
        server.go_on();
        bed.run(steps(), "unused").unwrap();
        assert!(!export.path().join("v").exists());
        bed.run(steps(), "unused").unwrap();
    }
}

fn another_servers_mounts_keep_their_latency() {
    let (mut bed, export) = (Bed::new(), Export::new());
    bed.options.patience = Duration::from_secs(1);
    let (dead, alive) = (Server::start(), Server::start());
    // NFSv4 would find out that both are one server and use one connection.
    bed.run(vec![mount(&dead, export.path(), "vers=4.0").into()], "dead").unwrap();
    bed.run(vec![mount(&alive, export.path(), "vers=3,nolock").into()], "alive").unwrap();
    let life = || {
        let mut is_answered = false;
        let (result, took) = timed(|| {
            is_answered = bed.look("alive").usage.is_some();
            let step = mount(&alive, export.path(), "vers=3,nolock");
            bed.run(vec![step.into()], "other")?;
            bed.unmount("other", LONG)
        });
        result.unwrap();
        if is_answered { took } else { Duration::MAX }
    };
    let before = median((0..3).map(|_| life()).collect());
    dead.stop();
    std::thread::scope(|scope| {
        let calls = scope.spawn(|| (bed.look("dead"), bed.unmount("dead", LONG)));
        let mut during = Vec::new();
        while !calls.is_finished() {
            during.push(life());
        }
        let during = median(during);
        let (stats, unmounted) = calls.join().unwrap();
        assert!(stats.condition.abnormal && unmounted.is_ok(), "{stats:?} {unmounted:?}");
        println!(
            "statistics, mount and unmount at another server: {before:?}, with a dead one beside it {during:?}"
        );
        assert!(during < before * 5 + Duration::from_millis(500), "{before:?} {during:?}");
    });
}

fn a_mount_asks_its_server_once_at_a_time() {
    let (mut bed, export, server) = (Bed::new(), Export::new(), Server::start());
    bed.options.patience = LONG;
    bed.run(vec![mount(&server, export.path(), "vers=4.0").into()], "a").unwrap();
    server.stop();
    let node = bed.node();
    let stats = |time| node.stats(&within(time), &bed.path("a")).unwrap();
    std::thread::scope(|scope| {
        let first = scope.spawn(|| stats(LONG));
        while node.waiting_processes() == 0 {
            std::thread::yield_now();
        }
        let others: Vec<_> = (0..4).map(|_| scope.spawn(|| stats(SHORT))).collect();
        let mut most = 0;
        while !others.iter().all(|call| call.is_finished()) {
            most = most.max(node.waiting_processes());
        }
        assert_eq!(most, 1);
        others.into_iter().for_each(|call| assert!(call.join().unwrap().usage.is_none()));
        server.go_on();
        assert!(first.join().unwrap().usage.is_some());
    });
    bed.unmount("a", LONG).unwrap();
}

fn a_dead_server_takes_its_share_of_the_processes_and_no_more() {
    /// Of one server.
    const SHARE: usize = 16;
    let (mut bed, export) = (Bed::new(), Export::new());
    bed.options.patience = LONG;
    let (dead, alive) = (Server::start(), Server::start());
    let of = |server| mount(server, export.path(), "vers=3,nolock");
    let names: Vec<String> = (0..=SHARE).map(|number| format!("dead-{number}")).collect();
    names.iter().for_each(|name| bed.run(vec![of(&dead).into()], name).unwrap());
    bed.run(vec![of(&alive).into()], "alive").unwrap();
    dead.stop();
    let (last, first) = names.split_last().unwrap();
    let node = bed.node();
    let stats = |name: &str, time| node.stats(&within(time), &bed.path(name));
    std::thread::scope(|scope| {
        let calls: Vec<_> =
            first.iter().map(|name| scope.spawn(move || stats(name, LONG))).collect();
        while node.waiting_processes() < SHARE {
            std::thread::yield_now();
        }
        let error = stats(last, SHORT).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unavailable, "{error}");
        let waiting = format!("{SHARE} calls of this node wait for {} already", dead.address());
        assert!(error.message.contains(&waiting), "{error}");
        assert!(error.message.contains(&format!("its share is {SHARE}")), "{error}");
        assert_eq!(node.waiting_processes(), SHARE);
        let (usage, took) = timed(|| stats("alive", LONG).unwrap().usage);
        println!("with its share taken by a dead server, another one answers in {took:?}");
        assert!(usage.is_some());
        bed.run(vec![of(&alive).into()], "alive-too").unwrap();
        // Unmounting has places of its own, although nobody answers there.
        let error = bed.unmount(last, SHORT).unwrap_err();
        assert!(!error.message.contains("calls of this node"), "{error}");
        dead.go_on();
        calls.into_iter().for_each(|call| assert!(call.join().unwrap().unwrap().usage.is_some()));
    });
    names.iter().for_each(|name| bed.unmount(name, LONG).unwrap());
}

fn a_call_that_is_tried_again_adds_no_process_to_the_one_that_waits() {
    let (bed, export, server) = (Bed::new(), Export::new(), Server::start());
    sh(&format!("mkdir {0}/v {0}/w", export.path().display()));
    let steps = |name| vec![scratch(&server, export.path(), "vers=4.0"), remove(name)];
    server.stop();
    let node = bed.node();
    std::thread::scope(|scope| {
        // As one that the kernel does not let go of.
        let first = scope.spawn(|| bed.run_within(LONG, steps("v"), "unused"));
        while node.waiting_processes() == 0 {
            std::thread::yield_now();
        }
        for _ in 0..2 {
            let error = bed.run_within(SHORT, steps("v"), "unused").unwrap_err();
            assert_eq!(error.kind, ErrorKind::Unavailable, "{error}");
            assert!(error.message.contains("an earlier call (work in v on "), "{error}");
            assert!(error.message.contains(&server.address()), "{error}");
            assert_eq!(node.waiting_processes(), 1);
        }
        // Another volume of the export does not wait for it.
        let other = scope.spawn(|| bed.run_within(LONG, steps("w"), "unused"));
        while node.waiting_processes() == 1 {
            std::thread::yield_now();
        }
        server.go_on();
        [first, other].into_iter().for_each(|call| call.join().unwrap().unwrap());
    });
    assert_eq!(std::fs::read_dir(export.path()).unwrap().count(), 0);
}

/// What the resolver asks: answers nothing about the names of one domain, and that there is no such
/// name about all others, which other tests ask for.
struct NameServer {
    _configuration: tempfile::NamedTempFile,
}

impl NameServer {
    const HANGS: &[u8] = b"\x05hangs\x04test\0";

    fn start() -> Self {
        let socket = UdpSocket::bind("127.0.53.1:53").unwrap();
        std::thread::spawn(move || {
            let mut query = [0; 512];
            while let Ok((length, from)) = socket.recv_from(&mut query) {
                let query = &mut query[..length];
                if !query.windows(Self::HANGS.len()).any(|name| name == Self::HANGS) {
                    // An answer, and of the kind NXDOMAIN.
                    (query[2], query[3]) = (0x80, 3);
                    let _ = socket.send_to(query, from);
                }
            }
        });
        let mut configuration = tempfile::NamedTempFile::new().unwrap();
        // It would give up by itself only after minutes.
        configuration.write_all(b"nameserver 127.0.53.1\noptions timeout:30 attempts:5\n").unwrap();
        let file = configuration.path().display().to_string();
        sh(&format!("mount --bind {file} \"$(readlink -f /etc/resolv.conf)\""));
        Self { _configuration: configuration }
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        sh("umount \"$(readlink -f /etc/resolv.conf)\"");
    }
}

fn a_resolver_that_hangs_ends_the_call_by_its_deadline_and_holds_up_no_other_volume() {
    /// What the host waits for a resolver.
    const RESOLVING: Duration = Duration::from_secs(10);
    let (bed, export, server) = (Bed::new(), Export::new(), Server::start());
    let name = "server.hangs.test";
    let of_name =
        || MountNfs { server: name.to_owned(), ..mount(&server, export.path(), "vers=4.0") };
    let life = || {
        let (result, took) = timed(|| {
            bed.run(vec![mount(&server, export.path(), "vers=4.0").into()], "other")?;
            bed.unmount("other", LONG)
        });
        result.unwrap();
        took
    };
    let before = median((0..3).map(|_| life()).collect());
    let _resolver = NameServer::start();
    std::thread::scope(|scope| {
        let short = scope.spawn(|| timed(|| bed.run_within(SHORT, vec![of_name().into()], "a")));
        let long = scope.spawn(|| timed(|| bed.run_within(LONG, vec![of_name().into()], "b")));
        let mut during = Vec::new();
        while !short.is_finished() || !long.is_finished() {
            during.push(life());
        }
        let during = median(during);
        let ends = [(short, SHORT / 2, SHORT), (long, RESOLVING, RESOLVING)];
        for (call, at_least, by) in ends {
            let (result, took) = call.join().unwrap();
            let error = result.unwrap_err();
            println!("a call for a name that nobody resolves: {took:?}: {error}");
            assert_eq!(error.kind, ErrorKind::Unavailable, "{error}");
            assert!(error.message.contains(name) && error.hint.is_some(), "{error}");
            assert!(took >= at_least && took < by + (SHORT_AND_A_BIT - SHORT), "{took:?}");
        }
        println!("mount and unmount at another server: {before:?}, meanwhile {during:?}");
        assert!(during < before * 5 + Duration::from_millis(500), "{before:?} {during:?}");
    });
    assert!(bed.mounts().is_empty() && !bed.path("a").exists() && !bed.path("b").exists());
}
