use super::*;
use wharf_sdk::plan::HelperCredential;
use wharf_sdk::types::pairs;

fn made(more: &[(&str, &str)], fs_type: &str, flags: &[&str]) -> Result<Mount, Error> {
    let given = [("bucket", "b-1"), ("url", "oss-cn-x-internal.aliyuncs.com")];
    let attributes = Attributes::read(&pairs(given.into_iter().chain(more.iter().copied())))?;
    let options = MountOptions::new(
        fs_type.to_owned(),
        flags.iter().map(|flag| (*flag).to_owned()).collect(),
    );
    let secrets = vec!["akId".to_owned(), "akSecret".to_owned()];
    mount(&attributes, &options, &Caller { secrets, ..Caller::unknown() })
}

const URL: &str = "-ourl=http://oss-cn-x-internal.aliyuncs.com";

#[test]
fn a_plain_volume_is_mounted_as_the_earlier_driver_mounts_it() {
    let mount = made(&[], "", &[]).unwrap();
    assert_eq!((mount.fuse.helper.as_str(), mount.fuse.source.as_str()), ("ossfs", "b-1"));
    assert_eq!(mount.fuse.options, [URL, "-odbglevel=warn", "-oallow_other", "-olistobjectsv2"]);
    let credential = HelperCredential::new("oss-keys", "ossfs-passwd", pairs([("bucket", "b-1")]));
    assert_eq!((mount.fuse.credential, mount.read_only), (Some(credential), false));
}

#[test]
fn options_of_the_volume_come_after_and_replace_the_usual_ones() {
    let other = [("otherOpts", "-o dbglevel=info -s -oumask=022,allow_other"), ("path", "/a b/")];
    let mount = made(&other, "", &["mp_umask=0,noatime"]).unwrap();
    assert_eq!(mount.fuse.source, "b-1:/a b");
    assert_eq!(
        mount.fuse.options,
        [
            URL,
            "-olistobjectsv2",
            "-odbglevel=info",
            "-s",
            "-oumask=022",
            "-oallow_other",
            "-omp_umask=0",
            "-onoatime"
        ]
    );
}

#[test]
fn reading_only_is_the_host_s_to_enforce_whoever_asks_for_it() {
    for (more, flags, read_only) in [
        (&[("readOnly", "true")][..], &[][..], true),
        (&[], &["ro"], true),
        (&[], &["noatime,ro"], true),
        (&[("otherOpts", "-o ro")], &[], true),
        (&[("otherOpts", "-o ro")], &["rw"], false),
        (&[("otherOpts", "-o rw")], &["ro"], true),
    ] {
        let mount = made(more, "", flags).unwrap();
        assert_eq!(mount.read_only, read_only, "{more:?} {flags:?}");
        let is_left = mount.fuse.options.iter().any(|word| word == "-oro" || word == "-orw");
        assert!(!is_left, "{:?}", mount.fuse.options);
    }
}

#[test]
fn attributes_become_the_options_of_each_helper() {
    for (more, has) in [
        (&[("encrypted", "aes256")][..], &["-ouse_sse"][..]),
        (&[("encrypted", "kms")], &["-ouse_sse=kmsid"]),
        (&[("encrypted", "KMS"), ("kmsKeyId", "k-1")], &["-ouse_sse=kmsid:k-1"]),
        (&[("sigVersion", "v1")], &["-osigv1"]),
        (&[("sigVersion", "v4"), ("region", "cn-x")], &["-osigv4", "-oregion=cn-x"]),
        (&[("metricsTop", "10")], &["-ometrics_top=10"]),
        (&[("authType", "public")], &["-opublic_bucket=1"]),
        (
            &[("fuseType", "s3fs"), ("sigVersion", "v4"), ("region", "cn-x")],
            &["-osigv4", "-oendpoint=cn-x"],
        ),
        (
            &[("fuseType", "ossfs2"), ("path", "/p"), ("otherOpts", "-o close_to_open=false")],
            &[
                "--oss_endpoint=http://oss-cn-x-internal.aliyuncs.com",
                "--oss_bucket=b-1",
                "--oss_bucket_prefix=/p",
                "--log_level=info",
                "--close_to_open=false",
            ],
        ),
        (
            &[("fuseType", "ossfs2"), ("sigVersion", "v4"), ("region", "cn-x")],
            &["--oss_region=cn-x"],
        ),
    ] {
        let options = made(more, "", &[]).unwrap().fuse.options;
        for word in has {
            assert!(options.iter().any(|option| option == word), "{word}: {options:?}");
        }
    }
}

#[test]
fn what_a_helper_cannot_do_is_refused() {
    for more in [
        &[("fuseType", "ossfs2"), ("encrypted", "aes256")][..],
        &[("fuseType", "ossfs2"), ("otherOpts", "-s")],
        &[("fuseType", "ossfs2"), ("sigVersion", "v1")],
        &[("fuseType", "s3fs"), ("encrypted", "kms")],
        &[("fuseType", "s3fs"), ("sigVersion", "v1")],
        &[("sigVersion", "v4")],
    ] {
        assert!(made(more, "", &[]).is_err(), "{more:?}");
    }
}

