//! Everything in `wit/` is documented: the contract is what strangers read first.

use std::path::Path;

use anyhow::{Context, Result};
use wit_parser::{Docs, Function, Interface, Resolve, Type, TypeDefKind, TypeId, WorldId};

/// Interfaces, worlds, functions and types without a doc comment.
pub fn complaints(directory: &Path) -> Result<Vec<String>> {
    let mut resolve = Resolve::default();
    resolve
        .push_dir(directory)
        .with_context(|| format!("cannot read the contract in {}", directory.display()))?;
    Ok(undocumented(&resolve)
        .iter()
        .map(|item| format!("wit: {item} has no doc comment"))
        .collect())
}

fn undocumented(resolve: &Resolve) -> Vec<String> {
    let mut items = Vec::new();
    for (id, world) in resolve.worlds.iter() {
        note(&mut items, &world.docs, || format!("world {}", world_name(resolve, id)));
    }
    for (_, interface) in resolve.interfaces.iter() {
        of_interface(resolve, interface, &mut items);
    }
    items.sort();
    items
}

fn of_interface(resolve: &Resolve, interface: &Interface, items: &mut Vec<String>) {
    let name = interface.name.as_deref().unwrap_or("(unnamed)");
    note(items, &interface.docs, || format!("interface {name}"));
    for (function_name, function) in &interface.functions {
        note(items, &function.docs, || format!("function {name}.{function_name}"));
    }
    let spoken_for = said_by_functions(resolve, interface);
    for (type_name, id) in &interface.types {
        // A type that is used from another interface is documented there.
        if let Some(definition) = resolve
            .types
            .get(*id)
            .filter(|definition| !matches!(definition.kind, TypeDefKind::Type(Type::Id(_))))
            && !spoken_for.contains(id)
        {
            note(items, &definition.docs, || format!("type {name}.{type_name}"));
        }
    }
}

/// Requests and answers: the function that takes or gives them says what they mean. What a record
/// holds has to speak for itself.
fn said_by_functions(resolve: &Resolve, interface: &Interface) -> Vec<TypeId> {
    let words = |function: &Function| {
        function.params.iter().map(|param| param.ty).chain(function.result).collect::<Vec<_>>()
    };
    let mut spoken_for: Vec<TypeId> =
        interface.functions.values().flat_map(words).filter_map(id_of).collect();
    let mut next = 0;
    while let Some(&id) = spoken_for.get(next) {
        let inner = resolve.types.get(id).map_or(Vec::new(), |definition| inside(&definition.kind));
        let new: Vec<TypeId> = inner
            .into_iter()
            .filter_map(id_of)
            .filter(|inner| !spoken_for.contains(inner))
            .collect();
        spoken_for.extend(new);
        next += 1;
    }
    spoken_for
}

/// What an answer is made of, records left out.
fn inside(kind: &TypeDefKind) -> Vec<Type> {
    match kind {
        TypeDefKind::Result(result) => result.ok.into_iter().collect(),
        TypeDefKind::Option(inner) | TypeDefKind::List(inner) => vec![*inner],
        TypeDefKind::Variant(variant) => variant.cases.iter().filter_map(|case| case.ty).collect(),
        _ => Vec::new(),
    }
}

fn id_of(a_type: Type) -> Option<TypeId> {
    match a_type {
        Type::Id(id) => Some(id),
        _ => None,
    }
}

fn world_name(resolve: &Resolve, id: WorldId) -> &str {
    resolve.worlds.get(id).map_or("(unnamed)", |world| world.name.as_str())
}

fn note(items: &mut Vec<String>, docs: &Docs, item: impl FnOnce() -> String) {
    if docs.contents.as_deref().is_none_or(|text| text.trim().is_empty()) {
        items.push(item());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_and_answers_are_documented_by_their_function() {
        let text = "package a:b@0.1.0;\n/// I.\ninterface i {\nrecord request { x: u8 }\nvariant \
                    answer { done }\nrecord inner { x: u8 }\n/// Goes.\ngo: func(request: \
                    request) -> result<answer>;\n}\n";
        let mut resolve = Resolve::default();
        resolve.push_str("a.wit", text).unwrap();
        assert_eq!(undocumented(&resolve), ["type i.inner"]);
    }

    #[test]
    fn each_kind_of_item_needs_a_comment_and_a_used_type_does_not_need_a_second_one() {
        let text = "package a:b@0.1.0;\n/// Words.\ninterface words {\n/// One.\nrecord one { x: \
                    u8 }\nrecord two { x: u8 }\n}\ninterface doing {\nuse words.{one};\n/// \
                    Does.\ngo: func(how: one);\nstop: func();\n}\nworld w { import doing; }\n";
        let mut resolve = Resolve::default();
        resolve.push_str("a.wit", text).unwrap();
        assert_eq!(
            undocumented(&resolve),
            ["function doing.stop", "interface doing", "type words.two", "world w"]
        );
    }
}
