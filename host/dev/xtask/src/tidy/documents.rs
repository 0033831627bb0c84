//! Documents name what is there: every path of the tree that stands in one exists, and every
//! decision of the architecture names where it is carried out.

use std::fs;
use std::path::Path;

use anyhow::Result;

/// Read from top to bottom; one that is not there (yet) is left out.
const DOCUMENTS: [&str; 8] = [
    "README.md",
    "ARCHITECTURE.md",
    "COMPATIBILITY.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "examples/kubernetes/README.md",
    "examples/kubernetes/migration.md",
    "examples/kubernetes/troubleshooting.md",
];

/// What a path of the tree begins with.
const ROOTS: [&str; 7] =
    ["host/", "wit/", "guest-sdk/", "backends/", "examples/", ".ci/", ".cargo/"];

/// Characters that make it a pattern, a placeholder or an option, not a path.
const NOT_A_PATH: [char; 8] = ['<', '>', '*', '{', '}', '$', '…', '~'];

/// Paths in documents that do not exist.
pub fn complaints(root: &Path) -> Result<Vec<String>> {
    let mut complaints = Vec::new();
    for document in DOCUMENTS {
        let file = root.join(document);
        if file.is_file() {
            let text = fs::read_to_string(file)?;
            let missing = text
                .lines()
                .enumerate()
                .flat_map(|(index, line)| paths_in(line).map(move |path| (index + 1, path)));
            let missing = missing.filter(|(_, path)| !root.join(path).exists());
            complaints.extend(missing.map(|(number, path)| {
                format!("{document}:{number}: names {path}, and there is no such path")
            }));
            complaints.extend(without_a_path(&text).map(|decision| {
                format!("{document}: the decision {decision} names no file that holds it")
            }));
        }
    }
    Ok(complaints)
}

/// Decisions, which are the paragraphs that begin with a sentence in bold, without a path in them.
fn without_a_path(document: &str) -> impl Iterator<Item = &str> {
    let decisions = document.split_once("\n## Decisions\n").map_or("", |(_, decisions)| decisions);
    let decisions = decisions.split("\n\n").filter(|paragraph| paragraph.starts_with("**"));
    decisions
        .filter(|decision| decision.lines().all(|line| paths_in(line).next().is_none()))
        .filter_map(|decision| decision.lines().next())
}

fn paths_in(line: &str) -> impl Iterator<Item = &str> {
    let parts = |character: char| character.is_whitespace() || "`()[]|\"',;".contains(character);
    line.split(parts)
        .map(|word| word.trim_end_matches(['.', ':', '!', '?']))
        .filter(|word| is_path(word))
}

fn is_path(word: &str) -> bool {
    let is_document = word.ends_with(".md") && !word.contains('/');
    (is_document || ROOTS.iter().any(|root| word.starts_with(root)))
        && !word.contains(NOT_A_PATH)
        && !word.contains("::")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_found_among_words_and_punctuation() {
        let line = "See `host/core/src/plan.rs`, (wit/) and ARCHITECTURE.md. Not target/wharf, \
                    host/<crate>, host/*/src or alicloud/disk.";
        assert_eq!(
            paths_in(line).collect::<Vec<_>>(),
            ["host/core/src/plan.rs", "wit/", "ARCHITECTURE.md"]
        );
    }

    #[test]
    fn a_document_that_names_a_missing_path_is_told_with_its_line() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("wit")).unwrap();
        fs::write(root.path().join("README.md"), "`wit/` is there\n`host/gone.rs` is not\n")
            .unwrap();
        assert_eq!(
            complaints(root.path()).unwrap(),
            ["README.md:2: names host/gone.rs, and there is no such path"]
        );
    }

    #[test]
    fn a_decision_that_names_no_file_is_told_and_other_paragraphs_may_name_none() {
        let document = "**Not here.** A\n\n## Decisions\n\n### One\n\nText.\n\n**Held** \
                        (`host/x.rs`). B\n\n**Loose.**\nC\n";
        assert_eq!(without_a_path(document).collect::<Vec<_>>(), ["**Loose.**"]);
    }
}
