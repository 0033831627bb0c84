//! Puts the rooms together according to the configuration. Nothing here opens the store, a
//! component or the network: what a call does not use is never touched.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::runtime::Handle;
use wharf_core::Error;
use wharf_core::controller::Controller;
use wharf_core::manifest::{NotAName, World};
use wharf_core::node::NodeService;
use wharf_core::plan::HelperCredential;
use wharf_core::policy::{EndpointGrant, NodePolicy};
use wharf_core::ports::{Backend, Call, CallSecrets, Clock};
use wharf_modules::{ComponentId, Loader, Store, StoredAuthenticator, StoredBackend};
use wharf_node::supervisor::{Client, CredentialFile, StartCommand};
use wharf_node::{HelperKeys, LinuxNode, NodeOptions, RenderedKeys, SystemClock};
use wharf_runtime::{
    Account, Accounts, AuthPorts, BackendPorts, CallPorts, Egress, Endpoint, EngineMode,
    HttpEgress, Rendered, RuntimeObserver, Share, Signer, SourceReader,
};

use crate::component_log::ComponentLog;
use crate::config::{self, Config, SupervisorStart};
use crate::metrics::Metrics;
use crate::metrics::operations::CountingClock;
use crate::mounts_command;
use crate::observer_pair::ObserverPair;
use crate::secrets::ConfiguredSource;

/// Slots of a server's pool: as many as calls of one backend wait for a cloud at once. A slot keeps
/// up to 1.2 MiB between calls; calls beyond get memory of their own, for some microseconds more.
const CALL_SLOTS: u32 = 64;

/// What kind of process this is.
pub enum Process {
    /// Serves until it is asked to end.
    Server {
        /// The async runtime that it has.
        handle: Handle,
        /// Where what happens is counted, if anywhere.
        metrics: Option<Arc<Metrics>>,
        /// Who else hears of what components do.
        traces: Option<Arc<dyn RuntimeObserver>>,
    },
    /// Makes one call and exits.
    OneCall,
}

/// The rooms of one process.
pub struct Assembly<'a> {
    config: &'a Config,
    is_server: bool,
    clock: Arc<dyn Clock>,
    observer: Arc<dyn RuntimeObserver>,
    node: Arc<LinuxNode>,
    loader: Arc<Loader>,
    http: Arc<HttpEgress>,
    signer: Arc<dyn Signer>,
    /// Drivers that a backend serves, and its controller and its node, share one.
    shares: BTreeMap<String, Arc<Share>>,
    account_shares: Vec<Arc<Share>>,
}

impl<'a> Assembly<'a> {
    /// The rooms, empty.
    ///
    /// # Errors
    /// When an endpoint's URL is not one.
    pub fn new(config: &'a Config, process: &Process) -> Result<Self, Error> {
        let (mode, handle) = match process {
            Process::Server { handle, .. } => {
                (EngineMode::Pooled { slots: CALL_SLOTS }, Some(handle.clone()))
            }
            Process::OneCall => (EngineMode::OnDemand, None),
        };
        let (clock, observer) = watched(process);
        let loader = Arc::new(Loader::new(Store::open(&config.store), mode, Arc::clone(&clock)));
        let egress = HttpEgress::new(endpoints(config)?, handle)
            .with_requests_at_once(config.limits.requests_per_endpoint())
            .with_observer(Arc::clone(&observer));
        let http = Arc::new(egress);
        let egress: Arc<dyn Egress> = http.clone();
        let mut account_shares = Vec::new();
        let accounts = config.account.iter().map(|(name, account)| {
            let share = share(config, "account", name);
            account_shares.push(Arc::clone(&share));
            let ports = AuthPorts {
                calls: call_ports(config, &clock, &observer, share),
                egress: Some(Arc::clone(&egress)),
                grants: account.endpoints.iter().map(|id| any_path(id)).collect(),
            };
            Ok((name.clone(), open_account(name, account, &loader, ports)?))
        });
        let accounts = accounts.collect::<Result<Vec<_>, Error>>()?;
        let accounts = Arc::new(Accounts::new(accounts, Arc::clone(&clock)));
        let keys = Arc::new(AccountKeys(Arc::clone(&accounts)));
        let signer: Arc<dyn Signer> = accounts;
        let node = Arc::new(LinuxNode::new(node_options(config)).with_helper_keys(keys));
        Ok(Self {
            config,
            is_server: matches!(process, Process::Server { .. }),
            clock,
            observer,
            node,
            loader,
            http,
            signer,
            shares: config
                .backend
                .keys()
                .map(|name| (name.clone(), share(config, "backend", name)))
                .collect(),
            account_shares,
        })
    }

