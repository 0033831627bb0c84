//! What DeleteVolume removes and what it leaves alone: large and odd trees, trees that are still
//! written to, several deletes at once, a controller that is killed on the way.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use nix::fcntl::{OFlag, open, openat};
use nix::sys::stat::{Mode, mkdirat};
use wharf_testing::player::{CsiPlayer, CsiVolume, PlayError, Retry, VolumeClass};
use wharf_testing::{requirement, tests};

use super::cluster::{CSI, Cluster, GIB, cluster, names, read, write};

tests![
    everything_in_a_volume_is_removed_and_nothing_outside,
    a_controller_that_is_killed_ten_times_on_the_way_ends_it_all_the_same,
    what_is_mounted_inside_is_named_and_untouched,
    what_appears_meanwhile_is_removed_too,
    several_deletes_of_one_volume_by_two_controllers_all_succeed,
];

/// How many files the largest tree has; a tenth and less are enough for the others. 100 000 are too
/// many for each run: in user-mode Linux beside a compiler, on two processors, deleting them over
/// NFS took 156 s, the controller 33 MiB and the process that removes 10 MiB. That many are removed
/// on a local file system each time (`linux` of the node).
const FILES: &str = "WHARF_TREE_FILES";
const USUAL_FILES: usize = 3_000;
/// A path through all of them is far longer than a path may be.
const DEPTH: usize = 300;
const KILLS: usize = 10;
/// Memory of its own that the process takes which removes: what the controller had, and a part of
/// one directory's names. The names of a hundred thousand files alone would be as much again. Pages
/// of the program's file do not count: how many are in memory is the kernel's choice.
const MOST_KIB: u64 = 8 << 10;
/// In user-mode Linux, with 100 000 files.
const PATIENCE: Duration = Duration::from_secs(900);

fn files() -> usize {
    std::env::var(FILES).ok().and_then(|number| number.parse().ok()).unwrap_or(USUAL_FILES)
}

/// Two volumes: one to be deleted with all its data, and one beside it.
struct Scene<'a> {
    cluster: &'a Cluster,
    volume: CsiVolume,
    beside: CsiVolume,
}

impl<'a> Scene<'a> {
    fn make(cluster: &'a Cluster) -> Self {
        let server = format!("{}:/k8s", cluster.share.server);
        let class = VolumeClass::share(&[("server", &server), ("archiveOnDelete", "false")]);
        let make = |name| cluster.csi.provision(name, GIB, &class).unwrap();
        let scene = Self { cluster, volume: make("pvc-gone"), beside: make("pvc-beside") };
        write(&scene.outside(), "kept");
        scene
    }

    fn inside(&self) -> PathBuf {
        self.cluster.share.at("/k8s/pvc-gone")
    }

    /// What is left of it once it is being removed.
    fn remains(&self) -> PathBuf {
        self.cluster.share.at("/k8s/.removing-pvc-gone")
    }

    fn outside(&self) -> PathBuf {
        self.cluster.share.at("/k8s/pvc-beside")
    }

    fn patient(&self) -> CsiPlayer {
        self.cluster.csi.clone().with_retry(Retry::brisk(PATIENCE))
    }

    fn end(self) {
        assert_eq!(names(&self.cluster.share.at("/k8s")), ["pvc-beside"]);
        assert_eq!(names(&self.outside()), ["data"]);
        assert_eq!(read(&self.outside()), "kept");
        self.cluster.csi.delete(&self.beside).unwrap();
        self.cluster.assert_as_before();
    }
}

/// Files in one directory, as pods leave them.
fn fill(directory: &Path, count: usize) {
    fs::create_dir_all(directory).unwrap();
    (0..count)
        .for_each(|number| drop(fs::File::create(directory.join(number.to_string())).unwrap()));
}

