//! The profiles of `ossfs` and `ossfs2`, which no package archive has: their command lines against
//! a golden list, and stand-ins that read them as the documents of the two say, check the
//! credential files as the two do, and serve the bucket with `s3fs`.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use wharf_testing::player::{Access, CsiVolume};

use super::cluster::{Cluster, holds, kill, read, until, write};

/// What both stand-ins do. `$calls` is where an argument list is written down.
const COMMON: &str = r#"
printf '%s\0' "$@" > "$calls"
refuse() { echo "$(basename "$0"): $*" >&2; exit 2; }
# As both check it: for their user alone.
private() { [ "$(stat -L -c %a "$1")" = "$2" ] || refuse "$1 is readable by others"; }
serve() {
    export AWS_ACCESS_KEY_ID="$id" AWS_SECRET_ACCESS_KEY="$secret"
    [ -z "$token" ] || { export AWS_SESSION_TOKEN="$token"; set -- "$@" -ouse_session_token; }
    exec s3fs "$@" -f -ouse_path_request_style -oallow_other -ostat_cache_expire=0
}
# As both run it, and take apart what it prints.
credential_process() {
    private "${1##* }" 600
    printed=$(sh -c "$1") || refuse "no credential"
    part() { printf %s "$printed" | sed -n "s/.*\"$1\":\"\([^\"]*\)\".*/\1/p"; }
    id=$(part AccessKeyId) secret=$(part AccessKeySecret) token=$(part SecurityToken)
}
"#;

/// `ossfs bucket[:/path] mountpoint -f -oNAME[=VALUE]…`.
const OSSFS: &str = r#"
source=$1 mountpoint=$2
[ "$3" = -f ] || refuse "not in the foreground"
shift 3
for word; do
    case "$word" in
        -ourl=*) url=${word#-o} ;;
        -opasswd_file=*) keys=${word#-opasswd_file=} ;;
        -ocredential_process=*) process=${word#-ocredential_process=} ;;
        -o*) ;;
        *) refuse "unknown argument $word" ;;
    esac
done
if [ -n "$process" ]; then
    credential_process "$process"
else
    private "$keys" 600
    IFS=: read -r bucket id secret < "$keys"
    [ "$bucket" = "${source%%:*}" ] || refuse "no key for this bucket"
fi
serve "$source" "$mountpoint" "-o$url"
"#;

/// `ossfs2 mount mountpoint --NAME[=VALUE]… -f [-c FILE]`.
const OSSFS2: &str = r#"
[ "$1" = mount ] || refuse "no command"
mountpoint=$2
shift 2
while [ $# -gt 0 ]; do
    case "$1" in
        -f) foreground=yes ;;
        # A file of further arguments.
        -c) private "$2" 600; file=$2; shift 2; set -- $(cat "$file") "$@"; continue ;;
        --oss_endpoint=*) url=url=${1#*=} ;;
        --oss_bucket=*) bucket=${1#*=} ;;
        --oss_bucket_prefix=*) prefix=${1#*=} ;;
        --oss_access_key_id=*) id=${1#*=} ;;
        --oss_access_key_secret=*) secret=${1#*=} ;;
        --credential_process=*) credential_process "${1#*=}" ;;
        --*) ;;
        *) refuse "unknown argument $1" ;;
    esac
    shift
done
[ -n "$foreground" ] || refuse "not in the foreground"
serve "$bucket:$prefix" "$mountpoint" "-o$url"
"#;

/// Writes both stand-ins beside a machine's state, and has its configuration name them.
pub fn with_stand_ins(config: String) -> String {
    let state = config.lines().find_map(|line| line.strip_prefix("state = \"")).unwrap();
    let machine = Path::new(state.strip_suffix("/state\"").unwrap()).to_owned();
    let install = |config: String, (name, body): (&str, &str)| {
        let path = machine.join(name);
        let calls = machine.join(format!("{name}.call"));
        let text = format!("#!/bin/sh\ncalls={}\n{COMMON}{body}", calls.display());
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        let program = format!("{name} = {{ program = \"{}\", ", path.display());
        config.replace(&format!("{name} = {{ "), &program)
    };
    [("ossfs", OSSFS), ("ossfs2", OSSFS2)].into_iter().fold(config, install)
}

/// A volume's helper, how it gets its keys, and the arguments that it is started with.
struct Case {
    name: &'static str,
    attributes: &'static [(&'static str, &'static str)],
    arguments: &'static [&'static str],
}

