//! The rules of `identity` and `controller`.

use wharf_core::error::{Error, ErrorKind};
use wharf_core::ports::Ask;
use wharf_core::types::{Caller, CapacityRange, NodeId, Volume, VolumeId};
use wharf_core::verbs::{
    AskExt as _, Attach, AttachRequest, Attached, Capacity, CapacityRequest, Create, Delete,
    DeleteRequest, Detach, DetachRequest, Expand, ExpandRequest, Expanded, List, ListRequest, Read,
    Validate, ValidateRequest,
};

use super::drive::Driven;
use super::{Case, Memory, Rule, ensure};

pub(super) const RULES: &[Rule] = &[
    ("describe is static and says what there is", describe),
    ("observe answers once for each id, and knows what is missing", observe_missing),
    ("create with the same name is the same volume, also from nothing after a kill", create),
    ("create refuses another size under the same name", create_incompatible),
    ("create refuses a parameter that it does not know", create_unknown_parameter),
    ("create refuses a range that nothing fits into", create_impossible_range),
    ("a new volume is observed, held by nobody, and listed", new_volume),
    ("attach is repeatable and gives the same context, also from nothing after a kill", attach),
    ("attach refuses a volume that another node has, and names it", attach_held),
    ("attach refuses a volume that does not exist", attach_missing),
    ("detach concerns one node only, and what is detached already is done", detach),
    ("detach from every node leaves none", detach_everywhere),
    ("delete refuses a volume in use and leaves it in use", delete_in_use),
    ("delete is repeatable, and a missing volume is done", delete),
    ("expand makes it as large as asked, never smaller, and is repeatable", expand),
    ("expand refuses a volume that does not exist", expand_missing),
    ("validate confirms what was created and refuses what does not exist", validate),
    ("list refuses a token that is not its own and ends", list),
    ("capacity has room for what can be created, and refuses what create refuses", capacity),
];

impl Case<'_> {
    fn create(&self, name: &str, memory: Memory) -> Driven<Volume> {
        let request = self.create_request(name);
        self.drive(&[], memory, |progress| {
            Ask::<Create>::ask(self.backend(), &self.call(), &request, progress)
        })
    }

    /// A volume that a rule needs.
    pub(super) fn volume(&self, name: &str) -> Result<Volume, String> {
        self.create(name, Memory::Whole)?.map_err(|error| format!("create of {name}: {error}"))
    }

    fn attach(&self, volume: &VolumeId, node: usize, memory: Memory) -> Driven<Attached> {
        let request = self.attach_request(volume, node)?;
        self.drive(&[volume.as_str()], memory, |progress| {
            Ask::<Attach>::ask(self.backend(), &self.call(), &request, progress)
        })
    }

    fn attach_request(&self, volume: &VolumeId, node: usize) -> Result<AttachRequest, String> {
        let capability = self.subject.capability.clone();
        Ok(AttachRequest {
            volume: volume.clone(),
            node: self.node(node)?,
            capability,
            read_only: false,
            context: Vec::new(),
            caller: Caller::default(),
        })
    }

    fn node(&self, node: usize) -> Result<NodeId, String> {
        self.subject.nodes.get(node).cloned().ok_or_else(|| "there are two nodes".to_owned())
    }

    fn detach(&self, volume: &VolumeId, node: Option<NodeId>) -> Driven<()> {
        let request = DetachRequest { volume: volume.clone(), node, caller: Caller::default() };
        self.drive(&[volume.as_str()], Memory::Whole, |progress| {
            Ask::<Detach>::ask(self.backend(), &self.call(), &request, progress)
        })
    }

    fn delete(&self, volume: &VolumeId, memory: Memory) -> Driven<()> {
        let request = DeleteRequest { volume: volume.clone(), caller: Caller::default() };
        self.drive(&[volume.as_str()], memory, |progress| {
            Ask::<Delete>::ask(self.backend(), &self.call(), &request, progress)
        })
    }

    fn expand(&self, volume: &VolumeId, bytes: u64, memory: Memory) -> Driven<Expanded> {
        let capacity = CapacityRange { required: Some(bytes), limit: None };
        let request = ExpandRequest {
            volume: volume.clone(),
            capacity,
            capability: Some(self.subject.capability.clone()),
            caller: Caller::default(),
        };
        self.drive(&[volume.as_str()], memory, |progress| {
            Ask::<Expand>::ask(self.backend(), &self.call(), &request, progress)
        })
    }

    fn holders(&self, volume: &VolumeId) -> Result<Vec<NodeId>, String> {
        let observed =
            self.observe(&[volume.as_str().to_owned()])?.map_err(|error| error.to_string())?;
        let observed = observed.first().ok_or("no observation")?;
        let read = || self.backend().call::<Read>(&self.call(), observed);
        let (first, second) = (read(), read());
        let first = first.map_err(|error| error.to_string())?;
        ensure(second.is_ok_and(|second| second == first), || {
            "one observation is read in two ways".to_owned()
        })?;
        ensure(first.id == *volume, || format!("{volume} is read as {}", first.id))?;
        Ok(first.attached_to)
    }

    /// Takes away what a rule has made.
    pub(super) fn remove(&self, volume: &VolumeId) -> Result<(), String> {
        if self.can("attach") {
            self.detach(volume, None)?.map_err(|error| format!("detach of {volume}: {error}"))?;
        }
        self.delete(volume, Memory::Whole)?.map_err(|error| format!("delete of {volume}: {error}"))
    }

    fn missing(&self) -> VolumeId {
        VolumeId::new(&self.subject.missing)
    }
}

