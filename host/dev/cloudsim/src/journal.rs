//! What was asked of the region, and what it answered. In memory for assertions, and appended to
//! `journal.jsonl` for people. No secret and no signature is in it.

use std::collections::{BTreeMap, VecDeque};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::{RegionError, at};

/// Entries kept in memory: about 1 KiB each, so 16 MiB at most, and more calls than any test
/// asserts on. The oldest goes first; the file has all.
const KEPT: usize = 16_384;

/// One call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalEntry {
    /// Counts up from 1 within a run of the region, in the order of the answers.
    pub number: u64,
    /// When it was answered, in the region's time.
    pub time: String,
    /// Milliseconds from its arrival until then.
    pub took_ms: u64,
    /// `ecs`, `sts`, `oss` or `metadata`.
    pub listener: String,
    /// The operation; on a metadata listener method and path.
    pub action: String,
    /// Who signed it. On a metadata listener the instance.
    pub caller: Option<String>,
    /// What it was asked, without secrets, signatures and nonces.
    pub parameters: BTreeMap<String, String>,
    /// HTTP status of the answer, also where a fault kept the answer from the client. 0: never
    /// applied and never answered.
    pub status: u16,
    /// `Code` of the error, if it was one.
    pub code: Option<String>,
    /// The fault that struck.
    pub fault: Option<String>,
}

#[derive(Debug)]
pub(crate) struct Journal {
    entries: VecDeque<JournalEntry>,
    file: File,
    next: u64,
}

impl Journal {
    pub(crate) fn open(path: &Path) -> Result<Self, RegionError> {
        let file =
            OpenOptions::new().create(true).append(true).open(path).map_err(at("open", path))?;
        Ok(Self { entries: VecDeque::new(), file, next: 1 })
    }

    /// Adds an entry; its number is given here. A full disk is reported and does not stop the
    /// region.
    pub(crate) fn add(&mut self, mut entry: JournalEntry) {
        entry.number = self.next;
        self.next += 1;
        match serde_json::to_string(&entry) {
            Ok(line) => {
                if let Err(error) = self.file.write_all(format!("{line}\n").as_bytes()) {
                    tracing::warn!(%error, "the journal file takes no more");
                }
            }
            Err(error) => tracing::warn!(%error, "a journal entry cannot be written"),
        }
        if self.entries.len() >= KEPT {
            self.entries.pop_front();
        }
        self.entries.push_back(entry);
    }

    pub(crate) fn entries(&self) -> Vec<JournalEntry> {
        self.entries.iter().cloned().collect()
    }

    /// Forgets the entries in memory; the file keeps them.
    pub(crate) fn clear(&mut self) {
        self.entries.clear();
    }
}
