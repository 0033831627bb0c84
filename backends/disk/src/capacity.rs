//! `capacity`: what the cloud sells at a place now, and in which sizes.
//!
//! The cloud gives no sum of what it has left: DescribeAvailableResource says which categories a
//! zone sells, and the sizes of one disk. So the bytes are those of the largest disk that
//! CreateDisk could be asked for, which is what a scheduler wants to know of one claim; they do not
//! become less by disks that are made. A zone that sells none of the class's categories has zero.
//!
//! What is looked at is what `create` would try: the class's categories and levels in the zones of
//! the place. Not looked at: quotas of the account, and whether the type of a node's instance takes
//! the category, which the attach says.

use serde::Deserialize;
use wharf_sdk::controller::{Available, CapacityRequest, CreateRequest};
use wharf_sdk::types::{Caller, CapacityRange, TopologyRequirement};
use wharf_sdk::{Error, ErrorKind};

use crate::action::Action;
use crate::category::{Kind, MAX};
use crate::create::Wish;
use crate::size::GIB;

/// `controller.capacity`: at most two requests, one for zones and one for the region.
///
/// # Errors
/// What `create` refuses, in the same words; the cloud's.
pub fn capacity(request: &CapacityRequest) -> Result<Available, Error> {
    let asked = as_create(request);
    let wish = Wish::read(&asked)?;
    let zones = match wish.zones() {
        // The class names zones, and this place is in none of them.
        Err(error) if error.kind == ErrorKind::ResourceExhausted => return Ok(Available::bytes(0)),
        zones => zones?,
    };
    let attempts: Vec<_> = wish
        .attempts(&zones)
        .into_iter()
        .filter(|attempt| wish.need_selected_instance(attempt).is_ok())
        .collect();
    let of_region = attempts.iter().any(|attempt| attempt.zone.is_empty());
    let mut zonal: Vec<&str> =
        attempts.iter().map(|attempt| attempt.zone).filter(|zone| !zone.is_empty()).collect();
    zonal.dedup();
    let mut sold = Vec::new();
    if of_region {
        sold.extend(Sold::ask(&wish.region, None)?);
    }
    if !zonal.is_empty() {
        sold.extend(Sold::ask(&wish.region, Some(&zonal))?);
    }
    let sizes = attempts.iter().filter_map(|attempt| {
        let sells = |it: &&Sold| it.zone == attempt.zone && it.value == attempt.kind.category.name;
        sold.iter().find(sells).map(|sold| sold.sizes(&attempt.kind))
    });
    Ok(sizes
        .reduce(Sizes::or)
        .map_or_else(|| Available::bytes(0), |sizes| sizes.available(wish.parameters.round_up)))
}

/// The volume of any size that `create` would be asked for.
fn as_create(request: &CapacityRequest) -> CreateRequest {
    let place = |segments| TopologyRequirement::new(vec![segments], Vec::new());
    CreateRequest {
        name: String::new(),
        capacity: CapacityRange::new(None, None),
        capabilities: request.capabilities.clone(),
        parameters: request.parameters.clone(),
        mutable_parameters: Vec::new(),
        source: None,
        topology: request.topology.clone().map(place),
        caller: Caller::unknown(),
        extensions: Vec::new(),
    }
}

/// Sizes of one disk, in GiB; `None`: neither the cloud nor its documentation says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Sizes {
    smallest: Option<u64>,
    largest: Option<u64>,
}

impl Sizes {
    /// Of either.
    fn or(self, other: Self) -> Self {
        let both = |one: Option<u64>, other: Option<u64>, pick: fn(u64, u64) -> u64| {
            one.zip(other).map(|(one, other)| pick(one, other))
        };
        Self {
            smallest: both(self.smallest, other.smallest, u64::min),
            largest: both(self.largest, other.largest, u64::max),
        }
    }

    fn available(self, rounds_up: bool) -> Available {
        let available = Available::bytes(self.largest.unwrap_or(MAX) * GIB);
        let available = match self.largest {
            Some(largest) => available.with_largest_volume(largest * GIB),
            None => available,
        };
        match self.smallest.filter(|_| !rounds_up) {
            Some(smallest) => available.with_smallest_volume(smallest * GIB),
            None => available,
        }
    }
}

/// A category that can be bought in a zone.
struct Sold {
    /// Empty: in the region.
    zone: String,
    value: String,
    min: u64,
    max: u64,
}

