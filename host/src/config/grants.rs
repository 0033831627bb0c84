//! Grants beside the configuration: `grants.d/*.toml`, one file for each component, written by
//! `wharf backend install --grant` and laid into the configuration when that is read. A person can
//! read such a file, and takes the grants back by deleting it.

use std::collections::BTreeMap;
use std::fs::DirBuilder;
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use wharf_core::policy::EndpointGrant;

use super::load::Text;
use super::mistake::Mistake;
use super::read;
use super::tree::{Entry, Origin, Tree, Value, file};

/// One file of grants.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Grants {
    /// By the backend's section.
    #[serde(default)]
    pub backend: BTreeMap<String, Granted>,
}

/// What one backend is granted besides.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Granted {
    /// As in the configuration.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub grant: Vec<EndpointGrant>,
    /// As in the configuration.
    #[serde(default, skip_serializing_if = "GrantedNode::is_nothing")]
    pub node: GrantedNode,
}

/// What plans of one backend may do besides.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct GrantedNode {
    /// As in the configuration.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<String>,
    /// As in the configuration.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub filesystems: Vec<String>,
    /// As in the configuration.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub block_queue: Vec<String>,
}

impl GrantedNode {
    fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

/// Where they are for a configuration.
pub fn directory(config: &Path) -> PathBuf {
    config.parent().unwrap_or(Path::new("")).join("grants.d")
}

/// Lays every file of grants into the configuration. Those of backends that it does not have grant
/// nothing. Returns what is wrong with the files.
pub fn merge_into(tree: &mut Tree, config: &Path) -> Vec<Mistake> {
    let directory = directory(config);
    let mut mistakes = Vec::new();
    let files = match files(&directory) {
        Ok(files) => files,
        Err(error) => {
            let mistake = Mistake::new(format!("grants cannot be read: {error}"));
            return vec![mistake.at(&Origin::whole(file(&directory)))];
        }
    };
    for path in files {
        match read_file(&path) {
            Ok((_, grants)) => merge(tree, &grants),
            Err(more) => mistakes.extend(more),
        }
    }
    mistakes
}

/// In the order of their names; none where there is no directory.
pub(super) fn files(directory: &Path) -> std::io::Result<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut files: Vec<PathBuf> =
        entries.map(|entry| entry.map(|entry| entry.path())).collect::<std::io::Result<_>>()?;
    files.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    files.sort();
    Ok(files)
}

fn read_file(path: &Path) -> Result<(Grants, Tree), Vec<Mistake>> {
    let text = Text::read(path).map_err(|error| {
        let mistake = Mistake::new(format!("it cannot be read: {error}"));
        vec![mistake.at(&Origin::whole(file(path)))]
    })?;
    if let Some(writers) = text.writers {
        return Err(vec![writers]);
    }
    let tree = Tree::parse(&text.content.map_err(|mistake| vec![mistake])?, file(path))?;
    let grants = read::read(&tree).map_err(|(mistakes, _)| mistakes)?;
    Ok((grants, tree))
}

/// Lists become longer; nothing that the configuration says is replaced.
fn merge(tree: &mut Tree, grants: &Tree) {
    let backends: Vec<String> = grants.keys(&["backend"]).into_iter().map(str::to_owned).collect();
    for backend in backends {
        let at = ["backend".to_owned(), backend];
        if tree.find(&at).is_none() {
            continue;
        }
        for path in
            [&["grant"][..], &["node", "steps"], &["node", "filesystems"], &["node", "block-queue"]]
        {
            let path: Vec<String> =
                at.iter().cloned().chain(path.iter().map(|step| (*step).to_owned())).collect();
            if let Some(Tree { value: Value::List(more), .. }) = grants.find(&path) {
                append(tree, &path, more);
            }
        }
    }
}

fn append(tree: &mut Tree, path: &[String], more: &[Tree]) {
    let Some((first, rest)) = path.split_first() else {
        if let Value::List(list) = &mut tree.value {
            for tree in more {
                if !list.iter().any(|there| there.plain() == tree.plain()) {
                    list.push(tree.clone());
                }
            }
        }
        return;
    };
    let Value::Table(table) = &mut tree.value else { return };
    let Some(origin) = more.first().map(|tree| tree.origin.clone()) else { return };
    let entry = table.entry(first.clone()).or_insert_with(|| {
        let value =
            if rest.is_empty() { Value::List(Vec::new()) } else { Value::Table(BTreeMap::new()) };
        Entry { key: origin.clone(), tree: Tree { value, origin } }
    });
    append(&mut entry.tree, rest, more);
}

