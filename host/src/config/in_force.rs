//! What is in force: every setting with its value and where that comes from, the defaults included.
//! Called by `wharf config show`.

use std::collections::BTreeMap;

use serde_json::json;
use wharf_node::NodeOptions;

use super::mistake::setting;
use super::tree::{Entry, Source, Tree, Value};
use super::{Config, Loaded, names_a_secret};
use crate::cli::Role;

/// Stands for a value that may be secret.
const NOT_SHOWN: &str = "(not shown)";

/// Every setting.
#[derive(Debug)]
pub struct InForce {
    tree: Tree,
}

impl InForce {
    /// Of a configuration.
    pub fn of(loaded: Loaded) -> Self {
        let Loaded { config, mut tree } = loaded;
        for (path, value) in defaults(&config) {
            tree.fill_in(path, value);
        }
        hide(&mut tree, &mut Vec::new());
        Self { tree }
    }

    /// As TOML, with the source of each value behind it. `main`: the file whose lines are named by
    /// their number alone.
    pub fn text(&self, main: &Source) -> String {
        let mut text = String::new();
        if let Value::Table(table) = &self.tree.value {
            write_table(&mut text, &mut Vec::new(), table, main);
        }
        text
    }

    /// One object for each value.
    pub fn json(&self) -> serde_json::Value {
        let mut rows = Vec::new();
        collect(&self.tree, &mut Vec::new(), &mut rows);
        json!(rows)
    }
}

/// What is in force where nobody says anything. What has no row is nothing until somebody says it;
/// a test holds this list against the types.
fn defaults(config: &Config) -> Vec<(&'static [&'static str], Value)> {
    let text = |text: &std::path::Path| Value::Text(text.display().to_string());
    let number = |number: u128| Value::Integer(i64::try_from(number).unwrap_or(i64::MAX));
    let node = NodeOptions::default();
    let socket = config.socket("driver", Role::Node);
    let sockets = socket.ancestors().nth(2).unwrap_or(&socket);
    let shares = config.shares().max(1);
    let (call, share) = (config.limits.of_a_call(), config.limits.of_a_share(shares));
    let mib = |bytes: usize| number((bytes >> 20) as u128);
    vec![
        (&["state"], text(&config.state)),
        (&["store"], text(&config.store)),
        (&["kubelet-root"], text(&config.kubelet_root)),
        (&["sockets"], text(sockets)),
        (&["status"], text(&config.status_directory())),
        (&["node", "device-links"], text(&node.device_links)),
        (&["node", "sysfs"], text(&node.sysfs)),
        (&["mounts", "run"], text(&config.run_directory())),
        (&["mounts", "supervisor"], Value::Text("on-demand".into())),
        (&["http", "wedged-after-seconds"], number(config.http.wedged_after().as_secs().into())),
        (&["events", "enabled"], Value::Boolean(config.events.enabled)),
        (&["events", "account"], text(&config.events.account())),
        (&["events", "look-seconds"], number(config.events.interval().as_secs().into())),
        (&["limits", "memory-mib"], mib(share.memory_bytes.saturating_mul(shares))),
        (&["limits", "calls-per-backend"], number(share.calls as u128)),
        (
            &["limits", "requests-per-endpoint"],
            number(config.limits.requests_per_endpoint() as u128),
        ),
        (&["limits", "call", "seconds"], number(call.wall.as_secs().into())),
        (&["limits", "call", "cpu-seconds"], number(call.cpu.as_secs().into())),
        (&["limits", "call", "memory-mib"], mib(call.memory_bytes)),
        (&["limits", "call", "requests"], number(call.http_requests.into())),
        (&["limits", "call", "answers-mib"], mib(call.http_bytes)),
        (&["limits", "call", "log-kib"], number((call.log_bytes >> 10) as u128)),
        (
            &["flexvolume", "log"],
            text(std::path::Path::new(crate::flexvolume_command::DEFAULT_LOG)),
        ),
        (&["flexvolume", "log-level"], Value::Text("info".into())),
        (&["flexvolume", "node-name"], Value::Text("match".into())),
    ]
}

