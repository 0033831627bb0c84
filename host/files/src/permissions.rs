//! Whether anybody but root and this user can change a file.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Group and others may write.
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// Somebody else can change it, so this process does not act on what it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Untrusted {
    /// It belongs to somebody else, who may write it whatever its mode is.
    Owner {
        /// The file or directory.
        path: PathBuf,
        /// Whose it is.
        user: u32,
    },
    /// Its mode lets others write it.
    Mode {
        /// The file or directory.
        path: PathBuf,
    },
}

impl std::fmt::Display for Untrusted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Owner { path, user } => write!(
                f,
                "{0} belongs to user {user}, who could change what runs as root; see what is in \
                 it, then run `chown root {0}`",
                path.display()
            ),
            Self::Mode { path } => write!(
                f,
                "others may write {0}, and so change what runs as root; see what is in it, then \
                 run `chmod go-w {0}`",
                path.display()
            ),
        }
    }
}

impl std::error::Error for Untrusted {}

/// Whether only root and this user can write what has this metadata. `path` is for the message.
///
/// # Errors
/// [`Untrusted`] with the command that corrects it.
pub fn check_metadata(path: &Path, metadata: &Metadata) -> Result<(), Untrusted> {
    check_writers(path, metadata.uid(), metadata.mode())
}

/// The same of what is at this path now. A link is followed: whoever may write the directory that
/// it is in chose it. Missing is fine.
///
/// # Errors
/// [`Untrusted`]. What cannot be looked at is left to whoever opens it.
pub fn check_path(path: &Path) -> Result<(), Untrusted> {
    fs::metadata(path).map_or(Ok(()), |metadata| check_metadata(path, &metadata))
}

/// Every directory from `root` down to the one that holds `path`. Says whether all of them exist.
pub(crate) fn check_directories(root: &Path, path: &Path) -> io::Result<Result<bool, Untrusted>> {
    let mut directories: Vec<&Path> =
        path.ancestors().skip(1).take_while(|directory| directory.starts_with(root)).collect();
    directories.reverse();
    for directory in directories {
        match fs::metadata(directory) {
            Ok(metadata) => {
                if let Err(untrusted) = check_metadata(directory, &metadata) {
                    return Ok(Err(untrusted));
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Ok(false)),
            Err(error) => return Err(error),
        }
    }
    Ok(Ok(true))
}

/// The same of what has this owner and mode.
///
/// # Errors
/// [`Untrusted`] with the command that corrects it.
pub fn check_writers(path: &Path, owner: u32, mode: u32) -> Result<(), Untrusted> {
    let caller = rustix::process::geteuid().as_raw();
    if owner != 0 && owner != caller {
        return Err(Untrusted::Owner { path: path.to_owned(), user: owner });
    }
    if mode & WRITABLE_BY_OTHERS != 0 {
        return Err(Untrusted::Mode { path: path.to_owned() });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_somebody_else_can_change_is_refused_with_the_command_that_mends_it() {
        let path = Path::new("/etc/wharf/wharf.toml");
        let own = rustix::process::geteuid().as_raw();
        for mode in [0o100_600, 0o100_644, 0o100_444, 0o040_755] {
            assert!(check_writers(path, own, mode).is_ok() && check_writers(path, 0, mode).is_ok());
            let refused = check_writers(path, own + 1, mode).unwrap_err().to_string();
            assert!(refused.contains("chown root /etc/wharf/wharf.toml"), "{refused}");
        }
        for mode in [0o100_664, 0o100_602, 0o041_777] {
            let refused = check_writers(path, own, mode).unwrap_err().to_string();
            assert!(refused.contains("chmod go-w /etc/wharf/wharf.toml"), "{refused}");
        }
    }
}
