//! Bytes to the whole GiB that disks come in.

use wharf_sdk::Error;
use wharf_sdk::types::CapacityRange;

use crate::category::Kind;

/// Bytes in a GiB.
pub const GIB: u64 = 1 << 30;
/// The size of a volume that nobody gave a size, where its category allows it; also what
/// `volumeSizeAutoAvailable` rounds up to.
pub const DEFAULT_GIB: u64 = 20;

/// A size as it was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    /// At least so many; `None` when nobody said.
    pub required: Option<u64>,
    /// At most so many whole GiB.
    pub limit: Option<u64>,
}

impl Wanted {
    /// Reads a range. A part of a GiB counts as a whole one.
    ///
    /// # Errors
    /// `out-of-range` when no whole number of GiB lies in it.
    pub fn read(range: &CapacityRange) -> Result<Self, Error> {
        let required =
            range.required_bytes.filter(|bytes| *bytes > 0).map(|bytes| bytes.div_ceil(GIB));
        let limit = range.limit_bytes.filter(|bytes| *bytes > 0).map(|bytes| bytes / GIB);
        if limit.is_some_and(|limit| required.unwrap_or(1) > limit) {
            let bytes =
                |bytes: Option<u64>| bytes.map_or("any".to_owned(), |bytes| bytes.to_string());
            let message = format!(
                "disks come in whole GiB, and there is none from {} to {} bytes",
                bytes(range.required_bytes),
                bytes(range.limit_bytes)
            );
            return Err(Error::out_of_range(message));
        }
        Ok(Self { required, limit })
    }

    /// The same, raised to the size that every category allows (`volumeSizeAutoAvailable`).
    #[must_use]
    pub fn at_least_default(self) -> Self {
        Self { required: Some(self.required.unwrap_or(0).max(DEFAULT_GIB)), ..self }
    }

    /// Whether a disk that is there has a size that was asked for.
    pub fn allows(self, gib: u64) -> bool {
        self.required.is_none_or(|required| gib >= required)
            && self.limit.is_none_or(|limit| gib <= limit)
    }

    /// The size of a disk of this kind, in GiB.
    ///
    /// # Errors
    /// `out-of-range` naming the kind and what it allows.
    pub fn for_kind(self, kind: &Kind) -> Result<u64, Error> {
        let (min, max) = kind.size_range();
        let usual = DEFAULT_GIB.max(min);
        let size = self.required.unwrap_or(self.limit.map_or(usual, |limit| usual.min(limit)));
        if size < min {
            return Err(Error::out_of_range(format!(
                "{} has at least {min} GiB, asked for are {size} GiB",
                kind.label()
            )));
        }
        if size > max {
            return Err(Error::out_of_range(format!(
                "{} has at most {max} GiB, asked for are {size} GiB",
                kind.label()
            )));
        }
        match self.limit {
            Some(limit) if size > limit => Err(Error::out_of_range(format!(
                "{} would have {size} GiB, allowed are {limit} GiB",
                kind.label()
            ))),
            _ => Ok(size),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::category::Category;

    fn wanted(required: Option<u64>, limit: Option<u64>) -> Result<Wanted, Error> {
        Wanted::read(&CapacityRange::new(required, limit))
    }

    fn kind(name: &str) -> Kind {
        Kind { category: Category::named(name).unwrap(), level: None }
    }

    #[test]
    fn a_part_of_a_gib_is_a_whole_one() {
        for (bytes, gib) in [(1, 1), (GIB, 1), (GIB + 1, 2), (40 * GIB, 40)] {
            assert_eq!(wanted(Some(bytes), None).unwrap().required, Some(gib), "{bytes}");
        }
    }

    #[test]
    fn a_range_without_a_whole_gib_is_out_of_range() {
        assert!(wanted(Some(GIB + 1), Some(2 * GIB - 1)).is_err());
        assert!(wanted(None, Some(GIB - 1)).is_err());
        assert!(wanted(Some(GIB + 1), Some(2 * GIB)).is_ok());
        assert!(wanted(Some(2 * GIB), Some(GIB)).is_err());
    }

    #[test]
    fn no_size_means_the_default_one() {
        let any = wanted(None, None).unwrap();
        assert_eq!(any.for_kind(&kind("cloud_auto")).unwrap(), 20);
        assert_eq!(any.for_kind(&kind("cloud_essd_xc0")).unwrap(), 40);
        assert!(wanted(None, Some(10 * GIB)).unwrap().for_kind(&kind("cloud_essd")).is_err());
    }

    #[test]
    fn a_limit_alone_makes_the_default_size_smaller_where_the_category_allows_it() {
        for (limit, gib) in [(1, 1), (10, 10), (20, 20), (100, 20)] {
            let limited = wanted(None, Some(limit * GIB)).unwrap();
            assert_eq!(limited.for_kind(&kind("cloud_auto")).unwrap(), gib, "{limit}");
        }
    }

    #[test]
    fn a_disk_that_is_there_may_have_any_size_of_the_range() {
        let range = wanted(Some(GIB), Some(2 * GIB)).unwrap();
        assert_eq!([0, 1, 2, 3].map(|gib| range.allows(gib)), [false, true, true, false]);
        assert!(wanted(None, None).unwrap().allows(7));
    }

    #[test]
    fn a_category_s_bounds_are_named() {
        let error = wanted(Some(5 * GIB), None).unwrap().for_kind(&kind("cloud_essd")).unwrap_err();
        assert_eq!(error.message, "cloud_essd has at least 20 GiB, asked for are 5 GiB");
        assert_eq!(
            wanted(Some(5 * GIB), None)
                .unwrap()
                .at_least_default()
                .for_kind(&kind("cloud_essd"))
                .unwrap(),
            20
        );
        assert!(
            wanted(Some(70_000 * GIB), None)
                .unwrap()
                .for_kind(&kind("cloud_essd"))
                .unwrap_err()
                .message
                .contains("at most 65536")
        );
    }
}
