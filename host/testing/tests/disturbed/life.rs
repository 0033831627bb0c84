//! Living through all positions of a kind, comparing after each verb, and the table at the end.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use wharf_testing::bed::{Bed, BedOptions};
use wharf_testing::player::PlayError;
use wharf_testing::requirement;
use wharf_testing::snapshot::Snapshot;

use super::kind::Kind;

/// What is left of a killed program (an orphaned mkfs, say) may take so long to end.
const SETTLED: Duration = Duration::from_secs(5);
/// More failures than this teach nothing.
const ENOUGH: usize = 8;
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
    /// Does what is still missing until nothing exists any more.
    fn end(&mut self) -> Result<(), PlayError>;
    /// Names that differ from life to life, and words that stand for them.
    fn names(&self) -> Vec<(String, String)>;
}

/// The protocol's lives, whatever bed they are on.
pub trait Lives {
    type On<'a>: Life<'a>;
}

/// Visits every position of these kinds.
pub fn live_through<L: Lives>(test: &str, kinds: &[Kind]) {
    if !requirement::machine(test) {
        return;
    }
    let begun = Instant::now();
    let bed = Bed::make(&BedOptions::default()).unwrap();
    <L::On<'_> as Life>::prepare(&bed);
    let mut through = Through { bed: &bed, expected: BTreeMap::new(), number: 0, counts: BTreeMap::new(), failures: Vec::new() };
    through.undisturbed::<L>();
    for kind in kinds {
        through.all::<L>(*kind);
    }
    requirement::say(&through.table(test, kinds, <L::On<'_> as Life>::VERBS, begun.elapsed()));
    assert!(through.failures.is_empty(), "{} positions end differently:\n{}", through.failures.len(), through.failures.join("\n"));
}

struct Through<'a> {
    bed: &'a Bed,
    expected: BTreeMap<&'static str, Snapshot>,
    number: usize,
    counts: BTreeMap<(&'static str, String), usize>,
    failures: Vec<String>,
}

impl<'a> Through<'a> {
    fn begin<L: Lives>(&mut self) -> L::On<'a> {
        self.number += 1;
        L::On::begin(self.bed, self.number)
    }

    fn undisturbed<L: Lives>(&mut self) {
        let mut life = self.begin::<L>();
        for verb in <L::On<'a> as Life>::VERBS {
            life.perform(verb).unwrap();
            self.expected.insert(verb, Snapshot::of(self.bed, &life.names()));
        }
        life.end().unwrap();
        let left = Snapshot::of(self.bed, &[]);
        assert!(left.is_empty(), "an undisturbed life leaves behind:\n{left}");
    }

    fn all<L: Lives>(&mut self, kind: Kind) {
        let verbs = <L::On<'a> as Life>::VERBS;
        let mut open: Vec<bool> = verbs.iter().map(|verb| <L::On<'a> as Life>::has(verb, kind)).collect();
        for at in 0..TOO_MANY {
            let Some(last) = open.iter().rposition(|open| *open) else { return };
            let mut life = self.begin::<L>();
            for (verb, open) in verbs.iter().zip(&mut open).take(last + 1) {
                if !self.one::<L>(&mut life, verb, kind, at, open) {
                    break;
                }
            }
            let ended = life.end();
            let left = Snapshot::of(self.bed, &life.names());
            if ended.is_err() || !left.is_empty() {
                self.failures.push(format!("{kind:?} {at}: the life leaves behind ({ended:?}):\n{left}"));
                return;
            }
            if self.failures.len() >= ENOUGH {
                return;
            }
        }
        self.failures.push(format!("{kind:?}: more than {TOO_MANY} positions"));
    }

    /// Whether the life can go on.
    fn one<L: Lives>(&mut self, life: &mut L::On<'a>, verb: &'static str, kind: Kind, at: usize, open: &mut bool) -> bool {
        let result = if *open { life.disturb(verb, kind, at) } else { life.perform(verb).map(|()| None) };
        let position = match result {
            Ok(position) => position,
            Err(error) => {
                self.failures.push(format!("{kind:?} {at} of {verb}: {error}"));
                return false;
            }
        };
        let disturbed = position.is_some();
        if disturbed {
            *self.counts.entry((verb, format!("{kind:?}"))).or_default() += 1;
        }
        *open &= disturbed;
        let differences = self.differences(verb, &life.names());
        if differences.is_empty() {
            return true;
        }
        let position = position.unwrap_or_else(|| "not disturbed".to_owned());
        self.failures.push(format!("{kind:?} {at} of {verb} ({position}):\n    {}", differences.join("\n    ")));
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

    fn table(&self, test: &str, kinds: &[Kind], verbs: &[&'static str], took: Duration) -> String {
        let mut text = format!("\n{test}: {} lives in {:.1} s\n{:<20}", self.number, took.as_secs_f64(), "positions");
        kinds.iter().for_each(|kind| write!(text, "{:>22}", format!("{kind:?}")).unwrap());
        let mut total = 0;
        for verb in verbs {
            write!(text, "\n{verb:<20}").unwrap();
            for kind in kinds {
                let count = self.counts.get(&(*verb, format!("{kind:?}"))).copied().unwrap_or(0);
                total += count;
                write!(text, "{:>22}", if count == 0 { "-".to_owned() } else { count.to_string() }).unwrap();
            }
        }
        writeln!(text, "\n{total} positions, {} ended differently\n", self.failures.len()).unwrap();
        text
    }
}
