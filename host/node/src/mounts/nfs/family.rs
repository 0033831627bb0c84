//! Which addresses of a server the options leave: `proto=` and `mountproto=` name a protocol of one
//! family (`tcp` is IPv4, `tcp6` IPv6), and the kernel refuses an address of the other. Options
//! without a family (`tcp`) leave all.

use std::net::IpAddr;

use wharf_core::Error;

/// What the options of one mount say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Families {
    is_ipv4_refused: bool,
    is_ipv6_refused: bool,
}

impl Families {
    /// Of options that are one each; of one that comes twice, the last counts.
    pub fn of(options: &[String]) -> Self {
        let last = |name: &str| {
            let mut values = options.iter().rev().filter_map(|option| option.split_once('='));
            values.find_map(|(key, value)| (key == name).then_some(value))
        };
        let asked = [last("proto"), last("mountproto")];
        let mut asked = asked.into_iter().flatten().map(|protocol| protocol.ends_with('6'));
        Self {
            is_ipv4_refused: asked.clone().any(|is_ipv6| is_ipv6),
            is_ipv6_refused: asked.any(|is_ipv6| !is_ipv6),
        }
    }

    /// Those of a server that it may be asked by, in their order.
    ///
    /// # Errors
    /// `FailedPrecondition` naming the server, when there are none.
    pub fn permitted(self, server: &str, addresses: Vec<IpAddr>) -> Result<Vec<IpAddr>, Error> {
        let permitted: Vec<IpAddr> = addresses
            .into_iter()
            .filter(|address| match address {
                IpAddr::V4(_) => !self.is_ipv4_refused,
                IpAddr::V6(_) => !self.is_ipv6_refused,
            })
            .collect();
        if !permitted.is_empty() {
            return Ok(permitted);
        }
        let (family, other) = match (self.is_ipv4_refused, self.is_ipv6_refused) {
            (true, true) => {
                return Err(Error::invalid(
                    "`proto` and `mountproto` name different families of addresses",
                ));
            }
            (true, false) => ("IPv6", "tcp"),
            (false, _) => ("IPv4", "tcp6"),
        };
        Err(Error::precondition(format!(
            "the NFS server {server} has no {family} address, which `proto` or `mountproto` asks for"
        ))
        .with_hint(format!("say `proto={other}` in `mountOptions`")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wharf_core::ErrorKind;

    const DUAL: [&str; 3] = ["fd00::1", "10.0.0.1", "fd00::2"];

    fn permitted(options: &str, addresses: &[&str]) -> Result<Vec<String>, Error> {
        let options: Vec<String> = options.split(',').map(str::to_owned).collect();
        let addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
        let left = Families::of(&options).permitted("nas.test", addresses)?;
        Ok(left.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn a_protocol_leaves_the_addresses_of_its_family() {
        for (options, expected) in [
            ("vers=3,nolock", &DUAL[..]),
            ("tcp", &DUAL),
            ("proto=tcp", &["10.0.0.1"]),
            ("proto=udp,hard", &["10.0.0.1"]),
            ("proto=rdma", &["10.0.0.1"]),
            ("mountproto=udp", &["10.0.0.1"]),
            ("proto=tcp6", &["fd00::1", "fd00::2"]),
            ("proto=udp6", &["fd00::1", "fd00::2"]),
            ("proto=tcp6,mountproto=udp6", &["fd00::1", "fd00::2"]),
            ("proto=tcp,proto=tcp6", &["fd00::1", "fd00::2"]),
            ("mountproto=tcp6,proto=tcp6,mountproto=tcp,proto=tcp", &["10.0.0.1"]),
        ] {
            assert_eq!(permitted(options, &DUAL).unwrap(), expected, "{options}");
        }
    }

    #[test]
    fn a_server_without_an_address_of_the_family_is_named_with_what_to_say() {
        for (options, address, said) in
            [("proto=tcp", "fd00::1", "`proto=tcp6`"), ("proto=tcp6", "10.0.0.1", "`proto=tcp`")]
        {
            let error = permitted(options, &[address]).unwrap_err();
            assert_eq!(error.kind, ErrorKind::FailedPrecondition);
            assert!(error.to_string().contains("nas.test"), "{error}");
            assert!(error.to_string().contains(said), "{error}");
        }
        let error = permitted("proto=tcp,mountproto=tcp6", &DUAL).unwrap_err();
        assert_eq!(error.kind, ErrorKind::InvalidArgument);
    }
}
