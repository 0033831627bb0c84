//! Single calls and swaps, measured inside one process by `host/runtime/benches/calls`, which
//! prints one line of JSON.

use anyhow::{Context, Result};
use serde::Deserialize;
use wharf_testing::bed::Parts;

use super::report::{Figure, Report};
use crate::command;
use crate::workspace::Workspace;

#[derive(Deserialize)]
struct Measured {
    translate_p50_us: f64,
    engine_alone_p50_us: f64,
    pooled_p50_us: f64,
    on_demand_p50_us: f64,
    pooled_per_second_two_threads: f64,
    on_demand_per_second_two_threads: f64,
    swap: Swap,
}

#[derive(Deserialize)]
struct Swap {
    swaps: f64,
    calls: f64,
    failed: f64,
    publish_p50_us: f64,
    publish_max_us: f64,
}

/// Runs the benchmark and adds its figures.
pub fn measure(workspace: &Workspace, parts: &Parts, report: &mut Report) -> Result<()> {
    let mut bench = command::cargo();
    bench.current_dir(&workspace.root).args([
        "bench",
        "--quiet",
        "--profile",
        "release",
        "--package",
        "wharf-runtime",
        "--bench",
        "calls",
        "--",
    ]);
    let printed = command::output(bench.arg(parts.component("disk")))?;
    let line = printed
        .lines()
        .find(|line| line.starts_with('{'))
        .context("the benchmark printed no figures")?;
    let measured: Measured = serde_json::from_str(line)?;
    report.add(Figure {
        what: "isolated call without a plan, p50",
        value: measured.translate_p50_us,
        unit: "µs",
        against: Some(("the engine alone", measured.engine_alone_p50_us)),
        target: "≤ 1.3 ×",
    });
    report.add(Figure {
        what: "isolated call, pool, p50",
        value: measured.pooled_p50_us,
        unit: "µs",
        against: Some(("isolated call, on demand", measured.on_demand_p50_us)),
        target: "≤ 30 µs",
    });
    report.add(Figure {
        what: "isolated calls, pool, two threads",
        value: measured.pooled_per_second_two_threads,
        unit: "calls/s",
        against: Some(("on demand, two threads", measured.on_demand_per_second_two_threads)),
        target: "≥ 30 000",
    });
    report.add(Figure {
        what: "swaps under load",
        value: measured.swap.swaps,
        unit: "swaps",
        against: None,
        target: "-",
    });
    report.add(Figure {
        what: "calls meanwhile",
        value: measured.swap.calls,
        unit: "calls",
        against: None,
        target: "-",
    });
    report.add(Figure {
        what: "of them failed",
        value: measured.swap.failed,
        unit: "calls",
        against: None,
        target: "0",
    });
    report.add(Figure {
        what: "load, link and publish, p50",
        value: measured.swap.publish_p50_us,
        unit: "µs",
        against: None,
        target: "≤ 1000 µs",
    });
    report.add(Figure {
        what: "load, link and publish, longest",
        value: measured.swap.publish_max_us,
        unit: "µs",
        against: None,
        target: "-",
    });
    Ok(())
}
