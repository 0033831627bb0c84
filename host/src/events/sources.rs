//! Where a round finds what there is: the parts of this process that know of themselves.

use std::sync::Arc;

use wharf_csi::RegistrationState;
use wharf_node::LinuxNode;
use wharf_node::supervisor::{Client, Status};
use wharf_runtime::{HttpEgress, PaceOfSite};

use crate::drivers::Served;
use crate::status::{Report, Reporter};

/// The parts of a server.
pub struct Sources {
    /// Drivers, components, operations, the configuration.
    pub reporter: Arc<Reporter>,
    /// How requests leave.
    pub http: Arc<HttpEgress>,
    /// The drivers.
    pub drivers: Arc<Vec<Arc<Served>>>,
    /// The node, in a process with its role.
    pub node: Option<Arc<LinuxNode>>,
    /// The supervisor of mounts, in a process with a node's role; never started for this.
    pub supervisor: Option<Client>,
}

/// What there is at one moment.
#[derive(Default)]
pub struct Seen {
    /// What `wharf status` shows.
    pub report: Option<Report>,
    /// Every site.
    pub pace: Vec<PaceOfSite>,
    /// Drivers that kubelet does not take, and why.
    pub refused: Vec<(String, String)>,
    /// Drivers with mounts whose device is gone, and how many.
    pub dead: Vec<(String, u64)>,
    /// Mounts that helpers serve.
    pub mounts: Vec<Status>,
}

impl Sources {
    /// Looks. May wait some seconds for the supervisor.
    pub fn observe(&self) -> Seen {
        let refused = |driver: &Arc<Served>| match driver.registration.as_ref()?.state() {
            RegistrationState::Refused(why) => Some((driver.name.clone(), why)),
            _ => None,
        };
        let dead = |driver: &Arc<Served>| {
            let survey = self.node.as_ref()?.survey(&driver.name).ok()?;
            (survey.dead > 0).then(|| (driver.name.clone(), survey.dead))
        };
        let supervisor = self.supervisor.as_ref();
        let mounts = supervisor.and_then(|client| client.list_of_running().ok());
        Seen {
            report: Some(self.reporter.report()),
            pace: self.http.pace(),
            refused: self.drivers.iter().filter_map(refused).collect(),
            dead: self.drivers.iter().filter_map(dead).collect(),
            mounts: mounts.unwrap_or_default(),
        }
    }
}
