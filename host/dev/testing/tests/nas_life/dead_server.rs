//! A server that stops while its volumes are made, mounted, used, taken away and deleted, before a
//! call or in the middle of it: every call ends by its deadline and names it, another server's
//! volumes do not notice, and all is well when it is back.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use wharf_testing::bed::Machine;
use wharf_testing::latency::median;
use wharf_testing::nfs_server::{Forwarder, MOUNT_PORT, NFS_PORT};
use wharf_testing::player::{CsiVolume, FlexVolume, PlayError, Retry, VolumeClass};
use wharf_testing::tests;

use super::cluster::{Cluster, GIB, Share, cluster, mode, names, read, write};

tests![
    every_call_ends_by_its_deadline_and_other_volumes_keep_their_latency,
    a_mount_whose_server_stops_on_the_way_ends_by_its_deadline,
    a_server_that_stops_during_statistics_or_unpublish_holds_up_nobody,
    a_removal_whose_server_stops_on_the_way_ends_by_its_deadline_and_goes_on_later,
    what_waits_for_a_dead_server_is_counted_and_ends_with_the_process_that_asked,
];

/// What a sidecar or a kubelet gives a call here.
const SHORT: Duration = Duration::from_secs(10);
/// How long the host waits for a server that answers nothing before it takes a mount away.
const PATIENCE: Duration = Duration::from_secs(30);
/// What one address of a server gets for a mount.
const MOUNTING: Duration = Duration::from_secs(60);
/// What all of it may take longer on busy processors.
const SLACK: Duration = Duration::from_secs(15);
/// After so many answers a server stops, each time another one. All of these mounts are under way at
/// once; one that makes its directory takes fewer answers than the last number.
const ANSWERS: [usize; 4] = [0, 2, 12, 128];
/// The same while it takes what a pod has written, 64 KiB at a time, which is far more.
const ANSWERS_TO_WRITES: [usize; 3] = [0, 2, 12];
/// What each of them gets. A fifth is for taking back what was done.
const TOGETHER: Duration = Duration::from_secs(30);

/// What a call came to, and how long it took.
type Ended = (Result<(), PlayError>, Duration);

fn timed(call: impl FnOnce() -> Result<(), PlayError>) -> Ended {
    let begun = Instant::now();
    (call(), begun.elapsed())
}

fn assert_names(server: &str, within: Duration, what: &str, ended: Ended) {
    let (result, took) = ended;
    println!("{what}: {took:?}");
    let Err(error) = result else { panic!("{what} succeeds without its server") };
    let error = error.to_string();
    // The answer was under way when the client's own time was over.
    let is_late =
        error.contains("Timeout expired") && LATE.fetch_add(1, Ordering::SeqCst) < MAX_LATE;
    assert!(is_late || error.contains(server), "{what}: {error}");
    assert!(took < within + SLACK, "{what}: {took:?}");
}

/// The host keeps half a second back for the answer, which busy processors do not always carry in
/// that time. So one of all answers here may be late, and none of a host that always is.
const MAX_LATE: usize = 1;
static LATE: AtomicUsize = AtomicUsize::new(0);

impl Cluster {
    /// How long a pod with a volume of the other server lives. Its calls are repeated as by kubelet.
    fn life_elsewhere(&self) -> Duration {
        let csi = self.csi.clone().with_timeout(SHORT);
        let (volume, node) = (self.on(&self.other, "pv-alive"), &self.nodes[0]);
        let (result, took) = timed(|| {
            let target = csi.publish(&volume, node, "other", false)?;
            write(&target, "alive");
            csi.stats(&volume, node, "other")?;
            csi.unpublish(&volume, node, "other")
        });
        result.unwrap();
        took
    }

    fn on(&self, share: &Share, name: &str) -> CsiVolume {
        let mut volume = self.fixed(name, &format!("/{name}"), &[]);
        volume.context.insert("server".to_owned(), share.server.clone());
        volume
    }
}

