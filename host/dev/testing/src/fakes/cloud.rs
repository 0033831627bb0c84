//! The cloud behind [`super::FakeBackend`]: volumes, who holds them, and refusals in the terms of
//! the contract.

use std::collections::BTreeMap;

use wharf_core::types::{
    Answer, CapacityRange, Condition, NodeId, Observation, Parameters, Pending, Progress,
    ResourceId, Volume, VolumeId,
};
use wharf_core::verbs::{
    AttachRequest, Attached, Available, CreateRequest, DetachRequest, ExpandRequest, Expanded,
    Listed, ModifyRequest,
};
use wharf_core::{Blame, Error, ErrorKind};

/// What a volume gets when nobody says how large it must be.
const DEFAULT_BYTES: u64 = 1 << 30;
/// The one thing that can be changed.
const MUTABLE: &str = "iops";

/// What is left at first: a thousand of the volumes that nobody gives a size.
const LEFT_BYTES: u64 = 1000 * DEFAULT_BYTES;

#[derive(Debug)]
pub(crate) struct FakeCloud {
    volumes: BTreeMap<String, FakeVolume>,
    created: u64,
    nodes: Vec<NodeId>,
    /// How often an operation that takes time answers `pending` before it is done.
    pub(crate) rounds: u32,
    pub(crate) zone: Parameters,
    pub(crate) available: Available,
}

#[derive(Debug, Clone)]
struct FakeVolume {
    name: String,
    volume: Volume,
    /// Nodes that may only read, of those that hold it.
    readers: Vec<NodeId>,
    /// What a VolumeAttributesClass made of it.
    mutable: Parameters,
}

impl FakeCloud {
    pub(crate) fn new(nodes: Vec<NodeId>, zone: Parameters) -> Self {
        Self {
            volumes: BTreeMap::new(),
            created: 0,
            nodes,
            rounds: 0,
            zone,
            available: Available {
                bytes: LEFT_BYTES,
                minimum_volume_bytes: None,
                maximum_volume_bytes: None,
            },
        }
    }

    pub(crate) fn create(
        &mut self,
        request: &CreateRequest,
        progress: &Progress,
    ) -> Result<Answer<Volume>, Error> {
        if request.source.is_some() {
            return Err(Error::invalid("a volume can only be made empty here"));
        }
        if let Some(existing) = self.volumes.values().find(|existing| existing.name == request.name)
        {
            if request.capacity.contains(existing.volume.capacity_bytes) {
                return Ok(Answer::Done(existing.volume.clone()));
            }
            return Err(Error::new(
                ErrorKind::AlreadyExists,
                Blame::User,
                format!("{} exists with {} bytes", request.name, existing.volume.capacity_bytes),
            ));
        }
        if let Some(pending) = self.round(progress) {
            return Ok(Answer::Pending(pending));
        }
        self.created += 1;
        let volume = Volume {
            id: VolumeId::new(format!("vol-{}", self.created)),
            capacity_bytes: size_for(request.capacity)?,
            context: vec![("fake/kind".into(), "disk".into())],
            topology: request
                .topology
                .as_ref()
                .map(|_| vec![self.zone.clone()])
                .unwrap_or_default(),
            source: None,
            attached_to: Vec::new(),
            condition: None,
        };
        self.volumes.insert(
            volume.id.to_string(),
            FakeVolume {
                name: request.name.clone(),
                volume: volume.clone(),
                readers: Vec::new(),
                mutable: request.mutable_parameters.clone(),
            },
        );
        Ok(Answer::Done(volume))
    }

    pub(crate) fn delete(
        &mut self,
        id: &VolumeId,
        progress: &Progress,
    ) -> Result<Answer<()>, Error> {
        let Some(found) = self.volumes.get(id.as_str()) else { return Ok(Answer::Done(())) };
        if let Some(holder) = found.volume.attached_to.first() {
            return Err(Error::precondition(format!("{id} is attached to {holder}"))
                .with_hint("detach it first"));
        }
        if let Some(pending) = self.round(progress) {
            return Ok(Answer::Pending(pending));
        }
        self.volumes.remove(id.as_str());
        Ok(Answer::Done(()))
    }

