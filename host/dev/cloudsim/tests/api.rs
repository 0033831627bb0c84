//! The API without devices: errors, idempotency, listings, signatures, STS, metadata, rates. Needs
//! no root.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "the helpers of tests fail as tests do"
)]

mod client;

use std::path::Path;
use std::time::Duration;

use client::{Client, ago, http};
use serde_json::Value;
use wharf_cloudsim::{
    Delays, Devices, InstanceCondition, Limit, OidcProvider, RateLimits, Region, RegionError,
    RegionOptions, Shortage,
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
    test(&region, &Client::ecs(&region));
}

const ESSD: [(&str, &str); 3] =
    [("ZoneId", "cn-wharf-1a"), ("Size", "20"), ("DiskCategory", "cloud_essd")];

/// `ESSD` with changes.
fn essd<'a>(changes: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let kept = ESSD.iter().filter(|(name, _)| !changes.iter().any(|(changed, _)| changed == name));
    kept.chain(changes).filter(|(_, value)| !value.is_empty()).copied().collect()
}

#[test]
fn create_disk_refuses_what_the_real_api_refuses() {
    let change = |options: &mut RegionOptions| {
        options.quotas.disks = 1;
        options.shortages = vec![
            Shortage { zone: "cn-wharf-1a".into(), category: "cloud_ssd".into(), sold_out: true },
            Shortage { zone: "cn-wharf-1a".into(), category: "cloud_auto".into(), sold_out: false },
        ];
    };
    with(change, |_, client| {
        type Row<'a> = (&'a [(&'a str, &'a str)], (u16, &'a str));
        let table: &[Row<'_>] = &[
            (&[("ZoneId", "cn-wharf-1z")], (404, "InvalidZoneId.NotFound")),
            (&[("ZoneId", "")], (400, "MissingParameter")),
            (&[("RegionId", "cn-other")], (404, "InvalidRegionId.NotFound")),
            (&[("Size", "")], (400, "MissingParameter")),
            (&[("Size", "many")], (400, "InvalidParameter")),
            (&[("Size", "65537")], (403, "InvalidDiskSize.NotSupported")),
            (&[("Size", "19")], (403, "InvalidDiskSize.NotSupported")),
            (&[("DiskCategory", "floppy")], (400, "InvalidDiskCategory.NotSupported")),
            (&[("DiskCategory", "cloud_ssd")], (403, "OperationDenied.NoStock")),
            (&[("DiskCategory", "cloud_auto")], (403, "InvalidDataDiskCategory.NotSupported")),
            (&[("PerformanceLevel", "PL9")], (400, "InvalidPerformanceLevel.Malformed")),
            (&[("PerformanceLevel", "PL3")], (400, "OperationDenied.PerformanceLevelNotMatch")),
            (&[("SnapshotId", "s-none")], (404, "InvalidSnapshotId.NotFound")),
            (&[("KMSKeyId", "k")], (400, "InvalidParameter.EncryptedIllegal")),
            (&[("DiskName", "1")], (400, "InvalidDiskName.Malformed")),
            (&[("Tag.1.Key", "a"), ("Tag.2.Key", "a")], (400, "Duplicate.TagKey")),
            (
                &[("DiskCategory", "cloud_efficiency"), ("MultiAttach", "Enabled")],
                (403, "InvalidDiskCategory.NotSupported"),
            ),
        ];
        for (changes, (status, code)) in table {
            assert_eq!(
                client.error("CreateDisk", &essd(changes)),
                (*status, (*code).to_owned()),
                "{changes:?}"
            );
        }
        client.ok("CreateDisk", &ESSD);
        assert_eq!(client.error("CreateDisk", &ESSD), (403, "QuotaExceed.PostPaidDisk".into()));
    });
}

#[test]
fn a_disk_is_described_as_it_was_asked_for() {
    with(
        |_| {},
        |_, client| {
            let asked = essd(&[
                ("Size", "500"),
                ("PerformanceLevel", "PL2"),
                ("Encrypted", "true"),
                ("KMSKeyId", "key-1"),
                ("ResourceGroupId", "rg-1"),
                ("DiskName", "pvc-1"),
                ("Description", "of a test"),
                ("Tag.1.Key", "k8s.aliyun.com"),
                ("Tag.1.Value", "true"),
            ]);
            let id = client.ok("CreateDisk", &asked)["DiskId"].as_str().unwrap().to_owned();
            let disk = client.disk(&id);
            let expected = serde_json::json!({
                "DiskId": id, "Size": 500, "PerformanceLevel": "PL2", "Category": "cloud_essd", "Encrypted": true, "KMSKeyId": "key-1",
                "ResourceGroupId": "rg-1", "DiskName": "pvc-1", "Description": "of a test", "Status": "Available", "ZoneId": "cn-wharf-1a",
                "RegionId": "cn-wharf-1", "MultiAttach": "Disabled", "Portable": true, "InstanceId": "",
                "Tags": { "Tag": [{ "TagKey": "k8s.aliyun.com", "TagValue": "true" }] },
            });
            for (field, value) in expected.as_object().unwrap() {
                assert_eq!(&disk[field], value, "{field}");
            }
        },
    );
}

#[test]
fn an_equal_client_token_gets_the_same_disk_even_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let region = Region::start(options(directory.path())).unwrap();
    let asked = essd(&[("ClientToken", "n:pvc-1")]);
    let first = Client::ecs(&region).ok("CreateDisk", &asked)["DiskId"].clone();
    assert_eq!(Client::ecs(&region).ok("CreateDisk", &asked)["DiskId"], first);
    region.stop().unwrap();
    let region = Region::start(options(directory.path())).unwrap();
    let client = Client::ecs(&region);
    assert_eq!(client.ok("CreateDisk", &asked)["DiskId"], first);
    let other = essd(&[("ClientToken", "n:pvc-1"), ("Size", "21")]);
    assert_eq!(client.error("CreateDisk", &other), (400, "IdempotentParameterMismatch".into()));
    assert_eq!(region.disks().len(), 1);
    region.advance(Duration::from_secs(25 * 3600));
    assert_ne!(client.ok("CreateDisk", &asked)["DiskId"], first, "a token is good for a day");
}

