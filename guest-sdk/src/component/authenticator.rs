//! `authenticator`.

use super::{AuthComponent, on_entry};
use crate::auth::{Authenticator, Credential, File};
use crate::bindings::cloud_auth::exports::wharf::volume::authenticator as contract;
use crate::error::Error;
use crate::types::Parameters;

impl<A: Authenticator> contract::Guest for AuthComponent<A> {
    fn describe() -> Result<contract::AuthDescription, Error> {
        on_entry();
        Ok(A::describe())
    }

    fn obtain(source: contract::Source, now_ms: u64) -> Result<contract::Credential, Error> {
        on_entry();
        A::obtain(source.into(), now_ms).map(Into::into)
    }

    fn sign(
        request: contract::UnsignedRequest,
        credential: contract::Credential,
        now_ms: u64,
        nonce: String,
    ) -> Result<contract::Signature, Error> {
        on_entry();
        A::sign(request, Credential::from(credential), now_ms, &nonce)
    }

    fn render(
        credential: contract::Credential,
        form: String,
        values: Parameters,
    ) -> Result<Vec<contract::File>, Error> {
        on_entry();
        let files = A::render(Credential::from(credential), &form, values)?;
        Ok(files.into_iter().map(File::into_contract).collect())
    }
}
