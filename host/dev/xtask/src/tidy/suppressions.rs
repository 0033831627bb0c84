//! Exceptions carry their reasons: suppressed lints, and dependencies that are not the workspace's.

use std::fs;

use anyhow::{Context, Result};

use super::source::Source;
use crate::workspace::Workspace;

/// Attributes that switch a lint off. Split, so that this file does not complain about itself.
const SUPPRESSIONS: [&str; 4] = [
    concat!("#[", "allow("),
    concat!("#![", "allow("),
    concat!("#[", "expect("),
    concat!("#![", "expect("),
];

/// Suppressed lints without a reason, tests included.
pub fn complaints(sources: &[Source]) -> Vec<String> {
    sources.iter().flat_map(of_file).collect()
}

fn of_file(source: &Source) -> Vec<String> {
    let starts = SUPPRESSIONS.iter().flat_map(|start| source.text.match_indices(start));
    let bare = starts.filter_map(|(at, _)| {
        let (before, rest) = source.text.split_at(at);
        let attribute = rest.split_once(")]").map_or(rest, |(attribute, _)| attribute);
        (!attribute.contains("reason = "))
            .then(|| before.lines().count().max(1) + usize::from(before.ends_with('\n')))
    });
    bare.map(|line| format!("{}:{line}: a suppressed lint without `reason = \"…\"`", source.path))
        .collect()
}

/// Dependencies of members that are not `workspace = true` and say nothing about why.
pub fn dependency_complaints(workspace: &Workspace) -> Result<Vec<String>> {
    let mut complaints = Vec::new();
    for package in &workspace.packages {
        let manifest = package.manifest();
        let text = fs::read_to_string(manifest)
            .with_context(|| format!("cannot read {}", manifest.display()))?;
        let shown = manifest.strip_prefix(&workspace.root).unwrap_or(manifest).display();
        complaints.extend(own_dependencies(&text).into_iter().map(|(number, line)| {
            format!(
                "{shown}:{number}: `{line}`: take it from the workspace, or say why not in a \
                 comment beside it"
            )
        }));
    }
    Ok(complaints)
}

fn own_dependencies(manifest: &str) -> Vec<(usize, &str)> {
    let mut in_dependencies = false;
    let mut previous = "";
    let mut found = Vec::new();
    for (index, line) in manifest.lines().map(str::trim).enumerate() {
        if line.starts_with('[') {
            in_dependencies = line.trim_end_matches(']').ends_with("dependencies");
        } else if in_dependencies && line.contains('=') && !line.starts_with('#') {
            let has_comment = line.contains('#') || previous.starts_with('#');
            if !line.contains("workspace = true") && !has_comment {
                found.push((index + 1, line));
            }
        }
        previous = line;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::source::source;
    use super::*;

    #[test]
    fn a_suppressed_lint_needs_a_reason_also_over_several_lines() {
        let bare = format!("//! x\n{}dead_code)]\nfn a() {{}}\n", SUPPRESSIONS[0]);
        assert_eq!(
            complaints(&[source("a.rs", &bare)]),
            ["a.rs:2: a suppressed lint without `reason = \"…\"`"]
        );
        let reasoned =
            format!("{}\n    dead_code,\n    reason = \"generated\"\n)]\n", SUPPRESSIONS[1]);
        assert!(complaints(&[source("a.rs", &reasoned)]).is_empty());
    }

    #[test]
    fn a_dependency_of_ones_own_needs_a_comment() {
        let manifest = "[package]\nname = \"a\"\n[dependencies]\nb.workspace = true\nc = \"1\"\n# \
                        Only here.\nd = \"2\"\ne = \"3\" # why\n[features]\nf = []\n";
        assert_eq!(own_dependencies(manifest), [(5, "c = \"1\"")]);
    }
}
