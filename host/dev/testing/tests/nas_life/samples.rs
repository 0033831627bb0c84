//! What the existing drivers know, one by one: every attribute, option and parameter that they
//! document, with what is mounted in the end, or the words of the refusal. `COMPATIBILITY.md` has
//! to say the same of each.

use std::collections::BTreeSet;
use std::path::Path;

use wharf_testing::bed::MountLine;
use wharf_testing::player::{FlexVolume, PlayError, Retry, VolumeClass};
use wharf_testing::tests;

use super::cluster::{Cluster, GIB, cluster};

tests![
    every_sample_of_a_persistent_volume_over_csi_ends_as_it_says,
    every_sample_of_a_persistent_volume_over_flexvolume_ends_as_it_says,
    every_sample_of_a_storage_class_ends_as_it_says,
];

const PAGE: &str = include_str!("../../../../../COMPATIBILITY.md");

/// Stands for the name of a server in what is given.
const SERVER: &str = "SERVER";
/// Stands for the name of the volume in a path.
const NAME: &str = "NAME";
/// A key that is one of the volume's secret.
const SECRET: &str = "secret ";

const V3: &[&str] = &[
    "vers=3",
    "hard",
    "nolock",
    "noresvport",
    "proto=tcp",
    "timeo=600",
    "retrans=2",
    "local_lock=all",
];
const V4_0: &[&str] =
    &["vers=4.0", "hard", "noresvport", "proto=tcp", "timeo=600", "retrans=2", "local_lock=none"];
const V4_1: &[&str] =
    &["vers=4.1", "hard", "noresvport", "proto=tcp", "timeo=600", "retrans=2", "local_lock=none"];
/// What the kernel chooses where the volume says nothing.
const V4_1_BARE: &[&str] =
    &["vers=4.1", "hard", "proto=tcp", "timeo=600", "retrans=2", "local_lock=none"];
const V3_SOFT: &[&str] = &[
    "vers=3",
    "soft",
    "nolock",
    "noresvport",
    "proto=tcp",
    "timeo=300",
    "retrans=3",
    "local_lock=all",
];

