//! The mount table as examinations read it: what is mounted where, and whether mounts spread.

use std::path::{Path, PathBuf};

/// One line of `mountinfo` (proc(5)).
pub struct Mount {
    pub at: PathBuf,
    pub is_shared: bool,
    pub is_read_only: bool,
    pub kind: String,
}

/// The mounts that a process sees.
pub fn read(mountinfo: &Path) -> Vec<Mount> {
    let text = std::fs::read_to_string(mountinfo).unwrap_or_default();
    text.lines().filter_map(parse).collect()
}

/// The mount that a path lies on: of those above it the last of the longest.
pub fn covering<'a>(mounts: &'a [Mount], path: &Path) -> Option<&'a Mount> {
    mounts
        .iter()
        .filter(|mount| path.starts_with(&mount.at))
        .max_by_key(|mount| mount.at.components().count())
}

fn parse(line: &str) -> Option<Mount> {
    let (before, after) = line.split_once(" - ")?;
    let fields: Vec<&str> = before.split(' ').collect();
    let options = fields.get(5)?;
    Some(Mount {
        at: unescaped(fields.get(4)?).into(),
        is_shared: fields.iter().skip(6).any(|field| field.starts_with("shared:")),
        is_read_only: options.split(',').any(|option| option == "ro"),
        kind: after.split(' ').next()?.to_owned(),
    })
}

/// Spaces and the like are written as three octal digits.
fn unescaped(text: &str) -> String {
    ["\\040 ", "\\011\t", "\\012\n", "\\134\\"].iter().fold(text.to_owned(), |text, pair| {
        let (from, to) = pair.split_at(4);
        text.replace(from, to)
    })
}
