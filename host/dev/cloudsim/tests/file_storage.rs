//! File storage (NAS) over HTTP: file systems and what leads to them, directories, quotas, tags.
//! Needs no root.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "the helpers of tests fail as tests do"
)]

mod client;

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use client::{Client, eventually, http};
use serde_json::{Value, json};
use wharf_cloudsim::{
    Delays, Devices, Fault, FaultRule, Policies, Quotas, RateLimits, Region, RegionOptions,
    Shortage,
};

fn options(directory: &Path) -> RegionOptions {
    RegionOptions {
        devices: Devices::Absent,
        delays: Delays::none(),
        ..RegionOptions::new(directory)
    }
}

fn with(change: impl FnOnce(&mut RegionOptions), test: impl FnOnce(&Region, &Client)) {
    let directory = tempfile::tempdir().unwrap();
    let mut options = options(directory.path());
    change(&mut options);
    let region = Region::start(options).unwrap();
    test(&region, &Client::nas(&region));
}

type Pairs<'a> = &'a [(&'a str, &'a str)];

const STANDARD: [(&str, &str); 2] = [("ProtocolType", "NFS"), ("StorageType", "Performance")];

const EXTREME: [(&str, &str); 5] = [
    ("FileSystemType", "extreme"),
    ("ProtocolType", "NFS"),
    ("StorageType", "standard"),
    ("ZoneId", "cn-wharf-1b"),
    ("Capacity", "100"),
];

const NETWORK: [(&str, &str); 4] = [
    ("NetworkType", "Vpc"),
    ("VpcId", "vpc-wharf"),
    ("VSwitchId", "vsw-wharf"),
    ("AccessGroupName", "DEFAULT_VPC_GROUP_NAME"),
];

/// `base` with changes; an empty value takes a parameter away.
fn changed<'a>(base: Pairs<'a>, changes: Pairs<'a>) -> Vec<(&'a str, &'a str)> {
    let kept = base.iter().filter(|(name, _)| !changes.iter().any(|(changed, _)| changed == name));
    kept.chain(changes).filter(|(_, value)| !value.is_empty()).copied().collect()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

fn made(client: &Client, asked: Pairs<'_>) -> String {
    text(&client.ok("CreateFileSystem", asked)["FileSystemId"])
}

fn mount_target(client: &Client, id: &str) -> Value {
    client.ok("CreateMountTarget", &changed(&NETWORK, &[("FileSystemId", id)]))["MountTargetDomain"]
        .clone()
}

fn system(client: &Client, id: &str) -> Value {
    client.ok("DescribeFileSystems", &[("FileSystemId", id)])["FileSystems"]["FileSystem"][0]
        .clone()
}

fn targets(client: &Client, id: &str) -> Vec<Value> {
    let answer = client.ok("DescribeMountTargets", &[("FileSystemId", id)]);
    answer["MountTargets"]["MountTarget"].as_array().unwrap().clone()
}

fn directory_of(region: &Region, id: &str) -> PathBuf {
    let systems = region.file_systems();
    systems.into_iter().find(|system| system.id == id).unwrap().directory
}

fn user() -> String {
    let user = std::fs::metadata("/proc/self").unwrap();
    std::os::unix::fs::MetadataExt::uid(&user).to_string()
}

