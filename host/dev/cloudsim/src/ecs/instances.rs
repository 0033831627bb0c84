//! `DescribeInstances` and `DescribeInstanceHistoryEvents`.

use serde_json::{Value, json};

use super::{Page, carries, show_tags};
use crate::answer::Answer;
use crate::clock::iso8601;
use crate::params::Params;
use crate::state::Instance;
use crate::world::World;

/// `DescribeInstances`. Unknown ids are left out and are no error.
pub(super) fn describe(world: &mut World, params: &Params) -> Answer {
    params.required("RegionId")?;
    let page = Page::of(params)?;
    let ids = params.json_list("InstanceIds", 100)?;
    let tags = params.tags()?;
    let is = |name: &str, value: &str| params.get(name).is_none_or(|wanted| wanted == value);
    let passes = |instance: &&Instance| {
        !instance.released
            && ids.as_ref().is_none_or(|ids| ids.contains(&instance.id))
            && carries(&instance.tags, &tags)
            && is("ZoneId", &instance.zone)
            && is("Status", &instance.status)
            && is("InstanceName", &instance.hostname)
    };
    let instances: Vec<&Instance> = world.state.instances.iter().filter(passes).collect();
    Ok(page.answer(("Instances", "Instance"), &instances, |instance| show(instance, world)))
}

fn show(instance: &Instance, world: &World) -> Value {
    let locks = if instance.locked_for_security {
        vec![json!({ "LockReason": "security" })]
    } else {
        Vec::new()
    };
    json!({
        "InstanceId": instance.id,
        "InstanceName": instance.hostname,
        "HostName": instance.hostname,
        "RegionId": world.options.region,
        "ZoneId": instance.zone,
        "InstanceType": world.options.instance_type,
        "Status": instance.status,
        "Cpu": 2,
        "Memory": 8192,
        "InstanceNetworkType": "vpc",
        "VpcAttributes": { "VpcId": "vpc-wharf", "VSwitchId": "vsw-wharf", "PrivateIpAddress": { "IpAddress": [instance.private_ip] } },
        "OperationLocks": { "LockReason": locks },
        "CreationTime": iso8601(instance.created),
        "InstanceChargeType": "PostPaid",
        "OSType": "linux",
        "IoOptimized": true,
        "Tags": show_tags(&instance.tags),
    })
}

/// `DescribeInstanceHistoryEvents`: nothing ever happens to these instances that the API would tell
/// of.
pub(super) fn history_events(_world: &mut World, params: &Params) -> Answer {
    params.required("RegionId")?;
    Ok(
        json!({ "InstanceSystemEventSet": { "InstanceSystemEventType": [] }, "TotalCount": 0, "PageNumber": 1, "PageSize": 10 }),
    )
}
