//! What each call-out does with the core's verbs.
//!
//! `controller` (the submodule) speaks to the cloud and may run on any machine of the control
//! plane; `node` works on this machine. Both open the services when they first need them, and never
//! for what can be answered without.

mod controller;
mod node;

use std::cell::OnceCell;
use std::mem::ManuallyDrop;
use std::sync::Arc;
use std::time::Duration;

use wharf_core::Error;
use wharf_core::node::NodeService;
use wharf_core::policy::NodePolicy;
use wharf_core::ports::Call;
use wharf_core::types::{AccessMode, AccessType, Capability, MOUNT_GROUP, Parameters};
use wharf_core::verbs::{TranslateRequest, Translated};

use crate::driver_file::DriverFile;
use crate::names::Names;
use crate::no_backend::NoBackend;
use crate::node_names::LocalHost;
use crate::object_name::ObjectName;
use crate::options::Options;
use crate::reply::Reply;
use crate::request::Request;
use crate::services::{Open, Services, Teardown};

/// One call-out under way.
pub(crate) struct CallOuts<'a> {
    driver: &'a DriverFile,
    local_host: &'a LocalHost,
    names: Names,
    open: &'a dyn Open,
    bound: Duration,
    /// Not taken apart at the end, which is the process's: a tenth of what a call-out takes.
    opened: OnceCell<ManuallyDrop<(Services, Call)>>,
}

impl<'a> CallOuts<'a> {
    /// `bound`: how long it may take from the moment the services are open.
    pub(crate) fn new(
        driver: &'a DriverFile,
        local_host: &'a LocalHost,
        open: &'a dyn Open,
        bound: Duration,
    ) -> Self {
        Self { driver, local_host, names: Names::of(driver), open, bound, opened: OnceCell::new() }
    }

    pub(crate) fn perform(&self, request: Request) -> Result<Reply, Error> {
        match request {
            Request::GetVolumeName { options } => Ok(Reply {
                volume_name: options.volume_name.as_str().to_owned(),
                ..Reply::success()
            }),
            Request::Attach { options, node } => self.attach(&options, &node),
            Request::WaitForAttach { device, options } => self.wait_for_attach(&device, &options),
            Request::IsAttached { options, node } => self.is_attached(&options, &node),
            Request::MountDevice { directory, options } => self.mount_device(&directory, &options),
            Request::Mount { directory, options } => self.mount(&directory, &options),
            Request::Unmount { directory } => self.unmount(&directory),
            Request::UnmountDevice { directory } => self.unmount_device(&directory),
            Request::Detach { name, node } => self.detach(&name, &node),
            Request::ExpandVolume { options, bytes } => self.expand_volume(&options, bytes),
            Request::ExpandFs { options, path, bytes } => self.expand_fs(&options, &path, bytes),
        }
    }

    fn services(&self) -> Result<(&Services, &Call), Error> {
        if self.opened.get().is_none() {
            let services = self.open.open(self.driver)?;
            let call = Call::until(services.clock.now() + self.bound);
            // Nobody else sets it: this call-out runs on one thread.
            let _ = self.opened.set(ManuallyDrop::new((services, call)));
        }
        let opened = self.opened.get().ok_or_else(|| Error::internal("the services are not open"));
        let (services, call) = &**opened?;
        Ok((services, call))
    }

    /// What takes something away from this machine. It asks no backend, and needs no configuration.
    fn teardown(&self) -> Result<(NodeService, Call), Error> {
        let Teardown { node, clock } = self.open.teardown(self.driver)?;
        let call = Call::until(clock.now() + self.bound);
        Ok((
            NodeService::new(
                &self.driver.csi_driver,
                Arc::new(NoBackend),
                node,
                clock,
                NodePolicy::default(),
            ),
            call,
        ))
    }

    fn translate(&self, name: &ObjectName, options: &Parameters) -> Result<Translated, Error> {
        let (services, call) = self.services()?;
        let request = TranslateRequest {
            driver: self.driver.driver.to_string(),
            options: options.clone(),
            volume_name: name.as_str().to_owned(),
        };
        services.node.translate(call, &request)
    }

    /// How the options say that the volume will be used. FlexVolume does not know access modes: a
    /// disk is one node's, a share is everybody's.
    fn capability(&self, options: &Options) -> Capability {
        let mode = match (self.driver.attachable, options.is_read_only) {
            (true, false) => AccessMode::SingleNodeWriter,
            (true, true) => AccessMode::SingleNodeReaderOnly,
            (false, false) => AccessMode::MultiNodeMultiWriter,
            (false, true) => AccessMode::MultiNodeReaderOnly,
        };
        Capability {
            access: AccessType::Mount {
                fs_type: options.fs_type.clone(),
                flags: Vec::new(),
                group: None,
            },
            mode,
        }
    }

    /// How `mount` makes a mount of its own. No earlier call-out brings the pod's group, so what is
    /// mounted before has none, and kubelet gives its files to the group.
    fn mounting_capability(&self, options: &Options) -> Result<Capability, Error> {
        let mut capability = self.capability(options);
        if let AccessType::Mount { group, .. } = &mut capability.access
            && options.fs_group.is_some()
            && !self.driver.attachable
        {
            let (services, call) = self.services()?;
            if services.node.backend_description(call)?.can(MOUNT_GROUP) {
                group.clone_from(&options.fs_group);
            }
        }
        Ok(capability)
    }

    /// How the one mount of a device is made that serves every pod of the node, whichever comes
    /// first: for writing. A pod that only reads gets a read-only bind of it.
    fn staging_capability(&self, options: &Options) -> Capability {
        let capability = self.capability(options);
        match capability.mode {
            AccessMode::SingleNodeReaderOnly => {
                Capability { mode: AccessMode::SingleNodeWriter, ..capability }
            }
            _ => capability,
        }
    }
}

/// For what is right to do and wrong to fail for.
fn log_failure(what: &str, done: Result<(), Error>) {
    if let Err(error) = done {
        tracing::warn!(%error, "cannot {what}");
    }
}