/// What such a volume comes to.
enum Ends {
    /// This directory of its server is mounted with these options.
    Mounted(&'static str, &'static [&'static str]),
    /// It is refused in a message with these words.
    Refused(&'static str),
}
use Ends::{Mounted, Refused};

struct Sample {
    /// How the first cell of its row in the table begins, or what is in it.
    row: &'static str,
    given: &'static [(&'static str, &'static str)],
    mount_options: &'static [&'static str],
    ends: Ends,
}

const fn sample(
    row: &'static str,
    given: &'static [(&'static str, &'static str)],
    ends: Ends,
) -> Sample {
    Sample { row, given, mount_options: &[], ends }
}

const fn with_mount_options(
    row: &'static str,
    given: &'static [(&'static str, &'static str)],
    mount_options: &'static [&'static str],
    ends: Ends,
) -> Sample {
    Sample { row, given, mount_options, ends }
}

/// With `server`, and `path: /sample` where nothing else is said.
const OVER_CSI: &[Sample] = &[
    sample("`server`", &[], Mounted("/sample", V3)),
    sample(
        "`accesspoint`",
        &[("server", "gone.cn-x.nas.aliyuncs.com"), ("accesspoint", SERVER)],
        Mounted("/sample", V3),
    ),
    sample("`path`", &[("path", "/")], Mounted("/", V3)),
    sample("`path`", &[("path", "/deep/er//sample/")], Mounted("/deep/er/sample", V3)),
    sample("`path`", &[("path", "/a/../b")], Refused("`/a/../b`")),
    sample("`vers`", &[("vers", "3")], Mounted("/sample", V3)),
    sample("`vers`", &[("vers", "3.0")], Mounted("/sample", V3)),
    sample("`vers`", &[("vers", "4")], Mounted("/sample", V4_0)),
    sample("`vers`", &[("vers", "4.0")], Mounted("/sample", V4_0)),
    sample("`vers`", &[("VERS", "4.1")], Mounted("/sample", V4_1)),
    sample(
        "`options`",
        &[("options", "nolock,tcp,noresvport,soft,timeo=300,retrans=3")],
        Mounted("/sample", V3_SOFT),
    ),
    sample("`none`", &[("vers", "4.1"), ("options", "none")], Mounted("/sample", V4_1_BARE)),
    with_mount_options(
        "`mountOptions`",
        &[],
        &["nolock,tcp,noresvport", "vers=3"],
        Mounted("/sample", V3),
    ),
    with_mount_options(
        "`mountOptions`",
        &[("vers", "3"), ("options", "soft")],
        &["vers=4.0", "noresvport"],
        Mounted("/sample", V4_0),
    ),
    sample("`mode`", &[("mode", "0755")], Mounted("/sample", V3)),
    sample("`mode`", &[("mode", "755"), ("path", "/")], Refused("`mode`")),
    sample("`modeType`", &[("mode", "700"), ("modeType", "recursive")], Mounted("/sample", V3)),
    sample("`mountProtocol: nfs`", &[("mountProtocol", "nfs")], Mounted("/sample", V3)),
    sample("`mountType: nfs`", &[("mountType", "nfs")], Mounted("/sample", V3)),
    sample("`efc`", &[("mountProtocol", "efc")], Refused("`efc`")),
    sample("`alinas`", &[("mountProtocol", "alinas")], Refused("`alinas`")),
    sample("`cpfs`", &[("mountProtocol", "cpfs")], Refused("`cpfs`")),
    sample("`cpfs-nfs`", &[("mountProtocol", "cpfs-nfs")], Refused("`cpfs-nfs`")),
    sample("`cpfs-native`", &[("mountProtocol", "cpfs-native")], Refused("`cpfs-native`")),
    sample("`useClient`", &[("useClient", "EFCClient")], Refused("`EFCClient`")),
    sample("`mountType: skipmount`", &[("mountType", "skipmount")], Refused("`skipmount`")),
    sample("`mountType: losetup`", &[("mountType", "losetup")], Refused("`losetup`")),
    sample("`loopLock`", &[("loopLock", "true")], Refused("`loopLock`")),
    sample("`loopImageSize`", &[("loopImageSize", "1024")], Refused("`loopImageSize`")),
    sample("`fileSystemType`", &[("fileSystemType", "standard")], Mounted("/sample", V3)),
    sample("`fileSystemType`", &[("fileSystemType", "cpfs")], Refused("`cpfs`")),
    sample("`containerNetworkFileSystem`", &[("containerNetworkFileSystem", "c")], Refused("`c`")),
    sample("`authType`", &[("authType", "ram")], Refused("`authType`")),
    sample("`sandboxId`", &[("sandboxId", "s")], Refused("`sandboxId`")),
    sample(
        "`sandboxCredProviderName`",
        &[("sandboxCredProviderName", "p")],
        Refused("`sandboxCredProviderName`"),
    ),
    sample(
        "`credentialProviderName`",
        &[("credentialProviderName", "p")],
        Refused("`credentialProviderName`"),
    ),
    sample("secrets `akId`", &[("secret akId", "a"), ("secret akSecret", "b")], Refused("`akId`")),
    sample(
        "`fileSystemId`",
        &[
            ("fileSystemId", "0cd8"),
            ("volumeAs", "subpath"),
            ("deleteVolume", "false"),
            ("volumeCapacity", "true"),
            ("allowVolumeExpansion", "true"),
            ("archiveOnDelete", "true"),
            ("storage.kubernetes.io/csiProvisionerIdentity", "1-2-nas"),
        ],
        Mounted("/sample", V3),
    ),
    sample("`sysConfig: ", &[("sysConfig", "bdi/read_ahead_kb=512")], Mounted("/sample", V3)),
    sample("`sysConfigs`", &[("sysConfigs", "bdi/read_ahead_kb=512")], Mounted("/sample", V3)),
    sample("any other", &[("servr", "x")], Refused("`servr`")),
];

/// With `server` and `path: /sample` where nothing else is said.
const OVER_FLEXVOLUME: &[Sample] = &[
    sample("`server`", &[], Mounted("/sample", V3)),
    sample("`path`", &[("path", "/")], Mounted("/", V3)),
    sample("`path`", &[("path", "/deep/sample")], Mounted("/deep/sample", V3)),
    sample("`vers`", &[("vers", "3.0")], Mounted("/sample", V3)),
    sample("`vers`", &[("vers", "4")], Mounted("/sample", V4_0)),
    sample("`vers`", &[("vers", "4.0")], Mounted("/sample", V4_0)),
    sample("`vers`", &[("Vers", "4.1")], Mounted("/sample", V4_1)),
    sample("`mode`", &[("mode", "755")], Mounted("/sample", V3)),
    sample("`mode`", &[("mode", "755"), ("path", "/")], Mounted("/", V3)),
    sample("`options`", &[("options", "noresvport,nolock,tcp")], Mounted("/sample", V3)),
    sample("`none`", &[("vers", "4.1"), ("options", "None")], Mounted("/sample", V4_1_BARE)),
    sample("any other", &[("color", "red")], Mounted("/sample", V3)),
];

/// A class for each.
const CLASSES: &[Sample] = &[
    sample("`volumeAs: subpath`", &[("server", "SERVER:/k8s")], Mounted("/k8s/NAME", V3)),
    sample(
        "`server` (",
        &[("volumeAs", "subpath"), ("server", "SERVER:/k8s/,SERVER:/k8s")],
        Mounted("/k8s/NAME", V3),
    ),
    sample("`path`", &[("server", SERVER), ("path", "/k8s")], Mounted("/k8s/NAME", V3)),
    sample(
        "`archiveOnDelete`",
        &[("server", "SERVER:/k8s"), ("archiveOnDelete", "false")],
        Mounted("/k8s/NAME", V3),
    ),
    sample(
        "`volumeCapacity`",
        &[("server", "SERVER:/k8s"), ("volumeCapacity", "true")],
        Mounted("/k8s/NAME", V3),
    ),
    sample(
        "`volumeAs: sharepath`",
        &[("volumeAs", "sharepath"), ("server", "SERVER:/shared")],
        Mounted("/shared", V3),
    ),
    sample(
        "`csi.alibabacloud.com/reclaimPolicy`",
        &[
            ("volumeAs", "sharepath"),
            ("server", "SERVER:/shared"),
            ("csi.alibabacloud.com/reclaimPolicy", "Retain"),
        ],
        Mounted("/shared", V3),
    ),
    sample(
        "`volumeAs: filesystem`",
        &[
            ("volumeAs", "filesystem"),
            ("fileSystemType", "standard"),
            ("storageType", "Performance"),
            ("protocolType", "NFS"),
            ("networkType", "vpc"),
            ("regionId", "cn-wharf"),
            ("vpcId", "vpc-wharf"),
            ("vSwitchId", "vsw-wharf"),
            ("accessGroupName", "DEFAULT_VPC_GROUP_NAME"),
            ("deleteVolume", "true"),
        ],
        Mounted("/", V3),
    ),
    sample(
        "`fileSystemType`",
        &[
            ("volumeAs", "filesystem"),
            ("fileSystemType", "extreme"),
            ("zoneId", "cn-wharf-1a"),
            ("vpcId", "vpc-wharf"),
            ("vSwitchId", "vsw-wharf"),
            ("deleteVolume", "true"),
        ],
        Mounted("/share", V3),
    ),
    sample(
        "`volumeAs: accesspoint`",
        &[("volumeAs", "accesspoint"), ("server", "SERVER:/k8s"), ("permission", "0777")],
        Mounted("/", V3),
    ),
    sample(
        "`accesspointEnableRam`",
        &[("volumeAs", "accesspoint"), ("server", "SERVER:/k8s"), ("accesspointEnableRam", "true")],
        Refused("`accesspointEnableRam`"),
    ),
    sample(
        "`mode`",
        &[("server", "SERVER:/k8s"), ("mode", "0755"), ("vers", "4.0")],
        Mounted("/k8s/NAME", V4_0),
    ),
    sample(
        "`sysConfig`",
        &[("server", "SERVER:/k8s"), ("sysConfig", "bdi/read_ahead_kb=512")],
        Mounted("/k8s/NAME", V3),
    ),
    with_mount_options(
        "`mountOptions`",
        &[("server", "SERVER:/k8s")],
        &["nolock,tcp,noresvport", "vers=3"],
        Mounted("/k8s/NAME", V3),
    ),
    sample(
        "`mountType`",
        &[("server", "SERVER:/k8s"), ("mountType", "losetup")],
        Refused("`losetup`"),
    ),
    sample(
        "`containerNetworkFileSystem`",
        &[("containerNetworkFileSystem", "cnfs-1"), ("path", "/k8s")],
        Refused("`cnfs-1`"),
    ),
    sample(
        "a key of another `volumeAs`",
        &[
            ("volumeAs", "filesystem"),
            ("vpcId", "vpc-wharf"),
            ("vSwitchId", "vsw-wharf"),
            ("deleteVolume", "true"),
            ("mode", "0755"),
            ("modeType", "recursive"),
            ("server", "SERVER:/k8s"),
            ("path", "/k8s"),
            ("archiveOnDelete", "false"),
            ("volumeCapacity", "true"),
            ("allowVolumeExpansion", "true"),
            ("sysConfigs", "bdi/read_ahead_kb=512"),
        ],
        Mounted("/", V3),
    ),
    sample(
        "a key of another `volumeAs`",
        &[("server", "SERVER:/k8s"), ("vpcId", "vpc-1"), ("deleteVolume", "true")],
        Mounted("/k8s/NAME", V3),
    ),
    sample("any other", &[("server", "SERVER:/k8s"), ("servr", "x")], Refused("`servr`")),
];

/// The row of a table of the page.
fn row_of(table: &str, row: &str) -> &'static str {
    let heading = format!("### {table}");
    let section = PAGE.split("\n#").find(|section| format!("#{section}").starts_with(&heading));
    let rows = section.unwrap_or_else(|| panic!("no table {table}")).lines();
    let mut rows = rows.filter(|line| {
        line.strip_prefix("| ").and_then(|line| line.split(" | ").next()).is_some_and(|cell| {
            if row.ends_with('(') { cell.starts_with(row) } else { cell.contains(row) }
        })
    });
    rows.next().unwrap_or_else(|| panic!("{table} has no row {row}"))
}

