//! `ModifyDiskSpec` and the tasks in which it happens, seen through `DescribeTasks`.

use serde_json::{Value, json};

use super::catalog::{self, Category, Family};
use super::{Page, disks};
use crate::answer::{Answer, ApiError};
use crate::clock::{Millis, iso8601};
use crate::params::Params;
use crate::state::{Disk, Task};
use crate::world::World;

/// `ModifyDiskSpec`: changes category, performance level or provisioned operations in a task. With
/// `DryRun` the answer to a change that could be made is the error `DryRunOperation`, as in the
/// real API.
pub(super) fn modify_spec(world: &mut World, params: &Params) -> Answer {
    let id = params.required("DiskId")?.to_owned();
    let disk = world.disk(&id)?;
    if disk.in_arrears {
        return Err(ApiError::disk_in_arrears());
    }
    if world.state.tasks.values().any(|task| !task.done && task.disk == id) {
        return Err(ApiError::new(
            400,
            "InvalidStatus.DiskNotReady",
            "The specified disk is being modified.",
        ));
    }
    if !matches!(disk.status(), "Available" | "In_use") {
        return Err(ApiError::disk_status());
    }
    let change = Change::of(disk, params)?;
    if let Some(category) = &change.category {
        catalog::check_stock(world, &disk.zone, category)?;
    }
    if params.boolean("DryRun")?.unwrap_or(false) {
        return Err(ApiError::new(
            400,
            "DryRunOperation",
            "Request validation has been passed with DryRun flag set.",
        ));
    }
    let now = world.now();
    let finishes = now.saturating_add(world.options.delays.modify);
    let (task, number) = world.identify("t");
    let record = Task {
        id: task.clone(),
        number,
        disk: id,
        created: now,
        finishes,
        done: false,
        category: change.category,
        performance_level: change.performance_level,
        provisioned_iops: change.provisioned_iops,
    };
    world.change().tasks.insert(task.clone(), record);
    Ok(json!({ "TaskId": task, "OrderId": "" }))
}

/// Basic, regional and ephemeral disks stay what they are, and no disk becomes one. The code is by
/// analogy: the reference tells the rule alone.
fn changes(category: &Category) -> bool {
    match category.family {
        Family::Older => category.name != "cloud",
        Family::Essd => true,
        Family::Regional | Family::Ephemeral => false,
    }
}

fn not_supported() -> ApiError {
    let message = "The specified disk category is not support.";
    ApiError::new(400, "InvalidDiskCategory.NotSupported", message)
}

struct Change {
    category: Option<String>,
    performance_level: Option<String>,
    provisioned_iops: Option<u64>,
}

impl Change {
    fn of(disk: &Disk, params: &Params) -> Result<Self, ApiError> {
        let category = catalog::category(params.get("DiskCategory").unwrap_or(&disk.category))?;
        let same_category = category.name == disk.category;
        if !changes(catalog::category(&disk.category)?) || !changes(category) {
            return Err(not_supported());
        }
        // The one empty parameter that is known not to count as absent.
        if params.is_empty("PerformanceLevel") && category.name != "cloud_essd" {
            return Err(not_supported());
        }
        let level = params.get("PerformanceLevel").or(Some(disk.performance_level.as_str())
            .filter(|level| same_category && !level.is_empty()));
        let level = catalog::check_size(category, level, disk.size_gib)?;
        let (iops, _) = disks::auto_settings(category.name, disk.size_gib, params)?;
        if level == "PL0" && same_category && disk.performance_level != "PL0" {
            // By analogy with the categories; the reference tells the rule and no code.
            let message = "The performance level cannot be changed to PL0.";
            return Err(ApiError::new(400, "InvalidPerformanceLevel.NotSupported", message));
        }
        if same_category
            && level == disk.performance_level
            && (iops.is_none() || iops == disk.provisioned_iops)
        {
            let message = "The specified disk category and performance level are the same as the \
                           current ones.";
            return Err(ApiError::new(400, "NoChangeInDiskCategoryAndPerformanceLevel", message));
        }
        let category = (!same_category).then(|| category.name.to_owned());
        Ok(Self { category, performance_level: Some(level), provisioned_iops: iops })
    }
}

/// Makes the changes of tasks whose time has come.
pub(crate) fn finish_tasks(world: &mut World, now: Millis) {
    let due: Vec<Task> = world
        .state
        .tasks
        .values()
        .filter(|task| !task.done && task.finishes <= now)
        .cloned()
        .collect();
    for task in due {
        let state = world.change();
        if let Some(disk) = state.disks.get_mut(&task.disk) {
            disk.provisioned_iops =
                task.provisioned_iops.or(disk.provisioned_iops.filter(|_| task.category.is_none()));
            disk.category = task.category.unwrap_or_else(|| disk.category.clone());
            disk.performance_level = task.performance_level.unwrap_or_default();
        }
        if let Some(task) = state.tasks.get_mut(&task.id) {
            task.done = true;
        }
    }
}

/// `DescribeTasks`: newest first, filtered by `TaskIds`, `ResourceIds.N`, `TaskAction` and
/// `TaskStatus`.
pub(super) fn describe_tasks(world: &mut World, params: &Params) -> Answer {
    params.required("RegionId")?;
    let page = Page::of(params)?;
    let ids: Option<Vec<&str>> = params.get("TaskIds").map(|ids| ids.split(',').collect());
    let resources = params.list("ResourceIds");
    let passes = |task: &&Task| {
        ids.as_ref().is_none_or(|ids| ids.contains(&task.id.as_str()))
            && (resources.is_empty() || resources.contains(&task.disk))
            && params.get("TaskAction").is_none_or(|action| action == "ModifyDiskSpec")
            && params.get("TaskStatus").is_none_or(|status| status == task.status())
    };
    let mut tasks: Vec<&Task> = world.state.tasks.values().filter(passes).collect();
    tasks.sort_by_key(|task| std::cmp::Reverse(task.number));
    Ok(page.answer(("TaskSet", "Task"), &tasks, |task| show(task)))
}

impl Task {
    fn status(&self) -> &'static str {
        if self.done { "Finished" } else { "Processing" }
    }
}

fn show(task: &Task) -> Value {
    json!({
        "TaskId": task.id,
        "TaskAction": "ModifyDiskSpec",
        "TaskStatus": task.status(),
        "SupportCancel": "false",
        "CreationTime": iso8601(task.created),
        "FinishedTime": if task.done { iso8601(task.finishes) } else { String::new() },
        "ResourceId": task.disk,
    })
}
