//! The second world: a cloud's credentials and signatures. The only kind of component that sees
//! keys.
//!
//! Keys are [`Secret`]s here: they cannot be printed, only [exposed](Secret::expose) where they are
//! used.

use std::fmt;

use crate::bindings::cloud_auth::exports::wharf::volume::authenticator as contract;
pub use contract::{AuthDescription, Signature, UnsignedRequest};

use crate::error::Error;
use crate::types::Parameters;

/// A value that never shows up in a message, a log or a debug output.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps the value.
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The value itself, for the one place that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

/// Where a credential comes from: the operator's choice. Environment and files are already read by
/// the host.
#[derive(Debug, Clone, PartialEq)]
pub struct Source {
    /// One of [`AuthDescription::source_kinds`].
    pub kind: String,
    values: Vec<(String, Secret)>,
}

impl Source {
    /// A source of this kind.
    pub fn new<const N: usize>(kind: impl Into<String>, values: [(&str, &str); N]) -> Self {
        Self {
            kind: kind.into(),
            values: values.map(|(key, value)| (key.to_owned(), Secret::new(value))).to_vec(),
        }
    }

    /// A value; an empty one counts as absent.
    pub fn value(&self, key: &str) -> Option<&Secret> {
        self.values
            .iter()
            .find(|(name, value)| name == key && !value.expose().is_empty())
            .map(|(_, value)| value)
    }

    /// A value whose key is written in any ASCII case; an empty one counts as absent.
    pub fn value_in_any_case(&self, key: &str) -> Option<&Secret> {
        self.values
            .iter()
            .find(|(name, value)| name.eq_ignore_ascii_case(key) && !value.expose().is_empty())
            .map(|(_, value)| value)
    }

    /// A value without which the source is empty.
    ///
    /// # Errors
    /// `not-found`, so that the host tries the next source.
    pub fn require(&self, key: &str) -> Result<&Secret, Error> {
        self.value(key).ok_or_else(|| {
            Error::not_found(format!("credential source `{}` has no `{key}`", self.kind))
        })
    }
}

impl From<contract::Source> for Source {
    fn from(source: contract::Source) -> Self {
        Self { kind: source.kind, values: seal(source.values) }
    }
}

/// A credential, and when it ends.
#[derive(Debug, Clone, PartialEq)]
pub struct Credential {
    values: Vec<(String, Secret)>,
    /// Milliseconds since 1970-01-01 UTC; absent: it does not expire.
    pub expires_at_ms: Option<u64>,
}

impl Credential {
    /// An empty credential that does not expire.
    pub fn new() -> Self {
        Self { values: Vec::new(), expires_at_ms: None }
    }

    /// Adds a value.
    #[must_use]
    pub fn with(mut self, key: impl Into<String>, value: Secret) -> Self {
        self.values.push((key.into(), value));
        self
    }

    /// Ends at this time, in milliseconds since 1970-01-01 UTC.
    #[must_use]
    pub fn until_ms(mut self, expires_at_ms: u64) -> Self {
        self.expires_at_ms = Some(expires_at_ms);
        self
    }

    /// A value; an empty one counts as absent.
    pub fn value(&self, key: &str) -> Option<&Secret> {
        self.values
            .iter()
            .find(|(name, value)| name == key && !value.expose().is_empty())
            .map(|(_, value)| value)
    }
}

impl Default for Credential {
    fn default() -> Self {
        Self::new()
    }
}

impl From<contract::Credential> for Credential {
    fn from(credential: contract::Credential) -> Self {
        Self { values: seal(credential.values), expires_at_ms: credential.expires_at_ms }
    }
}

impl From<Credential> for contract::Credential {
    fn from(credential: Credential) -> Self {
        let values = credential.values.into_iter().map(|(key, value)| (key, value.0)).collect();
        Self { values, expires_at_ms: credential.expires_at_ms, extensions: Vec::new() }
    }
}

fn seal(values: Parameters) -> Vec<(String, Secret)> {
    values.into_iter().map(|(key, value)| (key, Secret(value))).collect()
}

/// A file for a mount helper, whose content nothing prints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    name: String,
    content: Secret,
}

impl File {
    /// A file of this name (no slashes) and content.
    pub fn new(name: impl Into<String>, content: Secret) -> Self {
        Self { name: name.into(), content }
    }

    /// The file's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What is in it.
    pub fn content(&self) -> &Secret {
        &self.content
    }

    pub(crate) fn into_contract(self) -> contract::File {
        contract::File { name: self.name, content: self.content.0.into_bytes() }
    }
}

impl Signature {
    /// A signature that adds nothing, of an API that signs actions.
    pub fn new() -> Self {
        Self { headers: Vec::new(), query: Vec::new(), binds_action: true, extensions: Vec::new() }
    }

    /// A signature that adds nothing, of an API that signs no action: the host refuses to send a
    /// request with it that names one.
    pub fn without_action() -> Self {
        Self { binds_action: false, ..Self::new() }
    }

    /// Adds a header, by its lower-case name.
    #[must_use]
    pub fn with_header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Adds a query parameter, not yet percent-encoded.
    #[must_use]
    pub fn with_query(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.query.push((key.into(), value.into()));
        self
    }
}

impl Default for Signature {
    fn default() -> Self {
        Self::new()
    }
}

/// A cloud's credentials and signatures.
pub trait Authenticator {
    /// Static: names what is reserved for the signer, and the kinds of source.
    fn describe() -> AuthDescription;

    /// Turns a source into a credential. May ask the metadata service or a token service, if
    /// granted.
    ///
    /// # Errors
    /// `not-found` when this source has none and the next should be tried.
    fn obtain(source: Source, now_ms: u64) -> Result<Credential, Error>;

    /// Signs exactly what will be sent. Pure; no import is linked while it runs.
    ///
    /// # Errors
    /// The credential or the settings are of no use.
    fn sign(
        request: UnsignedRequest,
        credential: Credential,
        now_ms: u64,
        nonce: &str,
    ) -> Result<Signature, Error>;

    /// Writes a credential in a mount helper's own form. Pure; no import is linked while it runs.
    ///
    /// # Errors
    /// `unsupported` for a form that it does not know.
    fn render(
        _credential: Credential,
        form: &str,
        _values: Parameters,
    ) -> Result<Vec<File>, Error> {
        Err(Error::unsupported(format!("this authenticator writes no `{form}` files")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_holds_a_secret_prints_it() {
        let source = Source::new("static", [("access-key-secret", "s3cr3t")]);
        let credential =
            Credential::new().with("access-key-secret", Secret::new("s3cr3t")).until_ms(1);
        assert!(!format!("{source:?} {credential:?}").contains("s3cr3t"));
        assert_eq!(
            contract::Credential::from(credential).values,
            [("access-key-secret".to_owned(), "s3cr3t".to_owned())]
        );
    }

    #[test]
    fn an_empty_value_is_none_and_a_missing_one_passes_the_source_over() {
        let source = Source::new("static", [("a", ""), ("b", "x")]);
        assert!(source.value("a").is_none());
        assert_eq!(source.require("a").unwrap_err().kind, crate::ErrorKind::NotFound);
        assert_eq!(source.require("b").unwrap().expose(), "x");
    }
}
