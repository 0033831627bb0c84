//! Why a component does not link, in words. The linker's own text names types and indices; what a
//! person needs is which interface of which version is missing, and who has to change what.

use wasmtime::Engine;
use wasmtime::component::Component;
use wasmtime::component::types::ComponentItem;
use wharf_core::manifest::World;

use crate::component_error::ComponentError;

/// The contract that this build speaks.
pub const VERSION: &str = "0.1.0";
const PACKAGE: &str = "wharf:volume/";
/// Every interface that components import functions from, as it is written.
const CONTRACT: &str =
    concat!(include_str!("../../../wit/plans.wit"), include_str!("../../../wit/imports.wit"));

/// Interfaces that a component of a world may import. `types` carries types alone.
pub(crate) fn imports(world: World) -> &'static [&'static str] {
    match world {
        World::Backend => &["types", "http", "log", "config", "wall-clock", "random", "plans"],
        World::CloudAuth => &["types", "http", "log"],
    }
}

/// Interfaces that a component of a world must export.
pub(crate) fn exports(world: World) -> &'static [&'static str] {
    match world {
        World::Backend => &["identity"],
        World::CloudAuth => &["authenticator"],
    }
}

/// Interfaces that a backend may export besides.
const OPTIONAL: [&str; 4] = ["controller", "snapshots", "node", "legacy"];

/// The contract's interface that an export of a backend is, of a version that this build speaks.
pub(crate) fn exported(name: &str) -> Option<&'static str> {
    let (interface, version) = split(name)?;
    let known =
        exports(World::Backend).iter().chain(&OPTIONAL).find(|known| **known == interface)?;
    is_compatible(version).then_some(known)
}

/// A component that does not link, with everything that differs from the contract; `cause` is what
/// the linker said.
pub(crate) fn error(
    engine: &Engine,
    component: &Component,
    world: World,
    cause: &wasmtime::Error,
) -> ComponentError {
    ComponentError::Contract(differences(engine, component, world, cause))
}

fn differences(
    engine: &Engine,
    component: &Component,
    world: World,
    cause: &wasmtime::Error,
) -> Vec<String> {
    let ty = component.component_type();
    let imported: Vec<String> = ty.imports(engine).map(|(name, _)| name.to_owned()).collect();
    let exported: Vec<String> = ty.exports(engine).map(|(name, _)| name.to_owned()).collect();
    let mut differences = compare(world, &imported, &exported);
    for (name, item) in ty.imports(engine) {
        if let (Some((interface, _)), ComponentItem::ComponentInstance(instance)) =
            (split(name), item.ty)
        {
            let functions = instance.exports(engine).filter(|(_, item)| is_function(&item.ty));
            let names = functions.map(|(name, _)| name.to_owned()).collect::<Vec<_>>();
            differences.extend(names.iter().filter_map(|name| judge_function(interface, name)));
        }
    }
    if differences.is_empty() {
        differences.push(format!(
            "its imports and exports have the right names, but a function or a type in them is \
             not that of contract {VERSION}; build it against that contract ({})",
            cause.root_cause()
        ));
    }
    differences
}

fn compare(world: World, imported: &[String], exported: &[String]) -> Vec<String> {
    let imports_differ = imported.iter().filter_map(|name| judge_import(world, name));
    let exports_differ =
        exports(world).iter().filter_map(|interface| judge_export(world, interface, exported));
    imports_differ.chain(exports_differ).collect()
}

fn judge_import(world: World, name: &str) -> Option<String> {
    if name.starts_with("wasi:") {
        return None;
    }
    let allowed = imports(world);
    let Some((interface, version)) = split(name) else {
        return Some(format!(
            "it imports `{name}`, which Wharf does not have; a component of the world `{}` may \
             import {}",
            world.name(),
            allowed.join(", ")
        ));
    };
    if !allowed.contains(&interface) {
        return Some(format!(
            "it imports `{interface}` of the contract, which the world `{}` does not have; it may \
             import {}",
            world.name(),
            allowed.join(", ")
        ));
    }
    (!is_compatible(version)).then(|| {
        format!(
            "it imports `{interface}` of contract {version}, and this build of Wharf speaks \
             {VERSION}; {}",
            advice(version)
        )
    })
}

fn is_function(item: &ComponentItem) -> bool {
    matches!(item, ComponentItem::ComponentFunc(_))
}

/// A function that a component calls and this build does not have: a step of a newer contract.
fn judge_function(interface: &str, function: &str) -> Option<String> {
    // `[method]plan.mount-nfs`, `[constructor]plan` or a plain name.
    let name = function.rsplit(['.', ']']).next().unwrap_or(function);
    let is_known = function.starts_with("[constructor]")
        || function.starts_with("[resource-drop]")
        || CONTRACT.contains(&format!(" {name}: func("))
        || CONTRACT.contains(&format!(" %{name}: func("));
    (!is_known).then(|| {
        format!(
            "it calls `{name}` of the interface `{interface}`, which this build of Wharf does not \
             have; update Wharf, or build the component against an older contract"
        )
    })
}

