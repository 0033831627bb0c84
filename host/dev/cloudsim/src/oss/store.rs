//! The store behind both faces: buckets and objects as files below the region's directory, and an
//! index of them in memory.
//!
//! | path | what |
//! |---|---|
//! | `oss/buckets/<bucket>/bucket.json` | [`record::BucketRecord`] |
//! | `oss/buckets/<bucket>/objects/<digest of the key>` | an object: its bytes, then its record |
//! | `oss/buckets/<bucket>/uploads/<id>/upload.json` | a multipart upload |
//! | `oss/buckets/<bucket>/uploads/<id>/<number>` | one of its parts, likewise bytes and record |
//! | `oss/incoming/` | bytes that are on their way in; emptied at a start |
//!
//! An object and its record are one file that is put in place by rename, so a region that is killed
//! at any instruction starts again with the object before or after its last call. Files are not
//! synced to the disk: a power cut may take the latest ones.

pub(crate) mod file;
pub(crate) mod record;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest, Sha256};

use self::file::Draft;
use self::record::{BucketRecord, ObjectRecord, PartRecord, UploadRecord};
use super::error::OssError;
use super::summary::{BucketSummary, ObjectSummary};
use crate::error::{RegionError, at};

/// Buckets of an account in a region, as at the real service.
const MOST_BUCKETS: usize = 100;

/// All buckets.
#[derive(Debug)]
pub(crate) struct Store {
    root: PathBuf,
    buckets: BTreeMap<String, Bucket>,
    stopped: bool,
}

/// A bucket and what is in it.
#[derive(Debug)]
pub(crate) struct Bucket {
    pub(crate) record: BucketRecord,
    pub(crate) objects: BTreeMap<String, Arc<ObjectRecord>>,
    /// By id.
    pub(crate) uploads: BTreeMap<String, Upload>,
    path: PathBuf,
}

/// A multipart upload that is under way.
#[derive(Debug)]
pub(crate) struct Upload {
    pub(crate) record: UploadRecord,
    pub(crate) parts: BTreeMap<u32, PartRecord>,
}

impl Store {
    /// Opens what an earlier run left, without what was on its way in.
    pub(crate) fn open(directory: &Path) -> Result<Self, RegionError> {
        let root = directory.join("oss");
        let incoming = root.join("incoming");
        match fs::remove_dir_all(&incoming) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(at("empty", &incoming)(error));
            }
            _ => {}
        }
        let buckets = root.join("buckets");
        for directory in [&incoming, &buckets] {
            fs::create_dir_all(directory).map_err(at("create", directory))?;
        }
        let mut store = Self { root, buckets: BTreeMap::new(), stopped: false };
        for path in file::entries(&buckets).map_err(at("read", &buckets))? {
            let found = Bucket::open(&path).map_err(at("read", &path))?;
            store.buckets.extend(found.map(|bucket| (bucket.record.name.clone(), bucket)));
        }
        Ok(store)
    }

    /// A file that an object's bytes may go into; it is gone unless it becomes an object.
    pub(crate) fn draft(&self) -> io::Result<Draft> {
        Draft::create(&self.root.join("incoming"))
    }

    pub(crate) fn buckets(&self) -> impl Iterator<Item = &Bucket> {
        self.buckets.values()
    }

    pub(crate) fn bucket(&self, name: &str) -> Result<&Bucket, OssError> {
        self.buckets.get(name).ok_or_else(|| OssError::no_bucket(name))
    }

    /// A bucket that is about to change. The region may have ended since the call was admitted.
    pub(crate) fn bucket_mut(&mut self, name: &str) -> Result<&mut Bucket, OssError> {
        if self.stopped {
            return Err(OssError::stopped());
        }
        self.buckets.get_mut(name).ok_or_else(|| OssError::no_bucket(name))
    }

    /// Makes a bucket that is not there.
    pub(crate) fn create(&mut self, record: BucketRecord) -> Result<(), OssError> {
        if self.stopped {
            return Err(OssError::stopped());
        }
        if self.buckets.len() >= MOST_BUCKETS {
            let message = "You have attempted to create more buckets than allowed.";
            return Err(OssError::new(400, "TooManyBuckets", message));
        }
        let path = self.root.join("buckets").join(&record.name);
        let name = record.name.clone();
        let bucket = Bucket::create(path, record).map_err(|error| OssError::internal(&error))?;
        self.buckets.insert(name, bucket);
        Ok(())
    }

    /// Removes an empty bucket.
    pub(crate) fn delete(&mut self, name: &str) -> Result<(), OssError> {
        let bucket = self.bucket_mut(name)?;
        if !bucket.objects.is_empty() || !bucket.uploads.is_empty() {
            return Err(OssError::bucket_not_empty(name));
        }
        let path = bucket.path.clone();
        self.buckets.remove(name);
        fs::remove_dir_all(path).map_err(|error| OssError::internal(&error))
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) -> Result<(), RegionError> {
        self.buckets.clear();
        let buckets = self.root.join("buckets");
        fs::remove_dir_all(&buckets).map_err(at("empty", &buckets))?;
        fs::create_dir_all(&buckets).map_err(at("create", &buckets))
    }

    /// No call changes anything any more.
    pub(crate) fn stop(&mut self) {
        self.stopped = true;
    }

    /// What a test is told.
    pub(crate) fn summary(&self) -> Vec<BucketSummary> {
        let object = |object: &Arc<ObjectRecord>| ObjectSummary {
            key: object.key.clone(),
            size: object.size,
            metadata: object.described.metadata.clone(),
        };
        let bucket = |bucket: &Bucket| BucketSummary {
            name: bucket.record.name.clone(),
            acl: bucket.record.acl.name().to_owned(),
            storage_class: bucket.record.storage_class.clone(),
            tags: bucket.record.tags.iter().cloned().collect(),
            objects: bucket.objects.values().map(object).collect(),
            uploads: bucket.uploads.len(),
        };
        self.buckets().map(bucket).collect()
    }
}

