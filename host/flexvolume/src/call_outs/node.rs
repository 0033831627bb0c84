//! `waitforattach`, `mountdevice`, `mount`, `unmount`, `unmountdevice`, `expandfs`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use wharf_core::ports::Call;
use wharf_core::types::Parameters;
use wharf_core::verbs::{
    Attach, AttachRequest, NodeExpandRequest, PublishRequest, StageRequest, Translated,
};
use wharf_core::{Error, ErrorKind};

use super::{CallOuts, log_failure};
use crate::device;
use crate::names::FoundRecord;
use crate::object_name::ObjectName;
use crate::options::Options;
use crate::paths::{self, GlobalMountDir, PodVolumeDir};
use crate::reply::Reply;

/// How long the cloud is asked for what `attach` answered before the node is searched without it:
/// two requests and a retry.
const ASK_BOUND: Duration = Duration::from_secs(20);

/// How a volume that is attached to this node is found.
enum AttachedVolume {
    /// What `attach` answered: enough to find the device.
    PublishContext(Parameters),
    /// The cloud has nothing to find the device by, but the driver before found it, and it is
    /// mounted.
    Mounted(PathBuf),
}

impl CallOuts<'_> {
    /// Called again for every further pod, and after a restart of kubelet; the device may be what
    /// `attach` answered, what this answered before, what another driver found, or empty.
    pub(super) fn wait_for_attach(&self, device: &str, options: &Options) -> Result<Reply, Error> {
        let volume = self.translate(&options.volume_name, &options.chosen)?;
        let (publish_context, doubt) = match self.find_attached(device, options, &volume) {
            Ok(AttachedVolume::PublishContext(publish_context)) => (publish_context, None),
            Ok(AttachedVolume::Mounted(device)) => {
                return Ok(Reply::device(device.to_string_lossy()));
            }
            // The cloud cannot be asked now. Many volumes are found without it, so that comes
            // first.
            Err(error)
                if error.kind.is_transient() || error.kind == ErrorKind::DeadlineExceeded =>
            {
                (Parameters::new(), Some(error))
            }
            Err(error) => return Err(error),
        };
        let request = StageRequest {
            volume: volume.volume.clone(),
            capability: self.staging_capability(options),
            context: volume.context.clone(),
            publish_context: publish_context.clone(),
            caller: options.caller.clone(),
        };
        let (services, call) = self.services()?;
        let found = match (services.node.await_attached(call, &request), doubt) {
            (Ok(found), Some(_)) => return Ok(Reply::device(found.to_string_lossy())),
            (Ok(found), None) => found,
            (Err(error), doubt) => return Err(doubt.unwrap_or(error)),
        };
        let record = FoundRecord {
            volume: volume.volume,
            options: options.chosen.clone(),
            context: volume.context,
            publish_context,
        };
        if self.names.found(&options.volume_name)?.as_ref() != Some(&record) {
            self.names.save_found(&options.volume_name, &record)?;
        }
        Ok(Reply::device(found.to_string_lossy()))
    }

    fn find_attached(
        &self,
        device: &str,
        options: &Options,
        volume: &Translated,
    ) -> Result<AttachedVolume, Error> {
        if let Some(publish_context) = device::decode(device, &volume.volume) {
            return Ok(AttachedVolume::PublishContext(publish_context));
        }
        match self.names.found(&options.volume_name)? {
            Some(found) if found.volume == volume.volume => {
                Ok(AttachedVolume::PublishContext(found.publish_context))
            }
            found => self.ask_again(options, volume, found.is_none()),
        }
    }

    /// The device in the volume's global directory, as the mount table has it.
    fn mounted_device(&self, name: &ObjectName) -> Result<Option<PathBuf>, Error> {
        let (services, _) = self.services()?;
        for root in &self.driver.roots {
            if let Some(device) =
                services.node.mounted_device(&paths::global(root, &self.driver.driver, name))?
            {
                return Ok(Some(device));
            }
        }
        Ok(None)
    }

    /// What `attach` would answer. Nothing is attached here: only a volume that this node holds
    /// already is asked about. `is_new`: Wharf has not mounted it, so if it is mounted, the
    /// driver before has, which needed nothing from the cloud to find it.
    fn ask_again(
        &self,
        options: &Options,
        volume: &Translated,
        is_new: bool,
    ) -> Result<AttachedVolume, Error> {
        let node = self.own_node_id()?;
        let (services, _) = self.services()?;
        let call = &Call::until(services.clock.now() + ASK_BOUND);
        if !services.controller.is_attached(call, &volume.volume, &node)? {
            return Err(Error::precondition(format!(
                "volume {} is not attached to this node, {node}",
                volume.volume
            ))
            .with_hint("it has to be attached first; kubelet calls again"));
        }
        let request = AttachRequest {
            volume: volume.volume.clone(),
            node,
            capability: self.capability(options),
            read_only: false,
            context: volume.context.clone(),
            caller: options.caller.clone(),
        };
        match services.controller.change::<Attach>(call, &request) {
            Ok(attached) => Ok(AttachedVolume::PublishContext(attached.publish_context)),
            Err(error) if is_new && error.kind == ErrorKind::FailedPrecondition => {
                self.mounted_device(&options.volume_name)?.map(AttachedVolume::Mounted).ok_or(error)
            }
            Err(error) => Err(error),
        }
    }

    pub(super) fn mount_device(
        &self,
        directory: &GlobalMountDir,
        options: &Options,
    ) -> Result<Reply, Error> {
        let found = self.names.found(&directory.name)?;
        let (services, call) = self.services()?;
        let volume = match &found {
            // Mounted already: what it was translated to then still holds, and the backend need not
            // even be loaded.
            Some(found)
                if found.options == options.chosen
                    && services.node.is_staged(&directory.path)? =>
            {
                translated(found)
            }
            Some(_) | None => self.translate(&options.volume_name, &options.chosen)?,
        };
        let publish_context = context_of(found, &volume);
        let request = StageRequest {
            volume: volume.volume,
            capability: self.staging_capability(options),
            context: volume.context,
            publish_context,
            caller: options.caller.clone(),
        };
        services.node.stage(call, &request, &directory.path)?;
        Ok(Reply::success())
    }

    pub(super) fn mount(
        &self,
        directory: &PodVolumeDir,
        options: &Options,
    ) -> Result<Reply, Error> {
        let volume = self.translate(&options.volume_name, &options.chosen)?;
        let found = self.names.found(&directory.name)?;
        check_same(found.as_ref(), &volume)?;
        let request = PublishRequest {
            volume: volume.volume.clone(),
            capability: self.mounting_capability(options)?,
            read_only: options.is_read_only,
            context: volume.context.clone(),
            publish_context: context_of(found, &volume),
            caller: options.caller.clone(),
        };
        let staging = self.driver.attachable.then(|| directory.global(&self.driver.driver));
        let (services, call) = self.services()?;
        services.node.publish(call, &request, &directory.path, staging.as_deref())?;
        Ok(Reply::success())
    }

    pub(super) fn unmount(&self, directory: &PodVolumeDir) -> Result<Reply, Error> {
        if !paths::can_exist(&directory.path) {
            return Ok(Reply::success());
        }
        let (node, call) = self.teardown()?;
        node.unpublish_path(&call, &directory.path)?;
        Ok(Reply::success())
    }

    pub(super) fn unmount_device(&self, directory: &GlobalMountDir) -> Result<Reply, Error> {
        if !paths::can_exist(&directory.path) {
            return Ok(Reply::success());
        }
        let (node, call) = self.teardown()?;
        // First: kubelet does not repeat a call that was killed after the unmount. What is
        // forgotten by a call that fails is written again. A record that cannot be removed
        // is harmless: it counts for its own volume only, and the next `waitforattach` replaces it.
        let found = self.names.found(&directory.name);
        log_failure("forget the volume", self.names.forget_found(&directory.name));
        node.unstage_path(&call, &directory.path).inspect_err(|_| {
            if let Ok(Some(found)) = found {
                log_failure(
                    "write the volume down again",
                    self.names.save_found(&directory.name, &found),
                );
            }
        })?;
        Ok(Reply::success())
    }

    /// The only call-out that says that a volume shall grow, so it grows the volume first and what
    /// is on it afterwards. "Not supported" or plain success would make kubelet report a size
    /// that does not exist.
    pub(super) fn expand_fs(
        &self,
        options: &Options,
        path: &Path,
        bytes: u64,
    ) -> Result<Reply, Error> {
        let (services, call) = self.services()?;
        // A larger disk costs money and cannot be made smaller again.
        if !services.node.is_staged(path)? {
            return Err(Error::precondition(format!(
                "nothing is mounted at {}, so nothing there can grow",
                path.display()
            )));
        }
        let volume = self.translate(&options.volume_name, &options.chosen)?;
        if !self.grow(&volume.volume, options, bytes)?.node_expansion_required {
            return Ok(Reply::success());
        }
        // The PersistentVolume may name no file system; what is mounted has one.
        let request = NodeExpandRequest {
            volume: volume.volume,
            capability: None,
            required_bytes: bytes,
            context: volume.context,
            publish_context: Parameters::new(),
            caller: options.caller.clone(),
        };
        services.node.expand(call, &request, path)?;
        Ok(Reply::success())
    }
}

fn translated(found: &FoundRecord) -> Translated {
    Translated {
        volume: found.volume.clone(),
        context: found.context.clone(),
        only_over_flexvolume: Vec::new(),
    }
}

fn context_of(found: Option<FoundRecord>, volume: &Translated) -> Parameters {
    found
        .filter(|found| found.volume == volume.volume)
        .map(|found| found.publish_context)
        .unwrap_or_default()
}

/// Inline volumes are known by their name alone: two pods whose volume is called `data` share one
/// global directory, whatever they ask for.
fn check_same(found: Option<&FoundRecord>, volume: &Translated) -> Result<(), Error> {
    match found {
        Some(found) if found.volume != volume.volume => Err(Error::precondition(format!(
            "volume {} has the same name and is in use on this node, so volume {} cannot be \
             mounted",
            found.volume, volume.volume
        ))
        .with_hint("give inline volumes names of their own, or use PersistentVolumes")),
        Some(_) | None => Ok(()),
    }
}