#[test]
fn the_file_system_s_type_may_name_the_helper() {
    assert_eq!(made(&[], "ossfs2", &[]).unwrap().fuse.helper, "ossfs2");
    assert_eq!(made(&[("fuseType", "ossfs")], "ossfs2", &[]).unwrap().fuse.helper, "ossfs");
    assert!(made(&[], "ext4", &[]).unwrap_err().message.contains("ossfs, ossfs2, s3fs"));
}

/// Whatever a volume says, an argument is one option of one kind, and only the values that the
/// volume may choose differ.
#[test]
fn hostile_values_are_refused_or_stay_one_argument() {
    let hostile = [
        "$(id)",
        "`id`",
        "a;id",
        "a && id",
        "a|id",
        "a\nid",
        "a\0id",
        "../../etc",
        "-oallow_root",
        "--config=/etc/x",
        "a,passwd_file=/etc/x",
        "a\\,passwd_file=/etc/x",
        "'a'",
        "\"a\"",
        "a b",
        "{credentials}",
        "{mountpoint}",
        "/",
        "-",
        "--",
        "",
    ];
    for value in hostile {
        for key in CHOSEN {
            check_hostile(key, value);
        }
    }
}

/// Attributes whose values a volume chooses freely.
const CHOSEN: [&str; 7] =
    ["bucket", "url", "path", "region", "kmsKeyId", "metricsTop", "otherOpts"];

#[test]
fn random_values_are_refused_or_stay_one_argument() {
    const PIECES: [&str; 24] = [
        "-o ",
        "-o",
        "-s",
        "--",
        "b-1",
        ":/",
        "/",
        "a",
        "umask",
        "=",
        ",",
        "\\",
        " ",
        "\n",
        "\0",
        "'",
        "\"",
        "$(id)",
        ";",
        "|",
        "passwd_file",
        "url",
        ".",
        "\u{e9}",
    ];
    // A fixed sequence: the same values in every run (xorshift64).
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut below = |bound: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % bound as u64).unwrap()
    };
    let mut mounted = 0;
    for _ in 0..20_000 {
        let key = CHOSEN[below(CHOSEN.len())];
        let value: String = (0..1 + below(6)).map(|_| PIECES[below(PIECES.len())]).collect();
        mounted += usize::from(check_hostile(key, &value));
    }
    assert!(mounted > 500, "{mounted} were mounted");
}

/// Whether the volume can be mounted; if so, each of its arguments is what it should be.
fn check_hostile(key: &str, value: &str) -> bool {
    let more = [
        ("encrypted", "kms"),
        ("sigVersion", "v4"),
        ("region", "cn-x"),
        ("bucket", "b-1"),
        ("url", "h.example"),
    ];
    let more = more.into_iter().filter(|(known, _)| *known != key);
    let attributes = Attributes::read(&pairs(more.chain([(key, value)])));
    let Ok(attributes) = attributes else { return false };
    let options = MountOptions::new(String::new(), vec![]);
    let Ok(mount) = mount(&attributes, &options, &Caller::unknown()) else { return false };
    assert!(!mount.fuse.source.starts_with('-'), "{key} {value:?}");
    let is_own = key == "bucket" || mount.fuse.source.starts_with("b-1");
    assert!(is_own && !mount.fuse.source.contains('\n'), "{key} {value:?}");
    for argument in &mount.fuse.options {
        let one = argument == "-s" || argument == "-d" || argument.starts_with("-o");
        let is_split = argument.contains([',', '\\', '\n', '\0']);
        assert!(one && !is_split, "{key} {value:?}: {argument}");
        let name = argument.split_once('=').map_or(argument.as_str(), |(name, _)| name);
        assert_ne!(name, "-opasswd_file", "{key} {value:?}: {argument}");
    }
    true
}

/// The host ships profiles of these helpers: what is passed by itself has to be allowed there, and
/// the forms of credentials have to be known.
#[test]
fn the_shipped_profiles_allow_what_is_passed_by_itself() {
    let text = include_str!("../../../../host/node/src/supervisor/profiles.json");
    let profiles: serde_json::Value = serde_json::from_str(text).unwrap();
    for helper in ["ossfs", "ossfs2", "s3fs"] {
        let profile = &profiles[helper];
        let signature = [("sigVersion", "v4"), ("region", "cn-x")];
        let encryption = [("encrypted", "aes256"), ("metricsTop", "3")];
        let public = [("authType", "public")];
        for more in [&[][..], &signature, &encryption, &public, &[("authType", "sts")]] {
            let given = more.iter().copied().chain([("fuseType", helper)]).collect::<Vec<_>>();
            let Ok(mount) = made(&given, "", &[]) else { continue };
            for argument in &mount.fuse.options {
                let name = argument.split_once('=').map_or(argument.as_str(), |(name, _)| name);
                let name = name.strip_prefix("-o").unwrap_or(name);
                let is_allowed = profile["options"].as_array().unwrap().iter().any(|allowed| {
                    let allowed = allowed.as_str().unwrap();
                    allowed == name
                        || allowed.strip_suffix('*').is_some_and(|start| name.starts_with(start))
                });
                assert!(is_allowed, "{helper}: {name}");
            }
            if let Some(credential) = mount.fuse.credential {
                assert!(profile["credentials"].get(&credential.form).is_some(), "{credential:?}");
            }
        }
    }
}
