//! The store as its callers see it, and as a machine leaves it that stops anywhere.

use super::*;
use crate::files::tests::DyingFiles;
use crate::manifest::tests::{component, manifest};

fn wasm(version: &str) -> Vec<u8> {
    component(&manifest("disk", version))
}

fn store() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::create(dir.path().join("store")).unwrap();
    (dir, store)
}

fn bring_up(store: &Store, version: &str) -> u64 {
    let number = store.install(&wasm(version)).unwrap().generation;
    store.mark_checked("disk", number).unwrap();
    store.activate("disk", number).unwrap();
    number
}

/// Versions 1 to `last`, one after the other; each is the generation of its number.
fn bring_up_to(store: &Store, last: u64) {
    (1..=last).for_each(|version| assert_eq!(bring_up(store, &version.to_string()), version));
}

#[test]
fn a_component_is_staged_checked_and_active_one_after_the_other() {
    let (_dir, store) = store();
    let staged = store.install(&wasm("1")).unwrap();
    assert_eq!((staged.generation, &staged.state), (1, &State::Staged));
    assert!(matches!(store.active("disk"), Err(StoreError::NothingActive(_))));
    assert!(matches!(store.activate("disk", 1), Err(StoreError::NotChecked { .. })));
    store.mark_checked("disk", 1).unwrap();
    store.activate("disk", 1).unwrap();
    let active = store.active("disk").unwrap();
    assert_eq!((active.generation, active.manifest.version.as_str()), (1, "1"));
    assert_eq!(fs::read(&active.wasm).unwrap(), wasm("1"));
    assert_eq!(store.read_component(&active.digest).unwrap(), wasm("1"));
}

#[test]
fn a_rejected_component_never_displaces_the_active_one() {
    let (_dir, store) = store();
    bring_up(&store, "1");
    let bad = store.install(&wasm("2")).unwrap().generation;
    store.mark_rejected("disk", bad, "it traps").unwrap();
    let refusal = store.activate("disk", bad).unwrap_err().to_string();
    assert!(refusal.contains("it traps"), "{refusal}");
    assert_eq!(store.active("disk").unwrap().generation, 1);
}

#[test]
fn the_same_file_again_is_the_same_generation_unless_it_was_rejected() {
    let (_dir, store) = store();
    bring_up(&store, "1");
    assert_eq!(store.install(&wasm("1")).unwrap().generation, 1);
    store.mark_rejected("disk", 1, "no").unwrap();
    assert_eq!(store.install(&wasm("1")).unwrap().generation, 2);
}

#[test]
fn rollback_goes_back_three_times_and_never_to_what_was_rolled_back() {
    let (_dir, store) = store();
    bring_up_to(&store, 5);
    let back: Vec<u64> = (0..3).map(|_| store.rollback("disk").unwrap().generation).collect();
    assert_eq!(back, [4, 3, 2]);
    assert!(matches!(store.rollback("disk"), Err(StoreError::NoHistory(_))));
    store.activate("disk", 5).unwrap();
    assert_eq!(store.rollback("disk").unwrap().generation, 2);
}

#[test]
fn rollback_passes_over_a_generation_whose_file_is_damaged() {
    let (_dir, store) = store();
    bring_up_to(&store, 3);
    let second = store.component(&store.generation("disk", 2).unwrap().digest);
    fs::remove_file(second).unwrap();
    assert_eq!(store.rollback("disk").unwrap().generation, 1);
}

#[test]
fn the_revision_changes_with_every_activation_and_with_nothing_else() {
    let (_dir, store) = store();
    let none = store.revision("disk");
    bring_up(&store, "1");
    let first = store.revision("disk");
    assert_ne!(none, first);
    let second = store.install(&wasm("2")).unwrap().generation;
    store.mark_checked("disk", second).unwrap();
    assert_eq!(store.revision("disk"), first);
    store.activate("disk", second).unwrap();
    assert_ne!(store.revision("disk"), first);
}

#[test]
fn opening_creates_nothing_and_refuses_what_others_can_write() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("store");
    assert!(matches!(Store::open(&root), Err(StoreError::Missing(_))));
    assert!(!root.exists());
    Store::create(&root).unwrap();
    fs::set_permissions(&root, fs::Permissions::from_mode(0o777)).unwrap();
    assert!(matches!(Store::open(&root), Err(StoreError::Exposed { .. })));
}

#[test]
fn damaged_files_are_named_with_their_remedy_and_hide_nothing_else() {
    let (_dir, store) = store();
    bring_up(&store, "1");
    bring_up(&store, "2");
    fs::write(store.generation_file("disk", 1), b"{").unwrap();
    let seen = store.show("disk").unwrap();
    assert_eq!((seen.active, seen.generations.len(), seen.damaged.len()), (Some(2), 1, 1));
    assert!(seen.damaged[0].to_string().contains("1.json"));
    assert!(store.active("disk").is_ok());
    fs::write(store.active_file("disk"), b"two\n").unwrap();
    let error = store.active("disk").unwrap_err().to_string();
    assert!(error.contains("active") && error.contains("activate a generation again"), "{error}");
    store.list().unwrap();
}

