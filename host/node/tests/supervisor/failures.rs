//! Helpers that are missing, hang, or end: a clear error, and nothing left over.

use std::time::{Duration, Instant};

use wharf_core::ErrorKind;
use wharf_core::helper_profile::{FuseDevice, Rotation};
use wharf_node::supervisor::{Condition, Ending, MountRequest};

use crate::bed::{Bed, PATIENCE, bindfs_unless, credential, holds, kill, request, sh, until};

#[test]
fn a_missing_helper_is_an_error_that_says_how_to_install_it() {
    let Some(bed) = Bed::new() else { return };
    let mut spec = bed.spec("a");
    spec.profile.program = "no-such-helper".into();
    spec.profile.install = "apt-get install no-such-helper".into();
    let error = bed.mount(&spec).unwrap_err();
    assert_eq!(error.kind, ErrorKind::FailedPrecondition);
    assert!(error.to_string().contains("apt-get install no-such-helper"), "{error}");
    bed.assert_clean();
}

#[test]
fn a_helper_that_ends_at_once_is_quoted_without_its_keys() {
    let Some(bed) = Bed::new() else { return };
    let spec = bed.script("a", "echo no bucket; cat $(dirname $2)/credential/passwd >&2; exit 7");
    let error =
        bed.client().mount(request(spec, Some(credential("user:c4n4ry+secret")))).unwrap_err();
    assert_eq!(error.kind, ErrorKind::FailedPrecondition);
    assert!(
        error.message.contains("exit code 7") && error.message.contains("no bucket"),
        "{error}"
    );
    assert!(!error.to_string().contains("c4n4ry"), "{error}");
    assert!(!bed.log().contains("c4n4ry"));
    bed.assert_clean();
}

#[test]
fn a_helper_that_hangs_at_its_start_is_stopped_with_all_it_started() {
    let Some(bed) = Bed::new() else { return };
    let mark = bed.path("child");
    let script = format!("sleep 4242 & echo $! > {0}; echo waiting; wait", mark.display());
    let spec = bed.script("a", &script);
    // How long it takes until the helper has begun is the machine's to say.
    let child = [500, 2_000, 8_000, 32_000].into_iter().find_map(|wait_millis| {
        let began = Instant::now();
        let hasty = MountRequest { wait_millis, ..request(spec.clone(), None) };
        let error = bed.client().mount(hasty).unwrap_err();
        assert!(began.elapsed() < Duration::from_millis(wait_millis) + Duration::from_secs(30));
        assert_eq!(error.kind, ErrorKind::Unavailable);
        let has_begun = error.message.contains("waiting");
        has_begun.then(|| std::fs::read_to_string(&mark).unwrap())
    });
    let child = child.expect("the helper begins");
    let stat =
        || std::fs::read_to_string(format!("/proc/{}/stat", child.trim())).unwrap_or_default();
    until("its child is gone", || stat().is_empty() || stat().contains(") Z "));
    bed.assert_clean();
    // And its own bound holds where the caller would wait for ever.
    let mut spec = spec;
    spec.profile.start_seconds = 1;
    assert_eq!(bed.mount(&spec).unwrap_err().kind, ErrorKind::Unavailable);
    bed.assert_clean();
}

#[test]
fn a_helper_that_mounts_and_does_not_answer_never_shows_at_the_target() {
    let Some(bed) = Bed::new() else { return };
    let mut spec = bed.script("a", "exec sleep 4242");
    // Mounted before it is started, and it never reads a question.
    spec.profile.device = FuseDevice::Given;
    sh(&format!("chmod 755 {0} {0}/helper.sh", bed.path("").display()));
    let error = bed
        .client()
        .mount(MountRequest { wait_millis: 1000, ..request(spec.clone(), None) })
        .unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unavailable, "{error}");
    assert!(std::fs::read_dir(&spec.target).unwrap().next().is_none());
    bed.assert_clean();
}

