//! The traced process, its threads and its helpers.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex};

use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::WaitStatus;
use nix::unistd::Pid;

use super::calls::{self, Call};
use super::{Act, Counted, Moment, Position, Traced, met};

pub(super) const OPTIONS: Options = Options::PTRACE_O_TRACESYSGOOD
    .union(Options::PTRACE_O_TRACECLONE)
    .union(Options::PTRACE_O_TRACEFORK)
    .union(Options::PTRACE_O_TRACEVFORK)
    .union(Options::PTRACE_O_TRACEEXEC)
    .union(Options::PTRACE_O_EXITKILL);

/// Threads may start while the others are being seized; they are found in the next round. More
/// rounds than this means that it never settles.
const ROUNDS: usize = 100;

pub(super) struct Tree {
    root: Pid,
    at: usize,
    counted: Counted,
    act: Option<Act>,
    /// Every traced thread and the process that it belongs to.
    threads: BTreeMap<Pid, Pid>,
    killed: BTreeSet<Pid>,
    ended: bool,
    pub(super) traced: Arc<Mutex<Traced>>,
}

impl Tree {
    pub(super) fn new(root: Pid, moment: Moment) -> Self {
        Self {
            root,
            at: moment.at,
            counted: moment.counted,
            act: Some(moment.act),
            threads: BTreeMap::from([(root, root)]),
            killed: BTreeSet::new(),
            ended: false,
            traced: Arc::default(),
        }
    }

    /// Takes hold of a running process and of the process that it keeps for its next work, if it
    /// has one: of every thread.
    pub(super) fn seize(&mut self) -> io::Result<()> {
        self.seize_threads(self.root)?;
        // It may be on its way out.
        kept_by(self.root).into_iter().for_each(|kept| drop(self.seize_threads(kept)));
        Ok(())
    }

    fn seize_threads(&mut self, process: Pid) -> io::Result<()> {
        let mut seized = BTreeSet::new();
        for _ in 0..ROUNDS {
            let mut found = false;
            for entry in std::fs::read_dir(format!("/proc/{process}/task"))? {
                let Some(thread) = entry?
                    .file_name()
                    .to_str()
                    .and_then(|name| name.parse().ok())
                    .map(Pid::from_raw)
                else {
                    continue;
                };
                if !seized.insert(thread) {
                    continue;
                }
                found = true;
                match ptrace::seize(thread, OPTIONS) {
                    // Gone meanwhile, or traced already because its parent was.
                    Err(nix::Error::ESRCH | nix::Error::EPERM) => continue,
                    result => result?,
                }
                let _ = ptrace::interrupt(thread);
                self.threads.insert(thread, process);
            }
            if !found {
                return Ok(());
            }
        }
        Err(io::Error::other("the process starts threads faster than they can be traced"))
    }

    /// Whether the process itself is gone.
    pub(super) fn has_ended(&self) -> bool {
        self.ended
    }

    pub(super) fn hear(&mut self, status: WaitStatus) {
        match status {
            WaitStatus::Exited(thread, code) => self.gone(thread, Some(code)),
            WaitStatus::Signaled(thread, _, _) => self.gone(thread, None),
            WaitStatus::PtraceSyscall(thread) => self.system_call(thread),
            WaitStatus::PtraceEvent(thread, signal, event) => self.event(thread, signal, event),
            WaitStatus::Stopped(thread, signal) => {
                self.know(thread);
                // A new thread begins with a stop of its own; other signals are passed on.
                let passed =
                    (!matches!(signal, Signal::SIGSTOP | Signal::SIGTRAP)).then_some(signal);
                go_on(thread, passed);
            }
            WaitStatus::Continued(_) | WaitStatus::StillAlive => {}
        }
    }

    fn gone(&mut self, thread: Pid, code: Option<i32>) {
        self.threads.remove(&thread);
        if thread == self.root {
            self.ended = true;
            met(&self.traced).code = code;
        }
    }

    fn event(&mut self, thread: Pid, signal: Signal, event: i32) {
        self.know(thread);
        if event == libc_event(ptrace::Event::PTRACE_EVENT_EXEC) {
            // From now on the thread is its process's only one, and the call that did it has no
            // entry to pair with.
            self.threads.insert(thread, thread);
        }
        // A group stop would have to be listened to; nobody sends one here.
        let _ = signal;
        go_on(thread, None);
    }

    fn know(&mut self, thread: Pid) {
        self.threads.entry(thread).or_insert_with(|| process_of(thread).unwrap_or(thread));
    }

    fn system_call(&mut self, thread: Pid) {
        self.know(thread);
        if let Some(call) = calls::at(thread) {
            self.position(thread, &call);
        }
        go_on(thread, None);
    }

    fn position(&mut self, thread: Pid, call: &Call) {
        let process = self.threads.get(&thread).copied().unwrap_or(thread);
        if self.ended || self.killed.contains(&process) {
            return;
        }
        let is_helper = process != self.root;
        let is_counted = match self.counted {
            Counted::All => true,
            Counted::Process => !is_helper,
            Counted::Helpers => is_helper,
        };
        let mut traced = met(&self.traced);
        if traced.reached || !is_counted {
            return;
        }
        let position = Position { call: call.name, helper: is_helper.then(|| program_of(process)) };
        // A helper that goes on is not disturbed by what it does, and the process stands still
        // meanwhile: it dies in the same state wherever among alike calls of the helper it does.
        let is_like_last = traced.positions.last() == Some(&position);
        if self.counted == Counted::Helpers && is_like_last {
            return;
        }
        let number = traced.positions.len();
        traced.positions.push(position);
        traced.reached = number == self.at;
        let is_reached = traced.reached;
        drop(traced);
        if is_reached {
            self.act(process);
        }
    }

    fn act(&mut self, caller: Pid) {
        match self.act.take() {
            Some(Act::KillAll) => {
                let processes: BTreeSet<Pid> = self.threads.values().copied().collect();
                processes.into_iter().for_each(|process| self.kill(process));
            }
            Some(Act::KillProcess) => self.kill(self.root),
            Some(Act::KillCaller) => self.kill(caller),
            Some(Act::Meanwhile(act)) => act(),
            None => {}
        }
    }

    fn kill(&mut self, process: Pid) {
        self.killed.insert(process);
        let _ = kill(process, Signal::SIGKILL);
    }
}

fn go_on(thread: Pid, signal: Option<Signal>) {
    // ESRCH: killed meanwhile; the wait says so.
    let _ = ptrace::syscall(thread, signal);
}

fn libc_event(event: ptrace::Event) -> i32 {
    event as i32
}

/// The processes that a server has started to make system calls for it (`wharf_node`).
fn kept_by(server: Pid) -> Vec<Pid> {
    let is_kept = |process: &Pid| {
        let told = |name| std::fs::read_to_string(format!("/proc/{process}/{name}"));
        told("status").is_ok_and(|status| status.contains(&format!("\nPPid:\t{server}\n")))
            && told("cmdline").is_ok_and(|line| line.contains("node-child"))
    };
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    numbers.map(Pid::from_raw).filter(is_kept).collect()
}

fn process_of(thread: Pid) -> Option<Pid> {
    let status = std::fs::read_to_string(format!("/proc/{thread}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("Tgid:"))?;
    line.trim().parse().ok().map(Pid::from_raw)
}

fn program_of(process: Pid) -> String {
    std::fs::read_to_string(format!("/proc/{process}/comm"))
        .unwrap_or_default()
        .trim_end()
        .to_owned()
}