#[test]
fn a_refused_call_leaves_its_client_token_free() {
    with(
        |_| {},
        |region, client| {
            region.set_shortages(vec![Shortage {
                zone: "cn-wharf-1a".into(),
                category: "cloud_essd".into(),
                sold_out: true,
            }]);
            let asked = essd(&[("ClientToken", "t")]);
            assert_eq!(client.error("CreateDisk", &asked).1, "OperationDenied.NoStock");
            region.set_shortages(Vec::new());
            client.ok("CreateDisk", &asked);
        },
    );
}

#[test]
fn listings_filter_and_come_in_pages() {
    with(
        |_| {},
        |_, client| {
            let ids: Vec<String> = (0..5)
                .map(|n| {
                    let name = format!("disk-{n}");
                    let odd = if n % 2 == 1 { "true" } else { "false" };
                    let made = client.ok(
                        "CreateDisk",
                        &essd(&[("DiskName", &name), ("Tag.1.Key", "odd"), ("Tag.1.Value", odd)]),
                    );
                    made["DiskId"].as_str().unwrap().to_owned()
                })
                .collect();
            let names = |params: &[(&str, &str)]| -> Vec<String> {
                let answer = client.ok("DescribeDisks", params);
                let disks = answer["Disks"]["Disk"].as_array().unwrap().clone();
                disks.iter().map(|disk| disk["DiskName"].as_str().unwrap().to_owned()).collect()
            };
            assert_eq!(
                names(&[("DiskType", "data")]),
                ["disk-4", "disk-3", "disk-2", "disk-1", "disk-0"]
            );
            assert_eq!(
                names(&[("PageSize", "2"), ("PageNumber", "3"), ("DiskType", "data")]),
                ["disk-0"]
            );
            assert_eq!(
                names(&[("Tag.1.Key", "odd"), ("Tag.1.Value", "true")]),
                ["disk-3", "disk-1"]
            );
            assert_eq!(
                names(&[("DiskIds", &format!("[\"{}\",\"d-unknown\"]", ids[1]))]),
                ["disk-1"]
            );
            assert_eq!(names(&[("DiskIds", "[]")]), [""; 0]);
            assert_eq!(names(&[("Status", "Detaching")]), [""; 0]);
            assert_eq!(client.ok("DescribeDisks", &[("DiskType", "data")])["TotalCount"], 5);
            let first = client.ok("DescribeDisks", &[("MaxResults", "3"), ("DiskType", "data")]);
            let token = first["NextToken"].as_str().unwrap().to_owned();
            let rest = [("MaxResults", "3"), ("NextToken", token.as_str()), ("DiskType", "data")];
            assert_eq!(names(&rest), ["disk-1", "disk-0"]);
            assert_eq!(client.ok("DescribeDisks", &rest)["NextToken"], "");
            let many = serde_json::to_string(&vec!["d-1"; 101]).unwrap();
            assert_eq!(client.error("DescribeDisks", &[("DiskIds", &many)]).0, 400);
        },
    );
}