fn must<T>(driven: Driven<T>, what: &str) -> Result<T, String> {
    driven?.map_err(|error| format!("{what}: {error}"))
}

fn refuses<T>(driven: Driven<T>, kind: ErrorKind, what: &str) -> Result<Error, String> {
    match driven? {
        Ok(_) => Err(format!("{what}: it was not refused")),
        Err(error) if error.kind == kind => Ok(error),
        Err(error) => {
            Err(format!("{what}: refused as {:?} and not as {kind:?}: {error}", error.kind))
        }
    }
}

fn describe(case: &Case<'_>) -> Result<(), String> {
    let again = case.backend().description(&case.call()).map_err(|error| error.to_string())?;
    ensure(again == case.description, || "two answers differ".to_owned())?;
    ensure(!again.name.is_empty() && !again.version.is_empty(), || {
        "name or version is empty".to_owned()
    })?;
    ensure(!again.drivers.is_empty() && again.observe_batch >= 1, || {
        "no driver, or a batch of nothing".to_owned()
    })
}

fn observe_missing(case: &Case<'_>) -> Result<(), String> {
    if !keeps_books(case) {
        return case
            .observe(std::slice::from_ref(&case.subject.missing))?
            .map(drop)
            .map_err(|error| error.to_string());
    }
    for _ in 0..2 {
        let observed = case
            .observe(std::slice::from_ref(&case.subject.missing))?
            .map_err(|error| error.to_string())?;
        ensure(observed.iter().all(|one| !one.found), || {
            "what does not exist is found".to_owned()
        })?;
    }
    Ok(())
}

fn create(case: &Case<'_>) -> Result<(), String> {
    if !case.can("create") {
        return Ok(());
    }
    let first = must(case.create("same", Memory::LostAtFirst), "create")?;
    for memory in [Memory::Whole, Memory::LostAtFirst] {
        let again = must(case.create("same", memory), "create again")?;
        ensure(again.id == first.id, || format!("{} and {} have one name", first.id, again.id))?;
        ensure(again.context == first.context, || "the context differs".to_owned())?;
    }
    let small = first.capacity_bytes != 0 && first.capacity_bytes < case.subject.bytes;
    ensure(!small, || {
        format!("it has {} bytes, asked for were {}", first.capacity_bytes, case.subject.bytes)
    })?;
    case.remove(&first.id)
}

fn create_incompatible(case: &Case<'_>) -> Result<(), String> {
    if !case.can("create") || !case.can("expand") {
        return Ok(());
    }
    let volume = case.volume("incompatible")?;
    let mut request = case.create_request("incompatible");
    request.capacity.required = Some(case.subject.bytes * 2);
    for _ in 0..2 {
        let driven = case.drive(&[], Memory::Whole, |progress| {
            Ask::<Create>::ask(case.backend(), &case.call(), &request, progress)
        });
        refuses(driven, ErrorKind::AlreadyExists, "twice the size")?;
    }
    case.remove(&volume.id)
}

