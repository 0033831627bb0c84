//! [`WasmAuthenticator`]: the port [`Authenticator`], played by a component of the world
//! `cloud-auth`.
//!
//! It sees keys, so it has nowhere to send them: `obtain` reaches only what the operator granted to
//! the account, `sign` has no import behind it but its log, and from that log and from errors the
//! values that it was given are struck out.

use std::sync::{Arc, OnceLock};

use wasmtime::Store;
use wasmtime::component::{Component, HasSelf};
use wharf_core::manifest::{Manifest, World};
use wharf_core::policy::EndpointGrant;
use wharf_core::ports::Call;
use wharf_core::types::Parameters;
use wharf_core::{Blame, Error, ErrorKind, Secret, SecretBytes};

use crate::account::{
    AuthDescription, Authenticator, Credential, CredentialFile, Reserved, Signature, Source,
    Unsigned,
};
use crate::bindings::auth::exports::wharf::volume::authenticator as wit;
use crate::bindings::auth::{CloudAuth as Instance, CloudAuthPre};
use crate::bounds::DESCRIPTION_BYTES;
use crate::component_error::ComponentError;
use crate::contract;
use crate::egress::{Egress, Grants, Requester};
use crate::engine::Engine;
use crate::guest::{CallPorts, Entry, Guest, Invoked, linker};
use crate::host::{HostCtx, Outbound};
use crate::on_demand::OnDemandCopy;
use crate::share::Network;

/// Values of one credential: an id, a key, a token and a few names.
const CREDENTIAL_VALUES: usize = 32;
/// All of a credential together: a security token has about 1 KiB.
const CREDENTIAL_BYTES: usize = 16 << 10;
/// Files that a helper gets: a key file, or one for each part of a credential.
const CREDENTIAL_FILES: usize = 8;
/// Names in one list of a description, and headers or keys in one signature.
const NAMES: usize = 64;

/// A linked authenticator: one generation.
pub struct AuthCode {
    guest: Guest,
    pre: CloudAuthPre<HostCtx>,
    described: OnceLock<AuthDescription>,
    on_demand: OnDemandCopy<Self>,
}

impl AuthCode {
    /// Links a component of the world `cloud-auth`.
    ///
    /// # Errors
    /// [`ComponentError::Contract`] with every difference, in words.
    pub fn link(
        engine: &Engine,
        component: &Component,
        manifest: Manifest,
        generation: u64,
    ) -> Result<Self, ComponentError> {
        let differences =
            |error| contract::error(engine.wasmtime(), component, World::CloudAuth, &error);
        let pre = linker(engine, component, |linker| {
            Instance::add_to_linker::<_, HasSelf<HostCtx>>(linker, |ctx| ctx)
        })
        .and_then(|linker| CloudAuthPre::new(linker.instantiate_pre(component)?))
        .map_err(differences)?;
        Ok(Self {
            guest: Guest::new(engine, manifest, generation),
            pre,
            described: OnceLock::new(),
            on_demand: OnDemandCopy::new(engine, component),
        })
    }

    /// The same with what the component said of itself when it was checked. It is not asked again.
    #[must_use]
    pub fn described(self, description: AuthDescription) -> Self {
        Self { described: OnceLock::from(description), ..self }
    }

    /// The generation's number in the store.
    pub fn generation(&self) -> u64 {
        self.guest.generation
    }

    /// The component's manifest.
    pub fn manifest(&self) -> &Manifest {
        &self.guest.manifest
    }

    /// Calls so far, and how many of them trapped or broke a bound.
    pub fn health(&self) -> (u64, u64) {
        let (calls, broken) = self.guest.health();
        let (more, more_broken) =
            self.on_demand.get().map_or((0, 0), |on_demand| on_demand.guest.health());
        (calls.saturating_add(more), broken.saturating_add(more_broken))
    }
}

/// What an authenticator is given by its operator.
#[derive(Clone)]
pub struct AuthPorts {
    /// Clock, limits and observer.
    pub calls: CallPorts,
    /// The way out of `obtain`; absent: every request is refused.
    pub egress: Option<Arc<dyn Egress>>,
    /// What the operator grants to `obtain`: a metadata service, a token service.
    pub grants: Vec<EndpointGrant>,
}

/// An authenticator that is one generation of a component.
pub struct WasmAuthenticator {
    ports: AuthPorts,
    code: Arc<AuthCode>,
}

