//! What the real ECS does where a simulation is easily simpler: each test is one difference that
//! was found by running the cloud's own disk driver, or by reading the API reference beside it.
//! Needs no root.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "the helpers of tests fail as tests do"
)]

mod client;

use std::time::Duration;

use client::{Client, http};
use serde_json::{Value, json};
use wharf_cloudsim::{
    Delays, Devices, Fault, FaultRule, Policies, Quotas, Region, RegionOptions, Shortage,
};

fn with(change: impl FnOnce(&mut RegionOptions), test: impl FnOnce(&Region, &Client)) {
    let directory = tempfile::tempdir().unwrap();
    let mut options = RegionOptions {
        devices: Devices::Absent,
        delays: Delays::none(),
        ..RegionOptions::new(directory.path())
    };
    change(&mut options);
    let region = Region::start(options).unwrap();
    test(&region, &Client::ecs(&region));
}

type Pairs<'a> = &'a [(&'a str, &'a str)];

fn made(client: &Client, category: &str, more: Pairs<'_>) -> String {
    let disk = [("ZoneId", "cn-wharf-1a"), ("Size", "100"), ("DiskCategory", category)];
    let kept = disk.iter().filter(|(name, _)| !more.iter().any(|(given, _)| given == name));
    let asked: Vec<_> = kept.chain(more).filter(|(_, value)| !value.is_empty()).copied().collect();
    client.ok("CreateDisk", &asked)["DiskId"].as_str().unwrap().to_owned()
}

fn snapshot_of(client: &Client, disk: &str) -> String {
    client.ok("CreateSnapshot", &[("DiskId", disk)])["SnapshotId"].as_str().unwrap().to_owned()
}

fn snapshot(client: &Client, id: &str) -> Value {
    client.ok("DescribeSnapshots", &[("SnapshotIds", &format!("[\"{id}\"]"))])["Snapshots"]
        ["Snapshot"][0]
        .clone()
}

fn instance(region: &Region, n: usize) -> &str {
    &region.description().instances[n].id
}

/// `AttachDisk` or `DetachDisk`.
fn on<'a>(instance: &'a str, disk: &'a str) -> [(&'a str, &'a str); 2] {
    [("InstanceId", instance), ("DiskId", disk)]
}

#[test]
fn a_disk_that_no_instance_ever_had_can_have_a_snapshot() {
    with(
        |_| {},
        |_, client| {
            let disk = client.new_disk("20");
            snapshot_of(client, &disk);
        },
    );
    with(
        |options| options.snapshots_need_attachment = true,
        |region, client| {
            let disk = client.new_disk("20");
            let refused = (403, "IncorrectDiskStatus.NeverAttached".to_owned());
            assert_eq!(client.error("CreateSnapshot", &[("DiskId", &disk)]), refused);
            client.ok("AttachDisk", &on(instance(region, 0), &disk));
            snapshot_of(client, &disk);
        },
    );
}

#[test]
fn an_empty_disk_of_the_essd_family_is_there_when_the_call_answers() {
    with(
        |options| options.delays.create = 60_000,
        |_, client| {
            let status = |disk: &str| client.disk(disk)["Status"].as_str().unwrap().to_owned();
            let source = made(client, "cloud_essd", &[]);
            let snapshot = snapshot_of(client, &source);
            for (category, expected) in [
                ("cloud_essd", "Available"),
                ("cloud_auto", "Available"),
                ("cloud_essd_entry", "Available"),
                ("cloud_regional_disk_auto", "Available"),
                ("cloud_efficiency", "Creating"),
                ("cloud_ssd", "Creating"),
            ] {
                assert_eq!(status(&made(client, category, &[])), expected, "{category}");
            }
            let copy = made(client, "cloud_essd", &[("SnapshotId", &snapshot)]);
            assert_eq!(status(&copy), "Creating", "its bytes are on their way");
        },
    );
    with(
        |options| {
            options.delays.create = 60_000;
            options.every_disk_is_creating = true;
        },
        |_, client| {
            let disk = made(client, "cloud_essd", &[]);
            assert_eq!(client.disk(&disk)["Status"], "Creating");
        },
    );
}

