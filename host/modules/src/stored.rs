//! The core's ports, played by whichever generation of a component is active.

use std::sync::Arc;
use std::time::Duration;

use wharf_core::Error;
use wharf_core::ports::{Ask, Call, Describe};
use wharf_core::types::{Description, Parameters, Progress};
use wharf_core::verbs::Verb;
use wharf_runtime::{
    AuthCode, AuthDescription, AuthPorts, Authenticator, BackendCode, BackendPorts, Checked,
    Credential, CredentialFile, Signature, Source, Unsigned, WasmAuthenticator, WasmBackend,
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
        let slot = Slot::new(id, loader, move |loaded: Loaded| {
            let code = BackendCode::link(
                &loaded.engine,
                &loaded.component,
                loaded.manifest,
                loaded.generation,
            )
            .map_err(|error| Error::internal(error.to_string()))?;
            let Checked::Backend(description) = loaded.description else {
                return Err(other_kind());
            };
            let code = code.described(description);
            Ok(WasmBackend::new(ports.clone(), Arc::new(code)))
        });
        Self { slot }
    }
}

/// The store wrote a description of the component's own kind.
fn other_kind() -> Error {
    Error::internal("the component's record describes a component of the other kind")
        .with_hint("install the component again")
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
        let slot = Slot::new(id, loader, move |loaded: Loaded| {
            let code = AuthCode::link(
                &loaded.engine,
                &loaded.component,
                loaded.manifest,
                loaded.generation,
            )
            .map_err(|error| Error::internal(error.to_string()))?;
            let Checked::Auth(description) = loaded.description else {
                return Err(other_kind());
            };
            let code = code.described(description);
            Ok(WasmAuthenticator::new(ports.clone(), Arc::new(code)))
        });
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

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use wharf_core::manifest::World;
    use wharf_core::ports::Clock;
    use wharf_runtime::{
        CallEvent, CallPorts, EngineMode, Limits, Outcome, RuntimeObserver, Share, ShareLimits,
    };
    use wharf_testing::fakes::FakeClock;

    use super::*;
    use crate::installer::Installer;
    use crate::store::State;
    use crate::test_store::TestStore;

    /// A component that works. It says always the same, so what its record says is changed here.
    const HELLO: &[u8] = include_bytes!("../../runtime/tests/fixtures/hello-0.1.0.wasm");

    /// Which functions of the component were called.
    #[derive(Default)]
    struct Called(Mutex<Vec<&'static str>>);

    impl RuntimeObserver for Called {
        fn called(&self, event: &CallEvent<'_>) {
            assert_eq!(event.outcome, Outcome::Answered);
            self.0.lock().unwrap().push(event.function);
        }
    }

    /// A store in which it is active, as it was installed.
    fn installed() -> (TestStore, ComponentId) {
        let bed = TestStore::new();
        bed.compile(HELLO);
        let installer = Installer::new(&bed.store, Arc::new(FakeClock::default()));
        let generation = installer.install(World::Backend, None, HELLO).unwrap();
        installer.activate(&generation.id(), None).unwrap();
        (bed, generation.id())
    }

    fn recorded(bed: &TestStore, id: &ComponentId) -> Option<Description> {
        match bed.store.active(id).unwrap().generation.state {
            State::Checked { description } => description.and_then(|said| match *said {
                Checked::Backend(description) => Some(description),
                Checked::Auth(_) => None,
            }),
            _ => None,
        }
    }

    fn record(bed: &TestStore, id: &ComponentId, description: Option<Description>) {
        let state = State::Checked { description: description.map(Checked::Backend).map(Box::new) };
        bed.store.mark(id, 1, state).unwrap();
    }

    /// What a process that begins now says of it, and which functions were called for that.
    fn served(bed: &TestStore, id: &ComponentId) -> (Description, Vec<&'static str>) {
        let clock = Arc::new(FakeClock::default());
        let loader = Loader::new(bed.store.clone(), EngineMode::OnDemand, clock.clone());
        let called = Arc::new(Called::default());
        let calls = CallPorts {
            clock: clock.clone(),
            limits: Limits::default(),
            observer: Some(called.clone()),
            share: Share::new("hello", ShareLimits::default()),
        };
        let ports =
            BackendPorts { calls, egress: None, signer: None, grants: vec![], config: vec![] };
        let backend = StoredBackend::new(id.clone(), &Arc::new(loader), ports);
        let call = Call::until(clock.now() + Duration::from_secs(3600));
        let said = backend.description(&call).unwrap();
        assert_eq!(backend.description_at_hand(), Some(said.clone()));
        let called = called.0.lock().unwrap().clone();
        (Arc::unwrap_or_clone(said), called)
    }

    #[test]
    fn what_a_backend_said_when_it_was_checked_is_served_without_asking_it() {
        let (bed, id) = installed();
        let said = recorded(&bed, &id).unwrap();
        assert_eq!(said.drivers[0].name, "hello.wharf.dev");
        assert_eq!(served(&bed, &id), (said.clone(), vec![]));
        // The same as a component that says something else by now.
        let other = Description { capabilities: vec!["attach".to_owned()], ..said };
        record(&bed, &id, Some(other.clone()));
        assert_eq!(served(&bed, &id), (other, vec![]));
    }

    #[test]
    fn a_generation_whose_record_has_no_description_is_checked_again_and_then_has_it() {
        let (bed, id) = installed();
        let said = recorded(&bed, &id);
        record(&bed, &id, None);
        // As an earlier build wrote it.
        let path = bed.store.root().join("backends/hello/generations/1.json");
        assert!(!std::fs::read_to_string(path).unwrap().contains("description"));
        assert_eq!(Some(served(&bed, &id).0), said);
        assert_eq!(recorded(&bed, &id), said);
    }
}