impl Bucket {
    fn create(path: PathBuf, record: BucketRecord) -> io::Result<Self> {
        for directory in ["objects", "uploads"] {
            fs::create_dir_all(path.join(directory))?;
        }
        let bucket = Self { record, objects: BTreeMap::new(), uploads: BTreeMap::new(), path };
        bucket.save()?;
        Ok(bucket)
    }

    /// `None`: a creation that was killed before its record was there.
    fn open(path: &Path) -> io::Result<Option<Self>> {
        let Some(record) = file::read_json(&path.join("bucket.json"))? else { return Ok(None) };
        let path = path.to_owned();
        let mut bucket = Self { record, objects: BTreeMap::new(), uploads: BTreeMap::new(), path };
        for object in file::entries(&bucket.path.join("objects"))? {
            let record: ObjectRecord = file::read_record(&object).map_err(|error| {
                io::Error::new(error.kind(), format!("{}: {error}", object.display()))
            })?;
            bucket.objects.insert(record.key.clone(), Arc::new(record));
        }
        for directory in file::entries(&bucket.path.join("uploads"))? {
            if let Some(upload) = Upload::open(&directory)? {
                bucket.uploads.insert(upload.record.id.clone(), upload);
            }
        }
        Ok(Some(bucket))
    }

    fn save(&self) -> io::Result<()> {
        file::write_json(&self.path.join("bucket.json"), &self.record)
    }

    /// Changes the bucket's own record.
    pub(crate) fn change(
        &mut self,
        change: impl FnOnce(&mut BucketRecord),
    ) -> Result<(), OssError> {
        change(&mut self.record);
        self.save().map_err(|error| OssError::internal(&error))
    }

    pub(crate) fn object(&self, key: &str) -> Result<&Arc<ObjectRecord>, OssError> {
        self.objects.get(key).ok_or_else(|| OssError::no_key(key))
    }

    /// The file with an object's bytes. It stays readable when the object is replaced.
    pub(crate) fn open_object(&self, key: &str) -> Result<fs::File, OssError> {
        fs::File::open(self.object_path(key)).map_err(|error| OssError::internal(&error))
    }

    fn object_path(&self, key: &str) -> PathBuf {
        self.path.join("objects").join(const_hex::encode(Sha256::digest(key)))
    }

    /// Makes a draft the object of its record's key.
    pub(crate) fn put(&mut self, draft: Draft, record: ObjectRecord) -> Result<(), OssError> {
        let path = self.object_path(&record.key);
        draft.become_file(&path, &record).map_err(|error| OssError::internal(&error))?;
        self.objects.insert(record.key.clone(), Arc::new(record));
        Ok(())
    }

    /// Removes an object; one that is not there is no error, as at the real service.
    pub(crate) fn remove(&mut self, key: &str) -> Result<(), OssError> {
        if self.objects.contains_key(key) {
            fs::remove_file(self.object_path(key)).map_err(|error| OssError::internal(&error))?;
            self.objects.remove(key);
        }
        Ok(())
    }

    pub(crate) fn upload(&self, id: &str, key: &str) -> Result<&Upload, OssError> {
        let upload = self.uploads.get(id).filter(|upload| upload.record.key == key);
        upload.ok_or_else(|| OssError::no_upload(id))
    }

    fn upload_path(&self, id: &str) -> PathBuf {
        self.path.join("uploads").join(id)
    }

    /// Begins a multipart upload.
    pub(crate) fn begin_upload(&mut self, record: UploadRecord) -> Result<(), OssError> {
        let path = self.upload_path(&record.id);
        let written = fs::create_dir_all(&path)
            .and_then(|()| file::write_json(&path.join("upload.json"), &record));
        written.map_err(|error| OssError::internal(&error))?;
        self.uploads.insert(record.id.clone(), Upload { record, parts: BTreeMap::new() });
        Ok(())
    }

    /// Makes a draft a part; one of the same number is replaced.
    pub(crate) fn put_part(
        &mut self,
        id: &str,
        number: u32,
        draft: Draft,
        record: PartRecord,
    ) -> Result<(), OssError> {
        let path = self.upload_path(id).join(number.to_string());
        let upload = self.uploads.get_mut(id).ok_or_else(|| OssError::no_upload(id))?;
        draft.become_file(&path, &record).map_err(|error| OssError::internal(&error))?;
        upload.parts.insert(number, record);
        Ok(())
    }

    /// The file with a part's bytes.
    pub(crate) fn open_part(&self, id: &str, number: u32) -> Result<fs::File, OssError> {
        fs::File::open(self.upload_path(id).join(number.to_string()))
            .map_err(|error| OssError::internal(&error))
    }

    /// Forgets an upload and its parts.
    pub(crate) fn end_upload(&mut self, id: &str) -> Result<(), OssError> {
        if self.uploads.remove(id).is_some() {
            fs::remove_dir_all(self.upload_path(id)).map_err(|error| OssError::internal(&error))?;
        }
        Ok(())
    }
}

impl Upload {
    fn open(directory: &Path) -> io::Result<Option<Self>> {
        let Some(record) = file::read_json(&directory.join("upload.json"))? else {
            return Ok(None);
        };
        let mut parts = BTreeMap::new();
        for path in file::entries(directory)? {
            let number = path.file_name().and_then(|name| name.to_str()?.parse().ok());
            if let Some(number) = number {
                parts.insert(number, file::read_record(&path)?);
            }
        }
        Ok(Some(Self { record, parts }))
    }
}
