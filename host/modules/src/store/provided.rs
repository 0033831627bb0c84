//! Which generations came with an image, and were not chosen by a person: the digests that `wharf
//! provide` made active last. A later image takes the place of those alone.

use super::Store;
use super::digest::Digest;
use super::durable;
use super::error::StoreError;
use super::generation::ComponentId;

/// Beside `active`; one digest a line. Two lines: a change from the first to the second was begun.
const FILE: &str = "provided";
/// Two digests.
const MAX_BYTES: u64 = 4 << 10;

impl Store {
    /// The digests that were provided for this backend; none where nothing was. Lines that are no
    /// digest are passed over: then a person's choice is assumed, and nothing is replaced.
    ///
    /// # Errors
    /// When the file is there and cannot be read.
    pub fn provided(&self, id: &ComponentId) -> Result<Vec<Digest>, StoreError> {
        let bytes = self.read(&self.home(id).join(FILE), MAX_BYTES)?.unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        Ok(text.lines().filter_map(|line| Digest::try_from(line.to_owned()).ok()).collect())
    }

    /// Writes down what is provided for this backend.
    ///
    /// # Errors
    /// When the directory cannot be written.
    pub fn set_provided(&self, id: &ComponentId, digests: &[&Digest]) -> Result<(), StoreError> {
        let home = self.home(id);
        let _lock = self.lock()?;
        let text: String = digests.iter().map(|digest| format!("{}\n", digest.as_str())).collect();
        durable::create_directory(&home)?;
        self.write(&home.join(FILE), text.as_bytes())
    }
}
