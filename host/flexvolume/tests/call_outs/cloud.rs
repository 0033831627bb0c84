//! A backend with a small cloud: disks `d-…` that know who holds them, and shares.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use wharf_core::Error;
use wharf_core::plan::{
    DeviceMatch, FindDevice, Format, Grow, MountDevice, MountNfs, MountPlace, MountStaged, Plan,
    Step,
};
use wharf_core::ports::{Ask, Call, Describe};
use wharf_core::types::{
    AccessType, Answer, Capability, Description, NodeDescription, NodeId, Observation, Parameters,
    Progress, ResourceId, Volume, VolumeId,
};
use wharf_core::verbs::{
    Attach, AttachRequest, Attached, Capacity, Create, Delete, DescribeNode, DescribeVolume,
    Detach, DetachRequest, Expand, ExpandRequest, Expanded, List, Modify, NodeExpandRequest,
    Observe, PlanExpand, PlanPublish, PlanStage, PublishRequest, Read, StageRequest, Translate,
    TranslateRequest, Translated, Validate, Verb,
};

/// The node that the tests run on.
pub const THIS_NODE: &str = "i-1";
const SERIAL: &str = "serial";

#[derive(Default)]
pub struct Cloud {
    state: Mutex<State>,
}

#[derive(Default)]
pub struct State {
    pub holders: BTreeMap<String, BTreeSet<String>>,
    pub sizes: BTreeMap<String, u64>,
    pub is_down: bool,
    /// Disks that the cloud has no serial of.
    pub without_serial: BTreeSet<String>,
    pub has_no_backend: bool,
    pub panics: bool,
    pub calls: Vec<&'static str>,
    /// What the backend says that it can do.
    pub capabilities: Vec<String>,
    /// The group of each plan to publish.
    pub groups: Vec<Option<String>>,
}

impl Cloud {
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Serials and sizes of the disks that this node holds.
    pub fn attached_here(&self) -> BTreeMap<String, u64> {
        let state = self.state();
        let here = state.holders.iter().filter(|(_, holders)| holders.contains(THIS_NODE));
        here.filter_map(|(disk, _)| Some((serial(disk), *state.sizes.get(disk)?))).collect()
    }

    fn enter(&self, verb: &'static str) -> Result<(), Error> {
        let mut state = self.state();
        state.calls.push(verb);
        assert!(!state.panics, "the backend adapter panics");
        if state.has_no_backend {
            return Err(Error::precondition("no component is active"));
        }
        Ok(())
    }

    fn ask(&self, verb: &'static str) -> Result<(), Error> {
        self.enter(verb)?;
        if self.state().is_down {
            Err(Error::unavailable("the cloud does not answer"))
        } else {
            Ok(())
        }
    }
}

impl Describe for Cloud {
    fn description(&self, _: &Call) -> Result<Arc<Description>, Error> {
        self.enter("describe")?;
        Ok(Arc::new(Description {
            name: "fake".into(),
            version: "1".into(),
            drivers: vec![],
            capabilities: self.state().capabilities.clone(),
            topology_keys: vec![],
            observe_batch: 10,
        }))
    }
}

impl Ask<Observe> for Cloud {
    fn ask(
        &self,
        _: &Call,
        resources: &[ResourceId],
        _: &Progress,
    ) -> Result<Vec<Observation>, Error> {
        self.ask("observe")?;
        let state = self.state();
        let observe = |of: &ResourceId| {
            let holders = state
                .holders
                .get(&of.id)
                .map(|holders| holders.iter().cloned().collect::<Vec<_>>().join(" "))
                .unwrap_or_default();
            Observation {
                of: of.clone(),
                found: state.sizes.contains_key(&of.id),
                state: holders.into_bytes(),
            }
        };
        Ok(resources.iter().map(observe).collect())
    }
}

impl Ask<Read> for Cloud {
    fn ask(&self, _: &Call, observed: &Observation, _: &Progress) -> Result<Volume, Error> {
        self.enter("read")?;
        if !observed.found {
            return Err(Error::not_found(format!("there is no disk {}", observed.of.id)));
        }
        let holders = String::from_utf8_lossy(&observed.state);
        Ok(Volume {
            id: VolumeId::new(&observed.of.id),
            capacity_bytes: 0,
            context: vec![],
            topology: vec![],
            source: None,
            attached_to: holders.split_whitespace().map(NodeId::new).collect(),
            condition: None,
        })
    }
}

impl Ask<Attach> for Cloud {
    fn ask(
        &self,
        _: &Call,
        request: &AttachRequest,
        _: &Progress,
    ) -> Result<Answer<Attached>, Error> {
        self.ask("attach")?;
        let mut state = self.state();
        if !state.sizes.contains_key(request.volume.as_str()) {
            return Err(Error::not_found(format!("there is no disk {}", request.volume)));
        }
        let holders = state.holders.entry(request.volume.to_string()).or_default();
        if let Some(other) = holders.iter().find(|holder| *holder != request.node.as_str()) {
            return Err(Error::precondition(format!(
                "disk {} is attached to {other}",
                request.volume
            ))
            .with_hint("detach it there first"));
        }
        if state.without_serial.contains(request.volume.as_str()) {
            return Err(Error::precondition(format!("disk {} has no serial", request.volume))
                .with_hint("make another from it"));
        }
        let holders = state.holders.entry(request.volume.to_string()).or_default();
        holders.insert(request.node.to_string());
        Ok(Answer::Done(Attached {
            publish_context: vec![(SERIAL.into(), serial(request.volume.as_str()))],
        }))
    }
}