#[test]
fn attach_refuses_what_cannot_be() {
    let change = |options: &mut RegionOptions| {
        options.disk_quantity = 2;
        options.instance_zones = vec!["cn-wharf-1a".into(), "cn-wharf-1b".into()];
    };
    with(change, |region, client| {
        let [first, second] = [0, 1].map(|n| region.description().instances[n].id.clone());
        let [one, two] = [client.new_disk("20"), client.new_disk("20")];
        let attach = |instance: &str, disk: &str| {
            client.error("AttachDisk", &[("InstanceId", instance), ("DiskId", disk)])
        };
        assert_eq!(attach("i-none", &one), (404, "InvalidInstanceId.NotFound".into()));
        assert_eq!(attach(&first, "d-none"), (404, "InvalidDiskId.NotFound".into()));
        assert_eq!(attach("", &one), (400, "MissingParameter".into()));
        assert_eq!(attach(&second, &one), (403, "ResourcesNotInSameZone".into()));
        region.set_disk_in_arrears(&one, true).unwrap();
        assert_eq!(attach(&first, &one), (403, "DiskInArrears".into()));
        region.set_disk_in_arrears(&one, false).unwrap();
        let condition = |locked, status: &str| InstanceCondition {
            locked_for_security: Some(locked),
            status: Some(status.into()),
            released: None,
        };
        region.set_instance(&first, condition(true, "Running")).unwrap();
        assert_eq!(attach(&first, &one), (403, "InstanceLockedForSecurity".into()));
        region.set_instance(&first, condition(false, "Starting")).unwrap();
        assert_eq!(attach(&first, &one), (400, "IncorrectInstanceStatus".into()));
        region.set_instance(&first, condition(false, "Running")).unwrap();
        client.ok("AttachDisk", &[("InstanceId", &first), ("DiskId", &one)]);
        assert_eq!(attach(&first, &two), (403, "InstanceDiskLimitExceeded".into()));
        region
            .set_instance(
                &first,
                InstanceCondition { released: Some(true), ..InstanceCondition::default() },
            )
            .unwrap();
        assert_eq!(client.disk(&one)["Status"], "Available", "a released instance holds nothing");
        assert_eq!(attach(&first, &two), (404, "InvalidInstanceId.NotFound".into()));
    });
}

#[test]
fn a_system_disk_is_listed_and_left_alone() {
    with(
        |_| {},
        |region, client| {
            let instance = region.description().instances[1].id.clone();
            let listed =
                client.ok("DescribeDisks", &[("InstanceId", &instance)])["Disks"]["Disk"].clone();
            assert_eq!(listed.as_array().unwrap().len(), 1);
            assert_eq!(
                (listed[0]["Type"].as_str(), listed[0]["Portable"].as_bool()),
                (Some("system"), Some(false))
            );
            let id = listed[0]["DiskId"].as_str().unwrap();
            for (action, with) in [
                ("DetachDisk", "InstanceId"),
                ("DeleteDisk", "InstanceId"),
                ("CreateSnapshot", "InstanceId"),
            ] {
                assert_eq!(
                    client.error(action, &[("DiskId", id), (with, &instance)]),
                    (403, "DiskNotPortable".into()),
                    "{action}"
                );
            }
            assert!(region.disks().is_empty());
        },
    );
}

#[test]
fn one_directory_has_one_region() {
    let directory = tempfile::tempdir().unwrap();
    let region = Region::start(options(directory.path())).unwrap();
    assert!(matches!(Region::start(options(directory.path())), Err(RegionError::Busy { .. })));
    drop(region);
    Region::start(options(directory.path())).unwrap();
}

