//! Disk categories, their performance levels and their sizes in GiB. Source: the ECS documentation
//! of CreateDisk, as of 2026.

/// One category.
#[derive(Debug, PartialEq, Eq)]
pub struct Category {
    /// The cloud's name.
    pub name: &'static str,
    /// Smallest size; zero: not known (private clouds differ).
    pub min_gib: u64,
    /// Largest size; zero: not known.
    pub max_gib: u64,
    /// Whether provisioned IOPS and bursting exist for it.
    pub has_provisioned_iops: bool,
    /// Whether it is reachable from every zone of the region.
    pub is_regional: bool,
    /// Whether it belongs to the first instance that it is attached to, and goes with it.
    pub is_of_one_instance: bool,
    /// Performance levels, smallest size first.
    pub levels: &'static [Level],
}

/// One performance level.
#[derive(Debug, PartialEq, Eq)]
pub struct Level {
    /// `PL0` to `PL3`.
    pub name: &'static str,
    /// Smallest size in GiB.
    pub min_gib: u64,
}

/// The largest disk there is, in GiB.
pub const MAX: u64 = 65_536;

const PLAIN: Category = Category {
    name: "",
    min_gib: 0,
    max_gib: 0,
    has_provisioned_iops: false,
    is_regional: false,
    is_of_one_instance: false,
    levels: &[],
};

/// A disk that is lost with the instance that it was first attached to.
const EPHEMERAL: Category =
    Category { min_gib: 64, max_gib: 8192, is_of_one_instance: true, ..PLAIN };

const LEVELS: &[Level] = &[
    Level { name: "PL0", min_gib: 1 },
    Level { name: "PL1", min_gib: 20 },
    Level { name: "PL2", min_gib: 461 },
    Level { name: "PL3", min_gib: 1261 },
];

/// Every category that can be asked for.
const CATEGORIES: &[Category] = &[
    Category { name: "cloud", ..PLAIN },
    Category { name: "cloud_efficiency", min_gib: 20, max_gib: MAX, ..PLAIN },
    Category { name: "cloud_ssd", min_gib: 20, max_gib: MAX, ..PLAIN },
    Category { name: "cloud_essd", min_gib: 20, max_gib: MAX, levels: LEVELS, ..PLAIN },
    Category { name: "cloud_essd_xc0", min_gib: 40, max_gib: MAX, ..PLAIN },
    Category { name: "cloud_essd_xc1", min_gib: 40, max_gib: MAX, ..PLAIN },
    Category { name: "cloud_auto", min_gib: 1, max_gib: MAX, has_provisioned_iops: true, ..PLAIN },
    Category { name: "cloud_essd_entry", min_gib: 10, max_gib: MAX, ..PLAIN },
    Category {
        name: "cloud_regional_disk_auto",
        min_gib: 10,
        max_gib: MAX,
        is_regional: true,
        ..PLAIN
    },
    Category { name: "elastic_ephemeral_disk_standard", ..EPHEMERAL },
    Category { name: "elastic_ephemeral_disk_premium", ..EPHEMERAL },
    Category { name: "cloud_pperf", ..PLAIN },
    Category { name: "cloud_sperf", ..PLAIN },
];

/// What `type: available`, and no type at all, stand for.
/// The first two are those of the existing driver, in its order; the third is what newer zones
/// have, and the only one for less than 20 GiB.
const AVAILABLE: [&str; 3] = ["cloud_ssd", "cloud_efficiency", "cloud_auto"];

impl Category {
    /// The category of this name.
    pub fn named(name: &str) -> Option<&'static Self> {
        CATEGORIES.iter().find(|category| category.name == name)
    }

    /// What `available` stands for, best first.
    pub fn available() -> Vec<&'static Self> {
        AVAILABLE.iter().filter_map(|name| Self::named(name)).collect()
    }

    /// Every name, for an error.
    pub fn names() -> String {
        let names: Vec<_> = CATEGORIES.iter().map(|category| category.name).collect();
        format!("available, {}", names.join(", "))
    }

    /// The level of this name, where the category has levels.
    pub fn level(&self, name: &str) -> Option<&'static Level> {
        self.levels.iter().find(|level| level.name == name)
    }
}

impl Level {
    /// The level of this name, of any category.
    pub fn named(name: &str) -> Option<&'static Self> {
        LEVELS.iter().find(|level| level.name == name)
    }
}

/// What one CreateDisk asks for: a category, and a level where it has some and one was named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind {
    /// The category.
    pub category: &'static Category,
    /// The level.
    pub level: Option<&'static Level>,
}

impl Kind {
    /// Every combination in the order of the request: types first, levels inside.
    pub fn in_order(categories: &[&'static Category], levels: &[&'static Level]) -> Vec<Self> {
        let of = |category: &'static Category| -> Vec<Self> {
            if category.levels.is_empty() || levels.is_empty() {
                return vec![Self { category, level: None }];
            }
            levels
                .iter()
                .filter(|level| category.levels.contains(level))
                .map(|level| Self { category, level: Some(level) })
                .collect()
        };
        categories.iter().flat_map(|category| of(category)).collect()
    }

    /// Smallest and largest size in GiB.
    pub fn size_range(&self) -> (u64, u64) {
        let min = self.level.map_or(self.category.min_gib, |level| level.min_gib);
        (min, if self.category.max_gib == 0 { u64::MAX } else { self.category.max_gib })
    }

    /// `cloud_essd.PL1`, or the category alone.
    pub fn label(&self) -> String {
        match self.level {
            Some(level) => format!("{}.{}", self.category.name, level.name),
            None => self.category.name.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(types: &[&str], levels: &[&str]) -> Vec<String> {
        let types: Vec<_> = types.iter().map(|name| Category::named(name).unwrap()).collect();
        let levels: Vec<_> = levels.iter().map(|name| Level::named(name).unwrap()).collect();
        Kind::in_order(&types, &levels).iter().map(Kind::label).collect()
    }

    #[test]
    fn levels_are_tried_inside_their_category() {
        assert_eq!(
            labels(&["cloud_essd", "cloud_ssd"], &["PL1", "PL0"]),
            ["cloud_essd.PL1", "cloud_essd.PL0", "cloud_ssd"]
        );
        assert_eq!(labels(&["cloud_essd"], &[]), ["cloud_essd"]);
    }

    #[test]
    fn a_level_has_its_own_smallest_size() {
        let essd = Category::named("cloud_essd").unwrap();
        assert_eq!(Kind { category: essd, level: essd.level("PL2") }.size_range(), (461, 65_536));
        assert_eq!(Kind { category: essd, level: None }.size_range(), (20, 65_536));
        assert_eq!(
            Kind { category: Category::named("cloud").unwrap(), level: None }.size_range(),
            (0, u64::MAX)
        );
    }
}
