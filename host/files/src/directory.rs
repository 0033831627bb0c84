//! A directory that this process alone writes, and replacing files in it.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::error::FileError;
use crate::permissions::{self, check_metadata};

/// Read and written by this user alone.
const PRIVATE: u32 = 0o600;

/// A directory whose files this process acts on as root. Nothing in it is read or replaced while
/// somebody else could write there; what is to be removed can always be removed.
#[derive(Debug, Clone)]
pub struct OwnDirectory {
    root: PathBuf,
}

impl OwnDirectory {
    /// Looks at nothing yet.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The content of a file below this directory; `None` when it is missing.
    ///
    /// # Errors
    /// [`FileError::Untrusted`] when somebody else can write the file or a directory above it;
    /// [`FileError::TooLarge`] above so many bytes.
    pub fn read(&self, path: &Path, most: u64) -> Result<Option<Vec<u8>>, FileError> {
        if !permissions::check_directories(&self.root, path)?? {
            return Ok(None);
        }
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        check_metadata(path, &file.metadata()?)?;
        let mut content = Vec::new();
        file.take(most.saturating_add(1)).read_to_end(&mut content)?;
        match u64::try_from(content.len()) {
            Ok(length) if length <= most => Ok(Some(content)),
            _ => Err(FileError::TooLarge { most }),
        }
    }

    /// Replaces a file below this directory, or makes it, with the directories that it needs.
    ///
    /// # Errors
    /// [`FileError::Untrusted`] when somebody else can write where it is to lie. Nothing was
    /// changed then.
    pub fn replace(&self, path: &Path, content: &[u8]) -> Result<(), FileError> {
        self.make_way(path)?;
        Ok(replace(path, content)?)
    }

    /// The same for a file that says nothing to the machine's next life. It does not wait for the
    /// disk: after a crash of the machine the file may be an old one, or empty.
    ///
    /// # Errors
    /// As [`OwnDirectory::replace`].
    pub fn replace_for_this_boot(&self, path: &Path, content: &[u8]) -> Result<(), FileError> {
        self.make_way(path)?;
        write_beside(path, content, PRIVATE)?;
        Ok(fs::rename(beside(path), path)?)
    }

    fn make_way(&self, path: &Path) -> Result<(), FileError> {
        permissions::check_directories(&self.root, path)??;
        Ok(make_private_directory(path.parent().unwrap_or(&self.root))?)
    }
}

/// Replaces a file by one with this content that only this user may read: written beside it,
/// synchronised, renamed, and the directory synchronised.
///
/// # Errors
/// What the system says. The file is as it was then, or as it shall be.
pub fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    replace_with_mode(path, content, PRIVATE)
}

/// The same with this mode.
///
/// # Errors
/// As [`replace`].
pub fn replace_with_mode(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    write_beside(path, content, mode)?.sync_all()?;
    fs::rename(beside(path), path)?;
    sync(path.parent().unwrap_or(Path::new("/")))
}

fn write_beside(path: &Path, content: &[u8], mode: u32) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(mode);
    let mut file = options.open(beside(path))?;
    file.write_all(content)?;
    Ok(file)
}

/// Where the next content of a file is written. Always the same name, so that what a killed process
/// left is overwritten by the next; the leading dot hides it from whoever lists the directory.
pub fn beside(path: &Path) -> PathBuf {
    let mut name = OsString::from(".");
    // Without the extension: the longest name that a file may have leaves no room for more.
    name.push(path.file_stem().unwrap_or_default());
    name.push(".new");
    path.with_file_name(name)
}

/// Makes what a directory says survive a crash.
///
/// # Errors
/// What the system says.
pub fn sync(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

/// Makes a directory that only this user may enter, and those above it. One that is there stays as
/// it is. What is synchronised in a new directory is lost in a crash with a directory that nothing
/// leads to, so the one above is synchronised too.
///
/// # Errors
/// What the system says.
pub fn make_private_directory(directory: &Path) -> io::Result<()> {
    let above = directory.parent().filter(|above| !above.as_os_str().is_empty());
    let above = above.unwrap_or(Path::new("."));
    let mut made = make_one(directory)?;
    if made == Made::NothingAbove {
        make_private_directory(above)?;
        made = make_one(directory)?;
    }
    match made {
        Made::New => sync(above),
        Made::Before => Ok(()),
        Made::NothingAbove => Err(ErrorKind::NotFound.into()),
    }
}

#[derive(PartialEq, Eq)]
enum Made {
    New,
    Before,
    NothingAbove,
}

fn make_one(directory: &Path) -> io::Result<Made> {
    match DirBuilder::new().mode(0o700).create(directory) {
        Ok(()) => Ok(Made::New),
        Err(_) if directory.is_dir() => Ok(Made::Before),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Made::NothingAbove),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn own() -> (tempfile::TempDir, OwnDirectory) {
        let home = tempfile::tempdir().unwrap();
        let own = OwnDirectory::new(home.path().join("own"));
        (home, own)
    }

    fn mode_of(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_file_comes_back_as_it_was_written_and_only_its_owner_reads_it() {
        let (_home, own) = own();
        let path = own.root().join("a/b/c.json");
        assert_eq!(own.read(&path, 10).unwrap(), None);
        own.replace(&path, b"old").unwrap();
        own.replace(&path, b"new").unwrap();
        assert_eq!(own.read(&path, 3).unwrap().unwrap(), b"new");
        assert!(matches!(own.read(&path, 2), Err(FileError::TooLarge { most: 2 })));
        assert_eq!((mode_of(&path), mode_of(own.root())), (0o600, 0o700));
    }

    #[test]
    fn what_others_could_have_written_is_neither_read_nor_replaced() {
        let (_home, own) = own();
        let path = own.root().join("a/c.json");
        own.replace(&path, b"mine").unwrap();
        for (spoilt, mode) in
            [(own.root().to_owned(), 0o777), (own.root().join("a"), 0o770), (path.clone(), 0o606)]
        {
            let before = mode_of(&spoilt);
            fs::set_permissions(&spoilt, Permissions::from_mode(mode)).unwrap();
            let refused = own.read(&path, 10).unwrap_err().to_string();
            assert!(refused.contains(&format!("chmod go-w {}", spoilt.display())), "{refused}");
            if spoilt != path {
                assert!(matches!(own.replace(&path, b"x"), Err(FileError::Untrusted(_))));
            }
            fs::set_permissions(&spoilt, Permissions::from_mode(before)).unwrap();
            assert_eq!(own.read(&path, 10).unwrap().unwrap(), b"mine");
        }
    }

    #[test]
    fn what_a_killed_writer_left_is_overwritten() {
        let (_home, own) = own();
        let path = own.root().join("c.json");
        own.replace(&path, b"old").unwrap();
        fs::write(own.root().join(".c.new"), "half of something long").unwrap();
        own.replace(&path, b"new").unwrap();
        assert_eq!(own.read(&path, 10).unwrap().unwrap(), b"new");
        assert_eq!(fs::read_dir(own.root()).unwrap().count(), 1);
    }
}