/// Everything that may lead a removal astray, or stop it.
fn make_odd(directory: &Path, outside: &Path) {
    // A directory below a directory, three hundred times.
    let name = "deep".repeat(40);
    let mut above = open(directory, OFlag::O_DIRECTORY, Mode::empty()).unwrap();
    for _ in 0..DEPTH {
        mkdirat(&above, name.as_str(), Mode::S_IRWXU).unwrap();
        above = openat(&above, name.as_str(), OFlag::O_DIRECTORY, Mode::empty()).unwrap();
    }
    mkdirat(&above, "last", Mode::S_IRWXU).unwrap();
    // Ways out.
    symlink(outside, directory.join("to a directory")).unwrap();
    symlink(outside.join("data"), directory.join("to a file")).unwrap();
    symlink("../pvc-beside", directory.join("up")).unwrap();
    symlink("/", directory.join("root")).unwrap();
    fs::hard_link(outside.join("data"), directory.join("the same file")).unwrap();
    // Names that are not text, and names that look like something else.
    for name in [&b"\xff\xfe"[..], b"caf\xe9", b"new\nline", b"-rf", b" ", b".wharf-removing-0"] {
        fs::create_dir(directory.join(OsStr::from_bytes(name))).unwrap();
        fs::write(directory.join(OsStr::from_bytes(name)).join(OsStr::from_bytes(name)), "x")
            .unwrap();
    }
    fs::write(directory.join("x".repeat(255)), "").unwrap();
    // What nobody may enter or read.
    fs::DirBuilder::new().mode(0o000).create(directory.join("closed")).unwrap();
    fs::write(directory.join("unreadable"), "").unwrap();
    fs::set_permissions(directory.join("unreadable"), fs::Permissions::from_mode(0o000)).unwrap();
    nix::unistd::mkfifo(&directory.join("pipe"), Mode::S_IRWXU).unwrap();
    drop(std::os::unix::net::UnixListener::bind(directory.join("socket")).unwrap());
}

