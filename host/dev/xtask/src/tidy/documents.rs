//! Documents name what is there: every path of the tree that stands in one exists, and every
//! decision of the architecture names the file that holds it, its context and its consequence.

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
            complaints.extend(incomplete(&text).map(|(decision, lacking)| {
                format!("{document}: the decision {decision} lacks {lacking}")
            }));
        }
    }
    Ok(complaints)
}

/// The first line of each decision that lacks something, and what that is. Decisions are the
/// paragraphs that begin with a sentence in bold.
fn incomplete(document: &str) -> impl Iterator<Item = (&str, &'static str)> {
    let decisions = document.split_once("\n## Decisions\n").map_or("", |(_, decisions)| decisions);
    let decisions = decisions.split("\n\n").filter(|paragraph| paragraph.starts_with("**"));
    decisions.filter_map(|decision| Some((decision.lines().next()?, lacking(decision)?)))
}

/// What a decision lacks: its title names a file, then its parts follow in this order.
fn lacking(decision: &str) -> Option<&'static str> {
    let Some((title, rest)) = decision.split_once("*Context:*") else {
        return Some("its context");
    };
    if title.lines().all(|line| paths_in(line).next().is_none()) {
        return Some("the file that holds it");
    }
    let Some((_, rest)) = rest.split_once("*Decision:*") else {
        return Some("the decision itself, after its context");
    };
    (!rest.contains("*Consequence:*")).then_some("its consequence, after the decision")
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
    fn a_missing_path_is_reported_with_the_document_and_its_line() {
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
    fn a_decision_names_its_file_context_and_consequence_and_other_paragraphs_need_not() {
        let parts = "*Context:* a. *Decision:* b. *Consequence:* c.";
        let decisions = [
            format!("**Whole** (`host/x.rs`). {parts}"),
            format!("**Loose.** {}", parts.replace("a.", "`host/x.rs`.")),
            "**Bare** (`host/x.rs`).".to_owned(),
            "**Open** (`host/x.rs`). *Context:* a. *Decision:* b.".to_owned(),
            "**Reversed** (`host/x.rs`). *Context:* a. *Consequence:* c.".to_owned(),
        ];
        let document =
            format!("**Not here.**\n\n## Decisions\n\nText.\n\n{}", decisions.join("\n\n"));
        let found: Vec<_> = incomplete(&document).map(|(_, lacking)| lacking).collect();
        assert_eq!(
            found,
            [
                "the file that holds it",
                "its context",
                "its consequence, after the decision",
                "the decision itself, after its context",
            ]
        );
    }
}