#[test]
fn a_file_system_lives_its_life() {
    with(
        |_| {},
        |region, client| {
            let more = [
                ("Description", "pvc-1"),
                ("Tag.1.Key", "k8s.aliyun.com"),
                ("Tag.1.Value", "true"),
                ("EncryptType", "1"),
                ("ResourceGroupId", "rg-1"),
            ];
            let id = made(client, &changed(&STANDARD, &more));
            let shown = system(client, &id);
            let expected = json!({
                "FileSystemId": id, "FileSystemType": "standard", "Status": "Running",
                "StorageType": "Performance", "ProtocolType": "NFS", "Description": "pvc-1",
                "EncryptType": 1, "ResourceGroupId": "rg-1", "RegionId": "cn-wharf-1",
                "ZoneId": "cn-wharf-1a", "MeteredSize": 0, "ChargeType": "PayAsYouGo",
                "MountTargets": { "MountTarget": [] },
                "Tags": { "Tag": [{ "Key": "k8s.aliyun.com", "Value": "true" }] },
            });
            for (field, value) in expected.as_object().unwrap() {
                assert_eq!(&shown[field], value, "{field}");
            }
            let files = directory_of(region, &id);
            std::fs::write(files.join("file"), b"wharf").unwrap();
            assert_eq!(system(client, &id)["MeteredSize"], 5);
            client.ok("ModifyFileSystem", &[("FileSystemId", &id), ("Description", "other")]);
            assert_eq!(system(client, &id)["Description"], "other");
            client.ok("DeleteFileSystem", &[("FileSystemId", &id)]);
            let gone = (404, "InvalidFileSystem.NotFound".to_owned());
            for action in ["DescribeFileSystems", "DeleteFileSystem", "DescribeMountTargets"] {
                assert_eq!(client.error(action, &[("FileSystemId", &id)]), gone, "{action}");
            }
            assert!(!files.exists(), "its files go with it");
            let directory = files.parent().unwrap();
            let is_empty = || directory.read_dir().unwrap().count() == 0;
            eventually(|| is_empty().then_some(()), "nothing is left of them");
            assert!(region.file_systems().is_empty());
        },
    );
}

#[test]
fn create_file_system_refuses_what_the_real_api_refuses() {
    let change = |options: &mut RegionOptions| {
        options.quotas = Quotas { file_systems: 1, ..Quotas::default() };
        options.shortages = vec![Shortage {
            zone: "cn-wharf-1b".into(),
            category: "Capacity".into(),
            sold_out: true,
        }];
    };
    with(change, |region, client| {
        type Row<'a> = (Pairs<'a>, (u16, &'a str));
        let table: &[Row<'_>] = &[
            (&[("RegionId", "cn-other")], (404, "InvalidRegionId.NotFound")),
            (&[("ProtocolType", "")], (400, "InvalidParameter.ProtocalType")),
            (&[("StorageType", "")], (400, "InvalidParameter.StorageType")),
            (&[("StorageType", "standard")], (400, "InvalidParameter.StorageType")),
            (&[("FileSystemType", "cpfs")], (400, "InvalidParameter.FileSystemType")),
            (&[("ZoneId", "cn-wharf-1z")], (404, "InvalidZoneId.NotFound")),
            (
                &[("StorageType", "Capacity"), ("ZoneId", "cn-wharf-1b")],
                (403, "Resource.OutOfStock"),
            ),
            (&[("Description", "1")], (404, "InvalidDescription.InvalidFormat")),
            (&[("Description", "http://x")], (404, "InvalidDescription.InvalidFormat")),
            (&[("EncryptType", "3")], (400, "InvalidParameter.EncryptType")),
            (&[("EncryptType", "2")], (400, "MissingParameter.KmsKeyId")),
            (&[("Tag.1.Key", "a"), ("Tag.2.Key", "a")], (400, "Duplicate.TagKey")),
        ];
        for (changes, (status, code)) in table {
            let answer = client.error("CreateFileSystem", &changed(&STANDARD, changes));
            assert_eq!(answer, (*status, (*code).to_owned()), "{changes:?}");
        }
        for (changes, code) in [
            (&[("Capacity", "99")], "InvalidParameter.Capacity"),
            (&[("ProtocolType", "SMB")], "InvalidParameter.ProtocalType"),
            (&[("ZoneId", "")], "MissingParameter.ZoneId"),
        ] {
            assert_eq!(client.error("CreateFileSystem", &changed(&EXTREME, changes)).1, code);
        }
        let dry = client.ok("CreateFileSystem", &changed(&STANDARD, &[("DryRun", "true")]));
        assert_eq!(dry["FileSystemId"], "");
        assert!(region.file_systems().is_empty());
        made(client, &STANDARD);
        let full = (403, "QuotaExceed.FileSystem".to_owned());
        assert_eq!(client.error("CreateFileSystem", &STANDARD), full);
    });
}

#[test]
fn an_equal_client_token_gets_the_same_file_system_even_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let asked = changed(&STANDARD, &[("ClientToken", "pvc-1")]);
    let region = Region::start(options(directory.path())).unwrap();
    let first = made(&Client::nas(&region), &asked);
    std::fs::write(directory_of(&region, &first).join("file"), b"kept").unwrap();
    region.stop().unwrap();
    std::fs::create_dir(directory.path().join("nas/begun")).unwrap();
    let region = Region::start(options(directory.path())).unwrap();
    let client = Client::nas(&region);
    assert_eq!(made(&client, &asked), first);
    assert_eq!(std::fs::read(directory_of(&region, &first).join("file")).unwrap(), b"kept");
    assert!(!directory.path().join("nas/begun").exists(), "what no state names is removed");
    let other = changed(&asked, &[("StorageType", "Capacity")]);
    let mismatch = (400, "IdempotentParameterMismatch".to_owned());
    assert_eq!(client.error("CreateFileSystem", &other), mismatch);
    assert_eq!(region.file_systems().len(), 1);
}

