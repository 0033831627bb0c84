//! What one helper has for itself: a small tmpfs that nobody but root may enter, with its
//! credential files, its log and the directory that it mounts on at first. It is gone with the
//! mount. A helper that is not root is handed the directory open, as no path leads it there.
//!
//! ```text
//! <run>/<name>/            tmpfs, 0700, private propagation
//!     credential -> .credential-N    replaced as a whole, so that a helper that reads several
//!                                    files never sees half of a rotation
//!     log                  what the helper says
//!     mount/               where it mounts; moved away from here once it is ready
//! ```

use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};
use wharf_core::Error;

use super::log;
use super::protocol::Credential;
use crate::mounts::table::MountTable;

/// Keys, tokens and a log need a few pages; the kernel refuses more, also when nobody looks after
/// the log.
const SIZE: &str = "mode=0700,size=1m,nr_inodes=256";
/// Never written to a swap device (Linux 6.4).
const SIZE_WITHOUT_SWAP: &str = "mode=0700,size=1m,nr_inodes=256,noswap";
const CREDENTIAL: &str = "credential";
/// A log that is longer is cut down to its end.
const MAX_LOG_BYTES: u64 = 256 * 1024;
/// As much of a log is kept and shown.
const KEPT_LOG_BYTES: u64 = 64 * 1024;
/// A credential has three or four files.
const MAX_FILES: usize = 16;
/// Certificates are the longest of them.
const MAX_FILE_BYTES: usize = 64 * 1024;
/// Mounts stacked on one mount point; a loop has an end.
const MAX_STACKED: usize = 16;
/// A text this short in a log is not a key, and would be found in every word.
const MIN_SECRET_BYTES: usize = 6;

/// One helper's directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Private {
    directory: PathBuf,
}

impl Private {
    /// Looks at nothing yet.
    pub fn new(run_directory: &Path, name: &str) -> Self {
        Self { directory: run_directory.join(name) }
    }

    /// Where the helper mounts.
    pub fn mountpoint(&self) -> PathBuf {
        self.directory.join("mount")
    }

    /// Where its credential files are.
    pub fn credentials(&self) -> PathBuf {
        self.directory.join(CREDENTIAL)
    }

    fn log_path(&self) -> PathBuf {
        self.directory.join("log")
    }

