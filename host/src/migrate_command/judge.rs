//! Whether a driver takes a volume or a class: its component says so, on a host that lets no
//! request out. So there is no second list of what is accepted, and nothing is made or changed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use wharf_core::node::SecretAttributes;
use wharf_core::plan::{MountFuse, Plan, Step};
use wharf_core::policy::NodePolicy;
use wharf_core::ports::{Backend, Call, Clock};
use wharf_core::types::{
    AccessMode, AccessType, Answer, Caller, Capability, CapacityRange, Description, Parameters,
    Volume, VolumeId,
};
use wharf_core::verbs::{
    AskExt as _, Create, CreateRequest, DescribeVolume, DescribeVolumeRequest, PlanPublish,
    PlanStage, PublishRequest, StageRequest, Translate, TranslateRequest, Translated, Validate,
    ValidateRequest,
};
use wharf_core::{Error, ErrorKind};
use wharf_runtime::{Egress, Request, Response, Scope};

use crate::assembly::Assembly;
use crate::config::Config;

use super::objects::Object;

/// The first question compiles the component where that was not done before.
const BOUND: Duration = Duration::from_secs(120);

/// The size of the volume that a class is tried with: neither small nor large for any kind of
/// volume, so that a refusal is about the parameters.
const TRIED_BYTES: u64 = 1500 << 30;

/// What a provisioner would call that volume.
const TRIED_NAME: &str = "pvc-00000000-0000-4000-8000-000000000000";

/// One driver of the configuration.
pub struct Judge<'a> {
    /// Its CSI name.
    pub driver: &'a str,
    /// Its names in FlexVolume: the component's own, and what the configuration adds.
    pub flexvolume: Vec<String>,
    /// Options that hold a secret: call-outs hand them to accounts, and to no component.
    pub secret_options: &'a [String],
    /// Attributes that hold a secret: nodes hand them to accounts, and to no component.
    secret_attributes: SecretAttributes,
    backend: Arc<dyn Backend>,
    network: Arc<NoNetwork>,
    policy: &'a NodePolicy,
    clock: Arc<dyn Clock>,
}

/// A PersistentVolume of CSI, as a node gets to know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CsiVolume {
    /// `volumeHandle`.
    pub handle: String,
    /// `volumeAttributes`.
    pub attributes: Parameters,
    /// `fsType`; empty: none.
    pub fs_type: String,
    /// `mountOptions`.
    pub flags: Vec<String>,
    /// `accessModes`, at least one.
    pub modes: Vec<AccessMode>,
    /// `volumeMode: Block`.
    pub is_block: bool,
    /// `readOnly`.
    pub is_read_only: bool,
}

/// A volume of FlexVolume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlexVolume {
    /// The PersistentVolume's name, or the volume's name in its pod: what kubelet gives the driver.
    pub name: String,
    /// `vendor/driver`.
    pub driver: String,
    /// `options`.
    pub options: Parameters,
    /// `fsType`; empty: none.
    pub fs_type: String,
    /// `readOnly`.
    pub is_read_only: bool,
}

impl FlexVolume {
    /// That of a PersistentVolume; `None`: it has another source.
    ///
    /// # Errors
    /// The field that is not as Kubernetes has it.
    pub fn of_volume(volume: &Object) -> Result<Option<Self>, String> {
        let Some(driver) = volume.text("spec.flexVolume.driver")? else { return Ok(None) };
        Ok(Some(Self {
            name: volume.name.clone(),
            driver: driver.to_owned(),
            options: volume.pairs("spec.flexVolume.options")?,
            fs_type: volume.text("spec.flexVolume.fsType")?.unwrap_or_default().to_owned(),
            is_read_only: volume.flag("spec.flexVolume.readOnly")?.unwrap_or(false),
        }))
    }
}

/// A StorageClass, as a provisioner hands it on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Class {
    /// `parameters`.
    pub parameters: Parameters,
    /// The file system that they name.
    pub fs_type: String,
    /// `mountOptions`.
    pub flags: Vec<String>,
}

/// Every driver of the configuration.
///
/// # Errors
/// The configuration contradicts itself.
pub fn all<'a>(config: &'a Config, assembly: &Assembly<'a>) -> Result<Vec<Judge<'a>>, Error> {
    let judge = |(driver, section): (&'a String, &'a crate::config::Driver)| {
        let network = Arc::new(NoNetwork::default());
        let (backend, policy) = assembly.backend_of(driver, network.clone())?;
        let mut judge = Judge {
            driver,
            flexvolume: section.flexvolume.clone(),
            secret_options: &config.flexvolume.secret_options,
            secret_attributes: SecretAttributes::new(section.secret_attributes.clone()),
            backend,
            network,
            policy,
            clock: assembly.clock(),
        };
        // The configuration of a server does not name them; only that of call-outs has to.
        if let Ok(description) = judge.description() {
            let own = description.drivers.iter().filter(|own| own.name == *driver);
            judge.flexvolume.extend(own.flat_map(|own| own.flexvolume.iter().cloned()));
        }
        Ok(judge)
    };
    config.driver.iter().map(judge).collect()
}

