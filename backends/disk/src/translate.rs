//! FlexVolume options: `volumeId` in any case, and what the node reads from a context. Any other
//! option is left out, as the original driver leaves it out.

use wharf_sdk::legacy::{LegacyVolume, TranslateRequest, Translated};
use wharf_sdk::types::{Parameters, Volume};
use wharf_sdk::{Error, Pairs};

use crate::filesystem::Formatting;
use crate::queue_settings;
use crate::serial::DiskId;

/// Options that become context, spelled as the context wants them.
const CONTEXT: [&str; 4] = ["fsType", "mkfsOptions", "omitfsck", "sysConfig"];

/// `legacy.translate`.
///
/// # Errors
/// `invalid-argument` naming the option.
pub fn translate(request: &TranslateRequest) -> Result<Translated, Error> {
    let named = request.options.value_in_any_case("volumeId").filter(|id| !id.is_empty());
    // By convention, and after `detach`, which gets nothing else, the volume's name is the disk's
    // id.
    let id = named.unwrap_or(&request.volume_name);
    let Some(disk) = DiskId::parse(id) else {
        return Err(Error::invalid("volumeId", id, "a disk id (`d-…`)"));
    };
    let pair = |key: &str| {
        request
            .options
            .value_in_any_case(key)
            .filter(|value| !value.is_empty())
            .map(|value| (key.to_owned(), value.to_owned()))
    };
    let context: Parameters = CONTEXT.into_iter().filter_map(pair).collect();
    Formatting::read(&context)?;
    queue_settings::read(&context)?;
    Ok(Translated::new(disk.as_str(), context))
}

/// `legacy.describe`: the spelling that `alicloud-disk-controller` gives its PersistentVolumes, and
/// the node's part of the context.
pub fn describe(driver: &str, volume: &Volume) -> LegacyVolume {
    let mut options = vec![("VolumeId".to_owned(), volume.id.clone())];
    for key in CONTEXT.iter().filter(|key| **key != "fsType") {
        if let Some(value) = volume.context.value(key) {
            options.push(((*key).to_owned(), value.to_owned()));
        }
    }
    let fs_type = ["fsType", "csi.storage.k8s.io/fstype"].map(|key| volume.context.value(key));
    let fs_type = fs_type.into_iter().flatten().next().unwrap_or_default();
    LegacyVolume::new(driver, options, fs_type)
}

#[cfg(test)]
mod tests {
    use super::*;
    use wharf_sdk::types::pairs;

    fn translated(name: &str, options: &[(&str, &str)]) -> Result<Translated, Error> {
        translate(&TranslateRequest::new("alicloud/disk", name, pairs(options.iter().copied())))
    }

    #[test]
    fn what_a_persistent_volume_says_means_the_same_disk() {
        let volume = Volume::new("d-1", 20 << 30)
            .with_context("mkfsOptions", "-m1")
            .with_context("type", "cloud_essd")
            .with_context("csi.storage.k8s.io/fstype", "xfs");
        let described = describe("alicloud/disk", &volume);
        assert_eq!(described.fs_type, "xfs");
        let again = translate(&TranslateRequest::new("alicloud/disk", "pv", described.options));
        let again = again.unwrap();
        assert_eq!(
            (again.volume_id.as_str(), again.context.value("mkfsOptions")),
            ("d-1", Some("-m1"))
        );
    }

    #[test]
    fn the_disk_is_named_in_any_case_or_by_the_volume() {
        for key in ["volumeId", "VolumeId", "volumeid", "VOLUMEID"] {
            assert_eq!(translated("pv", &[(key, "d-1")]).unwrap().volume_id, "d-1", "{key}");
        }
        assert_eq!(translated("d-2", &[]).unwrap().volume_id, "d-2");
        assert_eq!(translated("d-2", &[("volumeId", "d-1")]).unwrap().volume_id, "d-1");
    }

    #[test]
    fn what_is_no_disk_is_refused() {
        assert!(translated("pv", &[]).unwrap_err().message.contains("`pv`"));
        assert!(translated("d-2", &[("volumeId", "vol")]).is_err());
    }

    #[test]
    fn only_what_the_node_reads_becomes_context() {
        let read =
            translated("d-1", &[("FSTYPE", "xfs"), ("color", "red"), ("mkfsoptions", "-m1")])
                .unwrap();
        assert_eq!(read.context, pairs([("fsType", "xfs"), ("mkfsOptions", "-m1")]));
        assert!(translated("d-1", &[("fsType", "ntfs")]).is_err());
    }
}