#[test]
fn a_component_whose_bytes_changed_is_not_read_and_installing_it_again_repairs_it() {
    let (_dir, store) = store();
    bring_up(&store, "1");
    let active = store.active("disk").unwrap();
    fs::remove_file(&active.wasm).unwrap();
    fs::write(&active.wasm, b"other").unwrap();
    assert!(matches!(store.read_component(&active.digest), Err(StoreError::Damaged { .. })));
    store.install(&wasm("1")).unwrap();
    assert_eq!(store.read_component(&active.digest).unwrap(), wasm("1"));
}

#[test]
fn names_from_outside_do_not_leave_the_store() {
    let (_dir, store) = store();
    for name in ["..", "../x", "", "a/b"] {
        assert!(store.active(name).is_err());
        assert!(store.show(name).is_err());
        assert!(store.generation(name, 1).is_err());
        assert!(store.mark_checked(name, 1).is_err());
        assert!(store.rollback(name).is_err());
    }
}

#[test]
fn pruning_keeps_what_is_active_what_can_be_gone_back_to_and_the_newest() {
    let (_dir, store) = store();
    bring_up_to(&store, 8);
    store.activate("disk", 2).unwrap();
    for number in 1..=8 {
        let digest = store.generation("disk", number).unwrap().digest;
        store.put_code(&digest, "aa", b"x").unwrap();
        store.put_code(&digest, "bb", b"x").unwrap();
    }
    let pruned = store.prune(&["aa".to_owned()]).unwrap();
    let left: Vec<u64> = store.show("disk").unwrap().generations.iter().map(|it| it.generation).collect();
    assert_eq!(left, [2, 6, 7, 8]);
    assert_eq!(pruned, Pruned { generations: 4, components: 4, cached: 12 });
    assert_eq!(store.prune(&["aa".to_owned()]).unwrap(), Pruned::default());
    assert_eq!(store.rollback("disk").unwrap().generation, 8);
}

#[test]
fn nothing_is_pruned_while_a_record_cannot_be_read() {
    let (_dir, store) = store();
    bring_up_to(&store, 6);
    fs::write(store.generation_file("disk", 6), b"{").unwrap();
    assert!(store.prune(&[]).is_err());
    assert_eq!(entries(&store.components()).unwrap().len(), 6);
}

#[test]
fn two_processes_install_at_once_and_both_are_there() {
    let (_dir, store) = store();
    let numbers: BTreeSet<u64> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|version| (store.clone(), wasm(&version.to_string()))).map(|(store, wasm)| scope.spawn(move || store.install(&wasm).unwrap().generation)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(numbers, (1..=8).collect());
}

/// Installs version 2, checks it, activates it.
fn upgrade(store: &Store) -> Result<(), StoreError> {
    let number = store.install(&wasm("2"))?.generation;
    store.mark_checked("disk", number)?;
    store.put_code(&Digest::of(&wasm("2")), "aa", b"code")?;
    store.activate("disk", number)
}

#[test]
fn killed_after_any_step_of_an_upgrade_the_store_is_whole_and_the_upgrade_can_be_repeated() {
    for steps in 0..200 {
        let (_dir, store) = store();
        bring_up(&store, "1");
        let finished = upgrade(&store.with_files(DyingFiles::after(steps))).is_ok();
        let active = store.active("disk").unwrap();
        assert!(!finished || active.generation == 2);
        assert_eq!(store.read_component(&active.digest).unwrap(), wasm(&active.manifest.version), "after {steps} steps");
        assert!(store.show("disk").unwrap().damaged.is_empty(), "after {steps} steps");
        assert!(store.cached_code(&Digest::of(&wasm("2")), "aa").is_ok());
        upgrade(&store).unwrap();
        assert_eq!(store.active("disk").unwrap().manifest.version, "2");
        assert_eq!(store.rollback("disk").unwrap().manifest.version, "1");
        if finished {
            assert!(steps > 10, "the upgrade has steps");
            return;
        }
    }
    panic!("the upgrade never ends");
}

#[test]
fn killed_after_any_step_of_a_rollback_one_of_both_is_active_and_the_way_back_is_not_lost() {
    for steps in 0..50 {
        let (_dir, store) = store();
        bring_up_to(&store, 3);
        let finished = store.with_files(DyingFiles::after(steps)).rollback("disk").is_ok();
        match store.active("disk").unwrap().generation {
            3 => assert_eq!(store.rollback("disk").unwrap().generation, 2),
            2 => assert_eq!(store.rollback("disk").unwrap().generation, 1),
            other => panic!("{other} is active after {steps} steps"),
        }
        if finished {
            return;
        }
    }
    panic!("the rollback never ends");
}