#[test]
fn a_mount_target_takes_its_time_to_come_and_to_go() {
    with(
        |options| options.delays.nas = 10_000,
        |region, client| {
            let id = made(client, &STANDARD);
            let domain = text(&mount_target(client, &id));
            assert!(
                domain.starts_with(&format!("{id}-"))
                    && domain.ends_with(".cn-wharf-1.nas.aliyuncs.com"),
                "{domain}"
            );
            let on = [("FileSystemId", id.as_str()), ("MountTargetDomain", domain.as_str())];
            let status = || text(&targets(client, &id)[0]["Status"]);
            let early = (403, "VolumeStatusForbidOperation".to_owned());
            assert_eq!(status(), "Pending");
            assert_eq!(client.error("DeleteMountTarget", &on), early);
            region.advance(Duration::from_secs(10));
            assert_eq!(status(), "Active");
            assert_eq!(system(client, &id)["MountTargets"]["MountTarget"][0]["Status"], "Active");
            let has_target = (403, "FileSystem.HasMountTarget".to_owned());
            assert_eq!(client.error("DeleteFileSystem", &on), has_target);
            client.ok("ModifyMountTarget", &[&on[..], &[("Status", "Inactive")]].concat());
            assert_eq!(status(), "Inactive");
            client.ok("DeleteMountTarget", &on);
            assert_eq!(status(), "Deleting");
            assert_eq!(client.error("DeleteMountTarget", &on), early);
            assert_eq!(client.error("DeleteFileSystem", &on), has_target);
            region.advance(Duration::from_secs(10));
            assert!(targets(client, &id).is_empty());
            let unknown = (404, "InvalidMountTarget.NotFound".to_owned());
            assert_eq!(client.error("DescribeMountTargets", &on), unknown);
            assert_eq!(client.error("DeleteMountTarget", &on), unknown);
            client.ok("DeleteFileSystem", &on);
            assert_eq!(system(client, &id)["Status"], "Deleting");
            assert_eq!(client.error("DeleteFileSystem", &on).1, "OperationDenied.InvalidState");
            region.advance(Duration::from_secs(10));
            assert_eq!(client.error("DescribeFileSystems", &on).1, "InvalidFileSystem.NotFound");
            assert!(region.file_systems().is_empty());
        },
    );
}