#[test]
fn a_snapshot_of_an_essd_is_usable_before_it_is_accomplished() {
    with(
        |options| options.delays.snapshot = 60_000,
        |region, client| {
            let told = |id: &str| {
                let shown = snapshot(client, id);
                let text = |field: &str| shown[field].as_str().unwrap().to_owned();
                (shown["Available"].as_bool().unwrap(), text("Status"), text("Progress"))
            };
            let new = snapshot_of(client, &made(client, "cloud_essd", &[]));
            let old = snapshot_of(client, &made(client, "cloud_efficiency", &[]));
            assert_eq!(told(&new), (true, "progressing".to_owned(), "0%".to_owned()));
            assert!(!told(&old).0);
            made(client, "cloud_essd", &[("SnapshotId", &new)]);
            let copy_of_old = [
                ("ZoneId", "cn-wharf-1a"),
                ("DiskCategory", "cloud_essd"),
                ("SnapshotId", old.as_str()),
            ];
            let refused = (403, "InvalidSnapshotId.NotReady".to_owned());
            assert_eq!(client.error("CreateDisk", &copy_of_old), refused);
            region.advance(Duration::from_secs(30));
            assert!(["50%", "51%"].contains(&told(&new).2.as_str()), "{:?}", told(&new));
            region.advance(Duration::from_secs(31));
            assert_eq!(told(&old), (true, "accomplished".to_owned(), "100%".to_owned()));
            client.ok("CreateDisk", &copy_of_old);
        },
    );
}

#[test]
fn listings_may_lag_behind_attach_and_detach() {
    with(
        |options| options.delays = Delays { listing: 5_000, attach: 1_000, ..Delays::none() },
        |region, client| {
            let disk = client.new_disk("20");
            let told = || {
                let disk = client.disk(&disk);
                let of = |field: &str| disk[field].as_str().unwrap().to_owned();
                (of("Status"), of("InstanceId"))
            };
            let free = ("Available".to_owned(), String::new());
            let held = ("In_use".to_owned(), instance(region, 0).to_owned());
            client.ok("AttachDisk", &on(instance(region, 0), &disk));
            assert_eq!(told(), free, "nothing is told of it yet");
            let listed = client.ok("DescribeDisks", &[("InstanceId", instance(region, 0))]);
            assert_eq!(listed["TotalCount"], 1, "the system disk alone");
            let again = client.error("AttachDisk", &on(instance(region, 1), &disk));
            assert_eq!(again, (403, "IncorrectDiskStatus".into()), "the cloud itself knows");
            region.advance(Duration::from_secs(1));
            assert_eq!(told(), free);
            region.advance(Duration::from_secs(4));
            assert_eq!(told(), held);
            client.ok("DetachDisk", &on(instance(region, 0), &disk));
            assert_eq!(told(), held, "it is gone, and the listing does not know");
            client.ok("AttachDisk", &on(instance(region, 1), &disk));
            region.advance(Duration::from_secs(5));
            assert_eq!(told().1, instance(region, 1));
        },
    );
}

#[test]
fn a_failed_call_may_bind_its_client_token() {
    with(
        |options| {
            options.shortages = vec![Shortage {
                zone: "cn-wharf-1a".into(),
                category: "cloud_essd".into(),
                sold_out: true,
            }];
            options.faults = vec![FaultRule::new("CreateDisk", Fault::BindToken).times(1)];
        },
        |region, client| {
            let asked = |category| {
                [
                    ("ZoneId", "cn-wharf-1a"),
                    ("Size", "20"),
                    ("DiskCategory", category),
                    ("ClientToken", "pvc-1"),
                ]
            };
            let no_stock = (403, "OperationDenied.NoStock".to_owned());
            let mismatch = (400, "IdempotentParameterMismatch".to_owned());
            assert_eq!(client.error("CreateDisk", &asked("cloud_essd")), no_stock);
            assert_eq!(client.error("CreateDisk", &asked("cloud_auto")), mismatch);
            assert_eq!(client.error("CreateDisk", &asked("cloud_essd")), no_stock, "tried again");
            assert_eq!(region.journal()[0].fault.as_deref(), Some("bind-token"));
            region.set_shortages(Vec::new());
            let first = client.ok("CreateDisk", &asked("cloud_essd"))["DiskId"].clone();
            assert_eq!(client.ok("CreateDisk", &asked("cloud_essd"))["DiskId"], first);
        },
    );
}

