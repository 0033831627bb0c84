//! The rules of the node verbs that no happy path meets: mounts whose disk is gone, state that
//! cannot be read or written, paths of others.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "what a test's own helpers meet fails the test"
)]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use wharf_core::node::NodeService;
use wharf_core::plan::{
    BlockDevice, DeviceMatch, DirectoryBase, DirectoryPath, FindDevice, HelperCredential,
    MountDevice, MountFuse, MountNfs, MountPlace, MountStaged, Readiness, SetOwnership, Step,
};
use wharf_core::policy::{HelperGrant, NfsPolicy, NodePolicy};
use wharf_core::ports::{Call, Node, RemovePath};
use wharf_core::types::{AccessMode, AccessType, Caller, Capability, VolumeId};
use wharf_core::verbs::{NodeExpandRequest, PublishRequest, StageRequest};
use wharf_core::{Blame, Error, ErrorKind, Secret};
use wharf_testing::fakes::{FakeBackend, FakeClock, FakeNode, generous_policy};

const DRIVER: &str = "fake.csi.example";
const STAGING: &str = "/kubelet/staging";
const TARGET: &str = "/kubelet/pod-1";

struct Rig {
    node: Arc<FakeNode>,
    backend: Arc<FakeBackend>,
    service: NodeService,
}

impl Rig {
    fn new() -> Self {
        Self::with(generous_policy())
    }

    fn with(policy: NodePolicy) -> Self {
        let node = Arc::new(FakeNode::default());
        let backend = Arc::new(FakeBackend::new(DRIVER));
        let service = NodeService::new(
            DRIVER,
            backend.clone(),
            node.clone(),
            Arc::new(FakeClock::default()),
            policy,
        );
        Self { node, backend, service }
    }

    fn stage(&self, volume: &str, capability: Capability, at: &str) -> Result<(), Error> {
        let request = StageRequest {
            volume: VolumeId::new(volume),
            capability,
            context: vec![],
            publish_context: vec![],
            caller: Caller::default(),
        };
        self.service.stage(&call(), &request, Path::new(at))
    }

    fn publish(
        &self,
        volume: &str,
        capability: Capability,
        read_only: bool,
        target: &str,
    ) -> Result<(), Error> {
        let request = publish_request(volume, capability, Caller::default());
        let request = PublishRequest { read_only, ..request };
        self.service.publish(&call(), &request, Path::new(target), Some(Path::new(STAGING)))
    }

    fn unpublish(&self, volume: &str, target: &str) -> Result<(), Error> {
        self.service.unpublish(&call(), &VolumeId::new(volume), Path::new(target))
    }

    fn unstage(&self, volume: &str, at: &str) -> Result<(), Error> {
        self.service.unstage(&call(), &VolumeId::new(volume), Path::new(at))
    }

    fn expand(&self, volume: &str, at: &str) -> Result<u64, Error> {
        let request = NodeExpandRequest {
            volume: VolumeId::new(volume),
            capability: None,
            required_bytes: 1 << 31,
            context: vec![],
            publish_context: vec![],
            caller: Caller::default(),
        };
        self.service.expand(&call(), &request, Path::new(at))
    }

    fn runs(&self) -> usize {
        self.node.calls().iter().filter(|verb| **verb == "run").count()
    }

    /// Staged, and published for one pod.
    fn in_use() -> Self {
        let rig = Self::new();
        rig.stage("v", mount(), STAGING).unwrap();
        rig.publish("v", mount(), false, TARGET).unwrap();
        rig
    }
}

fn publish_request(volume: &str, capability: Capability, caller: Caller) -> PublishRequest {
    PublishRequest {
        volume: VolumeId::new(volume),
        capability,
        read_only: false,
        context: vec![],
        publish_context: vec![],
        caller,
    }
}

fn call() -> Call {
    Call::until(Duration::MAX)
}

fn mount() -> Capability {
    Capability {
        access: AccessType::Mount { fs_type: "ext4".into(), flags: vec![], group: None },
        mode: AccessMode::SingleNodeWriter,
    }
}

