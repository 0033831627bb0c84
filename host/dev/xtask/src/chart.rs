//! The part `chart`: `examples/chart` with every set of values in its `ci/`. Rendered, each is the
//! same every time, is what the API's schemas allow, keeps to the rules in [`policy`], and its
//! configurations are read by the real binary. Values below `ci/refused` are refused with what
//! their first line says.

mod configuration;
mod pods;
mod policy;
mod references;
mod renderer;
mod schemas;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use self::renderer::{Rendered, Renderer};
use self::schemas::{Schemas, VERSIONS};
use crate::binary::{self, Company};
use crate::tally::Tally;
use crate::workspace::Workspace;

/// How a file of values that has to be refused begins.
const SAYS: &str = "# says: ";

/// Fewer sets of values than this leave something of the chart unseen.
const LEAST_SETS: usize = 6;

/// One set of values, rendered for one version of Kubernetes.
struct Case {
    name: String,
    version: &'static str,
    objects: Vec<Value>,
}

/// For the table of parts.
pub fn part(workspace: &Workspace) -> Result<Tally> {
    let chart = workspace.path("examples/chart");
    let sets = files(&chart.join("ci"))?;
    ensure!(sets.len() >= LEAST_SETS, "there are {} sets of values", sets.len());
    let renderer = Renderer::find_or_build(workspace, &chart)?;
    let mut tally = Tally::default();
    let mut cases = Vec::new();
    for set in &sets {
        for version in VERSIONS {
            match render_twice(&renderer, set, version) {
                Ok(case) => cases.push(case),
                Err(error) => tally.failures.push(format!("{error:#}")),
            }
        }
    }
    for set in files(&chart.join("ci/refused"))? {
        take(&mut tally, refused(&renderer, &set)?.into_iter().collect());
    }
    check(workspace, &cases, &mut tally)?;
    Ok(tally)
}

fn check(workspace: &Workspace, cases: &[Case], tally: &mut Tally) -> Result<()> {
    let schemas = Schemas::find_or_install(workspace)?;
    let wharf = binary::build(workspace, Company::Tests)?;
    let directory = workspace.target.join("chart");
    fs::create_dir_all(&directory)?;
    for case in cases {
        let name = |complaint: String| format!("{} ({}): {complaint}", case.name, case.version);
        let of_schemas =
            schemas.complaints(case.objects.iter().map(|object| (case.version, object)))?;
        let mut complaints = of_schemas;
        complaints.extend(policy::complaints(&case.objects));
        complaints.extend(references::complaints(&case.objects));
        for (map, text) in configuration::configurations(&case.objects) {
            complaints.extend(configuration::complaints(&wharf, map, text, &directory)?);
        }
        take(tally, complaints.into_iter().map(name).collect());
    }
    let all: Vec<Value> = cases.iter().flat_map(|case| case.objects.clone()).collect();
    take(tally, configuration::grants_that_differ(workspace, &all)?);
    take(tally, configuration::secret_options_that_differ(workspace, &all)?);
    Ok(())
}

/// One check, with its complaints.
fn take(tally: &mut Tally, complaints: Vec<String>) {
    if complaints.is_empty() {
        tally.pass();
    }
    tally.failures.extend(complaints);
}

fn render_twice(renderer: &Renderer, set: &Path, version: &'static str) -> Result<Case> {
    let name = set.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let once = || {
        renderer.render(set, version).with_context(|| format!("{name} for Kubernetes {version}"))
    };
    let Rendered { notes, objects } = once()?;
    ensure!(once()?.objects == objects, "{name}: rendered twice, it differs");
    ensure!(
        !objects.is_empty() && notes.contains("kubectl"),
        "{name}: nothing to install or to do"
    );
    Ok(Case { name, version, objects })
}

fn refused(renderer: &Renderer, set: &Path) -> Result<Option<String>> {
    let text = fs::read_to_string(set)?;
    let says = text.lines().next().and_then(|line| line.strip_prefix(SAYS));
    let says = says.with_context(|| format!("{}: begins without `{SAYS}`", set.display()))?;
    let [_, .., newest] = VERSIONS;
    Ok(match renderer.render(set, newest) {
        Ok(_) => Some(format!("{} is not refused", set.display())),
        Err(error) if format!("{error:#}").contains(says) => None,
        Err(error) => Some(format!("{} is refused otherwise: {error:#}", set.display())),
    })
}

fn files(directory: &Path) -> Result<Vec<PathBuf>> {
    let list =
        fs::read_dir(directory).with_context(|| format!("cannot list {}", directory.display()))?;
    let mut files: Vec<PathBuf> = Vec::new();
    for entry in list {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "yaml") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}