/// The page promises what the sample comes to.
fn assert_promised(table: &str, sample: &Sample) {
    let row = row_of(table, sample.row);
    let is_promised = match sample.ends {
        Refused(_) => row.contains("refused") || row.contains("as attributes"),
        Mounted(..) => !row.contains("| different | refused"),
    };
    assert!(is_promised, "{table}: {row}");
}

/// Options that decide how a share behaves; the kernel adds what it negotiated.
fn decisive(mount: &MountLine) -> BTreeSet<&str> {
    const KEPT: [&str; 10] = [
        "vers",
        "hard",
        "soft",
        "softerr",
        "nolock",
        "noresvport",
        "proto",
        "timeo",
        "retrans",
        "local_lock",
    ];
    let name = |option: &str| option.split_once('=').map_or(option, |(name, _)| name).to_owned();
    mount.super_options.split(',').filter(|option| KEPT.contains(&name(option).as_str())).collect()
}

fn assert_mounted(cluster: &Cluster, at: &Path, source: &str, options: &[&str]) {
    let mounts = cluster.bed.mounts();
    let mount = mounts.iter().find(|mount| mount.at == at).unwrap();
    assert_eq!(mount.source, source);
    assert_eq!(decisive(mount), options.iter().copied().collect(), "{mount:?}");
}

