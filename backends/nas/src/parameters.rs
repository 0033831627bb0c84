//! StorageClass parameters, keys in any case.
//!
//! | `volumeAs` | the volume is | parameters |
//! |---|---|---|
//! | `subpath` (absent) | a directory of its own, `<directory>/<name of the volume>` | `server`
//! (`host:/directory`, several with commas between), `path`, `archiveOnDelete`, `volumeCapacity` or
//! `allowVolumeExpansion`, `fileSystemId` |
//! | `accesspoint` | a directory of its own with an access point that leads to it | those of
//! `subpath`, `ownerUserId`, `ownerGroupId`, `permission`, `posixUserId`, `posixGroupId`,
//! `posixSecondaryGroupIds`, and `vpcId`, `vSwitchId`, `accessGroupName` where they are others than
//! those of the `server` |
//! | `sharepath` | one directory that all volumes share | `server`, `path` |
//! | `filesystem` | a file system of its own | `fileSystemType`, `storageType`, `zoneId`, `vpcId`,
//! `vSwitchId`, `accessGroupName`, `encryptType`, `snapshotID`, `description`, `deleteVolume` |
//!
//! All take `vers`, `options`, `mode`, `modeType`, and `sysConfig`, `mountProtocol: nfs`,
//! `fileSystemType` as [`attributes`](crate::attributes) does. What one kind knows has no effect in
//! a class of another, as with the existing driver: such classes go on making volumes.

use wharf_alicloud::fnv128a;
use wharf_sdk::types::{Parameters, Volume};
use wharf_sdk::{Error, log};

use crate::access_point::{self, AccessPoints};
use crate::attributes::{Mode, Named, OWN_FILE_SYSTEM, check_version, read_ahead_kb};
use crate::file_system::{self, NewFileSystem};
use crate::handle::{Deletion, is_plain};
use crate::nfs_options::{Defaults, NfsOptions};
use crate::server::{ExportPath, Server};