#[test]
fn create_mount_target_refuses_what_cannot_be() {
    with(
        |_| {},
        |_, client| {
            let id = made(client, &STANDARD);
            let refused = |changes: Pairs<'_>| {
                let on = [("FileSystemId", id.as_str())];
                let asked = changed(&NETWORK, &on);
                client.error("CreateMountTarget", &changed(&asked, changes)).1
            };
            assert_eq!(refused(&[("FileSystemId", "none")]), "InvalidFileSystem.NotFound");
            assert_eq!(refused(&[("FileSystemId", "")]), "MissingFileSystemId");
            assert_eq!(refused(&[("VpcId", "")]), "MissingParameter.VpcId");
            assert_eq!(refused(&[("VSwitchId", "")]), "MissingParameter.VSwitchId");
            assert_eq!(refused(&[("VpcId", "vpc-none")]), "InvalidVpcId.NotFound");
            assert_eq!(refused(&[("VSwitchId", "vsw-none")]), "InvalidVSwitchId.NotFound");
            assert_eq!(refused(&[("NetworkType", "Classic")]), "InvalidParameter.NetworkType");
            assert_eq!(refused(&[("AccessGroupName", "none")]), "InvalidAccessGroup.NotFound");
            mount_target(client, &id);
            mount_target(client, &id);
            assert_eq!(refused(&[]), "QuotaExceed.MountTarget");
        },
    );
}

#[test]
fn an_extreme_file_system_is_ordered_first_and_tells_its_mount_target_late() {
    with(
        |options| options.delays.nas = 10_000,
        |region, client| {
            let id = made(client, &EXTREME);
            assert!(id.starts_with("extreme-"), "{id}");
            let by_id = [("FileSystemId", id.as_str())];
            let ordering = (403, "InvalidFileSystemStatus.Ordering".to_owned());
            assert_eq!(client.error("DescribeFileSystems", &by_id), ordering);
            let all = client.ok("DescribeFileSystems", &[("FileSystemType", "extreme")]);
            assert_eq!(all["FileSystems"]["FileSystem"][0]["Status"], "Pending");
            let target = changed(&NETWORK, &by_id);
            let early = (403, "OperationDenied.InvalidState".to_owned());
            assert_eq!(client.error("CreateMountTarget", &target), early);
            region.advance(Duration::from_secs(10));
            assert_eq!(system(client, &id)["Capacity"], 100);
            assert_eq!(mount_target(client, &id), Value::Null, "not told with the call");
            let told = || targets(client, &id)[0]["MountTargetDomain"].clone();
            assert_eq!(told(), Value::Null);
            region.advance(Duration::from_secs(10));
            let domain = text(&told());
            assert!(domain.ends_with(".cn-wharf-1.extreme.nas.aliyuncs.com"), "{domain}");
            assert!(directory_of(region, &id).join("share").is_dir());
            assert_eq!(client.error("CreateMountTarget", &target).1, "QuotaExceed.MountTarget");
            for action in ["DescribeDirQuotas", "CreateDir", "GetRecycleBinAttribute"] {
                let refused = (403, "InvalidFileSystemType.NotSupported".to_owned());
                assert_eq!(client.error(action, &by_id), refused, "{action}");
            }
        },
    );
}

#[test]
fn mount_targets_are_called_as_the_test_host_wants_them() {
    for (template, expected) in [("127.0.0.1", "127.0.0.1"), ("{}.nas.test", ".nas.test")] {
        with(
            |options| options.mount_target_domain = Some(template.to_owned()),
            |region, client| {
                let id = made(client, &STANDARD);
                let domain = text(&mount_target(client, &id));
                assert!(domain.ends_with(expected), "{domain}");
                assert_eq!(domain.starts_with(&id), template.contains("{}"), "{domain}");
                let summary = region.file_systems().remove(0);
                assert_eq!(summary.mount_targets, std::slice::from_ref(&domain));
                assert!(summary.directory.ends_with(format!("nas/{id}")));
                let on = [("FileSystemId", id.as_str()), ("MountTargetDomain", &domain)];
                client.ok("DeleteMountTarget", &on);
            },
        );
    }
}

