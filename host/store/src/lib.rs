//! The component store: one folder that is the whole state, readable with `ls` and `cat`.
//!
//! ```text
//! <store>/components/<sha256>.wasm             what was installed, by digest
//! <store>/backends/<name>/generations/<n>.json digest, manifest and state of one generation
//! <store>/backends/<name>/active               the active generation, then the ones before it, one
//! number a line <store>/cache/<engine>/<sha256>.cwasm        compiled code, for this user only,
//! with its digest beside it <store>/cache/<engine>/lock                  held by whoever compiles
//! <store>/lock                                 held by whoever changes anything
//! ```
//!
//! Every change is one atomic rename; a crash anywhere leaves the old state or the new one. Readers
//! take no lock. What is left out: compiling and checking components (`wharf-runtime` can, and the
//! binary decides when) and what a component may do (the operator's configuration).

mod cache;
mod component;
mod digest;
mod durable;
mod error;
mod generation;
mod history;

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use wharf_core::manifest::Manifest;

pub use crate::cache::{Cache, CacheGuard, Workspace};
pub use crate::component::{MAX_COMPONENT_BYTES, read_manifest};
pub use crate::digest::Digest;
pub use crate::error::StoreError;
pub use crate::generation::{Generation, State};
use crate::history::History;

/// A component's name is a folder's name: what an administrator can type, and nothing that leads
/// elsewhere.
const MAX_NAME: usize = 63;

/// A component store. Opening reads nothing.
#[derive(Debug, Clone)]
pub struct Store {
    root: PathBuf,
}

/// The generation that calls run on.
#[derive(Debug, Clone)]
pub struct Active {
    /// Its record.
    pub generation: Generation,
}

/// One backend, as `wharf backend list` shows it.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Summary {
    /// Its name.
    pub name: String,
    /// The active generation's number.
    pub active: Option<u64>,
    /// Generations that `rollback` can go back to, nearest first.
    pub previous: Vec<u64>,
    /// Every generation, oldest first.
    pub generations: Vec<Generation>,
}

/// What [`Store::list`] finds.
#[derive(Debug, Default)]
pub struct Listing {
    /// The backends.
    pub summaries: Vec<Summary>,
    /// Why others cannot be shown; each names its file.
    pub damaged: Vec<StoreError>,
}

/// Changes when another generation is made active, and costs one `stat` to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Revision {
    inode: u64,
    changed: (i64, i64),
}

