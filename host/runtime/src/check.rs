//! Whether a component works: linked, really instantiated under limits, and asked who it is. Some
//! differences from the contract show only when it is instantiated, so nothing less is a check.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use wasmtime::component::Component;
use wharf_core::manifest::{Manifest, World};
use wharf_core::ports::{Call, Clock, Describe as _};
use wharf_core::text::one_line;
use wharf_core::types::Description;

use crate::account::{AuthDescription, Authenticator};
use crate::authenticator::{AuthCode, AuthPorts, WasmAuthenticator};
use crate::backend::{BackendCode, BackendPorts, WasmBackend};
use crate::bounds::ID_BYTES;
use crate::component_error::ComponentError;
use crate::engine::Engine;
use crate::guest::CallPorts;
use crate::limits::Limits;
use crate::share::{Share, ShareLimits};

/// `describe` is static: a Python guest answers in milliseconds, and nothing slower is fit for use.
const DESCRIBE_TIME: Duration = Duration::from_secs(10);

/// What a component that works says of itself. The store keeps it with the checked generation, and
/// the component is not asked again ([`BackendCode::described`]).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Checked {
    /// A storage backend.
    Backend(Description),
    /// A cloud's authenticator.
    Auth(AuthDescription),
}

/// Links, instantiates and describes a component. It reaches no network and sees no configuration.
///
/// # Errors
/// What differs from the contract, in words; a trap with the guest's own message; or a name that is
/// not the manifest's.
pub fn check_component(
    engine: &Engine,
    component: &Component,
    manifest: &Manifest,
    clock: &Arc<dyn Clock>,
) -> Result<Checked, ComponentError> {
    let calls = CallPorts {
        clock: Arc::clone(clock),
        limits: Limits::default(),
        observer: None,
        share: Share::new("check", ShareLimits::default()),
    };
    let call = Call::until(clock.now() + DESCRIBE_TIME);
    let (checked, described) = match manifest.world {
        World::Backend => {
            let code = BackendCode::link(engine, component, manifest.clone(), 0)?;
            let ports = BackendPorts {
                calls,
                egress: None,
                signer: None,
                grants: Vec::new(),
                config: Vec::new(),
            };
            let backend = WasmBackend::new(ports, Arc::new(code));
            backend.check_types(&call).map_err(ComponentError::Check)?;
            let description = backend.description(&call).map_err(ComponentError::Check)?;
            let name = description.name.clone();
            (Checked::Backend(Arc::unwrap_or_clone(description)), name)
        }
        World::CloudAuth => {
            let code = AuthCode::link(engine, component, manifest.clone(), 0)?;
            let ports = AuthPorts { calls, egress: None, grants: Vec::new() };
            let description = WasmAuthenticator::new(ports, Arc::new(code))
                .describe(&call)
                .map_err(ComponentError::Check)?;
            let name = description.name.clone();
            (Checked::Auth(description), name)
        }
    };
    if described != *manifest.name {
        let described = one_line(&described, ID_BYTES);
        return Err(ComponentError::Name { described, manifest: manifest.name.to_string() });
    }
    Ok(checked)
}