fn create_unknown_parameter(case: &Case<'_>) -> Result<(), String> {
    let Some(unknown) = case.subject.unknown_parameter.as_ref().filter(|_| case.can("create"))
    else {
        return Ok(());
    };
    let mut request = case.create_request("parameter");
    request.parameters.push((unknown.clone(), "x".to_owned()));
    for _ in 0..2 {
        let driven = case.drive(&[], Memory::Whole, |progress| {
            Ask::<Create>::ask(case.backend(), &case.call(), &request, progress)
        });
        let error = refuses(driven, ErrorKind::InvalidArgument, unknown)?;
        ensure(error.message.contains(unknown.as_str()), || {
            format!("the message does not name it: {error}")
        })?;
    }
    Ok(())
}

fn create_impossible_range(case: &Case<'_>) -> Result<(), String> {
    if !case.can("create") || !case.can("expand") {
        return Ok(());
    }
    let mut request = case.create_request("range");
    request.capacity = CapacityRange {
        required: Some(case.subject.bytes + 1),
        limit: Some(case.subject.bytes + 2),
    };
    let driven = case.drive(&[], Memory::Whole, |progress| {
        Ask::<Create>::ask(case.backend(), &case.call(), &request, progress)
    });
    match driven? {
        Err(error) if error.kind == ErrorKind::OutOfRange => Ok(()),
        Err(error) => Err(format!("refused as {:?}: {error}", error.kind)),
        // A backend that can make volumes of any size may well have one.
        Ok(volume)
            if (case.subject.bytes + 1..=case.subject.bytes + 2)
                .contains(&volume.capacity_bytes) =>
        {
            case.remove(&volume.id)
        }
        Ok(volume) => Err(format!("it made a volume of {} bytes", volume.capacity_bytes)),
    }
}

fn new_volume(case: &Case<'_>) -> Result<(), String> {
    if !case.can("create") {
        return Ok(());
    }
    let volume = case.volume("new")?;
    let observed = case.observe(&[volume.id.as_str().to_owned(), case.subject.missing.clone()]);
    if case.description.observe_batch >= 2 {
        let found: Vec<bool> = must(observed, "observe")?
            .iter()
            .map(|one| one.found == (one.of.id == volume.id.as_str()))
            .collect();
        ensure(found == [true, true], || "what exists and what does not are mixed up".to_owned())?;
    }
    if case.can("attach") {
        ensure(case.holders(&volume.id)?.is_empty(), || "a new volume has a holder".to_owned())?;
    }
    if case.can("list") {
        let listed = all_listed(case)?;
        ensure(listed.contains(&volume.id), || format!("{} is not listed", volume.id))?;
    }
    case.remove(&volume.id)
}

fn attach(case: &Case<'_>) -> Result<(), String> {
    if !case.can("create") || !case.can("attach") {
        return Ok(());
    }
    let volume = case.volume("attach")?;
    let first = must(case.attach(&volume.id, 0, Memory::LostAtFirst), "attach")?;
    for memory in [Memory::Whole, Memory::LostAtFirst] {
        let again = must(case.attach(&volume.id, 0, memory), "attach again")?;
        ensure(again == first, || "the publish context differs".to_owned())?;
    }
    let holders = case.holders(&volume.id)?;
    ensure(holders == [case.node(0)?], || format!("holders are {holders:?}"))?;
    case.remove(&volume.id)
}

fn attach_held(case: &Case<'_>) -> Result<(), String> {
    if !case.can("create") || !case.can("attach") {
        return Ok(());
    }
    let volume = case.volume("held")?;
    must(case.attach(&volume.id, 0, Memory::Whole), "attach")?;
    for _ in 0..2 {
        let error = refuses(
            case.attach(&volume.id, 1, Memory::Whole),
            ErrorKind::FailedPrecondition,
            "attach to a second node",
        )?;
        let holder = case.node(0)?;
        ensure(error.to_string().contains(holder.as_str()), || {
            format!("the error does not name {holder}: {error}")
        })?;
    }
    let holders = case.holders(&volume.id)?;
    ensure(holders == [case.node(0)?], || format!("afterwards holders are {holders:?}"))?;
    case.remove(&volume.id)
}

