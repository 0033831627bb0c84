//! The life of a share over FlexVolume: a process for each call-out. No request goes to the cloud.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use wharf_testing::bed::{Bed, BedOptions, Machine};
use wharf_testing::player::{Event, FlexNode, FlexPlayer, FlexVolume, Happening, PlayError};

use super::call_out;
use super::kind::Kind;
use super::life::{Life, Lives, retry};
use super::nas::{BEDS, DIRECTORY, files, prepare, server_of};
use super::pod::{Found, use_volume};

const FLEX: &str = "alicloud/nas";
const POD: &str = "pod";

/// Over FlexVolume.
pub struct FlexLife;

impl Lives for FlexLife {
    type On<'a> = OneFlexLife<'a>;
    const BEDS: usize = BEDS;
    const KINDS: &'static [Kind] = &[Kind::Killed, Kind::Orphaned];

    fn bed() -> BedOptions {
        BedOptions { backends: vec!["nas"], ..BedOptions::default() }
    }
}

pub struct OneFlexLife<'a> {
    bed: &'a Bed,
    flex: FlexPlayer,
    nodes: Vec<FlexNode>,
    volume: FlexVolume,
    skipped: Arc<AtomicBool>,
}

impl<'a> Life<'a> for OneFlexLife<'a> {
    const VERBS: &'static [&'static str] =
        &["mount", "mount elsewhere", "unmount", "unmount elsewhere"];

    fn prepare(bed: &Bed) {
        prepare(bed);
        bed.install_flexvolume().unwrap();
    }

    fn has(_verb: &str, _kind: Kind) -> bool {
        true
    }

    fn begin(bed: &'a Bed, number: usize) -> Self {
        let name = format!("pv-life-{number:04}");
        let (server, path) = (server_of(bed), format!("{DIRECTORY}/{name}"));
        let options = [("server", server.as_str()), ("path", path.as_str()), ("mode", "770")];
        let skipped: Arc<AtomicBool> = Arc::default();
        let heard = Arc::clone(&skipped);
        let audience = Arc::new(move |event: &Event| {
            heard.fetch_or(matches!(event.happening, Happening::Skipped { .. }), Ordering::SeqCst);
        });
        Self {
            bed,
            flex: bed.flex_of(FLEX).with_retry(retry()).with_audience(audience),
            nodes: bed.nodes().iter().map(Machine::flex_node).collect(),
            volume: FlexVolume::new(&name, "", &options),
            skipped,
        }
    }

    fn perform(&mut self, verb: &str) -> Result<(), PlayError> {
        let flex = self.flex.clone();
        self.perform_by(&flex, verb)
    }

    fn disturb(&mut self, verb: &str, kind: Kind, at: usize) -> Result<Option<String>, PlayError> {
        let bed = self.bed;
        let machine = bed.node(usize::from(verb.ends_with(" elsewhere")));
        let call = verb.trim_end_matches(" elsewhere").to_owned();
        let flex = self.flex.clone();
        call_out::disturb(bed, machine, &call, kind, at, |disturb| {
            self.perform_by(&flex.clone().with_disturbance(disturb), verb)
        })
    }

    fn was_skipped(&self) -> bool {
        self.skipped.load(Ordering::SeqCst)
    }

    fn end(&mut self) -> Result<(), PlayError> {
        for node in &self.nodes {
            self.flex.unmount(&self.volume, node, POD)?;
        }
        // An administrator's share stays with its data; this one is as good as never there.
        let _ = std::fs::remove_dir_all(files(self.bed).join(&self.volume.name));
        Ok(())
    }

    fn names(&self) -> Vec<(String, String)> {
        vec![(self.volume.name.clone(), "NAME".to_owned())]
    }
}

impl OneFlexLife<'_> {
    fn perform_by(&self, flex: &FlexPlayer, verb: &str) -> Result<(), PlayError> {
        let is_elsewhere = verb.ends_with(" elsewhere");
        let node = &self.nodes[usize::from(is_elsewhere)];
        self.skipped.store(false, Ordering::SeqCst);
        match verb.trim_end_matches(" elsewhere") {
            "mount" => use_volume(
                &flex.mount(&self.volume, node, POD)?.join("data"),
                if is_elsewhere { Found::Written } else { Found::Empty },
            ),
            "unmount" => flex.unmount(&self.volume, node, POD)?,
            other => panic!("{other} is no verb"),
        }
        Ok(())
    }
}
