//! The page that users compare the drivers by has every key of this backend, and no other.

use std::collections::BTreeSet;

use crate::plans::KEYS as SECRETS;
use crate::{attributes, parameters, translate};

const PAGE: &str = include_str!("../../../COMPATIBILITY.md");
const OF_NAS: &str = "## NAS: ";
/// Fields of a PersistentVolume or class, which stand in the tables beside the keys.
const FIELDS: [&str; 1] = ["mountOptions"];

/// The keys in the first column of a table. Values stand behind a colon or in brackets; keys with a
/// slash belong to others.
fn documented(heading: &str) -> BTreeSet<String> {
    let (_, of_nas) = PAGE.split_once(OF_NAS).unwrap();
    let (_, below) = of_nas.split_once(&format!("### {heading}\n")).unwrap();
    let table = below.split("\n#").next().unwrap();
    let rows = table.lines().filter_map(|line| line.strip_prefix("| ")?.split(" | ").next());
    rows.skip(1).filter(|cell| !cell.starts_with("a key of another")).flat_map(keys_of).collect()
}

fn keys_of(cell: &str) -> Vec<String> {
    let outside = cell.split('(').enumerate().filter_map(|(index, part)| match index {
        0 => Some(part),
        _ => part.split_once(')').map(|(_, rest)| rest),
    });
    let text: String = outside.collect();
    let quoted = text.split('`').skip(1).step_by(2);
    let key = |word: &str| word.split([':', '=']).next().unwrap_or_default().to_owned();
    quoted.map(key).filter(|key| !key.contains('/') && !FIELDS.contains(&key.as_str())).collect()
}

fn known(keys: impl Iterator<Item = &'static str>) -> BTreeSet<String> {
    keys.map(str::to_owned).collect()
}

#[test]
fn the_tables_name_every_key_and_no_other() {
    let of_volumes = attributes::all_keys().chain(SECRETS);
    assert_eq!(documented("Attributes of a PersistentVolume (CSI)"), known(of_volumes));
    assert_eq!(documented("Parameters of a StorageClass (CSI)"), known(parameters::all_keys()));
    assert_eq!(
        documented("Options of a PersistentVolume (FlexVolume)"),
        known(translate::all_keys())
    );
}

#[test]
fn keys_are_told_from_their_values() {
    let cell =
        "`mountType: losetup`, `server` (`host:/path`), `path` (`/`), `sysConfig: bdi/x=KIB`";
    assert_eq!(keys_of(cell), ["mountType", "server", "path", "sysConfig"]);
    assert!(keys_of("`kubernetes.io/readwrite`, `mountOptions`").is_empty());
}
