//! The rules of `node` and `legacy`.

use wharf_core::error::Error;
use wharf_core::plan::{MAX_STEPS, Plan};
use wharf_core::types::{AccessType, Caller, Volume};
use wharf_core::verbs::{
    AskExt as _, DescribeNode, NodeExpandRequest, PlanExpand, PlanPublish, PlanStage,
    PublishRequest, StageRequest, Translate, TranslateRequest,
};

use super::{Case, Rule, ensure};

pub(super) const RULES: &[Rule] = &[
    ("describe-node is repeatable and has an id", describe_node),
    ("plans are pure and within bounds", plans),
    ("a plan for a raw device neither formats nor mounts a file system", raw_plans),
    ("an unknown FlexVolume driver's options are answered the same twice", translate),
];

fn describe_node(case: &Case<'_>) -> Result<(), String> {
    let describe = || {
        case.backend().call::<DescribeNode>(&case.call(), &()).map_err(|error| error.to_string())
    };
    let first = describe()?;
    ensure(describe()? == first, || "two answers differ".to_owned())?;
    let id = first.node_id.as_str();
    ensure(!id.is_empty() && id.len() <= 256, || format!("the id `{id}` is empty or too long"))
}

fn plans(case: &Case<'_>) -> Result<(), String> {
    let volume = planned(case)?;
    let access = case.subject.capability.access.clone();
    all_plans(case, &volume, &access).map(drop)?;
    case_end(case, &volume)
}

fn raw_plans(case: &Case<'_>) -> Result<(), String> {
    let volume = planned(case)?;
    // A backend of shared directories refuses raw devices, which is fine.
    if let Ok(plans) = all_plans(case, &volume, &AccessType::Block) {
        for plan in plans {
            let bad = plan
                .steps
                .iter()
                .map(wharf_core::plan::Step::name)
                .find(|word| matches!(*word, "format" | "check" | "grow" | "mount-device"));
            ensure(bad.is_none(), || format!("`{}` has the step {bad:?}", plan.summary))?;
        }
    }
    case_end(case, &volume)
}

/// A volume and what attaching it gives, so that plans have all they need.
fn planned(case: &Case<'_>) -> Result<Volume, String> {
    if case.can("create") {
        return case.volume("plan");
    }
    Ok(Volume {
        id: wharf_core::types::VolumeId::new(&case.subject.missing),
        capacity_bytes: 0,
        context: Vec::new(),
        topology: Vec::new(),
        source: None,
        attached_to: Vec::new(),
        condition: None,
    })
}

fn case_end(case: &Case<'_>, volume: &Volume) -> Result<(), String> {
    if case.can("create") { case.remove(&volume.id) } else { Ok(()) }
}

fn all_plans(case: &Case<'_>, volume: &Volume, access: &AccessType) -> Result<Vec<Plan>, String> {
    let capability = wharf_core::types::Capability {
        access: access.clone(),
        mode: case.subject.capability.mode,
    };
    let (context, id) = (volume.context.clone(), volume.id.clone());
    let stage = StageRequest {
        volume: id.clone(),
        capability: capability.clone(),
        context: context.clone(),
        publish_context: Vec::new(),
        caller: Caller::default(),
    };
    let publish = PublishRequest {
        volume: id.clone(),
        capability: capability.clone(),
        read_only: false,
        context: context.clone(),
        publish_context: Vec::new(),
        caller: Caller::default(),
    };
    let expand = NodeExpandRequest {
        volume: id,
        capability: Some(capability),
        required_bytes: case.subject.bytes,
        context,
        publish_context: Vec::new(),
        caller: Caller::default(),
    };
    let mut plans = Vec::new();
    if case.can("stage") {
        plans.push(twice(|| case.backend().call::<PlanStage>(&case.call(), &stage))?);
    }
    plans.push(twice(|| case.backend().call::<PlanPublish>(&case.call(), &publish))?);
    if case.can("expand-node") {
        plans.push(twice(|| case.backend().call::<PlanExpand>(&case.call(), &expand))?);
    }
    Ok(plans)
}

fn twice(plan: impl Fn() -> Result<Plan, Error>) -> Result<Plan, String> {
    let (first, second) =
        (plan().map_err(|error| error.to_string())?, plan().map_err(|error| error.to_string())?);
    ensure(first == second, || {
        format!("`{}` is planned differently the second time", first.summary)
    })?;
    ensure(first.steps.len() <= MAX_STEPS, || {
        format!("`{}` has {} steps", first.summary, first.steps.len())
    })?;
    ensure(!first.summary.is_empty(), || "a plan does not say what it is for".to_owned())?;
    Ok(first)
}

fn translate(case: &Case<'_>) -> Result<(), String> {
    let request = TranslateRequest {
        driver: "nobody/nothing".to_owned(),
        options: Vec::new(),
        volume_name: "pv".to_owned(),
    };
    let ask = || {
        case.backend().call::<Translate>(&case.call(), &request).map_err(|error| error.to_string())
    };
    ensure(ask() == ask(), || "two answers differ".to_owned())
}