#[test]
fn deleting_a_snapshot_that_is_being_created_cancels_it() {
    with(
        |options| options.delays.snapshot = 60_000,
        |_, client| {
            let disk = client.new_disk("20");
            let id = snapshot_of(client, &disk);
            client.ok("DeleteSnapshot", &[("SnapshotId", &id)]);
            assert_eq!(snapshot(client, &id), Value::Null);
            client.ok("DeleteDisk", &[("DiskId", &disk)]);
        },
    );
}

#[test]
fn a_snapshot_that_disks_were_made_from_is_deleted_by_force_alone() {
    with(
        |_| {},
        |_, client| {
            let id = snapshot_of(client, &client.new_disk("20"));
            let copy = made(client, "cloud_essd", &[("SnapshotId", &id)]);
            let refused = (403, "SnapshotCreatedDisk".to_owned());
            for force in ["", "false"] {
                let asked = [("SnapshotId", id.as_str()), ("Force", force)];
                assert_eq!(client.error("DeleteSnapshot", &asked), refused);
            }
            client.ok("DeleteSnapshot", &[("SnapshotId", &id), ("Force", "true")]);
            assert_eq!(client.disk(&copy)["Status"], "Available");
        },
    );
}

#[test]
fn a_disk_does_not_grow_while_a_snapshot_of_it_is_created() {
    with(
        |options| options.delays.snapshot = 60_000,
        |region, client| {
            let disk = client.new_disk("20");
            snapshot_of(client, &disk);
            let asked = [("DiskId", disk.as_str()), ("NewSize", "30")];
            let refused = (403, "IncorrectDiskStatus.CreatingSnapshot".to_owned());
            assert_eq!(client.error("ResizeDisk", &asked), refused);
            region.advance(Duration::from_secs(60));
            client.ok("ResizeDisk", &asked);
        },
    );
}

#[test]
fn a_page_of_snapshots_has_ten_to_a_hundred_entries() {
    with(
        |_| {},
        |_, client| {
            let disk = client.new_disk("20");
            for _ in 0..12 {
                snapshot_of(client, &disk);
            }
            let page = |most: &str| client.ok("DescribeSnapshots", &[("MaxResults", most)]);
            let count = |page: &Value| page["Snapshots"]["Snapshot"].as_array().unwrap().len();
            assert_eq!(
                ["1", "9", "10", "12", "100"].map(|most| count(&page(most))),
                [10, 10, 10, 12, 12]
            );
            let token = page("1")["NextToken"].as_str().unwrap().to_owned();
            let rest = [("MaxResults", "1"), ("NextToken", token.as_str())];
            assert_eq!(count(&client.ok("DescribeSnapshots", &rest)), 2);
            assert_eq!(client.error("DescribeSnapshots", &[("MaxResults", "101")]).0, 400);
        },
    );
}

#[test]
fn an_empty_performance_level_is_refused_where_there_are_no_levels() {
    with(
        |_| {},
        |_, client| {
            let disk = client.new_disk("100");
            let to_auto = [("DiskId", disk.as_str()), ("DiskCategory", "cloud_auto")];
            let empty = [&to_auto[..], &[("PerformanceLevel", "")]].concat();
            let refused = (400, "InvalidDiskCategory.NotSupported".to_owned());
            assert_eq!(client.error("ModifyDiskSpec", &empty), refused);
            client.ok("ModifyDiskSpec", &to_auto);
        },
    );
}

