//! `snapshots`.

use super::controller::{answer, outcome};
use super::{Component, on_entry, progress};
use crate::bindings::backend::wharf::volume::plans::Outcome;
use crate::bindings::snapshots::exports::wharf::volume::snapshots as contract;
use crate::error::Error;
use crate::snapshots::{
    CreateGroupRequest, CreateSnapshotRequest, DeleteGroupRequest, DeleteSnapshotRequest,
    GetGroupRequest, Group, ListSnapshotsRequest, ListedSnapshots, Snapshots,
};
use crate::types::{Answer, Observation};

impl<B: Snapshots> contract::Guest for Component<B> {
    fn create_snapshot(
        request: CreateSnapshotRequest,
        observed: Vec<Observation>,
        resume: Option<String>,
    ) -> Result<contract::CreateSnapshotAnswer, Error> {
        let created = B::create_snapshot(request, progress(observed, resume));
        answer!(created, contract::CreateSnapshotAnswer)
    }

    fn delete_snapshot(
        request: DeleteSnapshotRequest,
        observed: Vec<Observation>,
        resume: Option<String>,
    ) -> Result<Outcome, Error> {
        B::delete_snapshot(request, progress(observed, resume)).map(outcome)
    }

    fn list_snapshots(request: ListSnapshotsRequest) -> Result<ListedSnapshots, Error> {
        on_entry();
        B::list_snapshots(request)
    }

    fn create_group(
        request: CreateGroupRequest,
        observed: Vec<Observation>,
        resume: Option<String>,
    ) -> Result<contract::CreateGroupAnswer, Error> {
        let created = B::create_group(request, progress(observed, resume));
        answer!(created, contract::CreateGroupAnswer)
    }

    fn delete_group(
        request: DeleteGroupRequest,
        observed: Vec<Observation>,
        resume: Option<String>,
    ) -> Result<Outcome, Error> {
        B::delete_group(request, progress(observed, resume)).map(outcome)
    }

    fn get_group(request: GetGroupRequest) -> Result<Group, Error> {
        on_entry();
        B::get_group(request)
    }
}
