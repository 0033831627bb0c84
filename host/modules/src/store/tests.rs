//! The store as an administrator uses it, and as a crash leaves it.

use std::os::unix::fs::PermissionsExt;

use wharf_testing::component::component_with;

use super::*;

fn component(name: &str, version: &str) -> Vec<u8> {
    of_world("backend", name, version)
}

fn of_world(world: &str, name: &str, version: &str) -> Vec<u8> {
    component_with(&format!(
        r#"{{"name":"{name}","version":"{version}","world":"{world}","contract":"0.1.0"}}"#
    ))
}

fn store() -> (tempfile::TempDir, Store) {
    let home = tempfile::tempdir().unwrap();
    let store = Store::open(home.path().join("store"));
    (home, store)
}

fn disk() -> ComponentId {
    ComponentId::new(World::Backend, "disk").unwrap()
}

/// Whoever installs it says the name that it has.
fn put(store: &Store, bytes: &[u8]) -> Result<Generation, StoreError> {
    let manifest = read_manifest(bytes)?;
    store.install(manifest.world, Some(&manifest.name), bytes, 1)
}

fn install(store: &Store, version: &str) -> u64 {
    let number = put(store, &component("disk", version)).unwrap().number;
    store.mark(&disk(), number, State::Checked { description: None }).unwrap();
    number
}

fn refusal(store: &Store, bytes: &[u8]) -> String {
    store.install(World::Backend, None, bytes, 1).unwrap_err().to_string()
}

#[test]
fn a_component_becomes_active_only_after_it_was_checked() {
    let (_home, store) = store();
    let staged = put(&store, &component("disk", "1.0.0")).unwrap();
    assert!(matches!(store.activate(&disk(), staged.number), Err(StoreError::NotChecked { .. })));
    assert!(matches!(store.active(&disk()), Err(StoreError::NotInstalled { .. })));
    store.mark(&disk(), staged.number, State::Checked { description: None }).unwrap();
    store.activate(&disk(), staged.number).unwrap();
    let active = store.active(&disk()).unwrap();
    assert_eq!(&*active.manifest().version, "1.0.0");
    assert_eq!(store.read_component(&active.generation).unwrap(), component("disk", "1.0.0"));
}

#[test]
fn a_rejected_component_displaces_nothing() {
    let (_home, store) = store();
    let good = install(&store, "1.0.0");
    store.activate(&disk(), good).unwrap();
    let revision = store.revision(&disk());
    let bad = put(&store, &component("disk", "2.0.0")).unwrap();
    store
        .mark(&disk(), bad.number, State::Rejected { reason: "it traps".to_owned().into() })
        .unwrap();
    assert!(store.activate(&disk(), bad.number).unwrap_err().to_string().contains("it traps"));
    assert_eq!(store.active(&disk()).unwrap().generation.number, good);
    assert_eq!(store.revision(&disk()), revision);
}

#[test]
fn installing_the_same_bytes_again_is_the_same_generation() {
    let (_home, store) = store();
    let first = install(&store, "1.0.0");
    assert_eq!(install(&store, "1.0.0"), first);
    assert_ne!(install(&store, "1.0.1"), first);
}

#[test]
fn a_rollback_goes_back_and_then_further_back() {
    let (_home, store) = store();
    for version in ["1.0.0", "1.0.1", "1.0.2"] {
        let number = install(&store, version);
        store.activate(&disk(), number).unwrap();
    }
    let before = store.revision(&disk());
    assert_eq!(store.rollback(&disk()).unwrap().manifest.version.to_string(), "1.0.1");
    assert_ne!(store.revision(&disk()), before, "a running server notices");
    assert_eq!(store.rollback(&disk()).unwrap().manifest.version.to_string(), "1.0.0");
    assert!(matches!(store.rollback(&disk()), Err(StoreError::NothingBefore { .. })));
    assert_eq!(store.active(&disk()).unwrap().manifest().version.to_string(), "1.0.0");
}