fn assert_refused(given: &[(&str, &str)], refused: &PlayError, words: &str) {
    let PlayError::Refused { message, .. } = refused else { panic!("{given:?}: {refused}") };
    assert!(message.contains(words), "{given:?}: {message}");
}

fn every_sample_of_a_persistent_volume_over_csi_ends_as_it_says() {
    let cluster = cluster();
    let (csi, node) = (cluster.csi.clone().with_retry(Retry::never()), &cluster.nodes[0]);
    let server = cluster.share.server.as_str();
    for sample in OVER_CSI {
        assert_promised("Attributes of a PersistentVolume (CSI)", sample);
        let mut volume = cluster.fixed("pv-sample", "/sample", &[]);
        volume.class.mount_options = sample.mount_options.iter().map(|o| (*o).into()).collect();
        for (key, value) in sample.given {
            match key.strip_prefix(SECRET) {
                Some(key) => volume.publish_secret.insert(key.into(), (*value).into()),
                None => volume.context.insert((*key).into(), value.replace(SERVER, server)),
            };
        }
        let published = csi.publish(&volume, node, "pod", false);
        match &sample.ends {
            Mounted(path, options) => {
                let target =
                    published.unwrap_or_else(|error| panic!("{:?}: {error}", sample.given));
                assert_mounted(&cluster, &target, &format!("{server}:{path}"), options);
            }
            Refused(words) => assert_refused(sample.given, &published.unwrap_err(), words),
        }
        csi.unpublish(&volume, node, "pod").unwrap();
    }
    cluster.assert_as_before();
}

