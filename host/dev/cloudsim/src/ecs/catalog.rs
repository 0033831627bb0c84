//! What the region offers: zones, instance types, disk categories and their sizes.

use serde_json::{Value, json};

use crate::answer::{Answer, ApiError, present};
use crate::params::Params;
use crate::world::World;

/// A kind of disk.
pub(super) struct Category {
    pub(super) name: &'static str,
    /// Smallest and largest, in GiB.
    pub(super) sizes: (u64, u64),
    pub(super) family: Family,
}

/// What the categories of a kind have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    /// What was there before the ESSD.
    Older,
    Essd,
    /// Belongs to the region and not to one of its zones; an ESSD otherwise.
    Regional,
    /// Lives with one instance.
    Ephemeral,
}

impl Category {
    const fn new(family: Family, name: &'static str, smallest: u64, largest: u64) -> Self {
        Self { name, sizes: (smallest, largest), family }
    }

    /// Disks that are there at once, whose snapshots are usable at once.
    pub(super) fn is_instant(&self) -> bool {
        matches!(self.family, Family::Essd | Family::Regional)
    }
}

/// As the disk driver of Alibaba Cloud knows them (`pkg/disk/category.go`), with the API
/// reference's upper bounds.
const CATEGORIES: &[Category] = &[
    Category::new(Family::Older, "cloud", 5, 2_000),
    Category::new(Family::Older, "cloud_efficiency", 20, 65_536),
    Category::new(Family::Older, "cloud_ssd", 20, 65_536),
    Category::new(Family::Essd, "cloud_essd", 1, 65_536),
    Category::new(Family::Essd, "cloud_essd_xc0", 40, 65_536),
    Category::new(Family::Essd, "cloud_essd_xc1", 40, 65_536),
    Category::new(Family::Essd, "cloud_auto", 1, 65_536),
    Category::new(Family::Essd, "cloud_essd_entry", 10, 65_536),
    Category::new(Family::Ephemeral, "elastic_ephemeral_disk_standard", 64, 8_192),
    Category::new(Family::Ephemeral, "elastic_ephemeral_disk_premium", 64, 8_192),
    Category::new(Family::Regional, "cloud_regional_disk_auto", 10, 65_536),
];

/// Performance levels of `cloud_essd` and the smallest disk that may have them.
const LEVELS: &[(&str, u64)] = &[("PL0", 1), ("PL1", 20), ("PL2", 461), ("PL3", 1_261)];

/// The category of that name.
pub(super) fn category(name: &str) -> Result<&'static Category, ApiError> {
    CATEGORIES.iter().find(|category| category.name == name).ok_or_else(|| {
        ApiError::new(
            400,
            "InvalidDiskCategory.NotSupported",
            "The specified disk category is not support.",
        )
    })
}

/// Whether a disk of that kind may have that size and level; answers the level that it gets (`""`
/// where there are none).
pub(super) fn check_size(
    category: &Category,
    level: Option<&str>,
    size_gib: u64,
) -> Result<String, ApiError> {
    let too_odd = || {
        ApiError::new(
            403,
            "InvalidDiskSize.NotSupported",
            "The specified disk size is not supported.",
        )
    };
    if !(category.sizes.0..=category.sizes.1).contains(&size_gib) {
        return Err(too_odd());
    }
    if category.name != "cloud_essd" {
        return match level {
            Some(_) => Err(ApiError::new(
                400,
                "InvalidPerformanceLevel.Malformed",
                "The specified parameter PerformanceLevel is not valid.",
            )),
            None => Ok(String::new()),
        };
    }
    // PL1 is the API's default.
    let level = level.unwrap_or("PL1");
    let Some((_, smallest)) = LEVELS.iter().find(|(name, _)| *name == level) else {
        return Err(ApiError::new(
            400,
            "InvalidPerformanceLevel.Malformed",
            "The specified parameter PerformanceLevel is not valid.",
        ));
    };
    if size_gib >= *smallest {
        return Ok(level.to_owned());
    }
    if level == "PL1" {
        Err(too_odd())
    } else {
        let message = "The specified performance level and disk size do not match.";
        Err(ApiError::new(400, "OperationDenied.PerformanceLevelNotMatch", message))
    }
}

/// Whether the zone has that category.
pub(super) fn check_stock(world: &World, zone: &str, category: &str) -> Result<(), ApiError> {
    match world
        .options
        .shortages
        .iter()
        .find(|shortage| shortage.zone == zone && shortage.category == category)
    {
        None => Ok(()),
        Some(shortage) if shortage.sold_out => {
            let message = "The requested resource is sold out in the specified zone; try other \
                           types of resources or other regions and zones.";
            Err(ApiError::new(403, "OperationDenied.NoStock", message))
        }
        Some(_) => Err(ApiError::new(
            403,
            "InvalidDataDiskCategory.NotSupported",
            "Specified disk category is not supported.",
        )),
    }
}

/// The zone, which must be one of the region's.
pub(super) fn check_zone(world: &World, zone: &str) -> Result<(), ApiError> {
    if world.options.zones.iter().any(|known| known == zone) {
        return Ok(());
    }
    Err(ApiError::new(404, "InvalidZoneId.NotFound", "The specified zone does not exist."))
}

/// `DescribeRegions`.
pub(super) fn regions(world: &mut World, _params: &Params) -> Answer {
    let region = &world.options.region;
    let endpoint = format!("ecs.{region}.aliyuncs.com");
    Ok(
        json!({ "Regions": { "Region": [{ "RegionId": region, "LocalName": region, "RegionEndpoint": endpoint, "Status": "available" }] } }),
    )
}

