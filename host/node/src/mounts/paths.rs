//! From a caller's path to a target in the tree, without following a link out of its root.
//!
//! A path is walked component by component with `O_PATH | O_NOFOLLOW` from an open root, and `..`
//! is refused before the first step. That gives what `openat2(RESOLVE_BENEATH |
//! RESOLVE_NO_SYMLINKS)` gives, also on the kernels before 5.6 that FlexVolume nodes run. What is
//! done at the target then goes through the open directory (`/proc/self/fd/N`), so that a link put
//! there afterwards redirects nothing.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};
use std::sync::OnceLock;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags};
use rustix::io::Errno;
use wharf_core::{Blame, Error, ErrorKind};

use crate::undo::UndoLog;

/// Directories that this crate makes on the way: the owner works in them, its group may look.
const NEW_DIRECTORY: Mode = Mode::from_raw_mode(0o750);
/// The file that holds a raw device.
const NEW_FILE: Mode = Mode::from_raw_mode(0o640);
/// Longer paths cannot be opened (PATH_MAX).
const MAX_PATH_BYTES: usize = 4095;

/// The directories under which paths of callers may lie.
#[derive(Debug)]
pub(crate) struct Roots(Vec<Root>);

#[derive(Debug)]
struct Root {
    spelled: PathBuf,
    canonical: OnceLock<PathBuf>,
}

impl Root {
    /// The root as the kernel's mount table spells it; `None` when it does not exist.
    fn canonical(&self) -> Result<Option<&Path>, Error> {
        if let Some(known) = self.canonical.get() {
            return Ok(Some(known));
        }
        match std::fs::canonicalize(&self.spelled) {
            Ok(path) => Ok(Some(self.canonical.get_or_init(|| path))),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::internal(format!(
                "cannot resolve the root directory {}: {error}",
                self.spelled.display()
            ))),
        }
    }
}

impl Roots {
    /// Looks at nothing yet.
    pub fn new(roots: &[PathBuf]) -> Self {
        Self(
            roots
                .iter()
                .map(|root| Root { spelled: root.clone(), canonical: OnceLock::new() })
                .collect(),
        )
    }

    /// The path as the mount table spells it: its root resolved, the rest as it is. A path outside
    /// of all roots stays as it is.
    pub fn spell(&self, path: &Path) -> Result<PathBuf, Error> {
        let path = plain(path)?;
        Ok(self.split(&path)?.map_or(path, |(root, relative)| root.join(relative)))
    }

    /// Whether a path, as the mount table spells it, lies under one of them.
    pub fn contain(&self, path: &Path) -> bool {
        self.split(path).is_ok_and(|split| split.is_some())
    }

    /// The target of a path whose directories all exist; `None` when one of them is missing. The
    /// last component is not looked at.
    pub fn locate(&self, path: &Path) -> Result<Option<MountTarget>, Error> {
        self.target(path, None)
    }

    /// The target of a path, with the directories that lead to it made where they are missing.
    pub fn locate_or_create(&self, path: &Path, undo: &mut UndoLog) -> Result<MountTarget, Error> {
        self.target(path, Some(undo))?.ok_or_else(|| {
            Error::precondition(format!("the root directory of {} does not exist", path.display()))
                .with_hint("check the kubelet root directory in the configuration")
        })
    }

    fn target(
        &self,
        path: &Path,
        undo: Option<&mut UndoLog>,
    ) -> Result<Option<MountTarget>, Error> {
        let path = plain(path)?;
        let Some((root, relative)) = self.split(&path)? else {
            return if self.is_missing_root(&path)? { Ok(None) } else { Err(self.outside(&path)) };
        };
        let Some(name) = relative.file_name() else {
            return Err(Error::invalid(format!(
                "{} is a root directory, not a path of a volume",
                path.display()
            )));
        };
        let full = root.join(&relative);
        let parent = relative.parent().unwrap_or(Path::new(""));
        let directory = descend(&root, parent, undo)?;
        Ok(directory.map(|parent| MountTarget { parent, name: name.to_owned(), path: full }))
    }

