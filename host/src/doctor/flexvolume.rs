//! Installed FlexVolume drivers: that they are these, and as the configuration has them.

use std::path::Path;

use wharf_flexvolume::{DriverFile, DriverName};

use super::{Environment, Finding};

pub fn examine(environment: &Environment<'_>) -> Vec<Finding> {
    let Ok(this) = std::fs::read("/proc/self/exe") else { return Vec::new() };
    let names = environment.config.driver.values().flat_map(|driver| &driver.flexvolume);
    let names = names.filter_map(|name| DriverName::parse(name).ok());
    names.filter_map(|name| of_driver(environment, &name, &this)).collect()
}

/// `None` as well where none is installed: CSI may be all that is used here.
fn of_driver(environment: &Environment<'_>, name: &DriverName, this: &[u8]) -> Option<Finding> {
    let directory = environment.plugins.join(name.directory());
    let executable = directory.join(name.driver());
    let installed = std::fs::read(&executable).ok()?;
    let install = format!(
        "wharf --config {} flexvolume install --dir {}",
        environment.path.display(),
        environment.plugins.display()
    );
    let shown = executable.display();
    let file = match DriverFile::installed(&directory, name) {
        Ok(file) => file,
        Err(_) => {
            return Some(Finding::new(
                format!("{shown} is not Wharf's driver"),
                "kubelet calls an earlier plugin for these volumes",
                format!("{install} (it keeps the other one beside it)"),
            ));
        }
    };
    if !same_file(&file.config, environment.path) {
        return Some(Finding::new(
            format!("{shown} uses the configuration {}", file.config.display()),
            "what is changed in another file is not followed by kubelet's calls",
            install,
        ));
    }
    if file.state != environment.config.state || file.roots != environment.config.roots() {
        return Some(Finding::new(
            format!("{shown} was installed before `state` or kubelet's root were changed"),
            "volumes are looked for where they are not, and not unmounted",
            install,
        ));
    }
    (installed != this).then(|| {
        Finding::new(
            format!("{shown} is another build of Wharf ({}) than this one", file.version),
            "an update of this machine's Wharf does not reach kubelet's calls",
            install,
        )
    })
}

fn same_file(one: &Path, other: &Path) -> bool {
    let resolved = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    resolved(one) == resolved(other)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{finds, on, put};
    use super::examine;

    const TEXT: &str = "[backend.b]\n[driver.d]\nbackend = \"b\"\nflexvolume = [\"acme/disk\"]\n";

    #[test]
    fn a_driver_that_is_another_build_or_somebody_elses_is_found_and_this_one_is_not() {
        let root = tempfile::tempdir().unwrap();
        let at = root.path();
        assert_eq!(on(at, TEXT, examine), [], "none is installed");
        put(at, "plugins/acme~disk/disk", "#!/bin/sh\n");
        finds(&on(at, TEXT, examine), &["is not Wharf's driver", "flexvolume install"]);
        let describe = |config: &str, state: &str| {
            let text = format!(
                r#"{{"driver":"acme/disk","csi-driver":"d","backend":"b","config":"{0}/{config}","version":"0.0.9","state":"{0}/{state}","roots":["{0}/kubelet"],"attachable":true,"capabilities":{{"attach":true,"selinuxRelabel":true,"supportsMetrics":true,"fsGroup":true,"requiresFSResize":true}}}}"#,
                at.display()
            );
            put(at, "plugins/acme~disk/.wharf.json", &text);
            on(at, TEXT, examine)
        };
        finds(&describe("wharf.toml", "state"), &["another build of Wharf (0.0.9)"]);
        finds(&describe("other.toml", "state"), &["uses the configuration", "other.toml"]);
        finds(&describe("wharf.toml", "elsewhere"), &["before `state`"]);
        std::fs::copy("/proc/self/exe", at.join("plugins/acme~disk/disk")).unwrap();
        assert_eq!(describe("wharf.toml", "state"), []);
    }
}
