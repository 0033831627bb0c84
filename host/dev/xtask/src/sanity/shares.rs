//! csi-sanity for file storage, whose volumes a kernel's NFS client mounts. Where this kernel has
//! none, the command runs itself again in a second one ([`nfs_machine`]), with everything that is
//! checked: the region, the servers of its file systems, `wharf`, and csi-sanity.

use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use wharf_testing::bed::{Bed, BedOptions, MountLine, Parts};
use wharf_testing::nas_servers::NasServers;
use wharf_testing::nfs_machine;

use super::drivers::{NAS, SHARES};
use super::{Subject, check_all, check_troubled};
use crate::deadline;
use crate::packages;
use crate::supervise;
use crate::tally::Tally;

/// All runs together take half a minute on idle processors.
const LIMIT: Duration = Duration::from_secs(5 * 60);

/// This very program, also when the build has just put another file in its place.
const THIS_PROGRAM: &str = "/proc/self/exe";

/// How the lines begin that say what came of it.
const SKIPPED: &str = "skipped: ";
const FAILED: &str = "FAILED: ";

/// Runs it in a process of its own, which is or makes a machine with NFS.
pub fn part(tool: &Path, parts: &Parts) -> Result<Tally> {
    if let Err(error) = packages::ensure(packages::NFS) {
        return Ok(Tally::absent(format!("csi-sanity for file storage: {error:#}")));
    }
    let mut tally = Tally::default();
    let mut sanity = Command::new(THIS_PROGRAM);
    sanity.args(["sanity", "--only", "shares", "--tool"]).arg(tool);
    sanity.env("WHARF_BIN", &parts.wharf).env("WHARF_COMPONENTS", &parts.components);
    let status = supervise::run(&mut sanity, LIMIT.min(deadline::left()), |line| {
        take(&mut tally, line);
    })?;
    if !status.success() && tally.failures.is_empty() {
        tally.failures.push(format!("file storage: it ended ({status}) without saying why"));
    }
    ensure!(tally.passed() + tally.failures.len() > 0, "csi-sanity for file storage ran no check");
    Ok(tally)
}

/// A line of the process above.
fn take(tally: &mut Tally, line: &str) {
    if let Some(skip) = line.strip_prefix(SKIPPED) {
        tally.skips.push(skip.to_owned());
    } else if let Some(failure) = line.strip_prefix(FAILED) {
        tally.failures.push(failure.to_owned());
    } else if let Some((passed, rest)) = line.split_once(" passed, ")
        && rest.ends_with(" skipped")
    {
        (0..passed.parse().unwrap_or(0)).for_each(|_| tally.pass());
    }
}

/// What came of it in a machine with NFS; `None`: it ran in one, and has said so itself.
pub fn here_or_there(tool: &Path) -> Result<Option<Tally>> {
    if nfs_machine::is_here() {
        return run_all(tool).map(Some);
    }
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let code = nfs_machine::again(&arguments, LIMIT)?;
    ensure!(code == 0, "csi-sanity for file storage failed");
    Ok(None)
}

fn run_all(tool: &Path) -> Result<Tally> {
    let bed = Bed::make(&BedOptions { nodes: 1, backends: vec!["nas"], ..BedOptions::default() })?;
    let region = bed.region();
    region.make_file_system()?;
    for system in region.file_systems() {
        let files = system.directory.join(SHARES);
        fs::create_dir(&files).with_context(|| format!("cannot make {}", files.display()))?;
    }
    let mut servers = NasServers::begin(bed.directory())?;
    servers.follow(region)?;
    let machine = bed.node(0);
    machine.serve("all", bed.parts())?;
    let directory = machine.kubelet();
    let subject = Subject {
        driver: &NAS,
        tool,
        endpoint: format!("unix://{}", machine.socket_of(NAS.name).display()),
        directory: &directory,
        arguments: (NAS.arguments)(Some(region), &directory)?,
        until: Instant::now() + LIMIT,
    };
    let mut tally =
        check_all(&subject).and_then(|tally| check_troubled(&subject, region, tally))?;
    let left = |mount: &MountLine| format!("a mount is left at {}", mount.at.display());
    tally.failures.extend(bed.mounts().iter().map(left));
    Ok(tally)
}