fn every_sample_of_a_persistent_volume_over_flexvolume_ends_as_it_says() {
    let cluster = cluster();
    let (flex, node) = (cluster.flex.clone().with_retry(Retry::never()), &cluster.flex_nodes[0]);
    let server = cluster.share.server.as_str();
    for sample in OVER_FLEXVOLUME {
        assert_promised("Options of a PersistentVolume (FlexVolume)", sample);
        let mut volume =
            FlexVolume::new("pv-sample", "", &[("server", server), ("path", "/sample")]);
        for (key, value) in sample.given {
            volume.options.insert((*key).into(), (*value).into());
        }
        let mounted = flex.mount(&volume, node, "pod");
        match &sample.ends {
            Mounted(path, options) => {
                let target = mounted.unwrap_or_else(|error| panic!("{:?}: {error}", sample.given));
                assert_mounted(&cluster, &target, &format!("{server}:{path}"), options);
            }
            Refused(words) => assert_refused(sample.given, &mounted.unwrap_err(), words),
        }
        flex.unmount(&volume, node, "pod").unwrap();
    }
    cluster.assert_as_before();
}

fn every_sample_of_a_storage_class_ends_as_it_says() {
    let cluster = cluster();
    let (csi, node) = (cluster.csi.clone().with_retry(Retry::never()), &cluster.nodes[0]);
    for (number, sample) in CLASSES.iter().enumerate() {
        assert_promised("Parameters of a StorageClass (CSI)", sample);
        let name = format!("pvc-sample-{number}");
        let given = sample.given.iter();
        let given: Vec<_> = given
            .map(|(key, value)| (*key, value.replace(SERVER, &cluster.share.server)))
            .collect();
        let given: Vec<_> = given.iter().map(|(key, value)| (*key, value.as_str())).collect();
        let class = VolumeClass {
            mount_options: sample.mount_options.iter().map(|option| (*option).into()).collect(),
            ..VolumeClass::share(&given)
        };
        // What needs a cloud is repeated, what is refused is not.
        let made = match sample.ends {
            Mounted(..) => cluster.csi.provision(&name, GIB, &class),
            Refused(_) => csi.provision(&name, GIB, &class),
        };
        match &sample.ends {
            Mounted(path, options) => {
                let volume = made.unwrap_or_else(|error| panic!("{given:?}: {error}"));
                drop(cluster.servers());
                let context = &volume.context;
                let server = context.get("accesspoint").unwrap_or_else(|| &context["server"]);
                let target = csi.publish(&volume, node, "pod", false).unwrap();
                let source = format!("{server}:{}", path.replace(NAME, &name));
                assert_mounted(&cluster, &target, &source, options);
                csi.unpublish(&volume, node, "pod").unwrap();
                cluster.csi.delete(&volume).unwrap();
                cluster.bed.region().advance(std::time::Duration::from_secs(1));
                drop(cluster.servers());
            }
            Refused(words) => assert_refused(sample.given, &made.unwrap_err(), words),
        }
    }
    cluster.assert_as_before();
}