    /// Makes it, or finds it made.
    ///
    /// # Errors
    /// `Internal` with what the system says.
    pub fn create(&self) -> Result<(), Error> {
        let failed = |error: std::io::Error| {
            Error::internal(format!(
                "cannot make the private directory {}: {error}",
                self.directory.display()
            ))
        };
        let mut private = DirBuilder::new();
        let is_mounted = match private.mode(0o700).create(&self.directory) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                MountTable::read()?.top(&self.directory).is_some()
            }
            made => made.map(|()| false).map_err(failed)?,
        };
        if !is_mounted {
            self.mount().map_err(|error| failed(error.into()))?;
        }
        // Also where a killed process left it shared: what is mounted inside is to appear nowhere
        // else, and can be moved out only from a mount that is not shared.
        rustix::mount::mount_change(&self.directory, MountPropagationFlags::PRIVATE)
            .map_err(|error| failed(error.into()))?;
        match private.mode(0o711).create(self.mountpoint()) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(failed(error)),
            _ => Ok(()),
        }
    }

    fn mount(&self) -> Result<(), Errno> {
        let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
        let mount = |options: &str| {
            let options = std::ffi::CString::new(options).map_err(|_| Errno::INVAL)?;
            rustix::mount::mount("wharf", &self.directory, "tmpfs", flags, options.as_c_str())
        };
        mount(SIZE_WITHOUT_SWAP).or_else(|_| mount(SIZE))
    }

    /// Replaces the credential's files by these, all at once.
    ///
    /// # Errors
    /// `InvalidArgument` for a file name that is none, `Internal` when they cannot be written.
    pub fn put(&self, credential: &Credential, owner: Option<u32>) -> Result<(), Error> {
        check(credential)?;
        match self.write(credential, owner) {
            // A helper that says much may have filled it.
            Err(error) if error.kind() == ErrorKind::StorageFull => {
                log::cut(&self.log_path(), 0);
                self.write(credential, owner)
            }
            result => result,
        }
        .map_err(|error| {
            Error::internal(format!(
                "cannot write the credential files in {}: {error}",
                self.directory.display()
            ))
        })
    }

    /// Whether its files are these already.
    pub fn holds(&self, credential: &Credential) -> bool {
        let count = fs::read_dir(self.credentials()).map_or(0, Iterator::count);
        count == credential.files.len()
            && credential.files.iter().all(|file| {
                fs::read(self.credentials().join(&file.name))
                    .is_ok_and(|content| content == file.content)
            })
    }

    fn write(&self, credential: &Credential, owner: Option<u32>) -> std::io::Result<()> {
        let link = self.credentials();
        let old = fs::read_link(&link).ok().map(|old| self.directory.join(old));
        let name = if old.as_ref().is_some_and(|old| old.ends_with(".credential-1")) {
            ".credential-2"
        } else {
            ".credential-1"
        };
        let new = self.directory.join(name);
        // What a killed process left half-written.
        remove_all(&new)?;
        DirBuilder::new().mode(0o700).create(&new)?;
        for file in &credential.files {
            let path = new.join(&file.name);
            let mut open = File::options().write(true).create_new(true).mode(0o600).open(&path)?;
            open.write_all(&file.content)?;
            if owner.is_some() {
                chown(&path, owner, owner)?;
            }
        }
        if owner.is_some() {
            chown(&new, owner, owner)?;
        }
        let next = self.directory.join(".credential-next");
        remove_all(&next)?;
        symlink(name, &next)?;
        fs::rename(&next, &link)?;
        old.map_or(Ok(()), |old| remove_all(&old))
    }

    /// For a helper that is this user and not root: the directory, in which it may look up its
    /// credential by [`Private::credentials_in`], and see nothing else. The way to the directory
    /// stays closed to it, and to everybody else.
    ///
    /// # Errors
    /// `Internal` with what the system says.
    pub fn open_for(&self, user: u32) -> Result<OwnedFd, Error> {
        let open = || -> std::io::Result<OwnedFd> {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let directory = rustix::fs::open(&self.directory, flags, Mode::empty())?;
            chown(&self.directory, None, Some(user))?;
            fs::set_permissions(&self.directory, Permissions::from_mode(0o710))?;
            Ok(directory)
        };
        open().map_err(|error| {
            Error::internal(format!("cannot hand over {}: {error}", self.directory.display()))
        })
    }

    /// Where the credential files are for whoever has this open.
    pub fn credentials_in(directory: BorrowedFd<'_>) -> PathBuf {
        PathBuf::from(format!("/dev/fd/{}/{CREDENTIAL}", directory.as_raw_fd()))
    }

    /// The log, for the helper to write to.
    ///
    /// # Errors
    /// `Internal` when it cannot be opened.
    pub fn open_log(&self) -> Result<File, Error> {
        log::open(&self.log_path()).map_err(|error| {
            Error::internal(format!("cannot open {}: {error}", self.log_path().display()))
        })
    }

    /// How long the log is now.
    pub fn log_length(&self) -> u64 {
        log::length(&self.log_path())
    }

    /// The log from here on, as far as it is kept: printable, and without what the credential files
    /// hold.
    pub fn log_from(&self, start: u64) -> String {
        let mut bytes = Vec::new();
        if let Ok(mut file) = File::open(self.log_path()) {
            let end = file.seek(SeekFrom::End(0)).unwrap_or(0);
            let start = if start > end { 0 } else { start };
            let start = start.max(end.saturating_sub(KEPT_LOG_BYTES));
            let _ = file.seek(SeekFrom::Start(start));
            let _ = file.take(KEPT_LOG_BYTES).read_to_end(&mut bytes);
        }
        readable(&String::from_utf8_lossy(&bytes), &self.secrets())
    }

    /// Keeps the log within its bound. A helper goes on writing at the new end.
    pub fn trim_log(&self) {
        log::trim(&self.log_path(), MAX_LOG_BYTES, KEPT_LOG_BYTES);
    }

    /// Everything in the credential files that a log must not show.
    fn secrets(&self) -> Vec<String> {
        let files = fs::read_dir(self.credentials()).into_iter().flatten().flatten();
        let contents = files.filter_map(|entry| fs::read(entry.path()).ok());
        let mut secrets: Vec<String> =
            contents.flat_map(|content| parts(&String::from_utf8_lossy(&content))).collect();
        // A secret that holds another one is replaced as a whole.
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        secrets.dedup();
        secrets
    }

    /// Takes the helper's mount away from here; other mount points keep theirs.
    pub fn detach_mount(&self) -> Result<(), Error> {
        detach(&self.mountpoint())
    }

    /// Takes all of it away.
    ///
    /// # Errors
    /// `Internal` with what is left and why.
    pub fn remove(&self) -> Result<(), Error> {
        // Another mount namespace may have a copy of this mount, and would keep the keys.
        for name in ["credential", ".credential-next", ".credential-1", ".credential-2"] {
            let path = self.directory.join(name);
            remove_all(&path).map_err(|error| {
                Error::internal(format!("cannot remove {}: {error}", path.display()))
            })?;
        }
        self.detach_mount()?;
        detach(&self.directory)?;
        match fs::remove_dir(&self.directory) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(Error::internal(format!("cannot remove {}: {error}", self.directory.display())))
            }
            _ => Ok(()),
        }
    }
}