fn refused(result: Result<(), Error>, kind: ErrorKind, words: &str) {
    let error = result.unwrap_err();
    assert_eq!(error.kind, kind, "{error}");
    assert!(error.to_string().contains(words), "{error}");
}

#[test]
fn a_mount_whose_disk_was_taken_away_is_not_what_staging_finds() {
    let rig = Rig::new();
    rig.stage("v", mount(), STAGING).unwrap();
    rig.stage("v", mount(), STAGING).unwrap();
    assert_eq!(rig.runs(), 1);
    rig.node.lose_devices();
    rig.stage("v", mount(), STAGING).unwrap();
    assert_eq!(rig.runs(), 2);
    assert!(!rig.node.mounted(Path::new(STAGING)).unwrap().unwrap().is_dead);
}

#[test]
fn a_dead_mount_that_a_pod_still_shows_is_left_until_the_pod_is_gone() {
    let rig = Rig::in_use();
    rig.node.lose_devices();
    refused(rig.stage("v", mount(), STAGING), ErrorKind::FailedPrecondition, TARGET);
    rig.unpublish("v", TARGET).unwrap();
    rig.stage("v", mount(), STAGING).unwrap();
    rig.publish("v", mount(), false, TARGET).unwrap();
}

#[test]
fn a_read_only_target_that_is_found_writable_is_made_read_only() {
    let rig = Rig::new();
    rig.stage("v", mount(), STAGING).unwrap();
    rig.publish("v", mount(), true, TARGET).unwrap();
    rig.node.lose_read_only(Path::new(TARGET));
    rig.publish("v", mount(), true, TARGET).unwrap();
    assert_eq!(rig.node.is_read_only(Path::new(TARGET)), Some(true));
}

#[test]
fn what_is_mounted_is_taken_away_without_any_state() {
    let rig = Rig::in_use();
    rig.node.lose_state();
    refused(rig.unstage("v", STAGING), ErrorKind::FailedPrecondition, TARGET);
    rig.unpublish("v", TARGET).unwrap();
    rig.unstage("v", STAGING).unwrap();
    assert!(rig.node.mounts().is_empty());
    let rig = Rig::in_use();
    rig.node.lose_state();
    rig.service.unpublish_path(&call(), Path::new(TARGET)).unwrap();
    rig.service.unstage_path(&call(), Path::new(STAGING)).unwrap();
    assert!(rig.node.mounts().is_empty());
}

#[test]
fn nothing_is_staged_where_no_state_can_be_kept() {
    let rig = Rig::new();
    rig.node.lose_state();
    assert!(rig.stage("v", mount(), STAGING).is_err());
    assert!(rig.node.mounts().is_empty());
}

#[test]
fn a_path_of_another_volume_is_neither_unmounted_nor_published_from() {
    let rig = Rig::in_use();
    refused(rig.unpublish("w", TARGET), ErrorKind::FailedPrecondition, "belongs to volume v");
    refused(rig.unstage("w", STAGING), ErrorKind::FailedPrecondition, "belongs to volume v");
    refused(
        rig.publish("w", mount(), false, "/kubelet/pod-2"),
        ErrorKind::FailedPrecondition,
        "belongs to volume v",
    );
    assert_eq!(rig.node.mounts().len(), 2);
}

#[test]
fn a_volume_that_is_staged_as_a_file_system_is_not_published_as_a_device() {
    let rig = Rig::new();
    rig.stage("v", mount(), STAGING).unwrap();
    let raw = Capability { access: AccessType::Block, ..mount() };
    refused(
        rig.publish("v", raw.clone(), false, TARGET),
        ErrorKind::FailedPrecondition,
        "not staged",
    );
    rig.unstage("v", STAGING).unwrap();
    rig.stage("v", raw.clone(), STAGING).unwrap();
    rig.publish("v", raw, false, TARGET).unwrap();
}