fn every_call_ends_by_its_deadline_and_other_volumes_keep_their_latency() {
    let cluster = cluster();
    let dead = &cluster.share;
    let csi = cluster.csi.clone().with_retry(Retry::never()).with_timeout(SHORT);
    let patient = cluster.csi.clone().with_retry(Retry::never());
    let (flex, node, flex_node) = (&cluster.flex, &cluster.nodes[0], &cluster.flex_nodes[1]);
    let class = |name: &str| {
        let server = format!("{}:/k8s", dead.server);
        (name.to_owned(), VolumeClass::share(&[("server", &server), ("archiveOnDelete", "false")]))
    };
    let share_of = |name: &str| {
        let path = format!("/{name}");
        FlexVolume::new(name, "", &[("server", &dead.server), ("path", &path)])
    };
    // There before the server stops.
    let used = cluster.on(dead, "pv-used");
    write(&csi.publish(&used, node, "pod", false).unwrap(), "written");
    let flex_used = share_of("pv-flex-used");
    flex.mount(&flex_used, flex_node, "pod").unwrap();
    let (name, deleted_class) = class("pvc-deleted");
    let deleted = cluster.csi.provision(&name, GIB, &deleted_class).unwrap();
    write(&dead.at("/k8s/pvc-deleted"), "written");
    let before = (0..3).map(|_| cluster.life_elsewhere()).collect();
    cluster.servers().of(&dead.server).stop();
    let new = cluster.on(dead, "pv-new");
    let (is_over, mut during) = (AtomicBool::new(false), Vec::new());
    std::thread::scope(|scope| {
        let calls = scope.spawn(|| {
            std::thread::scope(|scope| {
                let publish =
                    scope.spawn(|| timed(|| csi.publish(&new, node, "new", false).map(drop)));
                let create = scope.spawn(|| {
                    let (name, class) = class("pvc-new");
                    timed(|| csi.provision(&name, GIB, &class).map(drop))
                });
                let delete = scope.spawn(|| timed(|| csi.delete(&deleted)));
                let stats = scope.spawn(|| timed(|| csi.stats(&used, node, "pod").map(drop)));
                let mount = scope.spawn(|| {
                    timed(|| flex.mount(&share_of("pv-flex"), flex_node, "new").map(drop))
                });
                let unmount = scope.spawn(|| timed(|| flex.unmount(&flex_used, flex_node, "pod")));
                let named = |within, what: &str, ended| {
                    assert_names(&dead.server, within, what, ended);
                };
                named(SHORT, "NodePublishVolume", publish.join().unwrap());
                named(SHORT, "CreateVolume", create.join().unwrap());
                named(SHORT, "DeleteVolume", delete.join().unwrap());
                named(SHORT, "NodeGetVolumeStats", stats.join().unwrap());
                let (unpublished, took) = timed(|| patient.unpublish(&used, node, "pod"));
                println!("NodeUnpublishVolume: {took:?}");
                unpublished.unwrap();
                assert!(took < PATIENCE * 2 + SLACK, "{took:?}");
                let (unmounted, took) = unmount.join().unwrap();
                println!("unmount: {took:?}");
                unmounted.unwrap();
                assert!(took < PATIENCE * 2 + SLACK, "{took:?}");
                named(MOUNTING, "mount", mount.join().unwrap());
            });
            is_over.store(true, Ordering::SeqCst);
        });
        while !is_over.load(Ordering::SeqCst) && !calls.is_finished() {
            during.push(cluster.life_elsewhere());
        }
    });
    assert_is_not_held_up(before, during);
    let left = cluster.bed.mounts();
    assert!(left.is_empty(), "{left:?}");

    cluster.servers().of(&dead.server).go_on();
    // Nothing was lost, and what did not come about comes about now.
    assert_eq!(read(&dead.at("/pv-used")), "written");
    let target = cluster.csi.publish(&used, node, "pod", false).unwrap();
    assert_eq!(read(&target), "written");
    cluster.csi.unpublish(&used, node, "pod").unwrap();
    cluster.csi.unpublish(&new, node, "new").unwrap();
    flex.mount(&share_of("pv-flex"), flex_node, "new").unwrap();
    flex.unmount(&share_of("pv-flex"), flex_node, "new").unwrap();
    cluster.csi.delete(&deleted).unwrap();
    assert_eq!(gone(&dead.at("/k8s")), Vec::<String>::new());
    let (name, class) = class("pvc-new");
    let new = cluster.csi.provision(&name, GIB, &class).unwrap();
    assert_eq!(names(&dead.at("/k8s")), ["pvc-new"]);
    cluster.csi.delete(&new).unwrap();
    cluster.assert_as_before();
}