#[test]
fn what_needs_a_region_says_so() {
    with(
        |_| {},
        |_, client| {
            let resource = [("ResourceType", "disk"), ("ResourceId.1", "d-1"), ("RegionId", "")];
            for action in [
                "TagResources",
                "UntagResources",
                "ListTagResources",
                "AddTags",
                "RemoveTags",
                "DescribeTags",
                "DescribeAvailableResource",
                "DescribeZones",
                "DescribeInstanceHistoryEvents",
                "CreateSnapshotGroup",
                "DescribeSnapshotGroups",
                "DeleteSnapshotGroup",
            ] {
                let answer = client.error(action, &resource);
                assert_eq!(answer, (400, "MissingParameter".into()), "{action}");
            }
        },
    );
}

#[test]
fn some_disks_stay_what_they_are_and_no_level_sinks_to_pl0() {
    with(
        |_| {},
        |_, client| {
            let refused = |disk: &str, change: (&str, &str)| {
                client.error("ModifyDiskSpec", &[("DiskId", disk), change]).1
            };
            let category = "InvalidDiskCategory.NotSupported";
            for kept in ["cloud", "cloud_regional_disk_auto", "elastic_ephemeral_disk_standard"] {
                let disk = made(client, kept, &[]);
                assert_eq!(refused(&disk, ("DiskCategory", "cloud_auto")), category, "{kept}");
                let disk = made(client, "cloud_essd", &[]);
                assert_eq!(refused(&disk, ("DiskCategory", kept)), category, "{kept}");
            }
            let disk = made(client, "cloud_essd", &[]);
            let level = "InvalidPerformanceLevel.NotSupported";
            assert_eq!(refused(&disk, ("PerformanceLevel", "PL0")), level);
            let small = made(client, "cloud_essd", &[("PerformanceLevel", "PL0")]);
            client.ok("ModifyDiskSpec", &[("DiskId", &small), ("PerformanceLevel", "PL1")]);
        },
    );
}

#[test]
fn what_is_available_depends_on_scope_and_instance_type() {
    with(
        |_| {},
        |_, client| {
            let offered = |more: Pairs<'_>| -> Vec<(Value, Vec<String>)> {
                let asked = [&[("DestinationResource", "DataDisk")][..], more].concat();
                let answer = client.ok("DescribeAvailableResource", &asked);
                let zones = answer["AvailableZones"]["AvailableZone"].as_array().unwrap().clone();
                let values = |zone: &Value| {
                    let supported = &zone["AvailableResources"]["AvailableResource"][0]["SupportedResources"]
                        ["SupportedResource"];
                    let supported = supported.as_array().unwrap().iter();
                    supported.map(|one| one["Value"].as_str().unwrap().to_owned()).collect()
                };
                zones.iter().map(|zone| (zone["ZoneId"].clone(), values(zone))).collect()
            };
            let has = |values: &[String], name: &str| values.iter().any(|value| value == name);
            let zonal = offered(&[("ZoneId", "cn-wharf-1b")]);
            assert_eq!(zonal.len(), 1);
            assert_eq!(zonal[0].0, "cn-wharf-1b");
            assert!(has(&zonal[0].1, "cloud") && !has(&zonal[0].1, "cloud_regional_disk_auto"));
            let regional = offered(&[("Scope", "region"), ("InstanceType", "ecs.g7.large")]);
            assert_eq!(regional, [(Value::Null, vec!["cloud_regional_disk_auto".to_owned()])]);
            for (instance_type, older) in [("ecs.g7.large", false), ("ecs.g6.large", true)] {
                let zonal = offered(&[("InstanceType", instance_type)]);
                assert_eq!(zonal.len(), 2, "one entry a zone");
                assert!(has(&zonal[0].1, "cloud_essd") && has(&zonal[0].1, "cloud_auto"));
                assert_eq!(has(&zonal[0].1, "cloud_efficiency"), older, "{instance_type}");
            }
        },
    );
}

