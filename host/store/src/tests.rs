//! The store as an administrator uses it, and as a crash leaves it.

use std::os::unix::fs::PermissionsExt;

use super::*;

fn component(name: &str, version: &str) -> Vec<u8> {
    let manifest = format!(
        r#"{{"name":"{name}","version":"{version}","world":"backend","contract":"0.1.0"}}"#
    );
    let mut component = wasm_encoder::Component::new();
    component.section(&wasm_encoder::CustomSection {
        name: wharf_core::manifest::SECTION.into(),
        data: manifest.as_bytes().into(),
    });
    component.finish()
}

fn store() -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path().join("store"));
    (folder, store)
}

fn install(store: &Store, version: &str) -> u64 {
    let number = store.install(&component("disk", version), 1).unwrap().number;
    store.mark("disk", number, State::Checked).unwrap();
    number
}

#[test]
fn a_component_becomes_active_only_after_it_was_checked() {
    let (_folder, store) = store();
    let staged = store.install(&component("disk", "1.0.0"), 1).unwrap();
    assert!(matches!(store.activate("disk", staged.number), Err(StoreError::NotChecked { .. })));
    assert!(matches!(store.active("disk"), Err(StoreError::NotInstalled { .. })));
    store.mark("disk", staged.number, State::Checked).unwrap();
    store.activate("disk", staged.number).unwrap();
    let active = store.active("disk").unwrap();
    assert_eq!(active.manifest().version, "1.0.0");
    assert_eq!(store.read_component(&active.generation).unwrap(), component("disk", "1.0.0"));
}

#[test]
fn a_rejected_component_displaces_nothing() {
    let (_folder, store) = store();
    let good = install(&store, "1.0.0");
    store.activate("disk", good).unwrap();
    let revision = store.revision("disk");
    let bad = store.install(&component("disk", "2.0.0"), 2).unwrap();
    store.mark("disk", bad.number, State::Rejected { reason: "it traps".into() }).unwrap();
    assert!(store.activate("disk", bad.number).unwrap_err().to_string().contains("it traps"));
    assert_eq!(store.active("disk").unwrap().generation.number, good);
    assert_eq!(store.revision("disk"), revision);
}

#[test]
fn installing_the_same_bytes_again_is_the_same_generation() {
    let (_folder, store) = store();
    let first = install(&store, "1.0.0");
    assert_eq!(install(&store, "1.0.0"), first);
    assert_ne!(install(&store, "1.0.1"), first);
}

#[test]
fn a_rollback_goes_back_and_then_further_back() {
    let (_folder, store) = store();
    for version in ["1.0.0", "1.0.1", "1.0.2"] {
        let number = install(&store, version);
        store.activate("disk", number).unwrap();
    }
    let before = store.revision("disk");
    assert_eq!(store.rollback("disk").unwrap().manifest.version, "1.0.1");
    assert_ne!(store.revision("disk"), before, "a running server notices");
    assert_eq!(store.rollback("disk").unwrap().manifest.version, "1.0.0");
    assert!(matches!(store.rollback("disk"), Err(StoreError::NothingBefore { .. })));
    assert_eq!(store.active("disk").unwrap().manifest().version, "1.0.0");
}

#[test]
fn generations_that_cannot_be_reached_any_more_are_removed() {
    let (_folder, store) = store();
    for version in 0..8 {
        let number = install(&store, &format!("1.0.{version}"));
        store.activate("disk", number).unwrap();
    }
    let summary = store.show("disk").unwrap();
    assert_eq!(
        summary.generations.iter().map(|generation| generation.number).collect::<Vec<_>>(),
        [5, 6, 7, 8]
    );
    assert_eq!(fs::read_dir(store.root().join("components")).unwrap().count(), 4);
}

#[test]
fn half_written_files_of_a_crash_are_passed_over_and_replaced() {
    let (_folder, store) = store();
    let first = install(&store, "1.0.0");
    store.activate("disk", first).unwrap();
    let folder = store.root().join("backends/disk");
    fs::write(folder.join(".new-active"), "99").unwrap();
    fs::write(folder.join("generations/.new-2.json"), "{").unwrap();
    assert_eq!(store.active("disk").unwrap().generation.number, first);
    let second = install(&store, "2.0.0");
    store.activate("disk", second).unwrap();
    assert_eq!(store.active("disk").unwrap().generation.number, second);
}

#[test]
fn a_damaged_file_is_named() {
    let (_folder, store) = store();
    let number = install(&store, "1.0.0");
    store.activate("disk", number).unwrap();
    let generation = store.generation("disk", number).unwrap();
    fs::write(store.wasm(&generation), "other bytes").unwrap();
    assert!(
        store
            .read_component(&generation)
            .unwrap_err()
            .to_string()
            .contains(generation.digest.as_str())
    );
    fs::write(store.root().join("backends/disk/active"), "soon").unwrap();
    assert!(store.active("disk").unwrap_err().to_string().contains("backends/disk/active"));
    store.activate("disk", number).unwrap();
    assert_eq!(
        store.active("disk").unwrap().generation.number,
        number,
        "activating repairs the pointer"
    );
    fs::write(store.root().join(format!("backends/disk/generations/{number}.json")), "{}").unwrap();
    let listing = store.list().unwrap();
    assert!(
        listing.summaries.is_empty() && listing.damaged[0].to_string().contains(".json"),
        "{listing:?}"
    );
}