/// Puts [`NOT_SHOWN`] in the place of what may be secret.
fn hide(tree: &mut Tree, path: &mut Vec<String>) {
    match &mut tree.value {
        Value::Table(table) => {
            for (key, entry) in table {
                path.push(key.clone());
                hide(&mut entry.tree, path);
                path.pop();
            }
        }
        Value::List(list) => {
            for (index, tree) in list.iter_mut().enumerate() {
                path.push(index.to_string());
                hide(tree, path);
                path.pop();
            }
        }
        Value::Text(text) if may_be_secret(path, text) => NOT_SHOWN.clone_into(text),
        _ => {}
    }
}

/// Of a source of credentials, the kind, the names of files and variables, and what is a mere yes
/// or no are shown.
fn may_be_secret(path: &[String], text: &str) -> bool {
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    match path.as_slice() {
        ["account", _, "source", _, "kind"] => false,
        ["account", _, "source", _, _, key] => !matches!(*key, "file" | "env"),
        ["account", _, "source", ..] => !matches!(text, "true" | "false"),
        ["account", _, "settings", key] | ["backend", _, "config", key] => names_a_secret(key),
        ["endpoint", _, "url"] => text.contains('@'),
        _ => false,
    }
}

/// Values first, then sections: what follows a section's head would belong to it.
fn write_table(
    text: &mut String,
    path: &mut Vec<String>,
    table: &BTreeMap<String, Entry>,
    main: &Source,
) {
    let (sections, values): (Vec<_>, Vec<_>) =
        table.iter().partition(|(_, entry)| is_section(&entry.tree.value));
    for (key, entry) in values {
        let from = match (&*entry.tree.origin.source, entry.tree.origin.line) {
            (source, line) if source == main => format!("line {line}"),
            _ => entry.tree.origin.to_string(),
        };
        let key = setting(std::slice::from_ref(key));
        text.push_str(&format!("{key} = {}  # {from}\n", entry.tree.plain()));
    }
    for (key, entry) in sections {
        path.push(key.clone());
        match &entry.tree.value {
            Value::Table(table) => {
                if table.is_empty() || table.values().any(|entry| !is_section(&entry.tree.value)) {
                    text.push_str(&format!("\n[{}]\n", head(path)));
                }
                write_table(text, path, table, main);
            }
            Value::List(list) => {
                for tree in list {
                    text.push_str(&format!("\n[[{}]]\n", head(path)));
                    if let Value::Table(table) = &tree.value {
                        write_table(text, path, table, main);
                    }
                }
            }
            _ => {}
        }
        path.pop();
    }
}

/// The path of a section, in which no step is a position.
fn head(path: &[String]) -> String {
    path.iter().map(|step| setting(std::slice::from_ref(step))).collect::<Vec<_>>().join(".")
}

fn is_section(value: &Value) -> bool {
    match value {
        Value::Table(_) => true,
        Value::List(list) => {
            !list.is_empty() && list.iter().all(|tree| matches!(tree.value, Value::Table(_)))
        }
        _ => false,
    }
}

