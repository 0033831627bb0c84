//! Compiled code of one engine. Forged code here would be arbitrary native code in the host, and
//! the engine does not check it: so the folder belongs to this user alone, no link is followed, and
//! a digest of our own is compared before anybody maps a file.

use std::collections::HashSet;
use std::fs::{self, DirBuilder, File, Metadata, OpenOptions};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::digest::Digest;
use crate::durable::{self, LockGuard};
use crate::error::StoreError;

/// The lock's name, and what folders begin with that a compilation works in.
const LOCK: &str = "lock";
const WORKSPACE: &str = "compiling-";

/// The compiled code of one engine: same version, same settings, same processor features.
#[derive(Debug, Clone)]
pub struct Cache {
    folder: PathBuf,
}

impl Cache {
    pub(crate) fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// This component's code, open for mapping, if it is there and is what was put there. None: it
    /// has to be compiled again.
    ///
    /// # Errors
    /// When the folder or a file in it could have been changed by somebody else, naming it: that is
    /// for a person to look at.
    pub fn get(&self, component: &Digest) -> Result<Option<File>, StoreError> {
        if !self.is_private_folder()? {
            return Ok(None);
        }
        let path = self.folder.join(format!("{component}.cwasm"));
        let Some((file, code)) = read_private(&path)? else { return Ok(None) };
        let Some((_, expected)) = read_private(&self.folder.join(format!("{component}.sha256")))?
        else {
            return Ok(None);
        };
        Ok((expected == Digest::of(&code).as_str().as_bytes()).then_some(file))
    }

    /// The right to compile for this engine. Whoever waits for it looks again with [`Cache::get`]
    /// afterwards: the one before may have compiled the same.
    ///
    /// # Errors
    /// When the folder cannot be written, or is not this user's alone.
    pub fn lock(&self) -> Result<CacheGuard<'_>, StoreError> {
        durable::create_folder(&self.folder)?;
        self.is_private_folder()?;
        let lock = LockGuard::take(&self.folder.join(LOCK))?;
        Ok(CacheGuard { cache: self, _lock: lock })
    }

    /// Removes the code of every component but these. What is mapped stays mapped.
    pub(crate) fn keep_only(&self, components: &HashSet<&str>) -> Result<(), StoreError> {
        for name in durable::names(&self.folder)? {
            if let Some((component, "cwasm" | "sha256")) = name.split_once('.')
                && !components.contains(component)
            {
                durable::remove(&self.folder.join(&name))?;
            }
        }
        Ok(())
    }

    fn is_private_folder(&self) -> Result<bool, StoreError> {
        match fs::symlink_metadata(&self.folder) {
            Ok(metadata) if metadata.is_dir() => {
                check_private(&self.folder, &metadata).map(|()| true)
            }
            Ok(_) => Err(StoreError::damaged(&self.folder, "it must be a folder")),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(StoreError::io("look at", &self.folder, error)),
        }
    }
}

/// The right to change a cache: one holder among all threads and processes. It ends with the
/// process, however that ends.
#[derive(Debug)]
pub struct CacheGuard<'a> {
    cache: &'a Cache,
    _lock: LockGuard,
}

impl CacheGuard<'_> {
    /// Keeps the code of a component.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn put(&self, component: &Digest, code: &[u8]) -> Result<(), StoreError> {
        let folder = &self.cache.folder;
        durable::write(folder, &format!("{component}.cwasm"), code)?;
        durable::write(folder, &format!("{component}.sha256"), Digest::of(code).as_str().as_bytes())
    }

    /// A private, empty folder to compile in, of a name that nobody has used. Those that killed
    /// compilations left are removed: nobody but the holder of this right works in one.
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub fn workspace(&self) -> Result<Workspace, StoreError> {
        let cache = &self.cache.folder;
        for name in durable::names(cache)?.iter().filter(|name| name.starts_with(WORKSPACE)) {
            // One that cannot be removed is in nobody's way.
            let _ = fs::remove_dir_all(cache.join(name));
        }
        let mut random = [0; 8];
        rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())
            .map_err(|error| StoreError::io("find a name for a folder in", cache, error.into()))?;
        let folder = cache.join(format!("{WORKSPACE}{:016x}", u64::from_ne_bytes(random)));
        DirBuilder::new()
            .mode(0o700)
            .create(&folder)
            .map_err(|error| StoreError::io("create the folder", &folder, error))?;
        Ok(Workspace { folder })
    }
}

/// A folder for one compilation; it goes with this value.
#[derive(Debug)]
pub struct Workspace {
    folder: PathBuf,
}

impl Workspace {
    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

impl Drop for Workspace {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn read_private(path: &Path) -> Result<Option<(File, Vec<u8>)>, StoreError> {
    let open = OpenOptions::new()
        .read(true)
        .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed())
        .open(path);
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
        "compiled code must belong to this user and be closed to everybody else; remove the \
         store's `cache` folder, it is made again",
    ))
}