    /// What calls may take, of every backend and account.
    pub fn shares(&self) -> Vec<Arc<Share>> {
        self.shares.values().chain(&self.account_shares).cloned().collect()
    }

    /// This machine.
    pub fn machine(&self) -> Arc<LinuxNode> {
        Arc::clone(&self.node)
    }

    /// The clock that everything here shares.
    pub fn clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.clock)
    }

    /// Which generations serve here, and how requests leave.
    pub fn loader_and_egress(&self) -> (Arc<Loader>, Arc<HttpEgress>) {
        (Arc::clone(&self.loader), Arc::clone(&self.http))
    }

    /// The controller verbs of a driver.
    ///
    /// # Errors
    /// When the configuration has no such driver.
    pub fn controller(&self, driver: &str) -> Result<Controller, Error> {
        let (name, section) = self.section(driver)?;
        let backend = self.backend(name, section)?;
        let controller = if self.is_server {
            Controller::new(driver, backend, self.clock())
        } else {
            Controller::for_one_call(driver, backend, self.clock())
        };
        Ok(controller.performing_on(self.node.clone(), section.node.clone()))
    }

    /// The node verbs of a driver.
    ///
    /// # Errors
    /// When the configuration has no such driver.
    pub fn node(&self, driver: &str) -> Result<NodeService, Error> {
        let (name, section) = self.section(driver)?;
        let backend = self.backend(name, section)?;
        let (node, policy) = (self.node.clone(), section.node.clone());
        let service = NodeService::new(driver, backend, node, self.clock(), policy);
        let names = self.config.driver.get(driver).map(|driver| driver.secret_attributes.clone());
        Ok(service.with_secret_attributes(names.unwrap_or_default()))
    }

    /// Loads what the drivers need before their calls do, and keeps it as the store has it. For
    /// servers, once their drivers are made.
    pub fn load_components(&self) {
        self.loader.load_in_background();
    }

    fn section(&self, driver: &str) -> Result<(&'a str, &'a config::Backend), Error> {
        let section = self
            .config
            .driver
            .get(driver)
            .and_then(|section| self.config.backend.get_key_value(&section.backend));
        let (name, backend) = section.ok_or_else(|| {
            let known = self.config.driver.keys().cloned().collect::<Vec<_>>().join(", ");
            Error::invalid(format!("the configuration has no driver \"{driver}\""))
                .with_hint(format!("it has: {}", if known.is_empty() { "none" } else { &known }))
        })?;
        Ok((name, backend))
    }

    /// The backend of a driver behind another way out, for questions that must not reach a cloud;
    /// and what its plans may do.
    ///
    /// # Errors
    /// When the configuration has no such driver.
    pub fn backend_of(
        &self,
        driver: &str,
        egress: Arc<dyn Egress>,
    ) -> Result<(Arc<dyn Backend>, &'a NodePolicy), Error> {
        let (name, section) = self.section(driver)?;
        Ok((self.backend_with(name, section, egress)?, &section.node))
    }

    fn backend(&self, name: &str, section: &config::Backend) -> Result<Arc<dyn Backend>, Error> {
        self.backend_with(name, section, self.http.clone())
    }

    fn backend_with(
        &self,
        name: &str,
        section: &config::Backend,
        egress: Arc<dyn Egress>,
    ) -> Result<Arc<dyn Backend>, Error> {
        let share =
            self.shares.get(name).map_or_else(|| share(self.config, "backend", name), Arc::clone);
        let ports = BackendPorts {
            calls: call_ports(self.config, &self.clock, &self.observer, share),
            egress: Some(egress),
            signer: Some(Arc::clone(&self.signer)),
            grants: section.grant.clone(),
            config: section
                .config
                .iter()
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect(),
        };
        let id = ComponentId::new(World::Backend, section.component(name)).map_err(unfit)?;
        Ok(Arc::new(StoredBackend::new(id, &self.loader, ports)))
    }
}

/// Accounts, as mount helpers know them: files with keys.
struct AccountKeys(Arc<Accounts>);

