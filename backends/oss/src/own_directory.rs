//! A volume that is a directory of its own which is deleted with it (`volumeAs: subpath` and
//! `deleteObjects: true`).
//!
//! The object that stands for the directory, `path/name/`, is made with a header of its own that
//! names the volume: so a call that is repeated after a lost answer finds what the first one made,
//! and nothing is deleted below a directory that does not say whose it is. It is deleted last, so
//! what an interrupted deletion leaves still says so.
//!
//! The volume's id holds bucket and path, because a call that deletes brings nothing else.

use wharf_alicloud::percent::encode;
use wharf_sdk::{Answer, Error, Progress};

use crate::bucket_api::{Bucket, BucketError};
use crate::{emptying, names};

/// Begins the id of such a volume; behind it are bucket and path.
const ID: &str = "directory:";
/// CSI's bound on a volume id, in bytes.
const ID_BYTES: usize = 128;
/// The header, behind `x-oss-meta-`: the id of the directory's volume, percent-encoded.
const MARK: &str = "wharf-volume";

/// A directory in a bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directory {
    bucket: String,
    /// Begins with a slash and has none at its end.
    path: String,
}

impl Directory {
    /// The directory of this path, which has been checked and is not the root.
    ///
    /// # Errors
    /// `invalid-argument`: bucket and path do not fit into a volume's id.
    pub fn new(bucket: &str, path: &str) -> Result<Self, Error> {
        let directory = Self { bucket: bucket.to_owned(), path: path.to_owned() };
        let bytes = directory.id().len();
        if bytes > ID_BYTES {
            let allowed = format!(
                "a path {} bytes shorter, for with `deleteObjects` the volume's id holds it",
                bytes - ID_BYTES
            );
            return Err(Error::invalid("path", &names::shown(path), allowed));
        }
        Ok(directory)
    }

    /// The directory of a volume, if it has one that is deleted with it.
    pub fn of_id(volume_id: &str) -> Option<Self> {
        let (bucket, path) = volume_id.strip_prefix(ID)?.split_once('/')?;
        let (bucket, path) = (names::bucket("volume id", bucket).ok()?, format!("/{path}"));
        let is_plain = path != "/" && names::path("volume id", &path).is_ok_and(|it| it == path);
        is_plain.then_some(Self { bucket, path })
    }

    /// The volume's id.
    pub fn id(&self) -> String {
        format!("{ID}{}{}", self.bucket, self.path)
    }

    /// Makes it, or finds it.
    ///
    /// # Errors
    /// `already-exists`: there is something below it. `not-found`: there is no such bucket. The
    /// cloud's.
    pub fn create(&self) -> Result<(), Error> {
        let bucket = Bucket::named(&self.bucket)?;
        match bucket.mark(&self.key(), MARK)? {
            Ok(Some(mark)) if mark == self.mark() => return Ok(()),
            Ok(_) | Err(BucketError::NoObject) => {}
            Err(_) => return Err(self.no_bucket()),
        }
        match bucket.keys(&self.key())? {
            Ok(keys) if self.is_empty(&keys) => {}
            Ok(_) => {
                let text = format!("there is something in {self} that is not this volume's");
                return Err(Error::already_exists(text)
                    .with_hint("set another `path` in the StorageClass")
                    .as_observed());
            }
            Err(_) => return Err(self.no_bucket()),
        }
        match bucket.put_directory(&self.key(), MARK, &self.mark())? {
            Ok(()) => Ok(()),
            Err(_) => Err(self.no_bucket()),
        }
    }

    /// Whether it is there.
    ///
    /// # Errors
    /// The cloud's.
    pub fn is_there(&self) -> Result<bool, Error> {
        let mark = Bucket::named(&self.bucket)?.mark(&self.key(), MARK)?;
        Ok(mark.is_ok_and(|mark| mark.is_some_and(|mark| mark == self.mark())))
    }

    /// Deletes what is in it, and then itself; one that is gone is done.
    ///
    /// # Errors
    /// `failed-precondition`: it is not this volume's and not empty, or what is in it stays. The
    /// cloud's.
    pub fn delete(&self, progress: &Progress) -> Result<Answer<()>, Error> {
        let bucket = Bucket::named(&self.bucket)?;
        match bucket.mark(&self.key(), MARK)? {
            Ok(Some(mark)) if mark == self.mark() => {}
            Ok(_) | Err(BucketError::NoObject) => return self.delete_without_mark(&bucket),
            Err(_) => return Ok(Answer::Done(())),
        }
        match emptying::go_on(&bucket, &self.key(), progress)
            .map_err(|error| error.context(self))?
        {
            Ok(Some(pending)) => return Ok(pending.into()),
            Ok(None) => {}
            Err(_) => return Ok(Answer::Done(())),
        }
        // Whatever it says, it is not there any more.
        bucket.delete_object(&self.key()).map(|_| Answer::Done(()))
    }

    fn delete_without_mark(&self, bucket: &Bucket) -> Result<Answer<()>, Error> {
        match bucket.keys(&self.key())? {
            Ok(keys) if !self.is_empty(&keys) => Err(Error::precondition(format!(
                "{self} has no header `x-oss-meta-{MARK}` that names this volume"
            ))
            .with_hint("delete it by hand if nobody needs it")
            .as_observed()),
            Ok(_) | Err(_) => Ok(Answer::Done(())),
        }
    }

    /// Whether these keys, which begin like its own, are of nothing in it.
    fn is_empty(&self, keys: &[String]) -> bool {
        keys.iter().all(|key| *key == self.key())
    }

    /// The key of the object that stands for it, with which all keys below it begin.
    fn key(&self) -> String {
        format!("{}/", self.path.trim_start_matches('/'))
    }

    fn mark(&self) -> String {
        encode(&self.id())
    }

    fn no_bucket(&self) -> Error {
        Error::not_found(format!("there is no bucket {}", self.bucket))
            .with_hint("name one that exists, in the region that the backend's settings name")
    }
}

impl std::fmt::Display for Directory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "directory {} of bucket {}", names::shown(&self.path), self.bucket)
    }
}

#[cfg(test)]
mod tests;
