//! The Rust files of the tree, and which of their lines are production code.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Directories with Rust files.
const DIRECTORIES: [&str; 4] = ["host", "guest-sdk", "backends", "examples"];

/// Directories that hold what tools make, not what people write.
const FOREIGN: [&str; 3] = ["target", "node_modules", ".venv"];

/// One Rust file.
#[derive(Debug)]
pub struct Source {
    /// Relative to the workspace, with slashes.
    pub path: String,
    /// All of it.
    pub text: String,
}

impl Source {
    /// All Rust files, sorted by path.
    pub fn read_all(root: &Path) -> Result<Vec<Self>> {
        let mut paths = Vec::new();
        for directory in DIRECTORIES {
            collect(&root.join(directory), &mut paths)?;
        }
        paths.sort();
        paths.iter().map(|path| Self::read(root, path)).collect()
    }

    fn read(root: &Path, path: &Path) -> Result<Self> {
        let text =
            fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(Self { path: path.strip_prefix(root)?.to_string_lossy().into_owned(), text })
    }

    /// Whether the whole file is there for tests.
    pub fn is_test(&self) -> bool {
        self.path.ends_with("/tests.rs")
            || self.path.contains("/tests/")
            || self.path.contains("/benches/")
            || self.path.starts_with("host/dev/testing/")
    }

    /// The lines before the tests, with their numbers. Tests stand last in a file.
    pub fn production(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines: Vec<&str> = self.text.lines().collect();
        let is_tests = |pair: &[&str]| matches!(pair, [first, second] if *first == "#[cfg(test)]" && has_word(second, "mod") && second.ends_with('{'));
        let end = lines.windows(2).position(is_tests).unwrap_or(lines.len());
        let end = if self.is_test() { 0 } else { end };
        lines.into_iter().take(end).enumerate().map(|(index, line)| (index + 1, line))
    }

    /// Production lines without comments.
    pub fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        self.production().filter_map(|(number, line)| {
            let code = line.split_once(" // ").map_or(line, |(code, _)| code);
            (!line.trim_start().starts_with("//")).then_some((number, code))
        })
    }
}

fn collect(directory: &Path, into: &mut Vec<PathBuf>) -> Result<()> {
    for entry in
        fs::read_dir(directory).with_context(|| format!("cannot read {}", directory.display()))?
    {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if path.is_dir() && !FOREIGN.contains(&name.as_ref()) && !name.starts_with('.') {
            collect(&path, into)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push(path);
        }
    }
    Ok(())
}

/// Whether `word` stands in `line` by itself. Letters and digits join words; everything else, `_`
/// included, parts them.
pub fn has_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(start, found)| {
        let before = line.get(..start).and_then(|text| text.chars().next_back());
        let after = line.get(start + found.len()..).and_then(|text| text.chars().next());
        !before.is_some_and(char::is_alphanumeric) && !after.is_some_and(char::is_alphanumeric)
    })
}

#[cfg(test)]
pub fn source(path: &str, text: &str) -> Source {
    Source { path: path.into(), text: text.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn production_ends_where_tests_begin_and_code_has_no_comments() {
        let file = source(
            "host/core/src/a.rs",
            "//! doc\nuse a; // why\n    // note\nlet b;\n#[cfg(test)]\nmod tests {\n  x\n}\n",
        );
        assert_eq!(file.production().count(), 4);
        assert_eq!(file.code().collect::<Vec<_>>(), [(2, "use a;"), (4, "let b;")]);
    }

    #[test]
    fn tests_in_a_file_of_their_own_cut_nothing_off() {
        assert_eq!(
            source("host/core/src/a.rs", "#[cfg(test)]\nmod tests;\nlet a;\n").production().count(),
            3
        );
        assert_eq!(source("host/core/src/a/tests.rs", "let a;\n").production().count(), 0);
    }

    #[test]
    fn a_word_inside_another_is_not_that_word() {
        assert!(
            has_word("the ecs endpoint", "ecs")
                && has_word("ECS_ecs_", "ecs")
                && has_word("\"ecs\"", "ecs")
        );
        assert!(!has_word("specs and ecsx", "ecs"));
    }
}
