//! The configurations that the chart renders: the real binary reads them, and together they grant
//! what the components ask for, no more and no less.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;
use toml::Table;

use super::pods::{list, text};
use crate::workspace::Workspace;

/// Every `wharf.toml` among the objects, with the name of its ConfigMap.
pub fn configurations(objects: &[Value]) -> impl Iterator<Item = (&str, &str)> {
    let maps = objects.iter().filter(|object| text(object, "/kind") == "ConfigMap");
    maps.map(|map| (text(map, "/metadata/name"), text(map, "/data/wharf.toml")))
}

/// What the binary says against a configuration, doubts included.
pub fn complaints(
    wharf: &Path,
    name: &str,
    configuration: &str,
    directory: &Path,
) -> Result<Vec<String>> {
    let file = directory.join("wharf.toml");
    fs::write(&file, configuration).with_context(|| format!("cannot write {}", file.display()))?;
    let mut ask = Command::new(wharf);
    ask.arg("--config").arg(&file).args(["config", "check", "--output", "json"]);
    let output = ask.output().context("cannot start the wharf binary")?;
    let said: Value = serde_json::from_slice(&output.stdout).with_context(|| {
        format!("`wharf config check` says: {}", String::from_utf8_lossy(&output.stderr))
    })?;
    let all = list(&said, "/mistakes").iter().chain(list(&said, "/doubts"));
    Ok(all.map(|one| format!("ConfigMap {name}: {one}")).collect())
}

/// What components ask for and no configuration of the given objects grants, or the reverse. For
/// objects of a cluster that has everything turned on.
pub fn grants_that_differ(workspace: &Workspace, objects: &[Value]) -> Result<Vec<String>> {
    let mut granted = BTreeMap::new();
    for (name, text) in configurations(objects) {
        let table: Table = text.parse().with_context(|| format!("ConfigMap {name}"))?;
        let backends = table.get("backend").and_then(toml::Value::as_table);
        for (backend, section) in backends.into_iter().flatten() {
            collect(section, granted.entry(backend.clone()).or_insert_with(BTreeSet::new));
        }
    }
    let mut complaints = Vec::new();
    for (backend, granted) in granted {
        let manifest = workspace.path("backends").join(&backend).join("manifest.toml");
        let text = fs::read_to_string(&manifest)
            .with_context(|| format!("cannot read {}", manifest.display()))?;
        let mut asked = BTreeSet::new();
        collect(&toml::Value::Table(text.parse()?), &mut asked);
        let differing = asked.symmetric_difference(&granted);
        complaints.extend(differing.map(|one| match asked.contains(one) {
            true => format!("{backend} asks for {one}, and the chart never grants it"),
            false => format!("the chart grants {one}, and {backend} does not ask for it"),
        }));
    }
    Ok(complaints)
}

/// Options of FlexVolume that hold keys, where the chart names others than the cloud's preset: a
/// volume would be mounted with the one and refused with the other.
pub fn secret_options_that_differ(workspace: &Workspace, objects: &[Value]) -> Result<Vec<String>> {
    let file = workspace.path("backends/alicloud/preset.toml");
    let text =
        fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
    let preset: Table = text.parse().context("the preset")?;
    let options = |section: &toml::Value| section.get("secret-options").cloned();
    let of_preset = preset.get("shared").and_then(|shared| options(shared.get("flexvolume")?));
    let mut complaints = Vec::new();
    for (name, text) in configurations(objects) {
        let table: Table = text.parse().with_context(|| format!("ConfigMap {name}"))?;
        let Some(section) = table.get("flexvolume") else { continue };
        if of_preset.is_none() || options(section) != of_preset {
            complaints.push(format!(
                "ConfigMap {name}: `secret-options` of `[flexvolume]` is another than the preset's"
            ));
        }
    }
    Ok(complaints)
}

/// Actions, paths and steps, of a manifest or of a section of a configuration. Object storage is
/// granted by the names of its buckets, of which an operator says fewer than are asked for.
fn collect(section: &toml::Value, into: &mut BTreeSet<String>) {
    let rows = ["request", "grant"].into_iter().filter_map(|key| section.get(key)?.as_array());
    for row in rows.flatten() {
        let endpoint = row.get("endpoint").and_then(toml::Value::as_str).unwrap_or_default();
        let words = ["actions", "paths"].into_iter().filter_map(|key| row.get(key)?.as_array());
        for word in words.flatten().filter_map(toml::Value::as_str) {
            let word = word.replace(" k8s-*", " *");
            into.insert(format!("{endpoint}: {word}"));
        }
    }
    let steps = section.get("node").and_then(|node| node.get("steps")?.as_array());
    let steps = steps.into_iter().flatten().filter_map(toml::Value::as_str);
    into.extend(steps.map(|step| format!("step {step}")));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_and_what_is_granted_are_read_alike() {
        let of = |text: &str| {
            let mut all = BTreeSet::new();
            collect(&toml::Value::Table(text.parse().unwrap()), &mut all);
            all
        };
        let asked = of(
            "[[request]]\nendpoint = \"oss\"\nsigned = true\npaths = [\"PUT *?tagging\"]\n[node]\nsteps = [\"grow\"]",
        );
        let granted = of(
            "[[grant]]\nendpoint = \"oss\"\naccount = \"a\"\npaths = [\"PUT k8s-*?tagging\"]\n[node]\nsteps = [\"grow\"]",
        );
        assert_eq!(asked, granted);
        assert_eq!(asked.len(), 2);
        assert_ne!(asked, of("[[grant]]\nendpoint = \"oss\"\npaths = [\"PUT k8s-*?acl\"]"));
    }
}
