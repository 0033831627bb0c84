//! Living through all positions of a kind, comparing after each verb, and the table at the end.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use wharf_testing::bed::{Bed, BedOptions};
use wharf_testing::player::retry::OnFinal;
use wharf_testing::player::{PlayError, Retry};
use wharf_testing::requirement;
use wharf_testing::snapshot::Snapshot;

use super::kind::Kind;

/// What is left of a killed program (an orphaned mkfs, say) may take so long to end.
const SETTLED: Duration = Duration::from_secs(5);
/// More failures than this teach nothing.
const ENOUGH: usize = 40;
/// No verb has as many positions; a run that gets there repeats itself.
const TOO_MANY: usize = 2_000;

/// One volume from its creation to its end, over one protocol.
pub trait Life<'a>: Sized {
    /// The verbs in order.
    const VERBS: &'static [&'static str];
    /// Readies a bed for many lives.
    fn prepare(bed: &Bed);
    /// Whether a verb has positions of this kind at all.
    fn has(verb: &str, kind: Kind) -> bool;
    /// Begins; nothing exists yet.
    fn begin(bed: &'a Bed, number: usize) -> Self;
    /// Does a verb, repeated until it succeeds.
    fn perform(&mut self, verb: &str) -> Result<(), PlayError>;
    /// Does a verb, disturbed at a position. Says whether there is one, and in words which.
    fn disturb(&mut self, verb: &str, kind: Kind, at: usize) -> Result<Option<String>, PlayError>;
    /// Waits for what follows a verb that has been answered; most do it all before.
    fn settle(&self) {}
    /// Whether Kubernetes skipped the repetition of the last verb, because the place looked as if
    /// it were done (something is mounted there, nothing is mounted there any more). Then the
    /// next verb has to make good for it.
    fn was_skipped(&self) -> bool;
    /// Does what is still missing until nothing exists any more.
    fn end(&mut self) -> Result<(), PlayError>;
    /// Names that differ from life to life, and words that stand for them.
    fn names(&self) -> Vec<(String, String)>;
}

/// The protocol's lives, whatever bed they are on.
pub trait Lives {
    type On<'a>: Life<'a>;
    /// The verbs that are lived, in order.
    const VERBS: &'static [&'static str] = <Self::On<'static> as Life<'static>>::VERBS;

    /// Lives mostly wait for the cloud, so several are lived at once, each on a bed of its own.
    const BEDS: usize = 8;

    /// What disturbs it.
    const KINDS: &'static [Kind] = Kind::ALL;

    /// How beds are made.
    fn bed() -> BedOptions {
        BedOptions::default()
    }
}

/// How a disturbed verb is repeated. As in Kubernetes, final failures too: an orphaned helper may
/// hold a mount for a moment.
pub fn retry() -> Retry {
    Retry {
        first: Duration::from_millis(2),
        longest: Duration::from_millis(50),
        // A traced call on a busy machine takes many seconds, and may be the one that is killed.
        within: Duration::from_secs(180),
        on_final: OnFinal::Repeat,
    }
}

/// Has the bed's manager the next version of the backend to swap to, and every node with it.
pub fn install_next(bed: &Bed) {
    bed.install_newer_disk("next").unwrap();
}

/// Visits every position of every kind.
pub fn live_through<L: Lives>(test: &str) {
    let begun = Instant::now();
    let work = Mutex::new(Work::new::<L>());
    std::thread::scope(|scope| {
        for _ in 0..L::BEDS {
            scope.spawn(|| live_on_a_bed::<L>(&work));
        }
    });
    let work = work.into_inner().unwrap();
    requirement::say(&work.table(test, L::VERBS, begun.elapsed()));
    assert!(!work.counts.is_empty(), "no position was found, so nothing was disturbed");
    assert!(
        work.failures.is_empty(),
        "{} positions end differently:\n{}",
        work.failures.len(),
        work.failures.join("\n")
    );
}

fn live_on_a_bed<L: Lives>(work: &Mutex<Work>) {
    let bed = Bed::make(&L::bed()).unwrap();
    <L::On<'_> as Life>::prepare(&bed);
    let nothing = Snapshot::of(&bed, &[]);
    let mut through = Through { bed: &bed, nothing, expected: BTreeMap::new(), lives: 0 };
    through.undisturbed::<L>();
    loop {
        let Some(task) = work.lock().unwrap().next() else { return };
        let mut lived = Lived::default();
        let is_clean = through.one::<L>(&task, &mut lived);
        work.lock().unwrap().take(&task, lived);
        if !is_clean {
            // What is left would be found in every later life.
            break;
        }
    }
    drop(bed);
    live_on_a_bed::<L>(work);
}

