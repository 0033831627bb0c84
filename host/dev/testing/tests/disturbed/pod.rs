//! What the pod of a life does with its volume.

use std::path::Path;

/// What a pod does with a volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// It is the first, and writes.
    Empty,
    /// It finds what was written, and writes it again.
    Written,
    /// It finds what was written, and cannot write.
    ReadOnly,
}

/// What it writes.
pub const CONTENT: &str = "content";

/// Uses a file of the volume.
pub fn use_volume(file: &Path, found: Found) {
    if found != Found::Empty {
        assert_eq!(std::fs::read_to_string(file).unwrap(), CONTENT);
    }
    assert_eq!(
        std::fs::write(file, CONTENT).is_ok(),
        found != Found::ReadOnly,
        "{}",
        file.display()
    );
}