/// Adds grants to the file of a component, and returns the file. It is there whole or not at all.
///
/// # Errors
/// What cannot be read or written.
pub fn add(config: &Path, component: &str, more: &Grants) -> Result<PathBuf, String> {
    let directory = directory(config);
    let path = directory.join(format!("{component}.toml"));
    let mut grants = match std::fs::exists(&path) {
        Ok(true) => {
            let wrong = |mistakes: Vec<Mistake>| {
                let mistakes: Vec<_> = mistakes.iter().map(ToString::to_string).collect();
                format!("{} is wrong: {}", path.display(), mistakes.join("; "))
            };
            read_file(&path).map_err(wrong)?.0
        }
        _ => Grants::default(),
    };
    for (section, granted) in &more.backend {
        let there = grants.backend.entry(section.clone()).or_default();
        there.grant.extend(granted.grant.iter().cloned());
        for (list, words) in [
            (&mut there.node.steps, &granted.node.steps),
            (&mut there.node.filesystems, &granted.node.filesystems),
            (&mut there.node.block_queue, &granted.node.block_queue),
        ] {
            list.extend(words.iter().cloned());
        }
    }
    let text = toml::to_string(&grants).map_err(|error| error.to_string())?;
    let text = format!(
        "# What the component \"{component}\" asks for and the configuration does not grant, granted \
         by\n# `wharf backend install --grant`. Deleting this file takes it back.\n\n{text}"
    );
    write(&directory, &path, &text)
        .map_err(|error| format!("cannot write {}: {error}", path.display()))?;
    Ok(path)
}

fn write(directory: &Path, path: &Path, text: &str) -> std::io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o755).create(directory)?;
    wharf_files::replace_with_mode(path, text.as_bytes(), 0o644)
}

#[cfg(test)]
mod tests {
    use super::super::Loaded;
    use super::*;

    const CONFIG: &str = "[endpoint.api]\nurl = \"https://api\"\n[account.a]\ncomponent = \
                          \"auth\"\nsource = []\n[backend.disk.node]\nsteps = [\"format\"]\n\
                          [driver.d]\nbackend = \"disk\"\n";

    fn home() -> (tempfile::TempDir, PathBuf) {
        let home = tempfile::tempdir().unwrap();
        let config = home.path().join("wharf.toml");
        std::fs::write(&config, CONFIG).unwrap();
        (home, config)
    }

    fn grants(backend: &str) -> Grants {
        let granted = Granted {
            grant: vec![EndpointGrant {
                endpoint: "api".into(),
                account: Some("a".into()),
                actions: vec!["AttachDisk".into()],
                paths: Vec::new(),
            }],
            node: GrantedNode { steps: vec!["grow".into()], ..GrantedNode::default() },
        };
        Grants { backend: [(backend.to_owned(), granted)].into() }
    }

    #[test]
    fn what_is_granted_beside_the_configuration_is_granted_until_the_file_is_gone() {
        let (_home, config) = home();
        let file = add(&config, "disk", &grants("disk")).unwrap();
        let loaded = Loaded::load(&config).unwrap();
        let disk = &loaded.config.backend["disk"];
        assert_eq!(disk.node.steps, ["format", "grow"]);
        assert_eq!(disk.grant.first().unwrap().actions, ["AttachDisk"]);
        let path = ["backend", "disk", "node", "steps", "1"].map(str::to_owned);
        assert!(loaded.tree.origin_of(&path).to_string().contains("grants.d/disk.toml:"));
        std::fs::remove_file(file).unwrap();
        assert_eq!(Loaded::load(&config).unwrap().config.backend["disk"].node.steps, ["format"]);
    }

    #[test]
    fn grants_of_a_backend_that_there_is_not_grant_nothing() {
        let (_home, config) = home();
        add(&config, "other", &grants("other")).unwrap();
        assert_eq!(Loaded::load(&config).unwrap().config.backend.len(), 1);
    }

    #[test]
    fn a_second_grant_keeps_the_first() {
        let (_home, config) = home();
        add(&config, "disk", &grants("disk")).unwrap();
        let mut more = Grants::default();
        let node = GrantedNode { steps: vec!["check".into()], ..GrantedNode::default() };
        more.backend.insert("disk".into(), Granted { grant: Vec::new(), node });
        add(&config, "disk", &more).unwrap();
        let disk = &Loaded::load(&config).unwrap().config.backend["disk"];
        assert_eq!(disk.node.steps, ["format", "grow", "check"]);
        assert_eq!(disk.grant.len(), 1);
    }

    #[test]
    fn a_file_of_grants_that_others_may_write_or_that_says_more_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let (_home, config) = home();
        let file = add(&config, "disk", &grants("disk")).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o666)).unwrap();
        let refused = Loaded::load(&config).unwrap_err().to_string();
        assert!(refused.contains("chmod go-w") && refused.contains("grants.d"), "{refused}");
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
        std::fs::write(&file, "[backend.disk]\ncomponent = \"other\"\n").unwrap();
        let refused = Loaded::load(&config).unwrap_err().to_string();
        assert!(refused.contains("unknown field `component`"), "{refused}");
    }
}
