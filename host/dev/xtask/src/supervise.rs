//! Running a program that may hang: its lines are passed on as they come, and when its time is over
//! it is asked to end, and then ended with everything it started. Reapers alone are spared, for
//! they clean up after it. Called for every part of `test` and `ci`. Signals from the
//! terminal reach the program as usual, because it stays in our process group.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use wharf_testing::bed::REAPER;

use crate::command;

/// How long a program may go on printing after it has ended: what it left behind may hold its
/// output open for ever.
const AFTER_THE_END: Duration = Duration::from_secs(5);

/// How often we look whether a silent program has ended.
const GLANCE: Duration = Duration::from_millis(200);

/// How long a program whose time is over may take down what it made: the demo's two servers, file
/// systems and devices take seconds.
const GRACE: Duration = Duration::from_secs(20);

/// How long reapers may take after that, before what comes next finds what they have not removed
/// yet.
const REAPING: Duration = Duration::from_secs(20);

/// Runs to the end, or to the limit. Every line of both outputs is printed and given to `on_line`.
/// Time over is an error.
pub fn run(
    command: &mut Command,
    limit: Duration,
    mut on_line: impl FnMut(&str),
) -> Result<ExitStatus> {
    println!("    $ {}", command::shown(command));
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let child = child
        .as_mut()
        .map_err(|error| anyhow::anyhow!("cannot start `{}`: {error}", command::shown(command)))?;
    let lines = lines_of(child);
    let mut each = |line: String| {
        println!("{line}");
        on_line(&line);
    };
    let status = follow(child, &lines, Instant::now() + limit, &mut each)
        .with_context(|| format!("`{}`", command::shown(command)));
    let end = Instant::now() + AFTER_THE_END;
    while let Ok(line) = lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
        each(line);
    }
    status
}

/// Waits for a program whose output is its own affair. Time over is an error.
pub fn wait(child: &mut Child, limit: Duration) -> Result<ExitStatus> {
    let nothing = mpsc::channel().1;
    follow(child, &nothing, Instant::now() + limit, &mut drop)
}

/// Asks a program to end and waits for it; one that does not is killed, and that is an error.
pub fn terminate(child: &mut Child, patience: Duration) -> Result<ExitStatus> {
    match end(child, patience)? {
        Some(status) => Ok(status),
        None => bail!("it was asked to end and did not within {} s", patience.as_secs()),
    }
}

fn follow(
    child: &mut Child,
    lines: &Receiver<String>,
    deadline: Instant,
    each: &mut impl FnMut(String),
) -> Result<ExitStatus> {
    loop {
        match lines.recv_timeout(GLANCE) {
            Ok(line) => each(line),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => thread::sleep(GLANCE),
        }
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if Instant::now() >= deadline {
            end(child, GRACE)?;
            bail!("was ended because its time was over");
        }
    }
}

fn lines_of(child: &mut Child) -> Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    if let Some(stdout) = child.stdout.take() {
        forward(stdout, sender.clone());
    }
    if let Some(stderr) = child.stderr.take() {
        forward(stderr, sender);
    }
    receiver
}

fn forward(from: impl Read + Send + 'static, to: Sender<String>) {
    thread::spawn(move || {
        let mut reader = BufReader::new(from);
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line).is_ok_and(|bytes| bytes > 0) {
            let text = String::from_utf8_lossy(&line).trim_end_matches(['\n', '\r']).to_owned();
            line.clear();
            if to.send(text).is_err() {
                return;
            }
        }
    });
}

/// Asks a program to end; what it started and did not end itself is killed, and so is the program
/// when its patience is over. `None`: it was. Those that had become orphans before are out of reach
/// and end by their own limits.
fn end(child: &mut Child, patience: Duration) -> Result<Option<ExitStatus>> {
    let before = Family::of(vec![child.id()]);
    signal(child.id(), Signal::TERM);
    let deadline = Instant::now() + patience;
    let mut status = child.try_wait()?;
    while status.is_none() && Instant::now() < deadline {
        thread::sleep(GLANCE);
        status = child.try_wait()?;
    }
    // Whoever lost its parent meanwhile is known from before, and may have started others.
    let now = Family::of(
        before
            .members
            .iter()
            .filter(|process| process.is_alive())
            .map(|process| process.id)
            .collect(),
    );
    now.members.iter().for_each(|process| signal(process.id, Signal::KILL));
    if status.is_none() {
        child.wait()?;
    }
    let deadline = Instant::now() + REAPING;
    while before.reapers.iter().chain(&now.reapers).any(Process::is_alive)
        && Instant::now() < deadline
    {
        thread::sleep(GLANCE);
    }
    Ok(status)
}

/// A process that is gone already is as good as one that got the signal.
fn signal(id: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(id).ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, signal);
    }
}

/// Processes and everything they have started, with reapers apart.
#[derive(Default)]
struct Family {
    members: Vec<Process>,
    reapers: Vec<Process>,
}

impl Family {
    fn of(mut ids: Vec<u32>) -> Self {
        let all = Process::all();
        let mut family = Self::default();
        let mut next = 0;
        while let Some(&id) = ids.get(next) {
            next += 1;
            let Some(process) = all.iter().find(|process| process.id == id) else { continue };
            if process.is_reaper() {
                family.reapers.push(*process);
                continue;
            }
            family.members.push(*process);
            let children: Vec<u32> = all
                .iter()
                .filter(|other| other.parent == id && !ids.contains(&other.id))
                .map(|child| child.id)
                .collect();
            ids.extend(children);
        }
        family
    }
}