#[test]
fn generations_that_cannot_be_reached_any_more_are_removed() {
    let (_home, store) = store();
    for version in 0..8 {
        let number = install(&store, &format!("1.0.{version}"));
        store.activate(&disk(), number).unwrap();
    }
    let summary = store.show(&disk()).unwrap();
    assert_eq!(
        summary.generations.iter().map(|generation| generation.number).collect::<Vec<_>>(),
        [5, 6, 7, 8]
    );
    assert_eq!(fs::read_dir(store.root().join("components")).unwrap().count(), 4);
}

#[test]
fn half_written_files_of_a_crash_are_passed_over_and_replaced() {
    let (_home, store) = store();
    let first = install(&store, "1.0.0");
    store.activate(&disk(), first).unwrap();
    let directory = store.root().join("backends/disk");
    fs::write(directory.join(".active.new"), "99").unwrap();
    fs::write(directory.join("generations/.2.new"), "{").unwrap();
    assert_eq!(store.active(&disk()).unwrap().generation.number, first);
    let second = install(&store, "2.0.0");
    store.activate(&disk(), second).unwrap();
    assert_eq!(store.active(&disk()).unwrap().generation.number, second);
}

#[test]
fn a_damaged_file_is_named() {
    let (_home, store) = store();
    let number = install(&store, "1.0.0");
    store.activate(&disk(), number).unwrap();
    let generation = store.generation(&disk(), number).unwrap();
    fs::write(store.wasm(&generation), "other bytes").unwrap();
    assert!(
        store
            .read_component(&generation)
            .unwrap_err()
            .to_string()
            .contains(generation.digest.as_str())
    );
    fs::write(store.root().join("backends/disk/active"), "soon").unwrap();
    assert!(store.active(&disk()).unwrap_err().to_string().contains("backends/disk/active"));
    store.activate(&disk(), number).unwrap();
    assert_eq!(
        store.active(&disk()).unwrap().generation.number,
        number,
        "activating repairs the pointer"
    );
    fs::write(store.root().join(format!("backends/disk/generations/{number}.json")), "{}").unwrap();
    let listing = store.list(World::Backend).unwrap();
    assert!(
        listing.summaries.is_empty() && listing.damaged[0].to_string().contains(".json"),
        "{listing:?}"
    );
}

#[test]
fn what_is_no_component_of_ours_is_refused_in_words() {
    let (_home, store) = store();
    let refusal = |bytes: &[u8]| refusal(&store, bytes);
    assert!(refusal(b"\0asm").contains("not valid WebAssembly"));
    assert!(refusal(&wasm_encoder::Module::new().finish()).contains("core module"));
    assert!(refusal(&wasm_encoder::Component::new().finish()).contains("no manifest"));
    for name in ["../disk", "", "Disk", "a/b"] {
        assert!(refusal(&component(name, "1")).contains("a component's name has"), "{name}");
    }
}

#[test]
fn a_manifest_that_is_long_or_speaks_to_a_terminal_is_refused_without_quoting_it() {
    let (_home, store) = store();
    for version in ["1".repeat(60_000).as_str(), r"1\u001b[2K", r"1\n2"] {
        let said = refusal(&store, &component("disk", version));
        assert!(said.contains("1 to 64 printable") && said.len() < 400, "{said}");
    }
    let said = refusal(&store, &of_world(r"\u001b[2K", "disk", "1"));
    assert!(said.contains("unknown variant") && !said.contains('\u{1b}'), "{said:?}");
    assert!(store.list(World::Backend).unwrap().summaries.is_empty());
}

#[test]
fn what_is_installed_is_replaced_only_by_who_says_its_name() {
    let (_home, store) = store();
    let unnamed = |bytes: &[u8]| store.install(World::Backend, None, bytes, 1);
    let first = unnamed(&component("disk", "1.0.0")).unwrap();
    let said = refusal(&store, &component("disk", "6.6.6"));
    assert!(said.contains("wharf backend install disk FILE"), "{said}");
    assert_eq!(unnamed(&component("disk", "1.0.0")).unwrap().number, first.number);
    let said = store.install(World::Backend, Some(&disk().name), &component("nas", "1"), 1);
    assert!(said.unwrap_err().to_string().contains("it calls itself \"nas\""));
    let second = store.install(World::Backend, Some(&disk().name), &component("disk", "2"), 1);
    assert_eq!(second.unwrap().number, first.number + 1);
}

