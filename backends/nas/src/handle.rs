//! The handle of a volume that Wharf made: it says what there is to delete, so that neither the
//! PersistentVolume nor the StorageClass is needed for it.
//!
//! `subpath#SERVER#PATH#WORDS`: words are `archive` or `remove`, then `v4.0` or `v4.1`, then
//! `quota`, then `point` where an access point leads to the directory; `quota=ID` and `point=ID`
//! where the server's name does not begin with the file system's id.
//!
//! Handles of static volumes are whatever a person chose. What does not parse here was not made by
//! Wharf, and nothing of it is ever deleted.

use std::fmt;

use wharf_alicloud::fnv128a;
use wharf_sdk::Error;

use crate::nfs_options::Version;
use crate::server::{ExportPath, Server};

/// CSI's bound on a volume id, in bytes.
const MAX_BYTES: usize = 128;

/// The directory has a quota.
const QUOTA: &str = "quota";
/// An access point leads to the directory.
const POINT: &str = "point";

/// What happens to the data of a deleted volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deletion {
    /// It stays, under another name.
    Archive,
    /// It is removed.
    Remove,
}

/// A directory that was made for one volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handle {
    /// The server.
    pub server: Server,
    /// The directory that the volume's was made in.
    pub base: ExportPath,
    /// The name of the volume's directory.
    pub name: String,
    /// What happens to the data.
    pub deletion: Deletion,
    /// The NFS version of the class.
    pub version: Version,
    /// The file system in which the directory has a quota.
    pub quota: Option<String>,
    /// The file system in which an access point leads to the directory.
    pub access_point: Option<String>,
}

impl Handle {
    /// Reads a handle; `None` for every other text.
    pub fn parse(text: &str) -> Option<Self> {
        let mut fields = text.split('#');
        let (kind, server, path, words) =
            (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
        if kind != "subpath" || fields.next().is_some() {
            return None;
        }
        let server = Server::parse("", server).ok()?;
        let path = ExportPath::parse("", path).ok()?;
        let (base, name) = path.split_last()?;
        let mut words = words.split(',');
        let deletion = match words.next()? {
            "archive" => Deletion::Archive,
            "remove" => Deletion::Remove,
            _ => return None,
        };
        let (mut version, mut quota, mut access_point) = (Version::V3, None, None);
        for word in words {
            match word {
                "v4.0" => version = Version::V4_0,
                "v4.1" => version = Version::V4_1,
                other if other.starts_with(QUOTA) => quota = Some(id_in(other, QUOTA, &server)?),
                other => access_point = Some(id_in(other, POINT, &server)?),
            }
        }
        let name = name.to_owned();
        let handle = Self { name, base, server, deletion, version, quota, access_point };
        // Only what is written exactly as this backend writes it.
        (is_plain(&handle.name) && handle.to_string() == text).then_some(handle)
    }

    /// The volume's directory.
    pub fn path(&self) -> ExportPath {
        self.base.join(&self.name)
    }

    /// Refuses what CSI cannot carry.
    ///
    /// # Errors
    /// `invalid-argument` naming `server`.
    pub fn check_length(&self) -> Result<(), Error> {
        let text = self.to_string();
        if text.len() <= MAX_BYTES {
            return Ok(());
        }
        let place = format!("{}:{}", self.server, self.base.as_str());
        let too_many = text.len() - MAX_BYTES;
        let allowed = format!(
            "server and directory with {too_many} bytes less: they are named in the volume's id, \
             and CSI allows {MAX_BYTES} for it"
        );
        Err(Error::invalid("server", &place, allowed))
    }
}

impl fmt::Display for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let deletion = match self.deletion {
            Deletion::Archive => "archive",
            Deletion::Remove => "remove",
        };
        write!(f, "subpath#{}#{}#{deletion}", self.server, self.path().as_str())?;
        if self.version != Version::V3 {
            write!(f, ",v{}", self.version.as_str())?;
        }
        for (word, id) in [(QUOTA, &self.quota), (POINT, &self.access_point)] {
            match id {
                None => {}
                Some(id) if self.server.file_system_id() == Some(id) => write!(f, ",{word}")?,
                Some(id) => write!(f, ",{word}={id}")?,
            }
        }
        Ok(())
    }
}

