//! What accounts need of a cloud's authenticator: the world `cloud-auth`, as a port.

use serde::{Deserialize, Serialize};
use wharf_core::ports::Call;
use wharf_core::types::Parameters;
use wharf_core::{Error, Secret, SecretBytes};

use super::Source;

/// What signs requests, until it expires.
#[derive(Clone)]
pub struct Credential {
    /// Opaque to the host.
    pub values: Vec<(String, Secret)>,
    /// Milliseconds since 1970-01-01 UTC; absent: not known.
    pub expires_at_ms: Option<u64>,
}

/// Who an authenticator is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuthDescription {
    /// The component's name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// What only it may set.
    pub reserved: Reserved,
    /// Kinds of [`Source`] that it knows.
    pub source_kinds: Vec<String>,
    /// Forms of files that it renders.
    pub forms: Vec<String>,
    /// How the cloud's codes begin that ask to slow down.
    pub throttling_codes: Vec<String>,
}

/// Names that belong to a signer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reserved {
    /// Headers, lower case; one that ends in `-` is a prefix.
    pub headers: Vec<String>,
    /// Query keys.
    pub query: Vec<String>,
}

impl Reserved {
    /// Whether a header (lower case) belongs to the signer.
    pub fn has_header(&self, name: &str) -> bool {
        self.headers.iter().any(|reserved| {
            reserved == name || (reserved.ends_with('-') && name.starts_with(reserved.as_str()))
        })
    }

    /// Whether a query key belongs to the signer. Case does not matter: it does not to every
    /// server.
    pub fn has_query(&self, key: &str) -> bool {
        self.query.iter().any(|reserved| reserved.eq_ignore_ascii_case(key))
    }
}

/// Exactly what will be sent.
#[derive(Debug, Clone, Copy)]
pub struct Unsigned<'a> {
    /// The API action.
    pub action: &'a str,
    /// What the signer needs besides.
    pub api: &'a Parameters,
    /// Upper case.
    pub method: &'a str,
    /// As in the `Host` header.
    pub host: &'a str,
    /// Percent-encoded.
    pub path: &'a str,
    /// Decoded.
    pub query: &'a Parameters,
    /// The guest's headers.
    pub headers: &'a Parameters,
    /// The body.
    pub body: &'a [u8],
}

/// What is added to a request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Signature {
    /// Headers; they replace those of the same name.
    pub headers: Parameters,
    /// Query pairs; likewise.
    pub query: Parameters,
    /// Whether the action is part of what was signed.
    pub binds_action: bool,
}

/// A file with keys, for a mount helper.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CredentialFile {
    /// A name without slashes.
    pub name: String,
    /// What is in it.
    pub content: SecretBytes,
}

/// A cloud's credentials and signatures: the world `cloud-auth`.
pub trait Authenticator: Send + Sync {
    /// Which generation answers now. What one obtained means nothing to another.
    fn generation(&self) -> u64;
    /// Static.
    fn describe(&self, call: &Call) -> Result<AuthDescription, Error>;
    /// `NotFound`: this source has no credential.
    fn obtain(&self, call: &Call, source: &Source, now_ms: u64) -> Result<Credential, Error>;
    /// Pure.
    fn sign(
        &self,
        call: &Call,
        request: &Unsigned<'_>,
        settings: &Parameters,
        credential: &Credential,
        now_ms: u64,
        nonce: &str,
    ) -> Result<Signature, Error>;
    /// The files of a mount helper. Pure.
    fn render(
        &self,
        call: &Call,
        credential: &Credential,
        form: &str,
        values: &Parameters,
    ) -> Result<Vec<CredentialFile>, Error>;
}
