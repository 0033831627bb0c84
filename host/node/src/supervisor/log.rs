//! Log files that stay within a bound: a helper's own, and the supervisor's, where nobody else
//! keeps what it says. Both lie on a tmpfs, so their length is memory of the node.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Opens a log to write to. Each write goes to the end that the file has then, also after it was
/// cut.
///
/// # Errors
/// What the system says.
pub(super) fn open(path: &Path) -> std::io::Result<File> {
    File::options().append(true).create(true).mode(0o600).open(path)
}

/// How long it is; one that is not there has no length.
pub(super) fn length(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |metadata| metadata.len())
}

/// Cuts a log that is longer than `longest` to its last `kept` bytes. Whoever has it open goes on
/// writing at the new end.
pub(super) fn trim(path: &Path, longest: u64, kept: u64) {
    if length(path) > longest {
        cut(path, kept);
    }
}

/// Cuts a log to its last `kept` bytes.
pub(super) fn cut(path: &Path, kept: u64) {
    let cut = || -> std::io::Result<()> {
        let mut file = File::options().read(true).append(true).open(path)?;
        let end = file.seek(SeekFrom::End(0))?;
        let mut last = Vec::new();
        file.seek(SeekFrom::Start(end.saturating_sub(kept)))?;
        Read::by_ref(&mut file).take(kept).read_to_end(&mut last)?;
        file.set_len(0)?;
        file.write_all(&last)
    };
    if let Err(error) = cut() {
        tracing::warn!(%error, log = %path.display(), "a log could not be cut");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_stays_within_its_bound_and_keeps_its_end() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        assert_eq!(length(&path), 0);
        let mut log = open(&path).unwrap();
        log.write_all(&[b'x'; 100]).unwrap();
        trim(&path, 100, 10);
        assert_eq!(length(&path), 100);
        log.write_all(b"last\n").unwrap();
        trim(&path, 100, 10);
        assert_eq!(length(&path), 10);
        log.write_all(b"after\n").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"xxxxxlast\nafter\n");
    }
}
