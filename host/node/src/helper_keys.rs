//! Where the keys of mount helpers come from. Who renders them is not this crate's business: the
//! binary puts the two together.

use wharf_core::Error;
use wharf_core::plan::HelperCredential;
use wharf_core::ports::Call;

use crate::supervisor::CredentialFile;

/// Renders credentials into the files that mount helpers read.
pub trait HelperKeys: Send + Sync {
    /// The files of an account's credential, in the form that the plan asks for.
    ///
    /// # Errors
    /// Why there is no credential; never with any of it in the text.
    fn render(
        &self,
        call: &Call,
        credential: &HelperCredential,
    ) -> Result<Vec<CredentialFile>, Error>;
}
