//! What reviewers would otherwise have to look for: layout, names, boundaries between crates,
//! documents that name what is there. One module per kind of rule, each a function from the tree to
//! complaints. Runs as a test of this package and as a part of `ci`; formatting and lints
//! are left to rustfmt and clippy.

mod boundaries;
mod contract;
mod dependencies;
mod documents;
mod files;
mod messages;
mod source;
mod suppressions;

use anyhow::Result;

use crate::workspace::Workspace;
use source::Source;

/// Everything that is not as agreed, one line each.
pub fn complaints(workspace: &Workspace) -> Result<Vec<String>> {
    let sources = Source::read_all(&workspace.root)?;
    let mut complaints = files::complaints(&sources);
    complaints.extend(boundaries::complaints(&sources));
    complaints.extend(suppressions::complaints(&sources));
    complaints.extend(suppressions::dependency_complaints(workspace)?);
    complaints.extend(dependencies::complaints(workspace)?);
    complaints.extend(documents::complaints(&workspace.root)?);
    complaints.extend(messages::complaints(&workspace.root, &sources)?);
    complaints.extend(contract::complaints(&workspace.path("wit"))?);
    Ok(complaints)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tree_is_tidy() {
        let complaints = complaints(&Workspace::load().unwrap()).unwrap();
        assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
    }
}
