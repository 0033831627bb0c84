//! Paths that a caller hands in. Checked as text here; that no link leads out of the root is the
//! node's to see.

use std::path::{Path, PathBuf};

use wharf_core::Error;

/// `PATH_MAX`, less the final zero.
const MAX_PATH: usize = 4095;
/// `NAME_MAX` of every file system that kubelet's directory can be on.
const MAX_NAME: usize = 255;

/// The directories below which kubelet keeps everything; no other path is touched.
#[derive(Debug, Clone)]
pub(crate) struct AllowedRoots(Vec<PathBuf>);

impl AllowedRoots {
    pub(crate) fn new(roots: Vec<PathBuf>) -> Self {
        Self(roots)
    }

    /// A path that must be there, absolute, without `.`, `..` and empty parts, and below one of the
    /// roots.
    pub(crate) fn required(&self, field: &str, value: String) -> Result<PathBuf, Error> {
        if value.is_empty() {
            return Err(Error::invalid(format!("{field} is missing")));
        }
        self.check(field, &value)?;
        if !can_exist(&value) {
            return Err(Error::invalid(format!(
                "{field} has a part of more than {MAX_NAME} bytes, which no file system takes"
            )));
        }
        Ok(PathBuf::from(value))
    }

    /// A path to take something away from; `None` where nothing can be: a name in it is longer than
    /// any file system takes.
    ///
    /// # Errors
    /// As [`required`](Self::required) otherwise.
    pub(crate) fn vacated(&self, field: &str, value: String) -> Result<Option<PathBuf>, Error> {
        if !value.is_empty() && !can_exist(&value) {
            return self.check(field, &value).map(|()| None);
        }
        self.required(field, value).map(Some)
    }

    /// The same, where it may be absent.
    pub(crate) fn optional(&self, field: &str, value: String) -> Result<Option<PathBuf>, Error> {
        if value.is_empty() { Ok(None) } else { self.required(field, value).map(Some) }
    }

    fn check(&self, field: &str, value: &str) -> Result<(), Error> {
        if value.len() > MAX_PATH {
            return Err(Error::invalid(format!(
                "{field} has {} bytes, at most {MAX_PATH} are allowed",
                value.len()
            )));
        }
        let rest = value
            .strip_prefix('/')
            .ok_or_else(|| Error::invalid(format!("{field} is not an absolute path")))?;
        if rest.contains('\0') || rest.split('/').any(|part| matches!(part, "" | "." | "..")) {
            return Err(Error::invalid(format!(
                "{field} is not a normalised path: it has empty parts, `.` or `..` in it"
            )));
        }
        if !self.0.iter().any(|root| Path::new(value).starts_with(root) && Path::new(value) != root)
        {
            let roots = self
                .0
                .iter()
                .map(|root| root.display().to_string())
                .collect::<Vec<_>>()
                .join(" or ");
            return Err(Error::invalid(format!("{field} is not below {roots}")).with_hint(
                "only paths below kubelet's directory are touched; if that is another one, set it \
                 in the configuration",
            ));
        }
        Ok(())
    }
}

fn can_exist(path: &str) -> bool {
    path.split('/').all(|part| part.len() <= MAX_NAME)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(path: &str) -> Result<PathBuf, Error> {
        AllowedRoots::new(vec!["/var/lib/kubelet".into()]).required("target_path", path.into())
    }

    #[test]
    fn a_plain_path_below_the_root_is_taken_as_it_is() {
        for path in [
            "/var/lib/kubelet/pods/x",
            "/var/lib/kubelet/..data",
            "/var/lib/kubelet/plugins/kubernetes.io/csi/pv/globalmount",
        ] {
            assert_eq!(checked(path), Ok(PathBuf::from(path)));
        }
    }

    #[test]
    fn every_other_path_is_refused() {
        let paths = [
            "",
            "/",
            "some/path",
            "./x",
            "/var/lib/kubelet",
            "/var/lib/kubelet/",
            "/var/lib/kubeletx/pods",
            "/var/lib/kubelet/../../../etc/passwd",
            "/var/lib/kubelet/pods/./x",
            "/var/lib/kubelet//pods",
            "/var/lib/kubelet/pods/x/",
            "//var/lib/kubelet/x",
            "/etc",
            "/var/lib/kubelet/a\0b",
        ];
        for path in paths {
            assert!(checked(path).is_err(), "{path:?}");
        }
        assert!(checked(&format!("/var/lib/kubelet/{}", "x/y".repeat(2000))).is_err());
    }
}