#[test]
fn staging_to_write_what_is_staged_to_read_is_another_use() {
    let rig = Rig::new();
    rig.stage("v", Capability { mode: AccessMode::MultiNodeReaderOnly, ..mount() }, STAGING)
        .unwrap();
    rig.stage("v", Capability { mode: AccessMode::SingleNodeReaderOnly, ..mount() }, STAGING)
        .unwrap();
    refused(rig.stage("v", mount(), STAGING), ErrorKind::AlreadyExists, "incompatible");
}

fn find(serial: &str) -> Step {
    FindDevice { matches: vec![DeviceMatch::Serial(serial.into())], minimum_bytes: 0 }.into()
}

fn mount_device() -> Step {
    MountDevice { fs_type: "ext4".into(), flags: vec![], read_only: false }.into()
}

fn raw() -> Capability {
    Capability { access: AccessType::Block, ..mount() }
}

#[test]
fn a_plan_that_cannot_do_what_was_asked_is_refused_before_its_first_step() {
    let block = || Step::from(BlockDevice { read_only: false });
    for (capability, steps) in [
        (mount(), vec![]),
        (mount(), vec![find("v")]),
        (mount(), vec![find("v"), block()]),
        (mount(), vec![mount_device()]),
        (mount(), vec![find("v"), mount_device(), mount_device()]),
        (raw(), vec![]),
        (raw(), vec![find("v"), mount_device()]),
    ] {
        let rig = Rig::new();
        rig.backend.plan_instead("plan-stage", steps.clone());
        refused(rig.stage("v", capability, STAGING), ErrorKind::Internal, "does not do");
        assert_eq!((rig.runs(), rig.node.all_records()), (0, vec![]), "{steps:?}");
    }
    for (capability, steps) in [
        (mount(), vec![]),
        (mount(), vec![find("v"), block()]),
        (raw(), vec![]),
        (raw(), vec![MountStaged { flags: vec![], read_only: false }.into()]),
    ] {
        let rig = Rig::new();
        rig.stage("v", capability.clone(), STAGING).unwrap();
        rig.backend.plan_instead("plan-publish", steps.clone());
        let published = rig.publish("v", capability, false, TARGET);
        refused(published, ErrorKind::Internal, "does not do");
        assert_eq!(rig.runs(), 1, "{steps:?}");
    }
    let rig = Rig::in_use();
    rig.backend.plan_instead("plan-expand", vec![find("v"), mount_device()]);
    refused(rig.expand("v", STAGING).map(drop), ErrorKind::Internal, "does not ask for");
}

#[test]
fn only_reading_is_what_the_host_makes_of_it_whatever_the_backend_plans() {
    for capability in [
        Capability { mode: AccessMode::MultiNodeReaderOnly, ..mount() },
        Capability { mode: AccessMode::SingleNodeReaderOnly, ..mount() },
        with_flags(&["ro"]),
        with_flags(&["ro,noatime"]),
        with_flags(&[" ro"]),
    ] {
        let rig = Rig::new();
        rig.stage("v", capability.clone(), STAGING).unwrap();
        assert_eq!(rig.node.is_read_only(Path::new(STAGING)), Some(true), "{capability:?}");
        assert!(!rig.node.calls().contains(&"format"), "{capability:?}");
        rig.publish("v", capability, false, TARGET).unwrap();
        assert_eq!(rig.node.is_read_only(Path::new(TARGET)), Some(true));
    }
    let rig = Rig::new();
    rig.stage("v", mount(), STAGING).unwrap();
    rig.backend
        .plan_instead("plan-publish", vec![MountStaged { flags: vec![], read_only: false }.into()]);
    rig.publish("v", mount(), true, TARGET).unwrap();
    assert_eq!(rig.node.is_read_only(Path::new(TARGET)), Some(true));
}

fn with_flags(flags: &[&str]) -> Capability {
    let flags = flags.iter().map(|flag| (*flag).to_owned()).collect();
    Capability {
        access: AccessType::Mount { fs_type: "ext4".into(), flags, group: None },
        ..mount()
    }
}

