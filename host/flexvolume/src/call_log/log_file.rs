//! A log that many short processes append to, each line in one write. Bounded at every write, for
//! its owner's eyes only, never behind a link, and in no directory that others can write to.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

/// Two files of this size are kept for each driver: hours of calls on a busy node, and nothing that
/// fills a disk.
const MAX_BYTES: u64 = 2 << 20;
/// What is in a log names volumes, nodes and paths.
const FILE_MODE: u32 = 0o600;
const DIRECTORY_MODE: u32 = 0o750;

/// The file that lines go to now.
pub(super) struct LogFile {
    directory: PathBuf,
    path: PathBuf,
    file: File,
}

impl LogFile {
    /// `<name>.log` in the directory, which is made if it is missing. `None` when there cannot be a
    /// log, when what is there is not one, or when others could put something in its place:
    /// `wharf doctor` says which.
    pub(super) fn open(directory: &Path, name: &str) -> Option<Self> {
        DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(directory).ok()?;
        wharf_files::check_path(directory).ok()?;
        let path = directory.join(format!("{name}.log"));
        let file = open(&path).ok()?;
        Some(Self { directory: directory.to_owned(), path, file })
    }

    /// Moves a full file aside, unless another process does or did. Its lock is not waited for: a
    /// line may go into a file that is a little too large, and is lost in one that is much too
    /// large.
    fn make_room(&mut self, bytes: usize) -> io::Result<()> {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        if self.file.metadata()?.len().saturating_add(bytes) <= MAX_BYTES {
            return Ok(());
        }
        let lock = File::open(&self.directory)?;
        if lock.try_lock().is_ok() {
            if self.is_current()? {
                fs::rename(&self.path, self.path.with_extension("log.1"))?;
            }
            self.file = open(&self.path)?;
        }
        match self.file.metadata()?.len().saturating_add(bytes) <= 2 * MAX_BYTES {
            true => Ok(()),
            false => Err(io::ErrorKind::FileTooLarge.into()),
        }
    }

    /// Whether the file still has its name, and is full.
    fn is_current(&self) -> io::Result<bool> {
        let (own, found) = (self.file.metadata()?, fs::symlink_metadata(&self.path));
        Ok(found.is_ok_and(|found| (found.dev(), found.ino()) == (own.dev(), own.ino())))
    }
}

impl Write for LogFile {
    /// The subscriber writes each line as one piece.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        // A failure is said to the subscriber, which would print it.
        let _ = self.make_room(line.len()).and_then(|()| self.file.write_all(line));
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A plain file of ours with one name: no link, no pipe that nobody reads, nobody else's.
fn open(path: &Path) -> io::Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = OpenOptions::new()
        .create(true)
        .append(true)
        .mode(FILE_MODE)
        .custom_flags(i32::try_from(flags.bits()).unwrap_or_default())
        .open(path)?;
    let found = file.metadata()?;
    let is_ours = found.uid() == rustix::process::geteuid().as_raw() && found.nlink() == 1;
    if !found.is_file() || !is_ours {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    if found.mode() & 0o777 != FILE_MODE {
        file.set_permissions(Permissions::from_mode(FILE_MODE))?;
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn log(directory: &Path) -> Option<LogFile> {
        LogFile::open(directory, "flexvolume_disk")
    }

    fn size(path: &Path) -> u64 {
        fs::metadata(path).unwrap().len()
    }

    #[test]
    fn a_log_never_outgrows_its_bound_however_much_one_call_or_many_write() {
        let directory = tempfile::tempdir().unwrap();
        let home = directory.path().join("log");
        let mut processes = [log(&home).unwrap(), log(&home).unwrap()];
        let line = [b'x'; 1000];
        let (now, before) = (home.join("flexvolume_disk.log"), home.join("flexvolume_disk.log.1"));
        for round in 0..7000 {
            processes[round % 2].write_all(&line).unwrap();
            assert!(size(&now) <= MAX_BYTES);
        }
        // The other process goes on in the file that has the name.
        assert!(size(&before) > MAX_BYTES - 2000 && size(&before) <= MAX_BYTES);
        assert_eq!(fs::read_dir(&home).unwrap().count(), 2);
    }

    #[test]
    fn a_full_file_whose_lock_is_taken_takes_a_little_more_and_then_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let mut process = log(directory.path()).unwrap();
        let lock = File::open(directory.path()).unwrap();
        lock.lock().unwrap();
        let path = directory.path().join("flexvolume_disk.log");
        for _ in 0..5000 {
            process.write_all(&[b'x'; 1000]).unwrap();
        }
        assert!(size(&path) > MAX_BYTES && size(&path) <= 2 * MAX_BYTES);
    }

    #[test]
    fn only_its_owner_reads_a_log_also_one_that_was_open_to_all() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("flexvolume_disk.log");
        fs::write(&path, "old\n").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        log(directory.path()).unwrap().write_all(b"new\n").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::read_to_string(&path).unwrap(), "old\nnew\n");
    }

    #[test]
    fn what_is_no_plain_file_is_neither_followed_nor_written() {
        let directory = tempfile::tempdir().unwrap();
        let (path, other) =
            (directory.path().join("flexvolume_disk.log"), directory.path().join("other"));
        fs::write(&other, "precious").unwrap();
        symlink(&other, &path).unwrap();
        assert!(log(directory.path()).is_none());
        fs::remove_file(&path).unwrap();
        fs::hard_link(&other, &path).unwrap();
        assert!(log(directory.path()).is_none());
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(log(directory.path()).is_none());
        assert_eq!(fs::read_to_string(&other).unwrap(), "precious");
    }

    #[test]
    fn a_directory_that_others_can_write_to_has_no_log() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("flexvolume_disk.log");
        for (mode, is_log) in [(0o777, false), (0o770, false), (0o1777, false), (0o755, true)] {
            fs::set_permissions(directory.path(), Permissions::from_mode(mode)).unwrap();
            assert_eq!(
                (log(directory.path()).is_some(), path.exists()),
                (is_log, is_log),
                "{mode:o}"
            );
        }
    }

    #[test]
    fn a_log_that_cannot_be_opened_is_no_log() {
        assert!(log(Path::new("/proc/none")).is_none());
    }
}