/// `DescribeZones`.
pub(super) fn zones(world: &mut World, params: &Params) -> Answer {
    params.required("RegionId")?;
    let show = |zone: &String| {
        json!({
            "ZoneId": zone,
            "LocalName": zone,
            "ZoneType": "AvailabilityZone",
            "AvailableDiskCategories": { "DiskCategories": offered(world, zone) },
            "AvailableInstanceTypes": { "InstanceTypes": [world.options.instance_type] },
            "AvailableResourceCreation": { "ResourceTypes": ["VSwitch", "IoOptimized", "Instance", "Disk"] },
        })
    };
    let zones: Vec<Value> = world.options.zones.iter().map(show).collect();
    Ok(json!({ "Zones": { "Zone": zones } }))
}

/// `DescribeInstanceTypes`: the one type.
pub(super) fn instance_types(world: &mut World, params: &Params) -> Answer {
    let name = &world.options.instance_type;
    let wanted = params.list("InstanceTypes");
    let family = name.rsplit_once('.').map_or(name.as_str(), |(family, _)| family);
    let one = json!({
        "InstanceTypeId": name,
        "InstanceTypeFamily": family,
        "CpuCoreCount": 2,
        "MemorySize": 8.0,
        "DiskQuantity": world.options.disk_quantity,
        "EniQuantity": 3,
        "NvmeSupport": "supported",
        "CpuArchitecture": "X86",
        "InstanceCategory": "General-purpose",
        "LocalStorageCategory": "",
    });
    let shown: Vec<Value> =
        Some(one).filter(|_| wanted.is_empty() || wanted.contains(name)).into_iter().collect();
    Ok(json!({ "InstanceTypes": { "InstanceType": shown }, "NextToken": "" }))
}

/// `DescribeAvailableResource`, for data disks and instance types. With `Scope` `region` one entry
/// without a zone tells what belongs to the region; the zones' entries tell the rest.
pub(super) fn available_resource(world: &mut World, params: &Params) -> Answer {
    params.required("RegionId")?;
    let destination = params.required("DestinationResource")?;
    let instance_type = params.get("InstanceType");
    let wanted = params.get("ZoneId");
    let of_region = params.get("Scope").is_some_and(|scope| scope.eq_ignore_ascii_case("region"));
    let disks = |zone: &str| {
        let told = CATEGORIES.iter().filter(|category| {
            (category.family == Family::Regional) == of_region
                && instance_type.is_none_or(|name| takes(name, category.family))
        });
        told.map(|category| available_disk(world, zone, category)).collect()
    };
    let with_stock = |value: &str| {
        vec![json!({ "Value": value, "Status": "Available", "StatusCategory": "WithStock" })]
    };
    let resources = |zone: &str| -> Result<Vec<Value>, ApiError> {
        match destination {
            "DataDisk" | "SystemDisk" => Ok(disks(zone)),
            "InstanceType" => Ok(with_stock(&world.options.instance_type)),
            "Zone" => Ok(with_stock(zone)),
            _ => Err(ApiError::new(
                400,
                "InvalidParameter.DestinationResource",
                "The specified DestinationResource is not valid.",
            )),
        }
    };
    let entry = |zone: Option<&str>| -> Result<Value, ApiError> {
        let supported = resources(zone.unwrap_or_default())?;
        let resource = json!({
            "Type": destination,
            "SupportedResources": { "SupportedResource": supported },
        });
        Ok(present(json!({
            "RegionId": world.options.region,
            "ZoneId": zone,
            "Status": "Available",
            "StatusCategory": "WithStock",
            "AvailableResources": { "AvailableResource": [resource] },
        })))
    };
    let zones: Vec<Value> = if of_region {
        vec![entry(None)?]
    } else {
        let told = world.options.zones.iter();
        let told = told.filter(|zone| wanted.is_none_or(|wanted| wanted == *zone));
        told.map(|zone| entry(Some(zone))).collect::<Result<_, _>>()?
    };
    Ok(json!({ "AvailableZones": { "AvailableZone": zones } }))
}

/// Whether instances of the type take disks of that family. From the seventh generation on
/// (`ecs.g7.large`) they take the ESSD alone; ephemeral disks come with few types, none of them
/// simulated.
fn takes(instance_type: &str, family: Family) -> bool {
    let family_name = instance_type.split('.').nth(1).unwrap_or_default();
    let digits: String = family_name.chars().filter(char::is_ascii_digit).collect();
    match family {
        Family::Essd | Family::Regional => true,
        Family::Older => digits.parse::<u32>().is_ok_and(|generation| generation < 7),
        Family::Ephemeral => false,
    }
}

fn available_disk(world: &World, zone: &str, category: &Category) -> Value {
    let has = check_stock(world, zone, category.name).is_ok();
    json!({
        "Value": category.name,
        "Status": if has { "Available" } else { "SoldOut" },
        "StatusCategory": if has { "WithStock" } else { "WithoutStock" },
        "Min": category.sizes.0,
        "Max": category.sizes.1,
        "Unit": "GiB",
    })
}

fn offered(world: &World, zone: &str) -> Vec<&'static str> {
    CATEGORIES
        .iter()
        .map(|category| category.name)
        .filter(|name| check_stock(world, zone, name).is_ok())
        .collect()
}
