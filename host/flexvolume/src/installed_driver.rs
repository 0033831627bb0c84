//! Where this process was executed: `<plugins>/<vendor>~<driver>/<driver>`, which is all that
//! kubelet says about the driver.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::driver_name::DriverName;

/// The directory of an installed driver, and its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct InstalledDriver {
    pub(crate) directory: PathBuf,
    pub(crate) driver: DriverName,
}

impl InstalledDriver {
    /// Finds the driver by `argv[0]`: kubelet executes by absolute path. A bare word that is the
    /// driver's name leaves the rest to `executable`; any other means that the same file is
    /// used for something else, as when it compiles a component in a process of its own.
    pub(crate) fn find(
        argv0: &OsStr,
        executable: impl FnOnce() -> Option<PathBuf>,
    ) -> Option<Self> {
        if argv0.as_bytes().contains(&b'/') {
            return Self::of(&std::path::absolute(argv0).ok()?);
        }
        Self::of(&executable()?).filter(|installed| argv0 == installed.driver.driver())
    }

    fn of(executable: &Path) -> Option<Self> {
        let directory = executable.parent()?;
        let driver = DriverName::of_directory(directory.file_name()?.to_str()?)?;
        (executable.file_name()? == driver.driver())
            .then(|| Self { directory: directory.to_owned(), driver })
    }
}

/// The file that this process runs from.
pub(crate) fn own_executable() -> Option<PathBuf> {
    std::env::current_exe().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(argv0: &str) -> Option<String> {
        InstalledDriver::find(OsStr::new(argv0), || None)
            .map(|installed| installed.driver.to_string())
    }

    #[test]
    fn the_driver_is_the_directory_that_the_executable_lies_in() {
        assert_eq!(
            find("/usr/libexec/kubernetes/exec/alicloud~disk/disk").as_deref(),
            Some("alicloud/disk")
        );
        assert_eq!(find("/exec/alicloud~disk/./disk").as_deref(), Some("alicloud/disk"));
    }

    #[test]
    fn any_other_path_is_no_call_out() {
        for path in [
            "/usr/bin/wharf",
            "/exec/alicloud~disk/nas",
            "/exec/disk/disk",
            "/exec/a~b~c/c",
            "/",
            "",
            "/exec/alicloud~disk/disk/",
        ] {
            assert_eq!(find(path).filter(|_| !path.ends_with('/')), None, "{path}");
        }
    }

    #[test]
    fn a_bare_word_is_a_call_out_when_it_is_the_name_of_the_file_that_runs() {
        let installed = InstalledDriver::find(OsStr::new("disk"), || {
            Some(PathBuf::from("/exec/acme~disk/disk"))
        })
        .unwrap();
        assert_eq!(installed.directory, Path::new("/exec/acme~disk"));
        assert_eq!(
            InstalledDriver::find(OsStr::new("wharf"), || Some(PathBuf::from("/usr/bin/wharf"))),
            None
        );
        assert_eq!(
            InstalledDriver::find(OsStr::new("wharf"), || Some(PathBuf::from(
                "/exec/acme~disk/disk"
            ))),
            None
        );
    }
}
