//! Length, width, names and headings of files.

use super::source::Source;

/// Past this a file has more than one reason to change.
const MAX_LINES: usize = 500;

/// As in `rustfmt.toml`, which does not break comments: two files stand side by side in a review.
const MAX_WIDTH: usize = 100;

/// A literal cannot be broken without hiding it from a search, so its line may be longer.
const MAX_WIDTH_OF_LITERALS: usize = 180;

/// Files past [`MAX_LINES`] lines of production code, each with the reason.
const LONG_FILES: &[(&str, &str)] = &[];

/// Names that say nothing, so that everything ends up there.
const GRAB_BAGS: [&str; 9] =
    ["utils", "util", "helpers", "helper", "common", "misc", "manager", "managers", "shared"];

/// All complaints about files as files.
pub fn complaints(sources: &[Source]) -> Vec<String> {
    let mut complaints: Vec<String> = sources.iter().flat_map(of_file).collect();
    for (path, _) in LONG_FILES {
        if !sources
            .iter()
            .any(|source| source.path == *path && source.production().count() > MAX_LINES)
        {
            complaints.push(format!(
                "{path}: is in the table of long files and is not long; remove the row"
            ));
        }
    }
    complaints
}

fn of_file(source: &Source) -> Vec<String> {
    let path = &source.path;
    let mut complaints = Vec::new();
    let lines = source.production().count();
    if lines > MAX_LINES && !LONG_FILES.iter().any(|(long, _)| long == path) {
        complaints.push(format!(
            "{path}: {lines} lines of production code, at most {MAX_LINES}; split it, or say why \
             not in the table of long files"
        ));
    }
    for (number, line) in source.production() {
        let width = line.chars().count();
        let most = if line.contains('"') { MAX_WIDTH_OF_LITERALS } else { MAX_WIDTH };
        if width > most {
            complaints.push(format!("{path}:{number}: {width} characters wide, at most {most}"));
        }
    }
    if !source.is_test() && !source.text.starts_with("//!") {
        complaints.push(format!(
            "{path}: does not begin with `//!`: what the module is for, what it leaves out, who \
             calls it"
        ));
    }
    complaints.extend(of_name(path));
    complaints
}

fn of_name(path: &str) -> Option<String> {
    // Below `tests/`, cargo would take `foo.rs` for a test program of its own.
    if path.ends_with("/mod.rs") && !path.contains("/tests/") {
        return Some(format!("{path}: put it beside its directory, as `foo.rs`"));
    }
    let is_grab_bag = |part: &str| GRAB_BAGS.contains(&part.trim_end_matches(".rs"));
    path.split('/')
        .find(|part| is_grab_bag(part))
        .map(|part| format!("{path}: {part:?} says nothing about what is inside"))
}

#[cfg(test)]
mod tests {
    use super::super::source::source;
    use super::*;

    /// Of one file: whether the table of long files is up to date only the whole tree can tell.
    fn complaint(path: &str, text: &str) -> String {
        of_file(&source(path, text)).join("\n")
    }

    #[test]
    fn a_short_documented_file_with_a_telling_name_is_fine() {
        assert_eq!(complaint("host/core/src/plan.rs", "//! Plans.\n"), "");
    }

    #[test]
    fn long_wide_undocumented_and_badly_named_files_are_told_apart() {
        assert!(
            complaint("a/long.rs", &format!("//! x\n{}", "x\n".repeat(MAX_LINES)))
                .contains("501 lines")
        );
        assert!(
            complaint("a/wide.rs", &format!("//! {}\n", "é".repeat(MAX_WIDTH)))
                .contains("a/wide.rs:1: 104 characters")
        );
        assert!(complaint("a/bare.rs", "use b;\n").contains("does not begin with `//!`"));
        assert!(complaint("a/mod.rs", "//! x\n").contains("beside its directory"));
        assert!(complaint("a/utils/b.rs", "//! x\n").contains("\"utils\" says nothing"));
        assert!(complaint("a/volume_manager.rs", "//! x\n").is_empty());
    }

    #[test]
    fn tests_at_the_end_do_not_count() {
        assert_eq!(
            complaint(
                "a/tested.rs",
                &format!("//! x\n#[cfg(test)]\nmod tests {{\n{}}}\n", "x\n".repeat(MAX_LINES))
            ),
            ""
        );
    }
}
