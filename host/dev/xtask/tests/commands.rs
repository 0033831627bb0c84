//! Commands that run until a signal, seen from outside, and the configuration that the README
//! shows.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "the helpers of tests fail as tests do"
)]

mod commands {
    pub mod running;
}

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use commands::running::Running;
use rustix::process::Signal;
use serde_json::Value;
use wharf_testing::bed::{CSI_DRIVER, Parts, loops_below, mounts_below};
use wharf_testing::player::{CsiPlayer, VolumeClass};
use wharf_testing::requirement;

fn wharf(parts: &Parts, config: &Path, arguments: &[&str]) -> Output {
    Command::new(&parts.wharf).arg("--config").arg(config).args(arguments).output().unwrap()
}

/// Links to devices in every instance's `/dev/disk/by-id`.
fn links(region: &Path, instances: &[Value]) -> Vec<PathBuf> {
    let directories = instances
        .iter()
        .map(|instance| region.join(instance["id"].as_str().unwrap()).join("dev/disk/by-id"));
    directories
        .flat_map(|directory| {
            fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path())
        })
        .collect()
}

/// Attaches a disk to an instance by what the region wrote for it.
fn attach(parts: &Parts, instance: &Value) {
    let config = Path::new(instance["config"].as_str().unwrap());
    let home = config.parent().unwrap();
    let log = fs::File::create(home.join("server.log")).unwrap();
    let mut server = Command::new(&parts.wharf);
    server
        .arg("--config")
        .arg(config)
        .args(["csi", "--role", "all"])
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log);
    let mut server = server.spawn().unwrap();
    let socket = home.join("sockets").join(CSI_DRIVER).join("csi.sock");
    let csi = CsiPlayer::new(CSI_DRIVER, &socket);
    let attached = csi.register("node", &socket, &home.join("kubelet")).and_then(|node| {
        let mut volume =
            csi.provision("pvc-outside", 20 << 30, &VolumeClass::raw(&[("type", "cloud_essd")]))?;
        csi.attach(&mut volume, &node).map(|()| node.id)
    });
    server.kill().unwrap();
    server.wait().unwrap();
    assert_eq!(attached.unwrap(), instance["id"].as_str().unwrap());
}

#[test]
fn a_region_is_used_from_outside_ends_by_any_signal_and_goes_on_where_it_ended() {
    if !requirement::machine(
        "a_region_is_used_from_outside_ends_by_any_signal_and_goes_on_where_it_ended",
    ) {
        return;
    }
    let parts = Parts::find().unwrap();
    let home = tempfile::tempdir().unwrap();
    let region = home.path().canonicalize().unwrap().join("region");
    let mut before = Value::Null;
    for signal in [Signal::INT, Signal::TERM, Signal::HUP, Signal::QUIT] {
        let running = Running::start(
            home.path(),
            &["region", "--no-build", "--dir", region.to_str().unwrap()],
        );
        running.line(|line| line.starts_with("ready"));
        let told: Value =
            serde_json::from_slice(&fs::read(region.join("region.json")).unwrap()).unwrap();
        assert!(
            told["region"].is_string()
                && told["zones"].as_array().is_some_and(|zones| !zones.is_empty()),
            "{told}"
        );
        for name in ["ecs", "sts", "metadata"] {
            let url = told["endpoints"][name].as_str().unwrap();
            std::net::TcpStream::connect(url.strip_prefix("http://").unwrap()).unwrap();
        }
        let instances = told["instances"].as_array().unwrap();
        assert_eq!(instances.len(), 2);
        for holder in instances.iter().chain([&told["admin"]]) {
            assert!(
                holder["accessKeyId"].is_string() && holder["accessKeySecret"].is_string(),
                "{told}"
            );
        }
        for instance in instances {
            assert!(told["zones"].as_array().unwrap().contains(&instance["zone"]), "{told}");
            let listed = wharf(
                &parts,
                Path::new(instance["config"].as_str().unwrap()),
                &["backend", "list"],
            );
            let text = String::from_utf8(listed.stdout).unwrap();
            assert!(
                listed.status.success() && text.contains("disk") && text.contains("nas"),
                "{text}"
            );
        }
        if before.is_null() {
            attach(&parts, &instances[0]);
            before = told.clone();
        }
        assert_eq!(told["instances"], before["instances"]);
        assert_eq!(
            (loops_below(&region).len(), links(&region, instances).len()),
            (1, 1),
            "the attached disk"
        );
        let (status, _) = running.end(signal);
        assert_eq!(status.code(), Some(0), "{signal:?}");
        assert_eq!(
            (loops_below(&region), links(&region, instances)),
            (Vec::new(), Vec::new()),
            "{signal:?}"
        );
    }
}