#[test]
fn an_ephemeral_disk_lives_with_its_first_instance() {
    with(
        |_| {},
        |region, client| {
            let disk = made(client, "elastic_ephemeral_disk_standard", &[]);
            let said = |instance: usize, with: &'static str| {
                let call = on(self::instance(region, instance), &disk);
                [&call[..], &[("DeleteWithInstance", with)]].concat()
            };
            let unsaid = (400, "InvalidParameter".to_owned());
            assert_eq!(client.error("AttachDisk", &on(instance(region, 0), &disk)), unsaid);
            assert_eq!(client.error("AttachDisk", &said(0, "false")), unsaid);
            client.ok("AttachDisk", &said(0, "true"));
            assert_eq!(client.error("DetachDisk", &on(instance(region, 0), &disk)), unsaid);
            client.ok("DetachDisk", &said(0, "true"));
            assert_eq!(
                client.error("AttachDisk", &said(1, "true")),
                (403, "DiskNotPortable".into())
            );
            client.ok("AttachDisk", &said(0, "true"));
        },
    );
}

#[test]
fn force_takes_a_regional_disk_from_another_zone_alone() {
    for (zone, refused) in [("cn-wharf-1a", true), ("cn-wharf-1b", false)] {
        with(
            |options| options.instance_zones = vec!["cn-wharf-1a".into(), zone.into()],
            |region, client| {
                let disk = made(client, "cloud_regional_disk_auto", &[("ZoneId", "")]);
                client.ok("AttachDisk", &on(instance(region, 0), &disk));
                let second = on(instance(region, 1), &disk);
                assert_eq!(client.error("AttachDisk", &second).1, "IncorrectDiskStatus");
                let forced = [&second[..], &[("Force", "true")]].concat();
                if refused {
                    assert_eq!(client.error("AttachDisk", &forced).1, "IncorrectDiskStatus");
                } else {
                    client.ok("AttachDisk", &forced);
                    assert_eq!(client.disk(&disk)["InstanceId"], instance(region, 1));
                }
            },
        );
    }
}