#[test]
fn what_a_plan_did_is_held_against_what_was_asked() {
    let rig = Rig::new();
    rig.node.make_idle("mount-device");
    refused(rig.stage("v", mount(), STAGING), ErrorKind::Internal, "nothing is mounted");
    assert_eq!(rig.node.all_records(), []);
    let rig = Rig::new();
    rig.stage("v", mount(), STAGING).unwrap();
    rig.node.make_idle("mount-staged");
    refused(rig.publish("v", mount(), false, TARGET), ErrorKind::Internal, "nothing is mounted");
    assert!(rig.node.all_records()[0].targets.is_empty());
    let rig = Rig::new();
    rig.node.make_idle("find-device");
    assert!(rig.stage("v", raw(), STAGING).is_err());
}

#[test]
fn the_mount_table_says_which_disk_is_mounted() {
    for other in [Some("w"), None] {
        let rig = Rig::in_use();
        rig.node.mount_over(Path::new(STAGING), other);
        let kind = ErrorKind::FailedPrecondition;
        refused(rig.stage("v", mount(), STAGING), kind, "shows");
        refused(rig.publish("v", mount(), false, "/kubelet/pod-2"), kind, "shows");
        refused(rig.expand("v", STAGING).map(drop), kind, "shows");
        rig.node.mount_over(Path::new(TARGET), other);
        refused(rig.publish("v", mount(), false, TARGET), kind, "shows");
    }
    // Staged by an earlier driver, and so without a record.
    let rig = Rig::new();
    rig.node.mount_over(Path::new(STAGING), Some("w"));
    let published = rig.publish("v", mount(), false, TARGET);
    refused(published, ErrorKind::FailedPrecondition, "serial w");
    rig.publish("w", mount(), false, TARGET).unwrap();
}

/// A volume that is an export, published without being staged; more steps follow its mount.
fn share(more: Vec<Step>) -> Rig {
    let nfs = NfsPolicy { servers: vec!["nas.example".into()], ..NfsPolicy::default() };
    let rig = Rig::with(NodePolicy { nfs, ..generous_policy() });
    let step = MountNfs {
        server: "nas.example".into(),
        path: "/share".into(),
        options: vec![],
        read_only: false,
        place: MountPlace::Target,
        make_path: None,
    };
    let steps = std::iter::once(step.into()).chain(more);
    rig.backend.plan_instead("plan-publish", steps.collect());
    rig
}

#[test]
fn the_mount_table_says_which_export_is_mounted() {
    let (rig, target) = (share(vec![]), Path::new(TARGET));
    let publish = || {
        let request = publish_request("v", mount(), Caller::default());
        rig.service.publish(&call(), &request, target, None)
    };
    publish().unwrap();
    publish().unwrap();
    assert_eq!(rig.runs(), 1, "it is published already");
    let is_refused = || refused(publish(), ErrorKind::FailedPrecondition, "/kubelet/pod-1 shows");
    rig.node.mount_export_over(target, "nas.example:/other");
    is_refused();
    rig.node.mount_over(target, Some("w"));
    is_refused();
    rig.node.mount_earlier(target, false);
    is_refused();
    // What an earlier version wrote down says nothing of the export.
    let mut record = rig.node.all_records().remove(0);
    record.targets[0].plan = None;
    rig.node.save(&record).unwrap();
    publish().unwrap();
    assert_eq!(rig.runs(), 1);
}

