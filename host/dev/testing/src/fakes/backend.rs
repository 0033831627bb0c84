//! A backend with a small cloud behind it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use wharf_core::Error;
use wharf_core::plan::{
    BlockDevice, DeviceMatch, FindDevice, Format, Grow, MountDevice, MountStaged, Plan, Step,
};
use wharf_core::ports::{Ask, Call, Describe, Instant};
use wharf_core::types::{
    AccessType, Answer, Description, DriverName, NodeDescription, NodeId, Observation, Parameters,
    Progress, ResourceId, Volume, VolumeId,
};
use wharf_core::verbs::{
    Attach, AttachRequest, Attached, Available, Capacity, CapacityRequest, Create, CreateRequest,
    Delete, DeleteRequest, DescribeNode, DescribeVolume, DescribeVolumeRequest, Detach,
    DetachRequest, Expand, ExpandRequest, Expanded, LegacyVolume, List, ListRequest, Listed,
    Modify, ModifyRequest, NodeExpandRequest, Observe, PlanExpand, PlanPublish, PlanStage,
    PublishRequest, Read, StageRequest, Translate, TranslateRequest, Translated, Validate,
    ValidateRequest, Validated,
};

use super::cloud::FakeCloud;
use super::hold::Hold;
use super::journal::{Journal, Seen};
use super::lock;

/// Everything that the core's ports can do today.
const CAPABILITIES: &[&str] = &[
    "create",
    "attach",
    "attach-read-only",
    "expand",
    "expand-node",
    "modify",
    "list",
    "capacity",
    "stage",
    "topology",
    "condition",
    "single-node-multi-writer",
    "mount-group",
];
/// The key of its topology segments.
const ZONE_KEY: &str = "topology.fake.example/zone";

/// Serves disk-like volumes of one driver from memory. The node `node-1` is the one it runs on;
/// `node-2` exists too.
#[derive(Debug)]
pub struct FakeBackend {
    cloud: Mutex<FakeCloud>,
    journal: Journal,
    description: Mutex<Description>,
    plans: Mutex<BTreeMap<&'static str, Vec<Step>>>,
}

impl FakeBackend {
    /// A backend that can do everything, with an empty cloud.
    pub fn new(driver: &str) -> Self {
        let zone: Parameters = vec![(ZONE_KEY.into(), "zone-a".into())];
        let nodes = vec![NodeId::new("node-1"), NodeId::new("node-2")];
        Self {
            cloud: Mutex::new(FakeCloud::new(nodes, zone)),
            journal: Journal::default(),
            plans: Mutex::default(),
            description: Mutex::new(Description {
                name: "fake".into(),
                version: "1.2.3".into(),
                drivers: vec![DriverName {
                    name: driver.to_owned(),
                    flexvolume: vec!["fake/disk".into()],
                }],
                capabilities: CAPABILITIES.iter().map(|word| (*word).to_owned()).collect(),
                topology_keys: vec![ZONE_KEY.into()],
                observe_batch: 100,
            }),
        }
    }

    /// From now on the answer of `verb` (`plan-stage`, `plan-publish`, `plan-expand`) is this plan,
    /// whatever is asked.
    pub fn plan_instead(&self, verb: &'static str, steps: Vec<Step>) {
        lock(&self.plans).insert(verb, steps);
    }

    fn planned(&self, verb: &'static str, steps: Vec<Step>, volume: &VolumeId) -> Plan {
        let steps = lock(&self.plans).get(verb).cloned().unwrap_or(steps);
        Plan { steps, summary: format!("{verb} {volume}") }
    }

    /// Says from now on that it can do just this.
    pub fn offer(&self, capabilities: &[&str]) {
        lock(&self.description).capabilities =
            capabilities.iter().map(|word| (*word).to_owned()).collect();
    }

    /// Operations that take time answer `pending` so often before they are done.
    pub fn take_rounds(&self, rounds: u32) {
        lock(&self.cloud).rounds = rounds;
    }

    /// Puts a volume into the cloud, as if somebody else had made it.
    pub fn adopt(&self, volume: Volume) {
        lock(&self.cloud).adopt(volume);
    }

    /// Every volume of the cloud, in the order of the ids.
    pub fn volumes(&self) -> Vec<Volume> {
        lock(&self.cloud).volumes()
    }

    /// `capacity` answers this from now on.
    pub fn leave(&self, available: Available) {
        lock(&self.cloud).available = available;
    }

