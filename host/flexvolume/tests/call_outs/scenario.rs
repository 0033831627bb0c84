//! Scenario files: what is given, which call-outs come, and what they print and leave behind.
//!
//! ```text
//! # a sentence
//! given d-1 attached to i-2
//! call attach
//!   {"kubernetes.io/pvOrVolumeName":"d-1"}
//!   ''
//! = {"status":"Failure",…}
//! backend translate observe attach
//! left …
//! ```
//!
//! `given` and `call` lines are input; one argument stands on each indented line, `''` for an empty
//! one. `=`, `backend` and `left` lines are output. `$T` stands for the temporary directory, `$POD`
//! and `$GLOBAL` for the directories that kubelet uses.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use wharf_core::Error;
use wharf_core::ports::Node;
use wharf_flexvolume::NodeNameRule;

use super::cloud;
use super::world::World;

const POD: &str = "/var/lib/kubelet/pods/uid-1/volumes";
const GLOBAL: &str = "/var/lib/kubelet/plugins/kubernetes.io/flexvolume";

/// Runs a file's scenarios and returns the file as it should be.
pub fn replay(text: &str) -> String {
    let mut result = String::new();
    for block in text.split("\n\n").filter(|block| !block.trim().is_empty()) {
        if !result.is_empty() {
            result.push('\n');
        }
        replay_one(block, &mut result);
    }
    result
}

/// A look is two calls, and how many there are until the time is over depends on chance.
fn without_repeated_pairs<'a>(verbs: &[&'a str]) -> Vec<&'a str> {
    let mut kept: Vec<&str> = Vec::new();
    for verb in verbs {
        kept.push(verb);
        if let [.., a, b, c, d] = kept.as_slice()
            && (a, b) == (c, d)
        {
            kept.truncate(kept.len() - 2);
        }
    }
    kept
}

fn replay_one(block: &str, result: &mut String) {
    let mut world = World::new();
    let mut call: Vec<String> = Vec::new();
    let mut keep = |line: &str| result.push_str(&format!("{line}\n"));
    for line in block.lines().chain(["end"]) {
        if !line.starts_with("  ") && !call.is_empty() {
            let printed = world.call(&call);
            assert_eq!(printed.lines().count(), 1, "one line: {printed:?}");
            keep(&format!("= {}", shorten(&printed, &world).trim_end()));
            // How often something is repeated is the core's business.
            let mut verbs = world.cloud.state().calls.clone();
            verbs.dedup();
            let verbs = without_repeated_pairs(&verbs).join(" ");
            keep(format!("backend {verbs}").trim_end());
            call.clear();
        }
        match line.split_once(' ').unwrap_or((line, "")) {
            ("=" | "backend" | "left" | "end", _) => continue,
            ("#", _) => {}
            ("given", fact) => give(&mut world, fact),
            ("call", word) => call.push(word.to_owned()),
            ("", argument) => call.push(argument_of(argument.trim())),
            other => panic!("cannot read {other:?}"),
        }
        keep(line);
    }
    left(&world).iter().for_each(|line| keep(line));
}

fn argument_of(text: &str) -> String {
    match text {
        "''" => String::new(),
        text => text.replace("$POD", POD).replace("$GLOBAL", GLOBAL),
    }
}

fn shorten(text: &str, world: &World) -> String {
    text.replace(&*world.path().to_string_lossy(), "$T")
        .replace(POD, "$POD")
        .replace(GLOBAL, "$GLOBAL")
}

