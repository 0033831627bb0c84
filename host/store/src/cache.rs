//! Compiled code of one engine. Forged code here would be arbitrary native code in the host, and
//! the engine does not check it: so the directory belongs to this user alone, no link is followed,
//! and a digest of our own is compared before anybody maps a file.

use std::collections::HashSet;
use std::fs::{self, DirBuilder, File, Metadata, OpenOptions};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use wharf_core::manifest::Manifest;

use crate::digest::Digest;
use crate::durable::{self, LockGuard};
use crate::error::StoreError;

/// The lock's name, and what directories begin with that a compilation works in.
const LOCK: &str = "lock";
const WORKSPACE: &str = "compiling-";
/// What files of code, and of what is known of it, end with.
const CODE: &str = "cwasm";
const ORIGIN: &str = "json";

/// The compiled code of one engine: same version, same settings, same processor features.
#[derive(Debug, Clone)]
pub struct Cache {
    directory: PathBuf,
}

/// A component's code, ready to be mapped, and what the same component's manifest says.
#[derive(Debug)]
pub struct Compiled {
    /// Open, whatever its path means by now.
    pub code: File,
    /// Read from the bytes that were compiled.
    pub manifest: Manifest,
}

/// What is known of a file of code.
#[derive(Serialize, Deserialize)]
struct Origin {
    /// The digest of the code.
    code: Digest,
    manifest: Manifest,
}

impl Cache {
    pub(crate) fn new(directory: PathBuf) -> Self {
        Self { directory }
    }

    /// This component's code, open for mapping, if it is there and is what was put there. None: it
    /// has to be compiled again.
    ///
    /// # Errors
    /// When the directory or a file in it could have been changed by somebody else, naming it: that
    /// is for a person to look at.
    pub fn get(&self, component: &Digest) -> Result<Option<Compiled>, StoreError> {
        if !self.is_private_directory()? {
            return Ok(None);
        }
        let path = |kind: &str| self.directory.join(format!("{component}.{kind}"));
        let Some((_, origin)) = read_private(&path(ORIGIN))? else { return Ok(None) };
        let Ok(origin) = serde_json::from_slice::<Origin>(&origin) else { return Ok(None) };
        let Some((code, bytes)) = read_private(&path(CODE))? else { return Ok(None) };
        let is_same = origin.code == Digest::of(&bytes);
        Ok(is_same.then_some(Compiled { code, manifest: origin.manifest }))
    }

    /// The right to compile for this engine. Whoever waits for it looks again with [`Cache::get`]
    /// afterwards: the one before may have compiled the same.
    ///
    /// # Errors
    /// When the directory cannot be written, or is not this user's alone.
    pub fn lock(&self) -> Result<CacheGuard<'_>, StoreError> {
        durable::create_directory(&self.directory)?;
        self.is_private_directory()?;
        let lock = LockGuard::take(&self.directory.join(LOCK))?;
        Ok(CacheGuard { cache: self, _lock: lock })
    }

    /// Removes the code of every component but these. What is mapped stays mapped.
    pub(crate) fn keep_only(&self, components: &HashSet<String>) -> Result<(), StoreError> {
        for name in durable::names(&self.directory)? {
            if let Some((component, CODE | ORIGIN | "sha256")) = name.split_once('.')
                && !components.contains(component)
            {
                durable::remove(&self.directory.join(&name))?;
            }
        }
        Ok(())
    }

    fn is_private_directory(&self) -> Result<bool, StoreError> {
        match fs::symlink_metadata(&self.directory) {
            Ok(metadata) if metadata.is_dir() => {
                check_private(&self.directory, &metadata).map(|()| true)
            }
            Ok(_) => Err(StoreError::damaged(&self.directory, "it must be a directory")),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(StoreError::io("look at", &self.directory, error)),
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
    /// Keeps the code of a component, and the manifest that stands in the same bytes.
    ///
    /// # Errors
    /// When the directory cannot be written.
    pub fn put(
        &self,
        component: &Digest,
        code: &[u8],
        manifest: &Manifest,
    ) -> Result<(), StoreError> {
        let origin = Origin { code: Digest::of(code), manifest: manifest.clone() };
        let path = |kind: &str| self.cache.directory.join(format!("{component}.{kind}"));
        let (code_path, origin_path) = (path(CODE), path(ORIGIN));
        let origin = serde_json::to_vec(&origin)
            .map_err(|error| StoreError::damaged(&origin_path, error))?;
        [(code_path, code), (origin_path, &*origin)].into_iter().try_for_each(|(path, content)| {
            wharf_files::replace(&path, content)
                .map_err(|error| StoreError::io("write", &path, error))
        })
    }

    /// A private, empty directory to compile in, of a name that nobody has used. Those that killed
    /// compilations left are removed: nobody but the holder of this right works in one.
    ///
    /// # Errors
    /// When the directory cannot be made.
    pub fn workspace(&self) -> Result<Workspace, StoreError> {
        let cache = &self.cache.directory;
        for name in durable::names(cache)?.iter().filter(|name| name.starts_with(WORKSPACE)) {
            // One that cannot be removed is in nobody's way.
            let _ = fs::remove_dir_all(cache.join(name));
        }
        let mut random = [0; 8];
        rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty()).map_err(
            |error| StoreError::io("find a name for a directory in", cache, error.into()),
        )?;
        let directory = cache.join(format!("{WORKSPACE}{:016x}", u64::from_ne_bytes(random)));
        DirBuilder::new()
            .mode(0o700)
            .create(&directory)
            .map_err(|error| StoreError::io("create the directory", &directory, error))?;
        Ok(Workspace { directory })
    }
}

/// A directory for one compilation; it goes with this value.
#[derive(Debug)]
pub struct Workspace {
    directory: PathBuf,
}

impl Workspace {
    /// The directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }
}

impl Drop for Workspace {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
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
         store's `cache` directory, it is made again",
    ))
}
