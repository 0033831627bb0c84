//! Tags of new disks: what the cloud's own driver writes, so that disks of one are recognised by
//! the other. Their order is that driver's too: the cloud compares it when a client token comes
//! again.

use std::collections::BTreeMap;

/// Says that a Kubernetes driver made the disk.
pub const MANAGED: (&str, &str) = ("k8s.aliyun.com", "true");
/// Says which one.
pub const CREATED_BY: (&str, &str) = ("createdby", "alibabacloud-csi-plugin");
/// The cluster's id.
pub const CLUSTER: &str = "ack.aliyun.com";
/// The volume's name: how a disk is found again.
pub const VOLUME_NAME: &str = "csi.alibabacloud.com/volume-name";
/// Days to keep the snapshot that a deletion takes.
pub const RETENTION: &str = "csi.alibabacloud.com/volume-delete-autosnapshot-retentiondays";

/// Metadata keys of the provisioner (`--extra-create-metadata`) and the tags that they become.
pub const CREATED_FOR: [(&str, &str); 3] = [
    ("csi.storage.k8s.io/pvc/name", "kubernetes.io/created-for/pvc/name"),
    ("csi.storage.k8s.io/pvc/namespace", "kubernetes.io/created-for/pvc/namespace"),
    ("csi.storage.k8s.io/pv/name", "kubernetes.io/created-for/pv/name"),
];

/// Whether it is one of those above, by which a disk is known and found again.
pub fn is_own(tag: &str) -> bool {
    let own = [MANAGED.0, CREATED_BY.0, CLUSTER, VOLUME_NAME, RETENTION];
    own.contains(&tag) || CREATED_FOR.iter().any(|(_, created_for)| *created_for == tag)
}

/// All tags of a new disk, in order.
pub fn of_new_disk(
    name: &str,
    cluster: Option<&str>,
    retention_days: Option<u32>,
    own: &BTreeMap<String, String>,
) -> Vec<(String, String)> {
    let pair = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
    let mut tags = vec![pair(MANAGED), pair(CREATED_BY)];
    tags.extend(cluster.map(|cluster| pair((CLUSTER, cluster))));
    tags.extend(retention_days.map(|days| (RETENTION.to_owned(), days.to_string())));
    tags.extend(own.iter().map(|(key, value)| (key.clone(), value.clone())));
    tags.push(pair((VOLUME_NAME, name)));
    tags
}

/// Whether the cloud takes this as a disk's name: 2 to 128 characters, a letter first, then
/// letters, digits and `:_.-`. Another name stays a tag.
pub fn is_disk_name(name: &str) -> bool {
    let is_inner = |letter: char| {
        letter.is_alphabetic() || letter.is_ascii_digit() || matches!(letter, ':' | '_' | '.' | '-')
    };
    (2..=128).contains(&name.chars().count())
        && name.starts_with(char::is_alphabetic)
        && name.chars().all(is_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_come_in_the_order_of_the_cloud_s_own_driver() {
        let own =
            BTreeMap::from([("b".to_owned(), "2".to_owned()), ("a".to_owned(), "1".to_owned())]);
        let keys: Vec<_> = of_new_disk("pvc-1", Some("c1"), Some(7), &own)
            .into_iter()
            .map(|(key, _)| key)
            .collect();
        assert_eq!(
            keys,
            ["k8s.aliyun.com", "createdby", "ack.aliyun.com", RETENTION, "a", "b", VOLUME_NAME]
        );
    }
}