#[test]
fn an_authenticator_is_installed_as_one_and_shares_no_name_with_a_backend() {
    let (_home, store) = store();
    let signer = of_world("cloud-auth", "disk", "1.0.0");
    let said = refusal(&store, &signer);
    assert!(said.contains("wharf authenticator install") && said.contains("sees the keys"));
    let backend = install(&store, "1.0.0");
    store.activate(&disk(), backend).unwrap();
    let staged = store.install(World::CloudAuth, None, &signer, 1).unwrap();
    assert_eq!((staged.number, staged.id().to_string()), (1, "authenticator \"disk\"".into()));
    assert!(matches!(store.active(&staged.id()), Err(StoreError::NotInstalled { .. })));
    assert_eq!(store.show(&disk()).unwrap().generations.len(), 1);
    let said = store.install(World::CloudAuth, None, &component("x", "1"), 1);
    assert!(said.unwrap_err().to_string().contains("wharf backend install"));
}

#[test]
fn nothing_is_read_or_run_from_a_store_that_others_may_write() {
    let (_home, store) = store();
    let number = install(&store, "1.0.0");
    store.activate(&disk(), number).unwrap();
    let record = format!("backends/disk/generations/{number}.json");
    for place in ["", "backends", "backends/disk", "backends/disk/active", &record] {
        let path = store.root().join(place);
        let before = fs::metadata(&path).unwrap().permissions();
        fs::set_permissions(&path, fs::Permissions::from_mode(before.mode() | 0o022)).unwrap();
        let refused = store.active(&disk()).unwrap_err().to_string();
        assert!(refused.contains("chmod go-w ") && refused.contains(place), "{place}: {refused}");
        fs::set_permissions(&path, before).unwrap();
        assert_eq!(store.active(&disk()).unwrap().generation.number, number);
    }
    fs::set_permissions(store.root(), fs::Permissions::from_mode(0o777)).unwrap();
    let refused = put(&store, &component("nas", "1")).unwrap_err().to_string();
    assert!(refused.contains("chmod go-w "), "{refused}");
}

#[test]
fn two_installers_at_once_get_two_generations() {
    let (_home, store) = store();
    std::thread::scope(|scope| {
        for version in 0..8 {
            let store = &store;
            scope.spawn(move || install(store, &format!("1.0.{version}")));
        }
    });
    assert_eq!(store.show(&disk()).unwrap().generations.len(), 8);
}

