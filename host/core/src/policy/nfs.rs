//! Which NFS exports plans may mount: servers, paths and options. Pure; an empty list of servers
//! grants nothing.
//!
//! A name is compared as a name and an address as an address. Nothing is resolved, so a granted
//! network does not grant a name whose address lies in it.

use core::net::IpAddr;
use std::path::{Component, Path};

use serde::{Deserialize, Deserializer, Serialize};

use super::refused;
use crate::error::Error;
use crate::plan::MountNfs;

/// A host name is no longer (RFC 1123).
const MAX_SERVER_BYTES: usize = 253;
/// As long as a path of the kernel.
const MAX_PATH_BYTES: usize = 4095;

/// What is granted where the operator says nothing: how the kernel's client behaves towards its
/// server. Left out is what names another server or port than the granted one (`addr`, `mountaddr`,
/// `port`), what returns before anything is mounted (`bg`), and what needs keys (`sec=krb5`).
const DEFAULT_OPTIONS: [&str; 65] = [
    "_netdev",
    "ac",
    "acdirmax=*",
    "acdirmin=*",
    "acl",
    "acregmax=*",
    "acregmin=*",
    "actimeo=*",
    "async",
    "atime",
    "cto",
    "defaults",
    "dev",
    "diratime",
    "exec",
    "fg",
    "hard",
    "intr",
    "local_lock=*",
    "lock",
    "lookupcache=*",
    "minorversion=*",
    "mountproto=tcp",
    "mountproto=tcp6",
    "mountvers=3",
    "namlen=*",
    "nconnect=*",
    "nfsvers=*",
    "noac",
    "noacl",
    "noatime",
    "nocto",
    "nodev",
    "nodiratime",
    "noexec",
    "nofail",
    "nointr",
    "nolock",
    "nordirplus",
    "norelatime",
    "noresvport",
    "nosharecache",
    "nosuid",
    "proto=tcp",
    "proto=tcp6",
    "rdirplus",
    "relatime",
    "resvport",
    "retrans=*",
    "retry=*",
    "ro",
    "rsize=*",
    "rw",
    "sec=none",
    "sec=sys",
    "sharecache",
    "soft",
    "softerr",
    "suid",
    "sync",
    "tcp",
    "timeo=*",
    "v3",
    "vers=*",
    "wsize=*",
];

/// Never granted, whatever the list says: they send the mount to another server than the one that
/// was checked.
const REDIRECTING: [&str; 3] = ["addr", "mountaddr", "mounthost"];

/// NFS exports that may be mounted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct NfsPolicy {
    /// Exact host names and addresses, `*.suffix` for every name below a domain, and networks
    /// (`10.0.0.0/8`). Empty: no server.
    pub servers: Vec<String>,
    /// Export paths; one grants itself and everything below it. Missing directories are made below
    /// one of them, which has to be there itself.
    pub paths: Vec<String>,
    /// Mount options: `name`, `name=value`, or `name=*` for every value.
    pub options: Vec<String>,
    /// KiB that the kernel reads ahead on these mounts; absent: as it chooses itself.
    #[serde(deserialize_with = "read_ahead")]
    pub read_ahead_kb: Option<u32>,
    /// The most KiB that a volume may ask for itself; zero: none may, and is mounted without.
    #[serde(deserialize_with = "most_read_ahead")]
    pub max_read_ahead_kb: u32,
    /// Requests that a connection may have on their way (`sunrpc.tcp_slot_table_entries`): set for
    /// the whole node, before a mount. Absent: left as it is.
    #[serde(deserialize_with = "slots")]
    pub tcp_slot_table_entries: Option<u32>,
}

/// What is read ahead is memory of the node for each file that is read; more than this was never
/// of use.
const MAX_READ_AHEAD_KB: u32 = 64 << 10;
/// The kernel's own bounds.
const MIN_SLOTS: u32 = 2;
const MAX_SLOTS: u32 = 65_536;