fn judge_export(world: World, interface: &str, exported: &[String]) -> Option<String> {
    let found: Vec<&str> = exported
        .iter()
        .filter_map(|name| split(name))
        .filter(|(name, _)| *name == interface)
        .map(|(_, version)| version)
        .collect();
    if found.iter().any(|version| is_compatible(version)) {
        return None;
    }
    Some(match found.first() {
        Some(version) => format!(
            "it exports `{interface}` of contract {version}, and this build of Wharf speaks \
             {VERSION}; {}",
            advice(version)
        ),
        None => format!(
            "it does not export `{interface}`, which every component of the world `{}` has",
            world.name()
        ),
    })
}

fn advice(version: &str) -> &'static str {
    if numbers(version) > numbers(VERSION) {
        "update Wharf, or build the component against the older contract"
    } else {
        "build the component against the newer contract"
    }
}

/// `wharf:volume/node@0.1.0` → (`node`, `0.1.0`).
fn split(name: &str) -> Option<(&str, &str)> {
    name.strip_prefix(PACKAGE)?.split_once('@')
}

/// The component model's rule: below 1.0 the minor number must agree, from then on the major one.
fn is_compatible(version: &str) -> bool {
    match (numbers(version), numbers(VERSION)) {
        (Some((0, minor, _)), Some((0, own, _))) => minor == own,
        (Some((major, ..)), Some((own, ..))) => major == own,
        _ => false,
    }
}

fn numbers(version: &str) -> Option<(u64, u64, u64)> {
    let mut parts = version.splitn(3, '.').map(|part| part.parse().ok());
    Some((parts.next()??, parts.next()??, parts.next()??))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(names: &[&str], version: &str) -> Vec<String> {
        names.iter().map(|name| format!("{PACKAGE}{name}@{version}")).collect()
    }

    #[test]
    fn the_names_here_are_those_of_the_contract() {
        let mut resolve = wit_parser::Resolve::default();
        let (package, _) = resolve
            .push_dir(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../wit"))
            .unwrap();
        for world in [World::Backend, World::CloudAuth] {
            let id = resolve.select_world(&[package], Some(world.name())).unwrap();
            let names =
                |items: &wit_parser::IndexMap<wit_parser::WorldKey, wit_parser::WorldItem>| {
                    let mut names: Vec<String> =
                        items.keys().map(|key| resolve.name_world_key(key)).collect();
                    names.sort();
                    names
                };
            let own = |interfaces: &[&str]| {
                let mut names = named(interfaces, VERSION);
                names.sort();
                names
            };
            assert_eq!(names(&resolve.worlds[id].imports), own(imports(world)));
            assert_eq!(names(&resolve.worlds[id].exports), own(exports(world)));
        }
    }

    #[test]
    fn a_fitting_component_differs_in_nothing() {
        for world in [World::Backend, World::CloudAuth] {
            assert!(
                compare(world, &named(imports(world), "0.1.0"), &named(exports(world), "0.1.7"))
                    .is_empty()
            );
        }
    }

    #[test]
    fn skew_is_told_by_name_and_both_versions() {
        let world = World::CloudAuth;
        let newer = compare(world, &named(&["http"], "0.2.0"), &named(&["authenticator"], "0.2.0"));
        assert_eq!(newer.len(), 2);
        assert!(
            newer.iter().all(|text| text.contains("0.2.0")
                && text.contains(VERSION)
                && text.contains("update Wharf")),
            "{newer:?}"
        );
        let missing = compare(World::Backend, &[], &named(&["controller", "node"], "0.1.0"));
        assert_eq!(
            missing,
            ["it does not export `identity`, which every component of the world `backend` has"]
        );
    }

    #[test]
    fn a_step_that_this_build_does_not_have_is_told_by_name() {
        for known in ["[method]plan.mount-nfs", "[constructor]plan", "send-all", "get"] {
            assert_eq!(judge_function("plans", known), None, "{known}");
        }
        let refusal = judge_function("plans", "[method]plan.mount-smb").unwrap();
        assert!(refusal.contains("`mount-smb`") && refusal.contains("update Wharf"), "{refusal}");
    }

    #[test]
    fn an_unknown_import_is_told_with_what_there_is() {
        let exported = named(exports(World::Backend), "0.1.0");
        let foreign = compare(World::Backend, &["acme:disk/io@1.0.0".to_owned()], &exported);
        assert!(
            foreign[0].contains("acme:disk/io@1.0.0") && foreign[0].contains("wall-clock"),
            "{foreign:?}"
        );
        let other_world = compare(
            World::CloudAuth,
            &named(&["random"], "0.1.0"),
            &named(&["authenticator"], "0.1.0"),
        );
        assert!(other_world[0].contains("`random`"), "{other_world:?}");
    }
}
