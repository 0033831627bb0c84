//! Listings in pages, and their filter by tags, as all services of the RPC style have them.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::answer::ApiError;
use crate::params::Params;

/// One page of a listing: `PageNumber` and `PageSize`, or `NextToken` and `MaxResults`.
pub(crate) struct Page {
    from: usize,
    size: usize,
    number: usize,
    by_token: bool,
}

impl Page {
    /// Of most things: 10 at a time, unless more or fewer are asked for.
    pub(crate) fn of(params: &Params) -> Result<Self, ApiError> {
        Self::within(params, 10, 1, 500)
    }

    /// Of snapshots at most 100, and never fewer than 10, whatever is asked for: a caller who wants
    /// fewer has to cut.
    pub(crate) fn of_snapshots(params: &Params) -> Result<Self, ApiError> {
        Self::within(params, 10, 10, 100)
    }

    /// Of tags 50 at a time, unless more or fewer are asked for.
    pub(crate) fn of_tags(params: &Params) -> Result<Self, ApiError> {
        Self::within(params, 50, 1, 100)
    }

    /// Of access points 10 to 100, by token alone.
    pub(crate) fn of_access_points(params: &Params) -> Result<Self, ApiError> {
        Ok(Self { by_token: true, ..Self::of_snapshots(params)? })
    }

    fn within(
        params: &Params,
        page_size: usize,
        smallest: usize,
        most: usize,
    ) -> Result<Self, ApiError> {
        let bounded = |name: &str, default: usize, most: usize| -> Result<usize, ApiError> {
            let Some(value) = params.number(name)? else { return Ok(default) };
            usize::try_from(value)
                .ok()
                .filter(|value| (1..=most).contains(value))
                .ok_or_else(|| ApiError::invalid(name))
        };
        if params.get("NextToken").is_some() || params.get("MaxResults").is_some() {
            let size = bounded("MaxResults", 10, most)?.max(smallest);
            let from = match params.get("NextToken") {
                Some(token) => token
                    .strip_prefix("next-")
                    .and_then(|from| from.parse().ok())
                    .ok_or_else(|| ApiError::invalid("NextToken"))?,
                None => 0,
            };
            return Ok(Self { from, size, number: 1, by_token: true });
        }
        let size = bounded("PageSize", page_size, 100)?;
        let number = bounded("PageNumber", 1, usize::MAX)?;
        Ok(Self { from: (number - 1).saturating_mul(size), size, number, by_token: false })
    }

    /// What this page shows.
    pub(crate) fn shown<T>(&self, all: &[T], show: impl Fn(&T) -> Value) -> Vec<Value> {
        all.iter().skip(self.from).take(self.size).map(show).collect()
    }

    /// The answer around what [`Page::shown`] shows of so many, as a plain list.
    pub(crate) fn answer_around(&self, name: &str, shown: Vec<Value>, of: usize) -> Value {
        let next = self.from.saturating_add(shown.len());
        let token = if self.by_token && next < of { format!("next-{next}") } else { String::new() };
        json!({
            name: shown,
            "TotalCount": of,
            "PageNumber": self.number,
            "PageSize": self.size,
            "NextToken": token,
        })
    }

    /// The answer around one page of `all`, below `names`: `("Disks", "Disk")`. A token listing
    /// counts nothing, as in the real API.
    pub(crate) fn answer<T>(
        &self,
        names: (&str, &str),
        all: &[T],
        show: impl Fn(&T) -> Value,
    ) -> Value {
        let shown = self.shown(all, show);
        let next = self.from.saturating_add(shown.len());
        let token =
            if self.by_token && next < all.len() { format!("next-{next}") } else { String::new() };
        json!({
            names.0: { names.1: shown },
            "TotalCount": if self.by_token { 0 } else { all.len() },
            "PageNumber": self.number,
            "PageSize": self.size,
            "NextToken": token,
        })
    }
}

/// Whether a resource carries all these tags; a key without a value asks for the key alone.
pub(crate) fn carries(
    tags: &BTreeMap<String, String>,
    wanted: &[(String, Option<String>)],
) -> bool {
    wanted.iter().all(|(key, value)| {
        tags.get(key).is_some_and(|found| value.as_ref().is_none_or(|value| value == found))
    })
}

/// `{"Tag": [{"Key", "Value"}]}`.
pub(crate) fn key_value_tags(tags: &BTreeMap<String, String>) -> Value {
    let tags: Vec<Value> =
        tags.iter().map(|(key, value)| json!({ "Key": key, "Value": value })).collect();
    json!({ "Tag": tags })
}
