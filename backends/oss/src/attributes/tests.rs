use super::*;
use wharf_sdk::ErrorKind;
use wharf_sdk::types::pairs;

const NEEDED: [(&str, &str); 2] = [("bucket", "b-1"), ("url", "oss-cn-x.aliyuncs.com")];

fn read(more: &[(&str, &str)]) -> Result<Attributes, Error> {
    Attributes::read(&pairs(NEEDED.into_iter().chain(more.iter().copied())))
}

fn refusal(more: &[(&str, &str)]) -> String {
    let error = read(more).unwrap_err();
    assert_eq!(error.kind, ErrorKind::InvalidArgument, "{more:?}");
    error.message
}

#[test]
fn a_volume_needs_a_bucket_and_an_endpoint_and_nothing_else() {
    let volume = read(&[]).unwrap();
    assert_eq!((volume.bucket.as_str(), volume.path.as_str()), ("b-1", "/"));
    assert_eq!((volume.auth, volume.helper, volume.is_staged), (Auth::Keys, None, true));
    for missing in ["bucket", "url"] {
        let given = NEEDED.into_iter().filter(|(key, _)| *key != missing);
        let refused = Attributes::read(&pairs(given)).unwrap_err().message;
        assert!(refused.contains(missing), "{refused}");
    }
}

#[test]
fn keys_are_read_in_any_case_and_with_white_space_around() {
    let volume = read(&[(" PATH ", " /a/ "), ("AuthType", "Public"), ("FUSETYPE", "s3fs")]);
    let volume = volume.unwrap();
    assert_eq!(volume.path, "/a");
    assert_eq!((volume.auth, volume.helper), (Auth::Public, Some(Helper::S3fs)));
    assert!(refusal(&[("path", "/a"), ("Path", "/b")]).contains("twice"));
    read(&[("path", "/a"), ("Path", "/a")]).unwrap();
}

#[test]
fn what_kubernetes_adds_and_what_is_empty_does_not_count() {
    read(&[
        ("csi.storage.k8s.io/pvc/name", "data"),
        ("storage.kubernetes.io/csiProvisionerIdentity", "1-2-x"),
        ("nosuchkey", " "),
    ])
    .unwrap();
}

#[test]
fn a_bad_value_is_refused_with_what_is_allowed() {
    for (key, value, allowed) in [
        ("bucket", "B", "bucket"),
        ("url", "a b", "endpoint"),
        ("path", "a", "slash"),
        ("otherOpts", "allow_other", "-o"),
        ("fuseType", "nfs", "ossfs2"),
        ("authType", "agent-identity", "csi-secret-store"),
        ("encrypted", "rot13", "aes256, kms"),
        ("kmsKeyId", "k-1", "encrypted: kms"),
        ("sigVersion", "v2", "v1, v4"),
        ("region", "CN X", "cn-hangzhou"),
        ("readOnly", "yes", "true, false"),
        ("volumeAs", "bucketspace", "direct, sharepath, subpath"),
        ("useSharedPath", "maybe", "true, false"),
        ("overlay", "true", "false"),
        ("direct", "true", "false"),
        ("runtimeClass", "rund", "runc"),
        ("secretRef", "s", "nodePublishSecretRef"),
        ("containerNetworkFileSystem", "c", "bucket"),
        ("nosuchkey", "x", "otherOpts"),
        ("metricsTop", "1,ro", "letters"),
    ] {
        let mut given = pairs(NEEDED);
        given.retain(|(known, _)| known != key);
        given.push((key.into(), value.into()));
        let error = Attributes::read(&given).unwrap_err();
        assert_eq!(error.kind, ErrorKind::InvalidArgument);
        let message = error.message.to_ascii_lowercase();
        assert!(message.contains(&key.to_ascii_lowercase()), "{message}");
        assert!(message.contains(&allowed.to_ascii_lowercase()), "{key}: {message}");
    }
}

#[test]
fn the_path_may_stand_behind_the_bucket_but_not_be_another_one() {
    let volume = |more: &[(&str, &str)]| {
        let given = [("bucket", "b-1:/x/y"), ("url", "h.example")];
        Attributes::read(&pairs(given.into_iter().chain(more.iter().copied())))
    };
    assert_eq!(volume(&[]).unwrap().path, "/x/y");
    assert_eq!(volume(&[("path", "/x/y/")]).unwrap().path, "/x/y");
    assert!(volume(&[("path", "/z")]).unwrap_err().message.contains("one path"));
}

#[test]
fn keys_in_plain_text_are_refused_and_never_shown() {
    for key in ["akId", "AKSECRET", " akSecret "] {
        let refused = read(&[(key, "canary")]).unwrap_err();
        assert!(!format!("{refused:?}").contains("canary"), "{refused:?}");
        assert!(refused.hint.unwrap().contains("nodePublishSecretRef"));
    }
}

#[test]
fn a_volume_names_whose_rights_it_wants_as_its_auth_type_has_it() {
    let identity = |more: &[(&str, &str)]| read(more).unwrap().identity;
    assert_eq!(identity(&[("authType", "sts")]), None);
    assert_eq!(identity(&[("authType", "sts"), ("ramRole", "r")]).as_deref(), Some("r"));
    let assumed = [("authType", "rrsa"), ("roleName", "r"), ("assumeRoleArn", "acs:ram::1:role/a")];
    assert_eq!(identity(&assumed).as_deref(), Some("acs:ram::1:role/a"));
    assert!(refusal(&[("authType", "csi-secret-store")]).contains("secretProviderClass"));
    // A role that nothing would use.
    assert!(refusal(&[("roleName", "r")]).contains("rolename"));
}
