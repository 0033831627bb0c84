//! Every metric, one row each: its name, kind, labels, help, and how many series it can have. The
//! page `examples/kubernetes/metrics.md` is compared with this list.

use prometheus_client::registry::Registry;

use super::kinds::{Counter, Gauge, Histogram, Untyped};

/// What is documented of one metric.
#[cfg(test)]
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// As it is exported.
    pub name: &'static str,
    /// `Counter`, `Gauge`, `Histogram` or `Untyped`.
    pub kind: &'static str,
    /// The labels' names.
    pub labels: &'static [&'static str],
    /// What it says.
    pub help: &'static str,
    /// How many series there can be.
    pub bound: &'static str,
}

macro_rules! table {
    ($(
        $field:ident: $kind:ident $name:literal [$($label:literal),*] $help:literal, $bound:literal;
    )+) => {
        /// The metrics of one process.
        pub struct Table {
            $(#[doc = $help] pub $field: $kind<{ <[&str]>::len(&[$($label),*]) }>,)+
        }

        impl Table {
            /// All of them, without a series yet, exported by `registry`.
            pub fn new(registry: &mut Registry) -> Self {
                $(
                    let $field = $kind::new([$($label),*]);
                    $field.register(registry, $name, $help);
                )+
                Self { $($field),+ }
            }
        }

        /// What is documented of each.
        #[cfg(test)]
        pub const ROWS: &[Row] = &[$(Row {
            name: $name,
            kind: stringify!($kind),
            labels: &[$($label),*],
            help: $help,
            bound: $bound,
        }),+];
    };
}

table! {
    call_duration: Histogram "wharf_csi_call_duration_seconds" ["driver", "method", "code"]
        "CSI calls by method and gRPC code, and how long they took",
        "drivers × methods of CSI × 17 codes";
    call_seconds: Counter "wharf_csi_call_seconds_total" ["driver", "method", "part"]
        "Where the time of CSI calls goes: `guest` (components compute), `cloud` (requests, from \
         signing to the last byte), `waiting` (until the next look at the cloud, or for a look \
         that another call makes), `host` (everything else: mounts, file systems, locks)",
        "drivers × methods of CSI × 4";
    calls_under_way: Gauge "wharf_csi_calls_under_way" ["driver"]
        "CSI calls that a thread works on",
        "drivers";
    oldest_call: Gauge "wharf_csi_oldest_call_seconds" ["driver"]
        "How long the oldest of them has been worked on",
        "drivers";
    overdue_calls: Gauge "wharf_csi_overdue_calls" ["driver"]
        "Those of them whose caller's deadline is over",
        "drivers";
    legacy_count: Untyped "csi_grpc_execution_count" ["method", "type", "code"]
        "CSI calls, under the name that the cloud's own driver has for it; `type` is the \
         backend's section",
        "as wharf_csi_call_duration_seconds";
    legacy_time: Counter "csi_grpc_execution_time_total" ["method", "type", "code"]
        "Seconds of CSI calls, under the name that the cloud's own driver has for it",
        "as wharf_csi_call_duration_seconds";
    driver_served: Gauge "wharf_driver_served" ["driver"]
        "1 while the driver's CSI socket is served",
        "drivers";
    driver_registered: Gauge "wharf_driver_registered" ["driver"]
        "1 once kubelet has registered the driver; absent where this process does not register it",
        "drivers";
    component_calls: Counter "wharf_component_calls_total"
        ["kind", "component", "function", "outcome"]
        "Calls of components: `answered`, `failed` (an error of its own), `refused` (what it \
         answered is not allowed), `trapped` (it trapped or broke a bound)",
        "components × functions of the contract × 4";
    component_seconds: Counter "wharf_component_seconds_total" ["kind", "component", "function"]
        "Seconds that components computed, requests not included",
        "components × functions of the contract";
    component_traps: Counter "wharf_component_traps_total" ["kind", "component"]
        "Calls that trapped or broke a bound",
        "components";
    component_generation: Gauge "wharf_component_generation" ["kind", "component"]
        "The generation that serves in this process",
        "components";
    component_swaps: Counter "wharf_component_swaps_total" ["kind", "component"]
        "How often another generation took over without a restart",
        "components";
    component_load_failures: Counter "wharf_component_load_failures_total" ["kind", "component"]
        "Generations that could not be loaded",
        "components";
    cloud_requests: Counter "wharf_cloud_requests_total" ["endpoint", "action", "code"]
        "Requests to the cloud by HTTP status, or by the kind of error where there is none; \
         `action` is the grant that covers it, `other` where none does",
        "grants × (HTTP statuses + 13)";
    cloud_duration: Histogram "wharf_cloud_request_duration_seconds" ["endpoint", "action"]
        "How long requests took, from signing to the last byte, the wait for their turn included",
        "grants";
    cloud_backoffs: Counter "wharf_cloud_backoffs_total" ["account", "endpoint", "action"]
        "How often the cloud asked to slow down and that was acted on",
        "accounts × endpoints × 64 actions";
    cloud_pace: Gauge "wharf_cloud_pace_seconds" ["account", "endpoint", "action"]
        "How far apart requests of an action leave at present; 0: as fast as they come",
        "accounts × endpoints × 64 actions";
    cloud_pause: Gauge "wharf_cloud_pause_seconds" ["account", "endpoint", "action"]
        "How much longer none leaves, because the cloud asked to slow down",
        "accounts × endpoints × 64 actions";
    cloud_under_way: Gauge "wharf_cloud_requests_under_way" ["account", "endpoint"]
        "Requests that have left and are not answered",
        "accounts × endpoints";
    cloud_waiting: Gauge "wharf_cloud_requests_waiting" ["account", "endpoint"]
        "Requests that wait for their turn",
        "accounts × endpoints";
    share_bytes: Gauge "wharf_share_bytes" ["share"]
        "Memory that calls of a backend or of an account's component hold",
        "backends + accounts";
    share_limit: Gauge "wharf_share_limit_bytes" ["share"]
        "The most that they may hold",
        "backends + accounts";
    share_calls: Gauge "wharf_share_calls" ["share", "state"]
        "Their calls: `running`, or `waiting` for room",
        "(backends + accounts) × 2";
    volume_records: Gauge "wharf_volume_records" ["driver"]
        "Volumes that are written down on this node",
        "drivers";
    volume_mounts: Gauge "wharf_volume_mounts" ["driver", "state"]
        "Places where those volumes are to be: `mounted`, `missing` (nothing is mounted there) or \
         `dead` (the device is gone)",
        "drivers × 3";
    waiting_processes: Gauge "wharf_waiting_processes" []
        "Processes of this one that wait for NFS servers or helpers, or work on directories, at \
         present, those included that cannot be killed; at 64, and at 16 for one server, calls \
         that need one more wait for it and are then refused",
        "1";
    supervisor_up: Gauge "wharf_supervisor_up" []
        "1 if the supervisor of mounts answers, 0 if it was to and does not; absent where none \
         runs and none has to",
        "1";
    helper_mounts: Gauge "wharf_helper_mounts" ["helper", "state"]
        "Mounts that helper programs serve, by how they are",
        "helpers × 6";
    helper_endings: Gauge "wharf_helper_last_exits" ["helper", "reason"]
        "Mounts by how their helper ended the last time: `exited` (with code 0), `failed` (with \
         another code), `killed` (by SIGKILL), `crashed` (by another signal), `out-of-memory` (of \
         its control group) or `unseen` (an earlier supervisor had started it)",
        "helpers × 6";
    helper_restarts: Counter "wharf_helper_restarts_total" ["helper"]
        "How often helpers were started again, as seen since this process began to look",
        "helpers";
    helper_healed: Counter "wharf_helper_healed_places_total" ["helper"]
        "Places that were given a new mount for a dead one, as seen since this process began to \
         look",
        "helpers";
    helper_keys_overdue: Gauge "wharf_helper_keys_overdue" ["helper"]
        "Mounts whose keys were to be renewed more than a minute ago and were not",
        "helpers";
    configuration_refused: Gauge "wharf_configuration_refused" []
        "1 if the configuration that is written was changed and cannot come into force (`wharf \
         status` says why), else 0",
        "1";
    build_info: Gauge "wharf_build_info" ["version"]
        "1; the version of this process",
        "1";
    process_memory: Gauge "process_resident_memory_bytes" []
        "Memory of this process",
        "1";
    process_files: Gauge "process_open_fds" []
        "Descriptors that this process has open",
        "1";
    process_start: Gauge "process_start_time_seconds" []
        "When this process was started, in seconds since 1970",
        "1";
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = include_str!("../../../examples/kubernetes/metrics.md");
    const DASHBOARD: &str = include_str!("../../../examples/kubernetes/dashboard.json");
    /// Labels that Prometheus adds itself.
    const OF_PROMETHEUS: [&str; 3] = ["le", "instance", "job"];

    fn documented() -> String {
        let head = "| metric | labels | kind | what it says | series |\n|---|---|---|---|---|\n";
        let rows = ROWS.iter().map(|row| {
            let Row { name, kind, labels, help, bound } = row;
            let labels: Vec<_> = labels.iter().map(|label| format!("`{label}`")).collect();
            let kind = kind.to_lowercase();
            format!("| `{name}` | {} | {kind} | {help} | {bound} |\n", labels.join(", "))
        });
        head.to_owned() + &rows.collect::<String>()
    }

    #[test]
    fn the_page_lists_every_metric_as_it_is_exported() {
        let expected = documented();
        assert!(
            PAGE.contains(&expected),
            "examples/kubernetes/metrics.md has to have:\n{expected}"
        );
        let metrics = PAGE.lines().skip_while(|line| *line != "## Metrics");
        let listed = metrics.filter(|line| line.starts_with("| `")).count();
        assert_eq!(listed, ROWS.len(), "the page lists a metric that there is not");
    }

    #[test]
    fn no_name_stands_twice_and_counters_are_named_as_counters() {
        for (index, row) in ROWS.iter().enumerate() {
            assert!(ROWS[..index].iter().all(|other| other.name != row.name), "{}", row.name);
            assert_eq!(row.kind == "Counter", row.name.ends_with("_total"), "{}", row.name);
            assert!(!row.help.ends_with('.') && !row.bound.is_empty(), "{}", row.name);
        }
    }

    /// Every `expr` of a dashboard.
    fn queries(of: &serde_json::Value, found: &mut Vec<String>) {
        match of {
            serde_json::Value::Object(fields) => {
                found.extend(fields.get("expr").and_then(|it| it.as_str()).map(str::to_owned));
                fields.values().for_each(|value| queries(value, found));
            }
            serde_json::Value::Array(values) => values.iter().for_each(|it| queries(it, found)),
            _ => {}
        }
    }

    /// The row that a name in a query is a series of.
    fn row_of(name: &str) -> Option<&'static Row> {
        let of_histogram = ["_bucket", "_count", "_sum"].iter().find_map(|end| {
            let row = ROWS.iter().find(|row| Some(row.name) == name.strip_suffix(end))?;
            (row.kind == "Histogram").then_some(row)
        });
        of_histogram.or_else(|| ROWS.iter().find(|row| row.name == name && row.kind != "Histogram"))
    }

    #[test]
    fn the_dashboard_asks_for_metrics_and_labels_that_there_are() {
        let mut found = Vec::new();
        queries(&serde_json::from_str(DASHBOARD).unwrap(), &mut found);
        assert!(found.len() > 20, "{found:?}");
        for query in found {
            let of_a_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
            let words = query.split(|c: char| !of_a_name(c));
            let names: Vec<_> = words
                .filter(|word| ["wharf_", "csi_", "process_"].iter().any(|it| word.starts_with(it)))
                .collect();
            let rows: Vec<_> =
                names.iter().map(|name| row_of(name).unwrap_or_else(|| panic!("{name}"))).collect();
            assert!(!rows.is_empty(), "{query}");
            let grouped = query.split("by (").skip(1).filter_map(|rest| rest.split(')').next());
            let matched = query.split('{').skip(1).filter_map(|rest| rest.split('}').next());
            let matched = matched.flat_map(|inside| inside.split(','));
            let labels = grouped.flat_map(|inside| inside.split(',')).chain(matched);
            for label in labels.map(|it| it.trim().split(['=', '!']).next().unwrap_or_default()) {
                let is_known = OF_PROMETHEUS.contains(&label)
                    || rows.iter().any(|row| row.labels.contains(&label));
                assert!(is_known, "{label} in {query}");
            }
        }
    }
}