fn read_ahead<'de, D: Deserializer<'de>>(source: D) -> Result<Option<u32>, D::Error> {
    within(0, MAX_READ_AHEAD_KB, u32::deserialize(source)?).map(Some)
}

fn most_read_ahead<'de, D: Deserializer<'de>>(source: D) -> Result<u32, D::Error> {
    within(0, MAX_READ_AHEAD_KB, u32::deserialize(source)?)
}

fn slots<'de, D: Deserializer<'de>>(source: D) -> Result<Option<u32>, D::Error> {
    within(MIN_SLOTS, MAX_SLOTS, u32::deserialize(source)?).map(Some)
}

fn within<E: serde::de::Error>(least: u32, most: u32, value: u32) -> Result<u32, E> {
    if (least..=most).contains(&value) {
        return Ok(value);
    }
    Err(E::custom(format!("{value} is not between {least} and {most}")))
}

impl Default for NfsPolicy {
    fn default() -> Self {
        Self {
            servers: Vec::new(),
            paths: vec!["/".to_owned()],
            options: DEFAULT_OPTIONS.map(str::to_owned).to_vec(),
            read_ahead_kb: None,
            max_read_ahead_kb: 0,
            tcp_slot_table_entries: None,
        }
    }
}

impl NfsPolicy {
    /// Whether this mount is granted.
    ///
    /// # Errors
    /// `InvalidArgument` for what names no server, no export or no directory below one;
    /// `PermissionDenied` naming what is not granted, and the setting that would grant it.
    pub(crate) fn check(&self, mount: &MountNfs) -> Result<(), Error> {
        self.check_server(&mount.server)?;
        self.check_path(&mount.path)?;
        if let Some(make) = &mount.make_path {
            // It need not be granted: directories are made as far as they are.
            check_plain(&make.root)?;
            if !Path::new(&mount.path).starts_with(&make.root) {
                return Err(Error::invalid(format!(
                    "the export path {} is to be made below {}, and does not lie there",
                    mount.path, make.root
                )));
            }
        }
        mount.read_ahead_kb()?;
        mount.client_options().try_for_each(|option| self.check_option(option))
    }

    fn check_server(&self, server: &str) -> Result<(), Error> {
        let server = Server::parse(server)?;
        if self.servers.iter().any(|pattern| server.matches(pattern)) {
            return Ok(());
        }
        Err(refused("nfs.servers", &server.to_string()))
    }

    /// What is mounted to make a missing directory of a granted path: `root`, or, where that is not
    /// granted, the granted directory on the way that is nearest to it. `None`: no directory above
    /// the path is granted, so that it is mounted as it is or not at all.
    pub fn root_for_making<'a>(&'a self, path: &str, root: &'a str) -> Option<&'a str> {
        if self.is_path_granted(root) {
            return Some(root);
        }
        let (path, depth) = (Path::new(path), |granted: &str| Path::new(granted).iter().count());
        let granted = self
            .paths
            .iter()
            .map(String::as_str)
            .filter(|granted| is_at_or_below(path, granted) && path != Path::new(granted));
        granted.min_by_key(|granted| depth(granted))
    }

    fn check_path(&self, path: &str) -> Result<(), Error> {
        check_plain(path)?;
        if self.is_path_granted(path) { Ok(()) } else { Err(refused("nfs.paths", path)) }
    }

    fn is_path_granted(&self, path: &str) -> bool {
        self.paths.iter().any(|granted| is_at_or_below(Path::new(path), granted))
    }

