//! How far walks came that set the owner of a whole tree and ran out of time: kubelet gives a call
//! two minutes, and a walk that takes longer would begin anew with each call for ever.
//!
//! In files, because each call of FlexVolume is a process of its own. A walk whose file cannot be
//! read or written begins anew, and so does one that was put off for long: others may have used the
//! tree meanwhile. After a crash of the machine a file may be empty, which is no progress either.

use std::path::{Path, PathBuf};
use std::time::Duration;

use wharf_files::OwnDirectory;

use crate::remote::Tree;
use crate::state::record_name::file_name;
use crate::state::records::{files, remove};
use crate::trees::Progress;

/// Kubelet calls again within minutes. Files that are older are removed, so that their number is
/// bounded by the walks of that time.
const RETENTION: Duration = Duration::from_secs(15 * 60);
/// The names of an entry and of the directories that lead to it; deeper trees begin anew.
const MAX_BYTES: usize = 256 << 10;

/// The file of one walk.
pub(crate) struct SavedWalk {
    state: OwnDirectory,
    path: PathBuf,
}

impl SavedWalk {
    /// Of a work on what is shown so; `None`: the work is no walk, or what is left in the tree says
    /// how far it came.
    pub fn of(state: &Path, shown: &str, work: &Tree) -> Option<Self> {
        let Tree::SetOwnership { path, ownership, recursive: true, .. } = work else { return None };
        let name = file_name(&format!("{shown} {} {ownership:?}", path.display()));
        let path = state.join("walks").join(format!("{name}.json"));
        Some(Self { state: OwnDirectory::new(state), path })
    }

    /// Where the last call for this walk ended.
    pub fn read(&self) -> Progress {
        if is_old(&self.path) {
            return Progress::new();
        }
        let content = self.state.read(&self.path, MAX_BYTES as u64).ok().flatten();
        content.and_then(|content| serde_json::from_slice(&content).ok()).unwrap_or_default()
    }

    /// For the next call.
    pub fn write(&self, progress: &Progress) {
        let others = self.path.parent().and_then(|directory| files(directory).ok());
        for old in others.unwrap_or_default().iter().filter(|path| is_old(path)) {
            let _ = remove(old);
        }
        let Ok(content) = serde_json::to_vec(progress) else { return };
        if progress.is_empty() || content.len() > MAX_BYTES {
            return;
        }
        if let Err(error) = self.state.replace_for_this_boot(&self.path, &content) {
            tracing::warn!(
                path = %self.path.display(),
                "cannot write down how far a walk came, so the next call begins it anew: {error}"
            );
        }
    }

    /// It came to its end.
    pub fn forget(&self) {
        let _ = remove(&self.path);
    }
}

/// Also where it cannot be known.
fn is_old(path: &Path) -> bool {
    let changed = std::fs::metadata(path).and_then(|metadata| metadata.modified());
    let age = changed.ok().and_then(|changed| changed.elapsed().ok());
    age.is_none_or(|age| age > RETENTION)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trees::Ownership;
    use std::fs::File;
    use std::time::SystemTime;

    fn walk(state: &Path, mode: u32, recursive: bool) -> Option<SavedWalk> {
        let ownership = Ownership { mode: Some(mode), uid: None, gid: None };
        let progress = Progress::new();
        let work = Tree::SetOwnership { path: "v".into(), ownership, recursive, progress };
        SavedWalk::of(state, "server:/export", &work)
    }

    #[test]
    fn a_walk_goes_on_where_it_ended_lately_and_no_other_does() {
        let state = tempfile::tempdir().unwrap();
        let one = walk(state.path(), 0o750, true).unwrap();
        let far: Progress = ["a", "b"].map(Into::into).into();
        assert_eq!(one.read(), Progress::new());
        one.write(&far);
        assert_eq!(walk(state.path(), 0o750, true).unwrap().read(), far);
        assert_eq!(walk(state.path(), 0o755, true).unwrap().read(), Progress::new());
        assert!(walk(state.path(), 0o750, false).is_none());
        one.forget();
        one.forget();
        assert_eq!(one.read(), Progress::new());
    }

    #[test]
    fn what_is_old_is_neither_believed_nor_kept() {
        let state = tempfile::tempdir().unwrap();
        let (one, other) =
            (walk(state.path(), 0o750, true).unwrap(), walk(state.path(), 0o755, true).unwrap());
        one.write(&vec!["a".into()]);
        let before = SystemTime::now() - RETENTION * 2;
        File::options().write(true).open(&one.path).unwrap().set_modified(before).unwrap();
        assert_eq!(one.read(), Progress::new());
        other.write(&vec!["b".into()]);
        assert!(!one.path.exists() && other.path.exists());
        // Neither is what could not be read again.
        other.write(&vec!["n".repeat(MAX_BYTES).into()]);
        assert_eq!(other.read(), Progress::from(["b".into()]));
        std::fs::write(&other.path, "").unwrap();
        assert_eq!(other.read(), Progress::new());
    }
}