impl HelperKeys for AccountKeys {
    fn render(
        &self,
        call: &Call,
        secrets: CallSecrets<'_>,
        credential: &HelperCredential,
    ) -> Result<RenderedKeys, Error> {
        let HelperCredential { account, form, values } = credential;
        let Rendered { files, renew_at_ms } =
            self.0.render(call, account, secrets, form, values)?;
        let file = |file: wharf_runtime::CredentialFile| CredentialFile {
            name: file.name.clone(),
            content: file.content.expose().to_vec(),
        };
        Ok(RenderedKeys { files: files.into_iter().map(file).collect(), renew_at_ms })
    }
}

/// The clock, and who hears of what components do.
fn watched(process: &Process) -> (Arc<dyn Clock>, Arc<dyn RuntimeObserver>) {
    let clock = Arc::new(SystemClock);
    let (clock, observer): (Arc<dyn Clock>, Arc<dyn RuntimeObserver>) = match process {
        Process::Server { metrics: Some(metrics), .. } => {
            (Arc::new(CountingClock(clock)), Arc::clone(metrics) as Arc<dyn RuntimeObserver>)
        }
        Process::Server { metrics: None, .. } | Process::OneCall => (clock, Arc::new(ComponentLog)),
    };
    match process {
        Process::Server { traces: Some(traces), .. } => {
            (clock, Arc::new(ObserverPair(observer, Arc::clone(traces))))
        }
        _ => (clock, observer),
    }
}

fn call_ports(
    config: &Config,
    clock: &Arc<dyn Clock>,
    observer: &Arc<dyn RuntimeObserver>,
    share: Arc<Share>,
) -> CallPorts {
    CallPorts {
        clock: Arc::clone(clock),
        limits: config.limits.of_a_call(),
        observer: Some(Arc::clone(observer)),
        share,
    }
}

fn share(config: &Config, kind: &str, name: &str) -> Arc<Share> {
    Share::new(format!("{kind} {name}"), config.limits.of_a_share(config.shares()))
}

fn endpoints(config: &Config) -> Result<Vec<Endpoint>, Error> {
    let open = |(id, endpoint): (&String, &config::Endpoint)| {
        let open =
            Endpoint::new(id, &endpoint.url).map_err(|error| Error::invalid(error.to_string()))?;
        let open = if endpoint.private { open.allow_private() } else { open };
        let open = if endpoint.subdomains { open.with_subdomains() } else { open };
        Ok(endpoint.ca.iter().fold(open, |open, file| open.with_authorities(file)))
    };
    config.endpoint.iter().map(open).collect()
}

/// Whatever an account's authenticator asks of an endpoint that it may use.
fn any_path(endpoint: &str) -> EndpointGrant {
    EndpointGrant {
        endpoint: endpoint.to_owned(),
        account: None,
        actions: Vec::new(),
        paths: vec!["*?*".to_owned()],
    }
}

fn open_account(
    name: &str,
    account: &config::Account,
    loader: &Arc<Loader>,
    ports: AuthPorts,
) -> Result<Account, Error> {
    let id = ComponentId::new(World::CloudAuth, &account.component).map_err(unfit)?;
    let sources = account
        .source
        .iter()
        .map(|source| Box::new(ConfiguredSource::new(name, source)) as Box<dyn SourceReader>);
    let settings =
        account.settings.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
    let authenticator = StoredAuthenticator::new(id, loader, ports);
    Ok(Account::new(Arc::new(authenticator), sources.collect(), settings))
}

fn unfit(name: NotAName) -> Error {
    Error::invalid(name.to_string())
}

fn node_options(config: &Config) -> NodeOptions {
    let usual = NodeOptions::default();
    NodeOptions {
        state_directory: config.state.clone(),
        roots: config.roots(),
        device_links: config
            .node
            .device_links
            .clone()
            .unwrap_or_else(|| usual.device_links.clone()),
        devices: config.node.devices.clone(),
        sysfs: config.node.sysfs.clone().unwrap_or_else(|| usual.sysfs.clone()),
        supervisor: Some(Client::new(&config.run_directory(), start_of_supervisor(config))),
        ..usual
    }
}

/// `None`: it is somebody else's to start.
fn start_of_supervisor(config: &Config) -> Option<StartCommand> {
    match config.mounts.supervisor.unwrap_or(SupervisorStart::OnDemand) {
        SupervisorStart::OnDemand => mounts_command::start_command(config),
        SupervisorStart::Service => None,
    }
}