#[test]
fn a_publish_that_was_killed_after_its_mount_is_not_what_publishing_finds() {
    let at = DirectoryPath { base: DirectoryBase::Target, path: String::new() };
    let mode = SetOwnership { at, mode: Some(0o770), uid: None, gid: None, recursive: false };
    let (rig, target) = (share(vec![mode.into()]), Path::new(TARGET));
    let publish = || {
        let request = publish_request("v", mount(), Caller::default());
        rig.service.publish(&call(), &request, target, None)
    };
    let is_complete = || rig.node.record_of_path(target).unwrap().unwrap().targets[0].complete;
    publish().unwrap();
    assert!(is_complete());
    publish().unwrap();
    assert_eq!(rig.runs(), 1);
    // As one that was killed left it, and as it stays when the next one cannot do all of it.
    let mut record = rig.node.record_of_path(target).unwrap().unwrap();
    record.targets[0].complete = false;
    rig.node.save(&record).unwrap();
    rig.node.fail("set-ownership", Error::denied("the server does not let root"));
    refused(publish(), ErrorKind::PermissionDenied, "does not let root");
    assert!(rig.node.is_mounted(target).unwrap());
    publish().unwrap();
    assert_eq!((rig.runs(), is_complete()), (3, true));
    publish().unwrap();
    assert_eq!(rig.runs(), 3);
}

#[test]
fn the_mount_table_says_which_helpers_mount_it_is() {
    let kind = ErrorKind::FailedPrecondition;
    type Over = fn(&FakeNode, &Path);
    let others: [Over; 3] = [
        |node, path| node.mount_earlier(path, false),
        |node, path| node.mount_export_over(path, "nas.example:/share"),
        |node, path| node.mount_over(path, Some("w")),
    ];
    for mount_other in others {
        let rig = served_with_keys();
        rig.stage("v", mount(), STAGING).unwrap();
        publish_with_secret(&rig, TARGET).unwrap();
        mount_other(&rig.node, Path::new(TARGET));
        refused(publish_with_secret(&rig, TARGET), kind, "/kubelet/pod-1 shows");
        mount_other(&rig.node, Path::new(STAGING));
        refused(rig.stage("v", mount(), STAGING), kind, "/kubelet/staging shows");
        refused(publish_with_secret(&rig, "/kubelet/pod-2"), kind, "/kubelet/staging shows");
    }
    // The next helper's mount has another number and is the same volume.
    let rig = served_with_keys();
    rig.stage("v", mount(), STAGING).unwrap();
    publish_with_secret(&rig, TARGET).unwrap();
    rig.node.heal(Path::new(STAGING));
    rig.stage("v", mount(), STAGING).unwrap();
    publish_with_secret(&rig, TARGET).unwrap();
    publish_with_secret(&rig, "/kubelet/pod-2").unwrap();
}

#[test]
fn a_plan_that_looks_for_another_disk_than_the_staged_one_is_refused() {
    let rig = Rig::new();
    rig.stage("v", raw(), STAGING).unwrap();
    rig.backend
        .plan_instead("plan-publish", vec![find("w"), BlockDevice { read_only: false }.into()]);
    let published = rig.publish("v", raw(), false, TARGET);
    refused(published, ErrorKind::FailedPrecondition, "another disk");
    assert_eq!(rig.runs(), 1);
}

#[test]
fn what_was_staged_is_what_grows_whatever_serial_the_backend_would_look_for() {
    let rig = Rig::new();
    rig.backend.plan_instead("plan-stage", vec![find("not-the-id"), mount_device()]);
    rig.stage("v", mount(), STAGING).unwrap();
    rig.expand("v", STAGING).unwrap();
    assert_eq!(rig.node.all_records()[0].serial.as_deref(), Some("not-the-id"));
}

#[test]
fn nothing_grows_where_nothing_is_mounted() {
    let rig = Rig::new();
    rig.stage("v", mount(), STAGING).unwrap();
    rig.node.lose_mount(Path::new(STAGING));
    let grown = rig.expand("v", STAGING).map(drop);
    refused(grown, ErrorKind::FailedPrecondition, "nothing is mounted");
}