#[test]
fn what_takes_time_shows_its_states() {
    with(
        |options| {
            options.delays = Delays::real();
            options.every_disk_is_creating = true;
        },
        |region, client| {
            let instance = region.description().instances[0].id.clone();
            let disk = client.ok("CreateDisk", &ESSD)["DiskId"].as_str().unwrap().to_owned();
            assert_eq!(client.disk(&disk)["Status"], "Creating");
            let attach = [("InstanceId", instance.as_str()), ("DiskId", disk.as_str())];
            assert_eq!(client.error("AttachDisk", &attach), (403, "IncorrectDiskStatus".into()));
            assert_eq!(
                client.error("DeleteDisk", &[("DiskId", &disk)]),
                (403, "IncorrectDiskStatus.Initializing".into())
            );
            region.advance(Duration::from_secs(2));
            assert_eq!(client.disk(&disk)["Status"], "Available");
            client.ok("AttachDisk", &attach);
            assert_eq!(client.disk(&disk)["Status"], "Attaching");
            assert_eq!(client.disk(&disk)["Attachments"]["Attachment"], serde_json::json!([]));
            assert_eq!(client.error("DetachDisk", &attach), (403, "IncorrectDiskStatus".into()));
            region.advance(Duration::from_secs(3));
            assert_eq!(client.disk(&disk)["Status"], "In_use");
            client.ok("DetachDisk", &attach);
            assert_eq!(client.disk(&disk)["Status"], "Detaching");
            assert_eq!(
                client.disk(&disk)["InstanceId"],
                instance,
                "it still belongs to the instance"
            );
            region.advance(Duration::from_secs(3));
            assert_eq!(client.disk(&disk)["Status"], "Available");
        },
    );
}

#[test]
fn a_change_of_kind_is_a_task() {
    with(
        |options| options.delays = Delays { modify: 60_000, ..Delays::none() },
        |region, client| {
            let disk = client.new_disk("500");
            let change = |level: &'static str, dry: &'static str| {
                [("PerformanceLevel", level), ("DryRun", dry)]
            };
            let asked = |params: [(&'static str, &'static str); 2]| -> Vec<(String, String)> {
                params
                    .iter()
                    .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                    .chain([("DiskId".to_owned(), disk.clone())])
                    .collect()
            };
            let error = |params| {
                let params = asked(params);
                client
                    .error(
                        "ModifyDiskSpec",
                        &params
                            .iter()
                            .map(|(name, value)| (name.as_str(), value.as_str()))
                            .collect::<Vec<_>>(),
                    )
                    .1
            };
            assert_eq!(error(change("PL1", "true")), "NoChangeInDiskCategoryAndPerformanceLevel");
            assert_eq!(error(change("PL2", "true")), "DryRunOperation");
            let task = client
                .ok("ModifyDiskSpec", &[("DiskId", &disk), ("PerformanceLevel", "PL2")])["TaskId"]
                .as_str()
                .unwrap()
                .to_owned();
            assert_eq!(error(change("PL2", "true")), "InvalidStatus.DiskNotReady");
            let status = || {
                client.ok("DescribeTasks", &[("TaskIds", &task)])["TaskSet"]["Task"][0]
                    ["TaskStatus"]
                    .clone()
            };
            assert_eq!(status(), "Processing");
            region.advance(Duration::from_secs(60));
            assert_eq!(status(), "Finished");
            assert_eq!(client.disk(&disk)["PerformanceLevel"], "PL2");
        },
    );
}

#[test]
fn tags_are_set_listed_and_taken_away() {
    with(
        |_| {},
        |_, client| {
            let disk = client.new_disk("20");
            let on = [("ResourceType", "disk"), ("ResourceId.1", disk.as_str())];
            client.ok(
                "TagResources",
                &[
                    &on[..],
                    &[
                        ("Tag.1.Key", "a"),
                        ("Tag.1.Value", "1"),
                        ("Tag.2.Key", "b"),
                        ("Tag.2.Value", "2"),
                    ],
                ]
                .concat(),
            );
            client.ok(
                "AddTags",
                &[
                    ("ResourceType", "disk"),
                    ("ResourceId", &disk),
                    ("Tag.1.Key", "a"),
                    ("Tag.1.Value", "3"),
                ],
            );
            client.ok("UntagResources", &[&on[..], &[("TagKey.1", "b")]].concat());
            let listed = client.ok("ListTagResources", &on)["TagResources"]["TagResource"].clone();
            let expected = serde_json::json!([{ "ResourceId": disk, "ResourceType": "disk", "TagKey": "a", "TagValue": "3" }]);
            assert_eq!(listed, expected);
            let unknown =
                [("ResourceType", "disk"), ("ResourceId.1", "d-none"), ("Tag.1.Key", "a")];
            assert_eq!(
                client.error("TagResources", &unknown),
                (404, "InvalidResourceId.NotFound".into())
            );
        },
    );
}

