//! The `wharf.toml` of a machine: what the README shows, filled in for a simulated region.

use wharf_cloudsim::{InstanceDescription, RegionDescription};

use super::{CSI_DRIVER, FLEX_DRIVER, Machine};

/// What all machines of a bed share.
pub(super) struct Rights<'a> {
    pub(super) region: &'a RegionDescription,
    /// Node names and the ids of their instances.
    pub(super) nodes: &'a [(String, String)],
    pub(super) call_out_log: &'static str,
    pub(super) legacy_state: bool,
}

/// The configuration, and the keys that it names files for.
pub(super) struct Written {
    pub(super) text: String,
    pub(super) key_id: String,
    pub(super) key_secret: String,
}

pub(super) fn write(
    rights: &Rights<'_>,
    instance: &InstanceDescription,
    machine: &Machine,
) -> Written {
    let path = |name: &str| format!("{:?}", machine.folder().join(name).display().to_string());
    let region = rights.region;
    let mut text = format!(
        r#"
state = {state}
store = {store}
kubelet-root = {kubelet}
sockets = {sockets}

[node]
device-links = "{by_id}"
sysfs = "{sysfs}"

[endpoint.ecs]
url = "{ecs}"
private = true

[endpoint.metadata]
url = "{metadata}"
private = true

[endpoint.sts]
url = "{sts}"
private = true

[account.cloud]
component = "auth"
endpoints = ["metadata", "sts"]
source = [{{ kind = "static", access-key-id = {{ file = {key_id} }}, access-key-secret = {{ file = {key_secret} }} }}]

[backend.disk]
config = {{ region = "{region}", cluster-id = "bed" }}

[[backend.disk.grant]]
endpoint = "ecs"
account = "cloud"
actions = ["DescribeDisks", "CreateDisk", "DeleteDisk", "AttachDisk", "DetachDisk", "ResizeDisk", "TagResources", "DescribeInstances", "DescribeInstanceTypes"]

[[backend.disk.grant]]
endpoint = "metadata"
paths = ["PUT /latest/api/token", "GET /latest/dynamic/instance-identity/document"]

[backend.disk.node]
steps = ["find-device", "check", "format", "grow", "mount-device", "mount-staged", "set-block-queue", "block-device"]
filesystems = ["ext3", "ext4", "xfs"]
block-queue = ["add_random", "iostats", "max_sectors_kb", "nomerges", "nr_requests", "read_ahead_kb", "rq_affinity", "scheduler", "wbt_lat_usec"]

[driver."{CSI_DRIVER}"]
backend = "disk"
flexvolume = ["{FLEX_DRIVER}"]

[flexvolume]
log = {log}
log-level = "{log_level}"
"#,
        state = path("state"),
        store = path("store"),
        kubelet = path("kubelet"),
        sockets = path("sockets"),
        by_id = instance.by_id.display(),
        sysfs = instance.sysfs.display(),
        ecs = region.endpoints.ecs,
        metadata = instance.metadata,
        sts = region.endpoints.sts,
        key_id = path("keys/id"),
        key_secret = path("keys/secret"),
        region = region.region,
        log = path("log"),
        log_level = rights.call_out_log,
    );
    text += "\n[flexvolume.nodes]\n";
    for (name, id) in rights.nodes {
        text += &format!("{name} = \"{id}\"\n");
    }
    if rights.legacy_state {
        text += &format!("\n[flexvolume.legacy-state]\n\"{FLEX_DRIVER}\" = {}\n", path("legacy"));
    }
    Written {
        text,
        key_id: instance.keys.access_key_id.clone(),
        key_secret: instance.keys.access_key_secret.clone(),
    }
}
