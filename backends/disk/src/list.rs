//! `list`: the disks of this cluster, or those that a Kubernetes driver made, page by page.

use wharf_sdk::Error;
use wharf_sdk::controller::{ListRequest, Listed};

use crate::action::Action;
use crate::disk_record::Page;
use crate::settings;
use crate::tags::{CLUSTER, MANAGED};
use crate::volume;

/// A page of the cloud; a larger one takes it noticeably longer.
const LARGEST_PAGE: u32 = 100;
/// What a token of this backend begins with; behind it is the cloud's own.
const TOKEN: &str = "disk:";

/// `controller.list`. With no bound, every page is read: the caller asked for all of them.
///
/// # Errors
/// `aborted` for a token that this backend did not give; the cloud's.
pub fn list(request: &ListRequest) -> Result<Listed, Error> {
    let mut token = own_token(request.starting_token.as_deref())?;
    let region = settings::region()?;
    let mut listed = Listed::page(Vec::new(), None);
    loop {
        let page = read(&region, request.max_entries, &token)?;
        token.clone_from(&page.next_token);
        listed.volumes.extend(page.into_disks().iter().map(|disk| volume::of_disk(disk, &region)));
        if token.is_empty() || request.max_entries > 0 {
            listed.next_token = (!token.is_empty()).then(|| format!("{TOKEN}{token}"));
            return Ok(listed);
        }
    }
}

fn read(region: &str, max_entries: u32, token: &str) -> Result<Page, Error> {
    let size = if max_entries == 0 { LARGEST_PAGE } else { max_entries.min(LARGEST_PAGE) };
    let cluster = settings::cluster_id();
    let tag = cluster.as_deref().map_or(MANAGED, |cluster| (CLUSTER, cluster));
    let call = Action::DescribeDisks
        .call_in(region)
        .with("MaxResults", size)
        .with_some("NextToken", Some(token).filter(|token| !token.is_empty()));
    call.with_tags([tag]).send().map_err(|failure| match failure.code() {
        Some(code) if code.contains("NextToken") => foreign(token),
        _ => failure.into(),
    })
}

fn own_token(token: Option<&str>) -> Result<String, Error> {
    match token.filter(|token| !token.is_empty()) {
        None => Ok(String::new()),
        Some(token) => token
            .strip_prefix(TOKEN)
            .filter(|own| !own.is_empty())
            .map(str::to_owned)
            .ok_or_else(|| foreign(token)),
    }
}

fn foreign(token: &str) -> Error {
    Error::aborted(format!("`{token}` is not a token of this listing, or not any more"))
        .with_hint("begin the listing again")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use wharf_sdk::http::Response;
    use wharf_sdk::testing::FakeHost;
    use wharf_sdk::{ErrorKind, Pairs};

    fn page(ids: &[&str], next: &str) -> Response {
        let disks: Vec<_> =
            ids.iter().map(|id| json!({ "DiskId": id, "Size": 20, "Status": "In_use", "InstanceId": "i-1", "ZoneId": "z" })).collect();
        Response::new(200, json!({ "Disks": { "Disk": disks }, "NextToken": next }).to_string())
    }

    #[test]
    fn pages_follow_the_cloud_s_tokens() {
        let host = FakeHost::install()
            .with_config("region", "r")
            .with_config("cluster-id", "c1")
            .answering("DescribeDisks", page(&["d-1"], "t2"))
            .answering("DescribeDisks", page(&["d-2"], ""));
        let first = list(&ListRequest::new(1, None)).unwrap();
        assert_eq!(
            (first.volumes[0].id.as_str(), first.next_token.as_deref()),
            ("d-1", Some("disk:t2"))
        );
        assert_eq!(first.volumes[0].attached_to, ["i-1"]);
        let second = list(&ListRequest::new(1, first.next_token.as_deref())).unwrap();
        assert_eq!((second.volumes[0].id.as_str(), second.next_token), ("d-2", None));
        let query = &host.requests()[1].query;
        assert_eq!(
            (
                query.value("NextToken"),
                query.value("MaxResults"),
                query.value("Tag.1.Key"),
                query.value("Tag.1.Value")
            ),
            (Some("t2"), Some("1"), Some(CLUSTER), Some("c1"))
        );
    }

    #[test]
    fn no_bound_means_every_page() {
        let _host = FakeHost::install()
            .with_config("region", "r")
            .answering("DescribeDisks", page(&["d-1"], "t2"))
            .answering("DescribeDisks", page(&["d-2"], ""));
        assert_eq!(list(&ListRequest::new(0, None)).unwrap().volumes.len(), 2);
    }

    #[test]
    fn a_foreign_token_is_aborted() {
        let host = FakeHost::install().with_config("region", "r");
        for token in ["invalid-token", "disk:"] {
            assert_eq!(
                list(&ListRequest::new(1, Some(token))).unwrap_err().kind,
                ErrorKind::Aborted
            );
        }
        assert!(host.requests().is_empty());
        let _host = FakeHost::install().with_config("region", "r").answering(
            "DescribeDisks",
            Response::new(400, r#"{"Code":"InvalidParameter.NextToken"}"#),
        );
        assert_eq!(
            list(&ListRequest::new(1, Some("disk:stale"))).unwrap_err().kind,
            ErrorKind::Aborted
        );
    }
}