    fn split(&self, path: &Path) -> Result<Option<(PathBuf, PathBuf)>, Error> {
        let mut best: Option<(PathBuf, PathBuf)> = None;
        for root in &self.0 {
            let Some(canonical) = root.canonical()? else { continue };
            let relative =
                path.strip_prefix(&root.spelled).or_else(|_| path.strip_prefix(canonical));
            if let Ok(relative) = relative
                && best
                    .as_ref()
                    .is_none_or(|(_, other)| relative.as_os_str().len() < other.as_os_str().len())
            {
                best = Some((canonical.to_owned(), relative.to_owned()));
            }
        }
        Ok(best)
    }

    fn is_missing_root(&self, path: &Path) -> Result<bool, Error> {
        for root in &self.0 {
            if path.starts_with(&root.spelled) && root.canonical()?.is_none() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn outside(&self, path: &Path) -> Error {
        let roots: Vec<_> = self.0.iter().map(|root| root.spelled.display().to_string()).collect();
        Error::new(
            ErrorKind::PermissionDenied,
            Blame::User,
            format!("{} is not under {}", path.display(), roots.join(" or ")),
        )
        .with_hint(
            "an administrator can set `kubelet-root`, or add to `extra-roots`, in the \
             configuration",
        )
    }
}

/// An absolute path without `.`, `..`, doubled slashes and a slash at its end.
fn plain(path: &Path) -> Result<PathBuf, Error> {
    let bytes = path.as_os_str().as_encoded_bytes();
    if !path.is_absolute() || bytes.contains(&0) || bytes.len() > MAX_PATH_BYTES {
        return Err(Error::invalid(format!(
            "{:?} is not an absolute path of at most {MAX_PATH_BYTES} bytes",
            shorten(path)
        )));
    }
    if path.components().any(|component| component == Component::ParentDir) {
        return Err(Error::invalid(format!("{} contains `..`", path.display())));
    }
    Ok(path.components().collect())
}

fn shorten(path: &Path) -> String {
    path.to_string_lossy().chars().take(200).collect()
}

/// Opens the directory `relative` below `root`. Missing directories are made when there is an undo
/// log to write them into, else `None`.
pub(crate) fn descend(
    root: &Path,
    relative: &Path,
    mut undo: Option<&mut UndoLog>,
) -> Result<Option<OwnedFd>, Error> {
    let opened = rustix::fs::openat(
        CWD,
        root,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    );
    let mut directory = match opened {
        Ok(directory) => directory,
        Err(Errno::NOENT) => return Ok(None),
        Err(error) => {
            return Err(Error::internal(format!("cannot open {}: {error}", root.display())));
        }
    };
    let mut walked = root.to_owned();
    for component in relative.components() {
        let Component::Normal(name) = component else {
            return Err(Error::invalid(format!(
                "`{}` is not a path below {}",
                relative.display(),
                root.display()
            )));
        };
        walked.push(name);
        directory = match open_directory(&directory, name, &walked)? {
            Some(next) => next,
            None => match undo.as_deref_mut() {
                Some(undo) => make_directory(&directory, name, &walked, undo)?,
                None => return Ok(None),
            },
        };
    }
    Ok(Some(directory))
}

fn open_directory(parent: &OwnedFd, name: &OsStr, path: &Path) -> Result<Option<OwnedFd>, Error> {
    match rustix::fs::openat(
        parent,
        name,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
    ) {
        Ok(directory) => Ok(Some(directory)),
        Err(Errno::NOENT) => Ok(None),
        Err(Errno::NOTDIR | Errno::LOOP) => Err(not_a_directory(parent, name, path)),
        Err(error) => Err(Error::internal(format!("cannot open {}: {error}", path.display()))),
    }
}

fn not_a_directory(parent: &OwnedFd, name: &OsStr, path: &Path) -> Error {
    let is_link = rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)
        .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Symlink);
    if is_link {
        return Error::precondition(format!("{} is a symbolic link", path.display())).with_hint(
            "links are followed up to the root directory only; if kubelet's directory itself is reached \
             through a link, name the real one as the root",
        );
    }
    Error::precondition(format!("{} is not a directory", path.display()))
}