#[test]
fn a_target_is_never_where_the_volume_is_staged() {
    let rig = Rig::new();
    rig.stage("v", mount(), STAGING).unwrap();
    for at in [STAGING, "/kubelet//staging/"] {
        assert!(rig.publish("v", mount(), false, at).is_err(), "{at}");
        refused(rig.unpublish("v", at), ErrorKind::FailedPrecondition, "staged");
    }
    let path = rig.service.unpublish_path(&call(), Path::new(STAGING));
    refused(path, ErrorKind::FailedPrecondition, "staged");
    assert_eq!(rig.node.mounts(), [Path::new(STAGING)]);
    assert!(rig.publish("w", mount(), false, STAGING).is_err());
}

#[test]
fn a_path_that_is_none_never_reaches_a_record() {
    let rig = Rig::new();
    for path in ["relative/path", "", "/kubelet/../etc"] {
        refused(rig.stage("v", mount(), path), ErrorKind::InvalidArgument, "absolute");
        refused(rig.publish("v", mount(), false, path), ErrorKind::InvalidArgument, "absolute");
    }
    assert_eq!(rig.node.all_records(), []);
}

/// As an earlier build wrote it.
#[test]
fn a_path_that_is_none_in_a_record_keeps_no_volume_from_being_used_or_unstaged() {
    let one_writer = || Capability { mode: AccessMode::SingleNodeSingleWriter, ..mount() };
    let rig = Rig::new();
    rig.stage("v", one_writer(), STAGING).unwrap();
    rig.publish("v", one_writer(), false, TARGET).unwrap();
    let mut relative = rig.node.all_records().remove(0);
    rig.unpublish("v", TARGET).unwrap();
    relative.targets[0].target_path = "relative/target".into();
    rig.node.save(&relative).unwrap();
    rig.publish("v", one_writer(), false, TARGET).unwrap();
    rig.unpublish("v", TARGET).unwrap();
    rig.unstage("v", STAGING).unwrap();
    // The same of where it was staged.
    relative.staging_path = "relative/staging".into();
    rig.node.save(&relative).unwrap();
    rig.stage("v", one_writer(), STAGING).unwrap();
    rig.unstage("v", STAGING).unwrap();
    assert_eq!((rig.node.mounts(), rig.node.all_records()), (vec![], vec![]));
}

#[test]
fn the_cause_of_a_failure_is_told_although_the_record_cannot_be_written() {
    let rig = Rig::new();
    rig.node.fail("run", Error::unavailable("the real cause"));
    rig.node.fail("forget", Error::internal("the disk is full"));
    refused(rig.stage("v", mount(), STAGING), ErrorKind::Unavailable, "the real cause");
    let rig = Rig::new();
    rig.stage("v", mount(), STAGING).unwrap();
    rig.node.fail("unmount", Error::unavailable("the real cause"));
    rig.node.fail("save", Error::internal("the disk is full"));
    refused(rig.unstage("v", STAGING), ErrorKind::Unavailable, "the real cause");
}

/// A volume that a helper serves with the keys of the call.
fn served_with_keys() -> Rig {
    let grant = HelperGrant { accounts: vec!["keys".into()], ..HelperGrant::default() };
    let helpers = [("helper".to_owned(), grant)].into();
    let rig = Rig::with(NodePolicy { helpers, ..generous_policy() });
    let credential =
        HelperCredential { account: "keys".into(), form: "passwd".into(), values: vec![] };
    let step = MountFuse {
        helper: "helper".into(),
        source: "bucket".into(),
        arguments: vec![],
        credential: Some(credential),
        ready: Readiness::Answers,
        read_only: false,
    };
    rig.backend.plan_instead("plan-stage", vec![step.into()]);
    rig
}

fn no_credential() -> Error {
    Error::new(ErrorKind::Unauthenticated, Blame::User, "no credential")
}

fn publish_with_secret(rig: &Rig, target: &str) -> Result<(), Error> {
    let secrets = vec![("key".to_owned(), Secret::new("c4n4ry"))];
    let request = publish_request("v", mount(), Caller { secrets, ..Caller::default() });
    rig.service.publish(&call(), &request, Path::new(target), Some(Path::new(STAGING)))
}

