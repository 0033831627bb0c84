//! The same lives on a cloud whose listings lag behind and whose refusals bind a token: for a moment
//! after AttachDisk and DetachDisk a listing tells the old state, and a refused CreateDisk keeps
//! its client token from the next attempt.
//!
//! Only the controller's verbs are lived: no other one looks at a listing. Only kinds whose
//! positions are requests are visited: what a disturbed verb leaves behind for its repetition is in
//! the cloud, in a resume token that dies with its host, and (over FlexVolume) in a record that is
//! written before the first request; lag changes nothing of what system calls leave, and those
//! positions are visited without it.

use std::time::Duration;

use wharf_cloudsim::{Delays, Fault, FaultRule, Shortage};
use wharf_testing::bed::BedOptions;

use super::claim::ClaimLife;
use super::disk_flex::FlexDisk;
use super::disks::Disk;
use super::flex::FlexLife;
use super::kind::Kind;
use super::life::Lives;

/// Longer than the first look after a request, so that at least one look sees the old state;
/// shorter than all of them together, after which the request is sent again.
const LAG: Duration = Duration::from_millis(700);

const KINDS: &[Kind] = &[
    Kind::AnswerLost,
    Kind::RequestLost,
    Kind::KilledBeforeRequest,
    Kind::KilledAfterRequest,
    Kind::SwappedAtRequest,
];

/// Over CSI.
pub struct LaggingCsi;

/// Over FlexVolume.
pub struct LaggingFlex;

impl Lives for LaggingCsi {
    type On<'a> = ClaimLife<'a, Disk<false>>;
    const VERBS: &'static [&'static str] =
        &["create", "attach", "detach", "attach elsewhere", "detach elsewhere", "delete"];
    const KINDS: &'static [Kind] = KINDS;

    fn bed() -> BedOptions {
        let sold_out = |zone: &str| Shortage {
            zone: zone.to_owned(),
            category: "cloud_essd".to_owned(),
            sold_out: true,
        };
        BedOptions {
            shortages: vec![sold_out("cn-wharf-1a")],
            faults: vec![FaultRule::new("CreateDisk", Fault::BindToken)],
            ..lagging()
        }
    }
}

impl Lives for LaggingFlex {
    type On<'a> = FlexLife<'a, FlexDisk<false>>;
    const VERBS: &'static [&'static str] =
        &["attach", "detach", "attach elsewhere", "detach elsewhere"];
    const KINDS: &'static [Kind] = KINDS;

    fn bed() -> BedOptions {
        lagging()
    }
}

fn lagging() -> BedOptions {
    let options = BedOptions::default();
    let listing = u64::try_from(LAG.as_millis()).unwrap_or(u64::MAX);
    BedOptions { delays: Delays { listing, ..options.delays }, ..options }
}
