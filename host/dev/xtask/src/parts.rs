//! What `test` and `ci` run, as data: one table, in the order in which a failure teaches most. To
//! add a part, add a row.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use wharf_testing::nfs_machine;

use crate::author;
use crate::binary::Company;
use crate::build_backends;
use crate::chart;
use crate::command::{self, announce};
use crate::deadline;
use crate::demo;
use crate::image;
use crate::packages::{self, Need};
use crate::programs::{self, Programs};
use crate::sanity;
use crate::supervise;
use crate::tally::{Finished, Tally, summary};
use crate::tidy;
use crate::workspace::Workspace;

/// One thing to run.
pub struct Part {
    /// For `--only` and the summary.
    pub name: &'static str,
    /// What it finds out.
    pub what: &'static str,
    /// Whether only `ci` runs it, or `test` too.
    pub belongs: Belongs,
    /// Whether CI may go without it, and why.
    pub weight: Weight,
    /// Programs that it cannot do without.
    pub needs: &'static [Need],
    /// Longer than this means that it hangs: several times what it takes on two slow cores.
    pub limit: Duration,
    /// What is done.
    pub work: Work,
}

/// Which commands run a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Belongs {
    /// `ci` alone: about the source, not about what it does.
    ToCi,
    /// `test` and `ci`.
    ToTest,
}

/// Whether CI may go without a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weight {
    /// Skipped in CI: a failure.
    Required,
    /// May be skipped everywhere, for this reason.
    #[allow(
        dead_code,
        reason = "no part is optional at the moment; the table can say so when one is"
    )]
    Optional(&'static str),
}

/// What is done for a part.
pub enum Work {
    /// A cargo command that passes or fails as a whole.
    Cargo {
        /// Its arguments.
        arguments: &'static [&'static str],
        /// Its environment.
        environment: &'static [(&'static str, &'static str)],
    },
    /// Cargo commands whose tests are counted one by one, at the same time.
    CargoTests {
        /// Test programs in machines with NFS, in the groups that run beside each other and beside
        /// all other tests. Such a machine has one processor and waits much of its time for a clock
        /// of its own.
        nfs: &'static [&'static [&'static str]],
    },
    /// A function of this program.
    Here(fn(&Workspace) -> Result<Tally>),
}

const MINUTE: Duration = Duration::from_secs(60);