impl Sold {
    /// In these zones; `None`: in the region.
    fn ask(region: &str, zones: Option<&[&str]>) -> Result<Vec<Self>, Error> {
        let call = Action::DescribeAvailableResource
            .call_in(region)
            .with("DestinationResource", "DataDisk")
            // Disks by themselves, whatever the type of an instance.
            .with("ResourceType", "disk");
        let call = match zones {
            None => call.with("Scope", "Region"),
            Some([zone]) => call.with("ZoneId", zone),
            // Several: the answer for all zones is one request.
            Some(_) => call,
        };
        let answer: Answer = call.send()?;
        let zones = answer.available_zones.available_zone.into_iter();
        Ok(zones.flat_map(Zone::into_sold).collect())
    }

    /// The cloud's own sizes; a level has its own smallest.
    fn sizes(&self, kind: &Kind) -> Sizes {
        let (min, max) = kind.size_range();
        let known = |size: u64| (size > 0 && size < u64::MAX).then_some(size);
        let level = kind.level.map(|level| level.min_gib);
        Sizes {
            smallest: level.or(known(self.min)).or(known(min)),
            largest: known(self.max).or(known(max)),
        }
    }
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Answer {
    available_zones: Zones,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Zones {
    available_zone: Vec<Zone>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Zone {
    zone_id: String,
    available_resources: Resources,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Resources {
    available_resource: Vec<Resource>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Resource {
    supported_resources: Supported,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Supported {
    supported_resource: Vec<Category>,
}

/// Sizes are in GiB. `StatusCategory` besides says how long the stock will last.
#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Category {
    value: String,
    status: String,
    min: u64,
    max: u64,
}

impl Zone {
    fn into_sold(self) -> impl Iterator<Item = Sold> {
        let Self { zone_id, available_resources } = self;
        let resources = available_resources.available_resource.into_iter();
        let categories = resources.flat_map(|it| it.supported_resources.supported_resource);
        let sold = categories.filter(|category| category.status == "Available");
        sold.map(move |Category { value, min, max, .. }| Sold {
            zone: zone_id.clone(),
            value,
            min,
            max,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};
    use wharf_sdk::Pairs;
    use wharf_sdk::http::{Request, Response};
    use wharf_sdk::testing::FakeHost;
    use wharf_sdk::types::pairs;

    use crate::placement::{INSTANCE, REGION, ZONE};

    fn category(name: &str, status: &str, min: u64, max: u64) -> Value {
        json!({ "Value": name, "Status": status, "Min": min, "Max": max, "Unit": "GiB" })
    }

    /// Zone `a` sells two categories and has had a third, `b` sells one, in sizes of its own, and
    /// the region has one.
    fn region() -> FakeHost {
        let answer = |request: &Request| {
            let value = |key: &str| request.query.value(key);
            assert_eq!(value("DestinationResource"), Some("DataDisk"));
            let zone = |name: Option<&str>, sold: Vec<Value>| {
                let supported = json!({ "SupportedResource": sold });
                let resource = json!({ "Type": "DataDisk", "SupportedResources": supported });
                json!({ "ZoneId": name, "AvailableResources": { "AvailableResource": [resource] } })
            };
            let a = zone(
                Some("a"),
                vec![
                    category("cloud_essd", "Available", 20, 32_768),
                    category("cloud_auto", "Available", 1, 65_536),
                    category("cloud_ssd", "SoldOut", 20, 32_768),
                ],
            );
            let b = zone(
                Some("b"),
                vec![
                    category("cloud_essd", "Available", 40, 16_384),
                    category("elastic_ephemeral_disk_standard", "Available", 64, 8192),
                    category("cloud_pperf", "Available", 0, 0),
                ],
            );
            let zones = match (value("Scope"), value("ZoneId")) {
                (Some("Region"), None) => {
                    let regional = category("cloud_regional_disk_auto", "Available", 10, 65_536);
                    let mut zone = zone(None, vec![regional]);
                    zone.as_object_mut()?.remove("ZoneId");
                    vec![zone]
                }
                (None, Some("a")) => vec![a],
                (None, Some("b")) => vec![b],
                (None, Some(_)) => vec![],
                _ => vec![a, b],
            };
            let body = json!({ "AvailableZones": { "AvailableZone": zones } });
            Some(Ok(Response::new(200, body.to_string())))
        };
        FakeHost::install().with_config("region", "r").with_config("zone", "a").handling(answer)
    }

    /// Bytes, smallest and largest volume, in GiB.
    fn left(class: &[(&str, &str)], place: &[(&str, &str)]) -> (u64, Option<u64>, Option<u64>) {
        let owned = |all: &[(&str, &str)]| pairs(all.iter().copied());
        let mut request = CapacityRequest::new(owned(class));
        request.topology = Some(owned(place)).filter(|place| !place.is_empty());
        let it = capacity(&request).unwrap();
        let gib = |bytes: Option<u64>| bytes.map(|bytes| bytes / GIB);
        (it.bytes / GIB, gib(it.minimum_volume_bytes), gib(it.maximum_volume_bytes))
    }

    #[test]
    fn a_zone_has_the_largest_and_the_smallest_disk_of_the_class_that_it_sells() {
        let host = region();
        let essd = [("type", "cloud_essd")];
        assert_eq!(left(&essd, &[(ZONE, "a")]), (32_768, Some(20), Some(32_768)));
        assert_eq!(left(&essd, &[(ZONE, "b")]), (16_384, Some(40), Some(16_384)));
        let either = [("type", "cloud_ssd,cloud_essd,cloud_auto")];
        assert_eq!(left(&either, &[(ZONE, "a")]), (65_536, Some(1), Some(65_536)));
        assert_eq!(left(&either, &[(ZONE, "b")]), (16_384, Some(40), Some(16_384)));
        assert_eq!(host.requests().len(), 4, "one request for each");
        assert!(host.actions().iter().all(|action| action == "DescribeAvailableResource"));
    }

    #[test]
    fn a_zone_that_does_not_sell_the_class_has_nothing_and_no_largest_disk_either() {
        let _host = region();
        let none = (0, None, None);
        assert_eq!(left(&[("type", "cloud_ssd")], &[(ZONE, "a")]), none, "sold out");
        assert_eq!(left(&[("type", "cloud_auto")], &[(ZONE, "b")]), none);
        assert_eq!(left(&[("type", "cloud_essd")], &[(ZONE, "elsewhere")]), none);
        let class = [("type", "cloud_essd"), ("zoneId", "a")];
        assert_eq!(left(&class, &[(ZONE, "b")]), none, "the class is for another zone");
    }

    #[test]
    fn without_a_place_it_is_that_of_a_disk_that_nothing_places() {
        let host = region();
        assert_eq!(left(&[("type", "cloud_auto")], &[]).0, 65_536);
        assert_eq!(host.requests()[0].query.value("ZoneId"), Some("a"), "of the settings");
        let class = [("type", "cloud_essd"), ("zoneId", "b,a")];
        assert_eq!(left(&class, &[]), (32_768, Some(20), Some(32_768)));
        assert_eq!(host.requests().len(), 2, "all zones of a class are one request");
    }

    #[test]
    fn disks_of_the_region_are_asked_for_as_such() {
        let host = region();
        let regional = [("type", "cloud_regional_disk_auto")];
        let place = [(ZONE, "a"), (REGION, "r")];
        assert_eq!(left(&regional, &place), (65_536, Some(10), Some(65_536)));
        assert_eq!(left(&regional, &[]), (65_536, Some(10), Some(65_536)));
        assert_eq!(host.requests().len(), 2);
    }

    #[test]
    fn a_level_a_disk_of_one_instance_and_unknown_sizes_are_what_create_makes_of_them() {
        let _host = region();
        let level = [("type", "cloud_essd"), ("performanceLevel", "PL2")];
        assert_eq!(left(&level, &[(ZONE, "a")]), (32_768, Some(461), Some(32_768)));
        let ephemeral = [("type", "elastic_ephemeral_disk_standard")];
        assert_eq!(left(&ephemeral, &[(ZONE, "b")]), (0, None, None), "no instance is named");
        let node = [(INSTANCE, "i-1"), (ZONE, "b")];
        assert_eq!(left(&ephemeral, &node), (8192, Some(64), Some(8192)));
        assert_eq!(left(&[("type", "cloud_pperf")], &[(ZONE, "b")]), (65_536, None, None));
        let rounded = [("type", "cloud_essd"), ("volumeSizeAutoAvailable", "true")];
        assert_eq!(left(&rounded, &[(ZONE, "a")]), (32_768, None, Some(32_768)));
    }

    #[test]
    fn what_create_refuses_is_refused_and_costs_no_request() {
        let host = region();
        for class in [("type", "cloud_none"), ("colour", "red"), ("regionId", "elsewhere")] {
            let error = capacity(&CapacityRequest::new(pairs([class]))).unwrap_err();
            assert_eq!(error.kind, ErrorKind::InvalidArgument);
            assert!(error.message.contains(class.0), "{}", error.message);
        }
        assert!(host.requests().is_empty());
    }
}