const CASES: [Case; 5] = [
    Case {
        name: "pv-ossfs",
        attributes: &[
            ("fuseType", "ossfs"),
            ("path", "/dir"),
            ("otherOpts", "-o umask=022 -o max_stat_cache_size=0,allow_other"),
        ],
        arguments: &[
            "shared:/dir",
            "PRIVATE/mount",
            "-f",
            "-ourl=URL",
            "-odbglevel=warn",
            "-olistobjectsv2",
            "-oumask=022",
            "-omax_stat_cache_size=0",
            "-oallow_other",
            "-opasswd_file=PRIVATE/credential/passwd",
        ],
    },
    Case {
        name: "pv-ossfs-v4",
        attributes: &[
            ("fuseType", "ossfs"),
            ("sigVersion", "v4"),
            ("region", "cn-x"),
            ("encrypted", "kms"),
            ("kmsKeyId", "k-1"),
            ("metricsTop", "10"),
            ("otherOpts", "-o allow_other"),
        ],
        arguments: &[
            "shared",
            "PRIVATE/mount",
            "-f",
            "-ourl=URL",
            "-ouse_sse=kmsid:k-1",
            "-ometrics_top=10",
            "-osigv4",
            "-oregion=cn-x",
            "-odbglevel=warn",
            "-olistobjectsv2",
            "-oallow_other",
            "-opasswd_file=PRIVATE/credential/passwd",
        ],
    },
    Case {
        name: "pv-ossfs-sts",
        attributes: &[("fuseType", "ossfs"), ("authType", "sts"), ("otherOpts", "")],
        arguments: &[
            "shared",
            "PRIVATE/mount",
            "-f",
            "-ourl=URL",
            "-odbglevel=warn",
            "-oallow_other",
            "-olistobjectsv2",
            "-ocredential_process=/bin/cat PRIVATE/credential/credential.json",
        ],
    },
    Case {
        name: "pv-ossfs2",
        attributes: &[
            ("fuseType", "ossfs2"),
            ("path", "/dir"),
            ("otherOpts", "-o close_to_open=false -o total_mem_limit=1073741824"),
        ],
        arguments: &[
            "mount",
            "PRIVATE/mount",
            "--oss_endpoint=URL",
            "--oss_bucket=shared",
            "--oss_bucket_prefix=/dir",
            "--log_level=info",
            "--close_to_open=false",
            "--total_mem_limit=1073741824",
            "-f",
            "-c",
            "PRIVATE/credential/ossfs2.conf",
        ],
    },
    Case {
        name: "pv-ossfs2-sts",
        attributes: &[("fuseType", "ossfs2"), ("authType", "sts"), ("otherOpts", "")],
        arguments: &[
            "mount",
            "PRIVATE/mount",
            "--oss_endpoint=URL",
            "--oss_bucket=shared",
            "--oss_bucket_prefix=/",
            "--log_level=info",
            "-f",
            "--credential_process=/bin/cat PRIVATE/credential/credential.json",
        ],
    },
];

#[test]
fn ossfs_and_ossfs2_are_started_and_given_their_keys_as_their_documents_have_it() {
    const TEST: &str =
        "ossfs_and_ossfs2_are_started_and_given_their_keys_as_their_documents_have_it";
    let Some(cluster) = Cluster::with(TEST, with_stand_ins) else { return };
    cluster.bed.region().put_object("shared", "dir/", b"").unwrap();
    let (csi, node, machine) = (&cluster.csi, &cluster.nodes[0], cluster.bed.node(0));
    let url = cluster.bed.region().description().endpoints.oss.clone();
    for case in &CASES {
        let mut volume = cluster.volume(case.name, Access::ManyNodes, case.attributes);
        let target = csi.start_pod(&mut volume, node, "pod").unwrap();
        let private = machine.helper_mounts().join(cluster.serving(0)["name"].as_str().unwrap());
        let program = if case.name.contains("ossfs2") { "ossfs2" } else { "ossfs" };
        let call = fs::read_to_string(machine.directory().join(format!("{program}.call"))).unwrap();
        let call = call.replace(private.to_str().unwrap(), "PRIVATE").replace(&url, "URL");
        let arguments: Vec<_> = call.split_terminator('\0').collect();
        assert_eq!(arguments, case.arguments, "{}", case.name);
        write(&target, case.name, "by its helper");
        kill(cluster.helper(0));
        until("it is healed", || holds(&target, case.name, "by its helper"));
        // And nobody is at work on it any more.
        cluster.serving(0);
        if case.name == "pv-ossfs" {
            rotate(&cluster, &mut volume, &private);
            assert_eq!(read(&target, case.name), "by its helper");
        }
        csi.end_pod(&volume, node, "pod").unwrap();
        cluster.assert_empty();
    }
}

/// `ossfs` reads its file once, so another one takes over.
fn rotate(cluster: &Cluster, volume: &mut CsiVolume, private: &Path) {
    let helper = cluster.helper(0);
    let other = &cluster.bed.region().description().instances[0].keys;
    volume.publish_secret = [
        ("akId".to_owned(), other.access_key_id.clone()),
        ("akSecret".to_owned(), other.access_key_secret.clone()),
    ]
    .into();
    cluster.csi.publish(volume, &cluster.nodes[0], "pod", false).unwrap();
    let line = format!("shared:{}:{}\n", other.access_key_id, other.access_key_secret);
    assert_eq!(fs::read_to_string(private.join("credential/passwd")).unwrap(), line);
    assert_ne!(cluster.helper(0), helper);
}
