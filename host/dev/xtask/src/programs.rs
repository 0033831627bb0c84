//! How long each test program of a `cargo test` takes, read from cargo's own lines: what is slow is
//! shown in the summary, and what was under way when the time was over is named.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// A program that takes longer hangs: the slowest takes a third of it on two slow cores.
pub const PROGRAM_LIMIT: Duration = Duration::from_secs(20 * 60);

/// How many of the slowest are shown.
const SHOWN: usize = 10;

/// Lines that are shown of a program that failed while none of its tests did: a machine that died
/// shows the end of its own log, which is as long.
const LAST_LINES: usize = 48;

/// Panics that are shown of one program that failed, and letters of each: a message may hold a log.
const PANICS: usize = 5;
const PANIC_LETTERS: usize = 600;

/// How cargo says that a program failed.
const FAILED: [&str; 2] = ["error: test failed,", "error: doctest failed,"];

/// How long after its end was asked for a program is ended by force.
const GRACE: &str = "--kill-after=20";

/// Arguments for cargo that end a test program that hangs, and let the others run. `timeout` leaves
/// it in the terminal's process group, so that Ctrl-C reaches it.
pub fn limiting_programs() -> [String; 2] {
    let limit = PROGRAM_LIMIT.as_secs();
    let runner = format!(r#"["timeout", "--foreground", "--verbose", "{GRACE}", "{limit}"]"#);
    ["--config".to_owned(), format!(r#"target."cfg(all())".runner = {runner}"#)]
}

/// What has run, and what runs.
#[derive(Debug, Default)]
pub struct Programs {
    ended: Vec<(String, Duration)>,
    running: Option<Running>,
    panics: Vec<String>,
}

#[derive(Debug)]
struct Running {
    program: String,
    since: Instant,
    /// Tests that libtest itself calls slow, and that have not ended.
    slow: Vec<String>,
    /// How many failures there were before it.
    failures_before: usize,
    last_lines: VecDeque<String>,
    /// Where and why its tests panicked.
    panics: Vec<String>,
}

impl Programs {
    /// Takes in one line of `cargo test`, with the number of failures that were read up to it. A
    /// program that was ended because it hung, or that failed while none of its tests did: what to
    /// say.
    pub fn take_line(&mut self, line: &str, failures: usize) -> Option<String> {
        if let Some(program) = program_of(line) {
            self.end();
            self.running = Some(Running::starting(program, failures));
        } else if let Some(running) = &mut self.running {
            if FAILED.iter().any(|start| line.starts_with(start)) {
                self.panics.append(&mut running.panics);
                return (failures == running.failures_before)
                    .then(|| running.failure_without_a_test());
            }
            running.keep(line);
            let test = line.strip_prefix("test ").unwrap_or_default();
            if let Some((name, _)) = test.split_once(" has been running for over") {
                running.slow.push(name.to_owned());
            } else if let Some((name, _)) = test.split_once(" ... ") {
                running.slow.retain(|slow| slow != name);
            }
            if line.starts_with("timeout: sending signal TERM") {
                return Some(format!("ended because it hangs: {}", self.under_way()));
            }
        }
        None
    }

    /// The program that runs, how long it has, and which of its tests are slow.
    pub fn under_way(&self) -> String {
        let Some(running) = &self.running else { return "no test program".to_owned() };
        let slow = match running.slow.join(", ") {
            slow if slow.is_empty() => slow,
            slow => format!(" (in {slow})"),
        };
        format!("`{}` after {} s{slow}", running.program, running.since.elapsed().as_secs())
    }

    /// The slowest programs, the slowest first, one line each.
    pub fn slowest(&mut self) -> Vec<String> {
        self.end();
        self.ended.sort_by_key(|(_, took)| std::cmp::Reverse(*took));
        let line = |(program, took): &(String, Duration)| {
            format!("{:>7.1} s  {program}", took.as_secs_f64())
        };
        self.ended.iter().take(SHOWN).map(line).collect()
    }

    /// What the panics of programs that failed said.
    pub fn panics(&mut self) -> Vec<String> {
        std::mem::take(&mut self.panics)
    }

    fn end(&mut self) {
        if let Some(running) = self.running.take() {
            self.ended.push((running.program, running.since.elapsed()));
        }
    }
}

impl Running {
    fn starting(program: String, failures_before: usize) -> Self {
        Self {
            program,
            since: Instant::now(),
            slow: Vec::new(),
            failures_before,
            last_lines: VecDeque::new(),
            panics: Vec::new(),
        }
    }

    fn keep(&mut self, line: &str) {
        let before = self.last_lines.front().filter(|line| line.contains(" panicked at "));
        if let Some(place) = before.filter(|_| self.panics.len() < PANICS) {
            let why: String = line.chars().take(PANIC_LETTERS).collect();
            self.panics.push(format!("{place} {why}"));
        }
        self.last_lines.truncate(LAST_LINES - 1);
        self.last_lines.push_front(line.to_owned());
    }

    fn failure_without_a_test(&self) -> String {
        let lines: Vec<_> = self.last_lines.iter().rev().map(String::as_str).collect();
        let (program, seconds) = (&self.program, self.since.elapsed().as_secs());
        let lines = lines.join("\n      ");
        format!("`{program}` failed after {seconds} s, none of its tests did:\n      {lines}")
    }
}

/// `Running tests/linux/main.rs (target/debug/deps/linux-0123456789abcdef)` is `linux`.
fn program_of(line: &str) -> Option<String> {
    let line = line.trim_start();
    if let Some(library) = line.strip_prefix("Doc-tests ") {
        return Some(format!("documentation of {library}"));
    }
    let file = line.strip_prefix("Running ")?.strip_suffix(')')?.rsplit_once('(')?.1;
    let name = file.rsplit('/').next()?;
    Some(name.rsplit_once('-').map_or(name, |(name, _)| name).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_known_by_cargos_lines() {
        for (line, program) in [
            (
                "     Running unittests src/lib.rs (target/debug/deps/wharf_core-4692a)",
                "wharf_core",
            ),
            ("     Running tests/linux/main.rs (target/debug/deps/linux-4c9cd)", "linux"),
            ("   Doc-tests wharf_sdk", "documentation of wharf_sdk"),
        ] {
            assert_eq!(program_of(line).as_deref(), Some(program));
        }
        for line in ["running 3 tests", "    Running `target/debug/xtask test`", "test a ... ok"] {
            assert_eq!(program_of(line), None);
        }
    }

    #[test]
    fn a_program_that_fails_without_a_failed_test_is_named_with_its_last_lines() {
        let mut programs = Programs::default();
        let error = "error: test failed, to rerun pass `-p wharf --test nfs`";
        let running = "     Running tests/nfs.rs (target/debug/deps/nfs-1)";
        programs.take_line(running, 3);
        for number in 0..100 {
            assert_eq!(programs.take_line(&format!("line {number}"), 3), None);
        }
        assert_eq!(programs.take_line("test second ...         the machine died", 3), None);
        let said = programs.take_line(error, 3).unwrap();
        assert!(said.contains("`nfs`") && said.ends_with("the machine died"), "{said}");
        assert!(said.contains("line 99") && !said.contains("line 50"), "{said}");
        programs.take_line(running, 4);
        programs.take_line("test first ... what it says", 4);
        programs.take_line("thread 'first' (7) panicked at a.rs:1:2:", 4);
        programs.take_line("left is not right", 4);
        programs.take_line("FAILED", 5);
        assert_eq!(programs.take_line(error, 5), None);
        let panic = "thread 'first' (7) panicked at a.rs:1:2: left is not right";
        assert_eq!(programs.panics(), [panic]);
    }

    #[test]
    fn the_slowest_come_first_and_what_is_under_way_names_its_slow_tests() {
        let mut programs = Programs::default();
        for name in ["a", "b", "c"] {
            let line = format!("     Running tests/{name}.rs (target/debug/deps/{name}-1)");
            programs.take_line(&line, 0);
            std::thread::sleep(Duration::from_millis(if name == "b" { 30 } else { 1 }));
        }
        for name in ["x", "y"] {
            programs.take_line(&format!("test {name} has been running for over 60 seconds"), 0);
        }
        programs.take_line("test x ... ok", 0);
        assert!(
            programs.under_way().starts_with("`c` after 0 s (in y)"),
            "{}",
            programs.under_way()
        );
        let said = programs.take_line("timeout: sending signal TERM to command ‘c’", 0).unwrap();
        assert!(said.contains("`c`"), "{said}");
        let slowest = programs.slowest();
        assert!(slowest[0].ends_with("s  b"), "{slowest:?}");
        assert_eq!(slowest.len(), 3);
    }
}