fn make_directory(
    parent: &OwnedFd,
    name: &OsStr,
    path: &Path,
    undo: &mut UndoLog,
) -> Result<OwnedFd, Error> {
    match rustix::fs::mkdirat(parent, name, NEW_DIRECTORY) {
        Ok(()) => {
            let (parent, name) = (duplicate(parent)?, name.to_owned());
            undo.push(path, move || Ok(rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR)?));
        }
        Err(Errno::EXIST) => {}
        Err(error) => {
            return Err(Error::internal(format!(
                "cannot make the directory {}: {error}",
                path.display()
            )));
        }
    }
    open_directory(parent, name, path)?
        .ok_or_else(|| Error::aborted(format!("{} was removed while it was used", path.display())))
}

fn duplicate(fd: &OwnedFd) -> Result<OwnedFd, Error> {
    fd.try_clone()
        .map_err(|error| Error::internal(format!("cannot duplicate a file descriptor: {error}")))
}

/// A name in an open directory.
#[derive(Debug)]
pub(crate) struct MountTarget {
    parent: OwnedFd,
    name: OsString,
    path: PathBuf,
}

impl MountTarget {
    /// The path as the mount table spells it.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The last component of the path.
    pub fn name(&self) -> &OsStr {
        &self.name
    }

    /// A path for system calls that want one, which no link can redirect. Valid while this target
    /// lives.
    pub fn stable_path(&self) -> PathBuf {
        through(&self.parent).join(&self.name)
    }

    /// The same for another process. Valid while this one and the target live.
    pub fn path_for_programs(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/fd/{}", std::process::id(), self.parent.as_raw_fd()))
            .join(&self.name)
    }

    /// Opens what is there, without touching it: a directory, a file or the root of a mount. `None`
    /// when nothing is there.
    pub fn open(&self) -> Result<Option<Opened>, Error> {
        match rustix::fs::openat(
            &self.parent,
            &self.name,
            OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC,
            Mode::empty(),
        ) {
            Ok(fd) => Ok(Some(Opened { fd })),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => {
                Err(Error::internal(format!("cannot open {}: {error}", self.path.display())))
            }
        }
    }

    /// Opens the directory here, making it when it is missing.
    pub fn open_or_create_directory(&self, undo: &mut UndoLog) -> Result<Opened, Error> {
        let existing = open_directory(&self.parent, &self.name, &self.path)?;
        let fd = match existing {
            Some(fd) => fd,
            None => make_directory(&self.parent, &self.name, &self.path, undo)?,
        };
        Ok(Opened { fd })
    }

    /// Opens the file here, making an empty one when it is missing.
    pub fn open_or_create_file(&self, undo: &mut UndoLog) -> Result<Opened, Error> {
        let flags =
            OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match rustix::fs::openat(&self.parent, &self.name, flags, NEW_FILE) {
            Ok(_) => {
                let (parent, name) = (duplicate(&self.parent)?, self.name.clone());
                undo.push(&self.path, move || {
                    Ok(rustix::fs::unlinkat(parent, name, AtFlags::empty())?)
                });
            }
            Err(Errno::EXIST) => {}
            Err(error) => {
                return Err(Error::internal(format!(
                    "cannot make the file {}: {error}",
                    self.path.display()
                )));
            }
        }
        let opened = self.open()?.ok_or_else(|| {
            Error::aborted(format!("{} was removed while it was used", self.path.display()))
        })?;
        match opened.file_type()? {
            FileType::RegularFile | FileType::BlockDevice => Ok(opened),
            FileType::Symlink => {
                Err(Error::precondition(format!("{} is a symbolic link", self.path.display()))
                    .with_hint("remove it"))
            }
            _ => Err(Error::precondition(format!(
                "{} is there already and is not a file",
                self.path.display()
            ))
            .with_hint("a raw device is published on a file")),
        }
    }