#[test]
fn a_refused_option_starts_nothing() {
    let Some(bed) = Bed::new() else { return };
    let mark = bed.path("ran");
    let mut spec = bed.script("a", &format!("touch {}", mark.display()));
    spec.arguments = vec!["-o".into(), "fsname=x,multithreaded".into()];
    let error = bed.mount(&spec).unwrap_err();
    assert_eq!(error.kind, ErrorKind::PermissionDenied);
    assert!(error.message.contains("multithreaded"), "{error}");
    assert!(!mark.exists());
    bed.assert_clean();
}

#[test]
fn arguments_are_never_read_by_a_shell() {
    let Some(bed) = Bed::new() else { return };
    let seen = bed.path("seen");
    let script = format!("printf '%s\\n' \"$@\" > {}; exit 1", seen.display());
    let mut spec = bed.script("a", &script);
    let hostile = format!("fsname=$(touch {0}/x);`touch {0}/y`|&'\"", bed.path("").display());
    spec.arguments = vec!["-o".into(), hostile.clone()];
    spec.source = "b;$(id)".into();
    bed.mount(&spec).unwrap_err();
    let seen = std::fs::read_to_string(seen).unwrap();
    let lines: Vec<_> = seen.lines().collect();
    assert_eq!((lines[0], lines[2], lines[3]), ("b;$(id)", "-o", hostile.as_str()));
    assert!(!bed.path("x").exists() && !bed.path("y").exists());
    bed.assert_clean();
}

#[test]
fn a_helper_that_can_not_be_started_again_is_tried_again_until_it_can() {
    let Some(bed) = Bed::new() else { return };
    let broken = bed.path("broken");
    let spec = bed.script("a", &bindfs_unless(&broken));
    bed.mount(&spec).unwrap();
    std::fs::write(&broken, "").unwrap();
    kill(bed.pid(&spec));
    until("it was tried", || bed.status(&spec).restarts > 0);
    let status = bed.status(&spec);
    assert_eq!(status.condition, Condition::Dead, "{status:?}");
    assert!(status.last_exit.is_some());
    std::fs::remove_file(&broken).unwrap();
    until("it is healed", || holds(&spec.target.join("file"), "hello"));
    // A dead mount can be taken away like any other.
    std::fs::write(&broken, "").unwrap();
    kill(bed.pid(&spec));
    until("it is dead", || bed.status(&spec).condition == Condition::Dead);
    sh(&format!("umount {}", spec.target.display()));
    bed.assert_clean();
}

#[test]
fn a_helper_that_uses_up_its_memory_is_started_again_and_the_cause_is_told() {
    let Some(bed) = Bed::new() else { return };
    if !std::path::Path::new("/sys/fs/cgroup/memory/memory.oom_control").exists()
        && !std::fs::read_to_string("/sys/fs/cgroup/cgroup.controllers")
            .is_ok_and(|all| all.contains("memory"))
    {
        eprintln!("skipped: no control group bounds memory here");
        return;
    }
    let hungry = bed.path("hungry");
    let script = format!(
        "bindfs -f $1 $2 &\n\
         while [ ! -e {0} ]; do [ -e /proc/$!/exe ] || exit 0; sleep 0.01; done\n\
         rm {0}; exec tail /dev/zero",
        hungry.display()
    );
    let mut spec = bed.script("a", &script);
    spec.profile.memory_mib = Some(16);
    bed.mount(&spec).unwrap();
    let name = bed.status(&spec).name;
    let pid = bed.pid(&spec);
    until("it is in its group", || {
        let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
        groups.contains(&format!("/wharf-mounts/{name}"))
    });
    std::fs::write(&hungry, "").unwrap();
    until("it was started again", || bed.status(&spec).restarts == 1);
    until("it is healed", || holds(&spec.target.join("file"), "hello"));
    assert_eq!(bed.status(&spec).last_exit, Some(Ending::OutOfMemory));
    kill(bed.pid(&spec));
    until("it was started again", || bed.status(&spec).restarts == 2);
    until("it is healed", || holds(&spec.target.join("file"), "hello"));
    assert_eq!(bed.status(&spec).last_exit, Some(Ending::Killed(9)));
    bed.client().unmount(&spec.target, PATIENCE).unwrap();
    bed.assert_clean();
}

