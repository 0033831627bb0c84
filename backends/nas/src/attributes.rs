//! What a PersistentVolume says of an NFS volume: the attributes of both existing drivers, keys in
//! any case.
//!
//! Keys with a slash belong to others (`csi.storage.k8s.io/…`) and are left alone. What asks for a
//! client that Wharf does not have is refused by name: mounted by the kernel's client, such a
//! volume would be another one.

use std::collections::BTreeMap;

use wharf_sdk::Error;
use wharf_sdk::types::Parameters;

use crate::nfs_options::{Defaults, NfsOptions, Version};
use crate::server::{ExportPath, Server};

/// Keys that decide what is mounted.
const KNOWN: [&str; 13] = [
    "server",
    "accesspoint",
    "path",
    "vers",
    "options",
    "mode",
    "modeType",
    "mountType",
    "mountProtocol",
    "useClient",
    "fileSystemType",
    "sysConfig",
    "sysConfigs",
];

/// Keys that dynamic volumes of the existing driver carry besides. They change nothing on a node.
const WITHOUT_EFFECT: [&str; 6] = [
    "fileSystemId",
    "volumeAs",
    "deleteVolume",
    "volumeCapacity",
    "allowVolumeExpansion",
    "archiveOnDelete",
];

/// Keys of clients that are not here, and what to do instead.
const CLOSED: [(&str, &str); 7] = [
    ("containerNetworkFileSystem", "write the `server` and `path` of that object instead"),
    ("loopLock", "remove it: an image file in a share can be used by two nodes at once"),
    ("loopImageSize", "remove it: limit the directory with `volumeCapacity` in the StorageClass"),
    ("authType", "use an access point without RAM policy"),
    ("sandboxId", "use the NFS protocol from the node"),
    ("sandboxCredProviderName", "use an access point without RAM policy"),
    ("credentialProviderName", "use an access point without RAM policy"),
];

/// `volumeAs` of a volume that has a file system of its own, and so the root of it.
pub const OWN_FILE_SYSTEM: &str = "filesystem";

/// Attributes in any case, without what belongs to others. An empty value counts as absent.
#[derive(Debug)]
pub struct Named<'a>(BTreeMap<String, &'a str>);

impl<'a> Named<'a> {
    /// Reads the pairs.
    ///
    /// # Errors
    /// `invalid-argument` for a key that comes in two spellings with different values.
    pub fn read(pairs: &'a Parameters) -> Result<Self, Error> {
        let mut named = BTreeMap::new();
        for (key, value) in pairs.iter().filter(|(key, _)| !key.contains('/')) {
            let value = value.trim();
            match named.insert(key.to_ascii_lowercase(), value) {
                Some(before) if before != value => {
                    return Err(Error::invalid(
                        key,
                        value,
                        format!("one value, not also `{before}`"),
                    ));
                }
                _ => {}
            }
        }
        Ok(Self(named))
    }

