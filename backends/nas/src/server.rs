//! Servers and export paths, as attributes and parameters spell them.

use std::fmt;
use std::net::Ipv6Addr;

use wharf_sdk::Error;

/// As long as a name of DNS.
const MAX_NAME_BYTES: usize = 253;
/// As long as a path of the kernel.
const MAX_PATH_BYTES: usize = 4095;

const ALLOWED_SERVER: &str =
    "a host name, an IPv4 address, or an IPv6 address in brackets; the directory goes into `path`";

/// One NFS server. An IPv6 address stands without brackets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server(String);

impl Server {
    /// Reads the value of this key.
    ///
    /// # Errors
    /// `invalid-argument` naming the key.
    pub fn parse(key: &str, value: &str) -> Result<Self, Error> {
        let refused = || Error::invalid(key, value, ALLOWED_SERVER);
        if let Some(inner) = value.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            let address: Ipv6Addr = inner.parse().map_err(|_| refused())?;
            return Ok(Self(address.to_string()));
        }
        let is_plain =
            |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
        let is_name = (1..=MAX_NAME_BYTES).contains(&value.len())
            && value.bytes().all(is_plain)
            && !value.starts_with(['-', '.']);
        if is_name { Ok(Self(value.to_owned())) } else { Err(refused()) }
    }

    /// As the plan wants it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is an address of IPv6, and no name.
    pub fn is_ipv6_address(&self) -> bool {
        self.0.contains(':')
    }

    /// Whether the name is that of an extreme file system, whose files lie below `/share` and which
    /// speaks NFS 3 alone.
    pub fn is_extreme(&self) -> bool {
        self.0.to_ascii_lowercase().ends_with(".extreme.nas.aliyuncs.com")
    }

    /// Whether the name is that of a general-purpose file system, whose files lie below `/`.
    pub fn is_standard(&self) -> bool {
        self.0.to_ascii_lowercase().ends_with(".nas.aliyuncs.com") && !self.is_extreme()
    }

    /// The general-purpose file system whose mount target this is: its name begins with the id
    /// (`0cd8b4a576-grs79.cn-hangzhou.nas.aliyuncs.com`). `None` for any other name.
    pub fn file_system_id(&self) -> Option<&str> {
        let (label, _) = self.0.split_once('.')?;
        let (id, _) = label.rsplit_once('-')?;
        (self.is_standard() && id != "ap" && !id.contains('-')).then_some(id)
    }
}

/// As an attribute spells it: an IPv6 address in brackets.
impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_ipv6_address() { write!(f, "[{}]", self.0) } else { f.write_str(&self.0) }
    }
}

/// A directory of an export: absolute, without `.` and `..`, single slashes, none at the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportPath(String);

impl ExportPath {
    /// `/`.
    pub fn root() -> Self {
        Self("/".to_owned())
    }

    /// Reads the value of this key.
    ///
    /// # Errors
    /// `invalid-argument` naming the key.
    pub fn parse(key: &str, value: &str) -> Result<Self, Error> {
        let names: Vec<&str> = value.split('/').filter(|name| !name.is_empty()).collect();
        let is_plain = value.starts_with('/')
            && value.len() <= MAX_PATH_BYTES
            && !value.chars().any(char::is_control)
            && !names.iter().any(|name| matches!(*name, "." | ".."));
        if is_plain {
            Ok(Self(format!("/{}", names.join("/"))))
        } else {
            Err(Error::invalid(key, value, "an absolute path without `.` and `..`"))
        }
    }

    /// Whether this is `/`.
    pub fn is_root(&self) -> bool {
        self.0 == "/"
    }

    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The path of a directory in this one.
    #[must_use]
    pub fn join(&self, name: &str) -> Self {
        Self(format!("{}/{name}", self.0.trim_end_matches('/')))
    }

    /// The directory above, and the last name; `None` for the root.
    pub fn split_last(&self) -> Option<(Self, &str)> {
        let (above, name) = self.0.rsplit_once('/').filter(|(_, name)| !name.is_empty())?;
        Some((Self(if above.is_empty() { "/".to_owned() } else { above.to_owned() }), name))
    }

    /// The part of this path that a server of this name has always, and that is mounted to make the
    /// rest. An extreme file system exports `/share`; a server of an unknown kind may be one.
    pub fn existing_part(&self, server: &Server) -> Self {
        let is_in_share = self.0 == "/share" || self.0.starts_with("/share/");
        if is_in_share && !server.is_standard() { Self("/share".to_owned()) } else { Self::root() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STANDARD: &str = "0cd8b4a576-grs79.cn-hangzhou.nas.aliyuncs.com";
    const EXTREME: &str = "0a2b3c4d-x.cn-hangzhou.extreme.nas.aliyuncs.com";

    #[test]
    fn servers_are_names_and_addresses() {
        for (value, plain) in [
            (STANDARD, STANDARD),
            ("10.0.0.1", "10.0.0.1"),
            ("[fd00::1]", "fd00::1"),
            ("nfs_1.local", "nfs_1.local"),
        ] {
            let server = Server::parse("server", value).unwrap();
            assert_eq!((server.as_str(), server.to_string().as_str()), (plain, value));
        }
        for value in ["", "a:/b", "fd00::1", "[10.0.0.1]", "a b", "-o", "a,b", "[fd00::1", "a/b"] {
            let refused = Server::parse("server", value).unwrap_err();
            assert!(refused.message.starts_with(&format!("parameter `server` is `{value}`")));
        }
    }

    #[test]
    fn a_mount_target_says_which_file_system_it_is_of() {
        let id = |name| Server::parse("s", name).unwrap().file_system_id().map(str::to_owned);
        assert_eq!(id(STANDARD).as_deref(), Some("0cd8b4a576"));
        for other in [EXTREME, "ap-1.cn-hangzhou.nas.aliyuncs.com", "a-b.example.com", "10.0.0.1"] {
            assert_eq!(id(other), None, "{other}");
        }
    }

    #[test]
    fn paths_are_absolute_and_plain() {
        for (value, plain) in [("/", "/"), ("//a//b/", "/a/b"), ("/share", "/share")] {
            assert_eq!(ExportPath::parse("path", value).unwrap().as_str(), plain);
        }
        for value in ["", "a", "/a/../b", "/..", "/./a", "/a\n"] {
            assert!(ExportPath::parse("path", value).is_err(), "{value}");
        }
    }

    #[test]
    fn a_path_is_put_together_and_taken_apart() {
        for base in ["/", "/a", "/a/b"] {
            let base = ExportPath::parse("path", base).unwrap();
            assert_eq!(base.join("x").split_last(), Some((base.clone(), "x")));
        }
        assert_eq!(ExportPath::root().split_last(), None);
    }

    #[test]
    fn what_exists_is_the_root_or_the_share_of_an_extreme_file_system() {
        for (server, path, root) in [
            (STANDARD, "/share/a", "/"),
            (EXTREME, "/share/a", "/share"),
            ("10.0.0.1", "/share/a", "/share"),
            ("10.0.0.1", "/shared", "/"),
            (EXTREME, "/share", "/share"),
        ] {
            let server = Server::parse("server", server).unwrap();
            let path = ExportPath::parse("path", path).unwrap();
            assert_eq!(path.existing_part(&server).as_str(), root, "{server} {path:?}");
        }
    }
}
