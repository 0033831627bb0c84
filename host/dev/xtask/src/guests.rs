//! The guests of the workspace: members with a `manifest.toml` beside their `Cargo.toml`. Reads and
//! checks that file, and writes what goes into the component. Called by `build-backends`; knows
//! nothing about compiling.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use wharf_core::manifest::{
    ComponentName, EndpointRequest, Manifest, NodeRequest, ShortText, World,
};
use wit_parser::{PackageId, Resolve};

use crate::workspace::{Package, Workspace};

/// The file that makes a package a guest.
const MANIFEST_FILE: &str = "manifest.toml";

/// A guest as its author describes it. Stricter than [`Manifest`]: a host ignores what it does not
/// know, an author must not mistype it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct ManifestFile {
    name: ComponentName,
    world: World,
    contract: ShortText<64>,
    #[serde(default)]
    request: Vec<Request>,
    #[serde(default)]
    node: Node,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    endpoint: ShortText<64>,
    signed: bool,
    #[serde(default)]
    actions: Vec<ShortText<512>>,
    #[serde(default)]
    paths: Vec<ShortText<512>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Node {
    #[serde(default)]
    steps: Vec<ShortText<64>>,
    #[serde(default)]
    filesystems: Vec<ShortText<64>>,
    #[serde(default)]
    block_queue: Vec<ShortText<64>>,
}

impl ManifestFile {
    fn with_version(self, version: ShortText<64>) -> Manifest {
        let request =
            self.request.into_iter().map(|Request { endpoint, signed, actions, paths }| {
                EndpointRequest { endpoint, signed, actions, paths }
            });
        let Node { steps, filesystems, block_queue } = self.node;
        let node = NodeRequest { steps, filesystems, block_queue };
        Manifest {
            name: self.name,
            version,
            world: self.world,
            contract: self.contract,
            request: request.collect(),
            node,
        }
    }
}

/// A package that becomes a component.
#[derive(Debug)]
pub struct Guest {
    /// The cargo package.
    pub package: String,
    /// Goes into the component. Its name is also the file's name.
    pub manifest: Manifest,
}

/// All guests, by package name. `suffix` is added to every version as build metadata.
pub fn find(workspace: &Workspace, suffix: Option<&str>) -> Result<Vec<Guest>> {
    let contract = Contract::read(&workspace.path("wit"))?;
    let mut guests = Vec::new();
    for package in &workspace.packages {
        let file = package.directory().join(MANIFEST_FILE);
        if file.is_file() {
            guests.push(
                read(package, &file, &contract, suffix)
                    .with_context(|| format!("in {}", file.display()))?,
            );
        }
    }
    refuse_twins(&guests)?;
    Ok(guests)
}

fn read(
    package: &Package,
    file: &Path,
    contract: &Contract,
    suffix: Option<&str>,
) -> Result<Guest> {
    let manifest: ManifestFile = toml::from_str(&std::fs::read_to_string(file)?)?;
    contract.check(&manifest)?;
    let version = match suffix {
        Some(suffix) => format!("{}+{suffix}", package.version),
        None => package.version.clone(),
    };
    Ok(Guest { package: package.name.clone(), manifest: manifest.with_version(version.parse()?) })
}

fn refuse_twins(guests: &[Guest]) -> Result<()> {
    for (index, guest) in guests.iter().enumerate() {
        if let Some(twin) =
            guests.iter().take(index).find(|other| other.manifest.name == guest.manifest.name)
        {
            bail!(
                "{} and {} both have a manifest with name = \"{}\"",
                twin.package,
                guest.package,
                guest.manifest.name
            );
        }
    }
    Ok(())
}

/// The contract in `wit/`, as far as a manifest speaks of it.
struct Contract {
    package: String,
    worlds: Vec<String>,
}

impl Contract {
    fn read(directory: &Path) -> Result<Self> {
        let mut resolve = Resolve::default();
        let (id, _) = resolve
            .push_dir(directory)
            .with_context(|| format!("cannot read the contract in {}", directory.display()))?;
        Self::of(&resolve, id)
    }

    fn of(resolve: &Resolve, id: PackageId) -> Result<Self> {
        let package = resolve.packages.get(id).context("the contract has no package")?;
        Ok(Self {
            package: package.name.to_string(),
            worlds: package.worlds.keys().cloned().collect(),
        })
    }

    fn check(&self, manifest: &ManifestFile) -> Result<()> {
        ensure!(
            *manifest.contract == *self.package,
            "contract = \"{}\", but `wit/` is {:?}",
            manifest.contract,
            self.package
        );
        let world = manifest.world.name();
        ensure!(
            self.worlds.iter().any(|known| known == world),
            "world = {world:?}, but `wit/` has only {}",
            self.worlds.join(", ")
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
        name = "disk"
        world = "backend"
        contract = "wharf:volume@0.1.0"
        [[request]]
        endpoint = "ecs"
        signed = true
        actions = ["AttachDisk"]
        [node]
        steps = ["find-device"]
    "#;

    fn contract() -> Contract {
        Contract {
            package: "wharf:volume@0.1.0".into(),
            worlds: vec!["backend".into(), "cloud-auth".into()],
        }
    }

    fn parse(text: &str) -> Result<Guest> {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join(MANIFEST_FILE);
        std::fs::write(&file, text).unwrap();
        let package: Package = serde_json::from_value(serde_json::json!({
            "name": "wharf-backend-disk", "version": "1.2.3", "manifest_path": directory.path().join("Cargo.toml"), "dependencies": [],
        }))
        .unwrap();
        read(&package, &file, &contract(), Some("again"))
    }

    #[test]
    fn a_manifest_carries_the_packages_version_and_the_suffix() {
        let json: serde_json::Value = serde_json::to_value(parse(GOOD).unwrap().manifest).unwrap();
        let expected = serde_json::json!({
            "name": "disk", "version": "1.2.3+again", "world": "backend", "contract": "wharf:volume@0.1.0",
            "request": [{"endpoint": "ecs", "signed": true, "actions": ["AttachDisk"], "paths": []}], "node": {"steps": ["find-device"]},
        });
        assert_eq!(json, expected);
    }

    #[test]
    fn a_manifest_with_an_unknown_key_another_contract_an_unknown_world_or_a_bad_name_is_refused() {
        let cases = [
            ("endpoint = \"ecs\"", "endpoint = \"ecs\"\ntimeout = 3", "timeout"),
            ("volume@0.1.0", "volume@0.2.0", "`wit/` is"),
            ("\"backend\"", "\"frontend\"", "unknown variant"),
            ("\"disk\"", "\"../disk\"", "lower-case"),
        ];
        for (good, bad, expected) in cases {
            assert!(GOOD.contains(good));
            let error = format!("{:#}", parse(&GOOD.replace(good, bad)).unwrap_err());
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn the_contract_of_this_tree_has_both_worlds() {
        let contract =
            Contract::read(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../wit")))
                .unwrap();
        assert!(contract.package.starts_with("wharf:volume@"));
        assert!(
            ["backend", "cloud-auth"]
                .iter()
                .all(|world| contract.worlds.iter().any(|found| found == world))
        );
    }
}
