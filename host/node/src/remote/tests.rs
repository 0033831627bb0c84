//! Which process does a work, what it holds, and how it ends.

use std::path::PathBuf;

use rustix::process::{Pid, Resource, Rlimit, Signal, WaitId, WaitIdOptions, kill_process};
use tempfile::TempDir;

use super::*;
use crate::SystemClock;

const LONG: Duration = Duration::from_secs(60);

/// The other end of these tests' conversations: this program, running this test alone.
#[test]
fn a_child_answers_its_parent() {
    let input = rustix::fs::fstat(std::io::stdin()).unwrap();
    if rustix::fs::FileType::from_raw_mode(input.st_mode) == rustix::fs::FileType::Socket {
        assert_eq!(answer_parent(), ExitCode::SUCCESS);
    }
}

struct Scene {
    remote: Remote,
    directory: TempDir,
}

impl Scene {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let program = std::env::current_exe().unwrap();
        let test = "remote::tests::a_child_answers_its_parent";
        let command = [program.into(), "--exact".into(), test.into()];
        Self { remote: Remote::new(&command, directory.path()), directory }
    }

    /// A work in this scene's directory; an error where the same work is under way.
    fn try_start(&self, work: &str) -> Result<Session, Error> {
        let at =
            rustix::fs::open(self.directory.path(), OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
                .unwrap();
        let work = Work { name: work, server: "server", purpose: Purpose::Use };
        self.remote.start(work, Some(at.as_fd()), &Call::until(Duration::ZERO), &SystemClock)
    }

    fn start(&self, work: &str) -> Session {
        self.try_start(work).unwrap()
    }

    /// Does a work, and returns the process that did it.
    fn work(&self) -> Pid {
        let mut session = self.start("work");
        make(&mut session).unwrap();
        pid_of(&session)
    }

    fn idle(&self) -> Option<Pid> {
        self.remote.processes.idle()
    }
}

/// Makes a directory in the one that the work began in.
fn make(session: &mut Session) -> Result<Answer, Failure> {
    let base = TreeBase::Directory(".".into());
    let ownership = crate::trees::Ownership { mode: Some(0o700), uid: None, gid: None };
    let work = Tree::Make { path: "made".into(), ownership };
    session.ask(&Request::Tree { base, shown: "here".into(), work, bound: LONG }, LONG)
}

fn pid_of(session: &Session) -> Pid {
    session.process.as_ref().unwrap().pid().unwrap()
}

fn in_proc(pid: Pid, name: &str) -> PathBuf {
    format!("/proc/{}/{name}", pid.as_raw_nonzero()).into()
}

fn is_gone(pid: Pid) -> bool {
    !in_proc(pid, "").exists()
}

/// What a process has open, by name.
fn open_files(pid: Pid) -> Vec<PathBuf> {
    let listed = std::fs::read_dir(in_proc(pid, "fd")).unwrap();
    listed.filter_map(|file| file.unwrap().path().read_link().ok()).collect()
}

fn until(what: impl Fn() -> bool) {
    let end = std::time::Instant::now() + LONG;
    while !what() {
        assert!(std::time::Instant::now() < end);
        std::thread::yield_now();
    }
}

/// Returns when it does nothing any more.
fn stop(pid: Pid) {
    kill_process(pid, Signal::STOP).unwrap();
    until(|| std::fs::read_to_string(in_proc(pid, "status")).unwrap().contains("\nState:\tT"));
}

#[test]
fn one_process_does_one_work_after_the_other() {
    let scene = Scene::new();
    let first = scene.work();
    assert!(scene.directory.path().join("made").is_dir());
    for _ in 0..3 {
        assert_eq!(scene.work(), first);
    }
    // One that was asked nothing is as good.
    drop(scene.start("work"));
    assert_eq!((scene.work(), scene.remote.under_way()), (first, 0));
}

#[test]
fn a_process_holds_the_lock_and_the_directory_of_its_work_and_no_longer_than_that() {
    let scene = Scene::new();
    let lock = scene.directory.path().join("lock");
    let mut session = scene.start("work");
    make(&mut session).unwrap();
    let pid = pid_of(&session);
    let at = || in_proc(pid, "cwd").read_link().unwrap();
    assert_eq!(at(), scene.directory.path());
    assert!(open_files(pid).contains(&lock));
    assert!(open_files(rustix::process::getpid()).iter().all(|file| *file != lock));
    assert!(scene.try_start("work").is_err());
    assert_eq!(scene.remote.under_way(), 1);
    drop(session);
    assert_eq!(scene.idle(), Some(pid));
    assert_eq!(at(), std::path::Path::new("/"));
    let open = open_files(pid);
    assert!(open.iter().all(|file| !file.starts_with(scene.directory.path())), "{open:?}");
    scene.try_start("work").unwrap();
}