fn attach_missing(case: &Case<'_>) -> Result<(), String> {
    if !case.can("attach") {
        return Ok(());
    }
    refuses(case.attach(&case.missing(), 0, Memory::Whole), ErrorKind::NotFound, "attach").map(drop)
}

fn detach(case: &Case<'_>) -> Result<(), String> {
    if !case.can("create") || !case.can("attach") {
        return Ok(());
    }
    let volume = case.volume("detach")?;
    must(case.attach(&volume.id, 0, Memory::Whole), "attach")?;
    must(case.detach(&volume.id, Some(case.node(1)?)), "detach from a node that does not have it")?;
    let holders = case.holders(&volume.id)?;
    ensure(holders == [case.node(0)?], || format!("detach from another node left {holders:?}"))?;
    for _ in 0..2 {
        must(case.detach(&volume.id, Some(case.node(0)?)), "detach")?;
    }
    ensure(case.holders(&volume.id)?.is_empty(), || "it is still held".to_owned())?;
    for node in [None, Some(case.node(0)?)] {
        must(case.detach(&case.missing(), node), "detach of a missing volume")?;
    }
    case.remove(&volume.id)
}

fn detach_everywhere(case: &Case<'_>) -> Result<(), String> {
    if !case.can("create") || !case.can("attach") {
        return Ok(());
    }
    let volume = case.volume("everywhere")?;
    must(case.attach(&volume.id, 1, Memory::Whole), "attach")?;
    for _ in 0..2 {
        must(case.detach(&volume.id, None), "detach from every node")?;
    }
    ensure(case.holders(&volume.id)?.is_empty(), || "it is still held".to_owned())?;
    case.remove(&volume.id)
}

fn delete_in_use(case: &Case<'_>) -> Result<(), String> {
    if !case.can("create") || !case.can("attach") {
        return Ok(());
    }
    let volume = case.volume("in-use")?;
    must(case.attach(&volume.id, 0, Memory::Whole), "attach")?;
    for _ in 0..2 {
        refuses(
            case.delete(&volume.id, Memory::Whole),
            ErrorKind::FailedPrecondition,
            "delete while attached",
        )?;
    }
    let holders = case.holders(&volume.id)?;
    ensure(holders == [case.node(0)?], || format!("afterwards holders are {holders:?}"))?;
    case.remove(&volume.id)
}

fn delete(case: &Case<'_>) -> Result<(), String> {
    if !case.can("create") {
        return Ok(());
    }
    let volume = case.volume("delete")?;
    for memory in [Memory::LostAtFirst, Memory::Whole] {
        must(case.delete(&volume.id, memory), "delete")?;
    }
    must(case.delete(&case.missing(), Memory::Whole), "delete of a missing volume")?;
    let observed = must(case.observe(&[volume.id.as_str().to_owned()]), "observe")?;
    ensure(!keeps_books(case) || observed.iter().all(|one| !one.found), || {
        "it is still found".to_owned()
    })
}

/// Whether the backend can tell what exists. One that neither attaches nor lists may well be a rule
/// by which names become directories.
fn keeps_books(case: &Case<'_>) -> bool {
    case.can("attach") || case.can("list")
}

fn expand(case: &Case<'_>) -> Result<(), String> {
    if !case.can("create") || !case.can("expand") {
        return Ok(());
    }
    let volume = case.volume("expand")?;
    let larger = case.subject.bytes * 2;
    for memory in [Memory::LostAtFirst, Memory::Whole] {
        let expanded = must(case.expand(&volume.id, larger, memory), "expand")?;
        ensure(expanded.capacity_bytes >= larger, || {
            format!("it has {} bytes", expanded.capacity_bytes)
        })?;
    }
    let same = must(case.expand(&volume.id, case.subject.bytes, Memory::Whole), "expand to less")?;
    ensure(same.capacity_bytes >= larger, || {
        format!("it shrank to {} bytes", same.capacity_bytes)
    })?;
    case.remove(&volume.id)
}

fn expand_missing(case: &Case<'_>) -> Result<(), String> {
    if !case.can("expand") {
        return Ok(());
    }
    refuses(
        case.expand(&case.missing(), case.subject.bytes, Memory::Whole),
        ErrorKind::NotFound,
        "expand",
    )
    .map(drop)
}

