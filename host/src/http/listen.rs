//! Where to listen, as an operator writes it.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use serde::Deserialize;

/// An address.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum Listen {
    /// A TCP address and port.
    Tcp(SocketAddr),
    /// A unix socket.
    Unix(PathBuf),
}

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.starts_with("unix:") {
            return wharf_csi::endpoint::parse(text)
                .map(Self::Unix)
                .map_err(|error| error.to_string());
        }
        text.parse().map(Self::Tcp).map_err(|_| {
            format!(
                "`{text}` is no address to listen on: write 127.0.0.1:9808, 0.0.0.0:9808, \
                 [::]:9808 or unix:///run/wharf/http.sock"
            )
        })
    }
}

impl TryFrom<String> for Listen {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "http://{address}"),
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_tcp_with_a_port_or_a_unix_socket() {
        for text in ["127.0.0.1:9808", "0.0.0.0:9808", "[::]:0"] {
            assert!(matches!(text.parse(), Ok(Listen::Tcp(_))), "{text}");
        }
        let path = PathBuf::from("/run/wharf/http.sock");
        assert_eq!("unix:///run/wharf/http.sock".parse(), Ok(Listen::Unix(path)));
        for text in ["9808", ":9808", "localhost:9808", "http://127.0.0.1:9808", "unix://x.sock"] {
            let error = text.parse::<Listen>().unwrap_err();
            assert!(error.contains("unix:///"), "{text}: {error}");
        }
    }
}
