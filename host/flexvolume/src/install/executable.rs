//! Files that kubelet executes: compared, copied, put in place by rename.

use std::fs::{self, File, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

/// Whether two files hold the same bytes. A missing second file is not the same.
pub(super) fn is_same(one: &Path, other: &Path) -> io::Result<bool> {
    let (one_is, other_is) = match (fs::metadata(one)?, fs::metadata(other)) {
        (one, Ok(other)) => (one, other),
        (_, Err(error)) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        (_, Err(error)) => return Err(error),
    };
    if (one_is.dev(), one_is.ino()) == (other_is.dev(), other_is.ino()) {
        return Ok(true);
    }
    // A file that kubelet cannot execute has to be replaced, whatever is in it.
    if one_is.len() != other_is.len() || other_is.mode() & 0o111 == 0 {
        return Ok(false);
    }
    have_same_bytes(File::open(one)?, File::open(other)?)
}

fn have_same_bytes(mut one: File, mut other: File) -> io::Result<bool> {
    // A binary of tens of megabytes in a few hundred reads.
    let mut left = vec![0; 1 << 17];
    let mut right = vec![0; 1 << 17];
    loop {
        let count = one.read(&mut left)?;
        let (Some(left), Some(right)) = (left.get(..count), right.get_mut(..count)) else {
            return Ok(false);
        };
        match other.read_exact(right) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
            read => read?,
        }
        if count == 0 || left != right {
            return Ok(count == 0);
        }
    }
}

/// Puts `binary` at `executable`, by way of `incoming` in the same directory. `sibling`: a file
/// with the same bytes, to link to.
pub(super) fn place(
    binary: &Path,
    sibling: Option<&Path>,
    incoming: &Path,
    executable: &Path,
) -> io::Result<()> {
    match sibling {
        Some(sibling) if sibling != executable && is_same(binary, sibling)? => {
            duplicate(sibling, incoming)?
        }
        Some(_) | None => copy(binary, incoming)?,
    }
    fs::rename(incoming, executable)?;
    executable.parent().map_or(Ok(()), |directory| File::open(directory)?.sync_all())
}

/// Another name for the file, or a copy where the file system has no such thing.
pub(super) fn duplicate(file: &Path, incoming: &Path) -> io::Result<()> {
    clear(incoming)?;
    fs::hard_link(file, incoming).or_else(|_| copy(file, incoming))
}

/// Never a link to `binary` itself: a package manager that overwrites it in place would change what
/// kubelet executes, half-way.
fn copy(binary: &Path, incoming: &Path) -> io::Result<()> {
    clear(incoming)?;
    fs::copy(binary, incoming)?;
    fs::set_permissions(incoming, Permissions::from_mode(0o755))?;
    File::open(incoming)?.sync_all()
}

/// What a killed installer left.
fn clear(incoming: &Path) -> io::Result<()> {
    match fs::remove_file(incoming) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}
