//! Components that do not fit are refused before any call, in words.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use tempfile::TempDir;
use wharf_core::ErrorKind;
use wharf_core::manifest::{Manifest, NodeRequest, World};
use wharf_core::plan::Step;
use wharf_core::ports::Clock;
use wharf_core::types::{AccessMode, AccessType, Caller, Capability, Description, VolumeId};
use wharf_core::verbs::{AskExt as _, DescribeNode, PlanPublish, PublishRequest};
use wharf_runtime::{
    BackendCode, Checked, ComponentError, Engine, EngineMode, WasmBackend, check_component,
};
use wit_component::{ComponentEncoder, StringEncoding, dummy_module, embed_component_metadata};
use wit_parser::{LiftLowerAbi, ManglingAndAbi, Resolve, TypeDefKind};

use crate::fixture::{
    AUTH, BACKEND, Bench, ENGINE, RealClock, build, build_with_contract, does, manifest,
};

/// Our contract as it would be with these changes to its text.
fn contract(change: impl Fn(String) -> String) -> TempDir {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../wit");
    let changed = tempfile::tempdir().unwrap();
    for file in std::fs::read_dir(directory).unwrap() {
        let file = file.unwrap();
        std::fs::write(
            changed.path().join(file.file_name()),
            change(std::fs::read_to_string(file.path()).unwrap()),
        )
        .unwrap();
    }
    changed
}

/// A component of a world of our contract as it would be with these changes to its text. Every
/// function traps.
fn dummy(world: &str, change: impl Fn(String) -> String, extra: &str) -> Vec<u8> {
    let changed = contract(change);
    let mut resolve = Resolve::default();
    if !extra.is_empty() {
        resolve.push_str("extra.wit", extra).unwrap();
    }
    let (package, _) = resolve.push_dir(changed.path()).unwrap();
    let world = resolve.select_world(&[package], Some(world)).unwrap();
    let mut module = dummy_module(&resolve, world, ManglingAndAbi::Legacy(LiftLowerAbi::Sync));
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
    ComponentEncoder::default().module(&module).unwrap().validate(true).encode().unwrap()
}

fn check(wasm: &[u8], manifest: &Manifest) -> Result<Checked, ComponentError> {
    let clock: Arc<dyn Clock> = Arc::new(RealClock::default());
    check_component(&ENGINE, &ENGINE.load_wasm(wasm).unwrap(), manifest, &clock)
}

/// What the misbehaving backend says of itself while it is checked.
pub fn checked() -> Description {
    let clock: Arc<dyn Clock> = Arc::new(RealClock::default());
    match check_component(&ENGINE, &BACKEND, &manifest(World::Backend), &clock).unwrap() {
        Checked::Backend(description) => description,
        Checked::Auth(_) => panic!("it is a backend"),
    }
}

fn refusal(wasm: &[u8]) -> String {
    check(wasm, &manifest(World::Backend)).unwrap_err().to_string()
}

#[test]
fn a_component_that_fits_says_who_it_is() {
    let clock: Arc<dyn Clock> = Arc::new(RealClock::default());
    assert_eq!(checked().drivers[0].name, "misbehaving.example.com");
    match check_component(&ENGINE, &AUTH, &manifest(World::CloudAuth), &clock).unwrap() {
        Checked::Auth(description) => assert!(description.reserved.has_header("x-signed-nonce")),
        Checked::Backend(_) => panic!("it is an authenticator"),
    }
}

#[test]
fn a_component_of_the_other_world_is_refused_by_what_is_missing() {
    let clock: Arc<dyn Clock> = Arc::new(RealClock::default());
    let error =
        check_component(&ENGINE, &AUTH, &manifest(World::Backend), &clock).unwrap_err().to_string();
    assert!(error.contains("does not export `identity`"), "{error}");
}

#[test]
fn a_component_of_another_contract_is_told_both_versions() {
    let error = refusal(&dummy("backend", |text| text.replace("@0.1.0", "@0.2.0"), ""));
    assert!(
        error.contains(
            "exports `identity` of contract 0.2.0, and this build of Wharf speaks 0.1.0; update \
             Wharf"
        ),
        "{error}"
    );
}

