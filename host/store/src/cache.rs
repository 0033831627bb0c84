//! Compiled code of one engine. Forged code here would be arbitrary native code in the host, and the engine does not check it: so the folder
//! belongs to this user alone, no link is followed, and a digest of our own is compared before anybody maps a file.

use std::fs::{self, DirBuilder, File, Metadata, OpenOptions};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::digest::Digest;
use crate::durable;
use crate::error::StoreError;

/// The compiled code of one engine: same version, same settings, same processor features.
#[derive(Debug, Clone)]
pub struct Cache {
    folder: PathBuf,
}

impl Cache {
    pub(crate) fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// This component's code, open for mapping, if it is there and is what was put there. None: it has to be compiled again.
    ///
    /// # Errors
    /// When the folder or a file in it could have been changed by somebody else, naming it: that is for a person to look at.
    pub fn get(&self, component: &Digest) -> Result<Option<File>, StoreError> {
        if !self.is_private_folder()? {
            return Ok(None);
        }
        let path = self.folder.join(format!("{component}.cwasm"));
        let Some((file, code)) = read_private(&path)? else { return Ok(None) };
        let Some((_, expected)) = read_private(&self.folder.join(format!("{component}.sha256")))? else { return Ok(None) };
        Ok((expected == Digest::of(&code).as_str().as_bytes()).then_some(file))
    }

    /// Keeps the code of a component.
    ///
    /// # Errors
    /// When the folder cannot be written, or is not this user's alone.
    pub fn put(&self, component: &Digest, code: &[u8]) -> Result<(), StoreError> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.folder)
            .map_err(|error| StoreError::io("create the folder", &self.folder, error))?;
        self.is_private_folder()?;
        durable::write(&self.folder, &format!("{component}.cwasm"), code)?;
        durable::write(&self.folder, &format!("{component}.sha256"), Digest::of(code).as_str().as_bytes())
    }

    fn is_private_folder(&self) -> Result<bool, StoreError> {
        match fs::symlink_metadata(&self.folder) {
            Ok(metadata) if metadata.is_dir() => check_private(&self.folder, &metadata).map(|()| true),
            Ok(_) => Err(StoreError::damaged(&self.folder, "it must be a folder")),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(StoreError::io("look at", &self.folder, error)),
        }
    }
}

fn read_private(path: &Path) -> Result<Option<(File, Vec<u8>)>, StoreError> {
    let open = OpenOptions::new().read(true).custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed()).open(path);
    let mut file: File = match open {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(StoreError::io("open", path, error)),
    };
    let metadata = file.metadata().map_err(|error| StoreError::io("look at", path, error))?;
    check_private(path, &metadata)?;
    let mut content = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or(0));
    file.read_to_end(&mut content).map_err(|error| StoreError::io("read", path, error))?;
    Ok(Some((file, content)))
}

fn check_private(path: &Path, metadata: &Metadata) -> Result<(), StoreError> {
    if metadata.uid() == rustix::process::geteuid().as_raw() && metadata.mode() & 0o077 == 0 {
        return Ok(());
    }
    Err(StoreError::damaged(
        path,
        "compiled code must belong to this user and be closed to everybody else; remove the store's `cache` folder, it is made again",
    ))
}