/// The lives that are still to be lived, and what came of the others.
struct Work {
    verbs: &'static [&'static str],
    /// For each kind the next position, and for each verb the first position that it does not
    /// have.
    open: Vec<(Kind, usize, BTreeMap<&'static str, usize>)>,
    lives: usize,
    counts: BTreeMap<(&'static str, usize), usize>,
    failures: Vec<String>,
}

/// One life: every one of these verbs is disturbed at this position.
struct Task {
    kind: Kind,
    at: usize,
    verbs: Vec<&'static str>,
}

/// What came of one life.
#[derive(Default)]
struct Lived {
    reached: Vec<&'static str>,
    ended: Vec<&'static str>,
    failures: Vec<String>,
}

impl Work {
    fn new<L: Lives>() -> Self {
        let verbs = L::VERBS;
        let limits = |kind| {
            verbs
                .iter()
                .filter(|verb| <L::On<'_> as Life>::has(verb, kind))
                .map(|verb| (*verb, usize::MAX))
                .collect()
        };
        let open = L::KINDS.iter().map(|kind| (*kind, 0, limits(*kind))).collect();
        Self { verbs, open, lives: 0, counts: BTreeMap::new(), failures: Vec::new() }
    }

    /// The kind with the most positions behind it comes last, so that the long ones run side by
    /// side with the short ones.
    fn next(&mut self) -> Option<Task> {
        if self.failures.len() >= ENOUGH {
            return None;
        }
        let open = self
            .open
            .iter_mut()
            .filter(|(_, at, limits)| *at < TOO_MANY && limits.values().any(|limit| at < limit));
        let (kind, at, limits) = open.min_by_key(|(_, at, _)| *at)?;
        let verbs = self
            .verbs
            .iter()
            .filter(|verb| limits.get(*verb).is_some_and(|limit| *at < *limit))
            .copied()
            .collect();
        *at += 1;
        self.lives += 1;
        Some(Task { kind: *kind, at: *at - 1, verbs })
    }

    fn take(&mut self, task: &Task, lived: Lived) {
        let Some(number) = self.open.iter().position(|(kind, ..)| *kind == task.kind) else {
            return;
        };
        for verb in lived.reached {
            *self.counts.entry((verb, number)).or_default() += 1;
        }
        for verb in lived.ended {
            let limit = self.open[number].2.entry(verb).or_insert(0);
            *limit = task.at.min(*limit);
        }
        self.failures.extend(lived.failures);
    }
}

struct Through<'a> {
    bed: &'a Bed,
    /// What is there before a life and after it.
    nothing: Snapshot,
    expected: BTreeMap<&'static str, Snapshot>,
    lives: usize,
}

impl<'a> Through<'a> {
    fn begin<L: Lives>(&mut self) -> L::On<'a> {
        self.lives += 1;
        L::On::begin(self.bed, self.lives)
    }

    fn undisturbed<L: Lives>(&mut self) {
        let mut life = self.begin::<L>();
        for verb in L::VERBS {
            life.perform(verb).unwrap();
            life.settle();
            self.expected.insert(verb, Snapshot::of(self.bed, &life.names()));
        }
        life.end().unwrap();
        life.settle();
        let left = Snapshot::of(self.bed, &[]).differences(&self.nothing);
        assert!(left.is_empty(), "an undisturbed life leaves behind: {left:#?}");
    }

    /// Lives one life, up to its last disturbed verb. Says whether nothing is left of it.
    fn one<L: Lives>(&mut self, task: &Task, lived: &mut Lived) -> bool {
        let mut life = self.begin::<L>();
        let last = task.verbs.last().copied().unwrap_or_default();
        let mut is_past_last = false;
        for verb in L::VERBS {
            // A skipped verb is made good for by the next one.
            let is_enough = is_past_last && !life.was_skipped();
            if is_enough || !self.verb::<L>(&mut life, verb, task, lived) {
                break;
            }
            is_past_last |= *verb == last;
        }
        let ended = life.end();
        life.settle();
        let left = Snapshot::of(self.bed, &[]).differences(&self.nothing);
        let is_clean = ended.is_ok() && left.is_empty();
        if !is_clean && lived.failures.is_empty() {
            lived.failures.push(format!(
                "{:?} {}: the life leaves behind ({ended:?}): {left:#?}",
                task.kind, task.at
            ));
        }
        is_clean
    }

    /// Whether the life can go on.
    fn verb<L: Lives>(
        &self,
        life: &mut L::On<'a>,
        verb: &'static str,
        task: &Task,
        lived: &mut Lived,
    ) -> bool {
        let is_disturbed = task.verbs.contains(&verb);
        let (kind, at) = (task.kind, task.at);
        let result = if is_disturbed {
            life.disturb(verb, kind, at)
        } else {
            life.perform(verb).map(|()| None)
        };
        let position = match result {
            Ok(position) => position,
            Err(error) => {
                lived.failures.push(format!("{kind:?} {at} of {verb}: {error}"));
                return false;
            }
        };
        match position {
            Some(_) => lived.reached.push(verb),
            None if is_disturbed => lived.ended.push(verb),
            None => {}
        }
        if is_disturbed && life.was_skipped() {
            return true;
        }
        let differences = self.differences(verb, &life.names());
        if differences.is_empty() {
            return true;
        }
        let position = position.unwrap_or_else(|| "not disturbed".to_owned());
        lived.failures.push(format!(
            "{kind:?} {at} of {verb} ({position}):\n    {}",
            differences.join("\n    ")
        ));
        false
    }

    fn differences(&self, verb: &str, names: &[(String, String)]) -> Vec<String> {
        let begun = Instant::now();
        loop {
            let differences = Snapshot::of(self.bed, names).differences(&self.expected[verb]);
            if differences.is_empty() || begun.elapsed() > SETTLED {
                return differences;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Work {
    fn table(&self, test: &str, verbs: &[&'static str], took: Duration) -> String {
        let mut text = format!(
            "\n{test}: {} lives in {:.1} s\n{:<24}",
            self.lives,
            took.as_secs_f64(),
            "positions"
        );
        self.open
            .iter()
            .for_each(|(kind, ..)| write!(text, "{:>21}", format!("{kind:?}")).unwrap());
        for verb in verbs {
            write!(text, "\n{verb:<24}").unwrap();
            for number in 0..self.open.len() {
                let count = self.counts.get(&(*verb, number)).copied().unwrap_or(0);
                write!(text, "{:>21}", if count == 0 { "-".to_owned() } else { count.to_string() })
                    .unwrap();
            }
        }
        let total: usize = self.counts.values().sum();
        write!(text, "\n{total} positions, {} ended differently\n", self.failures.len()).unwrap();
        text
    }
}
