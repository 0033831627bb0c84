//! What came of a part: counts of passed, failed and skipped checks, each failure and skip by name.
//! Reads the lines of `cargo test`, and prints the summary that ends `test` and `ci`.

use std::time::Duration;

/// How a test begins the line that says that it cannot run.
const SKIPPED: &str = "skipped: ";

/// What a test may lack even where nothing else may be missing: how it says so, and why that is no
/// defect of the set-up.
const EXCUSED: &[(&str, &str)] = &[(
    "growing a mounted ext4 needs CAP_SYS_RESOURCE",
    "a sandbox withholds it and no package brings it; growing is also tested with xfs, and \
     unmounted",
)];

/// Counts, and what is to be said about failures and skips. The counts are those of the lists.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// Checks that passed, and tests that ended well because they said that they could not run.
    passed: usize,
    /// How many of those there are.
    said_skipped: usize,
    /// Checks that failed, one line each.
    pub failures: Vec<String>,
    /// Checks that are not meant to run here, one line each, with the reason.
    pub skips: Vec<String>,
    /// Checks that could not run for want of something, one line each, with the reason. In CI
    /// these are failures.
    pub absences: Vec<String>,
    /// What took longest, the longest first, one line each.
    pub slowest: Vec<String>,
    /// What failed tests said when they panicked, one line each.
    pub panics: Vec<String>,
    /// A test that speaks while it runs, and whether it said that it cannot run: its result stands
    /// alone on a line that follows.
    speaking: Option<(String, bool)>,
}

impl Tally {
    /// A part that is one check, and passed.
    pub fn one_passed() -> Self {
        Self { passed: 1, ..Self::default() }
    }

    /// Checks that ran and passed.
    pub fn passed(&self) -> usize {
        self.passed.saturating_sub(self.said_skipped)
    }

    /// Counts one more.
    pub fn pass(&mut self) {
        self.passed += 1;
    }

    /// A part that failed as a whole.
    pub fn failed(why: impl Into<String>) -> Self {
        Self { failures: vec![why.into()], ..Self::default() }
    }

    /// A part that cannot run here.
    pub fn absent(why: impl Into<String>) -> Self {
        Self { absences: vec![why.into()], ..Self::default() }
    }

    /// A part that is one check, with its complaints.
    pub fn of_complaints(complaints: Vec<String>) -> Self {
        if complaints.is_empty() {
            Self::one_passed()
        } else {
            Self { failures: complaints, ..Self::default() }
        }
    }

    /// Takes in one line of `cargo test`: results of single tests, and lines that a test prints
    /// itself when it cannot run (`skipped: <what>: <why>`). Such a test prints that line once,
    /// and cargo calls it `ok`.
    pub fn take_test_line(&mut self, line: &str) {
        if let Some(reason) = line.strip_prefix(SKIPPED) {
            self.said_skipped += 1;
            self.skip(reason);
        }
        let test = line.strip_prefix("test ").and_then(|line| line.rsplit_once(" ... "));
        if let Some((name, result)) = test {
            let name = name.trim_end();
            if self.take_result(name, result) {
                self.speaking = None;
            } else {
                let reason = result.strip_prefix(SKIPPED);
                reason.into_iter().for_each(|reason| self.skip(reason));
                self.speaking = Some((name.to_owned(), reason.is_some()));
            }
        } else if let Some((name, is_skipped)) = self.speaking.take_if(|_| is_result(line)) {
            self.take_result(&name, line);
            self.said_skipped += usize::from(is_skipped);
        }
    }

    /// Takes in one test's result. `false`: these words are none.
    fn take_result(&mut self, name: &str, result: &str) -> bool {
        match first_word(result) {
            "ok" => self.passed += 1,
            "FAILED" => self.failures.push(name.to_owned()),
            "ignored" => self.skips.push(format!("{name}: {result}")),
            _ => return false,
        }
        true
    }

    fn skip(&mut self, reason: &str) {
        match EXCUSED.iter().find(|(says, _)| *says == reason) {
            Some((_, because)) => self.skips.push(format!("{reason} ({because})")),
            None => self.absences.push(reason.to_owned()),
        }
    }

    /// Where nothing may be missing.
    #[must_use]
    pub fn with_absences_as_failures(mut self) -> Self {
        self.failures
            .extend(self.absences.drain(..).map(|absence| format!("could not run: {absence}")));
        self
    }

    /// Adds the results of a part of this part.
    pub fn absorb(&mut self, name: &str, other: Self) {
        let named = |line: String| format!("{name}: {line}");
        self.passed += other.passed();
        self.failures.extend(other.failures.into_iter().map(named));
        self.skips.extend(other.skips.into_iter().map(named));
        self.absences.extend(other.absences.into_iter().map(named));
    }

    /// The results of two halves of a part.
    #[must_use]
    pub fn beside(mut self, other: Self) -> Self {
        self.passed += other.passed;
        self.said_skipped += other.said_skipped;
        self.failures.extend(other.failures);
        self.skips.extend(other.skips);
        self.absences.extend(other.absences);
        self.panics.extend(other.panics);
        // A time comes first in a line, in a column.
        self.slowest.extend(other.slowest);
        self.slowest.sort_by(|a, b| b.cmp(a));
        self
    }

    fn skipped(&self) -> usize {
        self.skips.len() + self.absences.len()
    }

    fn word(&self) -> &'static str {
        match (self.failures.len(), self.skipped(), self.passed()) {
            (1.., _, _) => "FAILED",
            (0, 1.., 0) => "skipped",
            _ => "passed",
        }
    }
}