#[test]
fn the_catalog_answers() {
    with(
        |options| options.disk_quantity = 9,
        |region, client| {
            assert_eq!(
                client.ok("DescribeRegions", &[])["Regions"]["Region"][0]["RegionId"],
                "cn-wharf-1"
            );
            assert_eq!(
                client.ok("DescribeZones", &[])["Zones"]["Zone"].as_array().unwrap().len(),
                2
            );
            let types = client.ok("DescribeInstanceTypes", &[("InstanceTypes.1", "ecs.g7.large")]);
            assert_eq!(types["InstanceTypes"]["InstanceType"][0]["DiskQuantity"], 9);
            let ids = format!("[\"{}\"]", region.description().instances[1].id);
            assert_eq!(
                client.ok("DescribeInstances", &[("InstanceIds", &ids)])["Instances"]["Instance"]
                    [0]["HostName"],
                "node-2"
            );
            let offered = client.ok(
                "DescribeAvailableResource",
                &[("DestinationResource", "DataDisk"), ("ZoneId", "cn-wharf-1b")],
            );
            let zone = &offered["AvailableZones"]["AvailableZone"][0];
            assert_eq!(zone["ZoneId"], "cn-wharf-1b");
            let resources = &zone["AvailableResources"]["AvailableResource"][0]["SupportedResources"]
                ["SupportedResource"];
            assert!(
                resources
                    .as_array()
                    .unwrap()
                    .iter()
                    .any(|resource| resource["Value"] == "cloud_essd"
                        && resource["Status"] == "Available")
            );
        },
    );
}

#[test]
fn only_a_sound_signature_passes() {
    with(
        |_| {},
        |region, good| {
            let client = || Client::ecs(region);
            let code = |client: Client| client.error("DescribeDisks", &[]);
            good.ok("DescribeDisks", &[]);
            assert_eq!(
                code(Client { secret: "wrong".into(), ..client() }),
                (400, "SignatureDoesNotMatch".into())
            );
            assert_eq!(
                code(Client { id: "LTAInobody".into(), ..client() }),
                (404, "InvalidAccessKeyId.NotFound".into())
            );
            assert_eq!(
                code(Client { timestamp: Some(ago(16 * 60)), ..client() }),
                (400, "InvalidTimeStamp.Expired".into())
            );
            assert_eq!(
                code(Client { timestamp: Some("yesterday".into()), ..client() }),
                (400, "InvalidTimeStamp.Format".into())
            );
            assert_eq!(
                code(Client { token: Some("made up".into()), ..client() }),
                (400, "InvalidSecurityToken.Malformed".into())
            );
            Client { timestamp: Some(ago(14 * 60)), ..client() }.ok("DescribeDisks", &[]);
            let once = Client { nonce: Some("once".into()), ..client() };
            once.ok("DescribeDisks", &[]);
            assert_eq!(code(once), (400, "SignatureNonceUsed".into()));
            let base = &region.description().endpoints.ecs;
            let (status, body) = http(
                base,
                "GET",
                "/?Action=DescribeDisks&Version=2014-05-26&RegionId=cn-wharf-1",
                &[],
                "",
            )
            .unwrap();
            assert!(status == 400 && body.contains("MissingAccessKeyId"), "{body}");
            assert_eq!(good.error("FormatDisk", &[]), (404, "InvalidAction.NotFound".into()));
            assert_eq!(
                Client { version: "2020-01-01", ..client() }.error("DescribeDisks", &[]),
                (400, "InvalidVersion".into())
            );
            let node = &region.description().instances[0].keys;
            Client::with(base, "2014-05-26", node).ok("DescribeDisks", &[]);
            let journal = region.journal();
            assert_eq!(
                journal[0].caller.as_deref(),
                Some(region.description().admin.access_key_id.as_str())
            );
            assert!(journal.iter().all(|entry| !format!("{entry:?}").contains(&good.secret)));
        },
    );
}

#[test]
fn without_checks_the_access_key_alone_counts() {
    with(
        |options| options.verify_signatures = false,
        |region, _| {
            Client { secret: "wrong".into(), ..Client::ecs(region) }.ok("DescribeDisks", &[]);
            assert_eq!(
                Client { id: "LTAInobody".into(), ..Client::ecs(region) }
                    .error("DescribeDisks", &[])
                    .0,
                404
            );
        },
    );
}