    /// The value of this key; empty where there is none.
    pub fn get(&self, key: &str) -> &'a str {
        self.0.get(&key.to_ascii_lowercase()).copied().unwrap_or_default()
    }

    /// Refuses keys that are in none of the lists.
    ///
    /// # Errors
    /// `invalid-argument` naming the key.
    pub fn check_known(&self, lists: &[&[&str]]) -> Result<(), Error> {
        let known: Vec<&str> = lists.iter().copied().flatten().copied().collect();
        let unknown = self
            .0
            .iter()
            .find(|(key, _)| !known.iter().any(|known| known.eq_ignore_ascii_case(key)));
        match unknown {
            Some((key, value)) => Err(Error::unknown_key(key, value, known.join(", "))),
            None => Ok(()),
        }
    }

    /// The keys that are in none of the lists, for a line of the log.
    pub fn others(&self, lists: &[&[&str]]) -> Vec<&str> {
        let is_listed =
            |key: &&str| lists.iter().copied().flatten().any(|it| it.eq_ignore_ascii_case(key));
        self.0.keys().map(String::as_str).filter(|key| !is_listed(key)).collect()
    }

    /// Refuses what only another client than the kernel's could do.
    ///
    /// # Errors
    /// `invalid-argument` naming the key and what to do.
    pub fn refuse_other_clients(&self) -> Result<(), Error> {
        for (key, instead) in CLOSED {
            match self.get(key) {
                "" | "false" => {}
                value => return Err(not_provided(key, value).with_hint(instead)),
            }
        }
        for (key, allowed) in
            [("mountType", "nfs"), ("mountProtocol", "nfs"), ("useClient", "false")]
        {
            let value = self.get(key);
            if !value.is_empty() && !value.eq_ignore_ascii_case(allowed) {
                let hint = "Wharf mounts with the kernel's NFS client; remove the key, or keep \
                            this volume with the driver that has that client";
                return Err(not_provided(key, value).with_hint(hint));
            }
        }
        let kind = self.get("fileSystemType");
        if kind.is_empty() || ["standard", "extreme"].contains(&kind) {
            return Ok(());
        }
        let hint = "CPFS needs a client that Wharf does not have; its NFS protocol service has a \
                    mount target of its own, which works with the key left out";
        Err(Error::invalid("fileSystemType", kind, "standard or extreme").with_hint(hint))
    }
}

fn not_provided(key: &str, value: &str) -> Error {
    Error::invalid(key, value, "not to be set")
}

/// Permission bits of the volume's directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mode {
    /// The bits.
    pub bits: u32,
    /// Whether everything in the directory gets them.
    pub is_recursive: bool,
}

impl Mode {
    /// From `mode` and `modeType`; `None` where no mode is given.
    ///
    /// # Errors
    /// `invalid-argument` naming the key.
    pub fn read(named: &Named) -> Result<Option<Self>, Error> {
        let is_recursive = match named.get("modeType") {
            "" | "non-recursive" => false,
            "recursive" => true,
            other => return Err(Error::invalid("modeType", other, "non-recursive or recursive")),
        };
        let mode = named.get("mode");
        if mode.is_empty() {
            return Ok(None);
        }
        let is_octal = (3..=4).contains(&mode.len()) && mode.bytes().all(|b| b.is_ascii_digit());
        match u32::from_str_radix(mode, 8) {
            Ok(bits) if is_octal => Ok(Some(Self { bits, is_recursive })),
            _ => Err(Error::invalid("mode", mode, "three or four octal digits (`755`)")),
        }
    }
}

/// `sysConfig`, or `sysConfigs`, as the existing driver writes it into volumes of a class: KiB that
/// are to be read ahead, the one setting of a mount that there is.
///
/// # Errors
/// `invalid-argument` naming the key.
pub fn read_ahead_kb(named: &Named) -> Result<Option<u32>, Error> {
    let (key, text) = match named.get("sysConfig") {
        "" => ("sysConfigs", named.get("sysConfigs")),
        text => ("sysConfig", text),
    };
    let mut found = None;
    for setting in text.split(',').map(str::trim).filter(|setting| !setting.is_empty()) {
        let kib = match setting.trim_start_matches('/').split_once('=') {
            Some(("bdi/read_ahead_kb", kib)) => kib.trim().parse().ok(),
            _ => None,
        };
        found = Some(kib.ok_or_else(|| Error::invalid(key, text, "bdi/read_ahead_kb=KIB"))?);
    }
    Ok(found)
}

/// An NFS volume as its PersistentVolume describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attributes {
    /// The server, or the access point's name.
    pub server: Server,
    /// The directory.
    pub path: ExportPath,
    /// How it is mounted.
    pub nfs: NfsOptions,
    /// What mode it gets.
    pub mode: Option<Mode>,
    /// KiB that are to be read ahead.
    pub read_ahead_kb: Option<u32>,
}

