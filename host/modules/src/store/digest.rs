//! SHA-256, as names of files.

use std::fmt;
use std::io::{self, Read};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// More of it makes reading no faster.
const BUFFER_BYTES: usize = 64 * 1024;

/// Lower-case hexadecimal, 64 characters; never anything else.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(String);

impl Digest {
    /// The digest of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(format!("{:x}", Sha256::digest(bytes)))
    }

    /// The digest of all that comes. What is read is held in a small buffer: every call-out reads
    /// megabytes of compiled code, and memory that is touched for the first time costs more than
    /// reading into some that is there.
    ///
    /// # Errors
    /// What the reader says.
    pub fn of_all(mut from: impl Read) -> io::Result<Self> {
        let (mut hasher, mut buffer) = (Sha256::new(), [0; BUFFER_BYTES]);
        loop {
            match from.read(&mut buffer) {
                Ok(0) => return Ok(Self(format!("{:x}", hasher.finalize()))),
                Ok(read) => hasher.update(buffer.get(..read).unwrap_or_default()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Digest {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if text.len() == 64 && text.bytes().all(is_hex) {
            Ok(Self(text))
        } else {
            Err("a digest is 64 hexadecimal digits".to_owned())
        }
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_sha_256_and_nothing_that_leads_elsewhere() {
        assert_eq!(
            Digest::of(b"abc").as_str(),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        // Longer than the buffer.
        let long = vec![7; BUFFER_BYTES + 1];
        assert_eq!(Digest::of_all(&*long).unwrap(), Digest::of(&long));
        for text in ["", "../x", &"A".repeat(64), &"a".repeat(63)] {
            assert!(Digest::try_from(text.to_owned()).is_err(), "{text}");
        }
    }
}
