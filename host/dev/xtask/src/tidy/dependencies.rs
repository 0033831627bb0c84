//! Which crate may depend on which: `cargo metadata` against the table in `ARCHITECTURE.md`.
//! Everything points at the core.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use anyhow::{Context, Result};

use crate::workspace::Workspace;

/// Under this heading.
const HEADING: &str = "## Dependencies";

type Table = BTreeMap<String, BTreeSet<String>>;

/// Edges that the table does not have, and rows of the table that say too much.
pub fn complaints(workspace: &Workspace) -> Result<Vec<String>> {
    let document = workspace.path("ARCHITECTURE.md");
    let text = fs::read_to_string(&document)
        .with_context(|| format!("cannot read {}", document.display()))?;
    Ok(compare(&allowed(&text), &actual(workspace)))
}

/// Normal and build dependencies between members. Tests may look anywhere: a dev-dependency adds
/// nothing to what is built.
fn actual(workspace: &Workspace) -> Table {
    let members: BTreeSet<&str> =
        workspace.packages.iter().map(|package| package.name.as_str()).collect();
    let is_edge = |dependency: &&crate::workspace::Dependency| {
        dependency.kind.as_deref() != Some("dev") && members.contains(dependency.name.as_str())
    };
    let edges = workspace.packages.iter().map(|package| {
        let needed =
            package.dependencies.iter().filter(is_edge).map(|dependency| dependency.name.clone());
        (package.name.clone(), needed.collect())
    });
    edges.collect()
}

/// Rows of the first table under the heading: `| crate | may depend on |`.
fn allowed(document: &str) -> Table {
    let section = document
        .lines()
        .skip_while(|line| *line != HEADING)
        .skip(1)
        .take_while(|line| !line.starts_with("## "));
    let rows = section.filter_map(|line| {
        let mut cells = line.strip_prefix('|')?.split('|').map(str::trim);
        Some((cells.next()?, cells.next()?))
    });
    // A heading row and the row of dashes name no crate that exists, which `compare` would complain
    // about.
    let rows = rows.filter(|(name, _)| *name != "crate" && !name.starts_with('-'));
    rows.map(|(name, needed)| {
        (
            plain(name),
            needed
                .split(',')
                .map(plain)
                .filter(|name| !matches!(name.as_str(), "–" | "-" | ""))
                .collect(),
        )
    })
    .collect()
}

fn plain(cell: &str) -> String {
    cell.trim().trim_matches('`').to_owned()
}

fn compare(allowed: &Table, actual: &Table) -> Vec<String> {
    let mut complaints = Vec::new();
    for (name, needed) in actual {
        let Some(may) = allowed.get(name) else {
            complaints.push(format!(
                "ARCHITECTURE.md: the table under `{HEADING}` has no row for {name}"
            ));
            continue;
        };
        complaints.extend(needed.difference(may).map(|other| {
            format!("{name} depends on {other}, and the table in ARCHITECTURE.md does not allow it")
        }));
    }
    let mentioned = allowed.iter().flat_map(|(name, may)| may.iter().chain([name]));
    let unknown: BTreeSet<&String> = mentioned.filter(|name| !actual.contains_key(*name)).collect();
    complaints.extend(unknown.into_iter().map(|name| {
        format!(
            "ARCHITECTURE.md: the table under `{HEADING}` names {name}, and there is no such crate"
        )
    }));
    complaints
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &str = "# A\n| crate | other table |\n## Dependencies\n\nText.\n\n| crate | \
                            may depend on |\n|---|---|\n| `core` | – |\n| store | core |\n\n## \
                            Next\n| x | y |\n";

    fn table(rows: &[(&str, &[&str])]) -> Table {
        rows.iter()
            .map(|(name, needed)| {
                ((*name).to_owned(), needed.iter().map(|&other| other.to_owned()).collect())
            })
            .collect()
    }

    #[test]
    fn the_table_is_read_from_its_own_section_alone() {
        assert_eq!(allowed(DOCUMENT), table(&[("core", &[]), ("store", &["core"])]));
    }

    #[test]
    fn an_edge_too_many_a_missing_row_and_an_unknown_crate_are_complaints() {
        let agreed = allowed(DOCUMENT);
        assert!(compare(&agreed, &table(&[("core", &[]), ("store", &["core"])])).is_empty());
        let wrong =
            compare(&agreed, &table(&[("core", &["store"]), ("store", &[]), ("node", &[])]));
        assert_eq!(wrong.len(), 2, "{wrong:?}");
        let gone = compare(&agreed, &table(&[("core", &[])]));
        assert!(gone.iter().any(|line| line.contains("names store")), "{gone:?}");
    }
}