impl Attributes {
    /// Reads attributes and `mountOptions`.
    ///
    /// # Errors
    /// `invalid-argument` naming the key.
    pub fn read(
        pairs: &Parameters,
        mount_options: &[String],
        defaults: Defaults,
    ) -> Result<Self, Error> {
        let named = Named::read(pairs)?;
        named.refuse_other_clients()?;
        let closed = CLOSED.map(|(key, _)| key);
        named.check_known(&[&KNOWN, &WITHOUT_EFFECT, &closed])?;
        // An access point is the narrower of the two, so it decides where both are given.
        let (key, server) = match named.get("accesspoint") {
            "" => ("server", named.get("server")),
            point => ("accesspoint", point),
        };
        let server = Server::parse(key, server)?;
        let path = match named.get("path") {
            "" => ExportPath::root(),
            path => ExportPath::parse("path", path)?,
        };
        let (vers, options) = (named.get("vers"), named.get("options"));
        let nfs = NfsOptions::read(vers, options, mount_options, defaults)?;
        check_version(&named, &server, nfs.version)?;
        let mode = Mode::read(&named)?;
        if let Some(mode) = mode
            && path.is_root()
            && named.get("volumeAs") != OWN_FILE_SYSTEM
        {
            let mode = format!("{:03o}", mode.bits);
            let allowed = "not to be set where `path` is `/`: the root is everybody's";
            return Err(Error::invalid("mode", &mode, allowed));
        }
        Ok(Self { server, path, nfs, mode, read_ahead_kb: read_ahead_kb(&named)? })
    }
}

/// Extreme file systems speak NFS 3 alone; an address does not distinguish them from others, but
/// `fileSystemType` does.
///
/// # Errors
/// `invalid-argument` naming `vers`.
pub fn check_version(named: &Named, server: &Server, version: Version) -> Result<(), Error> {
    let is_extreme = server.is_extreme() || named.get("fileSystemType") == "extreme";
    if is_extreme && version != Version::V3 {
        return Err(Error::invalid("vers", version.as_str(), "3 (an extreme file system)"));
    }
    Ok(())
}

