//! The component store: one directory that is the whole state, readable with `ls` and `cat`.
//!
//! ```text
//! <store>/components/<sha256>.wasm              what was installed, by digest
//! <store>/backends/<name>/generations/<n>.json  digest, manifest and state of one generation
//! <store>/backends/<name>/active                the active generation, then the ones before it,
//!                                               one number a line
//! <store>/authenticators/…                      the same for components that sign
//! <store>/cache/<engine>/<sha256>.cwasm         compiled code, for this user only; beside it
//!                                               its checksum and its manifest,
//!                                               or why it cannot be compiled
//! <store>/cache/<engine>/<sha256>.lock          held by whoever compiles that component
//! <store>/lock                                  held by whoever changes anything
//! ```
//!
//! Every change is one atomic rename; a crash anywhere leaves the old state or the new one. Readers
//! take no lock. Nothing is read or written where somebody else may write. What is left out:
//! whether a component can run ([`crate::check`]).

mod cache;
mod checksum;
mod component;
mod digest;
mod durable;
mod error;
mod generation;
mod history;
mod provided;

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use wharf_core::manifest::{ComponentName, Manifest, World};
use wharf_files::OwnDirectory;

pub use self::cache::{Cache, Compiled};
pub use self::component::{MAX_COMPONENT_BYTES, read_manifest};
pub use self::digest::Digest;
pub use self::error::StoreError;
pub use self::generation::{ComponentId, Generation, Reason, State};
use self::history::History;

/// A record is a manifest (64 KiB at most), spread over lines, and a reason or a description (16
/// KiB at most).
const MAX_RECORD_BYTES: u64 = 1 << 20;
/// Four numbers.
const MAX_HISTORY_BYTES: u64 = 4 << 10;

/// A component store. Opening reads nothing.
#[derive(Debug, Clone)]
pub struct Store {
    directory: OwnDirectory,
}

/// The generation that calls run on.
#[derive(Debug, Clone)]
pub struct Active {
    /// Its record.
    pub generation: Generation,
}

