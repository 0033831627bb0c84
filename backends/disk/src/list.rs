//! `list`: every data disk of the region, page by page.
//!
//! Not narrowed by tag: a static PersistentVolume names a disk that no driver tagged, and the
//! external-attacher takes a volume that is not listed for one that is not attached, and attaches
//! it again every minute. It asks for one page after the other, so a page is small, and a region
//! with thousands of disks costs one DescribeDisks for each hundred of them. Where that is too
//! much, the attacher's `--reconcile-sync` makes it rarer. System disks are no volumes.

use wharf_sdk::Error;
use wharf_sdk::controller::{ListRequest, Listed};

use crate::action::Action;
use crate::disk_record::Page;
use crate::settings;
use crate::volume;

/// Disks of one page, also for a caller who names no bound; the cloud takes noticeably longer for
/// more, and a call to a backend ends within the caller's seconds.
const LARGEST_PAGE: u32 = 100;
/// The cloud takes a smaller `MaxResults` for this one.
const SMALLEST_PAGE: u32 = 10;
/// What a token of this backend begins with; behind it are how many disks of the cloud's page were
/// listed already, `:`, and the cloud's own token of that page.
const TOKEN: &str = "disk:";

/// `controller.list`: one page, with at most `max_entries` disks.
///
/// # Errors
/// `aborted` for a token that this backend did not give; the cloud's.
pub fn list(request: &ListRequest) -> Result<Listed, Error> {
    let start = Start::read(request.starting_token.as_deref())?;
    let region = settings::region()?;
    let most = match request.max_entries {
        0 => LARGEST_PAGE,
        asked => asked.min(LARGEST_PAGE),
    };
    let page = read(&region, start.skip.saturating_add(most), &start.token)?;
    let next = page.next_token.clone();
    let disks = page.into_disks();
    let (skip, most) = (start.skip as usize, most as usize);
    let volumes: Vec<_> =
        disks.iter().skip(skip).take(most).map(|disk| volume::of_disk(disk, &region)).collect();
    let rest = start.after(volumes.len(), disks.len(), next);
    Ok(Listed::page(volumes, rest.map(|start| start.text())))
}

/// Where a page begins.
struct Start {
    /// The cloud's token of the page that it is in; empty: the first one.
    token: String,
    /// So many disks of that page were listed already.
    skip: u32,
}

impl Start {
    fn read(token: Option<&str>) -> Result<Self, Error> {
        let Some(token) = token.filter(|token| !token.is_empty()) else {
            return Ok(Self { token: String::new(), skip: 0 });
        };
        let own = token.strip_prefix(TOKEN).and_then(|own| own.split_once(':'));
        own.and_then(|(skip, own)| Some(Self { token: own.to_owned(), skip: skip.parse().ok()? }))
            .filter(|start| start.skip > 0 || !start.token.is_empty())
            .ok_or_else(|| foreign(token))
    }

    /// Where the next page begins when so many were listed now, of a page of the cloud that has
    /// `there` disks.
    fn after(self, listed: usize, there: usize, next: String) -> Option<Self> {
        let skip = self.skip.saturating_add(u32::try_from(listed).unwrap_or(u32::MAX));
        if (skip as usize) < there {
            return Some(Self { skip, ..self });
        }
        (!next.is_empty()).then_some(Self { token: next, skip: 0 })
    }

    fn text(&self) -> String {
        format!("{TOKEN}{}:{}", self.skip, self.token)
    }
}

fn read(region: &str, results: u32, token: &str) -> Result<Page, Error> {
    let call = Action::DescribeDisks
        .call_in(region)
        .with("DiskType", "data")
        .with("MaxResults", results.max(SMALLEST_PAGE))
        .with_some("NextToken", Some(token).filter(|token| !token.is_empty()));
    call.send().map_err(|failure| match failure.code() {
        Some(code) if code.contains("NextToken") => foreign(token),
        _ => failure.into(),
    })
}