/// Lives with a living server only, and with a dead one beside it.
fn assert_is_not_held_up(before: Vec<Duration>, during: Vec<Duration>) {
    let number = during.len();
    let [before, during] = [before, during].map(median);
    println!("a volume of another server: {before:?}, {during:?} with a dead one ({number} lives)");
    assert!(during < before * 5 + Duration::from_secs(1), "{before:?} {during:?}");
}

/// What is left of deleted volumes.
fn gone(directory: &Path) -> Vec<String> {
    names(directory).into_iter().filter(|name| name.contains("deleted")).collect()
}

/// A volume whose server can be stopped once it has given so many answers.
struct Stopping {
    forwarder: Forwarder,
    volume: CsiVolume,
}

impl Stopping {
    fn make(name: &str, cluster: &Cluster, server: Ipv4Addr) -> Self {
        let reach = move |port: u16| TcpStream::connect((server, port));
        let ports = [NFS_PORT, MOUNT_PORT].map(|port| (port, port));
        let forwarder = Forwarder::start(&ports, Arc::new(reach)).unwrap();
        let mut volume = cluster.fixed(name, &format!("/stop/{name}"), &[("mode", "750")]);
        volume.context.insert("server".to_owned(), forwarder.address().to_string());
        Self { forwarder, volume }
    }
}