#[test]
fn compiled_code_is_used_only_as_it_was_put_there() {
    let (_home, store) = store();
    let cache = store.cache("engine-1");
    let digest = Digest::of(b"component");
    assert!(cache.get(&digest).unwrap().is_none());
    let manifest = read_manifest(&component("disk", "1.0.0")).unwrap();
    let put = |code: &[u8]| cache.try_lock(&digest).unwrap().unwrap().put(code, &manifest).unwrap();
    put(b"code");
    assert_eq!(cache.get(&digest).unwrap().unwrap().manifest, manifest);
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
    let (_home, store) = store();
    let first = install(&store, "1.0.0");
    store.activate(&disk(), first).unwrap();
    fs::create_dir_all(store.root().join("backends/half-made/generations")).unwrap();
    let other = put(&store, &component("nas", "1.0.0")).unwrap();
    let names = |listing: Listing| {
        listing.summaries.into_iter().map(|summary| summary.name.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(names(store.list(World::Backend).unwrap()), ["disk", "nas"]);
    fs::write(store.root().join("backends/nas/generations/1.json"), "{").unwrap();
    let second = install(&store, "2.0.0");
    store.activate(&disk(), second).unwrap();
    assert_eq!(store.active(&disk()).unwrap().generation.number, second);
    assert!(
        store.wasm(&other).exists(),
        "what a damaged record names is not known, so nothing is removed"
    );
    let listing = store.list(World::Backend).unwrap();
    assert!(listing.damaged[0].to_string().contains("backends/nas/generations/1.json"));
    assert_eq!(names(listing), ["disk"]);
}

#[test]
fn compiled_code_goes_with_the_last_record_of_its_component() {
    let (_home, store) = store();
    let (cache, mut digests) = (store.cache("engine-1"), Vec::new());
    for version in 0..5 {
        let number = install(&store, &format!("1.0.{version}"));
        let generation = store.generation(&disk(), number).unwrap();
        digests.push(generation.digest);
        let last = digests.last().unwrap();
        cache.try_lock(last).unwrap().unwrap().put(b"code", &generation.manifest).unwrap();
        store.activate(&disk(), number).unwrap();
    }
    let kept: Vec<bool> =
        digests.iter().map(|digest| cache.get(digest).unwrap().is_some()).collect();
    assert_eq!(kept, [false, true, true, true, true]);
    assert!(!store.root().join(format!("cache/engine-1/{}.json", digests[0])).exists());
}

#[test]
fn one_component_is_compiled_once_at_a_time_and_another_one_does_not_wait_for_it() {
    let (_home, store) = store();
    let cache = store.cache("engine-1");
    let (one, other) = (Digest::of(b"one"), Digest::of(b"other"));
    let held = cache.try_lock(&one).unwrap().unwrap();
    let left = store.root().join(format!("cache/engine-1/compiling-{one}/left"));
    fs::create_dir(left.parent().unwrap()).unwrap();
    fs::write(&left, "by a compilation that was killed").unwrap();
    let workspace = held.workspace().unwrap();
    assert_eq!(fs::read_dir(workspace.directory()).unwrap().count(), 0);
    assert!(cache.try_lock(&one).unwrap().is_none());
    assert!(cache.try_lock(&other).unwrap().is_some());
    drop((workspace, held));
    assert!(!left.parent().unwrap().exists());
    assert!(cache.try_lock(&one).unwrap().is_some());
}

#[test]
fn why_a_component_cannot_be_compiled_is_known_to_the_next_process() {
    let (_home, store) = store();
    let (cache, digest) = (store.cache("engine-1"), Digest::of(b"one"));
    assert!(cache.failure(&digest).unwrap().is_none());
    let why = Reason::from("it is too large".to_owned());
    cache.try_lock(&digest).unwrap().unwrap().put_failure(&why).unwrap();
    assert_eq!(store.cache("engine-1").failure(&digest).unwrap(), Some(why));
    assert!(store.cache("engine-2").failure(&digest).unwrap().is_none());
}

#[test]
fn a_file_of_many_or_deeply_nested_components_is_refused_before_it_is_compiled() {
    let nested = |depth: usize, width: usize| {
        let mut inner = wasm_encoder::Component::new().finish();
        for _ in 0..depth {
            let mut outer = component("disk", "1.0.0");
            outer.extend([4]);
            let mut length = inner.len();
            while length >= 0x80 {
                outer.push(u8::try_from(length & 0x7f).unwrap() | 0x80);
                length >>= 7;
            }
            outer.push(u8::try_from(length).unwrap());
            outer.extend(&inner);
            inner = outer;
        }
        (0..width).for_each(|_| inner.extend([4, 8, 0, b'a', b's', b'm', 13, 0, 1, 0]));
        inner
    };
    for (depth, width) in [(20, 0), (1, 600)] {
        let refused = read_manifest(&nested(depth, width)).unwrap_err().to_string();
        assert!(refused.contains("more than 512 modules"), "{refused}");
    }
    assert!(read_manifest(&nested(8, 100)).is_ok());
}

#[test]
fn what_was_provided_is_remembered_and_what_is_no_digest_is_passed_over() {
    let (directory, store) = store();
    assert_eq!(store.provided(&disk()).unwrap(), []);
    let (one, two) = (Digest::of(b"1"), Digest::of(b"2"));
    store.set_provided(&disk(), &[&one, &two]).unwrap();
    assert_eq!(store.provided(&disk()).unwrap(), [one, two.clone()]);
    store.set_provided(&disk(), &[&two]).unwrap();
    assert_eq!(store.provided(&disk()).unwrap(), std::slice::from_ref(&two));
    let file = directory.path().join("store/backends/disk/provided");
    std::fs::write(file, format!("nonsense\n{}\n", two.as_str())).unwrap();
    assert_eq!(store.provided(&disk()).unwrap(), [two]);
    assert!(store.list(World::Backend).unwrap().summaries.is_empty(), "a mark is no backend");
}
