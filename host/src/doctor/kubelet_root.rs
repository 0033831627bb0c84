//! kubelet's root directory: that it is there, and that kubelet has it for its own.

use std::path::{Path, PathBuf};

use super::{Environment, Finding};

/// Where kubelet has its root directory unless it is configured otherwise.
const USUAL: &str = "/var/lib/kubelet";

pub fn examine(environment: &Environment<'_>) -> Vec<Finding> {
    let configured = &environment.config.kubelet_root;
    let roots = environment.config.roots();
    if let Some(real) = of_kubelet(&environment.proc).filter(|real| !is_same(real, &roots)) {
        return vec![Finding::new(
            format!(
                "kubelet's root directory is {}, and not {}",
                real.display(),
                configured.display()
            ),
            "calls with kubelet's paths are refused, and kubelet does not find the sockets",
            format!(
                "write `kubelet-root = \"{}\"` into {}",
                real.display(),
                environment.path.display()
            ),
        )];
    }
    if configured.is_dir() {
        return Vec::new();
    }
    vec![Finding::new(
        format!("there is no directory {}", configured.display()),
        "kubelet is not installed here, has another root directory, or it is not in this container",
        format!(
            "write kubelet's `--root-dir` as `kubelet-root` into {}; in a pod, mount it at the same \
             path",
            environment.path.display()
        ),
    )]
}

fn is_same(real: &Path, roots: &[PathBuf]) -> bool {
    let resolved = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    roots.iter().any(|root| resolved(root) == resolved(real))
}

/// What a kubelet that runs here was given. `None`: none is seen, or its configuration file says
/// it.
fn of_kubelet(proc: &Path) -> Option<PathBuf> {
    let processes = std::fs::read_dir(proc).ok()?.flatten();
    let mut lines =
        processes.filter_map(|process| std::fs::read(process.path().join("cmdline")).ok());
    lines.find_map(|line| {
        let words: Vec<String> = line
            .split(|byte| *byte == 0)
            .map(|word| String::from_utf8_lossy(word).into_owned())
            .collect();
        let program = Path::new(words.first()?).file_name()?;
        if program != "kubelet" {
            return None;
        }
        let value = |index: usize, word: &String| match word.split_once('=') {
            Some(("--root-dir", value)) => Some(value.to_owned()),
            None if word == "--root-dir" => words.get(index + 1).cloned(),
            _ => None,
        };
        let said = words.iter().enumerate().find_map(|(index, word)| value(index, word));
        Some(said.unwrap_or_else(|| USUAL.to_owned()).into())
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::{finds, on, put};
    use super::examine;

    #[test]
    fn a_kubelet_with_another_root_is_found_and_one_with_the_same_is_not() {
        let root = tempfile::tempdir().unwrap();
        let at = root.path();
        std::fs::create_dir(at.join("kubelet")).unwrap();
        assert_eq!(on(at, "", examine), []);
        put(at, "proc/7/cmdline", "/usr/bin/kubelet\0--v=2\0--root-dir\0/data/kubelet\0");
        finds(&on(at, "", examine), &["is /data/kubelet", "kubelet-root = \"/data/kubelet\""]);
        let same = format!("kubelet\0--root-dir={}/kubelet\0", at.display());
        put(at, "proc/7/cmdline", &same);
        assert_eq!(on(at, "", examine), []);
        put(at, "proc/7/cmdline", "/bin/sh\0kubelet\0--root-dir=/x\0");
        assert_eq!(on(at, "", examine), []);
    }

    #[test]
    fn a_root_that_is_not_there_is_found() {
        let root = tempfile::tempdir().unwrap();
        finds(&on(root.path(), "", examine), &["there is no directory", "--root-dir"]);
    }
}