fn a_mount_whose_server_stops_on_the_way_ends_by_its_deadline() {
    let cluster = cluster();
    let (csi, node) = (&cluster.csi, &cluster.nodes[0]);
    let once = csi.clone().with_retry(Retry::never()).with_timeout(TOGETHER);
    let server = cluster.servers().of(&cluster.share.server).address();
    let all = ANSWERS.map(|answers| {
        let one = Stopping::make(&format!("pv-stop-{answers}"), &cluster, server);
        one.forwarder.stop_after(answers);
        one
    });
    let results: Vec<Ended> = std::thread::scope(|scope| {
        let publish = |one: &Stopping| {
            let (once, volume) = (&once, one.volume.clone());
            scope.spawn(move || timed(|| once.publish(&volume, node, "pod", false).map(drop)))
        };
        let threads: Vec<_> = all.iter().map(publish).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let mut mounted = 0;
    for (one, (result, took)) in all.iter().zip(results) {
        let target = one.volume.target(node, "pod");
        let is_there = cluster.bed.mounts().iter().any(|mount| mount.at == target);
        assert_eq!(is_there, result.is_ok(), "{}: {result:?}", one.volume.name);
        if result.is_ok() {
            mounted += 1;
        } else {
            let address = one.forwarder.address().to_string();
            assert_names(&address, TOGETHER, &one.volume.name, (result, took));
        }
    }
    assert_eq!(mounted, 1, "the others stop before the end");
    for one in &all {
        one.forwarder.go_on();
        let target = csi.publish(&one.volume, node, "pod", false).unwrap();
        write(&target, &one.volume.name);
        csi.unpublish(&one.volume, node, "pod").unwrap();
        let path = cluster.share.at(&one.volume.context["path"]);
        assert_eq!((read(&path), mode(&path)), (one.volume.name.clone(), 0o750));
    }
    cluster.assert_as_before();
}

/// A pod that is ending: it has a file open, which it does not close: that would write it back.
struct Pod(Child);

const WRITTEN: usize = 4 << 20;

impl Pod {
    fn open(target: &Path) -> Self {
        let script = "exec 4>&1 >\"$1\"; echo >&4; read -r _; printf \"%$2s\" ''; exec sleep 600";
        let process = Command::new("sh")
            .args(["-c", script, "pod"])
            .arg(target.join("unwritten"))
            .arg(WRITTEN.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut this = Self(process);
        this.0.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
        this
    }

    /// What it writes is not yet with the server.
    fn write(&mut self) {
        self.0.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
        let position = format!("pos:\t{WRITTEN}\n");
        let file = format!("/proc/{}/fdinfo/1", self.0.id());
        while !fs::read_to_string(&file).unwrap().starts_with(&position) {
            std::thread::yield_now();
        }
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn a_server_that_stops_during_statistics_or_unpublish_holds_up_nobody() {
    let cluster = cluster();
    let (csi, node) = (&cluster.csi, &cluster.nodes[0]);
    let once = csi.clone().with_retry(Retry::never()).with_timeout(SHORT);
    let server = cluster.servers().of(&cluster.share.server).address();
    let looked_at = Stopping::make("pv-looked-at", &cluster, server);
    csi.publish(&looked_at.volume, node, "pod", false).unwrap();
    let before = (0..3).map(|_| cluster.life_elsewhere()).collect();
    let mut left = ANSWERS_TO_WRITES.map(|answers| {
        let mut one = Stopping::make(&format!("pv-left-{answers}"), &cluster, server);
        let options = "nolock,proto=tcp,noresvport,hard,wsize=65536".to_owned();
        one.volume.context.insert("options".to_owned(), options);
        let target = csi.publish(&one.volume, node, "pod", false).unwrap();
        write(&target, &one.volume.name);
        (one, Pod::open(&target), answers)
    });
    looked_at.forwarder.stop_after(0);
    left.iter_mut().for_each(|(one, pod, answers)| {
        // The kernel writes back by itself within seconds. Slowly, so that answers come one by one.
        pod.write();
        one.forwarder.slow_down(Duration::from_millis(20));
        one.forwarder.stop_after(*answers);
    });
    let mut during = Vec::new();
    std::thread::scope(|scope| {
        let looking = scope.spawn(|| {
            let begun = Instant::now();
            (once.condition(&looked_at.volume, node, "pod").unwrap(), begun.elapsed())
        });
        let leave = |one: &Stopping| {
            let (once, volume) = (&once, one.volume.clone());
            let address = one.forwarder.address().to_string();
            scope.spawn(move || {
                let (first, took) = timed(|| once.unpublish(&volume, node, "pod"));
                assert!(took < SHORT + SLACK, "{took:?}");
                // A server that answered just now is not given up by the first call.
                let Err(error) = first else { return Ok(took) };
                assert!(error.to_string().contains(&address), "{error}");
                let (next, more) = timed(|| csi.unpublish(&volume, node, "pod"));
                next.map(|()| took + more)
            })
        };
        let leaving: Vec<_> = left.iter().map(|(one, ..)| leave(one)).collect();
        while !looking.is_finished() || !leaving.iter().all(|thread| thread.is_finished()) {
            during.push(cluster.life_elsewhere());
        }
        let (condition, took) = looking.join().unwrap();
        println!("NodeGetVolumeStats: {took:?}: {}", condition.message);
        assert!(condition.abnormal && took < SHORT + SLACK, "{took:?} {condition:?}");
        let address = looked_at.forwarder.address().to_string();
        assert!(condition.message.contains(&address), "{condition:?}");
        for (thread, (_, _, answers)) in leaving.into_iter().zip(&left) {
            let took = thread.join().unwrap().unwrap();
            println!("NodeUnpublishVolume, stopped after {answers} answers: {took:?}");
            assert!(took < SHORT + PATIENCE * 2 + SLACK, "{took:?}");
        }
    });
    assert_is_not_held_up(before, during);
    let mounts: Vec<_> = cluster.bed.mounts().into_iter().map(|mount| mount.at).collect();
    assert_eq!(mounts, [looked_at.volume.target(node, "pod")]);
    looked_at.forwarder.go_on();
    csi.stats(&looked_at.volume, node, "pod").unwrap();
    assert!(!csi.condition(&looked_at.volume, node, "pod").unwrap().abnormal);
    csi.unpublish(&looked_at.volume, node, "pod").unwrap();
    for (one, pod, _) in left {
        one.forwarder.slow_down(Duration::ZERO);
        one.forwarder.go_on();
        drop(pod);
        let target = csi.publish(&one.volume, node, "again", false).unwrap();
        assert_eq!(read(&target), one.volume.name);
        csi.unpublish(&one.volume, node, "again").unwrap();
    }
    cluster.assert_as_before();
}

fn a_removal_whose_server_stops_on_the_way_ends_by_its_deadline_and_goes_on_later() {
    const FILES: usize = 600;
    let cluster = cluster();
    let once = cluster.csi.clone().with_retry(Retry::never()).with_timeout(SHORT);
    let server = format!("{}:/k8s", cluster.share.server);
    let class = VolumeClass::share(&[("server", &server), ("archiveOnDelete", "false")]);
    let volume = cluster.csi.provision("pvc-half", GIB, &class).unwrap();
    let files = cluster.share.at("/k8s/pvc-half");
    (0..FILES).for_each(|number| fs::write(files.join(number.to_string()), "").unwrap());
    let remains = cluster.share.at("/k8s/.removing-pvc-half");
    let left = || fs::read_dir(&remains).map_or(FILES, Iterator::count);
    let ended = std::thread::scope(|scope| {
        let deleting = scope.spawn(|| timed(|| once.delete(&volume)));
        while left() > FILES / 2 {
            std::thread::sleep(Duration::from_millis(1));
        }
        cluster.servers().of(&cluster.share.server).stop();
        deleting.join().unwrap()
    });
    assert_names(&cluster.share.server, SHORT, "DeleteVolume", ended);
    assert!(left() > 0, "it was removed before the server stopped");
    cluster.servers().of(&cluster.share.server).go_on();
    cluster.csi.delete(&volume).unwrap();
    assert!(names(&cluster.share.at("/k8s")).is_empty());
    cluster.assert_as_before();
}

/// What the node's metrics say.
fn waiting(machine: &Machine) -> usize {
    let (_, text) = machine.page("/metrics").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("wharf_waiting_processes "));
    line.unwrap().parse::<f64>().unwrap() as usize
}

/// The state of a server's processes that work in a directory below this one, by number.
fn at_work(server: i32, below: &Path) -> Vec<(i32, char)> {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let numbers = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let state_of = |pid: &i32| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let told = |key| status.lines().find_map(move |line| line.strip_prefix(key));
        let at = fs::read_link(format!("/proc/{pid}/cwd")).ok()?;
        let is_one = told("PPid:\t")?.parse() == Ok(server) && at.starts_with(below);
        Some((*pid, told("State:\t")?.chars().next()?)).filter(|_| is_one)
    };
    numbers.filter_map(|pid| state_of(&pid)).collect()
}

fn what_waits_for_a_dead_server_is_counted_and_ends_with_the_process_that_asked() {
    let cluster = cluster();
    let (csi, node, machine) = (&cluster.csi, &cluster.nodes[0], cluster.bed.node(0));
    let once = csi.clone().with_retry(Retry::never()).with_timeout(MOUNTING);
    let volume = cluster.on(&cluster.share, "pv-waits");
    // One that has done its work does not wait.
    csi.publish(&cluster.on(&cluster.other, "pv-before"), node, "pod", false).unwrap();
    csi.unpublish(&cluster.on(&cluster.other, "pv-before"), node, "pod").unwrap();
    assert_eq!(waiting(machine), 0);
    cluster.servers().of(&cluster.share.server).stop();
    let process = std::thread::scope(|scope| {
        let publishing = scope.spawn(|| once.publish(&volume, node, "pod", false));
        // The kernel waits for the server, and looks at nothing but signals that kill.
        let process = loop {
            let found = at_work(machine.server_pid(), &machine.kubelet());
            if let Some((process, _)) = found.into_iter().find(|(_, state)| *state == 'D') {
                break process;
            }
            assert!(!publishing.is_finished(), "it does not wait");
        };
        assert_eq!(waiting(machine), 1);
        machine.kill_server().unwrap();
        publishing.join().unwrap().unwrap_err();
        process
    });
    let end = Instant::now() + SLACK;
    while fs::read_link(format!("/proc/{process}/cwd")).is_ok() {
        assert!(Instant::now() < end, "it is still there, and nobody asks it");
    }
    assert_eq!(waiting(machine), 0);
    cluster.servers().of(&cluster.share.server).go_on();
    csi.publish(&volume, node, "pod", false).unwrap();
    csi.unpublish(&volume, node, "pod").unwrap();
    cluster.assert_as_before();
}
