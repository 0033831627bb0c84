//! `wharf migrate`: what becomes of the objects of an earlier driver. Reads them on standard input,
//! asks the installed components about each, and writes what to apply, step by step with the way
//! back.
//!
//! It changes nothing and asks nobody: no cluster, no cloud. Nothing that it writes deletes,
//! detaches or unmounts. Keys that stand in objects are never printed.

use std::io::Read;
use std::path::Path;

use serde_json::json;

use crate::assembly::{Assembly, Process};
use crate::cli::{Migrate, Written};
use crate::config::Config;
use crate::output::{self, Failure};

mod classes;
mod cluster;
mod hidden;
mod inline;
mod judge;
mod objects;
mod report;
mod to_csi;
mod to_flexvolume;
mod volume_index;
mod volumes;
mod yaml;

use cluster::Cluster;
use inline::Inlines;
use judge::Judge;
use objects::Objects;
use report::Report;
use volume_index::VolumeIndex;
use volumes::Asked;

/// Ten thousand PersistentVolumes with their claims. What is read takes about ten times as much
/// memory.
const MAX_BYTES: u64 = 32 << 20;

/// Reads, judges and prints.
///
/// # Errors
/// What is wrong with the input or with the configuration; something needs a person, which is
/// printed then.
pub fn run(config: &Path, command: &Migrate) -> Result<(), Failure> {
    let text = read(std::io::stdin().lock())?;
    let objects = Objects::read(&text).map_err(Failure::Input)?;
    let config = Config::load(config).map_err(|error| error.for_a_command())?;
    let assembly = Assembly::new(&config, &Process::OneCall).map_err(|error| error.to_string())?;
    let judges = judge::all(&config, &assembly).map_err(|error| error.to_string())?;
    let report = report(&objects, &judges, command).map_err(Failure::Input)?;
    match command.output {
        Written::Text => output::print(&report.text()),
        Written::Json => output::print(&format!("{:#}", json!(report))),
        Written::Yaml => output::write(yaml::written(&json!(report)).as_bytes()),
    }?;
    if report.needs_a_person() { Err(Failure::Printed) } else { Ok(()) }
}

fn read(input: impl Read) -> Result<String, Failure> {
    let mut text = Vec::new();
    let read = input.take(MAX_BYTES + 1).read_to_end(&mut text);
    read.map_err(|error| Failure::Input(format!("cannot read standard input: {error}")))?;
    if text.len() as u64 > MAX_BYTES {
        let mib = MAX_BYTES >> 20;
        return Err(Failure::Input(format!(
            "there are more than {mib} MiB on standard input; give the objects in parts"
        )));
    }
    String::from_utf8(text).map_err(|_| Failure::Input("standard input is no UTF-8 text".into()))
}

fn report(objects: &Objects, judges: &[Judge<'_>], to: &Migrate) -> Result<Report, String> {
    let cluster = Cluster::of(objects)?;
    let inlines = Inlines::of(objects)?;
    let moves = to.to_csi || to.to_flexvolume;
    let index = moves.then(|| VolumeIndex::of(judges, objects, &inlines)).transpose()?;
    let asked = Asked {
        judges,
        cluster: &cluster,
        to_csi: index.as_ref().filter(|_| to.to_csi),
        to_flexvolume: index.as_ref().filter(|_| to.to_flexvolume),
    };
    let mut report = Report { objects: Vec::new(), not_looked_at: objects.others };
    for object in &objects.known {
        let item = match object.kind {
            "PersistentVolume" => volumes::judge(&asked, object)?,
            "StorageClass" => classes::storage_class(judges, object)?,
            "VolumeSnapshotClass" => classes::snapshot_class(judges, object)?,
            "CSIDriver" => classes::csi_driver(judges, object)?,
            _ => continue,
        };
        report.take(item);
    }
    for inline in inlines.all() {
        report.take(inline::judge(&asked, inline)?);
    }
    Ok(report)
}