    pub(crate) fn attach(
        &mut self,
        request: &AttachRequest,
        progress: &Progress,
    ) -> Result<Answer<Attached>, Error> {
        if !self.nodes.contains(&request.node) {
            return Err(Error::not_found(format!("there is no node {}", request.node)));
        }
        let found = self.volume(&request.volume)?;
        let (holders, reads_only) =
            (found.volume.attached_to.clone(), found.readers.contains(&request.node));
        let attached =
            Attached { publish_context: vec![("fake/serial".into(), request.volume.to_string())] };
        if holders.contains(&request.node) && reads_only != request.read_only {
            let why = format!(
                "{} is attached to {} with another read-only setting",
                request.volume, request.node
            );
            return Err(Error::new(ErrorKind::AlreadyExists, Blame::User, why));
        }
        if holders.contains(&request.node) {
            return Ok(Answer::Done(attached));
        }
        if let Some(holder) = holders.first().filter(|_| !request.capability.mode.is_multi_node()) {
            return Err(Error::precondition(format!("{} is attached to {holder}", request.volume))
                .with_hint("detach it there first"));
        }
        if let Some(pending) = self.round(progress) {
            return Ok(Answer::Pending(pending));
        }
        let found = self.volume_mut(&request.volume)?;
        found.volume.attached_to.push(request.node.clone());
        if request.read_only {
            found.readers.push(request.node.clone());
        }
        Ok(Answer::Done(attached))
    }

    pub(crate) fn detach(
        &mut self,
        request: &DetachRequest,
        progress: &Progress,
    ) -> Result<Answer<()>, Error> {
        let leaves = |node: &NodeId| request.node.as_ref().is_none_or(|only| only == node);
        let is_attached = self
            .volumes
            .get(request.volume.as_str())
            .is_some_and(|found| found.volume.attached_to.iter().any(leaves));
        if !is_attached {
            return Ok(Answer::Done(()));
        }
        if let Some(pending) = self.round(progress) {
            return Ok(Answer::Pending(pending));
        }
        let found = self.volume_mut(&request.volume)?;
        found.volume.attached_to.retain(|node| !leaves(node));
        found.readers.retain(|node| !leaves(node));
        Ok(Answer::Done(()))
    }

    pub(crate) fn expand(
        &mut self,
        request: &ExpandRequest,
        progress: &Progress,
    ) -> Result<Answer<Expanded>, Error> {
        let has = self.volume(&request.volume)?.volume.capacity_bytes;
        let wants = size_for(request.capacity)?;
        if has >= wants {
            return Ok(Answer::Done(Expanded {
                capacity_bytes: has,
                node_expansion_required: true,
            }));
        }
        if let Some(pending) = self.round(progress) {
            return Ok(Answer::Pending(pending));
        }
        self.volume_mut(&request.volume)?.volume.capacity_bytes = wants;
        Ok(Answer::Done(Expanded { capacity_bytes: wants, node_expansion_required: true }))
    }

    pub(crate) fn modify(
        &mut self,
        request: &ModifyRequest,
        progress: &Progress,
    ) -> Result<Answer<()>, Error> {
        let unknown = request.mutable_parameters.iter().find(|(key, _)| key != MUTABLE);
        if let Some((key, _)) = unknown {
            return Err(Error::invalid(format!("{key} is no mutable parameter; {MUTABLE} is")));
        }
        let has = &self.volume(&request.volume)?.mutable;
        if *has == request.mutable_parameters {
            return Ok(Answer::Done(()));
        }
        if let Some(pending) = self.round(progress) {
            return Ok(Answer::Pending(pending));
        }
        self.volume_mut(&request.volume)?.mutable.clone_from(&request.mutable_parameters);
        Ok(Answer::Done(()))
    }

    pub(crate) fn mutable_parameters(&self, volume: &str) -> Parameters {
        self.volumes.get(volume).map(|found| found.mutable.clone()).unwrap_or_default()
    }