/// A process as the kernel shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Process {
    id: u32,
    parent: u32,
    /// When it began. Tells it from a later one with the same number.
    began: u64,
}

impl Process {
    /// Those of the whole machine.
    fn all() -> Vec<Self> {
        let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        entries.filter_map(|entry| Self::read(entry.file_name().to_str()?.parse().ok()?)).collect()
    }

    /// `None`: gone, or nothing but an exit status that nobody has asked for.
    fn read(id: u32) -> Option<Self> {
        Self::parse(id, &std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?)
    }

    /// `42 (a name) with anything) S 41 …`: the name ends at the last parenthesis; after it come
    /// state, parent, and as the twentieth the start.
    fn parse(id: u32, stat: &str) -> Option<Self> {
        let words: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let is_dead = words.first().is_some_and(|state| matches!(*state, "Z" | "X"));
        (!is_dead).then_some(Self {
            id,
            parent: words.get(1)?.parse().ok()?,
            began: words.get(19)?.parse().ok()?,
        })
    }

    fn is_alive(&self) -> bool {
        Self::read(self.id).is_some_and(|process| process.began == self.began)
    }

    fn is_reaper(&self) -> bool {
        let line = std::fs::read(format!("/proc/{}/cmdline", self.id)).unwrap_or_default();
        line.split(|byte| *byte == 0).any(|argument| argument == REAPER.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use wharf_testing::bed::Reaper;

    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn lines_of_both_outputs_and_the_exit_status_come_back() {
        let mut lines = Vec::new();
        let status =
            run(&mut shell("echo one; echo two >&2; exit 3"), Duration::from_secs(60), |line| {
                lines.push(line.to_owned())
            })
            .unwrap();
        lines.sort();
        assert_eq!(lines, ["one", "two"]);
        assert_eq!(status.code(), Some(3));
    }

    /// Runs a script that hangs until its time is over, and hands its lines back. The time is
    /// longer each time until the script has begun: how long that takes the machine decides.
    fn run_out_of_time(script: &str) -> (anyhow::Error, Vec<String>) {
        for patience in [500, 2000, 8000, 32_000].map(Duration::from_millis) {
            let mut said = Vec::new();
            let run = run(&mut shell(script), patience, |line| said.push(line.to_owned()));
            if !said.is_empty() {
                return (run.unwrap_err(), said);
            }
        }
        panic!("the script does not begin");
    }

    #[test]
    fn a_program_that_hangs_is_ended_with_what_it_started() {
        let (error, said) = run_out_of_time("sleep 600 & echo $!; wait");
        let grandchild = said.first().and_then(|line| line.parse::<u32>().ok());
        assert!(format!("{error:#}").contains("its time was over"), "{error:#}");
        let stat = PathBuf::from(format!("/proc/{}/stat", grandchild.unwrap()));
        let is_gone = || std::fs::read_to_string(&stat).map_or(true, |text| text.contains(") Z "));
        let patience = Instant::now() + Duration::from_secs(30);
        while !is_gone() {
            assert!(Instant::now() < patience, "the grandchild still runs");
            thread::yield_now();
        }
    }

    #[test]
    fn a_program_that_ends_when_it_is_asked_to_may_take_down_what_it_made() {
        let script =
            "trap 'echo taken down; exit 0' TERM; echo begun; while :; do sleep 0.05; done";
        let (_, said) = run_out_of_time(script);
        assert_eq!(said, ["begun", "taken down"]);
    }

    /// Not a test of its own: what the next one starts and ends.
    #[test]
    fn a_program_that_hangs_with_a_reaper() {
        let Some(directory) = std::env::var_os("WHARF_DIRECTORY_TO_REAP") else { return };
        let _reaper = Reaper::watch(Path::new(&directory)).unwrap();
        std::fs::write(Path::new(&directory).join("ready"), "").unwrap();
        loop {
            thread::park();
        }
    }

    #[test]
    fn a_program_that_is_ended_leaves_nothing_that_it_had_a_reaper_for() {
        let directory = tempfile::tempdir().unwrap().keep();
        let program = std::env::current_exe().unwrap();
        // The shell dies of the first signal and leaves the other alone, as cargo does with a test.
        let mut parent = shell(&format!(
            "'{}' --exact supervise::tests::a_program_that_hangs_with_a_reaper; true",
            program.display()
        ));
        let mut parent = parent
            .env("WHARF_DIRECTORY_TO_REAP", &directory)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let patience = Instant::now() + Duration::from_secs(60);
        while !directory.join("ready").exists() {
            assert!(Instant::now() < patience, "the program does not begin");
            thread::yield_now();
        }
        end(&mut parent, GRACE).unwrap();
        assert!(!directory.exists(), "{} is left", directory.display());
    }

    #[test]
    fn a_process_is_read_behind_a_name_with_parentheses_and_a_dead_one_is_none() {
        let stat = |state: &str| {
            format!("42 (a) b) {state} 41 42 42 0 -1 4194304 1 0 0 0 0 0 0 0 20 0 1 0 777 0 0")
        };
        assert_eq!(
            Process::parse(42, &stat("S")),
            Some(Process { id: 42, parent: 41, began: 777 })
        );
        assert_eq!(Process::parse(42, &stat("Z")), None);
        assert_eq!(Process::parse(42, "nonsense"), None);
    }
}