#[test]
fn a_newer_patch_with_a_new_function_still_fits() {
    let newer = |text: String| {
        text.replace("@0.1.0", "@0.1.9").replace(
            "describe: func() -> result<description, error>;",
            "describe: func() -> result<description, error>;\n later: func();",
        )
    };
    let wasm = dummy("backend", newer, "");
    assert!(
        BackendCode::link(&ENGINE, &ENGINE.load_wasm(&wasm).unwrap(), manifest(World::Backend), 1)
            .is_ok()
    );
}

#[test]
fn an_import_that_wharf_does_not_have_is_named() {
    let extra = "package acme:disk@1.0.0; interface io { write: func(); }";
    let error = refusal(&dummy(
        "backend",
        |text| text.replace("import random;", "import random;\n import acme:disk/io@1.0.0;"),
        extra,
    ));
    assert!(
        error.contains("imports `acme:disk/io@1.0.0`, which Wharf does not have")
            && error.contains("wall-clock"),
        "{error}"
    );
}

#[test]
fn a_step_of_a_newer_contract_is_refused_by_its_name() {
    let newer = |text: String| {
        text.replace(
            "remove-tree: func",
            "mount-smb: func(share: string);\n /// Gone.\n remove-tree: func",
        )
    };
    let error = refusal(&dummy("backend", newer, ""));
    assert!(
        error.contains("it calls `mount-smb` of the interface `plans`")
            && error.contains("update Wharf"),
        "{error}"
    );
}

#[test]
fn every_record_can_grow_or_is_named_as_one_that_cannot() {
    let mut resolve = Resolve::default();
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../wit");
    let (package, _) = resolve.push_dir(directory).unwrap();
    let package = &resolve.packages[package];
    let about = package.docs.contents.as_deref().unwrap();
    let (_, named) = about.split_once("Every record has `extensions` but these:").unwrap();
    let (named, _) = named.split_once("\n\n").unwrap();
    let named: BTreeSet<&str> = named.split('`').skip(1).step_by(2).collect();
    let interfaces = package.interfaces.values().map(|id| &resolve.interfaces[*id]);
    let defined = interfaces.flat_map(|interface| &interface.types);
    let cannot_grow = defined.filter(|(_, id)| match &resolve.types[**id].kind {
        TypeDefKind::Record(record) => !record.fields.iter().any(|it| it.name == "extensions"),
        _ => false,
    });
    assert_eq!(cannot_grow.map(|(name, _)| name.as_str()).collect::<BTreeSet<_>>(), named);
}

/// The world with every interface: the trait objects of the host know them all.
const EVERYTHING: (&str, &str) = (
    "export identity;",
    "export identity;\n export controller;\n export snapshots;\n export node;\n export legacy;",
);

#[test]
fn a_changed_record_is_found_before_the_component_is_used() {
    let changed = |text: String| {
        text.replace(EVERYTHING.0, EVERYTHING.1)
            .replace("record stage-request {", "record stage-request {\n later: u32,")
    };
    let error = refusal(&dummy("backend", changed, ""));
    assert!(error.contains("expected record of 6 fields, found 7 fields"), "{error}");
}

#[test]
fn what_a_component_does_not_export_is_unsupported_and_its_name_is_told() {
    let wasm = ENGINE.load_wasm(&dummy("backend", |text| text, "")).unwrap();
    let code = BackendCode::link(&ENGINE, &wasm, manifest(World::Backend), 1).unwrap();
    let bench = Bench::new();
    let backend = WasmBackend::new(bench.ports.clone(), Arc::new(code));
    let refused = backend.call::<DescribeNode>(&bench.call(), &()).unwrap_err();
    assert_eq!(refused.kind, ErrorKind::Unsupported);
    assert!(refused.message.contains("exports no `node`"), "{refused}");
}

/// `examples/hello`, as `cargo xtask build-backends` made it when the contract got the version in
/// its name. Once that version is released, it is never built again: components that people have
/// must go on working.
const HELLO: &[u8] = include_bytes!("../fixtures/hello-0.1.0.wasm");

#[test]
fn a_component_that_was_compiled_long_ago_goes_on_working() {
    let asks = Manifest {
        name: "hello".parse().unwrap(),
        node: NodeRequest {
            steps: ["make-directory", "mount-directory"].map(|it| it.parse().unwrap()).to_vec(),
            ..NodeRequest::default()
        },
        ..manifest(World::Backend)
    };
    assert!(matches!(check(HELLO, &asks), Ok(Checked::Backend(_))));
    let (bench, backend) = linked(HELLO, asks);
    let plan = backend.call::<PlanPublish>(&bench.call(), &publish_request()).unwrap();
    let words: Vec<_> = plan.steps.iter().map(|step| step.name()).collect();
    assert_eq!(words, ["make-directory", "mount-directory"]);
}

