//! What a call did to the node, so that it can be taken back when a later step fails. The mount
//! table is then as it was.
//!
//! Whoever changes something says at the same place how it is taken back.

use std::path::{Path, PathBuf};

struct Undo {
    path: PathBuf,
    perform: Box<dyn FnOnce() -> std::io::Result<()>>,
}

/// Takes everything back when it is dropped, the last first, unless [`UndoLog::commit`] says that
/// all went well.
#[derive(Default)]
pub(crate) struct UndoLog(Vec<Undo>);

impl UndoLog {
    /// Remembers how something is taken back that was just done to `path`.
    pub fn push(&mut self, path: &Path, perform: impl FnOnce() -> std::io::Result<()> + 'static) {
        self.0.push(Undo { path: path.to_owned(), perform: Box::new(perform) });
    }

    /// Everything stays.
    pub fn commit(mut self) {
        self.0.clear();
    }

    /// Takes everything back and says what could not be.
    pub fn roll_back(mut self) -> Vec<String> {
        self.perform()
    }

    fn perform(&mut self) -> Vec<String> {
        let taken_back = std::mem::take(&mut self.0).into_iter().rev().map(|undo| {
            (undo.perform)().map_err(|error| format!("{}: {error}", undo.path.display()))
        });
        taken_back.filter_map(Result::err).collect()
    }
}

impl Drop for UndoLog {
    fn drop(&mut self) {
        for failure in self.perform() {
            tracing::error!("a step could not be taken back: {failure}");
        }
    }
}