/// Parts are run in this order.
pub const PARTS: &[Part] = &[
    Part {
        name: "fmt",
        what: "the source is formatted",
        belongs: Belongs::ToCi,
        weight: Weight::Required,
        needs: &[],
        limit: MINUTE,
        work: Work::Cargo { arguments: &["fmt", "--all", "--check"], environment: &[] },
    },
    Part {
        name: "tidy",
        what: "layout, names, dependencies and documents are as agreed",
        belongs: Belongs::ToCi,
        weight: Weight::Required,
        needs: &[],
        limit: MINUTE,
        work: Work::Here(|workspace| Ok(Tally::of_complaints(tidy::complaints(workspace)?))),
    },
    Part {
        name: "build-backends",
        what: "every guest compiles and becomes a component",
        belongs: Belongs::ToTest,
        weight: Weight::Required,
        needs: &[packages::C_COMPILER],
        limit: MINUTE.saturating_mul(20),
        work: Work::Here(|workspace| {
            build_backends::all(workspace, None).map(|_| Tally::one_passed())
        }),
    },
    Part {
        name: "clippy",
        what: "no lint complains",
        belongs: Belongs::ToCi,
        weight: Weight::Required,
        needs: &[packages::C_COMPILER],
        limit: MINUTE.saturating_mul(30),
        work: Work::Cargo {
            arguments: &["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"],
            environment: &[],
        },
    },
    Part {
        name: "clippy-features",
        what: "no lint complains of what only features have",
        belongs: Belongs::ToCi,
        weight: Weight::Required,
        needs: &[packages::C_COMPILER],
        limit: MINUTE.saturating_mul(10),
        // The same packages, so that dependencies are the same and only the crate of the binary is
        // looked at again.
        work: Work::Cargo {
            arguments: &[
                "clippy",
                "--workspace",
                "--all-targets",
                "--features=wharf/otlp",
                "--",
                "-D",
                "warnings",
            ],
            environment: &[],
        },
    },
    Part {
        name: "doc",
        what: "the documentation builds without a broken link",
        belongs: Belongs::ToCi,
        weight: Weight::Required,
        needs: &[packages::C_COMPILER],
        limit: MINUTE.saturating_mul(20),
        work: Work::Cargo {
            arguments: &["doc", "--no-deps", "--workspace"],
            environment: &[("RUSTDOCFLAGS", "-D warnings")],
        },
    },
    Part {
        name: "compile",
        what: "the binary and all tests compile",
        belongs: Belongs::ToTest,
        weight: Weight::Required,
        needs: &[packages::C_COMPILER],
        limit: MINUTE.saturating_mul(40),
        work: Work::Cargo { arguments: Company::Tests.arguments(), environment: &[] },
    },
    Part {
        name: "tests",
        what: "unit, guest, node, front-end and end-to-end tests",
        belongs: Belongs::ToTest,
        weight: Weight::Required,
        needs: packages::TESTS,
        limit: MINUTE.saturating_mul(45),
        work: Work::CargoTests { nfs: &[&["nas_disturbed"], &["nas_life", "nfs"]] },
    },
    Part {
        name: "conformance",
        what: "a crate outside of the workspace holds a component against the contract",
        belongs: Belongs::ToTest,
        weight: Weight::Required,
        needs: &[packages::C_COMPILER],
        limit: MINUTE.saturating_mul(10),
        work: Work::Here(author::part),
    },
    Part {
        name: "csi-sanity",
        what: "the CSI community's own checks against the real binary and a simulated region",
        belongs: Belongs::ToTest,
        weight: Weight::Required,
        needs: packages::SANITY,
        limit: MINUTE.saturating_mul(15),
        work: Work::Here(sanity::part),
    },
    Part {
        name: "chart",
        what: "the chart renders, its objects are what the API takes, and its pods get no right that \
               they do not need",
        belongs: Belongs::ToTest,
        weight: Weight::Required,
        needs: &[packages::PYTHON],
        limit: MINUTE.saturating_mul(10),
        work: Work::Here(chart::part),
    },
    Part {
        name: "image",
        what: "the images are the same when they are built twice, and every program in them runs",
        belongs: Belongs::ToTest,
        weight: Weight::Required,
        needs: image::NEEDS,
        limit: MINUTE.saturating_mul(10),
        work: Work::Here(image::part),
    },
    Part {
        name: "demo",
        what: "the main job from kubelet's call to a mounted file system, with a backend replaced \
               on the way",
        belongs: Belongs::ToTest,
        weight: Weight::Required,
        needs: packages::DEMO,
        limit: MINUTE.saturating_mul(10),
        work: Work::Here(demo::part),
    },
];

/// As many as one reads at the end of a run; the others stand above.
const MAX_COMPLAINTS: usize = 20;

/// How rustc and its tools, and rustfmt, begin what they complain about.
fn is_complaint(line: &str) -> bool {
    ["error", "Diff in "].iter().any(|start| line.starts_with(start))
}

/// A fresh clone has an hour in CI. What is left of it goes to compiling this program before it can
/// look at the clock, and to taking down what was under way when the time was over; then comes the
/// summary.
const CI_TIME: Duration = MINUTE.saturating_mul(56);

/// Time for the whole run, builds and installations included.
struct Budget {
    start: Instant,
    whole: Duration,
}

impl Budget {
    fn starting(whole: Duration) -> Self {
        Self { start: Instant::now(), whole }
    }

    fn limit_of(&self, part: &Part) -> Duration {
        part.limit.min(self.whole.saturating_sub(self.start.elapsed()))
    }
}

/// Runs the parts to the last, whatever fails, and prints the summary. `true`: nothing failed.
pub fn run(workspace: &Workspace, parts: &[&Part]) -> bool {
    let strict = std::env::var_os("CI").is_some_and(|value| !value.is_empty() && value != "false");
    let budget = Budget::starting(if strict { CI_TIME } else { Duration::MAX });
    let finished: Vec<Finished> =
        parts.iter().map(|part| run_one(workspace, part, budget.limit_of(part), strict)).collect();
    print!("{}", summary(&finished));
    finished.iter().all(|part| part.tally.failures.is_empty())
}

fn run_one(workspace: &Workspace, part: &Part, limit: Duration, strict: bool) -> Finished {
    announce(&format!("{}: {}", part.name, part.what));
    let start = Instant::now();
    deadline::set(limit);
    let tally = prepare_and_work(workspace, part)
        .unwrap_or_else(|error| Tally::failed(format!("{error:#}")));
    let tally = if strict && part.weight == Weight::Required {
        tally.with_absences_as_failures()
    } else {
        tally
    };
    Finished { name: part.name, tally, took: start.elapsed() }
}