#[test]
fn what_is_no_component_of_ours_is_refused_in_words() {
    let (_folder, store) = store();
    let refusal = |bytes: &[u8]| store.install(bytes, 1).unwrap_err().to_string();
    assert!(refusal(b"\0asm").contains("not valid WebAssembly"));
    assert!(refusal(&wasm_encoder::Module::new().finish()).contains("core module"));
    assert!(refusal(&wasm_encoder::Component::new().finish()).contains("no manifest"));
    for name in ["../disk", "", "Disk", "a/b"] {
        assert!(
            matches!(store.install(&component(name, "1"), 1), Err(StoreError::BadName { .. })),
            "{name}"
        );
    }
}

#[test]
fn two_installers_at_once_get_two_generations() {
    let (_folder, store) = store();
    std::thread::scope(|scope| {
        for version in 0..8 {
            let store = &store;
            scope.spawn(move || install(store, &format!("1.0.{version}")));
        }
    });
    assert_eq!(store.show("disk").unwrap().generations.len(), 8);
}

#[test]
fn compiled_code_is_used_only_as_it_was_put_there() {
    let (_folder, store) = store();
    let cache = store.cache("engine-1");
    let digest = Digest::of(b"component");
    assert!(cache.get(&digest).unwrap().is_none());
    let put = |code: &[u8]| cache.lock().unwrap().put(&digest, code).unwrap();
    put(b"code");
    assert!(cache.get(&digest).unwrap().is_some());
    assert!(store.cache("engine-2").get(&digest).unwrap().is_none());
    let path = store.root().join(format!("cache/engine-1/{digest}.cwasm"));

    fs::write(&path, b"codE").unwrap();
    assert!(
        cache.get(&digest).unwrap().is_none(),
        "a changed byte means that it is compiled again"
    );

    put(b"code");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    assert!(cache.get(&digest).is_err(), "others may read it: somebody meddled");

    fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", &path).unwrap();
    assert!(cache.get(&digest).is_err(), "no link is followed");
}

#[test]
fn a_backend_that_is_half_made_or_damaged_is_in_nobodys_way() {
    let (_folder, store) = store();
    let first = install(&store, "1.0.0");
    store.activate("disk", first).unwrap();
    fs::create_dir_all(store.root().join("backends/half-made/generations")).unwrap();
    let other = store.install(&component("nas", "1.0.0"), 1).unwrap();
    let names = |listing: Listing| {
        listing.summaries.into_iter().map(|summary| summary.name).collect::<Vec<_>>()
    };
    assert_eq!(names(store.list().unwrap()), ["disk", "nas"]);
    fs::write(store.root().join("backends/nas/generations/1.json"), "{").unwrap();
    let second = install(&store, "2.0.0");
    store.activate("disk", second).unwrap();
    assert_eq!(store.active("disk").unwrap().generation.number, second);
    assert!(
        store.wasm(&other).exists(),
        "what a damaged record names is not known, so nothing is removed"
    );
    let listing = store.list().unwrap();
    assert!(listing.damaged[0].to_string().contains("backends/nas/generations/1.json"));
    assert_eq!(names(listing), ["disk"]);
}

#[test]
fn compiled_code_goes_with_the_last_record_of_its_component() {
    let (_folder, store) = store();
    let (cache, mut digests) = (store.cache("engine-1"), Vec::new());
    for version in 0..5 {
        let number = install(&store, &format!("1.0.{version}"));
        digests.push(store.generation("disk", number).unwrap().digest);
        cache.lock().unwrap().put(digests.last().unwrap(), b"code").unwrap();
        store.activate("disk", number).unwrap();
    }
    let kept: Vec<bool> =
        digests.iter().map(|digest| cache.get(digest).unwrap().is_some()).collect();
    assert_eq!(kept, [false, true, true, true, true]);
    assert!(!store.root().join(format!("cache/engine-1/{}.sha256", digests[0])).exists());
}

#[test]
fn one_compiles_at_a_time_and_finds_nothing_that_another_left() {
    let (_folder, store) = store();
    let (cache, inside) = (store.cache("engine-1"), std::sync::atomic::AtomicUsize::new(0));
    let left = store.root().join("cache/engine-1/compiling-0000000000000000");
    drop(cache.lock().unwrap());
    fs::create_dir(&left).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let turn = cache.lock().unwrap();
                assert_eq!(inside.fetch_add(1, std::sync::atomic::Ordering::SeqCst), 0);
                let workspace = turn.workspace().unwrap();
                assert_eq!(fs::read_dir(workspace.folder()).unwrap().count(), 0);
                fs::write(workspace.folder().join("component.wasm"), "bytes").unwrap();
                inside.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
            });
        }
    });
    assert!(!left.exists());
    let names: Vec<_> = fs::read_dir(store.root().join("cache/engine-1"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(names, ["lock"]);
}
