//! Where the keys of mount helpers come from. Who renders them is not this crate's business: the
//! binary puts the two together.

use wharf_core::Error;
use wharf_core::plan::HelperCredential;
use wharf_core::ports::{Call, CallSecrets};

use crate::supervisor::CredentialFile;

/// A credential as a helper reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RenderedKeys {
    /// Its files.
    pub files: Vec<CredentialFile>,
    /// When the account has the next one, in milliseconds since 1970-01-01 UTC; `None`: it came
    /// with the call, and only another call brings another.
    pub renew_at_ms: Option<u64>,
}

/// Renders credentials into the files that mount helpers read.
pub trait HelperKeys: Send + Sync {
    /// The files of an account's credential, in the form that the plan asks for. `secrets` came
    /// with the call, for accounts whose source that is.
    ///
    /// # Errors
    /// Why there is no credential, `Unauthenticated` where no source has one; never with any of it
    /// in the text.
    fn render(
        &self,
        call: &Call,
        secrets: CallSecrets<'_>,
        credential: &HelperCredential,
    ) -> Result<RenderedKeys, Error>;
}