fn prepare_and_work(workspace: &Workspace, part: &Part) -> Result<Tally> {
    ensure!(!deadline::left().is_zero(), "not begun: the time for the whole run is over");
    match (packages::ensure(part.needs), &part.work) {
        // Each test says for itself what it lacks, and the others run.
        (Err(error), Work::CargoTests { .. }) => println!("    {error:#}"),
        (Err(error), _) => return Ok(Tally::absent(format!("{error:#}"))),
        (Ok(()), _) => {}
    }
    work(workspace, part)
}

fn work(workspace: &Workspace, part: &Part) -> Result<Tally> {
    let mut cargo = command::cargo();
    cargo.current_dir(&workspace.root);
    match part.work {
        Work::Here(work) => work(workspace),
        Work::Cargo { arguments, environment } => {
            let mut complaints = Vec::new();
            let status = supervise::run(
                cargo.args(arguments).envs(environment.iter().copied()),
                deadline::left(),
                |line| {
                    if is_complaint(line) && complaints.len() < MAX_COMPLAINTS {
                        complaints.push(line.to_owned());
                    }
                },
            )?;
            if status.success() {
                return Ok(Tally::one_passed());
            }
            complaints.insert(0, format!("`{}` failed ({status})", command::shown(&cargo)));
            Ok(Tally::failed(complaints.join("\n      ")))
        }
        Work::CargoTests { nfs } => {
            cargo.env(nfs_machine::ELSEWHERE, "1");
            Ok(std::thread::scope(|scope| {
                let apart = |programs: &'static [&'static str]| {
                    let mut cargo = command::cargo();
                    cargo.current_dir(&workspace.root);
                    scope.spawn(move || cargo_test(&mut cargo, programs))
                };
                let apart: Vec<_> = nfs.iter().map(|programs| apart(programs)).collect();
                let tally = cargo_test(&mut cargo, &[]);
                apart.into_iter().fold(tally, |tally, apart| {
                    let apart = apart.join();
                    tally.beside(apart.unwrap_or_else(|_| Tally::failed("a thread panicked")))
                })
            }))
        }
    }
}

/// These test programs; none named: all. One that hangs is ended alone, and what is said about
/// failures survives the end of the whole part's time.
fn cargo_test(cargo: &mut Command, tests: &[&str]) -> Tally {
    let mut tally = Tally::default();
    let mut programs = Programs::default();
    cargo.arg("test").args(programs::limiting_programs());
    cargo.args(["--workspace", "--features=wharf/otlp", "--no-fail-fast"]);
    cargo.args(tests.iter().map(|name| format!("--test={name}")));
    // What a passing test prints is shown, because that is where it says that it could not run.
    cargo.args(["--", "--show-output"]);
    let ran = supervise::run(cargo, deadline::left(), |line| {
        tally.take_test_line(line);
        tally.failures.extend(programs.take_line(line, tally.failures.len()));
    });
    match ran {
        Ok(status) if !status.success() && tally.failures.is_empty() => {
            let command = command::shown(cargo);
            let failure = format!("`{command}` failed ({status}) before it could say which test");
            tally.failures.push(failure);
        }
        Ok(_) => {}
        Err(error) => {
            tally.failures.push(format!("{error:#}, with {}", programs.under_way()));
        }
    }
    tally.panics = programs.panics();
    tally.slowest = programs.slowest();
    tally
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn part_names_are_words_for_the_command_line_and_appear_once() {
        for (index, part) in PARTS.iter().enumerate() {
            assert!(
                part.name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-'),
                "{}",
                part.name
            );
            assert!(PARTS.iter().take(index).all(|other| other.name != part.name), "{}", part.name);
        }
    }

    #[test]
    fn a_part_gets_its_limit_and_never_more_than_is_left_of_the_run() {
        let part = &PARTS[0];
        assert_eq!(Budget::starting(Duration::MAX).limit_of(part), part.limit);
        let left = Budget::starting(Duration::from_millis(5)).limit_of(part);
        assert!(left <= Duration::from_millis(5), "{left:?}");
        let over = Budget {
            start: Instant::now() - Duration::from_millis(10),
            whole: Duration::from_millis(5),
        };
        assert_eq!(over.limit_of(part), Duration::ZERO);
    }
}
