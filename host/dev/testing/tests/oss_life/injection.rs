//! Hostile attributes and secrets, through both front ends, with a helper that writes down what it
//! is started with. Whatever a volume says, it is either refused by name before anything runs, or
//! it is one argument of one allowed option.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use wharf_testing::player::{Access, PlayError, Retry};

use super::cluster::Cluster;

/// What becomes of a value.
enum Fate {
    /// Nothing runs, and the error names this.
    Refused(&'static str),
    /// The helper gets this argument, as it stands.
    Passed(&'static str),
    /// The helper runs, and no argument has anything of it.
    Elsewhere,
}
use Fate::{Elsewhere, Passed, Refused};

/// Stands for a file that only a shell would make.
const MARK: &str = "MARK";

/// Attributes. A key that is not needed stands beside what makes it count.
fn attributes() -> Vec<(&'static str, String, Fate)> {
    let mut table: Vec<(&str, String, Fate)> = Vec::new();
    let mut add = |key, value: &str, fate| table.push((key, value.to_owned(), fate));
    for (value, fate) in [
        // Files, keys and libraries that a volume may not name.
        ("-o allow_other,passwd_file=/etc/shadow", Refused("passwd_file")),
        ("-opasswd_file=/etc/shadow", Refused("passwd_file")),
        ("-o use_cache=/etc", Refused("use_cache")),
        ("-o allow_other -o use_cache=/etc", Refused("use_cache")),
        ("-o umask=022,credlib=/tmp/x.so", Refused("credlib")),
        ("-o tmpdir=/", Refused("tmpdir")),
        ("-o logfile=/etc/cron.d/x", Refused("logfile")),
        ("-o mime=/etc/shadow", Refused("mime")),
        ("-o ahbe_conf=/etc/shadow", Refused("ahbe_conf")),
        ("-o ssl_client_cert=/etc/x", Refused("ssl_client_cert")),
        ("-o no_check_certificate", Refused("no_check_certificate")),
        ("-o iam_role=admin", Refused("iam_role")),
        ("-o ecs", Refused("ecs")),
        ("-o curldbg", Refused("curldbg")),
        ("-o dev,suid", Refused("dev")),
        ("-o fsname=x", Refused("fsname")),
        ("-o nonempty,exec", Refused("exec")),
        // What the backend itself says.
        ("-ourl=http://elsewhere.example", Refused("url")),
        ("-o allow_other,bucket=other", Refused("bucket")),
        ("-o servicepath=/x", Refused("servicepath")),
        // No options at all.
        ("allow_other", Refused("allow_other")),
        ("--", Refused("--")),
        ("-o allow_other -- /etc", Refused("--")),
        ("-o", Refused("-o")),
        ("-o -oallow_other", Refused("-oallow_other")),
        ("-f", Refused("-f")),
        ("-d", Refused("-d")),
        ("-sf", Refused("-sf")),
        ("--passwd_file=/etc/shadow", Refused("--passwd_file")),
        ("/etc", Refused("/etc")),
        ("; touch MARK", Refused(";")),
        ("-o allow_other; touch MARK", Refused("allow_other;")),
        ("-o allow_other && touch MARK", Refused("&&")),
        ("$(touch MARK)", Refused("$(touch")),
        ("-o 'umask=022'", Refused("'umask")),
        ("-o \"umask=022\"", Refused("\"umask")),
        ("-o =x", Refused("``")),
        ("-o \u{fc}mask=022", Refused("\u{fc}mask")),
        ("-o umask\u{ff1d}022", Refused("umask\u{ff1d}022")),
        // What cannot be seen is shown as a blank.
        ("-\u{200b}o umask=022", Refused("`- o`")),
        // Escapes, control characters and lines.
        ("-o allow_other\\,credlib=/x", Refused("allow_other\\")),
        ("-o umask=022\\,credlib=/x", Refused("umask")),
        ("-o umask=\\x2ccredlib", Refused("umask")),
        ("-o umask=022\n-o\ncredlib=/x", Refused("credlib")),
        ("-o umask=0\0-ocredlib=/x", Refused("umask")),
        ("-o umask=0\u{1b}[2J", Refused("umask")),
        // Values that only a shell would take for more.
        ("-o mp_umask=$(touch${IFS}MARK)", Passed("-omp_umask=$(touch${IFS}MARK)")),
        ("-o mp_umask=`touch${IFS}MARK`", Passed("-omp_umask=`touch${IFS}MARK`")),
        ("-o mp_umask=1;touch${IFS}MARK", Passed("-omp_umask=1;touch${IFS}MARK")),
        ("-o mp_umask=1|touch${IFS}MARK", Passed("-omp_umask=1|touch${IFS}MARK")),
        ("-o mp_umask=1&&touch${IFS}MARK", Passed("-omp_umask=1&&touch${IFS}MARK")),
        ("-o mp_umask=1>MARK", Passed("-omp_umask=1>MARK")),
        ("-o mp_umask='\"${HOME}\"'", Passed("-omp_umask='\"${HOME}\"'")),
        ("-o mp_umask=--passwd_file=/x", Passed("-omp_umask=--passwd_file=/x")),
        ("-o mp_umask={credentials}", Passed("-omp_umask={credentials}")),
        ("-o mp_umask=\u{202e}220", Passed("-omp_umask=\u{202e}220")),
    ] {
        add("otherOpts", value, fate);
    }
    add("otherOpts", &format!("-o umask={}", "0".repeat(5000)), Refused("at most 4096"));
    add("otherOpts", &"-o umask=0 ".repeat(70), Refused("at most 64"));
    for value in [
        "-oallow_other",
        "--help",
        "shared -oallow_other",
        "shared,ro",
        "shared\nother",
        "shared\0",
        "../shared",
        "shared/..",
        "shared;touch MARK",
        "$(touch MARK)",
        "SHARED",
        "sh\u{e4}red",
        "{credentials}",
        "shared:x",
        "shared:/../other",
        "shared:/a\nb",
    ] {
        add("bucket", value, Refused("`bucket`"));
    }
    add("bucket", &"a".repeat(64), Refused("`bucket`"));
    for value in ["a", "-oallow_other", "/..", "/a/../../etc", "/./a", "/a\nb", "/a\0b", "/a\\b"] {
        add("path", value, Refused("`path`"));
    }
    add("path", &format!("/{}", "a".repeat(1100)), Refused("`path`"));
    add("path", "/$(touch MARK);`id`|x", Passed("shared:/$(touch MARK);`id`|x"));
    add("path", "/a,ro -oallow_other", Passed("shared:/a,ro -oallow_other"));
    add("path", "/{mountpoint}/'\"", Passed("shared:/{mountpoint}/'\""));
    for value in [
        "file:///etc/shadow",
        "http://a b",
        "h.example,passwd_file=/etc/shadow",
        "h.example -ocredlib=/x",
        "h.example\nHost: x",
        "h.example\0",
        "user:word@h.example",
        "h.example/x?y#z",
        "h.example:0",
        "-h.example",
        "$(touch MARK).example",
        "`touch MARK`",
        "h\\example",
        "http://http://x",
        "\u{ff48}.example",
    ] {
        add("url", value, Refused("`url`"));
    }
    add("url", &"a".repeat(300), Refused("`url`"));
    add("fuseType", "/bin/sh", Refused("`fuseType`"));
    add("fuseType", "s3fs;touch MARK", Refused("`fuseType`"));
    add("authType", "$(touch MARK)", Refused("`authType`"));
    add("region", "cn-x,credlib=/x", Refused("`region`"));
    add("metricsTop", "1,credlib=/x", Refused("`metricsTop`"));
    add("-ocredlib", "/x", Refused("-ocredlib"));
    add("otherOpts\n", "-o credlib=/x", Refused("twice"));
    table
}

/// Values of secrets. They are for the credential's file alone.
fn secrets() -> Vec<(&'static str, &'static str, Fate)> {
    vec![
        ("akId", "LTAI\nroot:x", Refused("access key id")),
        ("akId", "LTAI:x", Refused("access key id")),
        ("akId", "L\0TAI", Refused("access key id")),
        ("akSecret", "hostile\n*:x:y", Refused("access key secret")),
        ("akSecret", "hostile:x", Refused("access key secret")),
        ("akSecret", "hostile x", Refused("access key secret")),
        ("akSecret", "h\u{f6}stile", Refused("access key secret")),
        ("akSecret", "hostile\u{1b}[2J", Refused("access key secret")),
        ("akSecret", "-ocredlib=/hostile", Elsewhere),
        ("akSecret", "$(touch${IFS}MARK)`hostile`", Elsewhere),
        ("akSecret", "'\"hostile\"'--", Elsewhere),
    ]
}

/// The helper: it writes its arguments down and ends.
struct Recorder {
    script: PathBuf,
    calls: PathBuf,
}

impl Recorder {
    fn of(machine: &Path) -> Self {
        Self { script: machine.join("recorder.sh"), calls: machine.join("calls") }
    }

    fn install(&self) {
        fs::create_dir_all(&self.calls).unwrap();
        let text =
            format!("#!/bin/sh\nprintf '%s\\0' \"$@\" > {}/$$\nexit 3\n", self.calls.display());
        fs::write(&self.script, text).unwrap();
        fs::set_permissions(&self.script, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// The argument lists since the last time.
    fn take(&self) -> Vec<Vec<String>> {
        let mut lists = Vec::new();
        for entry in fs::read_dir(&self.calls).unwrap() {
            let path = entry.unwrap().path();
            let text = fs::read_to_string(&path).unwrap();
            lists.push(text.split_terminator('\0').map(str::to_owned).collect());
            fs::remove_file(path).unwrap();
        }
        lists
    }
}

/// The options that Wharf ships as allowed for `s3fs`.
fn allowed() -> BTreeSet<String> {
    let text = include_str!("../../../../node/src/supervisor/profiles.json");
    let profiles: serde_json::Value = serde_json::from_str(text).unwrap();
    let options = profiles["s3fs"]["options"].as_array().unwrap();
    options.iter().map(|name| name.as_str().unwrap().to_owned()).collect()
}

/// What every argument list is, whatever the volume said.
fn check_list(list: &[String], mounts: &Path, allowed: &BTreeSet<String>) {
    let [source, mountpoint, foreground, options @ .., keys] = list else {
        panic!("{list:?} is too short")
    };
    assert!(source.starts_with("shared"), "{list:?}");
    assert!(Path::new(mountpoint).starts_with(mounts), "{list:?}");
    assert_eq!(foreground, "-f", "{list:?}");
    let keys = keys.strip_prefix("-opasswd_file=").map(Path::new);
    assert!(keys.is_some_and(|keys| keys.starts_with(mounts)), "{list:?}");
    for option in options {
        let option = option.strip_prefix("-o").unwrap_or(option);
        let name = option.split_once('=').map_or(option, |(name, _)| name);
        assert!(allowed.contains(name), "{name} is not allowed: {list:?}");
        assert!(!option.contains([',', '\\', '\n']), "{list:?}");
    }
}

fn judge(what: &str, fate: &Fate, refused: &PlayError, ran: &[Vec<String>]) {
    let said = refused.to_string();
    match fate {
        Refused(named) => {
            assert!(ran.is_empty(), "{what}: {ran:?}");
            assert!(said.contains(named), "{what}: no `{named}` in: {said}");
        }
        Passed(argument) => {
            let has = |list: &Vec<String>| list.iter().any(|one| one == argument);
            assert!(ran.len() == 1 && ran.iter().all(has), "{what}: {said}: {ran:?}");
        }
        Elsewhere => {
            assert_eq!(ran.len(), 1, "{what}: {said}");
            let is_shown = ran.iter().flatten().any(|argument| argument.contains("ostile"));
            assert!(!is_shown && !said.contains("ostile"), "{what}: {said}: {ran:?}");
        }
    }
}

#[test]
fn whatever_a_volume_says_nothing_but_an_allowed_option_is_ever_executed() {
    const TEST: &str = "whatever_a_volume_says_nothing_but_an_allowed_option_is_ever_executed";
    let recording = |config: String| {
        let machine = config.lines().find_map(|line| line.strip_prefix("state = \"")).unwrap();
        let recorder = Recorder::of(Path::new(machine.strip_suffix("/state\"").unwrap()));
        recorder.install();
        let program = format!("s3fs = {{ program = \"{}\", ", recorder.script.display());
        config.replace("s3fs = { ", &program)
    };
    let Some(cluster) = Cluster::with(TEST, recording) else { return };
    let (machine, allowed) = (cluster.bed.node(0), allowed());
    let recorder = Recorder::of(machine.directory());
    let mounts = machine.helper_mounts();
    let csi = cluster.csi.clone().with_retry(Retry::never());
    let flex = cluster.flex.clone().with_retry(Retry::never());
    let (node, flex_node) = (&cluster.nodes[0], &cluster.flex_nodes[0]);

    let mut cases: Vec<_> = attributes()
        .into_iter()
        .map(|(key, value, fate)| (key, value, fate, false))
        .chain(secrets().into_iter().map(|(key, value, fate)| (key, value.to_owned(), fate, true)))
        .collect();
    // The recorder records, and an ordinary volume is refused by nobody but it.
    cases.push(("path", "/plain".to_owned(), Passed("shared:/plain"), false));
    for (key, value, fate, is_secret) in cases {
        let more = if is_secret { vec![] } else { vec![(key, value.as_str())] };
        let mut volume = cluster.volume("pv-odd", Access::ManyNodes, &more);
        volume.stage_secret = std::mem::take(&mut volume.publish_secret);
        let mut flex_volume = cluster.flex_volume("pv-odd", &more);
        if is_secret {
            volume.stage_secret.insert(key.to_owned(), value.clone());
            flex_volume.secret.insert(key.to_owned(), value.clone().into_bytes());
        }
        for front_end in ["CSI", "FlexVolume"] {
            let refused = match front_end {
                "CSI" => csi.stage(&volume, node),
                _ => flex.mount(&flex_volume, flex_node, "pod").map(drop),
            };
            let lists = recorder.take();
            lists.iter().for_each(|list| check_list(list, &mounts, &allowed));
            let what = format!("{front_end}, {key}={value:?}");
            judge(&what, &fate, &refused.unwrap_err(), &lists);
        }
    }
    for directory in [Path::new("/"), Path::new("."), machine.directory()] {
        assert!(!directory.join(MARK).exists(), "something was executed");
    }
    let (volume, flex_volume) =
        (cluster.volume("pv-odd", Access::ManyNodes, &[]), cluster.flex_volume("pv-odd", &[]));
    csi.unstage(&volume, node).unwrap();
    flex.unmount(&flex_volume, flex_node, "pod").unwrap();
    cluster.assert_empty();
}
