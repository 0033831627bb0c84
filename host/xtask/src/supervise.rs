//! Running a program that may hang: its lines are passed on as they come, and when its time is over it is ended with everything it started.
//! Called for every part of `test` and `ci`. Signals from the terminal reach the program as usual, because it stays in our process group.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::command;

/// How long a program may go on printing after it has ended: what it left behind may hold its output open for ever.
const AFTER_THE_END: Duration = Duration::from_secs(5);

/// How often we look whether a silent program has ended.
const GLANCE: Duration = Duration::from_millis(200);

/// Runs to the end, or to the limit. Every line of both outputs is printed and given to `on_line`. Time over is an error.
pub fn run(command: &mut Command, limit: Duration, mut on_line: impl FnMut(&str)) -> Result<ExitStatus> {
    println!("    $ {}", command::shown(command));
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let child = child.as_mut().map_err(|error| anyhow::anyhow!("cannot start `{}`: {error}", command::shown(command)))?;
    let lines = lines_of(child);
    let mut each = |line: String| {
        println!("{line}");
        on_line(&line);
    };
    let status = follow(child, &lines, Instant::now() + limit, &mut each).with_context(|| format!("`{}`", command::shown(command)))?;
    let end = Instant::now() + AFTER_THE_END;
    while let Ok(line) = lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
        each(line);
    }
    Ok(status)
}

/// Asks a program to end and waits for it; one that does not is killed, and that is an error.
pub fn terminate(child: &mut Child, patience: Duration) -> Result<ExitStatus> {
    signal(child.id(), Signal::TERM);
    let deadline = Instant::now() + patience;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if Instant::now() >= deadline {
            end_with_descendants(child);
            bail!("it was asked to end and did not within {} s", patience.as_secs());
        }
        thread::sleep(GLANCE);
    }
}

fn follow(child: &mut Child, lines: &Receiver<String>, deadline: Instant, each: &mut impl FnMut(String)) -> Result<ExitStatus> {
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
            end_with_descendants(child);
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

/// Children first die of what their parents die of; those that became orphans before are out of reach and end by their own limits.
fn end_with_descendants(child: &mut Child) {
    let parents = parents();
    let mut doomed = vec![child.id()];
    let mut next = 0;
    while let Some(&parent) = doomed.get(next) {
        doomed.extend(parents.iter().filter(|&(_, of)| *of == parent).map(|(&id, _)| id));
        next += 1;
    }
    doomed.into_iter().for_each(|id| signal(id, Signal::KILL));
    let _ = child.wait();
}

/// A process that is gone already is as good as one that got the signal.
fn signal(id: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(id).ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, signal);
    }
}

/// Process id to its parent's, for the whole machine.
fn parents() -> BTreeMap<u32, u32> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return BTreeMap::new() };
    let ids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    ids.filter_map(|id: u32| Some((id, parent_in(&std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?)?))).collect()
}

/// `42 (a name) with anything) S 41 …`: the name ends at the last parenthesis, the parent is the second word after it.
fn parent_in(stat: &str) -> Option<u32> {
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn lines_of_both_outputs_and_the_exit_status_come_back() {
        let mut lines = Vec::new();
        let status = run(&mut shell("echo one; echo two >&2; exit 3"), Duration::from_secs(60), |line| lines.push(line.to_owned())).unwrap();
        lines.sort();
        assert_eq!(lines, ["one", "two"]);
        assert_eq!(status.code(), Some(3));
    }

    #[test]
    fn a_program_that_hangs_is_ended_with_what_it_started() {
        let mut grandchild = None;
        let error =
            run(&mut shell("sleep 600 & echo $!; wait"), Duration::from_millis(500), |line| grandchild = line.parse::<u32>().ok()).unwrap_err();
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
    fn a_parent_is_found_behind_a_name_with_parentheses() {
        assert_eq!(parent_in("42 (a) b) S 41 42 42 0"), Some(41));
        assert_eq!(parent_in("nonsense"), None);
    }
}
