//! Keys that come from somewhere else than a file, through the built component and the real binary:
//! the machine's RAM role and a workload's identity.

#![allow(clippy::unwrap_used, reason = "what a test's own helpers meet fails the test")]

use std::fs;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use wharf_cloudsim::OidcProvider;
use wharf_testing::bed::{Bed, BedOptions};
use wharf_testing::player::{Retry, VolumeClass};
use wharf_testing::requirement;

const PROVIDER: &str = "acs:ram::1:oidc-provider/cluster";

/// A bed whose controller takes its keys from this source, and from nowhere else.
fn bed(test: &str, source: impl FnOnce(&Bed) -> String) -> Option<Bed> {
    if !requirement::machine(test) {
        return None;
    }
    let provider = OidcProvider {
        arn: PROVIDER.to_owned(),
        issuer: "https://cluster".to_owned(),
        audiences: vec!["sts.aliyuncs.com".to_owned()],
        subjects: Default::default(),
    };
    let bed =
        Bed::make(&BedOptions { oidc_providers: vec![provider], ..BedOptions::default() }).unwrap();
    let (config, source) = (bed.manager().config(), source(&bed));
    let text = fs::read_to_string(&config).unwrap();
    let changed: String = text
        .lines()
        .map(|line| {
            if line.starts_with("source = ") {
                format!("source = [{source}]\n")
            } else {
                format!("{line}\n")
            }
        })
        .collect();
    assert_ne!(text, changed);
    fs::write(&config, changed).unwrap();
    bed.manager().serve("controller", bed.parts()).unwrap();
    Some(bed)
}

/// A disk comes and goes, and everything was signed with a temporary key that came by this request.
fn creates_and_deletes_by(bed: &Bed, request: &str) {
    let csi = bed.csi();
    let volume = csi
        .provision(
            "pvc-role",
            1 << 30,
            &VolumeClass::file_system("ext4", &[("type", "cloud_auto")]),
        )
        .unwrap();
    csi.delete(&volume).unwrap();
    let journal = bed.region().journal();
    assert!(journal.iter().any(|entry| entry.action.contains(request) && entry.status == 200));
    let callers: Vec<&String> = journal
        .iter()
        .filter(|entry| entry.listener == "ecs")
        .filter_map(|entry| entry.caller.as_ref())
        .collect();
    assert!(
        callers.len() >= 4 && callers.iter().all(|caller| caller.starts_with("STS.")),
        "{callers:?}"
    );
}

#[test]
fn a_machine_s_role_is_enough() {
    let Some(bed) =
        bed("a_machine_s_role_is_enough", |_| r#"{ kind = "ecs-ram-role" }"#.to_owned())
    else {
        return;
    };
    creates_and_deletes_by(&bed, "/security-credentials/WharfNodeRole");
}

#[test]
fn a_workload_s_identity_is_enough_and_a_stale_one_is_refused_by_name() {
    let test = "a_workload_s_identity_is_enough_and_a_stale_one_is_refused_by_name";
    let token = |expires: u64| {
        let claims = serde_json::json!({ "iss": "https://cluster", "aud": "sts.aliyuncs.com", "sub": "system:serviceaccount:a:b", "exp": expires });
        format!("e30.{}.e30", URL_SAFE_NO_PAD.encode(claims.to_string()))
    };
    let source = |bed: &Bed| {
        let file = bed.manager().directory().join("token");
        fs::write(&file, token(1)).unwrap();
        let (file, role) = (
            file.display().to_string(),
            format!("acs:ram::{}:role/WharfController", bed.region().description().account),
        );
        format!(
            "{{ kind = \"oidc\", role-arn = {role:?}, oidc-provider-arn = {PROVIDER:?}, token = \
             {{ file = {file:?} }} }}"
        )
    };
    let Some(bed) = bed(test, source) else { return };
    let class = VolumeClass::file_system("ext4", &[("type", "cloud_auto")]);
    let refused = bed
        .csi()
        .with_retry(Retry::never())
        .provision("pvc-stale", 1 << 30, &class)
        .unwrap_err()
        .to_string();
    assert!(
        refused.contains("AssumeRoleWithOIDC") && refused.contains("token is fresh"),
        "{refused}"
    );
    assert!(!refused.contains(&token(1)), "{refused}");
    fs::write(bed.manager().directory().join("token"), token(4_102_444_800)).unwrap();
    creates_and_deletes_by(&bed, "AssumeRoleWithOIDC");
}
