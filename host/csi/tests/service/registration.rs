//! When kubelet can find the driver, and when it cannot any more. What is said over the socket is
//! tested with the real binary and kubelet's own bytes.

use std::os::unix::net::UnixStream;

use wharf_csi::RegistrationState;

use crate::rig::*;

#[tokio::test(flavor = "multi_thread")]
async fn kubelet_is_told_of_the_end_before_the_calls_in_flight_have_finished() {
    let mut rig = Rig::start_registered().await;
    let mut controller = rig.controller().await;
    let hold = rig.backend.hold("create");
    let waiting = tokio::spawn(async move { controller.create_volume(create("a")).await });
    until_held(&hold, 1).await;
    let registration = rig.registration.clone();
    while registration.state() != RegistrationState::Waiting {
        tokio::task::yield_now().await;
    }
    UnixStream::connect(registration.socket()).unwrap();
    rig.begin_shutdown();
    while registration.socket().exists() {
        tokio::task::yield_now().await;
    }
    assert!(!waiting.is_finished());
    hold.release();
    waiting.await.unwrap().unwrap();
    rig.wait_for_end().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_driver_whose_csi_socket_cannot_be_had_is_not_offered_to_kubelet() {
    let first = Rig::start().await;
    let (second, registration) = first.rival();
    assert!(second.await.unwrap().is_err());
    assert!(matches!(registration.state(), RegistrationState::NotServed(_)));
    assert!(!registration.socket().exists());
}