fn collect(tree: &Tree, path: &mut Vec<String>, rows: &mut Vec<serde_json::Value>) {
    match &tree.value {
        Value::Table(table) => {
            for (key, entry) in table {
                path.push(key.clone());
                collect(&entry.tree, path, rows);
                path.pop();
            }
        }
        Value::List(list) if is_section(&tree.value) => {
            for (index, tree) in list.iter().enumerate() {
                path.push(index.to_string());
                collect(tree, path, rows);
                path.pop();
            }
        }
        _ => {
            let line = Some(tree.origin.line).filter(|line| *line > 0);
            rows.push(json!({
                "setting": setting(path),
                "value": tree.plain(),
                "source": tree.origin.source.to_string(),
                "line": line,
            }));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::tree::file;
    use super::*;

    fn in_force(text: &str) -> InForce {
        InForce::of(Loaded::parse(text, Path::new("/w.toml")).unwrap())
    }

    const TEXT: &str = "state = \"/s\"\n[endpoint.api]\nurl = \"https://api\"\n\
        [account.cloud]\ncomponent = \"auth\"\n\
        [[account.cloud.source]]\nkind = \"static\"\nid = \"canary\"\nkey = { value = \"canary\" }\n\
        token = { file = \"/t\" }\n\
        [backend.disk]\nconfig = { region = \"r\", api-token = \"canary\" }\n\
        [driver.\"d.example.com\"]\nbackend = \"disk\"\n";

    #[test]
    fn every_value_is_told_with_its_source_and_the_text_is_a_configuration() {
        let text = in_force(TEXT).text(&file(Path::new("/w.toml")));
        for line in [
            "state = \"/s\"  # line 1",
            "store = \"/var/lib/wharf/store\"  # default",
            "url = \"https://api\"  # line 3",
            "calls-per-backend = 64  # default",
            "region = \"r\"  # line 12",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
        }
        let again = Loaded::parse(&text, Path::new("/again.toml")).unwrap();
        let once_more = InForce::of(again).text(&file(Path::new("/none")));
        let values = |text: &str| {
            let line = |line: &str| line.split("  # ").next().unwrap_or_default().to_owned();
            text.lines().map(line).collect::<Vec<_>>()
        };
        assert_eq!(values(&text), values(&once_more));
    }

    #[test]
    fn what_may_be_secret_is_never_shown() {
        let shown = in_force(TEXT);
        for text in [shown.text(&Source::Default), shown.json().to_string()] {
            assert!(!text.contains("canary"), "{text}");
            assert!(text.contains(NOT_SHOWN) && text.contains("/t"), "{text}");
        }
    }

    #[test]
    fn programs_get_one_object_for_each_value() {
        let rows = in_force(TEXT).json();
        let row = |setting: &str| {
            let rows = rows.as_array().unwrap();
            rows.iter().find(|row| row["setting"] == setting).unwrap().clone()
        };
        let url = json!({
            "setting": "endpoint.api.url", "value": "https://api", "source": "/w.toml", "line": 3
        });
        assert_eq!(row("endpoint.api.url"), url);
        assert_eq!(row("limits.call.seconds")["source"], "default");
        assert_eq!(row("driver.\"d.example.com\".backend")["value"], "disk");
        assert_eq!(row("account.cloud.source[0].token.file")["value"], "/t");
    }

    /// Settings that are nothing until somebody says them.
    const WITHOUT_DEFAULT: [&str; 19] = [
        "account",
        "backend",
        "driver",
        "endpoint",
        "events.api",
        "extra-roots",
        "flexvolume",
        "flexvolume.init",
        "flexvolume.legacy-state",
        "flexvolume.node-id-prefixes",
        "flexvolume.nodes",
        "flexvolume.secret-options",
        "http.listen",
        "limits",
        "node.devices",
        "preset",
        "traces",
        "traces.ca",
        "traces.endpoint",
    ];

    /// The names of the fields of a section, as its type gives them to whoever reads it.
    fn fields<T: serde::de::DeserializeOwned>(section: &str) -> Vec<String> {
        let tree = super::super::tests::tree("\"no such setting\" = 1\n");
        let Err((mistakes, _)) = super::super::read::read::<T>(&tree) else {
            panic!("{section} takes anything");
        };
        let prefix = if section.is_empty() { String::new() } else { format!("{section}.") };
        let names = mistakes.first().unwrap().fix.split('`').skip(1).step_by(2);
        names.map(|name| format!("{prefix}{name}")).collect()
    }

    #[test]
    fn every_setting_has_a_default_here_or_is_nothing_until_it_is_said() {
        let known: Vec<String> = [
            fields::<Config>(""),
            fields::<super::super::NodeSection>("node"),
            fields::<super::super::MountsSection>("mounts"),
            fields::<super::super::HttpSection>("http"),
            fields::<super::super::EventsSection>("events"),
            fields::<super::super::TracesSection>("traces"),
            fields::<super::super::LimitsSection>("limits"),
            fields::<super::super::FlexVolume>("flexvolume"),
        ]
        .concat();
        assert!(known.contains(&"kubelet-root".to_owned()), "{known:?}");
        let config = super::super::tests::parse("").unwrap();
        let rows: Vec<String> = defaults(&config).iter().map(|(path, _)| path.join(".")).collect();
        for setting in known {
            let is_section = rows.iter().any(|row| row.starts_with(&format!("{setting}.")));
            let is_known = rows.contains(&setting) || is_section;
            assert!(
                is_known || WITHOUT_DEFAULT.contains(&setting.as_str()),
                "`wharf config show` does not know the default of `{setting}`"
            );
        }
    }
}