#[test]
fn a_directory_is_made_once_with_owner_and_mode() {
    with(
        |_| {},
        |region, client| {
            let id = made(client, &STANDARD);
            let root = directory_of(region, &id);
            let user = user();
            let create = |path: &str, more: Pairs<'_>| -> Vec<(String, String)> {
                let base = [
                    ("FileSystemId", id.as_str()),
                    ("RootDirectory", path),
                    ("OwnerUserId", user.as_str()),
                    ("OwnerGroupId", "0"),
                    ("Permission", "0750"),
                ];
                let asked = changed(&base, more);
                asked.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
            };
            let asked = |pairs: &[(String, String)]| -> (u16, String) {
                let pairs: Vec<_> =
                    pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
                let (status, body) = client.send("CreateDir", &pairs).unwrap();
                let body: Value = serde_json::from_str(&body).unwrap();
                (status, body["Code"].as_str().unwrap_or_default().to_owned())
            };
            let ok = (200, String::new());
            assert_eq!(asked(&create("/csi/pvc-1", &[])), ok);
            let mode = |path: &str| {
                std::fs::metadata(root.join(path)).unwrap().permissions().mode() & 0o7777
            };
            assert_eq!((mode("csi"), mode("csi/pvc-1")), (0o750, 0o750));
            assert_eq!(asked(&create("/csi/pvc-1", &[("Permission", "0700")])), ok);
            assert_eq!(mode("csi/pvc-1"), 0o750, "what is there stays as it is");
            let flat = [("Recursion", "false")];
            let missing = (404, "InvalidParameter.DirPathNotExist".to_owned());
            assert_eq!(asked(&create("/other/pvc-1", &flat)), missing);
            assert_eq!(asked(&create("/csi/pvc-2", &flat)), ok);
            let outside = tempfile::tempdir().unwrap();
            symlink(outside.path(), root.join("link")).unwrap();
            let odd = (400, "InvalidParameter.RootDirectory".to_owned());
            for path in ["csi", "/csi/../../x", "/./x", "/a b", "/link/x"] {
                assert_eq!(asked(&create(path, &[])), odd, "{path}");
            }
            assert_eq!(outside.path().read_dir().unwrap().count(), 0, "no link is followed");
            for name in ["RootDirectory", "OwnerUserId", "OwnerGroupId", "Permission"] {
                let refused = (400, format!("MissingParameter.{name}"));
                assert_eq!(asked(&create("/csi/pvc-3", &[(name, "")])), refused);
            }
            assert_eq!(asked(&create("/x", &[("Permission", "rwx")])).0, 400);
            let smb = made(client, &changed(&STANDARD, &[("ProtocolType", "SMB")]));
            let refused = (403, "InvalidProtocolType.NotSupported".to_owned());
            assert_eq!(asked(&create("/x", &[("FileSystemId", &smb)])), refused);
        },
    );
}