impl WasmAuthenticator {
    /// The authenticator that this code is.
    pub fn new(ports: AuthPorts, code: Arc<AuthCode>) -> Self {
        Self { ports, code }
    }

    fn entry<'a>(
        &self,
        call: &'a Call,
        function: &'static str,
        outbound: Option<Outbound>,
        secrets: Vec<Secret>,
    ) -> Result<Entry<'a>, Error> {
        // Obtaining a credential changes nothing, and others wait for it.
        let network = if outbound.is_some() { Network::Reads } else { Network::None };
        let admission = self.ports.calls.admit(network, function, call)?;
        Ok(Entry { call, function, admission, outbound, config: Arc::default(), secrets })
    }

    fn call<W, T>(
        &self,
        entry: Entry<'_>,
        invoke: impl FnOnce(&Instance, &mut Store<HostCtx>) -> Invoked<W>,
        convert: impl FnOnce(W) -> T,
        check: impl FnOnce(&T) -> Result<(), Error>,
    ) -> Result<T, Error> {
        let Guest { manifest, generation, .. } = &self.code.guest;
        let guard = self.code.on_demand.for_one_call(&self.code, |engine, component| {
            AuthCode::link(engine, component, manifest.clone(), *generation)
        });
        let code = &*guard.code;
        code.guest.call(
            &self.ports.calls,
            entry,
            |store| code.pre.instantiate(store),
            invoke,
            |wire, _| Ok(convert(wire)),
            check,
        )
    }
}

impl Authenticator for WasmAuthenticator {
    fn generation(&self) -> u64 {
        self.code.generation()
    }

    fn describe(&self, call: &Call) -> Result<AuthDescription, Error> {
        if let Some(described) = self.code.described.get() {
            return Ok(described.clone());
        }
        let invoke = |it: &Instance, store: &mut Store<HostCtx>| {
            it.wharf_volume_authenticator().call_describe(store)
        };
        let description = self.call(
            self.entry(call, "describe", None, Vec::new())?,
            invoke,
            description_from_guest,
            check_description,
        )?;
        Ok(self.code.described.get_or_init(|| description).clone())
    }

    fn obtain(&self, call: &Call, source: &Source, now_ms: u64) -> Result<Credential, Error> {
        let grants = Arc::new(Grants {
            operator: self.ports.grants.clone(),
            manifest: self.code.guest.manifest.request.clone(),
        });
        let outbound = self.ports.egress.clone().map(|egress| Outbound {
            egress,
            signer: None,
            grants,
            requester: Requester::Authenticator,
            asker: Arc::clone(self.ports.calls.share.name()),
            call_secrets: Arc::default(),
        });
        let secrets = source.values.iter().map(|(_, value)| value.clone()).collect();
        let source = wit::Source {
            kind: source.kind.clone(),
            values: exposed(&source.values),
            extensions: Vec::new(),
        };
        let invoke = |it: &Instance, store: &mut Store<HostCtx>| {
            it.wharf_volume_authenticator().call_obtain(store, &source, now_ms)
        };
        self.call(
            self.entry(call, "obtain", outbound, secrets)?,
            invoke,
            credential_from_guest,
            check_credential,
        )
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
        let secrets = credential.values.iter().map(|(_, value)| value.clone()).collect();
        let credential = credential_to_guest(credential);
        let request = unsigned_to_guest(request, settings);
        let invoke = |it: &Instance, store: &mut Store<HostCtx>| {
            it.wharf_volume_authenticator().call_sign(store, &request, &credential, now_ms, nonce)
        };
        self.call(
            self.entry(call, "sign", None, secrets)?,
            invoke,
            signature_from_guest,
            check_signature,
        )
    }

    fn render(
        &self,
        call: &Call,
        credential: &Credential,
        form: &str,
        values: &Parameters,
    ) -> Result<Vec<CredentialFile>, Error> {
        let secrets = credential.values.iter().map(|(_, value)| value.clone()).collect();
        let credential = credential_to_guest(credential);
        let invoke = |it: &Instance, store: &mut Store<HostCtx>| {
            it.wharf_volume_authenticator().call_render(store, &credential, form, values)
        };
        self.call(
            self.entry(call, "render", None, secrets)?,
            invoke,
            |files| files.into_iter().map(file_from_guest).collect(),
            |files: &Vec<CredentialFile>| check_files(files),
        )
    }
}