fn temporary(region: &Region, answer: &Value) -> Client {
    let field = |name: &str| answer["Credentials"][name].as_str().unwrap().to_owned();
    Client {
        id: field("AccessKeyId"),
        secret: field("AccessKeySecret"),
        token: Some(field("SecurityToken")),
        ..Client::ecs(region)
    }
}

#[test]
fn temporary_keys_work_until_they_expire() {
    with(
        |_| {},
        |region, _| {
            let sts = Client::sts(region);
            let role = format!("acs:ram::{}:role/disk", region.description().account);
            assert_eq!(sts.ok("GetCallerIdentity", &[])["IdentityType"], "Account");
            let asked = [
                ("RoleArn", role.as_str()),
                ("RoleSessionName", "wharf"),
                ("DurationSeconds", "900"),
            ];
            let temporary = temporary(region, &sts.ok("AssumeRole", &asked));
            temporary.ok("DescribeDisks", &[]);
            assert_eq!(
                Client { token: None, ..Client::ecs(region) }.ok("DescribeDisks", &[])["TotalCount"],
                2
            );
            let expired = |client: &Client| client.error("DescribeDisks", &[]);
            region.advance(Duration::from_secs(901));
            assert_eq!(expired(&temporary), (400, "InvalidSecurityToken.Expired".into()));
            let bare = Client {
                token: None,
                base: temporary.base.clone(),
                id: temporary.id.clone(),
                secret: temporary.secret.clone(),
                ..Client::ecs(region)
            };
            assert_eq!(expired(&bare), (400, "MissingSecurityToken".into()));
            let foreign = [("RoleArn", "acs:ram::1:role/disk"), ("RoleSessionName", "wharf")];
            assert_eq!(sts.error("AssumeRole", &foreign), (404, "EntityNotExist.Role".into()));
        },
    );
}

#[test]
fn a_service_account_token_is_exchanged_for_keys() {
    let arn = "acs:ram::1234567890123456:oidc-provider/ack";
    let change = |options: &mut RegionOptions| {
        let subjects = [(
            "acs:ram::1234567890123456:role/disk".to_owned(),
            "system:serviceaccount:kube-system:wharf".to_owned(),
        )];
        let other = OidcProvider {
            arn: "acs:ram::1234567890123456:oidc-provider/other".into(),
            issuer: "https://k8s".into(),
            audiences: vec!["somebody else".into()],
            subjects: [].into(),
        };
        let provider = OidcProvider {
            arn: arn.into(),
            issuer: "https://k8s".into(),
            audiences: vec!["sts.aliyuncs.com".into()],
            subjects: subjects.into(),
        };
        options.oidc_providers = vec![provider, other];
    };
    with(change, |region, _| {
        let exchange = |token: &str| {
            let pairs = [
                ("Action", "AssumeRoleWithOIDC"),
                ("Version", "2015-04-01"),
                ("OIDCProviderArn", "acs%3Aram%3A%3A1234567890123456%3Aoidc-provider%2Fack"),
                ("RoleArn", "acs%3Aram%3A%3A1234567890123456%3Arole%2Fdisk"),
                ("RoleSessionName", "wharf"),
                ("OIDCToken", token),
            ];
            let query: Vec<_> =
                pairs.iter().map(|(name, value)| format!("{name}={value}")).collect();
            let (status, body) = http(
                &region.description().endpoints.sts,
                "POST",
                &format!("/?{}", query.join("&")),
                &[],
                "",
            )
            .unwrap();
            (status, serde_json::from_str::<Value>(&body).unwrap())
        };
        let token = region.oidc_token(0, "system:serviceaccount:kube-system:wharf").unwrap();
        let (status, answer) = exchange(&token);
        assert_eq!(status, 200, "{answer}");
        temporary(region, &answer).ok("DescribeDisks", &[]);
        assert_eq!(
            exchange(&region.oidc_token(0, "somebody").unwrap()).1["Code"],
            "AuthenticationFail.NoPermission"
        );
        let for_other = region.oidc_token(1, "system:serviceaccount:kube-system:wharf").unwrap();
        assert_eq!(exchange(&for_other).1["Code"], "AuthenticationFail.OIDCToken.AudienceInvalid");
        assert_eq!(exchange("no.token").1["Code"], "AuthenticationFail.OIDCToken.Invalid");
        region.advance(Duration::from_secs(3601));
        assert_eq!(exchange(&token).1["Code"], "AuthenticationFail.OIDCToken.Expired");
        assert!(region.journal().iter().all(|entry| !format!("{entry:?}").contains(&token)));
    });
}