#[test]
fn a_directory_quota_is_set_changed_counted_and_cancelled() {
    with(
        |options| {
            options.delays.nas = 10_000;
            options.quotas.directory_quotas = 1;
        },
        |region, client| {
            let id = made(client, &STANDARD);
            let root = directory_of(region, &id);
            let of = |path: &'static str| {
                [("FileSystemId", id.as_str()), ("Path", path), ("UserType", "AllUsers")]
            };
            let limit = [("QuotaType", "Enforcement"), ("SizeLimit", "20")];
            let set = |path: &'static str, more: Pairs<'static>| {
                [&of(path)[..], &changed(&limit, more)].concat()
            };
            let missing = (404, "InvalidParameter.DirPathNotExist".to_owned());
            assert_eq!(client.error("SetDirQuota", &set("/pvc-1", &[])), missing);
            std::fs::create_dir_all(root.join("pvc-1/below")).unwrap();
            std::fs::create_dir(root.join("pvc-2")).unwrap();
            std::fs::write(root.join("pvc-1/below/file"), b"wharf").unwrap();
            let unlimited = set("/pvc-1", &[("SizeLimit", "")]);
            assert_eq!(client.error("SetDirQuota", &unlimited).1, "MissingParameter.SizeLimit");
            let odd = set("/pvc-1", &[("QuotaType", "Other")]);
            assert_eq!(client.error("SetDirQuota", &odd).1, "InvalidParameter.QuotaType");
            assert_eq!(client.ok("SetDirQuota", &set("/pvc-1/", &[]))["Success"], true);
            let told = || client.ok("DescribeDirQuotas", &of("/pvc-1"))["DirQuotaInfos"].clone();
            assert_eq!(told()[0]["Status"], "Initializing");
            region.advance(Duration::from_secs(10));
            let users = &told()[0]["UserQuotaInfos"];
            let expected = json!([{
                "UserType": "AllUsers", "UserId": "", "QuotaType": "Enforcement", "SizeLimit": 20,
                "SizeReal": 0, "SizeRealInByte": 5, "FileCountReal": 2,
            }]);
            assert_eq!((&told()[0]["Status"], users), (&json!("Normal"), &expected));
            client.ok("SetDirQuota", &set("/pvc-1", &[("SizeLimit", "30")]));
            assert_eq!(told()[0]["UserQuotaInfos"][0]["SizeLimit"], 30);
            let full = (403, "QuotaExceed.DirQuota".to_owned());
            assert_eq!(client.error("SetDirQuota", &set("/pvc-2", &[])), full);
            assert_eq!(client.ok("CancelDirQuota", &of("/pvc-1"))["Success"], true);
            let none = (404, "InvalidParameter.QuotaNotExistOnPath".to_owned());
            assert_eq!(client.error("CancelDirQuota", &of("/pvc-1")), none);
            client.ok("SetDirQuota", &set("/pvc-1", &[]));
            std::fs::rename(root.join("pvc-1"), root.join("old")).unwrap();
            std::fs::create_dir(root.join("pvc-1")).unwrap();
            let listed = client.ok("DescribeDirQuotas", &[("FileSystemId", &id)]);
            assert_eq!(listed["TotalCount"], 0, "a quota goes with its directory");
        },
    );
}