    fn check_option(&self, option: &str) -> Result<(), Error> {
        let (name, value) =
            option.split_once('=').map_or((option, None), |(name, value)| (name, Some(value)));
        if REDIRECTING.contains(&name) {
            return Err(Error::invalid(format!(
                "the mount option `{name}` is never allowed: it names another server than the \
                 one that is granted"
            )));
        }
        let is_granted = |granted: &String| match (granted.split_once('='), value) {
            (Some((granted, "*")), Some(_)) => granted == name,
            (Some(_), Some(_)) => granted == option,
            (None, None) => granted == name,
            (Some(_), None) | (None, Some(_)) => false,
        };
        // The value may be anything that a backend was given; the name is what is granted.
        if self.options.iter().any(is_granted) { Ok(()) } else { Err(refused("nfs.options", name)) }
    }
}

fn is_at_or_below(path: &Path, granted: &str) -> bool {
    granted.starts_with('/') && path.starts_with(granted)
}

fn check_plain(path: &str) -> Result<(), Error> {
    let is_plain = path.starts_with('/')
        && path.len() <= MAX_PATH_BYTES
        && !path.chars().any(char::is_control)
        && !Path::new(path).components().any(|part| part == Component::ParentDir);
    if is_plain {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "`{}` is not an export path: absolute, without `..` and control characters, at most \
         {MAX_PATH_BYTES} bytes",
        path.chars().take(200).filter(|c| !c.is_control()).collect::<String>()
    )))
}

/// A server as a plan names it.
#[derive(Debug, PartialEq, Eq)]
enum Server<'a> {
    Name(&'a str),
    Address(IpAddr),
}

impl<'a> Server<'a> {
    fn parse(server: &'a str) -> Result<Self, Error> {
        if let Ok(address) = server.parse::<IpAddr>() {
            return Ok(Self::Address(address.to_canonical()));
        }
        if server.len() <= MAX_SERVER_BYTES && is_host_name(server) {
            return Ok(Self::Name(server));
        }
        Err(Error::invalid(format!(
            "`{}` is neither a host name nor an address (an IPv6 address stands without brackets)",
            server.chars().take(100).filter(|c| !c.is_control()).collect::<String>()
        )))
    }

    fn matches(&self, pattern: &str) -> bool {
        match self {
            Self::Name(name) => match pattern.strip_prefix("*.") {
                Some(suffix) => is_below(name, suffix),
                None => name.eq_ignore_ascii_case(pattern),
            },
            Self::Address(address) => match pattern.split_once('/') {
                Some((network, bits)) => is_inside(*address, network, bits),
                None => pattern
                    .parse::<IpAddr>()
                    .is_ok_and(|granted| granted.to_canonical() == *address),
            },
        }
    }
}

impl std::fmt::Display for Server<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Address(address) => address.fmt(f),
        }
    }
}

/// Letters, digits, underscores and inner dashes between dots: names of hosts in DNS have no
/// underscore, but private zones and `/etc/hosts` do. The last label is not all digits: resolvers
/// read `10.1` and `0x7f000001` as addresses, which were then not compared as such.
fn is_host_name(name: &str) -> bool {
    let is_label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    let is_number = |label: &str| {
        label.bytes().all(|byte| byte.is_ascii_digit())
            || label.to_ascii_lowercase().starts_with("0x")
    };
    name.split('.').all(is_label) && !name.rsplit('.').next().is_some_and(is_number)
}

fn is_below(name: &str, suffix: &str) -> bool {
    let Some(at) = name.len().checked_sub(suffix.len()).filter(|at| *at > 1) else { return false };
    !suffix.is_empty()
        && name.get(at..).is_some_and(|end| end.eq_ignore_ascii_case(suffix))
        && name.get(..at).is_some_and(|start| start.ends_with('.'))
}