#[test]
fn a_demo_that_is_interrupted_takes_everything_down() {
    if !requirement::machine("a_demo_that_is_interrupted_takes_everything_down") {
        return;
    }
    Parts::find().unwrap().newer_disk("demo2").unwrap();
    let home = tempfile::tempdir().unwrap();
    let running = Running::start(home.path(), &["demo", "--no-build", "--output", "json"]);
    // In the middle: a disk is attached, and has a device.
    running.line(|line| {
        line.contains(r#""event":"answered""#) && line.contains("ControllerPublishVolume")
    });
    assert_eq!(loops_below(home.path()).len(), 1);
    let (status, lines) = running.end(Signal::INT);
    assert_eq!(status.code(), Some(130));
    let summary: Value = serde_json::from_str(lines.last().unwrap()).unwrap();
    assert_eq!(
        (&summary["event"], &summary["succeeded"], &summary["left"]),
        (&"summary".into(), &false.into(), &Value::Array(Vec::new()))
    );
    assert_eq!((mounts_below(home.path()), loops_below(home.path())), (Vec::new(), Vec::new()));
    // A shell in the background takes away what no destructor does: the store that all machines are
    // copied from.
    let left = || {
        fs::read_dir(home.path())
            .unwrap()
            .flatten()
            .map(|entry| entry.file_name())
            .filter(|name| name != "pids")
            .collect::<Vec<_>>()
    };
    let patience = Instant::now() + Duration::from_secs(30);
    while !left().is_empty() {
        assert!(Instant::now() < patience, "{:?} is left", left());
        std::thread::yield_now();
    }
}

#[test]
fn the_binary_takes_the_readmes_configuration_and_it_grants_what_the_backends_ask_for() {
    let readme =
        fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../README.md")).unwrap();
    let mut blocks =
        readme.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let (preset, laid_over) = (blocks.next().unwrap(), blocks.next().unwrap());
    let whole = [preset].into_iter().chain(blocks).collect::<String>();
    let home = tempfile::tempdir().unwrap();
    let parts = Parts::find().unwrap();
    let (config, plugins) = (home.path().join("wharf.toml"), home.path().join("plugins"));
    let run = |arguments: &[&str]| {
        let ran = wharf(&parts, &config, arguments);
        assert!(ran.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&ran.stderr));
        String::from_utf8(ran.stdout).unwrap()
    };
    for text in [format!("{preset}{laid_over}"), whole] {
        // The machine's own directories are left alone.
        fs::write(
            &config,
            format!("store = {0:?}\nstate = {0:?}\n{text}", home.path().join("wharf")),
        )
        .unwrap();
        run(&["backend", "list"]);
    }
    for backend in ["disk", "nas", "oss"] {
        run(&["backend", "install", parts.component(backend).to_str().unwrap(), "--activate"]);
    }
    run(&["flexvolume", "install", "--dir", plugins.to_str().unwrap()]);
    for backend in ["disk", "nas", "oss"] {
        assert!(plugins.join(format!("alicloud~{backend}/{backend}")).exists());
        let shown = run(&["backend", "show", backend]);
        let (asks, granted) = shown.split_once("is granted by").unwrap();
        let actions = asks
            .lines()
            .filter(|line| line.contains("endpoint "))
            .flat_map(|line| line.split_once(": ").unwrap().1.split(", "));
        // Buckets are granted by the beginning of their names.
        let actions = actions.map(|action| action.replace(" *", " k8s-*"));
        actions.for_each(|action| {
            assert!(granted.contains(&action), "the README does not grant {action} to {backend}");
        });
    }
    let init = std::process::Command::new(plugins.join("alicloud~nas/nas")).arg("init").output();
    let init = String::from_utf8(init.unwrap().stdout).unwrap();
    assert!(init.contains(r#""attach":false"#) && init.contains(r#""fsGroup":false"#), "{init}");
}