const OF_BOTH: [&str; 13] = [
    "volumeAs",
    "server",
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
const OF_SUBPATH: [&str; 4] =
    ["archiveOnDelete", "volumeCapacity", "allowVolumeExpansion", "fileSystemId"];
/// Refused with a hint before unknown keys are looked for.
const CLOSED: [&str; 2] = ["containerNetworkFileSystem", "loopLock"];

/// Attributes that every volume of the class gets as they stand.
const HANDED_ON: [&str; 6] = ["vers", "options", "mode", "modeType", "sysConfig", "sysConfigs"];

/// What a StorageClass makes.
#[derive(Debug)]
pub enum Class {
    /// A directory for each volume.
    Subpath(Subpath),
    /// One directory for all.
    Sharepath(Common),
    /// A file system for each volume.
    FileSystem(NewFileSystem),
}

/// What both kinds say.
#[derive(Debug)]
pub struct Common {
    /// Servers and directories, at least one.
    exports: Vec<(Server, ExportPath)>,
    handed_on: Parameters,
    /// How the export is mounted.
    pub nfs: NfsOptions,
    /// What mode a volume's directory gets.
    pub mode: Option<Mode>,
}

/// A directory for each volume.
#[derive(Debug)]
pub struct Subpath {
    /// Where, and how it is mounted.
    pub common: Common,
    /// What happens to a deleted volume's data.
    pub deletion: Deletion,
    /// Whether the directory gets a quota.
    pub has_quota: bool,
    /// How an access point is made that leads to the directory, where it gets one.
    pub access_points: Option<AccessPoints>,
    /// The file system, where the server's name does not say it.
    file_system_id: Option<String>,
}

impl Class {
    /// Reads the parameters of a class, and the `mountOptions` that came with the request.
    ///
    /// # Errors
    /// `invalid-argument` naming the key.
    pub fn read(parameters: &Parameters, mount_options: &[String]) -> Result<Self, Error> {
        let named = Named::read(parameters)?;
        named.refuse_other_clients()?;
        let every: [&[&str]; 5] =
            [&OF_BOTH, &OF_SUBPATH, &access_point::KEYS, &file_system::KEYS, &CLOSED];
        named.check_known(&every)?;
        let class = match named.get("volumeAs") {
            "" | "subpath" => Self::Subpath(Subpath::read(&named, mount_options, None)?),
            "accesspoint" => {
                let points = AccessPoints::read(&named)?;
                Self::Subpath(Subpath::read(&named, mount_options, Some(points))?)
            }
            "sharepath" => {
                check_retained(parameters)?;
                Self::Sharepath(Common::read(&named, mount_options)?)
            }
            OWN_FILE_SYSTEM => Self::FileSystem(NewFileSystem::read(&named, mount_options)?),
            other => {
                let allowed = "subpath, accesspoint, sharepath or filesystem";
                return Err(Error::invalid("volumeAs", other, allowed));
            }
        };
        let others = named.others(read_by(named.get("volumeAs")));
        if !others.is_empty() {
            log::info(format!("without effect in this class: {}", others.join(", ")));
        }
        Ok(class)
    }
}

/// The parameters that a class of this kind reads.
fn read_by(kind: &str) -> &'static [&'static [&'static str]] {
    match kind {
        "accesspoint" => &[&OF_BOTH, &OF_SUBPATH, &access_point::KEYS],
        "sharepath" => &[&OF_BOTH],
        OWN_FILE_SYSTEM => &[&file_system::KEYS],
        _ => &[&OF_BOTH, &OF_SUBPATH],
    }
}

/// What the parameters of a class mean here and did not mean with the earlier driver, a line each;
/// empty: nothing that a person should know before volumes are made or deleted.
pub fn what_differs(parameters: &Parameters) -> String {
    let Ok(named) = Named::read(parameters) else { return String::new() };
    let kind = named.get("volumeAs");
    let mut said = Vec::new();
    match kind {
        OWN_FILE_SYSTEM if named.get("deleteVolume") == "true" => said.push(
            "volumes that the earlier driver made by it keep their file systems when they are \
             deleted, which cost money, as their ids do not say `deleteVolume: \"true\"`; those of \
             volumes that are made from now on are deleted with them"
                .to_owned(),
        ),
        "accesspoint" => said.push(
            "volumes that the earlier driver made by it keep their access points when they are \
             deleted; those of volumes that are made from now on are deleted with them"
                .to_owned(),
        ),
        _ => {}
    }
    if matches!(kind, "" | "subpath" | "accesspoint") && named.get("archiveOnDelete") == "false" {
        said.push(
            "the directory of a volume that is made from now on is removed with everything in it \
             when the volume is deleted (`archiveOnDelete: \"false\"`); before, it stayed where the \
             cloud's storage operator did not remove it"
                .to_owned(),
        );
    }
    let mut without = named.others(read_by(kind));
    // Read by some, as the earlier driver's classes say it, and of no use to any.
    if !named.get("regionId").is_empty() && !without.contains(&"regionid") {
        without.push("regionid");
    }
    if !without.is_empty() {
        let is_without = |key: &&str| without.iter().any(|it| it.eq_ignore_ascii_case(key));
        let spelled: Vec<&str> =
            parameters.iter().map(|(key, _)| key.as_str()).filter(is_without).collect();
        said.push(format!("without effect in this class: {}", spelled.join(", ")));
    }
    said.join("\n")
}

/// Deleting a volume must not be a way to delete what others share. A provisioner that knows the
/// policy says it.
fn check_retained(parameters: &Parameters) -> Result<(), Error> {
    const KEY: &str = "csi.alibabacloud.com/reclaimPolicy";
    match parameters.iter().find(|(key, _)| key == KEY) {
        Some((_, policy)) if policy != "Retain" => {
            Err(Error::invalid(KEY, policy, "Retain, where `volumeAs` is `sharepath`"))
        }
        _ => Ok(()),
    }
}

impl Common {
    fn read(named: &Named, mount_options: &[String]) -> Result<Self, Error> {
        let exports = exports(named.get("server"), named.get("path"))?;
        let (vers, options) = (named.get("vers"), named.get("options"));
        let nfs = NfsOptions::read(vers, options, mount_options, Defaults::Csi)?;
        exports.iter().try_for_each(|(server, _)| check_version(named, server, nfs.version))?;
        read_ahead_kb(named)?;
        let handed_on = HANDED_ON
            .into_iter()
            .map(|key| (key.to_owned(), named.get(key).to_owned()))
            .filter(|(_, value)| !value.is_empty())
            .collect();
        Ok(Self { exports, handed_on, nfs, mode: Mode::read(named)? })
    }

    /// The export for a volume of this name: always the same, whoever asks and when.
    ///
    /// # Errors
    /// None; a class has at least one export.
    pub fn export_for(&self, volume: &str) -> Result<&(Server, ExportPath), Error> {
        let count = u128::try_from(self.exports.len()).unwrap_or(1).max(1);
        let index = usize::try_from(fnv128a(volume) % count).unwrap_or(0);
        self.exports.get(index).ok_or_else(|| Error::defect("a class without a server"))
    }

    /// A volume that is mounted by way of an access point. Its directory is the root there, and has
    /// had its mode from the beginning.
    pub fn volume_at(&self, id: String, bytes: u64, access_point: &str) -> Volume {
        let volume = Volume::new(id, bytes)
            .with_context("accesspoint", access_point)
            .with_context("path", "/");
        let of_mount = |(key, _): &&(String, String)| !key.starts_with("mode");
        let handed_on = self.handed_on.iter().filter(of_mount);
        handed_on.fold(volume, |volume, (key, value)| volume.with_context(key, value))
    }

    /// A volume with what a node needs.
    pub fn volume(&self, id: String, bytes: u64, server: &Server, path: &ExportPath) -> Volume {
        let volume = Volume::new(id, bytes)
            .with_context("server", server.to_string())
            .with_context("path", path.as_str());
        let handed_on = self.handed_on.iter();
        handed_on.fold(volume, |volume, (key, value)| volume.with_context(key, value))
    }
}

impl Subpath {
    fn read(
        named: &Named,
        mount_options: &[String],
        access_points: Option<AccessPoints>,
    ) -> Result<Self, Error> {
        let common = Common::read(named, mount_options)?;
        let deletion = match flag(named, "archiveOnDelete", true)? {
            true => Deletion::Archive,
            false => Deletion::Remove,
        };
        let has_quota =
            flag(named, "volumeCapacity", false)? | flag(named, "allowVolumeExpansion", false)?;
        let file_system_id = match named.get("fileSystemId") {
            "" => None,
            id if is_plain(id) => Some(id.to_owned()),
            id => return Err(Error::invalid("fileSystemId", id, "the id of a file system")),
        };
        let this = Self { common, deletion, has_quota, access_points, file_system_id };
        this.common.exports.iter().try_for_each(|(server, path)| {
            // A directory below has to be one that a handle can name.
            let is_odd = |letter: char| letter == '#' || letter.is_whitespace();
            if path.as_str().contains(is_odd) {
                let allowed = "a directory without `#` and spaces in its path";
                return Err(Error::invalid(
                    "server",
                    &format!("{server}:{}", path.as_str()),
                    allowed,
                ));
            }
            this.quota_of(server)?;
            this.access_point_of(server).map(drop)
        })?;
        Ok(this)
    }

    /// The file system in which a directory on this server gets a quota; `None`: it gets none.
    ///
    /// # Errors
    /// `invalid-argument` when the file system is not known.
    pub fn quota_of(&self, server: &Server) -> Result<Option<String>, Error> {
        let what = "the quota of `volumeCapacity` is set there";
        self.has_quota.then(|| self.file_system_of(server, what)).transpose()
    }

    /// The file system in which a directory on this server gets an access point; `None`: it gets
    /// none.
    ///
    /// # Errors
    /// `invalid-argument` when the file system is not known.
    pub fn access_point_of(&self, server: &Server) -> Result<Option<String>, Error> {
        let what = "the access point is made there";
        self.access_points.as_ref().map(|_| self.file_system_of(server, what)).transpose()
    }

    fn file_system_of(&self, server: &Server, what: &str) -> Result<String, Error> {
        let known = self.file_system_id.as_deref().or_else(|| server.file_system_id());
        let id = known.filter(|_| !server.is_extreme());
        id.map(str::to_owned).ok_or_else(|| {
            let allowed = format!(
                "a mount target of a general-purpose file system, or `fileSystemId` beside it: \
                 {what}"
            );
            Error::invalid("server", &server.to_string(), allowed)
        })
    }
}

/// A parameter that is `true` or `false`.
///
/// # Errors
/// `invalid-argument` naming the key.
pub fn flag(named: &Named, key: &str, absent: bool) -> Result<bool, Error> {
    match named.get(key) {
        "" => Ok(absent),
        "true" => Ok(true),
        "false" => Ok(false),
        other => Err(Error::invalid(key, other, "true or false")),
    }
}

/// `host:/directory` between commas; `path` for those that name no directory.
fn exports(server: &str, path: &str) -> Result<Vec<(Server, ExportPath)>, Error> {
    let above = match path {
        "" => ExportPath::root(),
        path => ExportPath::parse("path", path)?,
    };
    let parts = server.split(',').map(str::trim).filter(|part| !part.is_empty());
    let exports: Vec<_> = parts
        .map(|part| match part.split_once(":/") {
            Some((host, path)) => {
                let path = ExportPath::parse("server", &format!("/{path}"))?;
                Ok((Server::parse("server", host)?, path))
            }
            None => Ok((Server::parse("server", part)?, above.clone())),
        })
        .collect::<Result<_, Error>>()?;
    match exports.is_empty() {
        true => Err(Error::invalid("server", server, "host:/directory")),
        false => Ok(exports),
    }
}

/// Every parameter that a class may have.
#[cfg(test)]
pub fn all_keys() -> impl Iterator<Item = &'static str> {
    let lists: [&[&str]; 5] =
        [&OF_BOTH, &OF_SUBPATH, &access_point::KEYS, &file_system::KEYS, &CLOSED];
    lists.into_iter().flatten().copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use wharf_sdk::ErrorKind;
    use wharf_sdk::testing::FakeHost;
    use wharf_sdk::types::pairs;

    fn read(parameters: &[(&str, &str)]) -> Result<Class, Error> {
        Class::read(&pairs(parameters.iter().copied()), &[])
    }

    fn subpath(parameters: &[(&str, &str)]) -> Subpath {
        match read(parameters).unwrap() {
            Class::Subpath(subpath) => subpath,
            Class::Sharepath(_) | Class::FileSystem(_) => panic!("{parameters:?}"),
        }
    }

    #[test]
    fn a_class_of_the_existing_driver_is_read_as_it_stands() {
        let class = subpath(&[
            ("volumeAs", "subpath"),
            ("server", "0cd8-1.cn-x.nas.aliyuncs.com:/k8s/,[fd00::1]:/b"),
            ("csi.storage.k8s.io/pvc/name", "data"),
        ]);
        let exports: Vec<_> = class
            .common
            .exports
            .iter()
            .map(|(server, path)| format!("{server}:{}", path.as_str()))
            .collect();
        assert_eq!(exports, ["0cd8-1.cn-x.nas.aliyuncs.com:/k8s", "[fd00::1]:/b"]);
        assert_eq!((class.deletion, class.has_quota), (Deletion::Archive, false));
    }

    #[test]
    fn the_choice_of_a_server_is_a_function_of_the_name() {
        let class = subpath(&[("server", "a:/x,b:/x,c:/x")]).common;
        let chosen = |name: &str| class.export_for(name).unwrap().0.to_string();
        let all: std::collections::BTreeSet<_> =
            (0..50).map(|number| chosen(&format!("pvc-{number}"))).collect();
        assert_eq!(all.len(), 3);
        assert!((0..50).all(|_| chosen("pvc-1") == chosen("pvc-1")));
    }

    #[test]
    fn a_quota_needs_to_know_its_file_system() {
        let standard = ("server", "0cd8-1.cn-x.nas.aliyuncs.com:/");
        for key in ["volumeCapacity", "allowVolumeExpansion"] {
            let class = subpath(&[standard, (key, "true")]);
            let (server, _) = class.common.export_for("v").unwrap();
            assert_eq!(class.quota_of(server).unwrap().as_deref(), Some("0cd8"));
        }
        let own = ("server", "10.0.0.1:/");
        let named = [own, ("volumeCapacity", "true"), ("fileSystemId", "fs1")];
        let class = subpath(&named);
        let (server, _) = class.common.export_for("v").unwrap();
        assert_eq!(class.quota_of(server).unwrap().as_deref(), Some("fs1"));
        assert!(read(&[own, ("volumeCapacity", "true")]).is_err());
        let extreme = ("server", "a-b.cn-x.extreme.nas.aliyuncs.com:/share");
        assert!(read(&[extreme, ("volumeCapacity", "true"), ("fileSystemId", "fs1")]).is_err());
    }

    #[test]
    fn unknown_keys_and_bad_values_are_refused_by_name() {
        for (key, value) in [
            ("color", "red"),
            ("volumeAs", "disk"),
            ("archiveOnDelete", "maybe"),
            ("volumeCapacity", "1"),
            ("server", "a:b"),
            ("server", " , "),
            ("path", "rel"),
            ("vers", "5"),
            ("mode", "9"),
            ("fileSystemId", "a b"),
            ("mountType", "losetup"),
            ("containerNetworkFileSystem", "c"),
        ] {
            let mut all = vec![("server", "a:/x")];
            all.retain(|(known, _)| *known != key);
            all.push((key, value));
            let refused = read(&all).unwrap_err();
            assert_eq!(refused.kind, ErrorKind::InvalidArgument);
            assert!(refused.message.to_lowercase().contains(&format!("`{}`", key.to_lowercase())));
        }
        assert!(read(&[]).is_err());
        assert!(read(&[("server", "a:/x#y")]).is_err());
    }

    #[test]
    fn a_shared_directory_is_never_deleted_with_a_volume() {
        let shared = [("volumeAs", "sharepath"), ("server", "a"), ("path", "/s")];
        assert!(read(&shared).is_ok());
        for (policy, is_good) in [("Retain", true), ("Delete", false)] {
            let all = [&shared[..], &[("csi.alibabacloud.com/reclaimPolicy", policy)]].concat();
            assert_eq!(read(&all).is_ok(), is_good);
        }
    }

    #[test]
    fn what_another_kind_of_volume_knows_has_no_effect_and_is_said() {
        let own = [("volumeAs", "filesystem"), ("vpcId", "v"), ("vSwitchId", "s")];
        for (class, key, value) in [
            (&[("server", "a:/x")][..], "vpcId", "vpc-1"),
            (&[("server", "a:/x")], "deleteVolume", "true"),
            (&[("volumeAs", "sharepath"), ("server", "a")], "archiveOnDelete", "false"),
            (&own, "server", "a:/x,b:/y"),
            (&own, "path", "/k8s"),
            (&own, "archiveOnDelete", "true"),
            (&own, "volumeCapacity", "true"),
            (&own, "allowVolumeExpansion", "true"),
        ] {
            let host = FakeHost::install();
            read(&[class, &[(key, value)]].concat()).unwrap();
            let said = host.lines().join("\n");
            assert!(said.contains(&key.to_lowercase()), "{key}: {said}");
        }
        let host = FakeHost::install();
        read(&[("server", "a:/x"), ("mode", "750"), ("sysConfigs", "bdi/read_ahead_kb=1")])
            .unwrap();
        assert!(host.lines().is_empty());
    }
}
