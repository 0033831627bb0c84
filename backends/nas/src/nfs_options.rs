//! NFS versions and mount options. `mountOptions` win over `options`, and both over `vers`; the two
//! existing drivers have different defaults, and each keeps its own.

use wharf_sdk::Error;

use crate::server::Server;

/// Whose defaults hold where neither `options` nor `mountOptions` say anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Defaults {
    /// The CSI driver's.
    Csi,
    /// The FlexVolume driver's.
    FlexVolume,
}

impl Defaults {
    /// The options, as the driver writes them.
    pub fn of(self, version: Version) -> &'static str {
        match (self, version) {
            (Self::Csi, Version::V3) => {
                "nolock,proto=tcp,rsize=1048576,wsize=1048576,hard,timeo=600,retrans=2,noresvport"
            }
            (Self::FlexVolume, Version::V3) => "noresvport,nolock,tcp",
            (_, Version::V4_0 | Version::V4_1) => "noresvport",
        }
    }
}

/// The NFS version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// 3
    V3,
    /// 4.0
    V4_0,
    /// 4.1
    V4_1,
}

impl Version {
    /// Reads the value of this key.
    ///
    /// # Errors
    /// `invalid-argument` naming the key.
    pub fn parse(key: &str, value: &str) -> Result<Self, Error> {
        match value {
            "3" | "3.0" => Ok(Self::V3),
            "4" | "4.0" => Ok(Self::V4_0),
            "4.1" => Ok(Self::V4_1),
            _ => Err(Error::invalid(key, value, "3, 4.0 or 4.1")),
        }
    }

    /// As an attribute spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V3 => "3",
            Self::V4_0 => "4.0",
            Self::V4_1 => "4.1",
        }
    }
}

/// How an export is mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NfsOptions {
    /// The version.
    pub version: Version,
    /// All other options, one each, without `ro` and `rw`.
    pub options: Vec<String>,
    /// Whether they say `ro`.
    pub is_read_only: bool,
}

impl NfsOptions {
    /// From the attributes `vers` and `options` (an empty one counts as absent) and from
    /// `mountOptions`.
    ///
    /// # Errors
    /// `invalid-argument` naming the attribute.
    pub fn read(
        vers: &str,
        options: &str,
        mount_options: &[String],
        defaults: Defaults,
    ) -> Result<Self, Error> {
        let from_vers = match vers {
            "" => None,
            vers => Some(Version::parse("vers", vers)?),
        };
        let is_none = options.eq_ignore_ascii_case("none");
        let attribute = ParsedOptions::read("options", if is_none { "" } else { options })?;
        let flags = ParsedOptions::read("mountOptions", &mount_options.join(","))?;
        let version = flags.version.or(attribute.version).or(from_vers).unwrap_or(Version::V3);
        let options = match (flags.options.is_empty(), attribute.options.is_empty(), is_none) {
            (false, _, _) => flags.options,
            (true, false, _) | (true, true, true) => attribute.options,
            (true, true, false) => split(defaults.of(version)).map(str::to_owned).collect(),
        };
        let is_read_only = flags.is_read_only || attribute.is_read_only;
        Ok(Self { version, options, is_read_only })
    }

    /// What a dynamic volume's directory is made and removed with: the version's own defaults.
    pub fn plain(version: Version) -> Self {
        let options = split(Defaults::Csi.of(version)).map(str::to_owned).collect();
        Self { version, options, is_read_only: false }
    }

    /// As the attribute `options` spells them, so that no default applies any more.
    pub fn as_attribute(&self) -> String {
        let ro = self.is_read_only.then_some("ro");
        let words: Vec<&str> = self.options.iter().map(String::as_str).chain(ro).collect();
        if words.is_empty() { "none".to_owned() } else { words.join(",") }
    }

    /// As the plan wants them, the version first. The defaults name the protocol of IPv4
    /// (`proto=tcp`), by which no server can be mounted whose address is one of IPv6: there it is
    /// the same protocol of IPv6.
    pub fn for_plan(&self, server: &Server) -> Vec<String> {
        let version = format!("vers={}", self.version.as_str());
        let of_family = |option: &String| match option.as_str() {
            "proto=tcp" | "proto=udp" | "mountproto=tcp" | "mountproto=udp"
                if server.is_ipv6_address() =>
            {
                format!("{option}6")
            }
            _ => option.clone(),
        };
        std::iter::once(version).chain(self.options.iter().map(of_family)).collect()
    }
}

/// What one list of options says.
struct ParsedOptions {
    version: Option<Version>,
    options: Vec<String>,
    is_read_only: bool,
}

