//! Mounts of earlier drivers at a target, which the supervisor did not make.

use std::process::{Child, Command};

use rustix::process::Signal;
use wharf_core::ErrorKind;
use wharf_node::supervisor::{Served, Spec};

use crate::bed::{Bed, holds, kill, request, sh, signal, until};

/// A helper as an earlier driver starts it, at the target itself.
fn start(spec: &Spec) -> Child {
    let helper =
        Command::new("bindfs").arg("-f").arg(&spec.source).arg(&spec.target).spawn().unwrap();
    until("it has mounted", || holds(&spec.target.join("file"), "hello"));
    helper
}

#[test]
fn a_mount_that_provably_is_what_is_asked_for_is_left_as_it_is() {
    let Some(bed) = Bed::new() else { return };
    let spec = bed.spec("a");
    let mut helper = start(&spec);
    let before = bed.mounts();
    for _ in 0..2 {
        let served = bed.client().mount(request(spec.clone(), None)).unwrap();
        assert_eq!(served, Served::ByEarlierDriver);
        assert_eq!(bed.mounts(), before);
        assert!(bed.client().list().unwrap().is_empty());
    }
    let reads = Spec { read_only: true, ..spec.clone() };
    let refused = bed.mount(&reads).unwrap_err();
    assert_eq!(refused.kind, ErrorKind::AlreadyExists, "{refused}");
    assert!(refused.message.contains("writable"), "{refused}");
    assert_eq!(bed.mounts(), before);
    sh(&format!("umount {}", spec.target.display()));
    helper.wait().unwrap();
    // As before it, the supervisor mounts.
    assert_eq!(bed.client().mount(request(spec.clone(), None)).unwrap(), Served::BySupervisor);
    sh(&format!("umount {}", spec.target.display()));
    bed.assert_clean();
}

#[test]
fn a_mount_that_nothing_proves_to_be_what_is_asked_for_is_refused_and_named() {
    let Some(bed) = Bed::new() else { return };
    let spec = bed.spec("a");
    let target = spec.target.display();
    let refused = |spec: &Spec, words: &str| {
        let before = bed.mounts();
        let refused = bed.mount(spec).unwrap_err();
        assert!(refused.message.contains(words), "{refused}");
        assert!(refused.hint.as_deref().unwrap_or_default().starts_with("unmount it first"));
        assert_eq!(bed.mounts(), before);
        assert!(bed.client().list().unwrap().is_empty());
    };
    sh(&format!("mount -t tmpfs somebody {target}"));
    refused(&spec, "somebody (tmpfs) mounted on it, which is no mount of bindfs");
    sh(&format!("umount {target}"));

    let mut helper = start(&spec);
    refused(&Spec { source: "/other".into(), ..spec.clone() }, "its process shows `/");
    // A part of it is not all of it.
    sh(&format!("mount --bind {target}/sub {target}"));
    refused(&spec, "which is no mount of bindfs");
    sh(&format!("umount {target}"));
    // It hangs: whoever asked hears that.
    let pid = i32::try_from(helper.id()).unwrap();
    signal(pid, Signal::STOP);
    refused(&spec, "did not answer");
    signal(pid, Signal::CONT);
    kill(pid);
    helper.wait().unwrap();
    refused(&spec, "no process that the supervisor of mounts sees");
    sh(&format!("umount -l {target}"));
    bed.assert_clean();
}