    /// Removes an empty directory, or an empty file, or finds nothing to remove.
    pub fn remove(&self) -> Result<(), Error> {
        match rustix::fs::unlinkat(&self.parent, &self.name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(Errno::NOTDIR) => self.remove_file(),
            Err(Errno::NOTEMPTY | Errno::EXIST) => {
                Err(Error::precondition(format!("{} is not empty", self.path.display()))
                    .with_hint("its content is not the volume's: look at it, and move it away"))
            }
            Err(error) => {
                Err(Error::internal(format!("cannot remove {}: {error}", self.path.display())))
            }
        }
    }

    fn remove_file(&self) -> Result<(), Error> {
        let stat = rustix::fs::statat(&self.parent, &self.name, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|error| {
                Error::internal(format!("cannot look at {}: {error}", self.path.display()))
            })?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile || stat.st_size != 0 {
            return Err(Error::precondition(format!(
                "{} is neither an empty directory nor an empty file",
                self.path.display()
            ))
            .with_hint("look at it, and move it away"));
        }
        match rustix::fs::unlinkat(&self.parent, &self.name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => {
                Err(Error::internal(format!("cannot remove {}: {error}", self.path.display())))
            }
        }
    }

    /// The directory that it is in.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.parent.as_fd()
    }

    /// The same, for what outlives this one.
    pub fn duplicate(&self) -> Result<Self, Error> {
        Ok(Self {
            parent: duplicate(&self.parent)?,
            name: self.name.clone(),
            path: self.path.clone(),
        })
    }
}

/// Something that is held open without being touched (`O_PATH`).
#[derive(Debug)]
pub(crate) struct Opened {
    fd: OwnedFd,
}

impl Opened {
    /// A directory that was opened by [`descend`].
    pub fn new(fd: OwnedFd) -> Self {
        Self { fd }
    }

    /// A path for mount(2). Valid while this lives.
    pub fn stable_path(&self) -> PathBuf {
        through(&self.fd)
    }

    /// Directory, file, device, …
    pub fn file_type(&self) -> Result<FileType, Error> {
        Ok(FileType::from_raw_mode(self.stat()?.st_mode))
    }

    /// May hang on a dead network mount; only for what was just made or mounted.
    pub fn stat(&self) -> Result<rustix::fs::Stat, Error> {
        rustix::fs::fstat(&self.fd)
            .map_err(|error| Error::internal(format!("cannot look at an open path: {error}")))
    }

    /// The id of the mount that this lies on (proc(5), fdinfo).
    pub fn mount_id(&self) -> Result<u64, Error> {
        let path = format!("/proc/self/fdinfo/{}", self.fd.as_raw_fd());
        let text = std::fs::read_to_string(&path)
            .map_err(|error| Error::internal(format!("cannot read {path}: {error}")))?;
        let id = text
            .lines()
            .find_map(|line| line.strip_prefix("mnt_id:"))
            .and_then(|id| id.trim().parse().ok());
        id.ok_or_else(|| Error::internal(format!("{path} names no mount")))
    }
}