fn validate(case: &Case<'_>) -> Result<(), String> {
    if !case.can("create") {
        return Ok(());
    }
    let volume = case.volume("validate")?;
    for _ in 0..2 {
        let validated = must(validation(case, &volume.id), "validate")?;
        ensure(validated.confirmed, || {
            format!("what was created is not confirmed: {}", validated.message)
        })?;
    }
    if keeps_books(case) {
        refuses(validation(case, &case.missing()), ErrorKind::NotFound, "validate")?;
    }
    case.remove(&volume.id)
}

fn validation(case: &Case<'_>, volume: &VolumeId) -> Driven<wharf_core::verbs::Validated> {
    let request = ValidateRequest {
        volume: volume.clone(),
        context: Vec::new(),
        parameters: Vec::new(),
        mutable_parameters: Vec::new(),
        capabilities: vec![case.subject.capability.clone()],
        caller: Caller::default(),
    };
    case.drive(&[volume.as_str()], Memory::Whole, |progress| {
        Ask::<Validate>::ask(case.backend(), &case.call(), &request, progress)
            .map(wharf_core::types::Answer::Done)
    })
}

fn list(case: &Case<'_>) -> Result<(), String> {
    if !case.can("list") {
        return Ok(());
    }
    for _ in 0..2 {
        let request =
            ListRequest { max_entries: 1, starting_token: Some("no such token".to_owned()) };
        let refused = case.backend().call::<List>(&case.call(), &request);
        let kind = refused.as_ref().err().map(|error| error.kind);
        ensure(kind == Some(ErrorKind::Aborted), || format!("a strange token: {refused:?}"))?;
    }
    let volumes = [case.volume("list-a")?, case.volume("list-b")?, case.volume("list-c")?];
    let listed = all_listed(case)?;
    for volume in &volumes {
        let times = listed.iter().filter(|id| **id == volume.id).count();
        ensure(times == 1, || format!("{} is listed {times} times, page by page", volume.id))?;
    }
    volumes.iter().try_for_each(|volume| case.remove(&volume.id))
}

/// Every volume, one a page.
fn all_listed(case: &Case<'_>) -> Result<Vec<VolumeId>, String> {
    const MAX_PAGES: usize = 10_000;
    let (mut ids, mut token) = (Vec::new(), None::<String>);
    for _ in 0..MAX_PAGES {
        let request = ListRequest { max_entries: 1, starting_token: token };
        let page = case
            .backend()
            .call::<List>(&case.call(), &request)
            .map_err(|error| error.to_string())?;
        ensure(page.volumes.len() <= 1, || format!("a page of one has {}", page.volumes.len()))?;
        ids.extend(page.volumes.into_iter().map(|volume| volume.id));
        token = page.next_token;
        if token.is_none() {
            return Ok(ids);
        }
    }
    Err("the list does not end".to_owned())
}

fn capacity(case: &Case<'_>) -> Result<(), String> {
    if !case.can("capacity") {
        return Ok(());
    }
    let request = CapacityRequest {
        capabilities: vec![case.subject.capability.clone()],
        parameters: case.subject.parameters.clone(),
        topology: None,
    };
    let ask = |request: &CapacityRequest| case.backend().call::<Capacity>(&case.call(), request);
    for _ in 0..2 {
        let left = ask(&request).map_err(|error| error.to_string())?;
        let bytes = case.subject.bytes;
        let has_room = left.maximum_volume_bytes.unwrap_or(left.bytes) >= bytes
            && left.minimum_volume_bytes.is_none_or(|smallest| smallest <= bytes);
        ensure(has_room || !case.can("create"), || {
            format!("a volume of {bytes} bytes can be created, and is told not to: {left:?}")
        })?;
    }
    let Some(unknown) = &case.subject.unknown_parameter else { return Ok(()) };
    let mut strange = request;
    strange.parameters.push((unknown.clone(), "x".to_owned()));
    match ask(&strange) {
        Err(error) if error.kind == ErrorKind::InvalidArgument => Ok(()),
        other => Err(format!("the parameter {unknown} is not refused: {other:?}")),
    }
}