#[test]
fn what_ends_a_work_lets_go_of_it_unless_it_fails() {
    let scene = Scene::new();
    let mut session = scene.start("work");
    let missing = Request::Usage { at: "missing".into() };
    session.ask_last(missing, LONG).unwrap_err();
    let pid = pid_of(&session);
    assert_eq!(in_proc(pid, "cwd").read_link().unwrap(), scene.directory.path());
    assert!(scene.try_start("work").is_err());
    session.ask_last(Request::Usage { at: ".".into() }, LONG).unwrap();
    assert_eq!(in_proc(pid, "cwd").read_link().unwrap(), std::path::Path::new("/"));
    drop(scene.try_start("work").unwrap());
    // Nothing is left to say: one that cannot answer is kept all the same.
    stop(pid);
    drop(session);
    assert_eq!(scene.idle(), Some(pid));
    kill_process(pid, Signal::CONT).unwrap();
}

#[test]
fn a_process_that_does_not_answer_is_killed_and_another_does_the_next_work() {
    let scene = Scene::new();
    let pid = scene.work();
    let mut session = scene.start("work");
    stop(pid);
    let failure = session.ask(&Request::Release, Duration::from_millis(20)).unwrap_err();
    assert!(matches!(failure, Failure::Silent), "{failure:?}");
    assert!(is_gone(pid));
    assert!(matches!(make(&mut session), Err(Failure::Said { .. })));
    drop(session);
    assert_ne!(scene.work(), pid);
}

#[test]
fn a_process_that_is_asked_and_not_waited_for_is_killed() {
    let scene = Scene::new();
    let mut session = scene.start("work");
    session.send(&Request::Release).unwrap();
    let pid = pid_of(&session);
    drop(session);
    assert!(is_gone(pid) && scene.idle().is_none());
}

#[test]
fn a_process_that_does_not_let_go_is_killed() {
    let scene = Scene::new();
    let mut session = scene.start("work");
    make(&mut session).unwrap();
    let pid = pid_of(&session);
    stop(pid);
    drop(session);
    assert!(is_gone(pid) && scene.idle().is_none());
    scene.try_start("work").unwrap();
}

#[test]
fn a_process_that_mounted_out_of_sight_does_nothing_else() {
    let scene = Scene::new();
    let mut session = scene.start("work");
    let mount = NfsMount {
        source: "127.0.0.1:/".into(),
        address: std::net::Ipv4Addr::LOCALHOST.into(),
        options: vec!["no_such_option".into()],
        flags: 0,
    };
    // Whether it could is not looked at.
    session.ask(&Request::Mount { mount, at: None }, LONG).unwrap_err();
    let pid = pid_of(&session);
    drop(session);
    assert!(is_gone(pid) && scene.idle().is_none());
}

#[test]
fn a_process_that_dies_without_work_is_replaced() {
    let scene = Scene::new();
    let pid = scene.work();
    kill_process(pid, Signal::KILL).unwrap();
    // Not reaped by that.
    let dead = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
    rustix::process::waitid(WaitId::Pid(pid), dead).unwrap();
    assert_ne!(scene.work(), pid);
    assert!(is_gone(pid), "it was not reaped");
}

#[test]
fn one_process_at_most_is_kept() {
    let scene = Scene::new();
    let sessions = ["a", "b", "c"].map(|work| scene.start(work));
    let pids = sessions.each_ref().map(pid_of);
    assert_eq!(scene.remote.under_way(), 3);
    drop(sessions);
    assert_eq!(pids.into_iter().filter(|pid| !is_gone(*pid)).count(), 1);
    assert_eq!(scene.remote.under_way(), 0);
    let kept = scene.idle().unwrap();
    drop(scene);
    // It ends by itself: nobody kills it, and nobody but this test waits for it.
    rustix::process::waitid(WaitId::Pid(kept), WaitIdOptions::EXITED).unwrap();
}

#[test]
fn the_number_of_processes_is_bounded_and_the_one_without_work_is_not_one_too_many() {
    let scene = Scene::new();
    let start = |number: usize| scene.try_start(&number.to_string());
    let mut sessions: Vec<_> = (0..).map_while(|number| start(number).ok()).collect();
    let share = sessions.len();
    let error = start(share).unwrap_err();
    assert!(error.message.contains(&format!("{share} calls of this node wait")), "{error}");
    assert!(error.message.contains("server"), "{error}");
    assert_eq!(scene.remote.under_way(), share);
    let last = pid_of(&sessions.pop().unwrap());
    assert_eq!(pid_of(&start(share).unwrap()), last);
}

#[test]
fn a_process_lives_on_when_the_thread_that_started_it_is_gone() {
    let scene = Scene::new();
    let start = || {
        let mut session = scene.start("work");
        make(&mut session).unwrap();
        (session, rustix::thread::gettid())
    };
    let (mut session, thread) = std::thread::scope(|scope| scope.spawn(start).join().unwrap());
    // A join returns a little before the kernel reports a thread's end.
    until(|| !in_proc(thread, "").exists());
    make(&mut session).unwrap();
}

#[test]
fn work_whose_files_do_not_arrive_is_not_done_elsewhere() {
    let scene = Scene::new();
    let pid = scene.work();
    let none = Rlimit { current: Some(3), maximum: Some(3) };
    rustix::process::prlimit(Some(pid), Resource::Nofile, none).unwrap();
    let mut session = scene.start("work");
    let error = make(&mut session).unwrap_err().into_error("x", LONG);
    assert!(error.message.contains("the process that asks servers ended"), "{error}");
}