/// Every attribute that is known, those included that are refused with what to do.
#[cfg(test)]
pub fn all_keys() -> impl Iterator<Item = &'static str> {
    let closed = CLOSED.into_iter().map(|(key, _)| key);
    KNOWN.into_iter().chain(WITHOUT_EFFECT).chain(closed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use wharf_sdk::ErrorKind;
    use wharf_sdk::types::pairs;

    fn read(attributes: &[(&str, &str)]) -> Result<Attributes, Error> {
        Attributes::read(&pairs(attributes.iter().copied()), &[], Defaults::Csi)
    }

    #[test]
    fn keys_are_read_in_any_case() {
        let read = read(&[
            ("SERVER", "10.0.0.1"),
            ("Path", "/a"),
            ("MODE", "0755"),
            ("modetype", "recursive"),
            ("Vers", "4.1"),
        ])
        .unwrap();
        assert_eq!((read.server.as_str(), read.path.as_str()), ("10.0.0.1", "/a"));
        assert_eq!(read.mode, Some(Mode { bits: 0o755, is_recursive: true }));
        assert_eq!(read.nfs.version, Version::V4_1);
    }

    #[test]
    fn two_spellings_must_say_the_same() {
        assert!(read(&[("server", "a"), ("Server", "a")]).is_ok());
        assert!(read(&[("server", "a"), ("Server", "b")]).is_err());
    }

    #[test]
    fn an_access_point_decides_and_a_server_is_needed() {
        let point = read(&[("server", "a"), ("accesspoint", "ap-1.cn.nas.aliyuncs.com")]).unwrap();
        assert_eq!(point.server.as_str(), "ap-1.cn.nas.aliyuncs.com");
        assert!(read(&[]).unwrap_err().message.contains("`server`"));
        assert!(read(&[("server", "a")]).unwrap().path.is_root());
    }

    #[test]
    fn what_needs_another_client_is_refused_by_name() {
        for (key, value) in [
            ("mountType", "losetup"),
            ("mountType", "skipmount"),
            ("mountProtocol", "efc"),
            ("mountProtocol", "cpfs"),
            ("mountProtocol", "cpfs-nfs"),
            ("mountProtocol", "cpfs-native"),
            ("mountProtocol", "alinas"),
            ("useClient", "EFCClient"),
            ("fileSystemType", "cpfs"),
            ("containerNetworkFileSystem", "cnfs-1"),
            ("loopLock", "true"),
            ("loopImageSize", "1024"),
            ("authType", "sts"),
            ("sandboxId", "s"),
            ("sandboxCredProviderName", "p"),
            ("credentialProviderName", "p"),
        ] {
            let refused = read(&[("server", "a"), (key, value)]).unwrap_err();
            assert_eq!(refused.kind, ErrorKind::InvalidArgument);
            assert!(refused.message.contains(&format!("`{key}` is `{value}`")), "{refused:?}");
            assert!(refused.hint.is_some(), "{key}");
        }
        assert!(read(&[("server", "a"), ("mountProtocol", "NFS"), ("mountType", "")]).is_ok());
    }

    #[test]
    fn what_a_dynamic_volume_of_the_existing_driver_carries_is_no_error() {
        let carried = [
            ("server", "a"),
            ("volumeAs", "subpath"),
            ("volumeCapacity", "true"),
            ("sysConfigs", "bdi/read_ahead_kb=1"),
            ("fileSystemId", "0cd8"),
            ("storage.kubernetes.io/csiProvisionerIdentity", "1-2-nas"),
        ];
        assert!(read(&carried).is_ok());
    }

    #[test]
    fn unknown_keys_and_bad_values_are_refused_by_name() {
        for (key, value) in [
            ("color", "red"),
            ("mode", "rwx"),
            ("mode", "99"),
            ("mode", "888"),
            ("mode", "+75"),
            ("modeType", "all"),
            ("path", "a"),
            ("vers", "5"),
            ("sysConfig", "bdi/max_ratio=1"),
            ("sysConfigs", "bdi/read_ahead_kb=much"),
        ] {
            let refused = read(&[("server", "a"), ("path", "/p"), (key, value)]);
            let Err(refused) = refused else { panic!("{key}={value}") };
            assert_eq!(refused.kind, ErrorKind::InvalidArgument, "{key}");
            assert!(refused.message.contains(value), "{}", refused.message);
        }
    }

    #[test]
    fn read_ahead_is_the_one_setting_of_the_kernel() {
        for (key, value, expected) in [
            ("sysConfig", "bdi/read_ahead_kb=512", Some(512)),
            ("sysConfigs", " /bdi/read_ahead_kb=0, ", Some(0)),
            ("sysConfig", "", None),
        ] {
            let read = read(&[("server", "a"), (key, value)]).unwrap();
            assert_eq!(read.read_ahead_kb, expected, "{key}={value}");
        }
    }

    #[test]
    fn the_root_keeps_its_mode() {
        assert!(read(&[("server", "a"), ("mode", "755")]).unwrap_err().message.contains("`mode`"));
        // But for the one that is the volume's own.
        let own = [("server", "a"), ("mode", "755"), ("volumeAs", "filesystem")];
        assert_eq!(read(&own).unwrap().mode.unwrap().bits, 0o755);
    }

    #[test]
    fn an_extreme_file_system_speaks_version_3_alone() {
        let extreme = ("server", "a-b.cn.extreme.nas.aliyuncs.com");
        assert!(read(&[extreme]).is_ok());
        assert!(read(&[extreme, ("vers", "4.0")]).unwrap_err().message.contains("`vers`"));
        // By an address that does not say it.
        let said = [("server", "10.0.0.1"), ("fileSystemType", "extreme")];
        assert!(read(&said).is_ok());
        let refused = read(&[&said[..], &[("vers", "4")]].concat()).unwrap_err();
        assert!(refused.message.contains("`vers`"), "{refused:?}");
    }
}
