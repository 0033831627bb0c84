//! What finds damage in a file of compiled code. Every call-out of FlexVolume asks for it, for two
//! megabytes, so it is a checksum and no digest: XXH3 costs little more than reading the file,
//! SHA-256 with the processor's help ten times as much, a third of a whole call-out.

use std::io::{self, Read};

use serde::{Deserialize, Serialize};
use twox_hash::XxHash3_128;

/// What fits the processor's cache: more of it makes reading no faster.
const BUFFER_BYTES: usize = 64 * 1024;

/// XXH3 of 128 bits, in hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Checksum(String);

impl Checksum {
    /// Of these bytes.
    pub(super) fn of(bytes: &[u8]) -> Self {
        Self::from(XxHash3_128::oneshot(bytes))
    }

    /// Of all that comes. What is read is held in a small buffer: memory that is touched for the
    /// first time costs more than reading into some that is there.
    ///
    /// # Errors
    /// What the reader says.
    pub(super) fn of_all(mut from: impl Read) -> io::Result<Self> {
        let (mut hasher, mut buffer) = (XxHash3_128::new(), [0; BUFFER_BYTES]);
        loop {
            match from.read(&mut buffer) {
                Ok(0) => return Ok(Self::from(hasher.finish_128())),
                Ok(read) => hasher.write(buffer.get(..read).unwrap_or_default()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

impl From<u128> for Checksum {
    fn from(sum: u128) -> Self {
        Self(format!("{sum:032x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checksum_is_xxh3_whether_bytes_come_at_once_or_piece_by_piece() {
        // The test vector of the reference implementation for no bytes and the seed 0.
        assert_eq!(Checksum::of(b"").0, "99aa06d3014798d86001c324468d497f");
        let mut long = vec![7; 3 * BUFFER_BYTES + 1];
        let whole = Checksum::of(&long);
        assert_eq!(Checksum::of_all(&*long).unwrap(), whole);
        long[BUFFER_BYTES] ^= 1;
        assert_ne!(Checksum::of_all(&*long).unwrap(), whole);
    }
}