fn is_inside(address: IpAddr, network: &str, bits: &str) -> bool {
    let (Ok(network), Ok(bits)) = (network.parse::<IpAddr>(), bits.parse::<u32>()) else {
        return false;
    };
    match (address, network) {
        (IpAddr::V4(address), IpAddr::V4(network)) if bits <= 32 => {
            let drop = 32 - bits;
            address.to_bits().checked_shr(drop) == network.to_bits().checked_shr(drop)
        }
        (IpAddr::V6(address), IpAddr::V6(network)) if bits <= 128 => {
            let drop = 128 - bits;
            address.to_bits().checked_shr(drop) == network.to_bits().checked_shr(drop)
        }
        (IpAddr::V4(_) | IpAddr::V6(_), _) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;
    use crate::plan::{MakePath, MountPlace};

    fn mount(server: &str, path: &str, options: &[&str]) -> MountNfs {
        MountNfs {
            server: server.into(),
            path: path.into(),
            options: options.iter().map(|option| (*option).to_owned()).collect(),
            read_only: false,
            place: MountPlace::Target,
            make_path: None,
        }
    }

    fn policy(servers: &[&str]) -> NfsPolicy {
        NfsPolicy {
            servers: servers.iter().map(|server| (*server).to_owned()).collect(),
            ..NfsPolicy::default()
        }
    }

    fn permits(pattern: &str, server: &str) -> bool {
        policy(&[pattern]).check(&mount(server, "/", &[])).is_ok()
    }

    #[test]
    fn without_a_list_of_servers_nothing_is_granted() {
        for server in ["nas.example.com", "10.0.0.1", "fd00::1", "localhost"] {
            let error = NfsPolicy::default().check(&mount(server, "/", &[])).unwrap_err();
            assert_eq!(error.kind, ErrorKind::PermissionDenied, "{server}");
            assert!(error.to_string().contains("nfs.servers"), "{error}");
        }
    }

    #[test]
    fn a_name_is_granted_exactly_or_by_a_domain_that_it_lies_below() {
        for (pattern, server) in [
            ("nas.example.com", "nas.example.com"),
            ("nas.example.com", "NAS.Example.com"),
            ("*.example.com", "nas.example.com"),
            ("*.example.com", "a.b.EXAMPLE.com"),
            ("localhost", "localhost"),
            ("*.example.com", "nfs_1.example.com"),
        ] {
            assert!(permits(pattern, server), "{pattern} {server}");
        }
        for (pattern, server) in [
            ("nas.example.com", "nas.example.com.evil.org"),
            ("nas.example.com", "xnas.example.com"),
            ("*.example.com", "example.com"),
            ("*.example.com", "evil-example.com"),
            ("*.example.com", "nas.example.com.evil.org"),
            ("example.com", "nas.example.com"),
            ("*", "nas.example.com"),
            ("*.", "nas.example.com"),
            ("", "nas.example.com"),
            ("0.0.0.0/0", "nas.example.com"),
        ] {
            assert!(!permits(pattern, server), "{pattern} {server}");
        }
    }

    #[test]
    fn an_address_is_granted_however_it_is_spelled_or_by_its_network() {
        for (pattern, server) in [
            ("10.1.2.3", "10.1.2.3"),
            ("10.1.2.3", "::ffff:10.1.2.3"),
            ("fd00::1", "fd00:0:0:0:0:0:0:1"),
            ("10.0.0.0/8", "10.255.0.1"),
            ("10.0.0.0/8", "::ffff:10.1.2.3"),
            ("10.1.2.3/32", "10.1.2.3"),
            ("0.0.0.0/0", "192.0.2.1"),
            ("fd00::/8", "fdff::1"),
            ("fd00::1/128", "fd00::1"),
            ("::/0", "fd00::1"),
        ] {
            assert!(permits(pattern, server), "{pattern} {server}");
        }
        for (pattern, server) in [
            ("10.0.0.0/8", "11.0.0.1"),
            ("10.1.2.3/32", "10.1.2.4"),
            ("10.0.0.0/33", "10.0.0.1"),
            ("10.0.0.0/-1", "10.0.0.1"),
            ("10.0.0.0/", "10.0.0.1"),
            ("10.0.0.0", "10.0.0.1"),
            ("0.0.0.0/0", "fd00::1"),
            ("::/0", "10.0.0.1"),
            ("fd00::/129", "fd00::1"),
            ("*.0.0.1", "10.0.0.1"),
            ("nonsense/8", "10.0.0.1"),
        ] {
            assert!(!permits(pattern, server), "{pattern} {server}");
        }
    }

    #[test]
    fn what_a_resolver_or_the_kernel_could_read_as_another_server_is_no_server() {
        for server in [
            "",
            "10.1",
            "010.0.0.1",
            "0x7f000001",
            "2130706433",
            "nas.example.com.",
            ".example.com",
            "a..b",
            "-a.example.com",
            "nas.example.com:/other",
            "nas.example.com,evil.org",
            "nas example.com",
            "nas.example.com\n",
            "[fd00::1]",
            "fe80::1%eth0",
            "user@nas.example.com",
            "nas.example.com/x",
            "ünas.example.com",
            &"a".repeat(64),
            &format!("{}com", "a.".repeat(126)),
        ] {
            let error = policy(&[server, "*.example.com", "0.0.0.0/0", "::/0"])
                .check(&mount(server, "/", &[]))
                .unwrap_err();
            assert_eq!(error.kind, ErrorKind::InvalidArgument, "{server:?}");
        }
    }

    #[test]
    fn a_path_is_granted_by_whole_components() {
        let policy = NfsPolicy { paths: vec!["/k8s".into(), "/data/".into()], ..policy(&["n"]) };
        let check = |path: &str| policy.check(&mount("n", path, &[]));
        for path in ["/k8s", "/k8s/", "/k8s/a/b", "//k8s/a", "/data", "/data/x"] {
            assert!(check(path).is_ok(), "{path}");
        }
        for path in ["/", "/k8s2", "/k8", "/other/k8s"] {
            assert_eq!(check(path).unwrap_err().kind, ErrorKind::PermissionDenied, "{path}");
        }
        for path in ["", "k8s", "/k8s/../etc", "/k8s/..", "/k8s/a\nb", "/k8s/a\0", "../k8s"] {
            assert_eq!(check(path).unwrap_err().kind, ErrorKind::InvalidArgument, "{path:?}");
        }
        let everything = super::tests::policy(&["n"]);
        assert!(everything.check(&mount("n", "/any/where", &[])).is_ok());
        let nothing = NfsPolicy { paths: vec![], ..everything };
        assert!(nothing.check(&mount("n", "/", &[])).is_err());
    }

    #[test]
    fn a_path_is_made_only_below_a_granted_one() {
        let policy = NfsPolicy { paths: vec!["/k8s".into()], ..policy(&["n"]) };
        let make = |path: &str, root: &str| {
            policy.check(&MountNfs {
                make_path: Some(MakePath { root: root.into(), mode: 0o755, uid: None, gid: None }),
                ..mount("n", path, &[])
            })
        };
        assert!(make("/k8s/a", "/k8s").is_ok() && make("/k8s/a", "/k8s/a").is_ok());
        // What is mounted to make a part of it is narrowed to what is granted.
        assert!(make("/k8s/a", "/").is_ok());
        assert_eq!(make("/k9s/a", "/").unwrap_err().kind, ErrorKind::PermissionDenied);
        for root in ["/k8s/b", "/k8s/a/b", "k8s", "/k8s/../k8s", ""] {
            assert_eq!(
                make("/k8s/a", root).unwrap_err().kind,
                ErrorKind::InvalidArgument,
                "{root}"
            );
        }
    }

    #[test]
    fn a_directory_is_made_below_the_granted_one_that_is_nearest_to_what_exists() {
        let policy = NfsPolicy {
            paths: ["/k8s/team/deep", "/k8s/team/", "/k8", "/a"].map(str::to_owned).to_vec(),
            ..policy(&["n"])
        };
        for (path, root, expected) in [
            ("/k8s/team/deep/pv", "/", Some("/k8s/team/")),
            ("/k8s/team/deep/pv", "/k8s/team/deep", Some("/k8s/team/deep")),
            ("/k8s/team", "/", None),
            ("/a", "/", None),
            ("/a/b/c", "/", Some("/a")),
            ("/k8s/pv", "/k8s", None),
        ] {
            assert_eq!(policy.root_for_making(path, root), expected, "{path} {root}");
        }
        assert_eq!(NfsPolicy::default().root_for_making("/a", "/"), Some("/"));
    }

    #[test]
    fn options_are_granted_by_name_by_value_or_for_every_value() {
        let policy = NfsPolicy {
            options: ["nolock", "vers=*", "proto=tcp"].map(str::to_owned).to_vec(),
            ..policy(&["n"])
        };
        let check = |options: &[&str]| policy.check(&mount("n", "/", options));
        for options in
            [&["vers=3,nolock,proto=tcp"][..], &["vers=4.1", " nolock "], &["vers="], &["", ","]]
        {
            assert!(check(options).is_ok(), "{options:?}");
        }
        for option in
            ["lock", "nolock=1", "vers", "proto=udp", "proto=tcp6", "proto", "noresvport", "=x"]
        {
            let error = check(&["vers=3", option]).unwrap_err();
            assert_eq!(error.kind, ErrorKind::PermissionDenied, "{option}");
            assert!(error.to_string().contains("nfs.options"), "{error}");
            assert!(check(&[&format!("nolock,{option}")]).is_err(), "{option}");
        }
    }

    #[test]
    fn what_is_read_ahead_is_no_option_of_the_client_and_a_number() {
        let check = |option: &str| policy(&["n"]).check(&mount("n", "/", &[option]));
        assert!(check("readahead=512").is_ok() && check("hard,readahead=1,soft").is_ok());
        for option in ["readahead=", "readahead=x", "readahead=-1", "readahead=99999999999"] {
            assert_eq!(check(option).unwrap_err().kind, ErrorKind::InvalidArgument, "{option}");
        }
        assert_eq!(check("readahead").unwrap_err().kind, ErrorKind::PermissionDenied);
    }

    #[test]
    fn settings_of_the_kernel_have_bounds() {
        use serde::de::IntoDeserializer;
        use serde::de::value::{Error, U32Deserializer};
        let said = |value: u32| -> U32Deserializer<Error> { value.into_deserializer() };
        assert_eq!(read_ahead(said(65_536)).unwrap(), Some(65_536));
        assert_eq!(most_read_ahead(said(0)).unwrap(), 0);
        assert_eq!([2, 65_536].map(|value| slots(said(value)).unwrap()), [Some(2), Some(65_536)]);
        assert!(read_ahead(said(65_537)).is_err() && most_read_ahead(said(65_537)).is_err());
        for value in [1, 65_537] {
            assert!(slots(said(value)).unwrap_err().to_string().contains("between 2 and 65536"));
        }
    }

    #[test]
    fn a_mount_is_never_sent_to_another_server() {
        let policy = NfsPolicy {
            options: ["addr=*", "mountaddr=*", "mounthost=*"].map(str::to_owned).to_vec(),
            ..policy(&["n"])
        };
        for option in ["addr=10.0.0.1", "mountaddr=10.0.0.1", "mounthost=x", "nolock,addr=1"] {
            assert!(policy.check(&mount("n", "/", &[option])).is_err(), "{option}");
        }
    }

    #[test]
    fn what_is_granted_by_default_behaves_towards_the_granted_server_alone() {
        let policy = policy(&["n"]);
        let check = |option: &str| policy.check(&mount("n", "/", &[option]));
        for option in ["vers=3,nolock,proto=tcp,noresvport", "rsize=1048576,hard,timeo=600"] {
            assert!(check(option).is_ok(), "{option}");
        }
        for option in
            ["addr=1.2.3.4", "port=1", "mountport=1", "bg", "remount", "bind", "sec=krb5", "fsc"]
        {
            assert!(check(option).is_err(), "{option}");
        }
    }
}
