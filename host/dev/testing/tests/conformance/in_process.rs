//! Components in the process of the test: loaded, linked, and with a simulated region behind them.

use std::sync::Arc;

use wharf_cloudsim::Region;
use wharf_core::Secret;
use wharf_core::manifest::Manifest;
use wharf_core::policy::EndpointGrant;
use wharf_core::ports::Clock;
use wharf_runtime::{
    Account, Accounts, AuthCode, AuthPorts, BackendCode, BackendPorts, CallPorts, Component,
    Endpoint, Engine, HttpEgress, Limits, Share, ShareLimits, Source, WasmAuthenticator,
    WasmBackend,
};
use wharf_testing::bed::Parts;

/// The account that signs everything.
const ACCOUNT: &str = "cloud";

pub fn call_ports(clock: &Arc<dyn Clock>) -> CallPorts {
    CallPorts {
        clock: Arc::clone(clock),
        limits: Limits::default(),
        observer: None,
        share: Share::new("conformance", ShareLimits::default()),
    }
}

fn load(engine: &Engine, name: &str) -> (Component, Manifest) {
    let bytes = std::fs::read(Parts::find().unwrap().component(name)).unwrap();
    (engine.load_wasm(&bytes).unwrap(), wharf_modules::read_manifest(&bytes).unwrap())
}

/// The component of this name.
pub fn backend(engine: &Engine, name: &str, ports: BackendPorts) -> WasmBackend {
    let (component, manifest) = load(engine, name);
    WasmBackend::new(ports, Arc::new(BackendCode::link(engine, &component, manifest, 1).unwrap()))
}

/// A region as a backend's host meets it: its endpoints, and an account with its first instance's
/// keys. What several backends ask of it is paced together, as in one server.
pub struct Cloud<'a> {
    region: &'a Region,
    clock: Arc<dyn Clock>,
    egress: Arc<HttpEgress>,
    accounts: Arc<Accounts>,
}

impl<'a> Cloud<'a> {
    pub fn of(engine: &Engine, region: &'a Region, clock: &Arc<dyn Clock>) -> Self {
        let described = region.description();
        let (instance, urls) = (&described.instances[0], &described.endpoints);
        let endpoint = |id: &str, url: &str| Endpoint::new(id, url).unwrap().allow_private();
        let endpoints = [
            endpoint("ecs", &urls.ecs),
            endpoint("nas", &urls.nas),
            endpoint("metadata", &instance.metadata),
        ];
        let egress = Arc::new(HttpEgress::new(endpoints, None));
        let (component, manifest) = load(engine, "auth");
        let code = Arc::new(AuthCode::link(engine, &component, manifest, 1).unwrap());
        let ports = AuthPorts {
            calls: call_ports(clock),
            egress: Some(egress.clone()),
            grants: vec![grant("metadata", None)],
        };
        let keys = instance.keys.clone();
        let source = move || {
            let value = |name: &str, value: &str| (name.to_owned(), Secret::new(value.to_owned()));
            let values = vec![
                value("access-key-id", &keys.access_key_id),
                value("access-key-secret", &keys.access_key_secret),
            ];
            Ok(Source { kind: "static".to_owned(), values })
        };
        let authenticator = Arc::new(WasmAuthenticator::new(ports, code));
        let account = Account::new(authenticator, vec![Box::new(source)], Vec::new());
        let accounts = Accounts::new([(ACCOUNT.to_owned(), account)], Arc::clone(clock));
        Self { region, clock: Arc::clone(clock), egress, accounts: Arc::new(accounts) }
    }

    /// What a backend gets of it; its share of the process is its own.
    pub fn ports(&self) -> BackendPorts {
        BackendPorts {
            calls: call_ports(&self.clock),
            egress: Some(self.egress.clone()),
            signer: Some(self.accounts.clone()),
            grants: vec![
                grant("ecs", Some(ACCOUNT)),
                grant("nas", Some(ACCOUNT)),
                grant("metadata", None),
            ],
            config: vec![("region".to_owned(), self.region.description().region.clone())],
        }
    }
}

fn grant(endpoint: &str, account: Option<&str>) -> EndpointGrant {
    EndpointGrant {
        endpoint: endpoint.to_owned(),
        account: account.map(str::to_owned),
        actions: vec!["*".to_owned()],
        paths: vec!["*?*".to_owned()],
    }
}
