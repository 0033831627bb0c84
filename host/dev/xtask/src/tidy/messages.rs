//! The page of messages names messages that there are: each piece of one stands in a string of the
//! source.

use std::fs;
use std::path::Path;

use anyhow::Result;

use super::source::Source;

const PAGE: &str = "examples/kubernetes/troubleshooting.md";

/// Who else's messages are on the page.
const OF_OTHERS: &str = "(kubelet's)";

/// Messages on the page that nothing says.
pub fn complaints(root: &Path, sources: &[Source]) -> Result<Vec<String>> {
    let page = root.join(PAGE);
    if !page.is_file() {
        return Ok(Vec::new());
    }
    let said: Vec<String> = sources
        .iter()
        .filter(|source| !source.path.starts_with("host/dev/"))
        .map(|source| {
            let lines: Vec<&str> = source.production().map(|(_, line)| line).collect();
            joined(&lines.join("\n"))
        })
        .collect();
    let mut complaints = Vec::new();
    for (number, line) in fs::read_to_string(page)?.lines().enumerate() {
        let Some(message) = message_of(line) else { continue };
        for piece in pieces(message) {
            if !said.iter().any(|text| text.contains(piece)) {
                complaints.push(format!("{PAGE}:{}: nothing says {piece:?}", number + 1));
            }
        }
    }
    Ok(complaints)
}

/// The message in the first cell of a row.
fn message_of(line: &str) -> Option<&str> {
    let cell = line.strip_prefix("| `")?;
    let (message, rest) = cell.split_once('`')?;
    let others = rest.split('|').next().is_some_and(|rest| rest.contains(OF_OTHERS));
    (!others).then_some(message)
}

/// What stands between the names in it; a word alone is found everywhere.
fn pieces(message: &str) -> impl Iterator<Item = &str> {
    message
        .split('…')
        .map(|piece| piece.trim().trim_matches([',', ':', '"']).trim())
        .filter(|piece| piece.contains(' '))
}

/// The text with literals that go on in the next line in one.
fn joined(text: &str) -> String {
    let mut whole = String::with_capacity(text.len());
    let mut parts = text.split("\\\n");
    whole.push_str(parts.next().unwrap_or_default());
    for part in parts {
        whole.push_str(part.trim_start());
    }
    whole
}

#[cfg(test)]
mod tests {
    use super::super::source::source;
    use super::*;

    #[test]
    fn a_message_that_goes_on_in_the_next_line_is_found_and_an_invented_one_is_told() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("examples/kubernetes")).unwrap();
        let page = "| message | meaning |\n|---|---|\n| `the disk … is gone, or was never there` | x \
                    |\n| `this one is kubelet's own` (kubelet's) | x |\n| `nobody says this` | x |\n";
        fs::write(root.path().join(PAGE), page).unwrap();
        let text = "//! x\nfn f() { g(\"the disk {id} is gone, \\\n     or was never there\") }\n";
        let sources = [
            source("host/core/src/disk.rs", text),
            source("host/dev/xtask/src/x.rs", "//! \"nobody says this\"\n"),
        ];
        assert_eq!(
            complaints(root.path(), &sources).unwrap(),
            [format!("{PAGE}:5: nothing says \"nobody says this\"")]
        );
    }
}