#[test]
fn an_access_point_leads_to_a_directory() {
    with(
        |options| options.delays.nas = 10_000,
        |region, client| {
            let id = made(client, &STANDARD);
            let network = [
                ("FileSystemId", id.as_str()),
                ("AccessGroup", "DEFAULT_VPC_GROUP_NAME"),
                ("VpcId", "vpc-wharf"),
                ("VswId", "vsw-wharf"),
                ("AccessPointName", "pvc-1"),
                ("RootDirectory", "/ap/pvc-1"),
            ];
            let missing = (404, "InvalidParameter.DirPathNotExist".to_owned());
            assert_eq!(client.error("CreateAccessPoint", &network), missing);
            let user = user();
            let more = [
                ("OwnerUserId", user.as_str()),
                ("OwnerGroupId", "0"),
                ("Permission", "0711"),
                ("PosixUserId", "123"),
                ("PosixGroupId", "12"),
                ("PosixSecondaryGroupIds", "1,2"),
                ("Tag.1.Key", "k"),
                ("Tag.1.Value", "v"),
            ];
            let made = client.ok("CreateAccessPoint", &changed(&network, &more));
            let (point, domain) = (
                text(&made["AccessPoint"]["AccessPointId"]),
                text(&made["AccessPoint"]["AccessPointDomain"]),
            );
            assert!(domain.starts_with(&format!("{point}.{id}-")), "{domain}");
            let made = directory_of(region, &id).join("ap/pvc-1");
            assert_eq!(made.metadata().unwrap().permissions().mode() & 0o777, 0o711);
            let on = [("FileSystemId", id.as_str()), ("AccessPointId", point.as_str())];
            let shown = || client.ok("DescribeAccessPoint", &on)["AccessPoint"].clone();
            assert_eq!(shown()["Status"], "Pending");
            assert_eq!(client.error("DeleteAccessPoint", &on).1, "OperationDenied.InvalidState");
            region.advance(Duration::from_secs(10));
            let expected = json!({
                "Status": "Active", "RootPath": "/ap/pvc-1", "RootPathStatus": "2",
                "DomainName": domain, "AccessPointName": "pvc-1", "EnabledRam": false,
                "ARN": format!("acs:nas:cn-wharf-1:1234567890123456:accesspoint/{point}"),
                "PosixUser": {
                    "PosixUserId": 123, "PosixGroupId": 12, "PosixSecondaryGroupIds": [1, 2],
                },
                "Tags": [{ "Key": "k", "Value": "v" }],
            });
            for (field, value) in expected.as_object().unwrap() {
                assert_eq!(&shown()[field], value, "{field}");
            }
            let listed = client.ok("DescribeAccessPoints", &[("FileSystemId", &id)]);
            assert_eq!(listed["AccessPoints"].as_array().unwrap().len(), 1);
            let summary = region.file_systems().remove(0);
            assert_eq!(summary.access_points, [(domain, "/ap/pvc-1".to_owned())].into());
            let refused = client.error("DeleteFileSystem", &on);
            assert_eq!(refused, (403, "FileSystem.HasAccessPoint".into()));
            client.ok("DeleteAccessPoint", &on);
            assert_eq!(shown()["Status"], "Deleting");
            region.advance(Duration::from_secs(10));
            for action in ["DescribeAccessPoint", "DeleteAccessPoint"] {
                assert_eq!(client.error(action, &on), (404, "NotFound".into()), "{action}");
            }
            assert!(made.is_dir(), "the directory stays");
        },
    );
}

#[test]
fn tags_and_lists_of_file_systems() {
    with(
        |_| {},
        |_, client| {
            let ids: Vec<String> = (0..3).map(|_| made(client, &STANDARD)).collect();
            let on = [("ResourceType", "filesystem"), ("ResourceId.1", ids[0].as_str())];
            let tags = [("Tag.1.Key", "a"), ("Tag.1.Value", "1"), ("Tag.2.Key", "b")];
            client.ok("TagResources", &[&on[..], &tags].concat());
            client.ok("UntagResources", &[&on[..], &[("TagKey.1", "b")]].concat());
            let listed = client.ok("ListTagResources", &on)["TagResources"]["TagResource"].clone();
            let expected = json!([{
                "ResourceId": ids[0], "ResourceType": "filesystem", "TagKey": "a", "TagValue": "1",
            }]);
            assert_eq!(listed, expected);
            let found = |asked: Pairs<'_>| -> Vec<String> {
                let answer = client.ok("DescribeFileSystems", asked);
                let systems = answer["FileSystems"]["FileSystem"].as_array().unwrap().clone();
                systems.iter().map(|system| text(&system["FileSystemId"])).collect()
            };
            assert_eq!(found(&[("Tag.1.Key", "a"), ("Tag.1.Value", "1")]), [ids[0].clone()]);
            assert_eq!(found(&[]), [&ids[2], &ids[1], &ids[0]].map(Clone::clone));
            assert_eq!(found(&[("PageSize", "2"), ("PageNumber", "2")]), [ids[0].clone()]);
            assert_eq!(found(&[("FileSystemType", "extreme,cpfs")]), [""; 0]);
            let unknown = [("ResourceType", "filesystem"), ("ResourceId.1", "none"), tags[0]];
            assert_eq!(
                client.error("TagResources", &unknown),
                (404, "InvalidFileSystem.NotFound".into())
            );
            let many: Vec<(String, String)> =
                (1..=20).map(|n| (format!("Tag.{n}.Key"), format!("t{n}"))).collect();
            let many: Vec<(&str, &str)> =
                many.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            let too_many = client.error("TagResources", &[&on[..], &many].concat());
            assert_eq!(too_many, (400, "CustomTag.NumberExceed".into()));
        },
    );
}

