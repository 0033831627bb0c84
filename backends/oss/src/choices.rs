//! Values of which there are only a few, with the words that people write for them. Pure.

use wharf_sdk::Error;

/// A value that is one of a few words.
pub trait Choice: Copy + 'static {
    /// The words, in lower case, and what they mean.
    const WORDS: &'static [(&'static str, Self)];

    /// Reads a word without regard to case.
    ///
    /// # Errors
    /// `invalid-argument` with the words that are allowed.
    fn read(key: &str, value: &str) -> Result<Self, Error> {
        let found = Self::WORDS.iter().find(|(word, _)| word.eq_ignore_ascii_case(value));
        found.map(|(_, choice)| *choice).ok_or_else(|| {
            let words: Vec<_> = Self::WORDS.iter().map(|(word, _)| *word).collect();
            Error::invalid(key, value, words.join(", "))
        })
    }
}

/// The program that serves the mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Helper {
    /// `ossfs` 1.x.
    Ossfs,
    /// `ossfs2`.
    Ossfs2,
    /// `s3fs`, through the S3-compatible API.
    S3fs,
}

impl Helper {
    /// The operator's name for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ossfs => "ossfs",
            Self::Ossfs2 => "ossfs2",
            Self::S3fs => "s3fs",
        }
    }
}

impl Choice for Helper {
    const WORDS: &'static [(&'static str, Self)] =
        &[("ossfs", Self::Ossfs), ("ossfs2", Self::Ossfs2), ("s3fs", Self::S3fs)];
}

/// Where the helper's keys come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Auth {
    /// The secrets of the volume.
    Keys,
    /// The role of the machine.
    Sts,
    /// A role of the cluster's service account.
    Rrsa,
    /// A store of secrets.
    SecretStore,
    /// Nowhere: everybody may use the bucket.
    Public,
}

impl Choice for Auth {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("sts", Self::Sts),
        ("rrsa", Self::Rrsa),
        ("csi-secret-store", Self::SecretStore),
        ("public", Self::Public),
    ];
}

/// Encryption at rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encryption {
    /// With keys of the service.
    Aes256,
    /// With keys of the key management service.
    Kms,
}

impl Choice for Encryption {
    const WORDS: &'static [(&'static str, Self)] = &[("aes256", Self::Aes256), ("kms", Self::Kms)];
}

/// How the helper signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signature {
    /// Version 1.
    V1,
    /// Version 4, which names the region.
    V4,
}

impl Choice for Signature {
    const WORDS: &'static [(&'static str, Self)] = &[("v1", Self::V1), ("v4", Self::V4)];
}

/// What a new volume is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VolumeAs {
    /// The class's path itself, shared by all its volumes. `sharepath` is another word for it.
    Direct,
    /// A directory of its own below the class's path.
    Subpath,
}

impl Choice for VolumeAs {
    const WORDS: &'static [(&'static str, Self)] =
        &[("direct", Self::Direct), ("sharepath", Self::Direct), ("subpath", Self::Subpath)];
}

/// A flag, in the spellings that Go's `ParseBool` takes.
impl Choice for bool {
    const WORDS: &'static [(&'static str, Self)] =
        &[("true", true), ("false", false), ("1", true), ("0", false), ("t", true), ("f", false)];
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_in_any_case_and_others_refused_with_those_allowed() {
        assert_eq!(Helper::read("fuseType", "OSSFS2").unwrap(), Helper::Ossfs2);
        assert!(bool::read("readOnly", "True").unwrap());
        let refused = Auth::read("authType", "agent-identity").unwrap_err().message;
        for word in ["authType", "agent-identity", "sts", "rrsa", "csi-secret-store", "public"] {
            assert!(refused.contains(word), "{refused}");
        }
        let share = VolumeAs::read("volumeAs", "sharePath").unwrap();
        assert_eq!(share, VolumeAs::Direct);
    }
}
