//! The step `mount-fuse`, as a plan has it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use wharf_core::plan::{HelperCredential, MountFuse, MountStaged, Plan, Readiness, Step};
use wharf_core::policy::{HelperGrant, NodePolicy};
use wharf_core::ports::{Call, CallSecrets, Node, PlanRun, RemovePath};
use wharf_core::types::VolumeId;
use wharf_core::{Error, ErrorKind};
use wharf_node::supervisor::{Condition, CredentialFile};
use wharf_node::{HelperKeys, LinuxNode, NodeOptions, RenderedKeys};

use crate::bed::{Bed, bindfs, holds, kill, sh, until};
use crate::child;

/// Gives out one key after the other.
struct Keys(AtomicUsize);

impl HelperKeys for Keys {
    fn render(
        &self,
        _: &Call,
        _: CallSecrets<'_>,
        wanted: &HelperCredential,
    ) -> Result<RenderedKeys, Error> {
        let content = format!("key-{}", self.0.fetch_add(1, Ordering::SeqCst)).into_bytes();
        let files = vec![CredentialFile { name: wanted.form.clone(), content }];
        Ok(RenderedKeys { files, renew_at_ms: None })
    }
}

fn node(bed: &Bed) -> LinuxNode {
    let options = NodeOptions {
        state_directory: bed.path("node-state"),
        roots: vec![bed.path("targets")],
        supervisor: Some(bed.client()),
        child_command: child::command(),
        ..NodeOptions::default()
    };
    LinuxNode::new(options).with_helper_keys(Arc::new(Keys(AtomicUsize::new(0))))
}

fn policy() -> NodePolicy {
    let grant = HelperGrant {
        accounts: vec!["reader".into()],
        profile: Some(bindfs()),
        ..HelperGrant::default()
    };
    NodePolicy {
        steps: ["mount-fuse", "mount-staged"].map(str::to_owned).to_vec(),
        helpers: [("bindfs".to_owned(), grant)].into(),
        ..NodePolicy::default()
    }
}

fn fuse(bed: &Bed, credential: Option<&str>) -> Step {
    MountFuse {
        helper: "bindfs".into(),
        source: bed.path("data").to_str().unwrap().to_owned(),
        arguments: vec![],
        credential: credential.map(|account| HelperCredential {
            account: account.to_owned(),
            form: "passwd".into(),
            values: vec![],
        }),
        ready: Readiness::Answers,
        read_only: false,
    }
    .into()
}

fn run(
    bed: &Bed,
    node: &LinuxNode,
    steps: Vec<Step>,
    at: &str,
    staged: Option<&str>,
) -> Result<(), Error> {
    let path = |name: &str| bed.path("targets").join(name);
    let plan = Plan { steps, summary: String::new() };
    let call = Call::until(Duration::from_secs(3600));
    let staged = staged.map(path);
    let run = PlanRun {
        plan: &plan,
        policy: &policy(),
        driver: "fuse",
        volume: &VolumeId::new("v"),
        destination: &path(at),
        staged: staged.as_deref(),
        secrets: CallSecrets::NONE,
    };
    node.run(&call, &run).map(drop)
}

#[test]
fn a_volume_is_staged_published_and_taken_away_by_the_mount_table_alone() {
    let Some(bed) = Bed::new() else { return };
    let node = node(&bed);
    let path = |name: &str| bed.path("targets").join(name);
    for _ in 0..2 {
        run(&bed, &node, vec![fuse(&bed, Some("reader"))], "new/stage", None).unwrap();
        let staged = MountStaged { flags: vec![], read_only: true }.into();
        run(&bed, &node, vec![staged], "pod", Some("new/stage")).unwrap();
    }
    assert!(holds(&path("pod").join("file"), "hello"));
    assert!(std::fs::write(path("pod").join("new"), "x").is_err());
    let status = bed.client().list().unwrap();
    let keys = bed.path("run").join(&status[0].name).join("credential/passwd");
    assert!(holds(&keys, "key-1"), "the second stage brought new keys");
    let call = Call::until(Duration::from_secs(3600));
    node.unmount(&call, &path("pod"), RemovePath::Yes).unwrap();
    // Neither a record nor a supervisor is needed.
    bed.kill_supervisor();
    node.unmount(&call, &path("new/stage"), RemovePath::Yes).unwrap();
    assert!(!path("new/stage").exists());
    bed.start();
    bed.assert_clean();
}

/// What a path shows instead of what these steps mount there.
fn shown_instead(
    bed: &Bed,
    node: &LinuxNode,
    step: Step,
    at: &str,
    staged: Option<&str>,
) -> Option<String> {
    let path = |name: &str| bed.path("targets").join(name);
    let plan = Plan { steps: vec![step], summary: String::new() };
    let staged = staged.map(path);
    node.shown_instead(&plan, &policy(), &path(at), staged.as_deref()).unwrap()
}