    /// What `modify` made of a volume.
    pub fn mutable_parameters(&self, volume: &str) -> Parameters {
        lock(&self.cloud).mutable_parameters(volume)
    }

    /// The next call of `verb` (its name in the contract) fails like this. Several wait in line.
    pub fn fail(&self, verb: &str, error: Error) {
        self.journal.fail(verb, error);
    }

    /// The call at this position, counted from zero over all verbs, fails like this.
    pub fn fail_at(&self, position: usize, error: Error) {
        self.journal.fail_at(position, error);
    }

    /// Calls of `verb` stop before they do anything, until the hold is dropped or they are
    /// cancelled.
    pub fn hold(&self, verb: &str) -> Hold {
        self.journal.hold(verb)
    }

    /// The verbs of all calls so far.
    pub fn calls(&self) -> Vec<&'static str> {
        self.journal.verbs()
    }

    /// The requests of all calls so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.journal.seen()
    }

    /// When the last call of `verb` had to be over.
    pub fn deadline_of_last(&self, verb: &str) -> Option<Instant> {
        self.journal.deadline_of_last(verb)
    }
}

impl Describe for FakeBackend {
    fn description(&self, call: &Call) -> Result<Arc<Description>, Error> {
        self.journal.enter(call, "describe")?;
        Ok(Arc::new(lock(&self.description).clone()))
    }
}

impl Ask<Observe> for FakeBackend {
    fn ask(
        &self,
        call: &Call,
        resources: &[ResourceId],
        _: &Progress,
    ) -> Result<Vec<Observation>, Error> {
        self.journal.enter(call, "observe")?;
        let cloud = lock(&self.cloud);
        Ok(resources.iter().map(|of| cloud.observe(of)).collect())
    }
}

impl Ask<Read> for FakeBackend {
    fn ask(&self, call: &Call, observed: &Observation, _: &Progress) -> Result<Volume, Error> {
        self.journal.enter(call, "read")?;
        FakeCloud::read(observed)
    }
}

impl Ask<Create> for FakeBackend {
    fn ask(
        &self,
        call: &Call,
        request: &CreateRequest,
        progress: &Progress,
    ) -> Result<Answer<Volume>, Error> {
        self.journal.see(Seen::Create(request.clone()));
        self.journal.enter(call, "create")?;
        lock(&self.cloud).create(request, progress)
    }
}

impl Ask<Delete> for FakeBackend {
    fn ask(
        &self,
        call: &Call,
        request: &DeleteRequest,
        progress: &Progress,
    ) -> Result<Answer<()>, Error> {
        self.journal.enter(call, "delete")?;
        lock(&self.cloud).delete(&request.volume, progress)
    }
}

impl Ask<Attach> for FakeBackend {
    fn ask(
        &self,
        call: &Call,
        request: &AttachRequest,
        progress: &Progress,
    ) -> Result<Answer<Attached>, Error> {
        self.journal.see(Seen::Attach(request.clone()));
        self.journal.enter(call, "attach")?;
        lock(&self.cloud).attach(request, progress)
    }
}

impl Ask<Detach> for FakeBackend {
    fn ask(
        &self,
        call: &Call,
        request: &DetachRequest,
        progress: &Progress,
    ) -> Result<Answer<()>, Error> {
        self.journal.enter(call, "detach")?;
        lock(&self.cloud).detach(request, progress)
    }
}

impl Ask<Expand> for FakeBackend {
    fn ask(
        &self,
        call: &Call,
        request: &ExpandRequest,
        progress: &Progress,
    ) -> Result<Answer<Expanded>, Error> {
        self.journal.see(Seen::Expand(request.clone()));
        self.journal.enter(call, "expand")?;
        lock(&self.cloud).expand(request, progress)
    }
}

impl Ask<Modify> for FakeBackend {
    fn ask(
        &self,
        call: &Call,
        request: &ModifyRequest,
        progress: &Progress,
    ) -> Result<Answer<()>, Error> {
        self.journal.enter(call, "modify")?;
        lock(&self.cloud).modify(request, progress)
    }
}

impl Ask<Validate> for FakeBackend {
    fn ask(
        &self,
        call: &Call,
        request: &ValidateRequest,
        _: &Progress,
    ) -> Result<Validated, Error> {
        self.journal.see(Seen::Validate(request.clone()));
        self.journal.enter(call, "validate")?;
        lock(&self.cloud).check_exists(&request.volume)?;
        Ok(Validated { confirmed: true, message: String::new() })
    }
}