fn linked(wasm: &[u8], manifest: Manifest) -> (Bench, WasmBackend) {
    let wasm = ENGINE.load_wasm(wasm).unwrap();
    let code = BackendCode::link(&ENGINE, &wasm, manifest, 1).unwrap();
    let bench = Bench::new();
    let backend = WasmBackend::new(bench.ports.clone(), Arc::new(code));
    (bench, backend)
}

fn publish_request() -> PublishRequest {
    PublishRequest {
        volume: VolumeId::new("pvc-1"),
        capability: Capability {
            access: AccessType::Mount { fs_type: String::new(), flags: vec![], group: None },
            mode: AccessMode::SingleNodeWriter,
        },
        read_only: false,
        context: vec![],
        publish_context: vec![],
        caller: Caller::default(),
    }
}

/// It answers what it exports, and everything else is unsupported.
fn runs_with_identity_and_node_alone(wasm: &[u8]) {
    assert!(matches!(check(wasm, &manifest(World::Backend)), Ok(Checked::Backend(_))));
    let (bench, backend) = linked(wasm, manifest(World::Backend));
    let call = bench.call();
    assert_eq!(backend.call::<DescribeNode>(&call, &()).unwrap().node_id.as_str(), "i-1");
    let plan = backend.call::<PlanPublish>(&call, &publish_request()).unwrap();
    assert_eq!(plan.steps.iter().map(|step| step.name()).collect::<Vec<_>>(), ["check"]);
    let refused = does(&backend, &call, "nothing").unwrap_err();
    assert_eq!(refused.kind, ErrorKind::Unsupported);
    assert!(refused.message.contains("exports no `controller`"), "{refused}");
}

#[test]
fn a_component_of_identity_and_node_alone_runs() {
    runs_with_identity_and_node_alone(&build(Some("node-only")));
}

/// The newest step, as its author's contract did not have it yet.
const NEWEST_STEP: &str = "        /// Removes a directory with all that is in it. Follows no link \
                           and enters no mount.\n        remove-tree: func(at: directory);\n";

#[test]
fn a_component_that_was_built_before_the_newest_step_existed_runs() {
    let older = contract(|text| text.replace(NEWEST_STEP, ""));
    let plans = std::fs::read_to_string(older.path().join("plans.wit")).unwrap();
    assert!(plans.contains("move-aside: func") && !plans.contains("remove-tree"), "{plans}");
    assert!(Step::NAMES.contains(&"remove-tree"), "this host has it");
    runs_with_identity_and_node_alone(&build_with_contract(Some("node-only"), older.path()));
    // One that asks for every step of that contract.
    let all = dummy("backend", |text| text.replace(NEWEST_STEP, ""), "");
    let _ = linked(&all, manifest(World::Backend));
}

#[test]
fn a_component_that_traps_in_describe_is_refused_with_its_reason() {
    let error = refusal(&dummy("backend", |text| text, ""));
    assert!(error.contains("in `describe`") && error.contains("unreachable"), "{error}");
}

#[test]
fn a_component_has_the_name_in_its_manifest() {
    let other = Manifest { name: "disk".parse().unwrap(), ..manifest(World::Backend) };
    let error = check(&build(None), &other).unwrap_err().to_string();
    assert!(error.contains("`misbehaving`") && error.contains("`disk`"), "{error}");
}

#[test]
fn precompiled_code_is_loaded_by_either_mode_and_foreign_bytes_by_none() {
    let code = ENGINE.compile(&build(None)).unwrap();
    for mode in [EngineMode::OnDemand, EngineMode::Pooled { slots: 4 }] {
        let engine = Engine::new(mode).unwrap();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&code).unwrap();
        // SAFETY: these are the bytes that `compile` returned, in a file that nobody else can open.
        let component = unsafe { engine.load(&file) }.unwrap();
        assert!(BackendCode::link(&engine, &component, manifest(World::Backend), 1).is_ok());
        for foreign in [&b"not code"[..], &code[..code.len() / 2]] {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(foreign).unwrap();
            // SAFETY: wasmtime refuses these before it maps them as code; that is what is tested.
            assert!(matches!(unsafe { engine.load(&file) }, Err(ComponentError::Stale(_))));
        }
    }
}