/// A result as it stands alone.
fn is_result(line: &str) -> bool {
    matches!(line, "ok" | "FAILED" | "ignored")
}

fn first_word(result: &str) -> &str {
    result.split(',').next().unwrap_or_default().trim()
}

/// One part's line in the summary.
#[derive(Debug, Clone)]
pub struct Finished {
    /// The part.
    pub name: &'static str,
    /// What came of it.
    pub tally: Tally,
    /// How long it took.
    pub took: Duration,
}

/// The whole summary. Its last line is `N passed, N failed, N skipped`.
pub fn summary(parts: &[Finished]) -> String {
    let mut text = String::from("\nSummary\n");
    for Finished { name, tally, took } in parts {
        let counts = format!(
            "{} passed, {} failed, {} skipped",
            tally.passed(),
            tally.failures.len(),
            tally.skipped()
        );
        text +=
            &format!("  {name:<16} {:<8} {:>7.1} s   {counts}\n", tally.word(), took.as_secs_f64());
    }
    let listed = |pick: fn(&Tally) -> &Vec<String>, heading: &str| {
        let lines: String = parts
            .iter()
            .flat_map(|part| {
                pick(&part.tally).iter().map(move |line| format!("  {}: {line}\n", part.name))
            })
            .collect();
        if lines.is_empty() { lines } else { format!("\n{heading}\n{lines}") }
    };
    text += &listed(|tally| &tally.slowest, "Slowest");
    text += &listed(|tally| &tally.skips, "Skipped");
    text += &listed(|tally| &tally.absences, "Could not run");
    text += &listed(|tally| &tally.panics, "Said by what failed");
    text += &listed(|tally| &tally.failures, "Failed");
    let total =
        |count: fn(&Tally) -> usize| parts.iter().map(|part| count(&part.tally)).sum::<usize>();
    let (passed, failed, skipped) =
        (total(Tally::passed), total(|tally| tally.failures.len()), total(Tally::skipped));
    text + &format!("\n{passed} passed, {failed} failed, {skipped} skipped\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally_of(lines: &[&str]) -> Tally {
        let mut tally = Tally::default();
        lines.iter().for_each(|line| tally.take_test_line(line));
        tally
    }

    #[test]
    fn results_of_cargo_test_are_counted_by_name() {
        let tally = tally_of(&[
            "running 5 tests",
            "test a::b ... ok",
            "test a::c - should panic ... ok",
            "test a::e ... ok",
            "test a::d ... FAILED",
            "test host/core/src/lib.rs - f (line 3) ... ignored",
            "test result: FAILED. 2 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out; \
             finished in 0.00s",
            "skipped: a::e: not root",
        ]);
        assert_eq!(tally.passed(), 2);
        assert_eq!(tally.failures, ["a::d"]);
        assert_eq!(tally.skips, ["host/core/src/lib.rs - f (line 3): ignored"]);
        assert_eq!(tally.absences, ["a::e: not root"]);
    }

    #[test]
    fn a_test_that_says_that_it_cannot_run_is_skipped_and_not_passed_also_where_one_runs_at_a_time()
    {
        for lines in [
            &["skipped: a: not root", "test a ... ok"][..],
            &["test a ... skipped: a: not root", "ok"],
        ] {
            let tally = tally_of(lines);
            assert_eq!((tally.passed(), tally.skipped()), (0, 1), "{lines:?}");
        }
    }

    #[test]
    fn the_result_of_a_test_that_speaks_stands_alone_where_one_runs_at_a_time() {
        let tally = tally_of(&[
            "test a::first   ... what it says",
            "thread 'main' (8) panicked at a.rs:1:2:",
            "FAILED",
            "FAILED",
            "test a::second ... what it says",
            "ok",
            "ok",
        ]);
        assert_eq!((tally.passed(), tally.failures), (1, vec!["a::first".to_owned()]));
    }

    #[test]
    fn an_excused_skip_is_no_absence() {
        let tally = tally_of(&[
            "skipped: growing a mounted ext4 needs CAP_SYS_RESOURCE",
            "skipped: mounts need root",
        ]);
        assert_eq!((tally.skips.len(), tally.absences.len()), (1, 1));
        assert!(tally.skips[0].contains("no package brings it"), "{:?}", tally.skips);
    }

    #[test]
    fn the_summary_names_every_failure_and_skip_and_ends_with_the_counts() {
        let parts = [
            Finished { name: "fmt", tally: Tally::one_passed(), took: Duration::from_millis(1200) },
            Finished {
                name: "tests",
                tally: tally_of(&["test a ... ok", "test b ... FAILED"]),
                took: Duration::from_secs(61),
            },
            Finished {
                name: "csi-sanity",
                tally: Tally::absent("go is missing"),
                took: Duration::ZERO,
            },
        ];
        let text = summary(&parts);
        assert!(
            text.contains("  tests: b\n") && text.contains("  csi-sanity: go is missing\n"),
            "{text}"
        );
        assert_eq!(text.lines().last(), Some("2 passed, 1 failed, 1 skipped"));
    }

    #[test]
    fn what_could_not_run_is_a_failure_where_nothing_may_be_missing() {
        let strict = Tally::absent("not root").with_absences_as_failures();
        assert_eq!((strict.failures.len(), strict.skipped()), (1, 0));
        assert_eq!(strict.word(), "FAILED");
    }
}