impl Ask<List> for FakeBackend {
    fn ask(&self, call: &Call, request: &ListRequest, _: &Progress) -> Result<Listed, Error> {
        self.journal.enter(call, "list")?;
        lock(&self.cloud).list(request.max_entries, request.starting_token.as_deref())
    }
}

impl Ask<Capacity> for FakeBackend {
    fn ask(
        &self,
        call: &Call,
        request: &CapacityRequest,
        _: &Progress,
    ) -> Result<Available, Error> {
        self.journal.see(Seen::Capacity(request.clone()));
        self.journal.enter(call, "capacity")?;
        Ok(lock(&self.cloud).available)
    }
}

impl Ask<DescribeNode> for FakeBackend {
    fn ask(&self, call: &Call, (): &(), _: &Progress) -> Result<NodeDescription, Error> {
        self.journal.enter(call, "describe-node")?;
        let topology = lock(&self.cloud).zone.clone();
        Ok(NodeDescription { node_id: NodeId::new("node-1"), topology, max_volumes: Some(16) })
    }
}

impl Ask<PlanStage> for FakeBackend {
    fn ask(&self, call: &Call, request: &StageRequest, _: &Progress) -> Result<Plan, Error> {
        self.journal.see(Seen::PlanStage(request.clone()));
        self.journal.enter(call, "plan-stage")?;
        let mut steps = vec![find(&request.volume, 0)];
        if let AccessType::Mount { fs_type, flags, .. } = &request.capability.access {
            let fs_type = if fs_type.is_empty() { "ext4".to_owned() } else { fs_type.clone() };
            steps.push(Format { fs_type: fs_type.clone(), arguments: Vec::new() }.into());
            steps.push(MountDevice { fs_type, flags: flags.clone(), read_only: false }.into());
        }
        Ok(self.planned("plan-stage", steps, &request.volume))
    }
}

impl Ask<PlanPublish> for FakeBackend {
    fn ask(&self, call: &Call, request: &PublishRequest, _: &Progress) -> Result<Plan, Error> {
        self.journal.see(Seen::PlanPublish(request.clone()));
        self.journal.enter(call, "plan-publish")?;
        let read_only = request.read_only || request.capability.mode.is_read_only();
        let steps = match request.capability.access {
            AccessType::Mount { .. } => {
                vec![MountStaged { flags: Vec::new(), read_only }.into()]
            }
            AccessType::Block => vec![find(&request.volume, 0), BlockDevice { read_only }.into()],
        };
        Ok(self.planned("plan-publish", steps, &request.volume))
    }
}

impl Ask<PlanExpand> for FakeBackend {
    fn ask(&self, call: &Call, request: &NodeExpandRequest, _: &Progress) -> Result<Plan, Error> {
        self.journal.see(Seen::PlanExpand(request.clone()));
        self.journal.enter(call, "plan-expand")?;
        let mut steps = vec![find(&request.volume, request.required_bytes)];
        if !matches!(&request.capability, Some(capability) if capability.access == AccessType::Block)
        {
            steps.push(Grow { fs_type: String::new() }.into());
        }
        Ok(self.planned("plan-expand", steps, &request.volume))
    }
}

impl Ask<Translate> for FakeBackend {
    fn ask(
        &self,
        call: &Call,
        request: &TranslateRequest,
        _: &Progress,
    ) -> Result<Translated, Error> {
        self.journal.enter(call, "translate")?;
        let id = request
            .options
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case("volumeId"))
            .map(|(_, value)| value);
        let id = id.ok_or_else(|| Error::invalid("the option `volumeId` is missing"))?;
        Ok(Translated {
            volume: VolumeId::new(id),
            context: request.options.clone(),
            only_over_flexvolume: Vec::new(),
        })
    }
}

impl Ask<DescribeVolume> for FakeBackend {
    fn ask(
        &self,
        call: &Call,
        request: &DescribeVolumeRequest,
        _: &Progress,
    ) -> Result<LegacyVolume, Error> {
        self.journal.enter(call, "describe-volume")?;
        let mut options = request.volume.context.clone();
        options.push(("volumeId".to_owned(), request.volume.id.to_string()));
        Ok(LegacyVolume { driver: request.driver.clone(), options, fs_type: String::new() })
    }
}

fn find(volume: &VolumeId, minimum_bytes: u64) -> Step {
    FindDevice {
        matches: vec![
            DeviceMatch::Serial(volume.to_string()),
            DeviceMatch::ById(format!("virtio-{volume}")),
        ],
        minimum_bytes,
    }
    .into()
}
