//! The active generation and those before it: the content of `active`. Pure.

use std::fmt;

/// As many generations as `rollback` can go back to.
const MAX_PREVIOUS: usize = 3;

/// Newest first; never empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct History {
    active: u64,
    previous: Vec<u64>,
}

impl History {
    /// One number a line.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut numbers = text.lines().map(|line| line.trim().parse::<u64>().ok());
        let active = numbers.next()??;
        Some(Self { active, previous: numbers.collect::<Option<Vec<u64>>>()? })
    }

    pub(crate) fn active(&self) -> u64 {
        self.active
    }

    pub(crate) fn previous(&self) -> &[u64] {
        &self.previous
    }

    pub(crate) fn holds(&self, number: u64) -> bool {
        self.active == number || self.previous.contains(&number)
    }

    /// With this generation active, and the one that was before it.
    pub(crate) fn activated(&self, number: u64) -> Self {
        if self.active == number {
            return self.clone();
        }
        let older = std::iter::once(self.active).chain(self.previous.iter().copied());
        Self {
            active: number,
            previous: older.filter(|&old| old != 0 && old != number).take(MAX_PREVIOUS).collect(),
        }
    }

    /// With the one before the active one active.
    pub(crate) fn rolled_back(&self) -> Option<Self> {
        let (active, previous) = self.previous.split_first()?;
        Some(Self { active: *active, previous: previous.to_vec() })
    }
}

impl fmt::Display for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.active)?;
        self.previous.iter().try_for_each(|number| writeln!(f, "{number}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_three_stay_for_a_rollback() {
        let history = (1..=5).fold(History::default(), |history, number| history.activated(number));
        assert_eq!((history.active(), history.previous()), (5, [4, 3, 2].as_slice()));
        assert_eq!(History::parse(&history.to_string()), Some(history.clone()));
        let back = history.rolled_back().unwrap();
        assert_eq!((back.active(), back.previous()), (4, [3, 2].as_slice()));
    }

    #[test]
    fn activating_again_changes_nothing_and_an_old_one_moves_to_the_front() {
        let history = History { active: 3, previous: vec![2, 1] };
        assert_eq!(history.activated(3), history);
        assert_eq!(history.activated(1), History { active: 1, previous: vec![3, 2] });
    }

    #[test]
    fn what_is_not_a_list_of_numbers_is_not_a_history() {
        for text in ["", "x", "1\nx", "\n1"] {
            assert_eq!(History::parse(text), None, "{text:?}");
        }
    }
}
