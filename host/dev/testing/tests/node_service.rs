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
use wharf_core::ports::{Call, Node};
use wharf_core::types::{
    AccessMode, AccessType, Capability, PublishRequest, StageRequest, VolumeId,
};
use wharf_core::{Error, ErrorKind};
use wharf_testing::fakes::{FakeBackend, FakeClock, FakeNode, generous_policy};

const DRIVER: &str = "fake.csi.example";
const STAGING: &str = "/kubelet/staging";
const TARGET: &str = "/kubelet/pod-1";

struct Rig {
    node: Arc<FakeNode>,
    service: NodeService,
}

impl Rig {
    fn new() -> Self {
        let node = Arc::new(FakeNode::default());
        let service = NodeService::new(
            DRIVER,
            Arc::new(FakeBackend::new(DRIVER)),
            node.clone(),
            Arc::new(FakeClock::default()),
            generous_policy(),
        );
        Self { node, service }
    }

    fn stage(&self, volume: &str, capability: Capability, at: &str) -> Result<(), Error> {
        let request = StageRequest {
            volume: VolumeId::new(volume),
            capability,
            context: vec![],
            publish_context: vec![],
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
        let request = PublishRequest {
            volume: VolumeId::new(volume),
            capability,
            read_only,
            context: vec![],
            publish_context: vec![],
        };
        self.service.publish(&call(), &request, Path::new(target), Some(Path::new(STAGING)))
    }

    fn unpublish(&self, volume: &str, target: &str) -> Result<(), Error> {
        self.service.unpublish(&call(), &VolumeId::new(volume), Path::new(target))
    }

    fn unstage(&self, volume: &str, at: &str) -> Result<(), Error> {
        self.service.unstage(&call(), &VolumeId::new(volume), Path::new(at))
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

fn call() -> Call {
    Call::until(Duration::MAX)
}

fn mount() -> Capability {
    Capability {
        access: AccessType::Mount { fs_type: "ext4".into(), flags: vec![] },
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
