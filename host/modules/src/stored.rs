//! The core's ports, played by whichever generation of a component is active.

use std::sync::Arc;
use std::time::Duration;

use wharf_core::Error;
use wharf_core::ports::{Ask, Call, Describe};
use wharf_core::types::{Description, Parameters, Progress};
use wharf_core::verbs::Verb;
use wharf_runtime::{
    AuthCode, AuthDescription, AuthPorts, Authenticator, BackendCode, BackendPorts, Credential,
    CredentialFile, Signature, Source, Unsigned, WasmAuthenticator, WasmBackend,
};

use crate::loader::{Loaded, Loader, Slot};
use crate::store::ComponentId;

/// How long the generation of a signer is waited for, which is asked without a call: as long as a
/// caller of Kubernetes usually waits.
const WITHOUT_A_CALL: Duration = Duration::from_secs(15);

/// The backend of this name in the store, whichever generation is active.
pub struct StoredBackend {
    slot: Arc<Slot<WasmBackend>>,
}

impl StoredBackend {
    /// Nothing is loaded yet.
    pub fn new(id: ComponentId, loader: &Arc<Loader>, ports: BackendPorts) -> Self {
        let slot =
            Slot::new(id, loader, move |loaded: Loaded, running: Option<&Arc<WasmBackend>>| {
                let code = BackendCode::link(
                    &loaded.engine,
                    &loaded.component,
                    loaded.manifest,
                    loaded.generation,
                )
                .map_err(|error| Error::internal(error.to_string()))?;
                Ok(match running {
                    Some(backend) => {
                        backend.publish(Arc::new(code));
                        Arc::clone(backend)
                    }
                    None => Arc::new(WasmBackend::new(ports.clone(), Arc::new(code))),
                })
            });
        Self { slot }
    }
}

impl<V: Verb> Ask<V> for StoredBackend
where
    WasmBackend: Ask<V>,
{
    fn ask(
        &self,
        call: &Call,
        request: &V::Request,
        progress: &Progress,
    ) -> Result<V::Answer, Error> {
        Ask::<V>::ask(&*self.slot.get(call)?, call, request, progress)
    }
}

impl Describe for StoredBackend {
    fn description(&self, call: &Call) -> Result<Arc<Description>, Error> {
        self.slot.get(call)?.description(call)
    }

    fn description_at_hand(&self) -> Option<Arc<Description>> {
        self.slot.at_hand()?.description_at_hand()
    }
}

/// The authenticator of this name in the store, whichever generation is active.
pub struct StoredAuthenticator {
    slot: Arc<Slot<WasmAuthenticator>>,
}

impl StoredAuthenticator {
    /// Nothing is loaded yet.
    pub fn new(id: ComponentId, loader: &Arc<Loader>, ports: AuthPorts) -> Self {
        let slot = Slot::new(
            id,
            loader,
            move |loaded: Loaded, _running: Option<&Arc<WasmAuthenticator>>| {
                let code = AuthCode::link(
                    &loaded.engine,
                    &loaded.component,
                    loaded.manifest,
                    loaded.generation,
                )
                .map_err(|error| Error::internal(error.to_string()))?;
                Ok(Arc::new(WasmAuthenticator::new(ports.clone(), Arc::new(code))))
            },
        );
        Self { slot }
    }
}

impl Authenticator for StoredAuthenticator {
    fn generation(&self) -> u64 {
        // One that cannot be loaded neither obtains nor signs.
        self.slot.get_within(WITHOUT_A_CALL).map_or(0, |authenticator| authenticator.generation())
    }

    fn describe(&self, call: &Call) -> Result<AuthDescription, Error> {
        self.slot.get(call)?.describe(call)
    }

    fn obtain(&self, call: &Call, source: &Source, now_ms: u64) -> Result<Credential, Error> {
        self.slot.get(call)?.obtain(call, source, now_ms)
    }

    fn sign(
        &self,
        call: &Call,
        request: &Unsigned<'_>,
        settings: &Parameters,
        credential: &Credential,
        now_ms: u64,
        nonce: &str,
    ) -> Result<Signature, Error> {
        self.slot.get(call)?.sign(call, request, settings, credential, now_ms, nonce)
    }

    fn render(
        &self,
        call: &Call,
        credential: &Credential,
        form: &str,
        values: &Parameters,
    ) -> Result<Vec<CredentialFile>, Error> {
        self.slot.get(call)?.render(call, credential, form, values)
    }
}