impl Ask<Detach> for Cloud {
    fn ask(&self, _: &Call, request: &DetachRequest, _: &Progress) -> Result<Answer<()>, Error> {
        self.ask("detach")?;
        let node = request.node.as_ref().expect("a call-out always names the node");
        if let Some(holders) = self.state().holders.get_mut(request.volume.as_str()) {
            holders.remove(node.as_str());
        }
        Ok(Answer::Done(()))
    }
}

impl Ask<Expand> for Cloud {
    fn ask(
        &self,
        _: &Call,
        request: &ExpandRequest,
        _: &Progress,
    ) -> Result<Answer<Expanded>, Error> {
        self.ask("expand")?;
        let mut state = self.state();
        let size = state
            .sizes
            .get_mut(request.volume.as_str())
            .ok_or_else(|| Error::unsupported("shares do not grow"))?;
        *size = (*size).max(request.capacity.required.unwrap_or(0));
        Ok(Answer::Done(Expanded { capacity_bytes: *size, node_expansion_required: true }))
    }
}

impl Ask<DescribeNode> for Cloud {
    fn ask(&self, _: &Call, (): &(), _: &Progress) -> Result<NodeDescription, Error> {
        self.ask("describe-node")?;
        Ok(NodeDescription { node_id: NodeId::new(THIS_NODE), topology: vec![], max_volumes: None })
    }
}

impl Ask<PlanStage> for Cloud {
    fn ask(&self, _: &Call, request: &StageRequest, _: &Progress) -> Result<Plan, Error> {
        self.enter("plan-stage")?;
        let read_only = request.capability.mode.is_read_only();
        let fs_type = fs_type(&request.capability);
        let mut steps = vec![find(&request.publish_context, 0)?];
        if !read_only {
            steps.push(Format { fs_type: fs_type.clone(), arguments: vec![] }.into());
        }
        steps.push(MountDevice { fs_type, flags: vec![], read_only }.into());
        Ok(plan(steps))
    }
}

impl Ask<PlanPublish> for Cloud {
    fn ask(&self, _: &Call, request: &PublishRequest, _: &Progress) -> Result<Plan, Error> {
        self.enter("plan-publish")?;
        self.state().groups.push(request.capability.group().map(str::to_owned));
        let read_only = request.read_only;
        let step = match request.volume.as_str().strip_prefix("share:") {
            Some(server) => MountNfs {
                server: server.to_owned(),
                path: "/".into(),
                options: vec![],
                read_only,
                place: MountPlace::Target,
                make_path: None,
            }
            .into(),
            None => MountStaged { flags: vec![], read_only }.into(),
        };
        Ok(plan(vec![step]))
    }
}

impl Ask<PlanExpand> for Cloud {
    fn ask(&self, _: &Call, request: &NodeExpandRequest, _: &Progress) -> Result<Plan, Error> {
        self.enter("plan-expand")?;
        let context = vec![(SERIAL.to_owned(), serial(request.volume.as_str()))];
        Ok(plan(vec![
            find(&context, request.required_bytes)?,
            Grow { fs_type: String::new() }.into(),
        ]))
    }
}

impl Ask<Translate> for Cloud {
    fn ask(&self, _: &Call, request: &TranslateRequest, _: &Progress) -> Result<Translated, Error> {
        self.enter("translate")?;
        let option = |name: &str| {
            request
                .options
                .iter()
                .find(|(key, _)| key.eq_ignore_ascii_case(name))
                .map(|(_, value)| value.as_str())
        };
        if request.driver == "acme/share" {
            let server =
                option("server").ok_or_else(|| Error::invalid("the option `server` is missing"))?;
            return Ok(Translated {
                volume: VolumeId::new(format!("share:{server}")),
                context: request.options.clone(),
                only_over_flexvolume: Vec::new(),
            });
        }
        let id = option("volumeId").unwrap_or(&request.volume_name);
        if !id.starts_with("d-") {
            return Err(Error::invalid("the option `volumeId` is missing")
                .with_hint("it is the id of a disk, d-…"));
        }
        Ok(Translated {
            volume: VolumeId::new(id),
            context: request.options.clone(),
            only_over_flexvolume: Vec::new(),
        })
    }
}

macro_rules! never_asked {
    ($($verb:ty),+) => {
        $(impl Ask<$verb> for Cloud {
            fn ask(
                &self,
                _: &Call,
                _: &<$verb as Verb>::Request,
                _: &Progress,
            ) -> Result<<$verb as Verb>::Answer, Error> {
                unreachable!("FlexVolume never asks for `{}`", <$verb as Verb>::NAME)
            }
        })+
    };
}

never_asked!(Create, Delete, Modify, Validate, List, Capacity, DescribeVolume);

/// Not to be guessed from the id.
pub fn serial(disk: &str) -> String {
    format!("serial-of-{disk}")
}

fn fs_type(capability: &Capability) -> String {
    match &capability.access {
        AccessType::Mount { fs_type, .. } if !fs_type.is_empty() => fs_type.clone(),
        AccessType::Mount { .. } | AccessType::Block => "ext4".into(),
    }
}

fn find(publish_context: &Parameters, minimum_bytes: u64) -> Result<Step, Error> {
    let (_, serial) = publish_context
        .iter()
        .find(|(key, _)| key == SERIAL)
        .ok_or_else(|| Error::precondition("the serial of the disk is not known"))?;
    let matches = vec![DeviceMatch::Serial(serial.clone())];
    Ok(FindDevice { matches, minimum_bytes }.into())
}

fn plan(steps: Vec<Step>) -> Plan {
    Plan { steps, summary: "test".into() }
}