#[test]
fn a_helpers_mount_is_told_from_another_one_and_is_the_same_after_it_was_healed() {
    let Some(bed) = Bed::new() else { return };
    let node = node(&bed);
    let path = |name: &str| bed.path("targets").join(name);
    let bind = || -> Step { MountStaged { flags: vec![], read_only: false }.into() };
    let stage_shows = |node| shown_instead(&bed, node, fuse(&bed, None), "stage", None);
    let pod_shows = |node| shown_instead(&bed, node, bind(), "pod", Some("stage"));
    run(&bed, &node, vec![fuse(&bed, None)], "stage", None).unwrap();
    run(&bed, &node, vec![bind()], "pod", Some("stage")).unwrap();
    assert_eq!((stage_shows(&node), pod_shows(&node)), (None, None));
    let spec = bed.spec("stage");
    kill(bed.pid(&spec));
    until("it is healed", || {
        let status = bed.status(&spec);
        status.condition == Condition::Serving && status.restarts == 1
    });
    assert_eq!((stage_shows(&node), pod_shows(&node)), (None, None));
    // Another directory, mounted by hand over the workload's path.
    std::fs::create_dir(bed.path("other")).unwrap();
    sh(&format!("bindfs -o nonempty {} {}", bed.path("other").display(), path("pod").display()));
    assert_eq!(stage_shows(&node), None);
    assert!(pod_shows(&node).unwrap().contains("fuse"));
    // And in the place of the volume, where the kernel gives it the number that was free.
    sh(&format!(
        "umount {0}; umount {0}; umount {1}",
        path("pod").display(),
        path("stage").display()
    ));
    until("the helper is gone", || bed.client().list().unwrap().is_empty());
    sh(&format!("bindfs -o nonempty {} {}", bed.path("other").display(), path("stage").display()));
    assert!(stage_shows(&node).unwrap().contains("fuse"));
    // An earlier driver's mount of the same directory is the volume's.
    sh(&format!("umount {}", path("stage").display()));
    sh(&format!("bindfs {} {}", bed.path("data").display(), path("stage").display()));
    run(&bed, &node, vec![fuse(&bed, None)], "stage", None).unwrap();
    run(&bed, &node, vec![bind()], "pod", Some("stage")).unwrap();
    assert_eq!((stage_shows(&node), pod_shows(&node)), (None, None));
    // Where no supervisor runs, nothing tells one helper's mount from another.
    bed.kill_supervisor();
    assert_eq!(stage_shows(&node), None);
    sh(&format!("umount {} {}", path("pod").display(), path("stage").display()));
    bed.start();
    bed.assert_clean();
}

#[test]
fn a_plan_that_fails_later_leaves_no_mount_no_helper_and_no_directory() {
    let Some(bed) = Bed::new() else { return };
    let node = node(&bed);
    // Nothing is staged for the second step.
    let staged = MountStaged { flags: vec![], read_only: false }.into();
    let error = run(&bed, &node, vec![fuse(&bed, None), staged], "new/stage", None).unwrap_err();
    assert!(error.message.contains("mount-staged"), "{error}");
    assert!(!bed.path("targets/new").exists());
    until("the helper is gone", || bed.client().list().unwrap().is_empty());
    bed.assert_clean();
}

#[test]
fn a_refused_step_fetches_no_key_and_makes_no_directory() {
    let Some(bed) = Bed::new() else { return };
    let node = node(&bed);
    let Step::MountFuse(mut step) = fuse(&bed, Some("reader")) else { unreachable!() };
    step.arguments = vec!["-o".into(), "passwd_file=/etc/shadow".into()];
    let error = run(&bed, &node, vec![step.into()], "new/stage", None).unwrap_err();
    assert_eq!(error.kind, ErrorKind::PermissionDenied, "{error}");
    assert!(error.message.contains("passwd_file"), "{error}");
    let error = run(&bed, &node, vec![fuse(&bed, Some("owner"))], "new/stage", None).unwrap_err();
    assert_eq!(error.kind, ErrorKind::PermissionDenied, "{error}");
    assert!(!bed.path("targets/new").exists());
    run(&bed, &node, vec![fuse(&bed, Some("reader"))], "a", None).unwrap();
    let name = &bed.client().list().unwrap()[0].name;
    assert!(holds(&bed.path("run").join(name).join("credential/passwd"), "key-0"));
    let call = Call::until(Duration::from_secs(3600));
    node.unmount(&call, &bed.path("targets/a"), RemovePath::Yes).unwrap();
    bed.assert_clean();
}
