//! `sysConfig`: settings of a disk's request queue, `key=value` separated by commas. Keys may be
//! written as the cloud's own driver wants them (`queue/read_ahead_kb`, `/queue/read_ahead_kb`,
//! `bdi/read_ahead_kb`) or alone. The operator grants them one by one.

use wharf_sdk::types::Parameters;
use wharf_sdk::{Error, Pairs};

/// Settings that change how fast a disk is, and nothing about what is on it.
const ALLOWED: [&str; 9] = [
    "add_random",
    "iostats",
    "max_sectors_kb",
    "nomerges",
    "nr_requests",
    "read_ahead_kb",
    "rq_affinity",
    "scheduler",
    "wbt_lat_usec",
];

/// Reads the key `sysConfig` of a context.
///
/// # Errors
/// `invalid-argument` naming the setting.
pub fn read(context: &Parameters) -> Result<Vec<(String, String)>, Error> {
    let text = context.value("sysConfig").unwrap_or_default().trim();
    if text.is_empty() {
        return Ok(Vec::new());
    }
    text.split(',').map(|entry| one(text, entry)).collect()
}

fn one(text: &str, entry: &str) -> Result<(String, String), Error> {
    let refused = || {
        Error::invalid(
            "sysConfig",
            text,
            format!("key=value separated by commas, with a key of {}", ALLOWED.join(", ")),
        )
    };
    let (key, value) = entry.split_once('=').ok_or_else(refused)?;
    let (key, value) = (key.trim().trim_start_matches('/'), value.trim());
    let name = key
        .strip_prefix("queue/")
        .or_else(|| key.strip_prefix("bdi/").filter(|name| *name == "read_ahead_kb"))
        .unwrap_or(key);
    let is_plain = !value.is_empty()
        && value.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    if !ALLOWED.contains(&name) || !is_plain {
        return Err(refused());
    }
    Ok((name.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use wharf_sdk::types::pairs;

    fn settings(text: &str) -> Result<Vec<(String, String)>, Error> {
        read(&pairs([("sysConfig", text)]))
    }

    #[test]
    fn every_spelling_of_a_key_is_the_same_setting() {
        for text in [
            "queue/read_ahead_kb=4096",
            "/queue/read_ahead_kb=4096",
            "bdi/read_ahead_kb=4096",
            "read_ahead_kb=4096",
            " read_ahead_kb = 4096 ",
        ] {
            assert_eq!(settings(text).unwrap(), pairs([("read_ahead_kb", "4096")]), "{text}");
        }
        assert_eq!(settings("scheduler=mq-deadline,nr_requests=64").unwrap().len(), 2);
        assert!(settings("").unwrap().is_empty());
    }

    #[test]
    fn the_configurations_that_people_start_from_grant_every_setting() {
        for text in [
            include_str!("../../alicloud/preset.toml"),
            include_str!("../manifest.toml"),
            include_str!("../../../host/dev/testing/src/configuration.rs"),
        ] {
            let line = text.lines().find(|line| line.starts_with("block-queue = ")).unwrap();
            let granted: toml::Table = line.parse().unwrap();
            let granted: Vec<_> = granted["block-queue"]
                .as_array()
                .unwrap()
                .iter()
                .map(|name| name.as_str().unwrap())
                .collect();
            assert_eq!(granted, ALLOWED);
        }
        // From the examples of the cloud's own driver.
        assert_eq!(
            settings("/queue/max_sectors_kb=64").unwrap(),
            pairs([("max_sectors_kb", "64")])
        );
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            "queue/../../x=1",
            "/../x=1",
            "zoned=1",
            "read_ahead_kb",
            "=1",
            "read_ahead_kb=",
            "a=1,",
            "bdi/max_ratio=1",
            "scheduler=a b",
        ] {
            assert!(settings(text).is_err(), "{text}");
        }
    }
}