    pub(crate) fn list(&self, max_entries: u32, token: Option<&str>) -> Result<Listed, Error> {
        let start = match token {
            None => 0,
            Some(token) => token
                .parse::<usize>()
                .map_err(|_| Error::aborted(format!("`{token}` is not a token of this list")))?,
        };
        let page = if max_entries == 0 {
            usize::MAX
        } else {
            usize::try_from(max_entries).unwrap_or(usize::MAX)
        };
        let volumes: Vec<_> = self
            .volumes
            .values()
            .skip(start)
            .take(page)
            .map(|found| found.volume.clone())
            .collect();
        let end = start + volumes.len();
        Ok(Listed { volumes, next_token: (end < self.volumes.len()).then(|| end.to_string()) })
    }

    pub(crate) fn observe(&self, of: &ResourceId) -> Observation {
        let found = self.volumes.get(&of.id);
        let state = found.map(|found| {
            let holders = found.volume.attached_to.iter().map(ToString::to_string);
            let size = found.volume.capacity_bytes.to_string();
            let condition = found.volume.condition.as_ref();
            let wrong = condition.map(|condition| condition.message.clone()).unwrap_or_default();
            [size, wrong].into_iter().chain(holders).collect::<Vec<_>>().join("\n").into_bytes()
        });
        Observation { of: of.clone(), found: found.is_some(), state: state.unwrap_or_default() }
    }

    /// What [`FakeCloud::observe`] wrote: the size, what is wrong, then a holder in each line.
    pub(crate) fn read(observed: &Observation) -> Result<Volume, Error> {
        if !observed.found {
            return Err(Error::not_found(format!("there is no volume {}", observed.of.id)));
        }
        let state = String::from_utf8_lossy(&observed.state);
        let mut lines = state.split('\n');
        let capacity_bytes = lines.next().and_then(|size| size.parse().ok()).unwrap_or(0);
        let wrong = lines.next().filter(|wrong| !wrong.is_empty());
        Ok(Volume {
            id: VolumeId::new(&observed.of.id),
            capacity_bytes,
            context: Vec::new(),
            topology: Vec::new(),
            source: None,
            attached_to: lines.map(NodeId::new).collect(),
            condition: wrong.map(Condition::abnormal),
        })
    }

    pub(crate) fn check_exists(&self, id: &VolumeId) -> Result<(), Error> {
        self.volume(id).map(|_| ())
    }

    pub(crate) fn adopt(&mut self, volume: Volume) {
        self.volumes.insert(
            volume.id.to_string(),
            FakeVolume {
                name: volume.id.to_string(),
                volume,
                readers: Vec::new(),
                mutable: Parameters::new(),
            },
        );
    }

    pub(crate) fn volumes(&self) -> Vec<Volume> {
        self.volumes.values().map(|found| found.volume.clone()).collect()
    }

    fn volume(&self, id: &VolumeId) -> Result<&FakeVolume, Error> {
        self.volumes.get(id.as_str()).ok_or_else(|| missing(id))
    }

    fn volume_mut(&mut self, id: &VolumeId) -> Result<&mut FakeVolume, Error> {
        self.volumes.get_mut(id.as_str()).ok_or_else(|| missing(id))
    }

    /// The token counts the rounds that are over.
    fn round(&self, progress: &Progress) -> Option<Pending> {
        let over =
            progress.resume.as_deref().and_then(|token| token.parse::<u32>().ok()).unwrap_or(0);
        (over < self.rounds).then(|| Pending {
            after_ms: 1000,
            watch: Vec::new(),
            resume: Some((over + 1).to_string()),
            reason: format!("the cloud needs {} more rounds", self.rounds - over),
        })
    }
}

fn missing(id: &VolumeId) -> Error {
    Error::not_found(format!("there is no volume {id}"))
}

fn size_for(range: CapacityRange) -> Result<u64, Error> {
    let size = range
        .required
        .unwrap_or_else(|| range.limit.map_or(DEFAULT_BYTES, |limit| limit.min(DEFAULT_BYTES)));
    if range.contains(size) {
        return Ok(size);
    }
    Err(Error::new(ErrorKind::OutOfRange, Blame::User, format!("no size satisfies {range:?}")))
}
