//! The end of a process: calls in flight finish, or are told to.

use std::os::unix::net::UnixStream;
use std::time::Duration;

use tonic::Code;

use crate::rig::*;

#[tokio::test(flavor = "multi_thread")]
async fn calls_in_flight_finish_before_the_server_ends() {
    let mut rig = Rig::start().await;
    let mut controller = rig.controller().await;
    let hold = rig.backend.hold("create");
    let waiting = tokio::spawn(async move { controller.create_volume(create("a")).await });
    until_held(&hold, 1).await;
    rig.begin_shutdown();
    while UnixStream::connect(&rig.socket).is_ok() {
        tokio::task::yield_now().await;
    }
    hold.release();
    waiting.await.unwrap().unwrap();
    let (socket, backend) = (rig.socket.clone(), rig.backend.clone());
    rig.wait_for_end().await.unwrap();
    assert!(!socket.exists());
    assert_eq!(backend.volumes().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_do_not_finish_in_time_are_cancelled_and_not_reported_as_final() {
    let mut rig = Rig::start_with_drain(Duration::from_millis(20)).await;
    let mut controller = rig.controller().await;
    let hold = rig.backend.hold("create");
    let waiting = tokio::spawn(async move { controller.create_volume(create("a")).await });
    until_held(&hold, 1).await;
    rig.begin_shutdown();
    until_cancelled(&hold, 1).await;
    assert_eq!(waiting.await.unwrap().unwrap_err().code(), Code::DeadlineExceeded);
    let socket = rig.socket.clone();
    rig.wait_for_end().await.unwrap();
    assert!(!socket.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_client_does_not_hold_the_server_up() {
    let mut rig = Rig::start().await;
    let mut controller = rig.controller().await;
    controller.create_volume(create("a")).await.unwrap();
    rig.begin_shutdown();
    rig.wait_for_end().await.unwrap();
    drop(controller);
}
