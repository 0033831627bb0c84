//! Nothing that a caller entrusts to the driver is in a log, at the backend, or in a record.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use tracing_subscriber::fmt::MakeWriter;
use wharf_core::Error;
use wharf_csi::proto;
use wharf_csi::proto::volume_capability::{AccessType, MountVolume};

use crate::rig::*;

/// Everything that any crate logs, at the finest level.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

const SECRET: &str = "s3cr3t-in-secrets";
const TOKEN: &str = "t0k3n-of-a-service-account";
const FLAG: &str = "password=in-mount-flags";
const CONTEXT: &str = "value-in-a-context";

fn secrets() -> std::collections::BTreeMap<String, String> {
    map(&[("accessKeySecret", SECRET)])
}

fn context() -> std::collections::BTreeMap<String, String> {
    map(&[
        ("kind", CONTEXT),
        ("csi.storage.k8s.io/serviceAccount.tokens", TOKEN),
        ("csi.storage.k8s.io/pod.name", "web-0"),
        ("csi.storage.k8s.io/pod.namespace", "shop"),
    ])
}

fn flagged() -> proto::VolumeCapability {
    let mount = MountVolume { mount_flags: vec![FLAG.into()], ..Default::default() };
    proto::VolumeCapability { access_type: Some(AccessType::Mount(mount)), ..writer() }
}

async fn every_call(rig: &Rig) {
    let (mut controller, mut node) = (rig.controller().await, rig.node().await);
    let made = proto::CreateVolumeRequest {
        secrets: secrets(),
        volume_capabilities: vec![flagged()],
        ..create("pvc-logged")
    };
    let id = controller.create_volume(made).await.unwrap().into_inner().volume.unwrap().volume_id;
    let attached = proto::ControllerPublishVolumeRequest {
        secrets: secrets(),
        volume_context: context(),
        volume_capability: Some(flagged()),
        ..attach(&id, "node-1")
    };
    controller.controller_publish_volume(attached).await.unwrap();
    let staged = proto::NodeStageVolumeRequest {
        secrets: secrets(),
        volume_context: context(),
        volume_capability: Some(flagged()),
        ..stage(&id)
    };
    node.node_stage_volume(staged).await.unwrap();
    let published = proto::NodePublishVolumeRequest {
        secrets: secrets(),
        volume_context: context(),
        volume_capability: Some(flagged()),
        ..publish(&id, "p")
    };
    node.node_publish_volume(published).await.unwrap();
    controller
        .controller_expand_volume(proto::ControllerExpandVolumeRequest {
            secrets: secrets(),
            ..expand(&id, 2)
        })
        .await
        .unwrap();
    node.node_expand_volume(proto::NodeExpandVolumeRequest {
        secrets: secrets(),
        ..grow(&id, "p", 2)
    })
    .await
    .unwrap();
    // Refused ones as well: a secret where an id should be, and too much of it.
    let lost = proto::DeleteVolumeRequest { secrets: secrets(), ..delete("vol-0") };
    rig.backend.fail("delete", Error::invalid(format!("the signer says {SECRET}")));
    controller.delete_volume(lost.clone()).await.unwrap_err();
    controller.delete_volume(lost).await.unwrap();
    // The reason names what was wrong, and here that is in the request.
    let unknown = proto::CreateVolumeRequest {
        secrets: secrets(),
        parameters: map(&[("unknown", CONTEXT)]),
        ..create("pvc-unknown")
    };
    rig.backend.fail("create", Error::invalid(format!("`{CONTEXT}` is no kind: {SECRET}")));
    controller.create_volume(unknown).await.unwrap_err();
    let broken = proto::CreateVolumeRequest {
        secrets: secrets(),
        parameters: map(&[(CONTEXT, &SECRET.repeat(50_000))]),
        ..create("pvc-refused")
    };
    controller.create_volume(broken).await.unwrap_err();
}

#[tokio::test(flavor = "multi_thread")]
async fn no_log_line_holds_a_secret_a_token_a_mount_flag_or_a_context() {
    let log = Log::default();
    tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
        .with_ansi(false)
        .with_writer(log.clone())
        .init();
    let rig = Rig::start().await;
    every_call(&rig).await;
    let text = String::from_utf8_lossy(&log.0.lock().unwrap()).into_owned();
    for line in [
        "NodeStageVolume",
        "pvc-logged",
        "pvc-refused",
        "InvalidArgument",
        "elapsed_ms",
        "parameters has",
        "`(value not shown)` is no kind: (value not shown)",
        "shop/web-0",
    ] {
        assert!(text.contains(line), "{line} should be in the log");
    }
    for hidden in [SECRET, TOKEN, FLAG, CONTEXT] {
        assert!(!text.contains(hidden), "{hidden} is in the log");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn neither_the_backend_nor_a_record_sees_secrets_or_tokens() {
    let rig = Rig::start().await;
    every_call(&rig).await;
    let seen = format!("{:?} {:?}", rig.backend.seen(), rig.node.all_records());
    assert!(seen.contains(CONTEXT), "the volume's own context is passed on");
    for hidden in [SECRET, TOKEN, "csi.storage.k8s.io"] {
        assert!(!seen.contains(hidden), "{hidden} was passed on");
    }
}
