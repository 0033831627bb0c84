//! Which addresses a request may reach. A name is resolved here and the addresses that are
//! connected to are the ones that were judged, so a name server cannot send a granted name into the
//! node's own network after the check.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// Whether an address is outside of the public internet: this machine, its network, the cloud's
/// metadata service.
pub(crate) fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => is_private_v4(v4),
        IpAddr::V6(v6) => is_private_v6(v6),
    }
}

fn is_private_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    address.is_loopback()
        || address.is_private()
        || address.is_link_local()
        || address.is_broadcast()
        || address.is_multicast()
        || address.is_documentation()
        || a == 0
        // 100.64.0.0/10: carrier-grade NAT; 100.100.100.200 is a cloud's metadata service.
        || (a == 100 && (64..128).contains(&b))
        || (a == 192 && b == 0 && c == 0)
        || (a == 198 && (18..20).contains(&b))
        || a >= 240
}

fn is_private_v6(address: Ipv6Addr) -> bool {
    if let Some(v4) = embedded_v4(address) {
        return is_private_v4(v4);
    }
    // Locally translated (64:ff9b:1::/48, RFC 8215), site-local (fec0::/10) and IPv4-compatible
    // (::/96): none of them is anybody's public address.
    let is_local = matches!(
        address.segments(),
        [0x64, 0xff9b, 1, ..] | [0xfec0..=0xfeff, ..] | [0, 0, 0, 0, 0, 0, _, _]
    );
    is_local
        || address.is_multicast()
        || address.is_unique_local()
        || address.is_unicast_link_local()
}

/// The IPv4 address that a mapped, translated (RFC 6052) or tunnelled (6to4) address leads to.
fn embedded_v4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    match address.segments() {
        [0x64, 0xff9b, 0, 0, 0, 0, high, low]
        | [0, 0, 0, 0, 0, 0xffff, high, low]
        | [0x2002, high, low, ..] => {
            Some(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)))
        }
        _ => None,
    }
}

/// Resolves names to public addresses only.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PublicResolver;

impl Resolve for PublicResolver {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let all: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            let public: Vec<SocketAddr> =
                all.iter().copied().filter(|address| !is_private(address.ip())).collect();
            if public.is_empty() && !all.is_empty() {
                return Err(PrivateAddress { host: name.as_str().to_owned() }.into());
            }
            Ok(Box::new(public.into_iter()) as Addrs)
        })
    }
}

/// A name that leads only into private networks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PrivateAddress {
    pub(crate) host: String,
}

impl fmt::Display for PrivateAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` leads to a private address", self.host)
    }
}

impl std::error::Error for PrivateAddress {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_addresses_are_known_in_every_spelling() {
        for private in [
            "127.0.0.1",
            "127.8.8.8",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.0.1",
            "169.254.169.254",
            "100.100.100.200",
            "0.0.0.0",
            "255.255.255.255",
            "224.0.0.1",
            "192.0.0.1",
            "198.18.0.1",
            "240.0.0.1",
            "::1",
            "::",
            "fe80::1",
            "fd00::1",
            "ff02::1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "64:ff9b::7f00:1",
            "64:ff9b:1::2f58:490a",
            "2002:7f00:1::1",
            "2002:a9fe:a9fe::",
            "::7f00:1",
            "::47.88.73.10",
            "fec0::1",
            "feff::1",
        ] {
            assert!(is_private(private.parse().unwrap()), "{private}");
        }
        for public in [
            "47.88.73.10",
            "100.63.255.255",
            "100.128.0.1",
            "172.32.0.1",
            "2400:3200::1",
            "::ffff:47.88.73.10",
            "64:ff9b::2f58:490a",
            "2002:2f58:490a::1",
        ] {
            assert!(!is_private(public.parse().unwrap()), "{public}");
        }
    }
}