#[test]
fn a_policy_says_which_actions_may_be_called() {
    let policies = |text: &str| serde_json::from_str::<Policies>(text).unwrap();
    let only_reading = policies(
        r#"{
            "users": { "Version": "1", "Statement": [
                { "Effect": "Allow", "Action": ["ecs:Describe*", "sts:AssumeRole"], "Resource": "*" }
            ] },
            "roles": { "nobody": { "Version": "1", "Statement": [] } }
        }"#,
    );
    with(
        |options| options.policies = only_reading,
        |region, admin| {
            let ecs = &region.description().endpoints.ecs;
            let keys = &region.description().instances[0].keys;
            let user = Client::with(ecs, "2014-05-26", keys);
            let disk = admin.new_disk("20");
            user.ok("DescribeDisks", &[]);
            let denied = (403, "Forbidden.RAM".to_owned());
            assert_eq!(user.error("DeleteDisk", &[("DiskId", &disk)]), denied);
            assert_eq!(user.error("DeleteDisk", &[("DiskId", "d-none")]), denied, "rights first");
            let sts = Client::with(&region.description().endpoints.sts, "2015-04-01", keys);
            let asked = ["nobody", "somebody"].map(|role| {
                let arn = format!("acs:ram::{}:role/{role}", region.description().account);
                let asked = [("RoleArn", arn.as_str()), ("RoleSessionName", "wharf")];
                let keys = sts.ok("AssumeRole", &asked)["Credentials"].clone();
                let field = |name: &str| keys[name].as_str().unwrap().to_owned();
                Client {
                    id: field("AccessKeyId"),
                    secret: field("AccessKeySecret"),
                    token: Some(field("SecurityToken")),
                    ..Client::ecs(region)
                }
            });
            assert_eq!(asked[0].error("DescribeDisks", &[]), denied);
            asked[1].ok("DescribeDisks", &[]);
            region.set_policies(policies(r#"{ "users": { "Version": "1", "Statement": [] } }"#));
            assert_eq!(user.error("DescribeDisks", &[]), denied);
            sts.ok("GetCallerIdentity", &[]);
            assert_eq!(sts.error("AssumeRole", &[]), (403, "NoPermission".into()));
        },
    );
}

#[test]
fn disks_can_have_their_snapshots_taken_together() {
    with(
        |options| options.delays.snapshot = 60_000,
        |region, client| {
            let disks = [client.new_disk("20"), client.new_disk("20"), client.new_disk("20")];
            for disk in &disks {
                client.ok("AttachDisk", &on(instance(region, 0), disk));
            }
            let refused = |asked: Pairs<'_>| client.error("CreateSnapshotGroup", asked).1;
            let slow = made(client, "cloud_efficiency", &[]);
            assert_eq!(refused(&[("DiskId.1", &slow)]), "InvalidDiskCategory.NotSupported");
            let foreign = [("InstanceId", instance(region, 1)), ("DiskId.1", &disks[0])];
            assert_eq!(refused(&foreign), "DependencyViolation");
            assert_eq!(refused(&[]), "MissingParameter");
            assert_eq!(refused(&[("DiskId.1", "d-none")]), "InvalidDiskId.NotFound");
            let asked = [
                ("InstanceId", instance(region, 0)),
                ("ExcludeDiskId.1", &disks[1]),
                ("Name", "together"),
                ("Tag.1.Key", "k"),
                ("Tag.1.Value", "v"),
                ("ClientToken", "group"),
            ];
            let id = client.ok("CreateSnapshotGroup", &asked)["SnapshotGroupId"].clone();
            assert_eq!(client.ok("CreateSnapshotGroup", &asked)["SnapshotGroupId"], id);
            let id = id.as_str().unwrap();
            let group = || {
                let asked = [("SnapshotGroupId.1", id), ("Tag.1.Key", "k")];
                client.ok("DescribeSnapshotGroups", &asked)["SnapshotGroups"]["SnapshotGroup"][0]
                    .clone()
            };
            assert_eq!(
                (&group()["Name"], &group()["Status"]),
                (&json!("together"), &json!("progressing"))
            );
            assert_eq!(group()["Tags"]["Tag"], json!([{ "Key": "k", "Value": "v" }]));
            let mut of: Vec<String> = group()["Snapshots"]["Snapshot"]
                .as_array()
                .unwrap()
                .iter()
                .map(|one| one["SourceDiskId"].as_str().unwrap().to_owned())
                .collect();
            of.sort();
            let mut expected = vec![disks[0].clone(), disks[2].clone()];
            expected.sort();
            assert_eq!(of, expected);
            region.advance(Duration::from_secs(60));
            assert_eq!(group()["Status"], "accomplished");
            client.ok("DeleteSnapshotGroup", &[("SnapshotGroupId", id)]);
            assert_eq!(client.ok("DescribeSnapshots", &[])["TotalCount"], 0);
            let gone = client.error("DeleteSnapshotGroup", &[("SnapshotGroupId", id)]);
            assert_eq!(gone, (404, "InvalidSnapshotId.NotFound".into()));
        },
    );
}

#[test]
fn tags_are_listed_with_what_carries_them() {
    with(
        |_| {},
        |_, client| {
            let tagged = [("Tag.1.Key", "k"), ("Tag.1.Value", "v")];
            let disk = made(client, "cloud_essd", &tagged);
            made(client, "cloud_essd", &tagged);
            client.ok("CreateSnapshot", &[&tagged[..], &[("DiskId", &disk)]].concat());
            made(client, "cloud_essd", &[("Tag.1.Key", "other")]);
            let listed = |asked: Pairs<'_>| client.ok("DescribeTags", asked)["Tags"]["Tag"].clone();
            assert_eq!(
                listed(&[("Tag.1.Key", "k")]),
                json!([{ "TagKey": "k", "TagValue": "v", "ResourceTypeCount": { "Disk": 2, "Snapshot": 1 } }])
            );
            let of_disks = listed(&[("ResourceType", "disk")]);
            assert_eq!(of_disks.as_array().unwrap().len(), 2);
            assert_eq!(listed(&[("ResourceId", &disk)])[0]["ResourceTypeCount"]["Disk"], 1);
        },
    );
}

#[test]
fn a_disk_can_be_made_for_an_instance() {
    with(
        |options| options.instance_zones = vec!["cn-wharf-1b".into()],
        |region, client| {
            let for_instance = [("ZoneId", ""), ("InstanceId", instance(region, 0))];
            let more = [("ClientToken", "t"), ("Tag.1.Key", "k"), ("KMSKeyId", "")];
            let asked = [&for_instance[..], &more].concat();
            let disk = client.disk(&made(client, "cloud_essd", &asked));
            assert_eq!(
                (&disk["ZoneId"], &disk["Status"], &disk["InstanceId"]),
                (&json!("cn-wharf-1b"), &json!("In_use"), &json!(instance(region, 0)))
            );
            assert_eq!(disk["Tags"]["Tag"], json!([]), "tags are ignored");
            let again = made(client, "cloud_essd", &asked);
            assert_ne!(disk["DiskId"], again.as_str(), "and so is the token");
            let both = [
                ("ZoneId", "cn-wharf-1a"),
                ("InstanceId", instance(region, 0)),
                ("DiskCategory", "cloud_essd"),
                ("Size", "20"),
            ];
            assert_eq!(
                client.error("CreateDisk", &both),
                (400, "InvalidParameter.Conflict".into())
            );
            let nowhere = [("InstanceId", "i-none"), ("Size", "20")];
            assert_eq!(client.error("CreateDisk", &nowhere).1, "InvalidInstanceId.NotFound");
        },
    );
}

#[test]
fn what_is_not_set_is_left_out_of_an_answer() {
    with(
        |_| {},
        |_, client| {
            let disk = client.new_disk("20");
            let id = snapshot_of(client, &disk);
            let fields = |shown: Value| shown.as_object().unwrap().clone();
            for shown in [fields(client.disk(&disk)), fields(snapshot(client, &id))] {
                assert!(shown.values().all(|value| !value.is_null()), "{shown:?}");
            }
            let fast = made(client, "cloud_auto", &[("ProvisionedIops", "100")]);
            assert_eq!(client.disk(&fast)["ProvisionedIops"], 100);
        },
    );
}

#[test]
fn a_metadata_token_that_is_not_one_is_asked_for_anew() {
    with(
        |_| {},
        |region, _| {
            let base = &region.description().endpoints.metadata;
            let ask = |headers: Pairs<'_>| {
                http(base, "GET", "/latest/meta-data/region-id", headers, "").unwrap().0
            };
            assert_eq!(ask(&[]), 403, "a token is needed");
            assert_eq!(ask(&[("X-aliyun-ecs-metadata-token", "made up")]), 401);
        },
    );
}

#[test]
fn a_region_takes_as_many_disks_as_its_quota_says() {
    with(
        |_| {},
        |region, client| {
            region.set_quotas(Quotas { disks: 3_000, ..Quotas::default() });
            let asked = [
                ("ZoneId", "cn-wharf-1a"),
                ("Size", "20"),
                ("DiskCategory", "cloud_essd"),
                ("DiskName", "pvc-"),
            ];
            let made = region.make_disks(3_000, &asked).unwrap();
            assert_eq!(made.len(), 3_000);
            assert_eq!(client.disk(&made[2_999])["DiskName"], "pvc-2999");
            let (mut token, mut seen) = (String::new(), 0);
            loop {
                let page = [("MaxResults", "500"), ("NextToken", &token), ("DiskType", "data")];
                let page = client.ok("DescribeDisks", &page);
                seen += page["Disks"]["Disk"].as_array().unwrap().len();
                token = page["NextToken"].as_str().unwrap().to_owned();
                if token.is_empty() {
                    break;
                }
            }
            assert_eq!(seen, 3_000);
            let error = region.make_disks(1, &asked).unwrap_err().to_string();
            assert!(error.contains("QuotaExceed.PostPaidDisk"), "{error}");
        },
    );
}
