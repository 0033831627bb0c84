//! A volume that is a bucket of its own (`volumeAs: bucket`).
//!
//! The bucket is called by the class's `bucketPrefix` and the volume's name, so a call that is
//! repeated after a lost answer finds what the first one made. A name that no bucket can have (too
//! long, capital letters) is replaced by its hash. The bucket carries a tag with its own name;
//! without it nothing is taken for this volume's, unless it is empty. It is deleted only with that
//! tag, and only while it is empty: the cloud itself refuses to delete any other. Where the class
//! says `deleteObjects: true`, a second tag does, and its objects are deleted first.

use wharf_alicloud::fnv128a;
use wharf_sdk::types::Parameters;
use wharf_sdk::{Answer, Error, Pairs as _, Progress};

use crate::bucket_api::{Bucket, BucketError};
use crate::{emptying, names};

/// Begins the id of such a volume; behind it is the bucket's name.
const ID: &str = "bucket:";
/// The tag's key.
const TAG: &str = "wharf-volume";
/// The key of the tag that lets its objects be deleted with it, and its value.
const DELETE_OBJECTS: (&str, &str) = ("wharf-delete-objects", "true");

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

/// Whether it is there.
///
/// # Errors
/// The cloud's.
pub fn is_there(name: &str) -> Result<bool, Error> {
    Ok(Bucket::named(name)?.tags()?.is_ok_and(|tags| tags.value(TAG) == Some(name)))
}

/// Makes the bucket, or finds it.
///
/// # Errors
/// `already-exists`: the name is another's, or another volume's, or the bucket was made by a class
/// with another `deleteObjects`. The cloud's.
pub fn create(name: &str, delete_objects: bool) -> Result<(), Error> {
    let bucket = Bucket::named(name)?;
    match bucket.tags()? {
        Ok(tags) if tags.value(TAG) == Some(name) => {
            return match lets_objects_be_deleted(&tags) == delete_objects {
                true => Ok(()),
                false => Err(Error::already_exists(format!(
                    "bucket {name} was made for this volume with another `deleteObjects`"
                ))
                .as_observed()),
            };
        }
        Ok(tags) if tags.value(TAG).is_some() => return Err(taken(name).as_observed()),
        // Its maker was interrupted, or a person made it; in an empty one nobody loses anything.
        Ok(_) => match bucket.is_empty()? {
            Ok(true) => {}
            Ok(false) => return Err(taken(name).as_observed()),
            Err(_) => return Err(vanished(name)),
        },
        Err(_) => match bucket.put()? {
            // Taken: this account's own since a moment ago, or somebody else's. The tag says which.
            Ok(()) | Err(BucketError::Taken) => {}
            Err(_) => return Err(vanished(name)),
        },
    }
    let tags = [(TAG, name), DELETE_OBJECTS];
    match bucket.put_tags(if delete_objects { &tags } else { &tags[..1] })? {
        Ok(()) => Ok(()),
        Err(_) => Err(vanished(name)),
    }
}

fn lets_objects_be_deleted(tags: &Parameters) -> bool {
    let (key, value) = DELETE_OBJECTS;
    tags.value(key) == Some(value)
}

/// Deletes the bucket, and before it its objects where its tag lets them be; one that is gone is
/// done.
///
/// # Errors
/// `failed-precondition`: it is not empty, or not this volume's. The cloud's.
pub fn delete(name: &str, progress: &Progress) -> Result<Answer<()>, Error> {
    let bucket = Bucket::named(name)?;
    let delete_objects = match bucket.tags()? {
        Err(_) => return Ok(Answer::Done(())),
        Ok(tags) if tags.value(TAG) == Some(name) => lets_objects_be_deleted(&tags),
        Ok(_) => {
            let text = format!("bucket {name} has no tag `{TAG}` that names this volume");
            return Err(Error::precondition(text)
                .with_hint("delete it by hand if nobody needs it")
                .as_observed());
        }
    };
    if delete_objects {
        match emptying::go_on(&bucket, "", progress)
            .map_err(|error| error.context(format!("bucket {name}")))?
        {
            Ok(Some(pending)) => return Ok(pending.into()),
            Ok(None) => {}
            Err(_) => return Ok(Answer::Done(())),
        }
    }
    let hint = match delete_objects {
        true => "delete what no listing shows by hand: old versions of objects, live channels",
        false => {
            "delete its objects, or set the reclaim policy to Retain; a class with \
             `deleteObjects: true` has them deleted"
        }
    };
    match bucket.delete()? {
        Ok(()) | Err(BucketError::NoBucket) => Ok(Answer::Done(())),
        Err(_) => Err(Error::precondition(format!("bucket {name} is not empty")).with_hint(hint)),
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
