//! What a test does to object storage without asking over HTTP.

use std::io::{Read, Write};

use super::body::Digests;
use super::error::OssError;
use super::objects::object_record;
use super::request::{check_bucket_name, check_key};
use super::store::record::{Acl, BucketRecord, Described, Kind};
use crate::error::RegionError;
use crate::server::{Shared, lock};

impl From<OssError> for RegionError {
    fn from(error: OssError) -> Self {
        Self::ObjectStorage(error.to_string())
    }
}

/// Makes a private bucket; one that is there stays as it is.
pub(crate) fn make_bucket(shared: &Shared, name: &str) -> Result<(), RegionError> {
    check_bucket_name(name)?;
    let mut store = lock(&shared.oss);
    if store.bucket(name).is_ok() {
        return Ok(());
    }
    Ok(store.create(BucketRecord {
        name: name.to_owned(),
        created: shared.clock.now(),
        acl: Acl::Private,
        storage_class: "Standard".to_owned(),
        tags: Vec::new(),
    })?)
}

/// Writes an object.
pub(crate) fn put_object(
    shared: &Shared,
    bucket: &str,
    key: &str,
    content: &[u8],
) -> Result<(), RegionError> {
    check_key(key)?;
    let mut digests = Digests::new();
    digests.add(content);
    let modified = shared.clock.now();
    let digested = digests.finish();
    let record =
        object_record(key.to_owned(), &digested, modified, Kind::Normal, Described::default());
    let mut store = lock(&shared.oss);
    let draft = store.draft().and_then(|mut draft| draft.write_all(content).map(|()| draft));
    let draft = draft.map_err(|error| OssError::internal(&error))?;
    Ok(store.bucket_mut(bucket)?.put(draft, record)?)
}

/// The bytes of an object.
pub(crate) fn object(
    shared: &Shared,
    bucket: &str,
    key: &str,
) -> Result<Option<Vec<u8>>, RegionError> {
    let (size, file) = {
        let store = lock(&shared.oss);
        let bucket = store.bucket(bucket)?;
        let Some(object) = bucket.objects.get(key) else { return Ok(None) };
        (object.size, bucket.open_object(key)?)
    };
    let mut content = Vec::new();
    file.take(size).read_to_end(&mut content).map_err(|error| OssError::internal(&error))?;
    Ok(Some(content))
}