#[test]
fn the_metadata_service_wants_a_token_and_knows_its_instance() {
    with(
        |_| {},
        |region, _| {
            let instance = &region.description().instances[1];
            let base = instance.metadata.as_str();
            let ttl = [("X-aliyun-ecs-metadata-token-ttl-seconds", "60")];
            assert_eq!(http(base, "GET", "/latest/meta-data/instance-id", &[], "").unwrap().0, 403);
            assert_eq!(http(base, "PUT", "/latest/api/token", &[], "").unwrap().0, 400);
            let (status, token) = http(base, "PUT", "/latest/api/token", &ttl, "").unwrap();
            assert_eq!(status, 200);
            let get = |path: &str| {
                http(base, "GET", path, &[("X-aliyun-ecs-metadata-token", &token)], "").unwrap()
            };
            assert_eq!(get("/latest/meta-data/instance-id"), (200, instance.id.clone()));
            assert_eq!(get("/latest/meta-data/zone-id"), (200, "cn-wharf-1a".into()));
            assert_eq!(
                get("/latest/meta-data/instance/instance-type"),
                (200, "ecs.g7.large".into())
            );
            assert_eq!(get("/latest/meta-data/nothing").0, 404);
            let document: Value =
                serde_json::from_str(&get("/latest/dynamic/instance-identity/document").1).unwrap();
            assert_eq!(
                (document["instance-id"].as_str(), document["region-id"].as_str()),
                (Some(instance.id.as_str()), Some("cn-wharf-1"))
            );
            assert_eq!(
                get("/latest/meta-data/ram/security-credentials/"),
                (200, "WharfNodeRole".into())
            );
            let keys = get("/latest/meta-data/ram/security-credentials/WharfNodeRole").1;
            assert_eq!(
                get("/latest/meta-data/ram/security-credentials/WharfNodeRole").1,
                keys,
                "keys are kept while they are fresh"
            );
            let keys: Value = serde_json::from_str(&keys).unwrap();
            assert_eq!(keys["Code"], "Success");
            temporary(region, &serde_json::json!({ "Credentials": keys })).ok("DescribeDisks", &[]);
            region.advance(Duration::from_secs(61));
            assert_eq!(get("/latest/meta-data/instance-id").0, 401, "tokens end");
        },
    );
    with(
        |options| options.metadata_v1 = true,
        |region, _| {
            let base = &region.description().endpoints.metadata;
            assert_eq!(
                http(base, "GET", "/latest/meta-data/region-id", &[], "").unwrap(),
                (200, "cn-wharf-1".into())
            );
        },
    );
}

#[test]
fn rates_are_limited() {
    let limits = RateLimits {
        default: None,
        actions: [("DescribeZones".to_owned(), Limit { calls: 2, seconds: 60 })].into(),
    };
    with(
        |options| options.rate_limits = limits,
        |region, client| {
            client.ok("DescribeZones", &[]);
            client.ok("DescribeZones", &[]);
            assert_eq!(client.error("DescribeZones", &[]), (400, "Throttling.User".into()));
            client.ok("DescribeRegions", &[]);
            region.advance(Duration::from_secs(30));
            client.ok("DescribeZones", &[]);
            region.set_rate_limits(RateLimits::real());
            client.ok("DescribeZones", &[]);
        },
    );
}

#[test]
fn a_state_that_is_not_one_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("state.json"), "{}").unwrap();
    let error = Region::start(options(directory.path())).unwrap_err().to_string();
    assert!(error.contains("state.json") && error.contains("move it away"), "{error}");
    assert_eq!(std::fs::read_to_string(directory.path().join("state.json")).unwrap(), "{}");
}

#[test]
fn the_files_with_keys_are_the_owners_alone() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    let _region = Region::start(options(directory.path())).unwrap();
    for name in ["region.json", "state.json"] {
        let mode = std::fs::metadata(directory.path().join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    let region: Value =
        serde_json::from_slice(&std::fs::read(directory.path().join("region.json")).unwrap())
            .unwrap();
    assert!(
        region["admin"]["accessKeyId"].is_string()
            && region["instances"][0]["accessKeySecret"].is_string()
    );
    assert!(region["instances"][0]["config"].as_str().unwrap().ends_with("/wharf.toml"));
}
