//! A directory of installed drivers, a cloud and a machine. Every call-out opens services of its
//! own, as a process would.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use tempfile::TempDir;
use wharf_core::Error;
use wharf_core::controller::Controller;
use wharf_core::node::NodeService;
use wharf_core::policy::{NfsPolicy, NodePolicy};
use wharf_core::ports::Clock;
use wharf_flexvolume::{
    Capabilities, DriverFile, DriverName, LogLevel, NodeNames, Open, Services, Teardown, answer,
    install,
};
use wharf_testing::fakes::{FakeClock, FakeNode, generous_policy};

use super::cloud::Cloud;

pub struct World {
    pub directory: TempDir,
    pub cloud: Arc<Cloud>,
    pub machine: Arc<FakeNode>,
    pub driver: String,
    pub has_no_configuration: bool,
    opened: Mutex<u32>,
}

impl World {
    /// Disks `d-1`, `d-2` and `d-3` of 1 GiB, attached to nobody; drivers `acme/disk` and
    /// `acme/share`.
    pub fn new() -> Self {
        let cloud = Arc::new(Cloud::default());
        cloud.state().sizes = ["d-1", "d-2", "d-3"].map(|id| (id.to_owned(), 1 << 30)).into();
        let (machine, holders) = (Arc::new(FakeNode::default()), Arc::clone(&cloud));
        machine.attach_only(move || holders.attached_here());
        let directory = tempfile::tempdir().unwrap();
        let world = Self {
            directory,
            cloud,
            machine,
            driver: "disk".into(),
            has_no_configuration: false,
            opened: Mutex::default(),
        };
        world.install(|_| {});
        world
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    pub fn state_directory(&self) -> PathBuf {
        self.path().join("state")
    }

    pub fn legacy_directory(&self) -> PathBuf {
        self.path().join("legacy")
    }

    /// Installs both drivers, changed like this.
    pub fn install(&self, change: impl Fn(&mut DriverFile)) {
        let binary = self.path().join("wharf");
        fs::write(&binary, "binary").unwrap();
        let drivers: Vec<_> = ["acme/disk", "acme/share"]
            .iter()
            .map(|name| self.driver_file(name, &change))
            .collect();
        for outcome in install::install(&self.path().join("plugins"), &binary, &drivers) {
            outcome.result.unwrap();
        }
    }

    fn driver_file(&self, name: &str, change: impl Fn(&mut DriverFile)) -> DriverFile {
        let attachable = name == "acme/disk";
        let nodes = NodeNames {
            ids: [("node-b".to_owned(), "i-2".to_owned())].into(),
            id_prefixes: vec!["i-".into()],
            ..NodeNames::default()
        };
        let mut file = DriverFile {
            driver: DriverName::parse(name).unwrap(),
            csi_driver: "acme.example.com".into(),
            backend: "acme".into(),
            config: "/etc/wharf.toml".into(),
            version: "1".into(),
            state: self.state_directory(),
            roots: vec!["/var/lib/kubelet".into()],
            attachable,
            capabilities: if attachable {
                Capabilities::of_disks()
            } else {
                Capabilities::of_shares()
            },
            nodes,
            secret_options: vec!["akSecret".into()],
            legacy_state: Some(self.legacy_directory()),
            log: None,
            log_level: LogLevel::Info,
        };
        change(&mut file);
        file
    }

    /// Executes the driver with these arguments.
    pub fn call(&self, arguments: &[impl AsRef<str>]) -> String {
        self.execute(arguments.iter().map(|argument| OsString::from(argument.as_ref())).collect())
    }

    pub fn execute(&self, arguments: Vec<OsString>) -> String {
        let executable = self.path().join(format!("plugins/acme~{0}/{0}", self.driver));
        let argv: Vec<_> = std::iter::once(executable.into_os_string()).chain(arguments).collect();
        let machine = wharf_flexvolume::LocalHost { names: vec!["node-a".into()] };
        *self.opened.lock().unwrap() = 0;
        self.cloud.state().calls.clear();
        String::from_utf8(answer(&argv, &machine, self)).unwrap()
    }

    /// How often the last call-out opened the services.
    pub fn opened(&self) -> u32 {
        *self.opened.lock().unwrap()
    }
}

impl Open for World {
    fn open(&self, driver: &DriverFile) -> Result<Services, Error> {
        *self.opened.lock().unwrap() += 1;
        if self.has_no_configuration {
            return Err(Error::precondition("the configuration cannot be read"));
        }
        let clock: Arc<dyn Clock> = Arc::new(FakeClock::default());
        Ok(Services {
            controller: Controller::for_one_call(
                &driver.csi_driver,
                self.cloud.clone(),
                Arc::clone(&clock),
            ),
            node: NodeService::new(
                &driver.csi_driver,
                self.cloud.clone(),
                self.machine.clone(),
                Arc::clone(&clock),
                policy(),
            ),
            clock,
        })
    }

    fn teardown(&self, _: &DriverFile) -> Result<Teardown, Error> {
        Ok(Teardown { node: self.machine.clone(), clock: Arc::new(FakeClock::default()) })
    }
}

fn policy() -> NodePolicy {
    let nfs = NfsPolicy {
        servers: vec!["nas".into(), "nas-1".into()],
        paths: vec!["/".into()],
        ..NfsPolicy::default()
    };
    NodePolicy { nfs, ..generous_policy() }
}
