//! The few calls to object storage itself, and its answers. There is no other way to a request, so
//! the manifest can be compared with it.
//!
//! The bucket stands in the host name, as the cloud wants it; with the setting `addressing` =
//! `path` it stands in the path, for an endpoint that is an address.

use serde::Deserialize;
use wharf_alicloud::Refusal;
use wharf_sdk::http::{Effect, Request, Response};
use wharf_sdk::{Blame, Error, ErrorKind, config};

use crate::settings;

/// The endpoint id.
const ENDPOINT: &str = "oss";

/// A bucket that this backend may ask about.
#[derive(Debug, Clone)]
pub struct Bucket {
    name: String,
    region: String,
    is_in_path: bool,
}

/// What the cloud said no with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum No {
    /// There is no such bucket.
    NoBucket,
    /// There are objects in it.
    NotEmpty,
    /// Somebody has a bucket of this name, perhaps this account itself.
    Taken,
}

/// `<Error>`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Said {
    code: String,
    #[serde(default)]
    message: String,
    #[serde(default)]
    request_id: String,
}

/// `<Tagging>`.
#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct Tagging {
    tag_set: TagSet,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct TagSet {
    tag: Vec<Tag>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Tag {
    key: String,
    #[serde(default)]
    value: String,
}

/// `<ListBucketResult>`, as far as it says whether there is anything.
#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct Listing {
    contents: Vec<Object>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Object {
    #[expect(dead_code, reason = "that there is one is all that counts")]
    key: String,
}

impl Bucket {
    /// A bucket by its name, which has been checked.
    ///
    /// # Errors
    /// A setting is missing or wrong.
    pub fn named(name: &str) -> Result<Self, Error> {
        let region = settings::region().ok_or_else(|| {
            Error::misconfigured("setting `region` of the backend is missing")
                .with_hint("buckets are made and deleted in the region that it names")
        })?;
        let is_in_path = match config::get("addressing").as_deref() {
            None | Some("subdomain") => false,
            Some("path") => true,
            Some(other) => {
                return Err(Error::misconfigured(format!(
                    "setting `addressing` of the backend is `{other}`, allowed: subdomain, path"
                )));
            }
        };
        Ok(Self { name: name.to_owned(), region, is_in_path })
    }

    /// Makes it, or finds that this account has it.
    ///
    /// # Errors
    /// The cloud's.
    pub fn put(&self) -> Result<Result<(), No>, Error> {
        self.ask(Effect::Mutate, "PUT", "", b"").map(|answer| answer.map(drop))
    }

    /// Deletes it where nothing is in it.
    ///
    /// # Errors
    /// The cloud's.
    pub fn delete(&self) -> Result<Result<(), No>, Error> {
        self.ask(Effect::Mutate, "DELETE", "", b"").map(|answer| answer.map(drop))
    }

    /// The value of one of its tags.
    ///
    /// # Errors
    /// The cloud's.
    pub fn tag(&self, key: &str) -> Result<Result<Option<String>, No>, Error> {
        let answer = match self.ask(Effect::Read, "GET", "tagging", b"")? {
            Ok(answer) => answer,
            Err(no) => return Ok(Err(no)),
        };
        let tags: Tagging = understood(&answer)?;
        let tag = tags.tag_set.tag.into_iter().find(|tag| tag.key == key);
        Ok(Ok(tag.map(|tag| tag.value)))
    }

    /// Gives it one tag, in place of all others. The value has been checked to need no escaping.
    ///
    /// # Errors
    /// The cloud's.
    pub fn put_tag(&self, key: &str, value: &str) -> Result<Result<(), No>, Error> {
        let body = format!(
            "<Tagging><TagSet><Tag><Key>{key}</Key><Value>{value}</Value></Tag></TagSet></Tagging>"
        );
        self.ask(Effect::Mutate, "PUT", "tagging", body.as_bytes()).map(|answer| answer.map(drop))
    }

    /// Whether there is no object in it.
    ///
    /// # Errors
    /// The cloud's.
    pub fn is_empty(&self) -> Result<Result<bool, No>, Error> {
        let answer = match self.ask(Effect::Read, "GET", "max-keys=1", b"")? {
            Ok(answer) => answer,
            Err(no) => return Ok(Err(no)),
        };
        Ok(Ok(understood::<Listing>(&answer)?.contents.is_empty()))
    }

    fn ask(
        &self,
        effect: Effect,
        method: &str,
        query: &str,
        body: &[u8],
    ) -> Result<Result<Response, No>, Error> {
        let path = if self.is_in_path { format!("/{}/", self.name) } else { "/".to_owned() };
        let request = Request::new(effect, ENDPOINT, method, &path)
            .signed_by(settings::account())
            .with_api("bucket", &self.name)
            .with_api("region", &self.region)
            .with_body(body);
        let request =
            if self.is_in_path { request } else { request.at_subdomain(self.name.as_str()) };
        let request = match query.split_once('=') {
            None if query.is_empty() => request,
            None => request.with_query(query, ""),
            Some((key, value)) => request.with_query(key, value),
        };
        let what = format!("bucket {}", self.name);
        let response = request.send().map_err(|error| error.context(&what))?;
        if response.is_success() {
            return Ok(Ok(response));
        }
        refused(&request, &response).map(Err).map_err(|error| error.context(&what))
    }
}

/// What a refusal means here, or the error that it is.
fn refused(request: &Request, response: &Response) -> Result<No, Error> {
    let is_mutation = request.effect == Effect::Mutate;
    let Ok(said) = quick_xml::de::from_str::<Said>(response.text()) else {
        let (kind, blame) = wharf_alicloud::codes::judge_status(response.status);
        let text = format!("status {} without an error code", response.status);
        let error = Error::new(kind, blame, text);
        return Err(if is_mutation { error.with_unknown_effect() } else { error });
    };
    match (response.status, said.code.as_str()) {
        (404, "NoSuchBucket") => return Ok(No::NoBucket),
        (409, "BucketNotEmpty") => return Ok(No::NotEmpty),
        (409, "BucketAlreadyExists") => return Ok(No::Taken),
        _ => {}
    }
    let is_denied = said.code == "AccessDenied";
    let what = if request.query.is_empty() {
        request.method.clone()
    } else {
        let keys: Vec<_> = request.query.iter().map(|(key, _)| key.as_str()).collect();
        format!("{} ?{}", request.method, keys.join("&"))
    };
    let error = Error::from(Refusal {
        action: what,
        status: response.status,
        code: said.code,
        message: said.message.chars().filter(|one| !one.is_control()).take(300).collect(),
        request_id: said.request_id,
        recommend: None,
        is_mutation,
    });
    Err(match is_denied {
        true => Error { kind: ErrorKind::PermissionDenied, blame: Blame::User, ..error }
            .with_hint("grant this to the RAM user or role of the account that signs"),
        false => error,
    })
}

fn understood<T: serde::de::DeserializeOwned>(response: &Response) -> Result<T, Error> {
    quick_xml::de::from_str(response.text()).map_err(|_| {
        let text = format!("an answer of {} bytes is not understood", response.body.len());
        Error::new(ErrorKind::Internal, Blame::Cloud, text)
    })
}
