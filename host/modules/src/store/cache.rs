//! Compiled code of one engine. Forged code here would be arbitrary native code in the host, and
//! the engine does not check it: so the directory belongs to this user alone, and no link is
//! followed. That alone keeps others out: who can write the code can write what is beside it, too.
//! Damage is what a checksum of our own finds, before anybody maps a file.

use std::collections::HashSet;
use std::fs::{self, DirBuilder, File, Metadata, OpenOptions};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use wharf_core::manifest::Manifest;

use super::checksum::Checksum;
use super::digest::Digest;
use super::durable::{self, LockGuard};
use super::error::StoreError;
use super::generation::Reason;

/// What directories begin with that a compilation works in.
const WORKSPACE: &str = "compiling-";
/// What files of code, of what is known of it, of why there is none, and locks end with.
const CODE: &str = "cwasm";
const ORIGIN: &str = "json";
const FAILURE: &str = "failed";
const LOCK: &str = "lock";

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
    /// The checksum of the code.
    code: Checksum,
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
        let Some(origin) = read_private(&self.path(component, ORIGIN))? else {
            return Ok(None);
        };
        let Ok(origin) = serde_json::from_slice::<Origin>(&origin) else { return Ok(None) };
        let path = self.path(component, CODE);
        let Some((mut code, _)) = open_private(&path)? else { return Ok(None) };
        let checksum =
            Checksum::of_all(&mut code).map_err(|error| StoreError::io("read", &path, error))?;
        let is_same = origin.code == checksum;
        Ok(is_same.then_some(Compiled { code, manifest: origin.manifest }))
    }

    /// Why this component cannot be compiled by this engine, if that is known: it is not tried
    /// again.
    ///
    /// # Errors
    /// As of [`Cache::get`].
    pub fn failure(&self, component: &Digest) -> Result<Option<Reason>, StoreError> {
        if !self.is_private_directory()? {
            return Ok(None);
        }
        let found = read_private(&self.path(component, FAILURE))?;
        Ok(found.map(|why| String::from_utf8_lossy(&why).into_owned().into()))
    }

    /// The right to compile this component for this engine; `None` while another thread or process
    /// has it. Who gets it looks with [`Cache::get`] first: another one may have been faster.
    ///
    /// # Errors
    /// When the directory cannot be written, or is not this user's alone.
    pub fn try_lock(&self, component: &Digest) -> Result<Option<CacheGuard<'_>>, StoreError> {
        durable::create_directory(&self.directory)?;
        self.is_private_directory()?;
        let lock = LockGuard::try_take(&self.path(component, LOCK))?;
        Ok(lock.map(|lock| CacheGuard { cache: self, component: component.clone(), _lock: lock }))
    }

    fn path(&self, component: &Digest, kind: &str) -> PathBuf {
        self.directory.join(format!("{component}.{kind}"))
    }

    /// Removes the code of every component but these. What is mapped stays mapped.
    pub(crate) fn keep_only(&self, components: &HashSet<String>) -> Result<(), StoreError> {
        for name in durable::names(&self.directory)? {
            let path = self.directory.join(&name);
            if let Some(component) = name.strip_prefix(WORKSPACE) {
                if !components.contains(component) {
                    // What a compilation left that was killed. It affects nothing.
                    let _ = fs::remove_dir_all(&path);
                }
            } else if let Some((component, CODE | ORIGIN | FAILURE | LOCK)) = name.split_once('.')
                && !components.contains(component)
            {
                durable::remove(&path)?;
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

/// The right to compile one component: one holder among all threads and processes. It ends with the
/// process, however that ends.
#[derive(Debug)]
pub struct CacheGuard<'a> {
    cache: &'a Cache,
    component: Digest,
    _lock: LockGuard,
}

impl CacheGuard<'_> {
    /// Keeps the component's code, and the manifest that stands in the same bytes.
    ///
    /// # Errors
    /// When the directory cannot be written.
    pub fn put(&self, code: &[u8], manifest: &Manifest) -> Result<(), StoreError> {
        let origin = Origin { code: Checksum::of(code), manifest: manifest.clone() };
        let origin = serde_json::to_vec(&origin)
            .map_err(|error| StoreError::damaged(&self.cache.directory, error))?;
        self.write(CODE, code)?;
        self.write(ORIGIN, &origin)
    }

    /// Keeps why the component cannot be compiled.
    ///
    /// # Errors
    /// When the directory cannot be written.
    pub fn put_failure(&self, why: &Reason) -> Result<(), StoreError> {
        self.write(FAILURE, why.to_string().as_bytes())
    }

    fn write(&self, kind: &str, content: &[u8]) -> Result<(), StoreError> {
        let path = self.cache.path(&self.component, kind);
        wharf_files::replace(&path, content).map_err(|error| StoreError::io("write", &path, error))
    }

    /// A private, empty directory to compile in. What a killed compilation of this component left
    /// there is removed.
    ///
    /// # Errors
    /// When the directory cannot be made.
    pub fn workspace(&self) -> Result<Workspace, StoreError> {
        let directory = self.cache.directory.join(format!("{WORKSPACE}{}", self.component));
        let _ = fs::remove_dir_all(&directory);
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

fn read_private(path: &Path) -> Result<Option<Vec<u8>>, StoreError> {
    let Some((mut file, metadata)) = open_private(path)? else { return Ok(None) };
    let mut content = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or(0));
    file.read_to_end(&mut content).map_err(|error| StoreError::io("read", path, error))?;
    Ok(Some(content))
}

fn open_private(path: &Path) -> Result<Option<(File, Metadata)>, StoreError> {
    let open = OpenOptions::new()
        .read(true)
        .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed())
        .open(path);
    let file = match open {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(StoreError::io("open", path, error)),
    };
    let metadata = file.metadata().map_err(|error| StoreError::io("look at", path, error))?;
    check_private(path, &metadata)?;
    Ok(Some((file, metadata)))
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
