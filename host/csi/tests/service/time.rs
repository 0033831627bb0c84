//! Deadlines, cancellation, and two calls at once.

use std::time::Duration;

use tonic::{Code, Request};
use wharf_core::ports::Clock;
use wharf_csi::proto;

use crate::rig::*;

fn within<T>(message: T, timeout: &str) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("grpc-timeout", timeout.parse().unwrap());
    request
}

#[tokio::test(flavor = "multi_thread")]
async fn the_backend_works_against_the_caller_s_deadline_less_a_margin() {
    let rig = Rig::start().await;
    let mut controller = rig.controller().await;
    rig.clock.advance(Duration::from_secs(1000));
    controller.create_volume(within(create("a"), "15S")).await.unwrap();
    assert_eq!(rig.backend.deadline_of_last("create"), Some(Duration::from_millis(1_014_500)));
    controller.create_volume(create("a")).await.unwrap();
    assert_eq!(rig.backend.deadline_of_last("create"), Some(Duration::from_millis(1_119_500)));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operation_that_does_not_end_in_time_is_answered_in_time_and_goes_on_with_the_next_call()
{
    let rig = Rig::start().await;
    let mut controller = rig.controller().await;
    let id = rig.volume("vol-1");
    rig.backend.take_rounds(3);
    let status = controller
        .controller_publish_volume(within(attach(&id, "node-1"), "2S"))
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert!(rig.clock.now() < Duration::from_secs(2));
    controller.controller_publish_volume(within(attach(&id, "node-1"), "20S")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn work_that_is_stuck_is_answered_for_and_cancelled() {
    let rig = Rig::start().await;
    let mut controller = rig.controller().await;
    let hold = rig.backend.hold("create");
    let status = controller.create_volume(within(create("a"), "400m")).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert!(status.message().contains("still running"), "{}", status.message());
    until_cancelled(&hold, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_hangs_up_cancels_its_call() {
    let rig = Rig::start().await;
    let mut controller = rig.controller().await;
    let hold = rig.backend.hold("create");
    let waiting = tokio::spawn(async move { controller.create_volume(create("a")).await });
    until_held(&hold, 1).await;
    waiting.abort();
    until_cancelled(&hold, 1).await;
    assert!(rig.backend.volumes().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_call_for_a_volume_is_aborted_while_the_first_runs() {
    let rig = Rig::start().await;
    let (mut controller, mut second) = (rig.controller().await, rig.controller().await);
    rig.volume("vol-1");
    let hold = rig.backend.hold("attach");
    let first = tokio::spawn(async move {
        controller.controller_publish_volume(attach("vol-1", "node-1")).await
    });
    until_held(&hold, 1).await;
    assert_eq!(
        second.controller_publish_volume(attach("vol-1", "node-1")).await.unwrap_err().code(),
        Code::Aborted
    );
    assert_eq!(second.delete_volume(delete("vol-1")).await.unwrap_err().code(), Code::Aborted);
    assert!(second.create_volume(create("another")).await.is_ok());
    hold.release();
    first.await.unwrap().unwrap();
    second.controller_publish_volume(attach("vol-1", "node-1")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_call_for_a_volume_on_the_node_is_aborted_while_the_first_runs() {
    let rig = Rig::start().await;
    let (mut node, mut second) = (rig.node().await, rig.node().await);
    rig.volume("vol-1");
    let hold = rig.node.hold("run");
    let first = tokio::spawn(async move { node.node_stage_volume(stage("vol-1")).await });
    until_held(&hold, 1).await;
    assert_eq!(
        second.node_unstage_volume(unstage("vol-1")).await.unwrap_err().code(),
        Code::Aborted
    );
    hold.release();
    first.await.unwrap().unwrap();
    assert!(is_mounted(&rig, &staging("vol-1")));
}

#[tokio::test(flavor = "multi_thread")]
async fn three_hundred_volumes_are_created_at_once_on_one_connection() {
    let rig = Rig::start().await;
    let controller = rig.controller().await;
    let calls: Vec<_> = (0..300)
        .map(|number| {
            let mut controller = controller.clone();
            tokio::spawn(
                async move { controller.create_volume(create(&format!("pvc-{number}"))).await },
            )
        })
        .collect();
    for call in calls {
        call.await.unwrap().unwrap();
    }
    assert_eq!(rig.backend.volumes().len(), 300);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_driver_is_probed_while_its_controller_waits() {
    let rig = Rig::start().await;
    let mut controller = rig.controller().await;
    let hold = rig.backend.hold("create");
    let waiting = tokio::spawn(async move { controller.create_volume(create("a")).await });
    until_held(&hold, 1).await;
    rig.identity().await.probe(proto::ProbeRequest {}).await.unwrap();
    hold.release();
    waiting.await.unwrap().unwrap();
}
