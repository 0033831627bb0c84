//! What is wrong with a configuration: where, what, and what to write instead.

use serde::Serialize;

use super::tree::{Origin, Source};

/// One mistake. Never quotes a value: it may be a secret.
#[derive(Debug, Clone)]
pub struct Mistake {
    /// Where; `None` where it is in no line.
    pub at: Option<Origin>,
    /// The setting, as keys of sections and positions in lists.
    pub path: Vec<String>,
    /// What is wrong.
    pub problem: String,
    /// What to do; empty where the problem says it.
    pub fix: String,
}

impl Mistake {
    /// A mistake that is nowhere yet.
    pub fn new(problem: impl Into<String>) -> Self {
        Self { at: None, path: Vec::new(), problem: problem.into(), fix: String::new() }
    }

    /// The same, at this place unless it has one.
    #[must_use]
    pub fn at(mut self, origin: &Origin) -> Self {
        self.at.get_or_insert_with(|| origin.clone());
        self
    }

    /// The same, at this setting.
    #[must_use]
    pub fn of(mut self, path: &[&str]) -> Self {
        self.path = path.iter().map(|step| (*step).to_owned()).collect();
        self
    }

    /// The same, with what to do.
    #[must_use]
    pub fn fix(mut self, fix: impl Into<String>) -> Self {
        self.fix = fix.into();
        self
    }

    /// The setting as TOML spells it: `endpoint.ecs.url`, `account.a.source[0]`.
    pub fn setting(&self) -> String {
        setting(&self.path)
    }

    /// The problem and the fix, without the place.
    pub fn text(&self) -> String {
        if self.fix.is_empty() {
            self.problem.clone()
        } else {
            format!("{}; {}", self.problem, self.fix)
        }
    }

    /// For programs.
    pub fn report(&self) -> Report {
        let line = |number: usize| (number > 0).then_some(number);
        let at = self.at.as_ref();
        Report {
            source: at.map(|at| at.source.to_string()),
            line: at.and_then(|at| line(at.line)),
            column: at.and_then(|at| line(at.column)),
            setting: self.setting(),
            problem: self.problem.clone(),
            fix: self.fix.clone(),
        }
    }
}

impl std::fmt::Display for Mistake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text())?;
        match &self.at {
            Some(Origin { line, column, source }) if *line > 0 => match &**source {
                Source::Preset(name) => {
                    write!(f, " (preset {name}, line {line}, column {column})")
                }
                _ => write!(f, " (line {line}, column {column})"),
            },
            _ => Ok(()),
        }
    }
}

/// A mistake for programs.
#[derive(Debug, Serialize)]
pub struct Report {
    source: Option<String>,
    line: Option<usize>,
    column: Option<usize>,
    setting: String,
    problem: String,
    fix: String,
}

/// A path as TOML spells it.
pub fn setting(path: &[String]) -> String {
    let mut text = String::new();
    for step in path {
        let is_bare = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if step.bytes().all(|byte| byte.is_ascii_digit()) && !text.is_empty() {
            text.push_str(&format!("[{step}]"));
            continue;
        }
        if !text.is_empty() {
            text.push('.');
        }
        if !step.is_empty() && step.chars().all(is_bare) {
            text.push_str(step);
        } else {
            text.push_str(&format!("{step:?}"));
        }
    }
    text
}

/// Which of the known words is meant by one that is not: the nearest, if it is near.
pub fn meant<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let near = |candidate: &&str| distance(word, candidate);
    let best = known.into_iter().min_by_key(near)?;
    // A third of the word wrong is another word.
    (distance(word, best) <= (word.chars().count() + 1) / 3).then_some(best)
}

/// How many characters have to be changed, added or taken away.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (index, from) in one.chars().enumerate() {
        let mut diagonal = index;
        let mut left = index + 1;
        let mut next = vec![left];
        for (to, above) in other.iter().zip(row.iter().skip(1)) {
            left = (diagonal + usize::from(from != *to)).min(left + 1).min(above + 1);
            diagonal = *above;
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_known_word_is_meant_if_it_is_near() {
        let known = ["state", "store", "sockets"];
        assert_eq!(meant("stat", known), Some("state"));
        assert_eq!(meant("soket", known), Some("sockets"));
        assert_eq!(meant("banana", known), None);
        assert_eq!((distance("kitten", "sitting"), distance("", "abc")), (3, 3));
    }

    #[test]
    fn a_setting_is_spelt_as_in_the_file() {
        let path = ["driver", "disk.example.com", "flexvolume", "0"].map(str::to_owned);
        assert_eq!(setting(&path), "driver.\"disk.example.com\".flexvolume[0]");
    }
}
