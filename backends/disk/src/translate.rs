//! FlexVolume options: `volumeId` in any case, and what the node reads from a context. Any other
//! option is left out, as the original driver leaves it out.

use wharf_sdk::legacy::{TranslateRequest, Translated};
use wharf_sdk::types::Parameters;
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

#[cfg(test)]
mod tests {
    use super::*;
    use wharf_sdk::types::pairs;

    fn translated(name: &str, options: &[(&str, &str)]) -> Result<Translated, Error> {
        translate(&TranslateRequest::new("alicloud/disk", name, pairs(options.iter().copied())))
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
