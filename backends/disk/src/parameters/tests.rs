use super::*;
use wharf_sdk::ErrorKind;
use wharf_sdk::types::pairs;

fn read<const N: usize>(parameters: [(&str, &str); N]) -> Result<DiskParameters, Error> {
    DiskParameters::read(&pairs(parameters), &Parameters::new())
}

fn names(parameters: &DiskParameters) -> Vec<&str> {
    parameters.categories.iter().map(|category| category.name).collect()
}

#[test]
fn types_keep_their_order_and_available_is_two_of_them() {
    assert_eq!(names(&read([]).unwrap()), ["cloud_ssd", "cloud_efficiency", "cloud_auto"]);
    assert_eq!(
        names(&read([("type", "available")]).unwrap()),
        ["cloud_ssd", "cloud_efficiency", "cloud_auto"]
    );
    assert_eq!(
        names(&read([("type", "cloud_essd,cloud_auto")]).unwrap()),
        ["cloud_essd", "cloud_auto"]
    );
}

#[test]
fn a_bad_value_is_refused_with_its_key_and_what_is_allowed() {
    for (key, value, allowed) in [
        ("type", "cloud_gold", "cloud_essd"),
        ("type", "local_ssd_pro", "cloud_essd"),
        ("performanceLevel", "PL9", "PL0, PL1"),
        ("encrypted", "maybe", "true, yes, 1"),
        ("multiAttach", "2", "enabled"),
        ("provisionedIops", "-1", "a whole number"),
        ("volumeDeleteSnapshotRetentionDays", "0", "1 to 65536"),
        ("volumeSizeAutoAvailable", "x", "true"),
        ("diskTags", "a", "key:value"),
        ("zoneId", "a,,b", "commas"),
        ("volume.alibabacloud.com/disk-id", "vol-1", "d-"),
        ("alibabacloud.com/createdisk-arn", "{", "JSON list"),
        ("restrictToHpnZone", "always", "never"),
        ("fsType", "ntfs", "ext4"),
        ("omitfsck", "perhaps", "true"),
        ("sysConfig", "queue/zoned=1", "read_ahead_kb"),
        ("storageClusterId", "dbsc-1", "performanceLevel"),
        ("kmsKeyId", "k-1", "encrypted"),
    ] {
        let error = read([(key, value)]).unwrap_err();
        assert_eq!(error.kind, ErrorKind::InvalidArgument, "{key}");
        for word in [key, value, allowed] {
            assert!(error.message.contains(word), "`{}` does not name `{word}`", error.message);
        }
    }
}

#[test]
fn an_unknown_key_is_refused_and_the_known_ones_are_listed() {
    for key in [
        "typ",
        "Type",
        "diskTags/",
        "local/x",
        "alibabacloud.com/x",
        "csi.alibabacloud.com/x",
        "k8s.aliyun.com/x",
    ] {
        let error = read([(key, "v")]).unwrap_err();
        assert!(
            error.message.contains(key) && error.message.contains("performanceLevel"),
            "{}",
            error.message
        );
    }
}

#[test]
fn a_limit_that_nobody_would_enforce_is_refused() {
    for key in ["readIOPS", "writeIOPS", "readBPS", "writeBPS", "dataCacheSize", "dataCacheMode"] {
        assert!(read([(key, "100")]).unwrap_err().message.contains("not supported"), "{key}");
    }
}

#[test]
fn obsolete_keys_and_kubernetes_own_are_accepted() {
    let plain = read([]).unwrap();
    for key in [
        "volumeExpandAutoSnapshot",
        "readOnly",
        "allowVolumeExpansion",
        "csi.storage.k8s.io/fstype",
        "volume.kubernetes.io/selected-node",
        "volume.beta.kubernetes.io/storage-provisioner",
        "csi.alibabacloud.com/reclaimPolicy",
        "kubectl.kubernetes.io/last-applied-configuration",
        "example.com/x",
        "evilalibabacloud.com/x",
    ] {
        assert_eq!(read([(key, "x")]).unwrap(), plain, "{key}");
    }
}

#[test]
fn the_claim_s_key_wins_over_the_class_s_in_any_order() {
    let (class, claim, encrypted) =
        (("kmsKeyId", "class"), ("alibabacloud.com/kms-key-id", "claim"), ("encrypted", "true"));
    for parameters in [[class, claim, encrypted], [claim, class, encrypted]] {
        assert_eq!(read(parameters).unwrap().kms_key.as_deref(), Some("claim"));
    }
}

#[test]
fn tags_of_the_new_form_win_and_the_claim_s_name_wins_over_both() {
    let read = read([
        ("diskTags/a", "new"),
        ("diskTags", "a:old,b:2"),
        ("diskTags/kubernetes.io/created-for/pvc/namespace", "mine"),
        ("csi.storage.k8s.io/pvc/namespace", "real"),
        ("csi.storage.k8s.io/pvc/name", "claim"),
        ("csi.storage.k8s.io/pv/name", "pv"),
    ])
    .unwrap();
    let tags: Vec<_> =
        read.tags.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    assert_eq!(
        tags,
        [
            ("a", "new"),
            ("b", "2"),
            ("kubernetes.io/created-for/pv/name", "pv"),
            ("kubernetes.io/created-for/pvc/name", "claim"),
            ("kubernetes.io/created-for/pvc/namespace", "real"),
        ]
    );
}

#[test]
fn mutable_parameters_win_and_are_fewer() {
    let parameters = pairs([("type", "cloud_essd"), ("diskTags/a", "1"), ("diskTags/b", "2")]);
    let mutable = pairs([
        ("type", "cloud_auto"),
        ("provisionedIops", "100"),
        ("-diskTags/a", ""),
        ("csi.storage.k8s.io/pv/name", "x"),
    ]);
    let read = DiskParameters::read(&parameters, &mutable).unwrap();
    assert_eq!(
        (names(&read), read.provisioned_iops, read.tags.len()),
        (vec!["cloud_auto"], Some(100), 1)
    );
    let error = DiskParameters::read(&parameters, &pairs([("encrypted", "true")])).unwrap_err();
    assert!(error.message.contains("encrypted"));
}

#[test]
fn a_role_chain_is_read_from_json() {
    for value in [
        r#"[{"Rolearn":"acs:ram::1:role/a","RoleType":"user","AssumeRoleFor":"1"}]"#,
        r#"[{"roleArn":"acs:ram::1:role/a","roleType":"user","assumeRoleFor":"1","other":2}]"#,
    ] {
        let read = read([
            ("encrypted", "true"),
            ("kmsKeyId", "k"),
            ("alibabacloud.com/createdisk-arn", value),
        ])
        .unwrap();
        assert_eq!(
            read.arns,
            [Arn { role: "acs:ram::1:role/a".into(), kind: "user".into(), acts_for: "1".into() }],
            "{value}"
        );
    }
}