/// One component, as `wharf backend list` shows it.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Summary {
    /// Its name.
    pub name: ComponentName,
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
    /// The components.
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
    /// The store in this directory, which need not exist yet.
    pub fn open(root: impl Into<PathBuf>) -> Self {
        Self { directory: OwnDirectory::new(root) }
    }

    /// The directory.
    pub fn root(&self) -> &Path {
        self.directory.root()
    }

    /// The compiled code of an engine with this hash.
    pub fn cache(&self, engine: &str) -> Cache {
        Cache::new(self.root().join("cache").join(engine))
    }

    /// Puts a component of this kind into the store as the newest generation of the name that it
    /// gives itself. Nothing runs on it yet. What is installed under that name is replaced only
    /// where the operator `said` the name. The same bytes again: the generation that has them
    /// already, unless it was rejected.
    ///
    /// # Errors
    /// When it is no component, is too large, has no manifest, is of the other kind or has a name
    /// that is not what was said or is taken; or when the directory cannot be written.
    pub fn install(
        &self,
        world: World,
        said: Option<&ComponentName>,
        bytes: &[u8],
        now: u64,
    ) -> Result<Generation, StoreError> {
        let manifest = component::read_manifest(bytes)?;
        if manifest.world != world {
            return Err(StoreError::OtherKind { found: manifest.world });
        }
        if let Some(said) = said.filter(|said| **said != manifest.name) {
            return Err(StoreError::OtherName { said: said.clone(), found: manifest.name });
        }
        let id = ComponentId { world, name: manifest.name.clone() };
        let _lock = self.lock()?;
        let digest = Digest::of(bytes);
        let known = self.generations(&id)?;
        if let Some(same) = known
            .iter()
            .rev()
            .find(|generation| generation.digest == digest && !generation.is_rejected())
        {
            return Ok(same.clone());
        }
        if said.is_none() && known.iter().any(|generation| !generation.is_rejected()) {
            return Err(StoreError::NameTaken { id });
        }
        let number = known.iter().map(|generation| generation.number).max().unwrap_or(0) + 1;
        let generation =
            Generation { number, digest, installed_at: now, state: State::Staged, manifest };
        self.write(&self.wasm(&generation), bytes)?;
        self.save(&generation)?;
        Ok(generation)
    }

    /// Records the result of checking a generation.
    ///
    /// # Errors
    /// When there is no such generation, or the directory cannot be written.
    pub fn mark(
        &self,
        id: &ComponentId,
        number: u64,
        state: State,
    ) -> Result<Generation, StoreError> {
        let _lock = self.lock()?;
        let mut generation = self.generation(id, number)?;
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
    pub fn activate(&self, id: &ComponentId, number: u64) -> Result<Generation, StoreError> {
        let _lock = self.lock()?;
        let generation = self.generation(id, number)?;
        if !generation.is_checked() {
            return Err(StoreError::NotChecked { id: id.clone(), number, state: generation.state });
        }
        // A damaged pointer is what a person repairs with this very call; what could be rolled back
        // to is lost with it.
        let history = match self.history(id) {
            Err(StoreError::Damaged { .. }) => History::default(),
            history => history?.unwrap_or_default(),
        };
        let history = history.activated(number);
        self.point(id, &history)?;
        // The generation is active by now, and tidying up is no reason to say otherwise.
        let _ = self.prune(id, &history);
        Ok(generation)
    }

    /// Makes the generation before the active one active again.
    ///
    /// # Errors
    /// [`StoreError::NothingBefore`] when there is none.
    pub fn rollback(&self, id: &ComponentId) -> Result<Generation, StoreError> {
        let _lock = self.lock()?;
        let history = self
            .history(id)?
            .and_then(|history| history.rolled_back())
            .ok_or_else(|| StoreError::NothingBefore { id: id.clone() })?;
        let generation = self.generation(id, history.active())?;
        self.point(id, &history)?;
        Ok(generation)
    }

    /// The generation that calls run on.
    ///
    /// # Errors
    /// [`StoreError::NotInstalled`] when nothing is active under this name.
    pub fn active(&self, id: &ComponentId) -> Result<Active, StoreError> {
        let history = self.history(id)?.ok_or_else(|| StoreError::NotInstalled {
            id: id.clone(),
            store: self.root().to_owned(),
        })?;
        let generation = self.generation(id, history.active())?;
        Ok(Active { generation })
    }

    /// What [`Store::active`] answers has changed when this has. None: nothing is active.
    pub fn revision(&self, id: &ComponentId) -> Option<Revision> {
        let metadata = fs::metadata(self.home(id).join("active")).ok()?;
        Some(Revision { inode: metadata.ino(), changed: (metadata.ctime(), metadata.ctime_nsec()) })
    }

    /// Every component of a kind that has a generation, by name, and apart from them what is wrong
    /// with those that cannot be read: a damaged one hides no other.
    ///
    /// # Errors
    /// When the store's directory cannot be read.
    pub fn list(&self, world: World) -> Result<Listing, StoreError> {
        let mut names = durable::names(&self.kind(world))?;
        names.sort();
        let mut listing = Listing::default();
        for name in &names {
            // Nothing of ours has another name.
            let Ok(id) = ComponentId::new(world, name) else { continue };
            match self.show(&id) {
                Ok(summary) => listing.summaries.push(summary),
                // An installation that was killed before its first record.
                Err(StoreError::NotInstalled { .. }) => {}
                Err(error) => listing.damaged.push(error),
            }
        }
        Ok(listing)
    }

    /// One component.
    ///
    /// # Errors
    /// [`StoreError::NotInstalled`] when nothing was ever installed under this name.
    pub fn show(&self, id: &ComponentId) -> Result<Summary, StoreError> {
        let generations = self.generations(id)?;
        if generations.is_empty() {
            return Err(StoreError::NotInstalled { id: id.clone(), store: self.root().to_owned() });
        }
        let history = self.history(id)?;
        Ok(Summary {
            name: id.name.clone(),
            active: history.as_ref().map(History::active),
            previous: history.map(|history| history.previous().to_vec()).unwrap_or_default(),
            generations,
        })
    }

    /// One generation's record.
    ///
    /// # Errors
    /// [`StoreError::NoSuchGeneration`], or a damaged file.
    pub fn generation(&self, id: &ComponentId, number: u64) -> Result<Generation, StoreError> {
        let path = self.home(id).join("generations").join(format!("{number}.json"));
        let bytes = self
            .read(&path, MAX_RECORD_BYTES)?
            .ok_or_else(|| StoreError::NoSuchGeneration { id: id.clone(), number })?;
        let generation: Generation =
            serde_json::from_slice(&bytes).map_err(|error| StoreError::damaged(&path, error))?;
        if generation.number != number || generation.id() != *id {
            return Err(StoreError::damaged(&path, "it is the record of another generation"));
        }
        Ok(generation)
    }

    /// The component's bytes, checked with the digest in its record.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] when they are not what was installed.
    pub fn read_component(&self, generation: &Generation) -> Result<Vec<u8>, StoreError> {
        let path = self.wasm(generation);
        let bytes = self.read(&path, MAX_COMPONENT_BYTES)?.ok_or_else(|| {
            StoreError::damaged(&path, "it is not there any more; install the component again")
        })?;
        if Digest::of(&bytes) != generation.digest {
            return Err(StoreError::damaged(
                &path,
                "its content does not have the digest in its name; install the component again",
            ));
        }
        Ok(bytes)
    }

    fn read(&self, path: &Path, most: u64) -> Result<Option<Vec<u8>>, StoreError> {
        self.directory.read(path, most).map_err(|error| StoreError::file("read", path, error))
    }

    fn write(&self, path: &Path, content: &[u8]) -> Result<(), StoreError> {
        self.directory
            .replace(path, content)
            .map_err(|error| StoreError::file("write", path, error))
    }

    fn wasm(&self, generation: &Generation) -> PathBuf {
        self.root().join("components").join(format!("{}.wasm", generation.digest))
    }

    /// Where components of a kind have their directories.
    fn kind(&self, world: World) -> PathBuf {
        self.root().join(match world {
            World::Backend => "backends",
            World::CloudAuth => "authenticators",
        })
    }

    fn home(&self, id: &ComponentId) -> PathBuf {
        self.kind(id.world).join(&*id.name)
    }

    fn generations(&self, id: &ComponentId) -> Result<Vec<Generation>, StoreError> {
        let names = durable::names(&self.home(id).join("generations"))?;
        let mut numbers: Vec<u64> =
            names.iter().filter_map(|file| file.strip_suffix(".json")?.parse().ok()).collect();
        numbers.sort_unstable();
        numbers.into_iter().map(|number| self.generation(id, number)).collect()
    }

    fn history(&self, id: &ComponentId) -> Result<Option<History>, StoreError> {
        let path = self.home(id).join("active");
        let Some(text) = self.read(&path, MAX_HISTORY_BYTES)? else { return Ok(None) };
        let history = std::str::from_utf8(&text).ok().and_then(History::parse);
        history.map(Some).ok_or_else(|| {
            let (kind, name) = (id.world.noun(), &id.name);
            StoreError::damaged(
                &path,
                format!(
                    "it must hold one generation number a line; `wharf {kind} activate {name} \
                     GENERATION` writes it anew"
                ),
            )
        })
    }

    fn point(&self, id: &ComponentId, history: &History) -> Result<(), StoreError> {
        self.write(&self.home(id).join("active"), history.to_string().as_bytes())
    }

    fn save(&self, generation: &Generation) -> Result<(), StoreError> {
        let directory = self.home(&generation.id()).join("generations");
        let mut text = serde_json::to_vec_pretty(generation)
            .map_err(|error| StoreError::damaged(&directory, error))?;
        text.push(b'\n');
        self.write(&directory.join(format!("{}.json", generation.number)), &text)
    }

    /// Removes records that can no longer be reached, and then components and compiled code that no
    /// record names.
    fn prune(&self, id: &ComponentId, history: &History) -> Result<(), StoreError> {
        let generations = self.generations(id)?;
        let directory = self.home(id).join("generations");
        for generation in generations.iter().filter(|generation| {
            generation.number < history.active() && !history.holds(generation.number)
        }) {
            durable::remove(&directory.join(format!("{}.json", generation.number)))?;
        }
        let used = self.used()?;
        let components = self.root().join("components");
        let is_used =
            |file: &str| file.strip_suffix(".wasm").is_some_and(|digest| used.contains(digest));
        for file in durable::names(&components)?.iter().filter(|file| !is_used(file)) {
            durable::remove(&components.join(file))?;
        }
        durable::names(&self.root().join("cache"))?
            .iter()
            .try_for_each(|engine| self.cache(engine).keep_only(&used))
    }

    /// Digests that a record names. An error when one cannot be read: what it names is not known.
    fn used(&self) -> Result<HashSet<String>, StoreError> {
        let mut used = HashSet::new();
        for world in World::ALL {
            let Listing { summaries, damaged } = self.list(world)?;
            if let Some(damaged) = damaged.into_iter().next() {
                return Err(damaged);
            }
            let generations = summaries.into_iter().flat_map(|summary| summary.generations);
            used.extend(generations.map(|generation| String::from(generation.digest)));
        }
        Ok(used)
    }

    fn lock(&self) -> Result<durable::LockGuard, StoreError> {
        durable::create_directory(self.root())?;
        wharf_files::check_path(self.root())?;
        durable::LockGuard::take(&self.root().join("lock"))
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