fn give(world: &mut World, fact: &str) {
    let words: Vec<&str> = fact.split(' ').collect();
    match words.as_slice() {
        ["driver", name] => world.driver = (*name).to_owned(),
        [disk, "attached", "to", node] => {
            let mut cloud = world.cloud.state();
            cloud.holders.entry((*disk).to_owned()).or_default().insert((*node).to_owned());
        }
        [disk, "without", "a", "serial"] => {
            world.cloud.state().without_serial.insert((*disk).to_owned());
        }
        [disk, "mounted", "at", path] => {
            let is_disk = disk.starts_with("d-");
            let shown = if is_disk { cloud::serial(disk) } else { (*disk).to_owned() };
            world.machine.mount_over(Path::new(&argument_of(path)), Some(&shown));
        }
        ["legacy", name, disk] => write_legacy(world, name, disk),
        ["half-written", "legacy", name] => write_legacy(world, name, "\n"),
        ["damaged", "legacy", name] => write_legacy(world, name, "d-/"),
        ["any", "node", "name"] => {
            world.install(|driver| driver.nodes.node_name = NodeNameRule::Any)
        }
        ["advertised", "attach"] => world.install(|driver| driver.capabilities.attach = true),
        ["cloud", "down"] => world.cloud.state().is_down = true,
        ["no", "configuration"] => world.has_no_configuration = true,
        ["no", "backend"] => world.cloud.state().has_no_backend = true,
        ["panic"] => world.cloud.state().panics = true,
        ["failing", step] => {
            world.machine.fail(step, Error::unavailable(format!("{step} failed")));
        }
        ["state", "lost"] => {
            let _ = fs::remove_dir_all(world.state_directory());
            for record in world.machine.all_records() {
                world.machine.forget(&record.driver, &record.volume).unwrap();
            }
        }
        ["state", "of", "detached", "names", "unwritable"] => {
            let directory =
                world.state_directory().join(format!("flexvolume/acme~{}", world.driver));
            fs::create_dir_all(&directory).unwrap();
            fs::write(directory.join("detached"), "a file where the directory should be").unwrap();
        }
        ["state", "unwritable"] => {
            fs::write(world.state_directory(), "a file where the directory should be").unwrap()
        }
        ["minutes", "pass"] => age(&world.state_directory()),
        ["reboot"] => world.machine.mounts().iter().for_each(|path| world.machine.lose_mount(path)),
        ["no", "driver", "file"] => {
            fs::remove_file(world.path().join(format!("plugins/acme~{}/.wharf.json", world.driver)))
                .unwrap()
        }
        other => panic!("cannot give {other:?}"),
    }
}

/// What the driver before wrote when it attached a volume.
fn write_legacy(world: &World, name: &str, text: &str) {
    fs::create_dir_all(world.legacy_directory()).unwrap();
    fs::write(world.legacy_directory().join(format!("{name}.conf")), text).unwrap();
}

/// As if everything had been written ten minutes earlier.
fn age(directory: &Path) {
    for (path, _) in files(directory) {
        let file = fs::File::options().write(true).open(directory.join(path)).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(600)).unwrap();
    }
}

fn left(world: &World) -> Vec<String> {
    let mut lines = Vec::new();
    let cloud = world.cloud.state();
    for (disk, node) in
        cloud.holders.iter().flat_map(|(disk, nodes)| nodes.iter().map(move |node| (disk, node)))
    {
        lines.push(format!("left {disk} attached to {node}"));
    }
    lines.extend(
        cloud
            .sizes
            .iter()
            .filter(|(_, size)| **size != 1 << 30)
            .map(|(disk, size)| format!("left {disk} of {size} bytes")),
    );
    let machine = &world.machine;
    let formatted = machine.formatted().into_iter();
    lines.extend(formatted.map(|(disk, fs_type)| format!("left {disk} formatted as {fs_type}")));
    for path in machine.mounts() {
        let shown = machine.shown(&path).unwrap();
        let is_read_only = machine.is_read_only(&path) == Some(true);
        let read_only = if is_read_only { ", read-only" } else { "" };
        lines.push(format!("left {shown} mounted at {}{read_only}", path.display()));
    }
    assert!(machine.removed().is_empty(), "kubelet removes the directory itself");
    for record in machine.all_records() {
        let state = if record.complete { "complete" } else { "incomplete" };
        lines.push(format!(
            "left record of {}, {state}, targets {}",
            record.volume,
            record.targets.len()
        ));
    }
    for (directory, name) in
        [(world.state_directory(), "state"), (world.legacy_directory(), "legacy")]
    {
        files(&directory)
            .iter()
            .for_each(|(path, text)| lines.push(format!("left {name} {path} {text}")));
    }
    lines.iter().map(|line| shorten(line, world)).collect()
}

/// Every file below, with its content.
fn files(directory: &Path) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut waiting = vec![directory.to_owned()];
    while let Some(next) = waiting.pop() {
        for entry in fs::read_dir(&next).into_iter().flatten().flatten() {
            match entry.file_type().unwrap().is_dir() {
                true => waiting.push(entry.path()),
                false => found.push((
                    entry.path().strip_prefix(directory).unwrap().display().to_string(),
                    fs::read_to_string(entry.path()).unwrap(),
                )),
            }
        }
    }
    found.sort();
    found
}