impl AsFd for Opened {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn through(fd: &OwnedFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn tree() -> (tempfile::TempDir, Roots, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().canonicalize().unwrap().join("root");
        std::fs::create_dir(&root).unwrap();
        let roots = Roots::new(std::slice::from_ref(&root));
        (directory, roots, root)
    }

    #[test]
    fn a_link_at_any_component_is_refused_and_nothing_is_made_behind_it() {
        let (directory, roots, root) = tree();
        let outside = directory.path().join("outside");
        std::fs::create_dir_all(outside.join("b/c")).unwrap();
        for depth in 0..3 {
            let components = ["a", "b", "c", "target"];
            let at = root.join(components[..=depth].iter().collect::<PathBuf>());
            std::fs::create_dir_all(at.parent().unwrap()).unwrap();
            symlink(&outside, &at).unwrap();
            let path = root.join(components.iter().collect::<PathBuf>());
            let error = roots.locate_or_create(&path, &mut UndoLog::default()).unwrap_err();
            assert!(error.message.contains("symbolic link"), "{error}");
            assert!(roots.locate(&path).is_err());
            assert!(!outside.join("target").exists() && !outside.join("b/target").exists());
            std::fs::remove_file(&at).unwrap();
        }
    }

    #[test]
    fn a_link_as_the_last_component_is_neither_opened_as_a_directory_nor_removed() {
        let (directory, roots, root) = tree();
        symlink(directory.path(), root.join("target")).unwrap();
        let target = roots.locate(&root.join("target")).unwrap().unwrap();
        assert!(
            target
                .open_or_create_directory(&mut UndoLog::default())
                .unwrap_err()
                .message
                .contains("symbolic link")
        );
        assert!(
            target
                .open_or_create_file(&mut UndoLog::default())
                .unwrap_err()
                .message
                .contains("symbolic link")
        );
        assert!(target.remove().is_err());
        assert!(root.join("target").is_symlink());
    }

    #[test]
    fn the_root_may_be_reached_through_a_link_and_is_spelled_as_the_kernel_does() {
        let (directory, _, root) = tree();
        let link = directory.path().canonicalize().unwrap().join("link");
        symlink(&root, &link).unwrap();
        let roots = Roots::new(std::slice::from_ref(&link));
        assert_eq!(roots.spell(&link.join("a//b/")).unwrap(), root.join("a/b"));
        assert_eq!(roots.spell(&root.join("a/b")).unwrap(), root.join("a/b"));
        assert!(roots.locate(&link.join("a")).unwrap().is_some());
    }

    #[test]
    fn paths_outside_with_dots_relative_or_too_long_are_refused() {
        let (_directory, roots, root) = tree();
        let sibling = PathBuf::from(format!("{}-more/x", root.display()));
        for path in [
            Path::new("/etc/x"),
            &root.join("a/../../x"),
            Path::new("a/b"),
            &root,
            &sibling,
            &root.join("x".repeat(5000)),
        ] {
            assert!(roots.locate(path).is_err(), "{}", path.display());
        }
    }

    #[test]
    fn missing_directories_are_made_and_undone() {
        let (_directory, roots, root) = tree();
        assert!(roots.locate(&root.join("a/b/c")).unwrap().is_none());
        let mut undo = UndoLog::default();
        let target = roots.locate_or_create(&root.join("a/b/c"), &mut undo).unwrap();
        target.open_or_create_directory(&mut undo).unwrap();
        assert!(root.join("a/b/c").is_dir());
        drop(undo);
        assert!(!root.join("a").exists());
    }

    #[test]
    fn only_what_is_empty_is_removed() {
        let (_directory, roots, root) = tree();
        std::fs::create_dir_all(root.join("full/x")).unwrap();
        std::fs::write(root.join("data"), "x").unwrap();
        std::fs::write(root.join("empty"), "").unwrap();
        let remove = |name: &str| roots.locate(&root.join(name)).unwrap().unwrap().remove();
        assert!(remove("full").is_err() && remove("data").is_err());
        assert!(remove("empty").is_ok() && remove("missing").is_ok());
        assert!(
            root.join("full/x").exists()
                && root.join("data").exists()
                && !root.join("empty").exists()
        );
    }

    #[test]
    fn a_missing_root_is_a_missing_path_and_not_an_error() {
        let (directory, ..) = tree();
        let roots = Roots::new(&[directory.path().join("nothing")]);
        assert!(roots.locate(&directory.path().join("nothing/a")).unwrap().is_none());
    }
}
