//! What both signatures of object storage (OSS) sign: the resource and the cloud's own headers.
//!
//! Its requests have no action, so none is signed. Which bucket a request is for stands in its host
//! or in its path; where it is in the host, the backend says it as `bucket` of its `api`, because
//! the host alone does not distinguish it from the endpoint's own name.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use md5::{Digest, Md5};
use wharf_alicloud::percent::{decode, encode};
use wharf_sdk::Pairs;
use wharf_sdk::auth::UnsignedRequest;

/// The resource that a request is for, decoded: `/bucket/key`, `/bucket/`, or `/`.
pub fn resource(request: &UnsignedRequest) -> String {
    let path = decode(&request.path);
    let path = if path.starts_with('/') { path } else { format!("/{path}") };
    let bucket = request.api.value("bucket").unwrap_or_default();
    let is_in_host = !bucket.is_empty()
        && request.host.strip_prefix(bucket).is_some_and(|rest| rest.starts_with('.'));
    if is_in_host {
        format!("/{bucket}{path}")
    } else if path != "/" && path.matches('/').count() == 1 {
        format!("{path}/")
    } else {
        path
    }
}

/// Encodes a resource; slashes stay.
pub fn encode_path(path: &str) -> String {
    path.split('/').map(encode).collect::<Vec<_>>().join("/")
}

/// The headers that a signature adds to those of the request: what is given, and a digest of the
/// body. Neither signature covers a body by itself, but both cover this header, and the service
/// checks it.
pub fn added<'a>(
    request: &UnsignedRequest,
    own: impl IntoIterator<Item = (&'a str, String)>,
) -> Vec<(&'a str, String)> {
    let digest = (!request.body.is_empty())
        .then(|| ("content-md5", STANDARD.encode(Md5::digest(&request.body))));
    own.into_iter().chain(digest).collect()
}

/// Headers of the request and those that are added to it, which replace them: names in lower case,
/// sorted.
pub fn all_headers<'a>(
    request: &'a UnsignedRequest,
    added: &'a [(&str, String)],
) -> Vec<(String, &'a str)> {
    let added = added.iter().map(|(name, value)| ((*name).to_owned(), value.trim()));
    let mut headers: Vec<_> = added.collect();
    for (name, value) in &request.headers {
        let name = name.to_ascii_lowercase();
        if !headers.iter().any(|(known, _)| *known == name) {
            headers.push((name, value.trim()));
        }
    }
    headers.sort_unstable();
    headers
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use wharf_sdk::types::pairs;

    pub(crate) fn request(host: &str, path: &str, bucket: &str) -> UnsignedRequest {
        UnsignedRequest {
            action: String::new(),
            api: pairs([("bucket", bucket), ("region", "cn-hangzhou")]),
            settings: Vec::new(),
            method: "PUT".into(),
            host: host.into(),
            path: path.into(),
            query: Vec::new(),
            headers: Vec::new(),
            body: Vec::new(),
            extensions: Vec::new(),
        }
    }

    #[test]
    fn a_resource_names_the_bucket_whether_it_is_in_the_host_or_in_the_path() {
        for (host, path, bucket, resource) in [
            ("b-1.oss.example", "/", "b-1", "/b-1/"),
            ("b-1.oss.example", "/a%20b/c", "b-1", "/b-1/a b/c"),
            ("127.0.0.1:1", "/b-1", "b-1", "/b-1/"),
            ("127.0.0.1:1", "/b-1/", "b-1", "/b-1/"),
            ("127.0.0.1:1", "/b-1/a/b", "b-1", "/b-1/a/b"),
            ("oss.example", "/", "", "/"),
            // A bucket that is called like the endpoint's first label.
            ("oss.example", "/", "os", "/"),
        ] {
            assert_eq!(super::resource(&request(host, path, bucket)), resource, "{host}{path}");
        }
    }

    #[test]
    fn what_is_added_replaces_what_the_request_has() {
        let mut request = request("h", "/", "");
        request.headers = pairs([("X-Oss-Date", "old"), ("Content-Type", " text/plain ")]);
        request.body = b"body".to_vec();
        let added = added(&request, [("x-oss-date", "new".to_owned())]);
        let headers = all_headers(&request, &added);
        let headers: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), *value)).collect();
        assert_eq!(
            headers,
            [
                ("content-md5", "hBotaJrYa9FhFEdFPCLG/A=="),
                ("content-type", "text/plain"),
                ("x-oss-date", "new")
            ]
        );
    }
}
