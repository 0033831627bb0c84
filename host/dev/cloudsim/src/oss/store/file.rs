//! Files of the store: bytes with a record behind them, and drafts of such files.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;
use serde::de::DeserializeOwned;

/// The end of a file of the store, after the record and its length in eight bytes. The bytes of an
/// object begin where the file begins, so that a range of them is a range of the file.
const MARK: &[u8; 8] = b"WHARFOSS";

/// Most bytes of a record: a key, and headers that the HTTP server bounds to less.
const MOST_RECORD: u64 = 1 << 20;

/// A file that is being written; removed unless it is put in place.
#[derive(Debug)]
pub(crate) struct Draft {
    path: PathBuf,
    file: File,
}

impl Draft {
    pub(crate) fn create(directory: &Path) -> io::Result<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = directory.join(format!("{}-{number}", std::process::id()));
        let file = File::options().read(true).write(true).create_new(true).open(&path)?;
        Ok(Self { path, file })
    }

    /// What was written, from its beginning.
    pub(crate) fn reader(&mut self) -> io::Result<&mut File> {
        self.file.seek(SeekFrom::Start(0))?;
        Ok(&mut self.file)
    }

    /// Puts it in place, with its record.
    pub(crate) fn become_file(mut self, path: &Path, record: &impl Serialize) -> io::Result<()> {
        let text = serde_json::to_vec(record)?;
        self.file.seek(SeekFrom::End(0))?;
        self.file.write_all(&text)?;
        self.file.write_all(&(text.len() as u64).to_le_bytes())?;
        self.file.write_all(MARK)?;
        fs::rename(&self.path, path)
    }
}

impl Write for Draft {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // Nothing is there any more when it was put in place.
        let _ = fs::remove_file(&self.path);
    }
}

/// The record behind a file's bytes.
pub(crate) fn read_record<T: DeserializeOwned>(path: &Path) -> io::Result<T> {
    let damaged = || io::Error::new(io::ErrorKind::InvalidData, "not a file of the store");
    let mut file = File::open(path)?;
    let size = file.metadata()?.len();
    let mut tail = [0; 16];
    file.seek(SeekFrom::Start(size.checked_sub(16).ok_or_else(damaged)?))?;
    file.read_exact(&mut tail)?;
    let (length, mark) = tail.split_first_chunk::<8>().ok_or_else(damaged)?;
    let length = u64::from_le_bytes(*length);
    if mark != MARK || length > MOST_RECORD {
        return Err(damaged());
    }
    file.seek(SeekFrom::Start(size.checked_sub(16 + length).ok_or_else(damaged)?))?;
    let mut text = Vec::new();
    file.take(length).read_to_end(&mut text)?;
    Ok(serde_json::from_slice(&text)?)
}

/// A small file; `None` when it is not there.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
    match fs::read(path) {
        Ok(text) => Ok(Some(serde_json::from_slice(&text)?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Replaces a small file.
pub(crate) fn write_json(path: &Path, record: &impl Serialize) -> io::Result<()> {
    let new = path.with_extension("new");
    fs::write(&new, serde_json::to_vec(record)?)?;
    fs::rename(new, path)
}

/// What is in a directory.
pub(crate) fn entries(directory: &Path) -> io::Result<Vec<PathBuf>> {
    fs::read_dir(directory)?.map(|entry| Ok(entry?.path())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_draft_becomes_a_file_with_its_record_or_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let mut draft = Draft::create(directory.path()).unwrap();
        draft.write_all(b"bytes").unwrap();
        let path = directory.path().join("object");
        draft.become_file(&path, &"record").unwrap();
        assert_eq!(read_record::<String>(&path).unwrap(), "record");
        assert_eq!(&fs::read(&path).unwrap()[..5], b"bytes");
        drop(Draft::create(directory.path()).unwrap());
        assert_eq!(entries(directory.path()).unwrap(), [path]);
    }

    #[test]
    fn a_file_that_is_cut_or_not_the_store_s_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("object");
        for content in [&b""[..], b"short", b"\xff\xff\xff\xff\xff\xff\xff\xffWHARFOSS"] {
            fs::write(&path, content).unwrap();
            assert!(read_record::<String>(&path).is_err(), "{content:?}");
        }
    }
}