/// Takes every mount away from a mount point, whoever still uses it.
fn detach(path: &Path) -> Result<(), Error> {
    for _ in 0..MAX_STACKED {
        if MountTable::read()?.top(path).is_none() {
            return Ok(());
        }
        match rustix::mount::unmount(path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
            Ok(()) | Err(Errno::INVAL | Errno::NOENT) => {}
            Err(error) => {
                return Err(Error::internal(format!("cannot unmount {}: {error}", path.display())));
            }
        }
    }
    Err(Error::internal(format!("{} is still mounted", path.display())))
}

fn remove_all(path: &Path) -> std::io::Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

fn check(credential: &Credential) -> Result<(), Error> {
    if credential.files.len() > MAX_FILES {
        return Err(Error::invalid(format!(
            "a credential has {} files, at most {MAX_FILES} are written",
            credential.files.len()
        )));
    }
    for file in &credential.files {
        let is_name = Path::new(&file.name).file_name().is_some_and(|name| name == &*file.name);
        if !is_name || file.name.starts_with('.') || file.name.chars().any(char::is_control) {
            return Err(Error::invalid(format!(
                "{:?} is not the name of a credential's file",
                file.name
            )));
        }
        if file.content.len() > MAX_FILE_BYTES {
            return Err(Error::invalid(format!(
                "the credential's file {} is larger than {MAX_FILE_BYTES} bytes",
                file.name
            )));
        }
    }
    Ok(())
}

/// The pieces of a credential file that may be secret: what stands between blanks, colons, commas,
/// quotes and equals signs, and each line as a whole.
fn parts(content: &str) -> Vec<String> {
    let separators = |character: char| {
        character.is_whitespace() || matches!(character, ':' | '=' | ',' | '"' | '\'')
    };
    content
        .split(separators)
        .chain(content.lines().map(str::trim))
        .filter(|part| part.len() >= MIN_SECRET_BYTES)
        .map(str::to_owned)
        .collect()
}

fn readable(text: &str, secrets: &[String]) -> String {
    let text = secrets.iter().fold(text.to_owned(), |text, secret| text.replace(secret, "***"));
    text.chars()
        .map(|character| if character.is_control() && character != '\n' { ' ' } else { character })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::protocol::CredentialFile;
    use super::*;

    fn credential(name: &str, content: &str) -> Credential {
        let file = CredentialFile { name: name.into(), content: content.into() };
        Credential { form: "f".into(), files: vec![file], renew_at_ms: None }
    }

    fn plain() -> (tempfile::TempDir, Private) {
        let run = tempfile::tempdir().unwrap();
        fs::create_dir(run.path().join("a")).unwrap();
        let private = Private::new(run.path(), "a");
        (run, private)
    }

    #[test]
    fn credential_files_are_replaced_as_a_whole_and_readable_by_their_owner_only() {
        let (_run, private) = plain();
        for (name, content) in [("one", "first"), ("two", "second"), ("two", "third")] {
            private.put(&credential(name, content), None).unwrap();
            let names: Vec<_> = fs::read_dir(private.credentials())
                .unwrap()
                .map(|entry| entry.unwrap().file_name())
                .collect();
            assert_eq!(names, [name]);
            assert!(private.holds(&credential(name, content)));
            assert!(!private.holds(&credential(name, "other")));
            let path = private.credentials().join(name);
            assert_eq!(fs::read_to_string(&path).unwrap(), content);
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
            let directory = fs::metadata(private.credentials()).unwrap().permissions().mode();
            assert_eq!(directory & 0o777, 0o700);
        }
        assert_eq!(fs::read_dir(&private.directory).unwrap().count(), 2);
    }

    #[test]
    fn what_a_killed_writer_left_is_in_nobodys_way() {
        let (_run, private) = plain();
        fs::create_dir(private.directory.join(".credential-1")).unwrap();
        fs::write(private.directory.join(".credential-1/x"), "half").unwrap();
        symlink("nowhere", private.directory.join(".credential-next")).unwrap();
        private.put(&credential("p", "whole"), None).unwrap();
        assert_eq!(fs::read_to_string(private.credentials().join("p")).unwrap(), "whole");
        assert!(!private.credentials().join("x").exists());
    }

    #[test]
    fn a_credential_file_is_written_nowhere_else() {
        let (_run, private) = plain();
        for name in ["", ".", "..", "../x", "/etc/x", "a/b", ".hidden", "a\nb", "a/"] {
            let refused = private.put(&credential(name, "x"), None).unwrap_err();
            assert!(refused.message.contains("not the name"), "{name:?}: {refused}");
        }
    }

    #[test]
    fn a_log_shows_neither_keys_nor_control_characters() {
        let (_run, private) = plain();
        private.put(&credential("p", "bucket:KEYID123:c4n4ry/+secret=\n"), None).unwrap();
        let mut log = private.open_log().unwrap();
        log.write_all(b"key KEYID123, c4n4ry/+secret \x1b[31m\nnext\0\n").unwrap();
        let shown = private.log_from(0);
        assert_eq!(shown, "key ***, ***  [31m\nnext \n");
        assert_eq!(private.log_from(private.log_length()), "");
    }
}