#[test]
fn zones_and_recycle_bins_are_told() {
    with(
        |options| options.recycle_bin_days = 3,
        |_, client| {
            let zones = client.ok("DescribeZones", &[("FileSystemType", "standard")]);
            let zone = &zones["Zones"]["Zone"][1];
            assert_eq!(zone["ZoneId"], "cn-wharf-1b");
            assert_eq!(zone["Performance"]["Protocol"], json!(["NFS", "SMB"]));
            let pair = json!({ "StorageType": "Capacity", "ProtocolType": "NFS" });
            assert!(zone["InstanceTypes"]["InstanceType"].as_array().unwrap().contains(&pair));
            let missing = client.error("DescribeZones", &[("RegionId", "")]);
            assert_eq!(missing, (400, "MissingParameter".into()));
            let id = made(client, &STANDARD);
            let bin = client.ok("GetRecycleBinAttribute", &[("FileSystemId", &id)]);
            let bin = &bin["RecycleBinAttribute"];
            assert_eq!((&bin["Status"], &bin["ReservedDays"]), (&json!("Enable"), &json!(3)));
        },
    );
}

#[test]
fn faults_rates_policies_and_the_journal_are_those_of_every_service() {
    with(
        |options| options.rate_limits = RateLimits::real(),
        |region, client| {
            let fail = Fault::fail(403, "Forbidden.RAM");
            region.set_faults(vec![
                FaultRule::new("CreateFileSystem", fail).times(1),
                FaultRule::new("CreateFileSystem", Fault::DropAnswer).times(1),
            ]);
            assert_eq!(client.error("CreateFileSystem", &STANDARD).1, "Forbidden.RAM");
            assert!(client.send("CreateFileSystem", &STANDARD).is_err());
            assert_eq!(region.file_systems().len(), 1, "its work is done");
            let last = region.journal().pop().unwrap();
            assert_eq!((last.listener.as_str(), last.action.as_str()), ("nas", "CreateFileSystem"));
            assert_eq!(last.fault.as_deref(), Some("drop-answer"));
            assert_eq!(client.error("AttachDisk", &[]), (404, "InvalidAction.NotFound".into()));
            let limits = r#"{ "actions": { "nas:DescribeZones": { "calls": 1, "seconds": 60 } } }"#;
            region.set_rate_limits(serde_json::from_str(limits).unwrap());
            client.ok("DescribeZones", &[]);
            assert_eq!(client.error("DescribeZones", &[]).1, "Throttling.User");
            Client::ecs(region).ok("DescribeZones", &[]);
            let policies = r#"{ "users": { "Version": "1", "Statement": [
                { "Effect": "Allow", "Action": "nas:Describe*", "Resource": "*" }
            ] } }"#;
            region.set_policies(serde_json::from_str::<Policies>(policies).unwrap());
            let keys = &region.description().instances[0].keys;
            let user = Client::with(&region.description().endpoints.nas, "2017-06-26", keys);
            user.ok("DescribeFileSystems", &[]);
            let denied = (403, "Forbidden.RAM".to_owned());
            assert_eq!(user.error("CreateFileSystem", &STANDARD), denied);
            let base = &region.description().endpoints.ecs;
            let (_, body) = http(base, "GET", "/_region/file-systems", &[], "").unwrap();
            assert_eq!(serde_json::from_str::<Value>(&body).unwrap()[0]["status"], "Running");
            region.reset().unwrap();
            assert!(region.file_systems().is_empty());
        },
    );
}