impl Store {
    /// The store in this folder, which need not exist yet.
    pub fn open(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The compiled code of an engine with this hash.
    pub fn cache(&self, engine: &str) -> Cache {
        Cache::new(self.root.join("cache").join(engine))
    }

    /// Puts a component into the store as the newest generation of the backend that its manifest
    /// names. Nothing runs on it yet. The same bytes again: the generation that has them
    /// already, unless it was rejected.
    ///
    /// # Errors
    /// When it is no component, is too large, has no manifest, or the folder cannot be written.
    pub fn install(&self, bytes: &[u8], now: u64) -> Result<Generation, StoreError> {
        let manifest = component::read_manifest(bytes)?;
        let folder = self.folder(&manifest.name)?;
        let _lock = self.lock()?;
        let digest = Digest::of(bytes);
        let known = self.generations(&manifest.name)?;
        if let Some(same) = known
            .iter()
            .rev()
            .find(|generation| generation.digest == digest && !generation.is_rejected())
        {
            return Ok(same.clone());
        }
        let number = known.iter().map(|generation| generation.number).max().unwrap_or(0) + 1;
        let generation =
            Generation { number, digest, installed_at: now, state: State::Staged, manifest };
        let components = self.root.join("components");
        durable::create_folder(&components)?;
        durable::write(&components, &format!("{}.wasm", generation.digest), bytes)?;
        durable::create_folder(&folder.join("generations"))?;
        self.save(&generation)?;
        Ok(generation)
    }

    /// Records the result of checking a generation.
    ///
    /// # Errors
    /// When there is no such generation, or the folder cannot be written.
    pub fn mark(&self, name: &str, number: u64, state: State) -> Result<Generation, StoreError> {
        let _lock = self.lock()?;
        let mut generation = self.generation(name, number)?;
        generation.state = state;
        self.save(&generation)?;
        Ok(generation)
    }

    /// Makes a checked generation active, by one rename. Active already: nothing changes.
    /// Generations that neither are active nor can be rolled back to are removed; what cannot
    /// be removed stays until the next activation.
    ///
    /// # Errors
    /// [`StoreError::NotChecked`] for a generation that was not checked or was rejected.
    pub fn activate(&self, name: &str, number: u64) -> Result<Generation, StoreError> {
        let _lock = self.lock()?;
        let generation = self.generation(name, number)?;
        if !matches!(generation.state, State::Checked) {
            return Err(StoreError::NotChecked {
                name: name.to_owned(),
                number,
                state: generation.state,
            });
        }
        // A damaged pointer is what a person repairs with this very call; what could be rolled back
        // to is lost with it.
        let history = match self.history(name) {
            Err(StoreError::Damaged { .. }) => History::default(),
            history => history?.unwrap_or_default(),
        };
        let history = history.activated(number);
        self.point(name, &history)?;
        // The generation is active by now, and tidying up is no reason to say otherwise.
        let _ = self.prune(name, &history);
        Ok(generation)
    }

    /// Makes the generation before the active one active again.
    ///
    /// # Errors
    /// [`StoreError::NothingBefore`] when there is none.
    pub fn rollback(&self, name: &str) -> Result<Generation, StoreError> {
        let _lock = self.lock()?;
        let history = self
            .history(name)?
            .and_then(|history| history.rolled_back())
            .ok_or_else(|| StoreError::NothingBefore { name: name.to_owned() })?;
        let generation = self.generation(name, history.active())?;
        self.point(name, &history)?;
        Ok(generation)
    }

    /// The generation that calls run on.
    ///
    /// # Errors
    /// [`StoreError::NotInstalled`] when nothing is active under this name.
    pub fn active(&self, name: &str) -> Result<Active, StoreError> {
        let history = self.history(name)?.ok_or_else(|| StoreError::NotInstalled {
            name: name.to_owned(),
            store: self.root.clone(),
        })?;
        let generation = self.generation(name, history.active())?;
        Ok(Active { generation })
    }

    /// What [`Store::active`] answers has changed when this has. None: nothing is active.
    pub fn revision(&self, name: &str) -> Option<Revision> {
        let metadata = fs::metadata(self.folder(name).ok()?.join("active")).ok()?;
        Some(Revision { inode: metadata.ino(), changed: (metadata.ctime(), metadata.ctime_nsec()) })
    }

    /// Every backend that has a generation, by name, and apart from them what is wrong with those
    /// that cannot be read: a damaged one hides no other.
    ///
    /// # Errors
    /// When the store's folder cannot be read.
    pub fn list(&self) -> Result<Listing, StoreError> {
        let mut names = durable::names(&self.root.join("backends"))?;
        names.sort();
        let mut listing = Listing::default();
        for name in &names {
            match self.show(name) {
                Ok(summary) => listing.summaries.push(summary),
                // An installation that was killed before its first record.
                Err(StoreError::NotInstalled { .. }) => {}
                Err(error) => listing.damaged.push(error),
            }
        }
        Ok(listing)
    }

    /// One backend.
    ///
    /// # Errors
    /// [`StoreError::NotInstalled`] when nothing was ever installed under this name.
    pub fn show(&self, name: &str) -> Result<Summary, StoreError> {
        let generations = self.generations(name)?;
        if generations.is_empty() {
            return Err(StoreError::NotInstalled {
                name: name.to_owned(),
                store: self.root.clone(),
            });
        }
        let history = self.history(name)?;
        Ok(Summary {
            name: name.to_owned(),
            active: history.as_ref().map(History::active),
            previous: history.map(|history| history.previous().to_vec()).unwrap_or_default(),
            generations,
        })
    }

    /// One generation's record.
    ///
    /// # Errors
    /// [`StoreError::NoSuchGeneration`], or a damaged file.
    pub fn generation(&self, name: &str, number: u64) -> Result<Generation, StoreError> {
        let path = self.folder(name)?.join("generations").join(format!("{number}.json"));
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(StoreError::NoSuchGeneration { name: name.to_owned(), number });
            }
            Err(error) => return Err(StoreError::io("read", &path, error)),
        };
        let generation: Generation =
            serde_json::from_slice(&bytes).map_err(|error| StoreError::damaged(&path, error))?;
        if generation.number != number || generation.manifest.name != name {
            return Err(StoreError::damaged(&path, "it is the record of another generation"));
        }
        Ok(generation)
    }

    /// The component's bytes, held against the digest in its record.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] when they are not what was installed.
    pub fn read_component(&self, generation: &Generation) -> Result<Vec<u8>, StoreError> {
        let path = self.wasm(generation);
        let bytes = fs::read(&path).map_err(|error| StoreError::io("read", &path, error))?;
        if Digest::of(&bytes) != generation.digest {
            return Err(StoreError::damaged(
                &path,
                "its content does not have the digest in its name; install the component again",
            ));
        }
        Ok(bytes)
    }

    fn wasm(&self, generation: &Generation) -> PathBuf {
        self.root.join("components").join(format!("{}.wasm", generation.digest))
    }

    fn folder(&self, name: &str) -> Result<PathBuf, StoreError> {
        let is_plain =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if name.is_empty() || name.len() > MAX_NAME || !name.bytes().all(is_plain) {
            return Err(StoreError::BadName { name: name.chars().take(MAX_NAME).collect() });
        }
        Ok(self.root.join("backends").join(name))
    }

    fn generations(&self, name: &str) -> Result<Vec<Generation>, StoreError> {
        let names = durable::names(&self.folder(name)?.join("generations"))?;
        let mut numbers: Vec<u64> =
            names.iter().filter_map(|file| file.strip_suffix(".json")?.parse().ok()).collect();
        numbers.sort_unstable();
        numbers.into_iter().map(|number| self.generation(name, number)).collect()
    }

    fn history(&self, name: &str) -> Result<Option<History>, StoreError> {
        let path = self.folder(name)?.join("active");
        match fs::read_to_string(&path) {
            Ok(text) => History::parse(&text).map(Some).ok_or_else(|| {
                StoreError::damaged(
                    &path,
                    format!(
                        "it must hold one generation number a line; `wharf backend activate \
                         {name} GENERATION` writes it anew"
                    ),
                )
            }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(StoreError::io("read", &path, error)),
        }
    }

    fn point(&self, name: &str, history: &History) -> Result<(), StoreError> {
        durable::write(&self.folder(name)?, "active", history.to_string().as_bytes())
    }

    fn save(&self, generation: &Generation) -> Result<(), StoreError> {
        let folder = self.folder(&generation.manifest.name)?.join("generations");
        let mut text = serde_json::to_vec_pretty(generation)
            .map_err(|error| StoreError::damaged(&folder, error))?;
        text.push(b'\n');
        durable::write(&folder, &format!("{}.json", generation.number), &text)
    }

    /// Removes records that can no longer be reached, and then components and compiled code that no
    /// record names.
    fn prune(&self, name: &str, history: &History) -> Result<(), StoreError> {
        let generations = self.generations(name)?;
        let folder = self.folder(name)?.join("generations");
        for generation in generations.iter().filter(|generation| {
            generation.number < history.active() && !history.holds(generation.number)
        }) {
            durable::remove(&folder.join(format!("{}.json", generation.number)))?;
        }
        let listing = self.list()?;
        if let Some(damaged) = listing.damaged.into_iter().next() {
            // What that backend uses is not known.
            return Err(damaged);
        }
        let used: HashSet<&str> = listing
            .summaries
            .iter()
            .flat_map(|summary| &summary.generations)
            .map(|generation| generation.digest.as_str())
            .collect();
        let components = self.root.join("components");
        for file in durable::names(&components)?
            .iter()
            .filter(|file| !file.strip_suffix(".wasm").is_some_and(|digest| used.contains(digest)))
        {
            durable::remove(&components.join(file))?;
        }
        durable::names(&self.root.join("cache"))?
            .iter()
            .try_for_each(|engine| self.cache(engine).keep_only(&used))
    }

    fn lock(&self) -> Result<durable::LockGuard, StoreError> {
        durable::create_folder(&self.root)?;
        durable::LockGuard::take(&self.root.join("lock"))
    }
}

/// The manifest of the active generation, for a caller that needs nothing else.
impl Active {
    /// What the component asks for.
    pub fn manifest(&self) -> &Manifest {
        &self.generation.manifest
    }
}

#[cfg(test)]
mod tests;