/// The file system of a word: what it says, else what the server's name says.
fn id_in(text: &str, word: &str, server: &Server) -> Option<String> {
    match text.strip_prefix(word)? {
        "" => server.file_system_id().map(str::to_owned),
        said => said.strip_prefix('=').map(str::to_owned),
    }
}

/// A longer name is cut: the handle names server and path as well.
const MAX_NAME_BYTES: usize = 64;

/// The name of a volume's directory: the volume's own, as the existing driver has it. A name that
/// is long or not plain becomes its hash, so that the same name is the same directory.
pub fn directory_name(volume: &str) -> String {
    if is_plain(volume) && volume.len() <= MAX_NAME_BYTES && !volume.starts_with("archived-") {
        volume.to_owned()
    } else {
        hashed_name(volume)
    }
}

/// A short name for the directory of a volume whose own finds no room.
pub fn hashed_name(volume: &str) -> String {
    format!("volume-{:032x}", fnv128a(volume))
}

/// One name as the cloud's own calls take it, and no hidden one.
pub fn is_plain(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    !name.is_empty() && !name.starts_with('.') && name.bytes().all(is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STANDARD: &str = "0cd8b4a576-grs79.cn-hangzhou.nas.aliyuncs.com";

    #[test]
    fn a_handle_says_all_that_deleting_needs() {
        for text in [
            format!("subpath#{STANDARD}#/k8s/pvc-1#archive"),
            format!("subpath#{STANDARD}#/pvc-1#remove,quota"),
            "subpath#10.0.0.1#/a/b/pvc-1#archive,v4.0,quota=0cd8".to_owned(),
            "subpath#[fd00::1]#/pvc-1#remove,v4.1".to_owned(),
            format!("subpath#{STANDARD}#/k8s/pvc-1#archive,quota,point"),
            "subpath#10.0.0.1#/pvc-1#remove,quota=a,point=a".to_owned(),
            "subpath#10.0.0.1#/pvc-1#archive,point=0cd8".to_owned(),
        ] {
            assert_eq!(Handle::parse(&text).unwrap().to_string(), text);
        }
        let handle = Handle::parse(&format!("subpath#{STANDARD}#/pvc-1#remove,quota")).unwrap();
        assert_eq!((handle.base.as_str(), handle.name.as_str()), ("/", "pvc-1"));
        assert_eq!(
            (handle.deletion, handle.quota.as_deref()),
            (Deletion::Remove, Some("0cd8b4a576"))
        );
    }

    #[test]
    fn what_wharf_did_not_write_is_no_handle() {
        for text in [
            "",
            "pvc-1",
            "nas-static",
            "a:/b",
            "d-1",
            "subpath#a#/b",
            "subpath#a#/#remove",
            "subpath#a#/b#delete",
            "subpath#a#/b/#remove",
            "subpath#a#/../b#remove",
            "subpath#a#/b#remove#",
            "subpath#a#/b#remove,v3",
            "subpath#a#/b#remove,quota",
            "subpath#a#/b#remove,point",
            "subpath#a#/b#remove,pointless",
            "subpath#a#/b#remove,point=x,quota=x",
            "subpath#a#/.b#remove",
            "subpath#a b#/b#remove",
            "other#a#/b#remove",
            "subpath#a#/b#remove,v4.1,v4.0",
            "subpath#a#//b#remove",
        ] {
            assert_eq!(Handle::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_directory_has_the_name_of_its_volume_or_its_hash() {
        assert_eq!(directory_name("pvc-1"), "pvc-1");
        let long = "x".repeat(128);
        for odd in ["a/b", "..", "", "卷", ".hidden", "a#b", "archived-x", long.as_str()] {
            let name = directory_name(odd);
            assert!(name.starts_with("volume-") && is_plain(&name) && name.len() == 39, "{odd}");
            assert_eq!(directory_name(odd), name);
        }
    }

    #[test]
    fn a_handle_that_csi_cannot_carry_is_refused() {
        let long = format!("subpath#{STANDARD}#/{}/pvc-1#archive", "d".repeat(80));
        let refused = Handle::parse(&long).unwrap().check_length().unwrap_err();
        assert!(refused.message.contains("`server`") && refused.message.contains("bytes less"));
        let uuid = "pvc-6a1f0c9e-8c1e-45eb-8ec7-786a8b2e0b61";
        let usual = format!("subpath#{STANDARD}#/k8s/{uuid}#archive,quota,point");
        assert!(Handle::parse(&usual).unwrap().check_length().is_ok());
    }
}
