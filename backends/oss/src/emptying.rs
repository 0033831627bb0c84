//! Deleting all objects below a prefix, some thousands with each call: the host calls again until
//! nothing is left, and whoever is interrupted begins with what is there then.
//!
//! Nothing is remembered but the key that was deleted last, so no object is deleted that a listing
//! of this prefix did not just show.

use wharf_sdk::types::Pending;
use wharf_sdk::{Error, Progress};

use crate::bucket_api::{Bucket, BucketError};
use crate::names::shown;

/// Pages of keys in one call, each a listing and a deletion: their answers, of at most 3.4 MB, have
/// to fit into what the host lets a call receive, 16 MiB.
const ROUNDS: usize = 4;
/// Uploads given up in one call, each with a request of its own: with those of the rounds and of
/// the caller below the host's 64.
const UPLOADS: usize = 48;

/// Deletes what begins with `prefix`, but for the object that is called so itself. `None`: nothing
/// is left.
///
/// # Errors
/// `failed-precondition` naming an object that is there again after it was deleted. The cloud's.
pub fn go_on(
    bucket: &Bucket,
    prefix: &str,
    progress: &Progress,
) -> Result<Result<Option<Pending>, BucketError>, Error> {
    let mut last = progress.resume.clone();
    for _ in 0..ROUNDS {
        let mut keys = match bucket.keys(prefix)? {
            Ok(keys) => keys,
            Err(no) => return Ok(Err(no)),
        };
        keys.retain(|key| key != prefix);
        let Some(first) = keys.first() else { return give_up_uploads(bucket, prefix) };
        if last.as_ref() == Some(first) {
            return Err(stays(first));
        }
        last = Some(first.clone());
        if let Err(no) = bucket.delete_objects(&keys)? {
            return Ok(Err(no));
        }
    }
    let more = Pending::after_ms(0, "objects are being deleted");
    Ok(Ok(Some(last.into_iter().fold(more, Pending::with_resume))))
}

/// They hold no objects and cost as if they did, and a bucket that has any is not empty.
fn give_up_uploads(
    bucket: &Bucket,
    prefix: &str,
) -> Result<Result<Option<Pending>, BucketError>, Error> {
    let uploads = match bucket.uploads(prefix, UPLOADS)? {
        Ok(uploads) => uploads,
        Err(no) => return Ok(Err(no)),
    };
    let more = || Pending::after_ms(0, "unfinished uploads are being given up");
    let is_last = uploads.len() < UPLOADS;
    Ok(bucket.abort(&uploads)?.map(|()| (!is_last).then(more)))
}

fn stays(key: &str) -> Error {
    Error::precondition(format!("object `{}` is there again after it was deleted", shown(key)))
        .with_hint("end whatever writes there, or the retention policy that keeps it")
}
