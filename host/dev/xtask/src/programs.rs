//! How long each test program of a `cargo test` takes, read from cargo's own lines: what is slow is
//! shown in the summary, and what was under way when the time was over is named.

use std::time::{Duration, Instant};

/// A program that takes longer hangs: the slowest takes a third of it on two slow cores.
pub const PROGRAM_LIMIT: Duration = Duration::from_secs(20 * 60);

/// How many of the slowest are shown.
const SHOWN: usize = 10;

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
}

#[derive(Debug)]
struct Running {
    program: String,
    since: Instant,
    /// Tests that libtest itself calls slow, and that have not ended.
    slow: Vec<String>,
}

impl Programs {
    /// Takes in one line of `cargo test`. A program that was ended because it hung: what to say.
    pub fn take_line(&mut self, line: &str) -> Option<String> {
        if let Some(program) = program_of(line) {
            self.end();
            self.running = Some(Running { program, since: Instant::now(), slow: Vec::new() });
        } else if let Some(running) = &mut self.running {
            let test = line.strip_prefix("test ").unwrap_or_default();
            if let Some((name, _)) = test.split_once(" has been running for over") {
                running.slow.push(name.to_owned());
            } else if let Some((name, _)) = test.split_once(" ... ") {
                running.slow.retain(|slow| slow != name);
            }
        }
        let was_ended = line.starts_with("timeout: sending signal TERM");
        was_ended.then(|| format!("ended because it hangs: {}", self.under_way()))
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

    fn end(&mut self) {
        if let Some(running) = self.running.take() {
            self.ended.push((running.program, running.since.elapsed()));
        }
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
    fn the_slowest_come_first_and_what_is_under_way_names_its_slow_tests() {
        let mut programs = Programs::default();
        for name in ["a", "b", "c"] {
            programs
                .take_line(&format!("     Running tests/{name}.rs (target/debug/deps/{name}-1)"));
            std::thread::sleep(Duration::from_millis(if name == "b" { 30 } else { 1 }));
        }
        for name in ["x", "y"] {
            programs.take_line(&format!("test {name} has been running for over 60 seconds"));
        }
        programs.take_line("test x ... ok");
        assert!(
            programs.under_way().starts_with("`c` after 0 s (in y)"),
            "{}",
            programs.under_way()
        );
        let said = programs.take_line("timeout: sending signal TERM to command ‘c’").unwrap();
        assert!(said.contains("`c`"), "{said}");
        let slowest = programs.slowest();
        assert!(slowest[0].ends_with("s  b"), "{slowest:?}");
        assert_eq!(slowest.len(), 3);
    }
}
