//! A bed that serves buckets, and what all tests do on it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::Value;
use wharf_cloudsim::OidcProvider;
use wharf_testing::bed::{Bed, BedOptions, Machine};
use wharf_testing::player::{
    Access, CsiNode, CsiPlayer, CsiVolume, FlexNode, FlexPlayer, FlexVolume, VolumeClass,
};
use wharf_testing::requirement;
use wharf_testing::snapshot::{SHARED_BUCKET, Snapshot};

pub const GIB: u64 = 1 << 30;
pub const CSI: &str = "ossplugin.csi.alibabacloud.com";
pub const FLEX: &str = "alicloud/oss";

/// What takes milliseconds; a machine that is busy with other things may take many.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// What every volume passes to `s3fs`: the region has an address and no names of buckets, and what
/// one node writes another one reads at once.
pub const OPTIONS: &str = "-o use_path_request_style -o stat_cache_expire=0 -o retries=1 -o \
                           connect_timeout=5";

/// Who says who a workload is (RRSA).
pub const PROVIDER: &str = "acs:ram::1:oidc-provider/cluster";

fn provider() -> OidcProvider {
    OidcProvider {
        arn: PROVIDER.to_owned(),
        issuer: "https://cluster".to_owned(),
        audiences: vec!["sts.aliyuncs.com".to_owned()],
        subjects: BTreeMap::default(),
    }
}

static ALONE: Mutex<()> = Mutex::new(());

pub struct Cluster {
    pub csi: CsiPlayer,
    pub flex: FlexPlayer,
    pub nodes: Vec<CsiNode>,
    pub flex_nodes: Vec<FlexNode>,
    pub bed: Bed,
    _alone: MutexGuard<'static, ()>,
}

impl Cluster {
    /// `None`: this machine cannot mount buckets.
    pub fn of(test: &str) -> Option<Self> {
        Self::with(test, |config| config)
    }

    /// The same with each machine's `wharf.toml` changed.
    pub fn with(test: &str, change: impl Fn(String) -> String) -> Option<Self> {
        Self::of_bed(test, "info", |_, config| change(config))
    }

    /// The same, and every log says all there is to say: calls, requests, plans, steps, programs.
    pub fn telling_all(test: &str) -> Option<Self> {
        Self::of_bed(test, "debug", |_, config| config)
    }

    /// The same with each machine's `wharf.toml` changed by what is known of the bed.
    pub fn of_bed(
        test: &str,
        call_out_log: &'static str,
        change: impl Fn(&Bed, String) -> String,
    ) -> Option<Self> {
        if !requirement::buckets(test) {
            return None;
        }
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let options = BedOptions {
            backends: vec!["oss"],
            call_out_log,
            oidc_providers: vec![provider()],
            ..BedOptions::default()
        };
        let bed = Bed::make(&options).unwrap();
        for machine in bed.nodes().iter().chain([bed.manager()]) {
            let config = fs::read_to_string(machine.config()).unwrap();
            fs::write(machine.config(), change(&bed, config)).unwrap();
        }
        match call_out_log {
            "debug" => bed.serve_telling_all().unwrap(),
            _ => bed.serve().unwrap(),
        }
        bed.install_flexvolume().unwrap();
        bed.region().make_bucket(SHARED_BUCKET).unwrap();
        let csi = bed.csi_of(CSI);
        let register = |node: &Machine| {
            csi.register(node.name(), &node.socket_of(CSI), &node.kubelet()).unwrap()
        };
        let nodes = bed.nodes().iter().map(register).collect();
        let flex_nodes = bed.nodes().iter().map(Machine::flex_node).collect();
        Some(Self { csi, flex: bed.flex_of(FLEX), nodes, flex_nodes, bed, _alone: alone })
    }

    /// The attributes that every volume has.
    pub fn attributes(&self, more: &[(&str, &str)]) -> BTreeMap<String, String> {
        let url = self.bed.region().description().endpoints.oss.clone();
        let usual = [
            ("bucket", SHARED_BUCKET),
            ("url", url.as_str()),
            ("fuseType", "s3fs"),
            ("otherOpts", OPTIONS),
        ];
        let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        usual.iter().chain(more).map(owned).collect()
    }

    /// Keys that may do everything with buckets, as a secret has them.
    pub fn keys(&self) -> BTreeMap<String, String> {
        let keys = &self.bed.region().description().admin;
        [("akId", &keys.access_key_id), ("akSecret", &keys.access_key_secret)]
            .map(|(name, value)| (name.to_owned(), value.clone()))
            .into()
    }

    /// A PersistentVolume that an administrator wrote, as the documents of the earlier driver have
    /// it: its secret is named for publishing alone.
    pub fn volume(&self, name: &str, access: Access, more: &[(&str, &str)]) -> CsiVolume {
        let class = VolumeClass { access, ..VolumeClass::file_system("", &[]) };
        let mut volume = CsiVolume::of_handle(name, name, 5 * GIB, class);
        volume.context = self.attributes(more);
        volume.publish_secret = self.keys();
        volume
    }

    /// The same for FlexVolume.
    pub fn flex_volume(&self, name: &str, more: &[(&str, &str)]) -> FlexVolume {
        let attributes = self.attributes(more);
        let options: Vec<_> =
            attributes.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        let mut volume = FlexVolume::new(name, "", &options);
        let keys = self.keys().into_iter();
        volume.secret = keys.map(|(key, value)| (key, value.into_bytes())).collect();
        volume
    }

    /// What `wharf mounts list` says on a node.
    pub fn mounts_of(&self, n: usize) -> Vec<Value> {
        let arguments = ["mounts", "list", "--output", "json"];
        let ran = self.bed.node(n).run(self.bed.parts(), &arguments).unwrap();
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        serde_json::from_str(&ran.stdout).unwrap()
    }

    /// The only mount of a node, while its helper serves.
    pub fn serving(&self, n: usize) -> Value {
        let mut found = Value::Null;
        until("a helper serves", || {
            let mounts = self.mounts_of(n);
            found = mounts.first().cloned().unwrap_or_default();
            mounts.len() == 1 && found["condition"] == "serving"
        });
        found
    }

    /// The process of the only helper of a node.
    pub fn helper(&self, n: usize) -> i32 {
        i32::try_from(self.serving(n)["pid"].as_i64().unwrap()).unwrap()
    }

    /// Nothing of any volume is left, anywhere: neither mounts, helpers and their directories, nor
    /// records.
    pub fn assert_empty(&self) {
        let begun = Instant::now();
        // The supervisor takes away what an unmounted helper had once that has ended.
        loop {
            let left = Snapshot::of(&self.bed, &[]);
            if left.is_empty() {
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "left behind:\n{left}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

pub fn kill(pid: i32) {
    signal(pid, Signal::SIGKILL);
}

pub fn signal(pid: i32, signal: Signal) {
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal).unwrap();
}

pub fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

pub fn write(target: &Path, name: &str, text: &str) {
    let file = target.join(name);
    fs::write(&file, text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
}

pub fn read(target: &Path, name: &str) -> String {
    let file = target.join(name);
    fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// Whether it can be read and is this, as for a pod that does not give up.
pub fn holds(target: &Path, name: &str, text: &str) -> bool {
    fs::read_to_string(target.join(name)).is_ok_and(|found| found == text)
}
