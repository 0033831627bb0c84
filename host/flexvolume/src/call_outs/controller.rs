//! `attach`, `detach`, `isattached`, `expandvolume`.

use wharf_core::types::{Caller, CapacityRange, NodeId, VolumeId};
use wharf_core::verbs::{
    Attach, AttachRequest, Detach, DetachRequest, Expand, ExpandRequest, Expanded, Translated,
};
use wharf_core::{Error, ErrorKind};

use super::{CallOuts, log_failure};
use crate::device;
use crate::names::AttachRecord;
use crate::node_names::{self, NamedNode};
use crate::object_name::ObjectName;
use crate::options::Options;
use crate::reply::Reply;

impl CallOuts<'_> {
    pub(super) fn attach(&self, options: &Options, node: &ObjectName) -> Result<Reply, Error> {
        let name = &options.volume_name;
        let (volume, node_id) =
            self.identify(options, node).inspect_err(|_| self.remember_refusal(name, node))?;
        self.remember_attach(name, node, &volume.volume, &node_id)?;
        let (services, call) = self.services()?;
        let request = AttachRequest {
            volume: volume.volume,
            node: node_id,
            capability: self.capability(options),
            read_only: false,
            context: volume.context,
            caller: options.caller.clone(),
        };
        let attached = services.controller.change::<Attach>(call, &request)?;
        Ok(Reply::device(device::encode(&request.volume, &attached.publish_context)))
    }

    fn identify(
        &self,
        options: &Options,
        node: &ObjectName,
    ) -> Result<(Translated, NodeId), Error> {
        Ok((self.translate(&options.volume_name, &options.chosen)?, self.node_id(node)?))
    }

    /// Written before the cloud is asked, so that whatever was attached can be detached. Where the
    /// name says it all there is nothing to write: a control plane without a disk of its own
    /// then needs none.
    fn remember_attach(
        &self,
        name: &ObjectName,
        node: &ObjectName,
        volume: &VolumeId,
        node_id: &NodeId,
    ) -> Result<(), Error> {
        let record = AttachRecord { volume: Some(volume.clone()), node: Some(node_id.clone()) };
        let known = self.names.attached(name, node)?;
        if known.as_ref() == Some(&record) {
            return Ok(());
        }
        if volume.as_str() == name.as_str()
            && known.is_none()
            && matches!(self.names.legacy(name), Ok(None))
        {
            return Ok(());
        }
        self.names.save_attached(name, node, &record)
    }

    /// Kubernetes calls `detach` after an `attach` that failed. Without this note it would ask for
    /// ever which volume a name stands for that never stood for one. Only for names that are no
    /// ids, and of which this machine has no record: those it never attached. What another machine
    /// of the control plane attached by such a name had the same options, which a
    /// PersistentVolume keeps, so what is refused here for them was refused there; a node that
    /// only the other machine's configuration knows is the one exception.
    fn remember_refusal(&self, name: &ObjectName, node: &ObjectName) {
        let is_unknown = self.names.attached(name, node).is_ok_and(|record| record.is_none())
            && self.names.legacy(name).is_ok_and(|id| id.is_none());
        let names_no_volume = || {
            self.translate(name, &Vec::new())
                .is_err_and(|error| error.kind == ErrorKind::InvalidArgument)
        };
        if is_unknown
            && names_no_volume()
            && let Err(error) =
                self.names.save_attached(name, node, &AttachRecord { volume: None, node: None })
        {
            tracing::warn!(%error, "the refused attach could not be noted");
        }
    }

    pub(super) fn detach(&self, name: &ObjectName, node: &ObjectName) -> Result<Reply, Error> {
        if let Some((volume, known_node)) = self.attached_volume(name, node)? {
            let node_id = known_node.map_or_else(|| self.node_id(node), Ok)?;
            let (services, call) = self.services()?;
            services.controller.change::<Detach>(
                call,
                &DetachRequest {
                    volume: volume.clone(),
                    node: Some(node_id.clone()),
                    caller: Caller::default(),
                },
            )?;
            // A name that is the id needs no note.
            if volume.as_str() != name.as_str() {
                log_failure(
                    "note what was detached",
                    self.names.save_detached(
                        name,
                        node,
                        &AttachRecord { volume: Some(volume), node: Some(node_id) },
                    ),
                );
            }
            log_failure("forget what the driver before wrote down", self.names.forget_legacy(name));
        }
        // It is detached, and a disk that is full would keep Kubernetes asking for ever. A record
        // that stays is harmless: the next `attach` of the name replaces it, and a further
        // `detach` finds the volume detached.
        log_failure("forget what was attached", self.names.forget_attached(name, node));
        Ok(Reply::success())
    }

    /// Which volume the name means, and the id of the node that got it: the record of `attach`,
    /// else what an older driver wrote down, else (also where that is damaged) the name itself
    /// when it is an id, else what a `detach` of a moment ago found (it was killed before it
    /// answered; the cloud is asked again). `None`: nothing was ever asked of the cloud.
    fn attached_volume(
        &self,
        name: &ObjectName,
        node: &ObjectName,
    ) -> Result<Option<(VolumeId, Option<NodeId>)>, Error> {
        if let Some(record) = self.names.attached(name, node)? {
            return Ok(record.volume.map(|volume| (volume, record.node)));
        }
        let legacy = self.names.legacy(name);
        let volume_name = legacy.as_ref().ok().and_then(Option::as_ref).unwrap_or(name);
        let error = match self.translate(volume_name, &Vec::new()) {
            Ok(translated) => return Ok(Some((translated.volume, None))),
            Err(error) => error,
        };
        if let Some(AttachRecord { volume: Some(volume), node }) =
            self.names.detached(name, node)?
        {
            return Ok(Some((volume, node)));
        }
        legacy?;
        if error.kind != ErrorKind::InvalidArgument {
            return Err(error);
        }
        let hint = "it was attached by another machine, or the record is lost: detach the volume \
                    by hand; a PersistentVolume whose name is the volume's id needs no record";
        Err(error
            .context(format!("no record on this machine says which volume `{name}` is"))
            .with_hint(hint))
    }

    pub(super) fn is_attached(&self, options: &Options, node: &ObjectName) -> Result<Reply, Error> {
        let (volume, node_id) = self.identify(options, node)?;
        let (services, call) = self.services()?;
        let attached = services.controller.is_attached(call, &volume.volume, &node_id)?;
        if attached {
            // Asked every minute, with the options, on the machine that leads the control plane:
            // one that has just begun to lead learns here what `detach` will need, and
            // forgets what the name meant when it led before.
            log_failure(
                "write down what is attached",
                self.remember_attach(&options.volume_name, node, &volume.volume, &node_id),
            );
        }
        Ok(Reply { attached: Some(attached), ..Reply::success() })
    }

    pub(super) fn expand_volume(&self, options: &Options, bytes: u64) -> Result<Reply, Error> {
        let volume = self.translate(&options.volume_name, &options.chosen)?.volume;
        self.grow(&volume, options, bytes)?;
        Ok(Reply::success())
    }

    /// Grows the volume in the cloud, and says whether its node has to do something too.
    pub(super) fn grow(
        &self,
        volume: &VolumeId,
        options: &Options,
        bytes: u64,
    ) -> Result<Expanded, Error> {
        let (services, call) = self.services()?;
        let request = ExpandRequest {
            volume: volume.clone(),
            capacity: CapacityRange { required: Some(bytes), limit: None },
            capability: Some(self.capability(options)),
            caller: options.caller.clone(),
        };
        services.controller.change::<Expand>(call, &request)
    }

    fn node_id(&self, node: &ObjectName) -> Result<NodeId, Error> {
        match node_names::resolve(node, &self.driver.nodes, self.local_host)? {
            NamedNode::Node(id) => Ok(id),
            NamedNode::ThisHost => self.own_node_id(),
        }
    }

    /// The id of the machine that this process runs on.
    pub(super) fn own_node_id(&self) -> Result<NodeId, Error> {
        let (services, call) = self.services()?;
        Ok(services.node.describe(call)?.node_id)
    }
}