#[test]
fn keys_are_renewed_by_a_repeated_publish_and_stay_where_it_brings_none() {
    let rig = served_with_keys();
    rig.node.fail("run", no_credential());
    rig.stage("v", mount(), STAGING).unwrap();
    publish_with_secret(&rig, TARGET).unwrap();
    let runs = rig.runs();
    publish_with_secret(&rig, TARGET).unwrap();
    assert_eq!(rig.runs(), runs + 1, "the plan that mounts with keys");
    rig.node.fail("run", Error::unavailable("the helper does not take them"));
    refused(publish_with_secret(&rig, TARGET), ErrorKind::Unavailable, "new keys for the mount");
    rig.node.fail("run", no_credential());
    rig.publish("v", mount(), false, TARGET).unwrap();
    assert_eq!(rig.node.mounts().len(), 2);
    // Without keys nothing is run again.
    let plain = Rig::in_use();
    let runs = plain.runs();
    plain.publish("v", mount(), false, TARGET).unwrap();
    assert_eq!(plain.runs(), runs);
}

#[test]
fn keys_of_an_account_are_renewed_without_a_call_of_kubelet_s_and_without_the_backend() {
    let rig = served_with_keys();
    let renew = |path: &str| rig.service.renew(&call(), Path::new(path));
    assert!(!renew(STAGING).unwrap(), "nothing is staged");
    rig.stage("v", mount(), STAGING).unwrap();
    rig.publish("v", mount(), false, TARGET).unwrap();
    let (runs, asked) = (rig.runs(), rig.backend.calls().len());
    assert!(renew(STAGING).unwrap());
    assert_eq!((rig.runs(), rig.backend.calls().len()), (runs + 1, asked));
    assert!(!renew(TARGET).unwrap(), "a bind of it has no keys of its own");
    // Keys that a call brought stay, and that is no failure.
    rig.node.fail("run", no_credential());
    assert!(renew(STAGING).unwrap());
    rig.node.fail("run", Error::unavailable("the helper does not take them"));
    refused(renew(STAGING).map(drop), ErrorKind::Unavailable, "new keys for the mount");
    // What somebody took away is not mounted again.
    rig.node.unmount(&call(), Path::new(STAGING), RemovePath::No).unwrap();
    let runs = rig.runs();
    assert!(!renew(STAGING).unwrap());
    assert_eq!(rig.runs(), runs);
}

#[test]
fn a_volume_whose_secret_comes_with_publishing_alone_is_staged_by_the_first_publish() {
    let rig = served_with_keys();
    for _ in 0..2 {
        rig.node.fail("run", no_credential());
        rig.stage("v", mount(), STAGING).unwrap();
    }
    assert!(rig.node.mounts().is_empty());
    // A wrong secret is an error of the pod's, which comes again.
    rig.node.fail("run", Error::precondition("wrong key"));
    refused(publish_with_secret(&rig, TARGET), ErrorKind::FailedPrecondition, "wrong key");
    publish_with_secret(&rig, TARGET).unwrap();
    publish_with_secret(&rig, "/kubelet/pod-2").unwrap();
    assert_eq!(rig.node.mounts().len(), 3);
    // Staged by now, so nobody runs a plan for it, whatever the call brings.
    let runs = rig.runs();
    rig.stage("v", mount(), STAGING).unwrap();
    assert_eq!(rig.runs(), runs);
    for target in [TARGET, "/kubelet/pod-2"] {
        rig.unpublish("v", target).unwrap();
    }
    rig.unstage("v", STAGING).unwrap();
    assert!(rig.node.mounts().is_empty() && rig.node.all_records().is_empty());
}

#[test]
fn a_volume_that_no_pod_published_is_unstaged_although_nothing_was_mounted() {
    let rig = served_with_keys();
    rig.node.fail("run", no_credential());
    rig.stage("v", mount(), STAGING).unwrap();
    rig.unstage("v", STAGING).unwrap();
    assert!(rig.node.all_records().is_empty());
}

