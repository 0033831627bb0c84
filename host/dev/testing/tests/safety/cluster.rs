//! A bed with both front ends in use.

use std::ops::Deref;
use std::path::{Path, PathBuf};

use wharf_testing::bed::{Bed, BedOptions};
use wharf_testing::player::{CsiNode, CsiPlayer, FlexPlayer, Retry};
use wharf_testing::requirement;
use wharf_testing::snapshot::Snapshot;

pub const GIB: u64 = 1 << 30;

pub struct Cluster {
    pub csi: Csi,
    pub flex: FlexPlayer,
    pub nodes: Vec<CsiNode>,
    pub bed: Bed,
}

/// A player, and the same one without patience.
pub struct Csi(CsiPlayer, CsiPlayer);

impl Csi {
    /// One attempt: a refusal is heard at once.
    pub fn once(&self) -> &CsiPlayer {
        &self.1
    }
}

impl Deref for Csi {
    type Target = CsiPlayer;

    fn deref(&self) -> &CsiPlayer {
        &self.0
    }
}

impl Cluster {
    pub fn of(test: &str) -> Option<Self> {
        if !requirement::machine(test) {
            return None;
        }
        let bed = Bed::make(&BedOptions::default()).unwrap();
        bed.serve().unwrap();
        bed.install_flexvolume().unwrap();
        let csi = bed.csi();
        let nodes = bed
            .nodes()
            .iter()
            .map(|node| csi.register(node.name(), &node.socket(), &node.kubelet()).unwrap())
            .collect();
        let once = csi.clone().with_retry(Retry::never());
        Some(Self { csi: Csi(csi, once), flex: bed.flex().with_retry(Retry::never()), nodes, bed })
    }

    /// What stands for udev's link of a disk on a node.
    pub fn link_of(&self, node: usize, disk: &str) -> PathBuf {
        self.bed.node(node).by_id().join(format!("virtio-{}", disk.trim_start_matches("d-")))
    }

    /// What stands for the serial that a device reports to a node.
    pub fn serial_of(&self, node: usize, device: &Path) -> PathBuf {
        let name = device.file_name().unwrap_or_default();
        self.bed.node(node).sysfs().join("block").join(name).join("serial")
    }

    pub fn assert_empty(&self) {
        let left = Snapshot::of(&self.bed, &[]);
        assert!(left.is_empty(), "left behind:\n{left}");
    }
}