fn foreign(token: &str) -> Error {
    Error::aborted(format!("`{token}` is not a token of this listing, or not any more"))
        .with_hint("begin the listing again")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use wharf_sdk::http::{Request, Response};
    use wharf_sdk::testing::FakeHost;
    use wharf_sdk::{ErrorKind, Pairs};

    /// A region with so many data disks, none of them tagged; the first is attached. It pages as
    /// the cloud does: a `MaxResults` below ten is ten.
    fn region_of(disks: usize) -> FakeHost {
        let answer = move |request: &Request| {
            let value = |key: &str| request.query.value(key);
            assert_eq!((value("DiskType"), value("Tag.1.Key")), (Some("data"), None));
            let first: usize = value("NextToken").map_or(0, |token| token.parse().unwrap());
            let size = value("MaxResults").unwrap().parse::<usize>().unwrap().clamp(10, 500);
            let end = disks.min(first + size);
            let page: Vec<_> = (first..end)
                .map(|number| {
                    let holder = if number == 0 { "i-1" } else { "" };
                    json!({ "DiskId": format!("d-{number}"), "Size": 20, "InstanceId": holder })
                })
                .collect();
            let next = if end < disks { end.to_string() } else { String::new() };
            let body = json!({ "Disks": { "Disk": page }, "NextToken": next });
            Some(Ok(Response::new(200, body.to_string())))
        };
        // The cluster has an id: it does not narrow the listing.
        FakeHost::install()
            .with_config("region", "r")
            .with_config("cluster-id", "c1")
            .handling(answer)
    }

    /// Every page, as the external-attacher reads them.
    fn pages(max_entries: u32) -> Vec<Listed> {
        let mut pages = vec![list(&ListRequest::new(max_entries, None)).unwrap()];
        while let Some(token) = pages.last().and_then(|page| page.next_token.clone()) {
            pages.push(list(&ListRequest::new(max_entries, Some(&token))).unwrap());
        }
        pages
    }

    #[test]
    fn three_thousand_disks_are_listed_page_by_page_with_or_without_tags() {
        for (max_entries, largest) in [(0, 100), (7, 7), (100, 100), (5000, 100)] {
            let host = region_of(3000);
            let pages = pages(max_entries);
            assert!(pages.iter().all(|page| page.volumes.len() <= largest), "{max_entries}");
            let ids: Vec<_> =
                pages.iter().flat_map(|page| &page.volumes).map(|it| it.id.clone()).collect();
            let all: Vec<_> = (0..3000).map(|number| format!("d-{number}")).collect();
            assert_eq!(ids, all, "{max_entries}");
            assert_eq!(pages[0].volumes[0].attached_to, ["i-1"]);
            assert_eq!(host.requests().len(), pages.len(), "a page is one request");
        }
    }

    #[test]
    fn a_page_holds_no_more_than_was_asked_for_although_the_cloud_gives_ten() {
        let _host = region_of(12);
        let sizes: Vec<_> = pages(1).iter().map(|page| page.volumes.len()).collect();
        assert_eq!(sizes, [1; 12]);
    }

    #[test]
    fn a_region_without_disks_has_one_empty_page() {
        let _host = region_of(0);
        assert_eq!(pages(0).len(), 1);
    }

    #[test]
    fn a_foreign_token_is_aborted() {
        let host = FakeHost::install().with_config("region", "r");
        for token in ["invalid-token", "disk:", "disk:t2", "disk:0:", "disk:x:t2", "disk:-1:t2"] {
            assert_eq!(
                list(&ListRequest::new(1, Some(token))).unwrap_err().kind,
                ErrorKind::Aborted,
                "{token}"
            );
        }
        assert!(host.requests().is_empty());
        let _host = FakeHost::install().with_config("region", "r").answering(
            "DescribeDisks",
            Response::new(400, r#"{"Code":"InvalidParameter.NextToken"}"#),
        );
        assert_eq!(
            list(&ListRequest::new(1, Some("disk:0:stale"))).unwrap_err().kind,
            ErrorKind::Aborted
        );
    }
}
