//! The few calls to object storage itself, and its answers: those about a bucket here, those about
//! what is in it in [`objects`]. There is no other way to a request, so the manifest can be
//! compared with it.
//!
//! The bucket stands in the host name, as the cloud wants it; with the setting `addressing` =
//! `path` it stands in the path, for an endpoint that is an address.

use serde::Deserialize;
use wharf_alicloud::Refusal;
use wharf_sdk::http::{Effect, Request, Response};
use wharf_sdk::types::Parameters;
use wharf_sdk::{Blame, Error, ErrorKind, config};

use crate::settings;

pub mod objects;

/// The endpoint id.
const ENDPOINT: &str = "oss";

/// A bucket that this backend may ask about.
#[derive(Debug, Clone)]
pub struct Bucket {
    name: String,
    region: String,
    is_in_path: bool,
}

/// Why the cloud refused, where a caller acts on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BucketError {
    /// There is no such bucket.
    NoBucket,
    /// There is no such object.
    NoObject,
    /// There is no such upload.
    NoUpload,
    /// There are objects in it.
    NotEmpty,
    /// Somebody has a bucket of this name, perhaps this account itself.
    Taken,
}

/// `<Error>`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ErrorBody {
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
    pub fn put(&self) -> Result<Result<(), BucketError>, Error> {
        self.send(&self.request(Effect::Mutate, "PUT", "")).map(|answer| answer.map(drop))
    }

    /// Deletes it where nothing is in it.
    ///
    /// # Errors
    /// The cloud's.
    pub fn delete(&self) -> Result<Result<(), BucketError>, Error> {
        self.send(&self.request(Effect::Mutate, "DELETE", "")).map(|answer| answer.map(drop))
    }

    /// Its tags.
    ///
    /// # Errors
    /// The cloud's.
    pub fn tags(&self) -> Result<Result<Parameters, BucketError>, Error> {
        let request = self.request(Effect::Read, "GET", "").with_query("tagging", "");
        let answer = match self.send(&request)? {
            Ok(answer) => answer,
            Err(no) => return Ok(Err(no)),
        };
        let tags: Tagging = understood(&answer)?;
        Ok(Ok(tags.tag_set.tag.into_iter().map(|tag| (tag.key, tag.value)).collect()))
    }

    /// Gives it these tags, in place of all others. They have been checked to need no escaping.
    ///
    /// # Errors
    /// The cloud's.
    pub fn put_tags(&self, tags: &[(&str, &str)]) -> Result<Result<(), BucketError>, Error> {
        let tag = |(key, value): &(&str, &str)| {
            format!("<Tag><Key>{key}</Key><Value>{value}</Value></Tag>")
        };
        let tags: String = tags.iter().map(tag).collect();
        let body = format!("<Tagging><TagSet>{tags}</TagSet></Tagging>");
        let request = self.request(Effect::Mutate, "PUT", "").with_query("tagging", "");
        self.send(&request.with_body(body)).map(|answer| answer.map(drop))
    }

    /// A request about it, or about one of its objects, whose key is percent-encoded.
    fn request(&self, effect: Effect, method: &str, key: &str) -> Request {
        let path = match self.is_in_path {
            true => format!("/{}/{key}", self.name),
            false => format!("/{key}"),
        };
        let request = Request::new(effect, ENDPOINT, method, &path)
            .signed_by(settings::account())
            .with_api("bucket", &self.name)
            .with_api("region", &self.region);
        match self.is_in_path {
            true => request,
            false => request.at_subdomain(self.name.as_str()),
        }
    }

    fn send(&self, request: &Request) -> Result<Result<Response, BucketError>, Error> {
        self.judge(request, request.send())
    }

    /// What came of a request.
    fn judge(
        &self,
        request: &Request,
        sent: Result<Response, Error>,
    ) -> Result<Result<Response, BucketError>, Error> {
        let what = format!("bucket {}", self.name);
        let response = sent.map_err(|error| error.context(&what))?;
        if response.is_success() {
            return Ok(Ok(response));
        }
        refused(request, &response).map(Err).map_err(|error| error.context(&what))
    }
}

/// What a refusal means here, or the error that it is.
fn refused(request: &Request, response: &Response) -> Result<BucketError, Error> {
    let is_mutation = request.effect == Effect::Mutate;
    let Ok(said) = quick_xml::de::from_str::<ErrorBody>(response.text()) else {
        let (kind, blame) = wharf_alicloud::codes::judge_status(response.status);
        let text = format!("status {} without an error code", response.status);
        let error = Error::new(kind, blame, text);
        return Err(if is_mutation { error.with_unknown_effect() } else { error });
    };
    match (response.status, said.code.as_str()) {
        (404, "NoSuchBucket") => return Ok(BucketError::NoBucket),
        (404, "NoSuchKey") => return Ok(BucketError::NoObject),
        (404, "NoSuchUpload") => return Ok(BucketError::NoUpload),
        (409, "BucketNotEmpty") => return Ok(BucketError::NotEmpty),
        (409, "BucketAlreadyExists") => return Ok(BucketError::Taken),
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
