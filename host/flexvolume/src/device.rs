//! What travels in FlexVolume's `device`.
//!
//! `attach` runs on a control-plane machine and `waitforattach` on the node; the one string that
//! Kubernetes carries between them, through the node's status, is the device path. A controller
//! cannot know that path, so it sends the publish context there instead. Kubelet hands the string
//! back unread, and gets a real path from `waitforattach`. Everybody who may read nodes can read
//! it: a publish context holds no secret.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use wharf_core::types::{Parameters, VolumeId};

const PREFIX: &str = "wharf:";

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Device {
    /// Inline volumes of the same name share one entry in the node's status, also when they mean
    /// different volumes.
    volume: VolumeId,
    publish_context: BTreeMap<String, String>,
}

/// The publish context of a volume, as a device.
pub(crate) fn encode(volume: &VolumeId, publish_context: &[(String, String)]) -> String {
    let device = Device {
        volume: volume.clone(),
        publish_context: publish_context.iter().cloned().collect(),
    };
    // A map of strings always has a JSON form.
    format!("{PREFIX}{}", serde_json::to_string(&device).unwrap_or_default())
}

/// The publish context of this volume in a device, if [`encode`] put it there. The device may also
/// be empty (kubelet was restarted), a path (from `waitforattach`, or from the driver that was here
/// before), or another volume's.
pub(crate) fn decode(device: &str, volume: &VolumeId) -> Option<Parameters> {
    let device: Device = serde_json::from_str(device.strip_prefix(PREFIX)?).ok()?;
    (device.volume == *volume).then(|| device.publish_context.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_publish_context_survives_the_journey_of_its_own_volume() {
        let volume = VolumeId::new("d-1");
        let context = vec![
            ("a".to_owned(), "/\"\\ü".to_owned()),
            ("serialNumber".to_owned(), "2ze1".to_owned()),
        ];
        assert_eq!(decode(&encode(&volume, &context), &volume), Some(context));
        assert_eq!(decode(&encode(&volume, &[]), &volume), Some(Vec::new()));
        assert_eq!(decode(&encode(&volume, &[]), &VolumeId::new("d-2")), None);
    }

    #[test]
    fn a_path_says_nothing() {
        for device in ["", "/dev/vdb", "wharf:", "wharf:[]", "{}"] {
            assert_eq!(decode(device, &VolumeId::new("d-1")), None, "{device}");
        }
    }
}