/// A number of proc_pid_status(5); `None` once the process is gone.
fn status_of(process: i32, name: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

/// What the largest child of a process has taken of memory that is no file's.
fn largest_child_kib(parent: i32) -> u64 {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let numbers = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let own = |process: &i32| status_of(*process, "PPid:").map(i32::try_from) == Some(Ok(parent));
    numbers.filter(own).filter_map(|child| status_of(child, "RssAnon:")).max().unwrap_or(0)
}

fn everything_in_a_volume_is_removed_and_nothing_outside() {
    let cluster = cluster();
    let (scene, count) = (Scene::make(&cluster), files());
    fill(&scene.inside().join("wide"), count);
    make_odd(&scene.inside(), &scene.outside());
    let server = cluster.bed.manager().server_pid();
    let (is_over, begun) = (AtomicBool::new(false), Instant::now());
    let helper_kib = std::thread::scope(|scope| {
        let watching = scope.spawn(|| {
            let mut most = 0;
            while !is_over.load(Ordering::SeqCst) {
                most = most.max(largest_child_kib(server));
                std::thread::sleep(Duration::from_millis(20));
            }
            most
        });
        scene.patient().delete(&scene.volume).unwrap();
        is_over.store(true, Ordering::SeqCst);
        watching.join().unwrap()
    });
    let took = begun.elapsed().as_secs_f64();
    let server_kib = status_of(server, "VmHWM:").unwrap();
    requirement::say(&format!(
        "a tree of {count} files is deleted in {took:.1} s; the controller took {server_kib} KiB at \
         most, its helper {helper_kib} KiB"
    ));
    assert!(helper_kib > 0 && helper_kib < MOST_KIB, "it holds a part of the names at a time");
    scene.cluster.csi.delete(&scene.volume).unwrap();
    scene.end();
}

fn a_controller_that_is_killed_ten_times_on_the_way_ends_it_all_the_same() {
    let cluster = cluster();
    let (scene, count) = (Scene::make(&cluster), files());
    fill(&scene.inside().join("wide"), count);
    make_odd(&scene.inside(), &scene.outside());
    let wide = scene.remains().join("wide");
    let left = || fs::read_dir(&wide).map_or(0, Iterator::count);
    let has_begun = || scene.remains().exists();
    let killed = std::thread::scope(|scope| {
        let deleting = scope.spawn(|| scene.patient().delete(&scene.volume));
        let mut killed = 0;
        while !deleting.is_finished() {
            // By what is done, and not by the clock: each life removes its part.
            if has_begun() && killed < KILLS && left() <= count * (KILLS - killed) / (KILLS + 1) {
                cluster.bed.manager().kill_server().unwrap();
                killed += 1;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        deleting.join().unwrap().unwrap();
        killed
    });
    assert_eq!(killed, KILLS);
    scene.end();
}

fn what_is_mounted_inside_is_named_and_untouched() {
    let cluster = cluster();
    let scene = Scene::make(&cluster);
    fill(&scene.inside().join("a"), 10);
    let place = scene.inside().join("b/mounted");
    fs::create_dir_all(&place).unwrap();
    let mount = |arguments: &[&OsStr]| {
        assert!(Command::new("mount").args(arguments).status().unwrap().success());
    };
    mount(&[OsStr::new("--bind"), scene.outside().as_os_str(), place.as_os_str()]);
    let result = cluster.csi.clone().with_retry(Retry::never()).delete(&scene.volume);
    let moved = scene.remains().join("b/mounted");
    // Where the server's kernel threads do not see the mount, they take it away instead.
    if moved.exists() {
        let refused = result.unwrap_err();
        let PlayError::Refused { message, .. } = &refused else { panic!("{refused}") };
        assert!(message.contains("b/mounted"), "{message}");
        assert_eq!(names(&scene.remains()), ["b"]);
        assert_eq!(read(&moved), "kept");
        assert!(Command::new("umount").arg(&moved).status().unwrap().success());
        cluster.csi.delete(&scene.volume).unwrap();
    }
    scene.end();
}

fn what_appears_meanwhile_is_removed_too() {
    let cluster = cluster();
    let scene = Scene::make(&cluster);
    let (csi, node) = (&cluster.csi, &cluster.nodes[0]);
    fill(&scene.inside(), 300);
    let target = csi.publish(&scene.volume, node, "pod", false).unwrap();
    let (is_moved, written) = (|| scene.remains().exists(), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        // A pod that was forgotten: it writes until its directory is no more, or it has enough.
        scope.spawn(|| {
            for number in 0.. {
                let below = target.join(format!("new-{number}"));
                let made = fs::create_dir(&below).and_then(|()| fs::write(below.join("x"), "x"));
                match made {
                    Ok(()) if is_moved() => drop(written.fetch_add(1, Ordering::SeqCst)),
                    Ok(()) => {}
                    Err(_) if !scene.inside().exists() => return,
                    Err(error) => panic!("{error}"),
                }
                if written.load(Ordering::SeqCst) >= 100 {
                    return;
                }
            }
        });
        scope.spawn(|| scene.patient().delete(&scene.volume).unwrap());
    });
    assert!(written.load(Ordering::SeqCst) > 0, "nothing appeared while it was removed");
    csi.unpublish(&scene.volume, node, "pod").unwrap();
    csi.delete(&scene.volume).unwrap();
    scene.end();
}

/// A second controller, as while the leader changes: with a state directory of its own, so that no
/// lock keeps the two apart.
struct Second(Child);

impl Second {
    fn start(cluster: &Cluster) -> (Self, CsiPlayer) {
        let machine = cluster.bed.node(1);
        let mut serve = machine.command(cluster.bed.parts(), &["csi", "--role", "controller"]);
        serve.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let socket = machine.directory().join("sockets").join(CSI).join("controller.sock");
        (Self(serve.spawn().unwrap()), CsiPlayer::new(CSI, socket))
    }
}

impl Drop for Second {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn several_deletes_of_one_volume_by_two_controllers_all_succeed() {
    let cluster = cluster();
    let scene = Scene::make(&cluster);
    fill(&scene.inside().join("a/b"), 300);
    fill(&scene.inside().join("a/c"), 300);
    let (second, other) = Second::start(&cluster);
    other.controller_can().unwrap();
    std::thread::scope(|scope| {
        for player in [&cluster.csi, &other, &cluster.csi] {
            scope.spawn(|| player.delete(&scene.volume).unwrap());
        }
    });
    drop(second);
    scene.end();
}