impl Judge<'_> {
    /// Whether it has this name in FlexVolume.
    pub fn is_flexvolume(&self, name: &str) -> bool {
        self.flexvolume.iter().any(|own| own == name)
    }

    /// What the component says of itself.
    ///
    /// # Errors
    /// None is active, or it cannot be loaded.
    pub fn description(&self) -> Result<Arc<Description>, Error> {
        self.backend.description(&self.call())
    }

    /// Whether a volume has to be attached to a node before it is used there.
    ///
    /// # Errors
    /// As [`Judge::description`].
    pub fn attaches(&self) -> Result<bool, Error> {
        Ok(self.description()?.attaches())
    }

    /// Which volume is meant over FlexVolume; whether a node would mount it is not asked.
    ///
    /// # Errors
    /// Why none is.
    pub fn translate(&self, volume: &FlexVolume) -> Result<Translated, Error> {
        let chosen = wharf_flexvolume::chosen(&volume.options, self.secret_options)?;
        self.backend.call::<Translate>(
            &self.call(),
            &TranslateRequest {
                driver: volume.driver.clone(),
                options: chosen,
                volume_name: volume.name.clone(),
            },
        )
    }

    /// What a volume is over FlexVolume.
    ///
    /// # Errors
    /// Why it cannot be mounted so.
    pub fn over_flexvolume(&self, volume: &FlexVolume) -> Result<Translated, Error> {
        let translated = self.translate(volume)?;
        let attaches = self.attaches()?;
        let mode =
            if attaches { AccessMode::SingleNodeWriter } else { AccessMode::MultiNodeMultiWriter };
        let as_mounted = CsiVolume {
            handle: translated.volume.as_str().to_owned(),
            attributes: translated.context.clone(),
            fs_type: volume.fs_type.clone(),
            flags: Vec::new(),
            modes: vec![mode],
            is_block: false,
            is_read_only: volume.is_read_only,
        };
        self.plans(&as_mounted, attaches)?;
        Ok(translated)
    }

    /// A volume of CSI as FlexVolume names it, by the first name that the driver has there. It is
    /// compared with the inverse: what FlexVolume would mount is what CSI mounts.
    ///
    /// # Errors
    /// Why there is none, or it would not be mounted.
    pub fn as_flexvolume(&self, name: &str, csi: &CsiVolume) -> Result<FlexVolume, Error> {
        let driver = self.flexvolume.first().ok_or_else(|| {
            Error::unsupported(format!("driver {} has no name in FlexVolume", self.driver))
        })?;
        let without_secrets = self.without_secrets(csi).attributes;
        if without_secrets.len() < csi.attributes.len() {
            return Err(Error::invalid("keys stand among its attributes").with_hint(
                "make a new PersistentVolume that names a Secret in `nodePublishSecretRef`, and \
                 move that one",
            ));
        }
        let volume = Volume {
            id: VolumeId::new(&csi.handle),
            capacity_bytes: 0,
            context: without_secrets,
            topology: Vec::new(),
            source: None,
            attached_to: Vec::new(),
            condition: None,
        };
        let request = DescribeVolumeRequest { driver: driver.clone(), volume };
        let described = self.backend.call::<DescribeVolume>(&self.call(), &request)?;
        let fs_type = Some(described.fs_type).filter(|named| !named.is_empty());
        let flexvolume = FlexVolume {
            name: name.to_owned(),
            driver: described.driver,
            options: described.options,
            fs_type: fs_type.unwrap_or_else(|| csi.fs_type.clone()),
            is_read_only: csi.is_read_only,
        };
        let again = self.over_flexvolume(&flexvolume)?;
        if self.attaches()? && again.volume.as_str() != csi.handle {
            return Err(Error::internal(format!(
                "FlexVolume would mount {}, and CSI mounts {}",
                again.volume, csi.handle
            ))
            .with_hint("this is a defect of the backend; report it to its author"));
        }
        Ok(flexvolume)
    }

    /// What a node would do for a volume of CSI: the plans of every access mode.
    ///
    /// # Errors
    /// Why it would not.
    pub fn over_csi(&self, volume: &CsiVolume) -> Result<Vec<Plan>, Error> {
        self.plans(&self.without_secrets(volume), self.description()?.can("stage"))
    }

    /// As the component gets to know it: without what the operator names as secrets.
    fn without_secrets(&self, volume: &CsiVolume) -> CsiVolume {
        let mut volume = volume.clone();
        self.secret_attributes.take(&mut volume.attributes, &mut Caller::default());
        volume
    }

    /// What a person should know of a volume that goes on as it is; `None`: nothing, or nothing
    /// that can be said without the cloud.
    pub fn remark(&self, volume: &CsiVolume) -> Option<String> {
        self.validated(ValidateRequest {
            volume: VolumeId::new(&volume.handle),
            context: self.without_secrets(volume).attributes,
            parameters: Parameters::new(),
            mutable_parameters: Parameters::new(),
            capabilities: volume.modes.iter().map(|mode| capability(volume, *mode)).collect(),
            caller: Caller::default(),
        })
    }

    /// What a person should know of a class whose parameters are taken, a line each.
    pub fn remarks_of_class(&self, class: &Class) -> Vec<String> {
        let request = ValidateRequest {
            volume: VolumeId::new(TRIED_NAME),
            context: Parameters::new(),
            parameters: class.parameters.clone(),
            mutable_parameters: Parameters::new(),
            capabilities: vec![tried_capability(class)],
            caller: Caller::default(),
        };
        let said = self.validated(request).unwrap_or_default();
        said.lines().map(str::to_owned).collect()
    }

    fn validated(&self, request: ValidateRequest) -> Option<String> {
        let validated = self.backend.call::<Validate>(&self.call(), &request).ok()?;
        (validated.confirmed && !validated.message.is_empty()).then_some(validated.message)
    }

    fn plans(&self, volume: &CsiVolume, is_staged: bool) -> Result<Vec<Plan>, Error> {
        let mut plans = Vec::new();
        for mode in &volume.modes {
            let capability = capability(volume, *mode);
            if is_staged {
                plans.push(self.backend.call::<PlanStage>(
                    &self.call(),
                    &StageRequest {
                        volume: VolumeId::new(&volume.handle),
                        capability: capability.clone(),
                        context: volume.attributes.clone(),
                        publish_context: Parameters::new(),
                        caller: Caller::default(),
                    },
                )?);
            }
            plans.push(self.backend.call::<PlanPublish>(
                &self.call(),
                &PublishRequest {
                    volume: VolumeId::new(&volume.handle),
                    capability,
                    read_only: volume.is_read_only,
                    context: volume.attributes.clone(),
                    publish_context: Parameters::new(),
                    caller: Caller::default(),
                },
            )?);
        }
        plans.iter().try_for_each(|plan| self.grants(plan))?;
        Ok(plans)
    }

    /// What a machine would say to a plan before it begins. Steps that this configuration does not
    /// grant at all are another role's: the controller makes directories, and nodes mount.
    fn grants(&self, plan: &Plan) -> Result<(), Error> {
        let is_ours = |step: &&Step| self.policy.steps.iter().any(|word| word == step.name());
        let steps = plan.steps.iter().filter(is_ours).cloned().collect();
        self.policy.check(&Plan { steps, summary: String::new() })?;
        for step in &plan.steps {
            let Step::MountFuse(MountFuse { helper, arguments, .. }) = step else { continue };
            let Some(grant) = self.policy.helpers.get(helper) else { continue };
            let shipped = wharf_node::supervisor::shipped_profile(helper)?;
            grant.resolve(helper, shipped)?.check_options(arguments)?;
        }
        Ok(())
    }

    /// Whether volumes of a class would be made. What depends on the cloud (a zone that lacks the
    /// type, say) is not known before one is.
    ///
    /// # Errors
    /// What of the parameters is refused.
    pub fn class(&self, class: &Class) -> Result<(), Error> {
        if !self.description()?.can("create") {
            return Err(Error::unsupported(format!("driver {} makes no volumes", self.driver)));
        }
        let request = CreateRequest {
            name: TRIED_NAME.to_owned(),
            capacity: CapacityRange { required: Some(TRIED_BYTES), limit: None },
            capabilities: vec![tried_capability(class)],
            parameters: class.parameters.clone(),
            mutable_parameters: Parameters::new(),
            source: None,
            topology: None,
            caller: Caller::default(),
        };
        self.network.asked.store(false, Ordering::Relaxed);
        match self.backend.call::<Create>(&self.call(), &request) {
            Ok(Answer::Perform(perform)) => self.grants(&perform.plan),
            Ok(Answer::Done(_) | Answer::Pending(_)) => Ok(()),
            // It went on to the cloud, which nobody asked.
            Err(_) if self.network.asked.load(Ordering::Relaxed) => Ok(()),
            Err(error) if error.kind == ErrorKind::OutOfRange => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn call(&self) -> Call {
        Call::until(self.clock.now() + BOUND)
    }
}

fn tried_capability(class: &Class) -> Capability {
    let access = AccessType::Mount {
        fs_type: class.fs_type.clone(),
        flags: class.flags.clone(),
        group: None,
    };
    Capability { access, mode: AccessMode::SingleNodeWriter }
}

fn capability(volume: &CsiVolume, mode: AccessMode) -> Capability {
    let access = if volume.is_block {
        AccessType::Block
    } else {
        AccessType::Mount {
            fs_type: volume.fs_type.clone(),
            flags: volume.flags.clone(),
            group: None,
        }
    };
    Capability { access, mode }
}

/// Lets nothing out, and remembers that somebody tried.
#[derive(Default)]
struct NoNetwork {
    asked: AtomicBool,
}

impl Egress for NoNetwork {
    fn send_all(&self, _: &Scope<'_>, requests: Vec<Request>) -> Vec<Result<Response, Error>> {
        self.asked.store(true, Ordering::Relaxed);
        requests.iter().map(|_| Err(Error::denied("no cloud is asked here"))).collect()
    }
}
