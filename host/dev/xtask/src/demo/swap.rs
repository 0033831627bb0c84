//! Replacing the backend under way: a newer build while a disk is half attached, and builds that
//! are broken, each in its own way.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use wharf_cloudsim::Delays;
use wharf_testing::bed::Machine;

use super::DELAYS;
use super::csi::Written;
use super::scene::Scene;

/// How long the cloud would take for the attach if its clock were not moved on: longer than any
/// machine needs to install a backend.
const AGES: Duration = Duration::from_secs(3600);

/// How often the disk's state is looked at.
const GLANCE: Duration = Duration::from_millis(20);

/// What a disk is before it is in use.
const HALF_ATTACHED: &str = "Attaching";

/// Attaches the disk to the second node, and replaces the backend while the cloud is still at it.
pub fn replace(scene: &Scene, disk: &mut Written, newer: &Path) -> Result<()> {
    let (bed, node) = (scene.bed(), scene.node(1)?);
    let (region, manager) = (bed.region(), bed.manager());
    let (pids, old) = (pids(scene), active(scene, manager)?);
    region.set_delays(Delays { attach: u64::try_from(AGES.as_millis())?, ..DELAYS });
    std::thread::scope(|scope| {
        let volume = &mut disk.volume;
        let handle = volume.handle.clone();
        let attaching = scope.spawn(move || scene.csi().attach(volume, node));
        let is_over = || attaching.is_finished();
        let swapped = wait_until_half_attached(scene, &handle, is_over)
            .and_then(|()| install(scene, manager, newer));
        scene.note("the cloud finishes the attach");
        // Also when the installation failed: nobody is left waiting.
        region.set_delays(DELAYS);
        region.advance(AGES);
        let attached =
            attaching.join().unwrap_or_else(|payload| std::panic::resume_unwind(payload));
        swapped?;
        anyhow::Ok(attached?)
    })?;
    let (new, finished_on) = (active(scene, manager)?, scene.witness().generation_of("attach"));
    ensure!(new > old, "generation {new} is active, and it was {old} before");
    ensure!(
        finished_on == Some(new),
        "the attach was finished by generation {finished_on:?} and not by {new}"
    );
    ensure!(self::pids(scene) == pids, "a server restarted");
    scene.count_swap();
    scene.note(&format!(
        "begun on generation {old}, finished on generation {new}; the server is the same ({})",
        scene.pid(manager)
    ));
    scene.note("the nodes get the newer build too");
    bed.nodes().iter().try_for_each(|node| install(scene, node, newer))
}

fn wait_until_half_attached(scene: &Scene, handle: &str, is_over: impl Fn() -> bool) -> Result<()> {
    let status = || {
        scene
            .bed()
            .region()
            .disks()
            .into_iter()
            .find(|disk| disk.id == handle)
            .map(|disk| disk.status)
    };
    while status().as_deref() != Some(HALF_ATTACHED) {
        scene.check()?;
        ensure!(!is_over(), "the attach ended before the cloud began it");
        std::thread::sleep(GLANCE);
    }
    scene.note(&format!(
        "the cloud says that {handle} is \"{HALF_ATTACHED}\"; now the backend is replaced"
    ));
    Ok(())
}

fn install(scene: &Scene, machine: &Machine, file: &Path) -> Result<()> {
    let ran = scene
        .run(machine, &["backend", "install", "disk", &file.display().to_string(), "--activate"])?;
    ensure!(ran.code == Some(0), "`wharf backend install` failed: {}", ran.stderr);
    Ok(())
}

/// Offers builds that must be refused; the active one stays.
pub fn offer_broken(scene: &Scene, newer: &Path) -> Result<()> {
    let manager = scene.bed().manager();
    let (pids, before) = (pids(scene), active(scene, manager)?);
    let good = fs::read(newer).with_context(|| format!("cannot read {}", newer.display()))?;
    let directory = scene.bed().directory().join("offered");
    fs::create_dir_all(&directory).context("cannot make a directory for broken builds")?;
    let truncated = good.get(..good.len() / 2).unwrap_or_default().to_vec();
    let offers = [
        ("half.wasm", "half of a file", truncated),
        (
            "letter.wasm",
            "something that is no component",
            b"Dear operator, please run me as root.\n".to_vec(),
        ),
        (
            "future.wasm",
            "a sound component for a contract that this build does not speak",
            of_another_contract(&good),
        ),
    ];
    for (name, what, content) in offers {
        scene.note(what);
        let file = directory.join(name);
        fs::write(&file, content).with_context(|| format!("cannot write {}", file.display()))?;
        let ran = scene.run(
            manager,
            &["backend", "install", "disk", &file.display().to_string(), "--activate"],
        )?;
        ensure!(
            ran.code == Some(1) && !ran.stderr.is_empty(),
            "a broken build was not refused: {ran:?}"
        );
        scene.count_refusal();
    }
    let ran = scene.run(manager, &["backend", "list"])?;
    ensure!(ran.code == Some(0), "`wharf backend list` failed: {}", ran.stderr);
    ensure!(
        active(scene, manager)? == before && self::pids(scene) == pids,
        "a broken build displaced something"
    );
    scene.note(&format!(
        "generation {before} is still active, and the server is the same ({})",
        scene.pid(manager)
    ));
    Ok(())
}

/// Every name of the contract in it says another version, of the same length, so that the file
/// stays a valid component.
fn of_another_contract(component: &[u8]) -> Vec<u8> {
    const OURS: &[u8] = b"@0.1.0";
    const THEIRS: &[u8] = b"@9.1.0";
    let mut other = component.to_vec();
    let places: Vec<usize> = component
        .windows(OURS.len())
        .enumerate()
        .filter(|(_, window)| *window == OURS)
        .map(|(place, _)| place)
        .collect();
    for place in places {
        if let Some(name) = other.get_mut(place..place + OURS.len()) {
            name.copy_from_slice(THEIRS);
        }
    }
    other
}

/// The active generation of the disk backend.
fn active(scene: &Scene, machine: &Machine) -> Result<u64> {
    let ran = machine.run(scene.bed().parts(), &["backend", "list", "--output", "json"])?;
    let list: Vec<serde_json::Value> =
        serde_json::from_str(&ran.stdout).context("cannot read the list of backends")?;
    let disk = list.iter().find(|backend| backend.get("name").is_some_and(|name| name == "disk"));
    match disk.and_then(|disk| disk.get("active")?.as_u64()) {
        Some(number) => Ok(number),
        None => bail!("no disk backend is active on {}: {}", machine.name(), ran.stdout),
    }
}

fn pids(scene: &Scene) -> Vec<i32> {
    scene.bed().nodes().iter().chain([scene.bed().manager()]).map(Machine::server_pid).collect()
}
