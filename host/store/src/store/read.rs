//! Reading: no lock, no writing, and every file that is not as it was written is named.

use super::*;

impl Store {
    /// The store's folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// What calls to this component run on.
    ///
    /// # Errors
    /// [`StoreError::UnknownName`], [`StoreError::NothingActive`], and damaged files.
    pub fn active(&self, name: &str) -> Result<ActiveComponent, StoreError> {
        let number = match self.active_number(name)? {
            Some(number) => number,
            None if self.backend(name).is_dir() => return Err(StoreError::NothingActive(name.to_owned())),
            None => return Err(StoreError::UnknownName(name.to_owned())),
        };
        let Generation { generation, digest, manifest, .. } = self.generation(name, number)?;
        Ok(ActiveComponent { generation, wasm: self.component(&digest), digest, manifest })
    }

    /// Changes whenever another generation is activated.
    pub fn revision(&self, name: &str) -> Revision {
        let metadata = is_name(name).then(|| fs::symlink_metadata(self.active_file(name)).ok()).flatten();
        Revision(metadata.map(|it| (it.dev(), it.ino(), it.ctime(), it.ctime_nsec())))
    }

    /// Every installed component, by name.
    ///
    /// # Errors
    /// Only when the list of names itself cannot be read; what is wrong with one component is in its [`Installed::damaged`].
    pub fn list(&self) -> Result<Vec<Installed>, StoreError> {
        Ok(self.names()?.iter().map(|name| self.look(name)).collect())
    }

    /// One installed component.
    ///
    /// # Errors
    /// [`StoreError::UnknownName`].
    pub fn show(&self, name: &str) -> Result<Installed, StoreError> {
        if !is_name(name) || !self.backend(name).is_dir() {
            return Err(StoreError::UnknownName(name.to_owned()));
        }
        Ok(self.look(name))
    }

    /// One generation's record.
    ///
    /// # Errors
    /// [`StoreError::UnknownGeneration`], [`StoreError::Damaged`].
    pub fn generation(&self, name: &str, number: u64) -> Result<Generation, StoreError> {
        let path = self.generation_file(name, number);
        if !is_name(name) || !path.exists() {
            return Err(StoreError::UnknownGeneration { name: name.to_owned(), generation: number });
        }
        let damaged = |reason: String| StoreError::Damaged { path: path.clone(), reason, fix: "remove this file and install the component again" };
        let generation: Generation = serde_json::from_slice(&read_bounded(&path, SMALL_FILE_BYTES)?).map_err(|error| damaged(error.to_string()))?;
        if generation.generation != number || generation.manifest.name != name {
            return Err(damaged("it speaks of another generation".to_owned()));
        }
        Ok(generation)
    }

    /// A component's bytes, compared with the digest that it is stored under.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] when they are others.
    pub fn read_component(&self, digest: &Digest) -> Result<Vec<u8>, StoreError> {
        let path = self.component(digest);
        let bytes = read_bounded(&path, COMPONENT_BYTES as u64)?;
        if Digest::of(&bytes) != *digest {
            return Err(StoreError::Damaged { path, reason: "its content has another digest than its name".to_owned(), fix: "install the component again" });
        }
        Ok(bytes)
    }

    fn look(&self, name: &str) -> Installed {
        let mut damaged = Vec::new();
        let active = self.active_number(name).unwrap_or_else(|error| {
            damaged.push(error);
            None
        });
        let history = self.history(name).unwrap_or_else(|error| {
            damaged.push(error);
            Vec::new()
        });
        let mut generations = Vec::new();
        for number in self.numbers(name).unwrap_or_else(|error| {
            damaged.push(error);
            Vec::new()
        }) {
            match self.generation(name, number) {
                Ok(generation) => generations.push(generation),
                Err(error) => damaged.push(error),
            }
        }
        Installed { name: name.to_owned(), active, history, generations, damaged }
    }

    pub(super) fn names(&self) -> Result<Vec<String>, StoreError> {
        let names = entries(&self.backends())?;
        Ok(names.iter().filter(|path| path.is_dir()).filter_map(|path| Some(path.file_name()?.to_str()?.to_owned())).filter(|name| is_name(name)).collect())
    }

    /// Every generation of a name, oldest first; one damaged record is an error.
    pub(super) fn generations_of(&self, name: &str) -> Result<Vec<Generation>, StoreError> {
        self.numbers(name)?.into_iter().map(|number| self.generation(name, number)).collect()
    }

    fn numbers(&self, name: &str) -> Result<Vec<u64>, StoreError> {
        let dir = self.generations_dir(name);
        if !dir.is_dir() {
            return Ok(Vec::new());
        }
        let mut numbers: Vec<u64> = entries(&dir)?.iter().filter_map(|path| path.file_name()?.to_str()?.strip_suffix(".json")?.parse().ok()).collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    pub(super) fn active_number(&self, name: &str) -> Result<Option<u64>, StoreError> {
        let lines = self.read_numbers(&self.active_file(name), name, "activate a generation again")?;
        match lines.as_deref() {
            None => Ok(None),
            Some([number]) => Ok(Some(*number)),
            Some(_) => Err(StoreError::Damaged { path: self.active_file(name), reason: "it has not exactly one number".to_owned(), fix: "activate a generation again" }),
        }
    }

    /// Places to go back to. The active generation is none, even if a killed writer left it here.
    pub(super) fn history(&self, name: &str) -> Result<Vec<u64>, StoreError> {
        let active = self.active_number(name)?;
        let numbers = self.read_numbers(&self.history_file(name), name, "remove this file; only the way back is lost")?;
        Ok(numbers.unwrap_or_default().into_iter().filter(|number| Some(*number) != active).collect())
    }

    fn read_numbers(&self, path: &Path, name: &str, fix: &'static str) -> Result<Option<Vec<u64>>, StoreError> {
        if !is_name(name) || !path.exists() {
            return Ok(None);
        }
        let text = String::from_utf8_lossy(&read_bounded(path, SMALL_FILE_BYTES)?).into_owned();
        let numbers: Result<Vec<u64>, _> = text.lines().map(str::parse).collect();
        numbers.map(Some).map_err(|_| StoreError::Damaged { path: path.to_owned(), reason: "it is not a list of numbers".to_owned(), fix })
    }

    pub(super) fn components(&self) -> PathBuf {
        self.root.join("components")
    }

    pub(super) fn component(&self, digest: &Digest) -> PathBuf {
        self.components().join(format!("{digest}.wasm"))
    }

    pub(super) fn backends(&self) -> PathBuf {
        self.root.join("backends")
    }

    pub(super) fn backend(&self, name: &str) -> PathBuf {
        self.backends().join(name)
    }

    pub(super) fn generations_dir(&self, name: &str) -> PathBuf {
        self.backend(name).join("generations")
    }

    pub(super) fn generation_file(&self, name: &str, number: u64) -> PathBuf {
        self.generations_dir(name).join(format!("{number}.json"))
    }

    pub(super) fn active_file(&self, name: &str) -> PathBuf {
        self.backend(name).join("active")
    }

    pub(super) fn history_file(&self, name: &str) -> PathBuf {
        self.backend(name).join("history")
    }
}