impl ParsedOptions {
    fn read(key: &str, list: &str) -> Result<Self, Error> {
        let mut parsed = Self { version: None, options: Vec::new(), is_read_only: false };
        let mut minor = None;
        for option in split(list) {
            if option.chars().any(|letter| letter.is_control() || letter.is_whitespace()) {
                return Err(Error::invalid(key, list, "options without spaces, between commas"));
            }
            match option.split_once('=') {
                Some(("vers" | "nfsvers", version)) => {
                    parsed.version = Some(Version::parse(key, version)?);
                }
                Some(("minorversion", number)) => minor = Some(number),
                _ => match option {
                    "ro" => parsed.is_read_only = true,
                    "rw" => {}
                    other => parsed.options.push(other.to_owned()),
                },
            }
        }
        if let Some(minor) = minor {
            parsed.version = Some(Version::parse(key, &format!("4.{minor}"))?);
        }
        Ok(parsed)
    }
}

fn split(options: &str) -> impl Iterator<Item = &str> {
    options.split(',').map(str::trim).filter(|option| !option.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(vers: &str, options: &str, flags: &[&str], defaults: Defaults) -> String {
        let flags: Vec<String> = flags.iter().map(|flag| (*flag).to_owned()).collect();
        let server = Server::parse("server", "nas.test").unwrap();
        NfsOptions::read(vers, options, &flags, defaults).unwrap().for_plan(&server).join(",")
    }

    #[test]
    fn each_driver_keeps_its_own_defaults() {
        let csi =
            "nolock,proto=tcp,rsize=1048576,wsize=1048576,hard,timeo=600,retrans=2,noresvport";
        for vers in ["", "3", "3.0"] {
            assert_eq!(read(vers, "", &[], Defaults::Csi), format!("vers=3,{csi}"));
            let flexvolume = read(vers, "", &[], Defaults::FlexVolume);
            assert_eq!(flexvolume, "vers=3,noresvport,nolock,tcp");
        }
        for defaults in [Defaults::Csi, Defaults::FlexVolume] {
            assert_eq!(read("4", "", &[], defaults), "vers=4.0,noresvport");
            assert_eq!(read("4.0", "", &[], defaults), "vers=4.0,noresvport");
            assert_eq!(read("4.1", "", &[], defaults), "vers=4.1,noresvport");
        }
    }

    #[test]
    fn an_ipv6_address_is_mounted_by_the_protocols_of_its_family() {
        let by_default = NfsOptions::plain(Version::V3);
        let said = ["proto=udp,mountproto=tcp,tcp".to_owned()];
        let by_a_person = NfsOptions::read("3", "", &said, Defaults::Csi).unwrap();
        for (server, expected, said) in [
            ("[fd00::1]", "proto=tcp6", "vers=3,proto=udp6,mountproto=tcp6,tcp"),
            ("10.0.0.1", "proto=tcp", "vers=3,proto=udp,mountproto=tcp,tcp"),
            ("nas.test", "proto=tcp", "vers=3,proto=udp,mountproto=tcp,tcp"),
        ] {
            let server = Server::parse("server", server).unwrap();
            assert!(by_default.for_plan(&server).contains(&expected.to_owned()), "{server}");
            assert_eq!(by_a_person.for_plan(&server).join(","), said);
        }
    }

    #[test]
    fn none_means_no_options_at_all() {
        for none in ["none", "NONE", "None"] {
            assert_eq!(read("3", none, &[], Defaults::Csi), "vers=3");
        }
    }

    #[test]
    fn mount_options_win_over_options_and_both_over_vers() {
        for (vers, options, flags, expected) in [
            ("3", "soft", &["hard,timeo=1", "vers=4.1"][..], "vers=4.1,hard,timeo=1"),
            ("3", "soft,vers=4.0", &[], "vers=4.0,soft"),
            ("4.0", "soft", &["vers=3"], "vers=3,soft"),
            ("3", "soft", &["nfsvers=3.0"], "vers=3,soft"),
            ("3", "none", &["hard"], "vers=3,hard"),
            ("", "soft", &["vers=4,minorversion=1"], "vers=4.1,soft"),
            ("", "", &["vers=4.0"], "vers=4.0,noresvport"),
        ] {
            assert_eq!(read(vers, options, flags, Defaults::Csi), expected);
        }
    }

    #[test]
    fn reading_only_may_be_said_in_either_list() {
        for (options, flags) in [("ro,hard", &[][..]), ("", &["ro".to_owned()])] {
            let read = NfsOptions::read("", options, flags, Defaults::Csi).unwrap();
            assert!(read.is_read_only && !read.options.contains(&"ro".to_owned()));
        }
    }

    #[test]
    fn what_is_no_version_and_no_option_is_refused() {
        for (vers, options, key) in [
            ("5", "", "vers"),
            ("4.2", "", "vers"),
            ("", "vers=2", "options"),
            ("", "a b", "options"),
        ] {
            let refused = NfsOptions::read(vers, options, &[], Defaults::Csi).unwrap_err();
            assert!(refused.message.starts_with(&format!("parameter `{key}` is")));
        }
    }
}