fn credential_to_guest(credential: &Credential) -> wit::Credential {
    wit::Credential {
        values: exposed(&credential.values),
        expires_at_ms: credential.expires_at_ms,
        extensions: Vec::new(),
    }
}

fn file_from_guest(file: wit::File) -> CredentialFile {
    let wit::File { name, content } = file;
    CredentialFile { name, content: SecretBytes::new(content) }
}

fn check_files(files: &[CredentialFile]) -> Result<(), Error> {
    bound("files with keys", files.len(), CREDENTIAL_FILES)?;
    bound(
        "bytes in its files with keys",
        files.iter().map(|file| file.content.expose().len()).sum(),
        CREDENTIAL_BYTES,
    )?;
    match files.iter().find(|file| !is_file_name(&file.name)) {
        Some(_) => Err(Error::new(
            ErrorKind::Internal,
            Blame::Backend,
            "the authenticator renders a file whose name is not a plain one",
        )),
        None => Ok(()),
    }
}

/// Letters, digits, `-`, `_` and `.`, not first: it stays inside its directory, whoever joins it.
fn is_file_name(name: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    (1..=NAMES).contains(&name.len()) && name.chars().all(is_plain) && !name.starts_with('.')
}

fn exposed(values: &[(String, Secret)]) -> Parameters {
    values.iter().map(|(key, value)| (key.clone(), value.expose().to_owned())).collect()
}

fn unsigned_to_guest(request: &Unsigned<'_>, settings: &Parameters) -> wit::UnsignedRequest {
    let Unsigned { action, api, method, host, path, query, headers, body } = *request;
    wit::UnsignedRequest {
        action: action.to_owned(),
        api: api.clone(),
        settings: settings.clone(),
        method: method.to_owned(),
        host: host.to_owned(),
        path: path.to_owned(),
        query: query.clone(),
        headers: headers.clone(),
        body: body.to_vec(),
        extensions: Vec::new(),
    }
}

fn description_from_guest(description: wit::AuthDescription) -> AuthDescription {
    let wit::AuthDescription {
        name,
        version,
        reserved_headers,
        reserved_query,
        source_kinds,
        forms,
        throttling_codes,
        extensions: _,
    } = description;
    AuthDescription {
        name,
        version,
        reserved: Reserved { headers: reserved_headers, query: reserved_query },
        source_kinds,
        forms,
        throttling_codes,
    }
}

fn credential_from_guest(credential: wit::Credential) -> Credential {
    let wit::Credential { values, expires_at_ms, extensions: _ } = credential;
    Credential {
        values: values.into_iter().map(|(key, value)| (key, Secret::new(value))).collect(),
        expires_at_ms,
    }
}

fn signature_from_guest(signature: wit::Signature) -> Signature {
    let wit::Signature { headers, query, binds_action, extensions: _ } = signature;
    Signature { headers, query, binds_action }
}

fn check_description(it: &AuthDescription) -> Result<(), Error> {
    let lists = [
        &it.reserved.headers,
        &it.reserved.query,
        &it.source_kinds,
        &it.forms,
        &it.throttling_codes,
    ];
    let longest = lists.into_iter().map(Vec::len).max().unwrap_or(0);
    bound("names in its description", longest, NAMES)?;
    let texts = lists.into_iter().flatten().chain([&it.name, &it.version]);
    bound("bytes in its description", texts.map(String::len).sum(), DESCRIPTION_BYTES)
}

fn check_credential(it: &Credential) -> Result<(), Error> {
    bound("values in its credential", it.values.len(), CREDENTIAL_VALUES)?;
    bound(
        "bytes in its credential",
        it.values.iter().map(|(key, value)| key.len() + value.expose().len()).sum(),
        CREDENTIAL_BYTES,
    )
}

fn check_signature(it: &Signature) -> Result<(), Error> {
    bound("headers and keys in its signature", it.headers.len().max(it.query.len()), NAMES)
}

fn bound(what: &str, length: usize, bound: usize) -> Result<(), Error> {
    if length > bound {
        return Err(Error::new(
            ErrorKind::Internal,
            Blame::Backend,
            format!("{length} {what}, at most {bound} are allowed"),
        ));
    }
    Ok(())
}
