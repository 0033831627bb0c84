//! FlexVolume options of `alicloud/oss`. Pure.
//!
//! The earlier plugin knows `bucket` (which may be `bucket:/path`), `url` and `otherOpts`, and the
//! keys, which are secrets and no options here. Every other key of a volume works too.

use wharf_sdk::legacy::{LegacyVolume, TranslateRequest, Translated};
use wharf_sdk::types::Volume;
use wharf_sdk::{Error, Pairs};

use crate::attributes::{Attributes, STAGED};
use crate::fuse;

/// Names a volume that another driver made.
const VOLUME_ID: &str = "volumeId";

/// `legacy.translate`. A volume of the earlier plugin has no id: it is what it shows.
///
/// # Errors
/// `invalid-argument` naming the option.
pub fn translate(request: &TranslateRequest) -> Result<Translated, Error> {
    let mut context = request.options.clone();
    let id = context.value_in_any_case(VOLUME_ID).filter(|id| !id.is_empty()).map(str::to_owned);
    context.retain(|(key, _)| !key.trim().eq_ignore_ascii_case(VOLUME_ID));
    context.retain(|(key, _)| !key.trim().eq_ignore_ascii_case(STAGED));
    let attributes = Attributes::read(&context)?;
    context.insert_pair(STAGED, "false");
    let id = id.unwrap_or_else(|| fuse::source(&attributes));
    Ok(Translated::new(id, context).only_over_flexvolume(STAGED))
}

/// `legacy.describe-volume`.
pub fn describe(driver: &str, volume: &Volume) -> LegacyVolume {
    let mut options = volume.context.clone();
    options.retain(|(key, _)| !key.trim().eq_ignore_ascii_case(STAGED));
    options.insert_pair(VOLUME_ID, &volume.id);
    LegacyVolume::new(driver, options, "")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::FLEXVOLUME;
    use wharf_sdk::types::pairs;

    fn translated(options: &[(&str, &str)]) -> Result<Translated, Error> {
        let options = pairs(options.iter().copied());
        translate(&TranslateRequest::new(FLEXVOLUME, "pv-1", options))
    }

    #[test]
    fn a_volume_of_the_earlier_plugin_is_the_bucket_that_it_shows() {
        let volume = translated(&[
            ("Bucket", "b-1:/dir/"),
            ("URL", "oss-cn-x.aliyuncs.com"),
            ("otherOpts", "-o max_stat_cache_size=0 -o allow_other"),
        ])
        .unwrap();
        assert_eq!(volume.volume_id, "b-1:/dir");
        assert_eq!(volume.context.value(STAGED), Some("false"));
        assert_eq!(volume.extensions.value("wharf.flexvolume-only"), Some(STAGED));
        let read = Attributes::read(&volume.context).unwrap();
        assert_eq!((read.path.as_str(), read.is_staged, read.options.len()), ("/dir", false, 2));
    }

    #[test]
    fn what_is_described_is_translated_to_the_same_volume() {
        let volume = Volume::new("pvc-1", 0)
            .with_context("bucket", "b-1")
            .with_context("path", "/pvc-1")
            .with_context("url", "h.example");
        let described = describe(FLEXVOLUME, &volume);
        let again = translate(&TranslateRequest::new(FLEXVOLUME, "x", described.options)).unwrap();
        assert_eq!(again.volume_id, "pvc-1");
        let mut context = again.context;
        context.retain(|(key, _)| key != STAGED);
        assert_eq!(context, volume.context);
    }

    #[test]
    fn a_wrong_option_is_named() {
        assert!(translated(&[]).unwrap_err().message.contains("bucket"));
        let odd = [("bucket", "b-1"), ("url", "h"), ("otherOpts", "allow_other")];
        assert!(translated(&odd).unwrap_err().message.contains("otherOpts"));
        let key = [("bucket", "b-1"), ("url", "h"), ("aksecret", "canary")];
        assert!(!format!("{:?}", translated(&key).unwrap_err()).contains("canary"));
    }
}
