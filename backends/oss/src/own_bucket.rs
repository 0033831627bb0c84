//! A volume that is a bucket of its own (`volumeAs: bucket`).
//!
//! The bucket is called by the class's `bucketPrefix` and the volume's name, so a call that is
//! repeated after a lost answer finds what the first one made. A name that no bucket can have (too
//! long, capital letters) is replaced by its hash. The bucket carries a tag with its own name;
//! without it nothing is taken for this volume's, unless it is empty. It is deleted only with that
//! tag, and only while it is empty: the cloud itself refuses to delete any other.

use wharf_alicloud::fnv128a;
use wharf_sdk::Error;

use crate::bucket_api::{Bucket, No};
use crate::names;

/// Begins the id of such a volume; behind it is the bucket's name.
const ID: &str = "bucket:";
/// The tag's key.
const TAG: &str = "wharf-volume";

/// What the volume of this name is called as a bucket.
///
/// # Errors
/// `invalid-argument`: no bucket can be called so.
pub fn name(prefix: &str, volume: &str) -> Result<String, Error> {
    const KEY: &str = "bucketPrefix";
    names::bucket(KEY, &format!("{prefix}{volume}"))
        .or_else(|_| names::bucket(KEY, &format!("{prefix}{:032x}", fnv128a(volume))))
}

/// The id of the volume in this bucket.
pub fn id(bucket: &str) -> String {
    format!("{ID}{bucket}")
}

/// The bucket of a volume, if it has one of its own.
pub fn of_id(volume_id: &str) -> Option<&str> {
    volume_id.strip_prefix(ID).filter(|name| names::bucket("volume id", name).is_ok())
}

/// The volume of this id has a bucket of its own, and that is there.
///
/// # Errors
/// `not-found`: it has none, or that is gone. The cloud's.
pub fn find(volume_id: &str) -> Result<(), Error> {
    let missing = |why: &str| {
        Err(Error::not_found(format!("there is no volume {}: {why}", names::shown(volume_id)))
            .as_observed())
    };
    let Some(name) = of_id(volume_id) else {
        return missing("the call brings no attributes, and the id names no bucket");
    };
    match Bucket::named(name)?.tag(TAG)? {
        Ok(tag) if tag.as_deref() == Some(name) => Ok(()),
        Ok(_) => missing("the bucket is not this volume's"),
        Err(_) => missing("its bucket is gone"),
    }
}

/// Makes the bucket, or finds it.
///
/// # Errors
/// `already-exists`: the name is another's, or another volume's. The cloud's.
pub fn create(name: &str) -> Result<(), Error> {
    let bucket = Bucket::named(name)?;
    match bucket.tag(TAG)? {
        Ok(tag) if tag.as_deref() == Some(name) => return Ok(()),
        Ok(Some(_)) => return Err(taken(name).as_observed()),
        // Its maker was interrupted, or a person made it; in an empty one nobody loses anything.
        Ok(None) => match bucket.is_empty()? {
            Ok(true) => {}
            Ok(false) => return Err(taken(name).as_observed()),
            Err(_) => return Err(vanished(name)),
        },
        Err(_) => match bucket.put()? {
            // Taken: this account's own since a moment ago, or somebody else's. The tag tells.
            Ok(()) | Err(No::Taken) => {}
            Err(_) => return Err(vanished(name)),
        },
    }
    match bucket.put_tag(TAG, name)? {
        Ok(()) => Ok(()),
        Err(_) => Err(vanished(name)),
    }
}

/// Deletes the bucket; one that is gone is done.
///
/// # Errors
/// `failed-precondition`: it is not empty, or not this volume's. The cloud's.
pub fn delete(name: &str) -> Result<(), Error> {
    let bucket = Bucket::named(name)?;
    match bucket.tag(TAG)? {
        Err(_) => return Ok(()),
        Ok(tag) if tag.as_deref() == Some(name) => {}
        Ok(_) => {
            let text = format!("bucket {name} has no tag `{TAG}` that names this volume");
            return Err(Error::precondition(text)
                .with_hint("delete it by hand if nobody needs it")
                .as_observed());
        }
    }
    match bucket.delete()? {
        Ok(()) | Err(No::NoBucket) => Ok(()),
        Err(_) => Err(Error::precondition(format!("bucket {name} is not empty"))
            .with_hint("delete its objects, or set the reclaim policy to Retain")),
    }
}

fn taken(name: &str) -> Error {
    Error::already_exists(format!("there is a bucket {name} that is not this volume's"))
        .with_hint("set another `bucketPrefix` in the StorageClass")
}

/// Between two requests; the host calls again.
fn vanished(name: &str) -> Error {
    Error::aborted(format!("bucket {name} changes while it is looked at"))
}

#[cfg(test)]
mod tests;