#[test]
fn a_record_that_cannot_be_removed_is_tried_again_and_not_all_the_time() {
    let Some(bed) = Bed::new() else { return };
    let spec = bed.spec("a");
    bed.mount(&spec).unwrap();
    let state = bed.path("state").display().to_string();
    sh(&format!("mount --bind {state} {state}; mount -o remount,bind,ro {state}"));
    sh(&format!("umount {}", spec.target.display()));
    let attempts = || bed.log().matches("could not be looked after").count();
    until("it was tried", || attempts() > 0);
    std::thread::sleep(Duration::from_millis(500));
    assert!(attempts() <= 2, "{}", bed.log());
    sh(&format!("umount {state}"));
    until("the mount is forgotten", || bed.client().list().unwrap().is_empty());
    bed.assert_clean();
}

#[test]
fn the_log_of_a_helper_that_serves_is_bounded_and_its_end_can_be_read() {
    let Some(bed) = Bed::new() else { return };
    // More than the bound, and less than there is room for; again and again.
    let (go, again) = (bed.path("go"), bed.path("again"));
    let script = format!(
        "(for file in {} {}; do until [ -e $file ]; do sleep 0.05; done; \
         yes 'a line' | head -c 602000; echo the end of $file; done) & exec bindfs -f $1 $2",
        go.display(),
        again.display()
    );
    let spec = bed.script("a", &script);
    bed.mount(&spec).unwrap();
    let file = bed.path("run").join(bed.status(&spec).name).join("log");
    for go in [&go, &again] {
        std::fs::write(go, "").unwrap();
        let end = format!("a line\nthe end of {}\n", go.display());
        until("it is all there, and its end is kept", || {
            let log = bed.client().log(spec.target.to_str().unwrap()).unwrap();
            log.ends_with(&end) && std::fs::metadata(&file).unwrap().len() <= 64 * 1024
        });
    }
    let log = bed.client().log(spec.target.to_str().unwrap()).unwrap();
    assert_eq!(log, bed.client().log(&bed.status(&spec).name).unwrap());
    assert_eq!(bed.client().log("other").unwrap_err().kind, ErrorKind::NotFound);
    bed.client().unmount(&spec.target, PATIENCE).unwrap();
    bed.assert_clean();
}

#[test]
fn keys_are_renewed_although_the_helper_has_filled_its_directory() {
    let Some(bed) = Bed::new() else { return };
    let (go, full) = (bed.path("go"), bed.path("full"));
    let mut spec = bed.script(
        "a",
        &format!(
            "(while [ ! -e {} ]; do sleep 0.01; done; yes words | head -c 3000000; touch {}) & \
             exec bindfs -f $1 $2",
            go.display(),
            full.display()
        ),
    );
    spec.profile.rotation = Rotation::InPlace;
    bed.client().mount(request(spec.clone(), Some(credential("first-key")))).unwrap();
    std::fs::write(&go, "").unwrap();
    until("it is full", || full.exists());
    bed.client().update(&spec.target, credential("second-key"), PATIENCE).unwrap();
    let keys = bed.path("run").join(bed.status(&spec).name).join("credential/passwd");
    assert!(holds(&keys, "second-key"));
    bed.client().unmount(&spec.target, PATIENCE).unwrap();
    bed.assert_clean();
}

#[test]
fn a_mount_that_cannot_be_written_down_is_not_made() {
    let Some(bed) = Bed::new() else { return };
    let state = bed.path("state");
    let state = state.display();
    sh(&format!(
        "mount -t tmpfs -o size=16k,mode=0700 full {state}; mkdir -m 0700 {state}/mounts; \
         head -c 1000000 /dev/zero > {state}/other 2> /dev/null || true"
    ));
    let spec = bed.spec("a");
    let error = bed.mount(&spec).unwrap_err();
    assert!(error.message.contains("No space left"), "{error}");
    assert!(!holds(&spec.target.join("file"), "hello"));
    assert_eq!(bed.processes(), Vec::<String>::new());
    sh(&format!("rm {state}/other"));
    bed.mount(&spec).unwrap();
    assert!(holds(&spec.target.join("file"), "hello"));
    bed.client().unmount(&spec.target, PATIENCE).unwrap();
    sh(&format!("umount {state}"));
    bed.assert_clean();
}
