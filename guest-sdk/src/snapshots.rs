//! Snapshots of one volume, and of several at one point in time. Same rules as
//! [`controller`](crate::controller).

pub use crate::bindings::snapshots::exports::wharf::volume::snapshots::{
    CreateGroupRequest, CreateSnapshotRequest, DeleteGroupRequest, DeleteSnapshotRequest,
    GetGroupRequest, Group, ListSnapshotsRequest, ListedSnapshots, Snapshot,
};
use crate::controller::unsupported;
use crate::error::Error;
use crate::types::{Answer, Progress};

/// Snapshots. What a backend leaves out answers `unsupported`.
pub trait Snapshots {
    /// Cuts the snapshot of this name, or finds it; `already-exists` when it is of another volume.
    /// Done as soon as it is cut.
    fn create_snapshot(
        _request: CreateSnapshotRequest,
        _progress: Progress,
    ) -> Result<Answer<Snapshot>, Error> {
        Err(unsupported("take snapshots"))
    }

    /// Deletes the snapshot; a missing one is done, one in use is `failed-precondition`.
    fn delete_snapshot(
        _request: DeleteSnapshotRequest,
        _progress: Progress,
    ) -> Result<Answer<()>, Error> {
        Err(unsupported("delete snapshots"))
    }

    /// One page; an unknown id gives an empty one, a foreign token is `aborted`. Read-only.
    fn list_snapshots(_request: ListSnapshotsRequest) -> Result<ListedSnapshots, Error> {
        Err(unsupported("list snapshots"))
    }

    /// Cuts all snapshots of the group at one point in time, or finds them. All or none.
    fn create_group(
        _request: CreateGroupRequest,
        _progress: Progress,
    ) -> Result<Answer<Group>, Error> {
        Err(unsupported("take group snapshots"))
    }

    /// Deletes the group and these snapshots of it; what is missing is done.
    fn delete_group(
        _request: DeleteGroupRequest,
        _progress: Progress,
    ) -> Result<Answer<()>, Error> {
        Err(unsupported("delete group snapshots"))
    }

    /// Looks at a group; `not-found` when there is none. Read-only.
    fn get_group(_request: GetGroupRequest) -> Result<Group, Error> {
        Err(unsupported("look at group snapshots"))
    }
}
