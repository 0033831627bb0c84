//! FlexVolume options in the words of the CSI driver, and back. The FlexVolume driver's own default
//! options are written down in the context, so that a volume of an old PersistentVolume is mounted
//! as it was.

use wharf_sdk::Error;
use wharf_sdk::Pairs as _;
use wharf_sdk::legacy::{LegacyVolume, TranslateRequest, Translated};
use wharf_sdk::types::{Parameters, Volume};

use crate::attributes::{Attributes, Named};
use crate::handle::Handle;
use crate::nfs_options::Defaults;

/// Options that are read; any other is left out, as the original driver leaves it out.
const READ: [&str; 6] = ["server", "path", "vers", "mode", "modeType", "options"];
/// Names the volume that Wharf made, so that it can be deleted.
const VOLUME_ID: &str = "volumeId";

/// `legacy.translate`.
///
/// # Errors
/// `invalid-argument` naming the option.
pub fn translate(request: &TranslateRequest) -> Result<Translated, Error> {
    let named = Named::read(&request.options)?;
    named.refuse_other_clients()?;
    let mut context: Parameters = READ
        .into_iter()
        .map(|key| (key.to_owned(), named.get(key).to_owned()))
        .filter(|(_, value)| !value.is_empty())
        .collect();
    // The original driver does not look at the mode of the root.
    if named.get("path").chars().all(|letter| letter == '/') {
        context.retain(|(key, _)| key != "mode");
    }
    let volume = Attributes::read(&context, &[], Defaults::FlexVolume)?;
    context.insert_pair("vers", volume.nfs.version.as_str());
    context.insert_pair("options", volume.nfs.as_attribute());
    let id = match Handle::parse(named.get(VOLUME_ID)) {
        Some(handle) => handle.to_string(),
        None => format!("{}:{}", volume.server, volume.path.as_str()),
    };
    Ok(Translated::new(id, context))
}

/// `legacy.describe-volume`.
///
/// # Errors
/// `invalid-argument` naming what the volume's context lacks.
pub fn describe(driver: &str, volume: &Volume) -> Result<LegacyVolume, Error> {
    let read = Attributes::read(&volume.context, &[], Defaults::Csi)?;
    let mut options: Parameters = READ
        .into_iter()
        .filter_map(|key| {
            let value = volume.context.value_in_any_case(key)?;
            Some((key.to_owned(), value.to_owned()))
        })
        .collect();
    options.insert_pair("server", read.server.to_string());
    options.insert_pair("vers", read.nfs.version.as_str());
    // The defaults of the two drivers differ, so what holds is written down.
    options.insert_pair("options", read.nfs.as_attribute());
    if let Some(handle) = Handle::parse(&volume.id) {
        options.insert_pair(VOLUME_ID, handle.to_string());
    }
    Ok(LegacyVolume::new(driver, options, "nfs"))
}

/// Every option that is read.
#[cfg(test)]
pub fn all_keys() -> impl Iterator<Item = &'static str> {
    READ.into_iter().chain([VOLUME_ID])
}

#[cfg(test)]
mod tests {
    use super::*;
    use wharf_sdk::types::pairs;

    fn translated(options: &[(&str, &str)]) -> Result<Translated, Error> {
        translate(&TranslateRequest::new("alicloud/nas", "pv", pairs(options.iter().copied())))
    }

    #[test]
    fn the_default_options_are_those_of_the_original_driver() {
        for (options, vers, expected) in [
            (&[][..], "3", "noresvport,nolock,tcp"),
            (&[("vers", "4.0")], "4.0", "noresvport"),
            (&[("options", "none")], "3", "none"),
            (&[("options", "ro,soft")], "3", "soft,ro"),
            (&[("Options", "soft,timeo=5")], "3", "soft,timeo=5"),
        ] {
            let all = [&[("server", "a"), ("path", "/p")], options].concat();
            let context = translated(&all).unwrap().context;
            assert_eq!(context.value("vers"), Some(vers));
            assert_eq!(context.value("options"), Some(expected));
            assert!(Attributes::read(&context, &[], Defaults::Csi).is_ok());
        }
    }

    #[test]
    fn a_volume_is_named_by_what_is_mounted() {
        let read =
            translated(&[("Server", "10.0.0.1"), ("PATH", "/k8s"), ("mode", "755")]).unwrap();
        assert_eq!(read.volume_id, "10.0.0.1:/k8s");
        assert_eq!(read.context.value("mode"), Some("755"));
    }

    #[test]
    fn the_mode_of_the_root_and_foreign_options_are_left_out() {
        for path in ["", "/"] {
            let read = translated(&[("server", "a"), ("path", path), ("mode", "755"), ("x", "y")]);
            let context = read.unwrap().context;
            assert_eq!((context.value("mode"), context.value("x")), (None, None));
        }
    }

    #[test]
    fn bad_values_and_other_clients_are_refused() {
        for options in [
            &[("path", "/p")][..],
            &[("server", "a"), ("path", "p")],
            &[("server", "a"), ("path", "/p"), ("mode", "x")],
            &[("server", "a"), ("vers", "2")],
            &[("server", "a"), ("mountProtocol", "efc")],
        ] {
            assert!(translated(options).is_err(), "{options:?}");
        }
    }

    #[test]
    fn what_a_persistent_volume_says_means_the_same_volume() {
        let id = "subpath#a.example.com#/base/pvc-1#archive";
        let context =
            pairs([("server", "a.example.com"), ("path", "/base/pvc-1"), ("mode", "700")]);
        let volume = Volume { context, ..Volume::new(id, 0) };
        let described = describe("alicloud/nas", &volume).unwrap();
        let again = translate(&TranslateRequest::new("alicloud/nas", "pv", described.options));
        let again = again.unwrap();
        assert_eq!(again.volume_id, id);
        let [before, after] = [&volume.context, &again.context]
            .map(|context| Attributes::read(context, &[], Defaults::Csi).unwrap());
        assert_eq!(before, after);
    }
}
