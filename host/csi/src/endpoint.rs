//! The endpoint of a CSI plugin, as `CSI_ENDPOINT` names it.

use std::path::{Path, PathBuf};

/// A unix socket's path has at most this many bytes (`sun_path`, less the final zero).
const MAX_SOCKET_PATH: usize = 107;

/// Why an endpoint is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// Another kind of address.
    #[error("`{0}` is not a unix socket: an endpoint looks like unix:///csi/csi.sock")]
    NotUnix(String),
    /// A relative path, or one with `.` or `..` in it.
    #[error(
        "`{0}` is not an absolute path without `.` and `..`: an endpoint looks like \
         unix:///csi/csi.sock"
    )]
    NotAbsolute(String),
    /// The specification fixes the ending.
    #[error("`{0}` does not end in .sock, as CSI demands of an endpoint")]
    NotSock(String),
    /// The kernel's bound.
    #[error(
        "`{0}` is longer than {MAX_SOCKET_PATH} bytes, which is the longest path that a unix \
         socket can have"
    )]
    TooLong(String),
}

/// The socket's path: from `unix:///…`, or from the spellings `unix:/…` and `/…` that sidecars
/// accept too.
///
/// # Errors
/// When it is no such path, does not end in `.sock`, or cannot be bound.
pub fn parse(endpoint: &str) -> Result<PathBuf, EndpointError> {
    let path = match endpoint.strip_prefix("unix://").or_else(|| endpoint.strip_prefix("unix:")) {
        Some(path) => path,
        None if endpoint.contains("://") => {
            return Err(EndpointError::NotUnix(endpoint.to_owned()));
        }
        None => endpoint,
    };
    if !is_plain_absolute(path) {
        return Err(EndpointError::NotAbsolute(endpoint.to_owned()));
    }
    check(Path::new(path))?;
    Ok(PathBuf::from(path))
}

/// What [`crate::serve`] demands of a path, wherever it comes from.
pub(crate) fn check(path: &Path) -> Result<(), EndpointError> {
    let text = path.display().to_string();
    if !path.is_absolute() {
        return Err(EndpointError::NotAbsolute(text));
    }
    if path.extension().is_none_or(|extension| extension != "sock") {
        return Err(EndpointError::NotSock(text));
    }
    if path.as_os_str().len() > MAX_SOCKET_PATH {
        return Err(EndpointError::TooLong(text));
    }
    Ok(())
}

fn is_plain_absolute(path: &str) -> bool {
    path.strip_prefix('/').is_some_and(|rest| {
        rest.split('/').all(|part| !matches!(part, "" | "." | "..") && !part.contains('\0'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_spellings_of_a_unix_socket_mean_the_same_path() {
        for endpoint in ["unix:///csi/csi.sock", "unix:/csi/csi.sock", "/csi/csi.sock"] {
            assert_eq!(parse(endpoint), Ok(PathBuf::from("/csi/csi.sock")), "{endpoint}");
        }
    }

    #[test]
    fn other_addresses_are_refused_with_an_example() {
        for endpoint in ["tcp://127.0.0.1:10000", "http://x/csi.sock"] {
            let refused = parse(endpoint).unwrap_err();
            assert!(matches!(refused, EndpointError::NotUnix(_)), "{endpoint}");
            assert!(refused.to_string().contains("unix:///csi/csi.sock"));
        }
    }

    #[test]
    fn a_path_is_absolute_plain_short_and_ends_in_sock() {
        for endpoint in
            ["", "csi.sock", "unix://csi.sock", "/csi/../x.sock", "/csi//x.sock", "/./x.sock"]
        {
            assert!(matches!(parse(endpoint), Err(EndpointError::NotAbsolute(_))), "{endpoint}");
        }
        for endpoint in ["/csi/csi", "/csi/.sock", "/csi/csi.socket"] {
            assert!(matches!(parse(endpoint), Err(EndpointError::NotSock(_))), "{endpoint}");
        }
        let long = format!("/{}.sock", "a".repeat(102));
        assert!(parse(&long).is_ok() == (long.len() <= MAX_SOCKET_PATH));
        assert!(matches!(parse(&format!("/a{long}")), Err(EndpointError::TooLong(_))));
    }
}