#[test]
fn without_a_secret_anywhere_the_pod_hears_that_there_is_no_credential() {
    let rig = served_with_keys();
    rig.node.fail("run", no_credential());
    rig.stage("v", mount(), STAGING).unwrap();
    for _ in 0..2 {
        rig.node.fail("run", no_credential());
        let published = rig.publish("v", mount(), false, TARGET);
        refused(published, ErrorKind::Unauthenticated, "no credential");
    }
}

#[test]
fn only_a_missing_key_puts_staging_off() {
    let rig = served_with_keys();
    rig.node.fail("run", Error::unavailable("no helper"));
    refused(rig.stage("v", mount(), STAGING), ErrorKind::Unavailable, "no helper");
    let rig = Rig::new();
    rig.node.fail("run", no_credential());
    refused(rig.stage("v", mount(), STAGING), ErrorKind::Unauthenticated, "no credential");
    assert!(rig.node.all_records().is_empty());
}

#[test]
fn a_pod_beside_those_of_an_earlier_driver_gets_a_mount_that_its_publish_stages() {
    let rig = served_with_keys();
    // The earlier driver staged nothing, and kubelet does not stage again.
    publish_with_secret(&rig, TARGET).unwrap();
    publish_with_secret(&rig, "/kubelet/pod-2").unwrap();
    assert_eq!(rig.node.mounts().len(), 3);
    let runs = rig.runs();
    rig.stage("v", mount(), STAGING).unwrap();
    assert_eq!(rig.runs(), runs, "kubelet was started again, and finds it staged");
    // Also where the mount went behind everybody's back.
    rig.node.lose_mount(Path::new(STAGING));
    publish_with_secret(&rig, "/kubelet/pod-3").unwrap();
    for target in [TARGET, "/kubelet/pod-2", "/kubelet/pod-3"] {
        rig.unpublish("v", target).unwrap();
    }
    rig.unstage("v", STAGING).unwrap();
    assert!(rig.node.mounts().is_empty() && rig.node.all_records().is_empty());
}

#[test]
fn a_secret_that_is_named_for_staging_alone_is_told_where_publishing_has_to_stage() {
    let rig = served_with_keys();
    rig.node.fail("run", no_credential());
    let published = rig.publish("v", mount(), false, TARGET);
    refused(published, ErrorKind::Unauthenticated, "nodePublishSecretRef");
    rig.unstage("v", STAGING).unwrap();
    assert!(rig.node.all_records().is_empty());
}

#[test]
fn publishing_stages_no_disk() {
    let rig = Rig::new();
    let published = rig.publish("v", mount(), false, TARGET);
    refused(published, ErrorKind::FailedPrecondition, "not staged");
    assert!(rig.node.mounts().is_empty() && rig.node.all_records().is_empty());
}

#[test]
fn what_an_earlier_driver_shows_a_pod_is_left_as_it_is_while_it_answers() {
    let rig = served_with_keys();
    rig.node.mount_earlier(Path::new(TARGET), false);
    publish_with_secret(&rig, TARGET).unwrap();
    assert_eq!(rig.node.mounts(), [Path::new(TARGET)], "nothing is staged for it");
    // Kubelet was started again: it stages and publishes what it finds in use.
    rig.stage("v", mount(), STAGING).unwrap();
    publish_with_secret(&rig, TARGET).unwrap();
    assert!(rig.node.all_records().iter().all(|record| record.targets.is_empty()));
    let for_reading = rig.publish("v", mount(), true, TARGET);
    refused(for_reading, ErrorKind::AlreadyExists, "mounted /kubelet/pod-1 writable");
    rig.node.fall_silent("its helper is gone");
    refused(publish_with_secret(&rig, TARGET), ErrorKind::Unavailable, "delete the pod");
    rig.unpublish("v", TARGET).unwrap();
    rig.unstage("v", STAGING).unwrap();
    assert!(rig.node.mounts().is_empty() && rig.node.all_records().is_empty());
}
