//! A directory of a claim's own in a bucket, with `deleteObjects`: made, filled, and deleted with
//! what is in it, the controller disturbed at each request and killed at each of its positions.

use wharf_testing::bed::{Bed, BedOptions};
use wharf_testing::player::{Access, CLAIM_METADATA, CsiPlayer, CsiVolume, PlayError, VolumeClass};
use wharf_testing::snapshot::SHARED_BUCKET;

use super::buckets::DRIVER;
use super::kind::Kind;
use super::life::{Life, Lives, retry};
use super::server;

/// See above.
pub struct DirectoryLife;

impl Lives for DirectoryLife {
    type On<'a> = OneLife<'a>;

    const KINDS: &'static [Kind] = &[
        Kind::AnswerLost,
        Kind::RequestLost,
        Kind::KilledBeforeRequest,
        Kind::KilledAfterRequest,
        Kind::Killed,
    ];

    fn bed() -> BedOptions {
        BedOptions { nodes: 1, backends: vec!["oss"], ..BedOptions::default() }
    }
}

pub struct OneLife<'a> {
    bed: &'a Bed,
    csi: CsiPlayer,
    name: String,
    volume: Option<CsiVolume>,
}

impl<'a> Life<'a> for OneLife<'a> {
    const VERBS: &'static [&'static str] = &["create", "delete"];

    fn prepare(bed: &Bed) {
        bed.manager().serve("controller", bed.parts()).unwrap();
        bed.region().make_bucket(SHARED_BUCKET).unwrap();
    }

    fn has(_verb: &str, _kind: Kind) -> bool {
        true
    }

    fn begin(bed: &'a Bed, number: usize) -> Self {
        let csi = bed.csi_of(DRIVER).with_retry(retry());
        Self { bed, csi, name: format!("pvc-life-{number:04}"), volume: None }
    }

    fn perform(&mut self, verb: &str) -> Result<(), PlayError> {
        match (verb, &self.volume) {
            ("create", _) => self.volume = Some(self.create()?),
            ("delete", Some(volume)) => self.csi.delete(volume)?,
            ("delete", None) => {}
            (other, _) => panic!("{other} is no verb"),
        }
        Ok(())
    }

    fn disturb(&mut self, verb: &str, kind: Kind, at: usize) -> Result<Option<String>, PlayError> {
        let bed = self.bed;
        server::disturb(bed, bed.manager(), kind, at, || self.perform(verb))
    }

    fn was_skipped(&self) -> bool {
        false
    }

    fn end(&mut self) -> Result<(), PlayError> {
        self.volume.as_ref().map_or(Ok(()), |volume| self.csi.delete(volume))
    }

    fn names(&self) -> Vec<(String, String)> {
        vec![(self.name.clone(), "NAME".to_owned())]
    }
}

impl OneLife<'_> {
    /// With some objects in it, as a pod leaves them.
    fn create(&self) -> Result<CsiVolume, PlayError> {
        let region = self.bed.region();
        let parameters = [
            ("volumeAs", "subpath"),
            ("bucket", SHARED_BUCKET),
            ("path", "/claims"),
            ("deleteObjects", "true"),
            ("url", region.description().endpoints.oss.as_str()),
            ("fuseType", "s3fs"),
        ];
        let class = VolumeClass::file_system("", &[&parameters[..], &CLAIM_METADATA].concat());
        let class = VolumeClass { access: Access::ManyNodes, ..class };
        let volume = self.csi.provision(&self.name, 1 << 30, &class)?;
        for name in ["data", "directory/", "directory/more"] {
            let key = format!("claims/{}/{name}", self.name);
            region.put_object(SHARED_BUCKET, &key, b"content").unwrap();
        }
        Ok(volume)
    }
}
