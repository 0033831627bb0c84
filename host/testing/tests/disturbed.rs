//! Invariant 7: killing the host at any instruction and repeating the call ends in the same state as never having been killed. And the
//! same for an answer or a request that the cloud loses, and for a backend that is replaced.
//!
//! A *life* is every verb of a volume, once. In the n-th life every verb is disturbed at its n-th position and then repeated by Kubernetes'
//! rules; after each verb the state of everything is compared with that of an undisturbed life. Lives go on until no verb has an n-th
//! position. So every position of every verb is visited, and none is sampled. Positions are requests to the cloud, and system calls that
//! change the machine, of the host and of its helpers.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "the helpers of tests fail as tests do")]

mod disturbed {
    pub mod csi;
    pub mod flex;
    pub mod kind;
    pub mod life;
}

use disturbed::csi::CsiLife;
use disturbed::flex::{FlexGrowth, FlexLife};
use disturbed::kind::Kind;
use disturbed::life::live_through;

#[test]
fn csi_is_repeated_after_the_cloud_lost_something() {
    live_through::<CsiLife>("csi_is_repeated_after_the_cloud_lost_something", &[Kind::AnswerLost, Kind::RequestLost]);
}

#[test]
fn csi_is_repeated_after_the_host_died_during_a_request() {
    live_through::<CsiLife>("csi_is_repeated_after_the_host_died_during_a_request", &[Kind::KilledBeforeRequest, Kind::KilledAfterRequest]);
}

#[test]
fn csi_is_repeated_after_the_host_died_with_its_helpers_at_a_system_call() {
    live_through::<CsiLife>("csi_is_repeated_after_the_host_died_with_its_helpers_at_a_system_call", &[Kind::Killed]);
}

#[test]
fn csi_is_repeated_while_an_orphaned_helper_goes_on() {
    live_through::<CsiLife>("csi_is_repeated_while_an_orphaned_helper_goes_on", &[Kind::Orphaned]);
}

#[test]
fn csi_goes_on_when_the_backend_is_replaced_anywhere() {
    live_through::<CsiLife>("csi_goes_on_when_the_backend_is_replaced_anywhere", &[Kind::SwappedAtRequest, Kind::SwappedAtCall]);
}

#[test]
fn flexvolume_is_repeated_after_the_cloud_lost_something() {
    live_through::<FlexLife>("flexvolume_is_repeated_after_the_cloud_lost_something", &[Kind::AnswerLost, Kind::RequestLost]);
}

#[test]
fn flexvolume_is_repeated_after_the_host_died_during_a_request() {
    live_through::<FlexLife>("flexvolume_is_repeated_after_the_host_died_during_a_request", &[Kind::KilledBeforeRequest, Kind::KilledAfterRequest]);
}

#[test]
fn flexvolume_is_repeated_after_the_host_died_with_its_helpers_at_a_system_call() {
    live_through::<FlexLife>("flexvolume_is_repeated_after_the_host_died_with_its_helpers_at_a_system_call", &[Kind::Killed]);
}

#[test]
fn flexvolume_is_repeated_while_an_orphaned_helper_goes_on() {
    live_through::<FlexLife>("flexvolume_is_repeated_while_an_orphaned_helper_goes_on", &[Kind::Orphaned]);
}

#[test]
fn flexvolume_goes_on_when_the_backend_is_replaced_anywhere() {
    live_through::<FlexLife>("flexvolume_goes_on_when_the_backend_is_replaced_anywhere", &[Kind::SwappedAtRequest, Kind::SwappedAtCall]);
}

#[test]
fn growth_over_flexvolume_is_repeated_after_any_disturbance() {
    let kinds = [
        Kind::AnswerLost,
        Kind::RequestLost,
        Kind::KilledBeforeRequest,
        Kind::KilledAfterRequest,
        Kind::Killed,
        Kind::Orphaned,
        Kind::SwappedAtRequest,
        Kind::SwappedAtCall,
    ];
    live_through::<FlexGrowth>("growth_over_flexvolume_is_repeated_after_any_disturbance", &kinds);
}
