//! What is in a bucket: its objects and its unfinished uploads, listed and deleted.

use serde::Deserialize;
use wharf_alicloud::percent::{decode, encode};
use wharf_sdk::Error;
use wharf_sdk::http::{self, Effect, Request};

use super::{Bucket, BucketError, understood};
use crate::names::shown;

/// As many keys as a page of a listing has, and as one request deletes; the cloud's bound on both.
const PAGE: usize = 1000;
/// Requests at once; the host's bound.
const AT_ONCE: usize = 16;

/// An upload that somebody has begun and not finished.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Upload {
    /// Of the object that it would make.
    pub key: String,
    /// The cloud's id.
    pub upload_id: String,
}

/// `<ListBucketResult>`. Keys are percent-encoded, for XML cannot write all of them.
#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct Listing {
    contents: Vec<Object>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Object {
    key: String,
}

/// `<ListMultipartUploadsResult>`.
#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct Uploads {
    upload: Vec<Upload>,
}

impl Bucket {
    /// Whether there is no object in it.
    ///
    /// # Errors
    /// The cloud's.
    pub fn is_empty(&self) -> Result<Result<bool, BucketError>, Error> {
        let request = self.request(Effect::Read, "GET", "").with_query("max-keys", "1");
        let answer = match self.send(&request)? {
            Ok(answer) => answer,
            Err(no) => return Ok(Err(no)),
        };
        Ok(Ok(understood::<Listing>(&answer)?.contents.is_empty()))
    }

    /// The first page of the keys that begin with `prefix`, in their order.
    ///
    /// # Errors
    /// The cloud's, and its listing of what was not asked for.
    pub fn keys(&self, prefix: &str) -> Result<Result<Vec<String>, BucketError>, Error> {
        let request = self
            .request(Effect::Read, "GET", "")
            .with_query("prefix", prefix)
            .with_query("max-keys", PAGE.to_string())
            .with_query("encoding-type", "url");
        let answer = match self.send(&request)? {
            Ok(answer) => answer,
            Err(no) => return Ok(Err(no)),
        };
        let listing: Listing = understood(&answer)?;
        let keys: Vec<_> = listing.contents.iter().map(|object| decode(&object.key)).collect();
        self.check_prefix(prefix, keys.iter())?;
        Ok(Ok(keys))
    }

    /// Deletes these objects; those that are gone are done.
    ///
    /// # Errors
    /// The cloud's.
    pub fn delete_objects(&self, keys: &[String]) -> Result<Result<(), BucketError>, Error> {
        let (plain, odd): (Vec<_>, Vec<_>) = keys.iter().partition(|key| is_text_of_xml(key));
        if !plain.is_empty() {
            let objects: String = plain
                .iter()
                .map(|key| format!("<Object><Key>{}</Key></Object>", escaped(key)))
                .collect();
            let request = self
                .request(Effect::Mutate, "POST", "")
                .with_query("delete", "")
                .with_body(format!("<Delete><Quiet>true</Quiet>{objects}</Delete>"));
            if let Err(no) = self.send(&request)? {
                return Ok(Err(no));
            }
        }
        let requests = odd.into_iter().take(AT_ONCE).map(|key| self.delete_of(key));
        self.send_all(&requests.collect::<Result<Vec<_>, _>>()?)
    }

    /// Deletes one object.
    ///
    /// # Errors
    /// The cloud's.
    pub fn delete_object(&self, key: &str) -> Result<Result<(), BucketError>, Error> {
        self.send(&self.delete_of(key)?).map(|answer| answer.map(drop))
    }

    /// The first unfinished uploads of objects whose keys begin with `prefix`, at most so many.
    ///
    /// # Errors
    /// The cloud's, and its listing of what was not asked for.
    pub fn uploads(
        &self,
        prefix: &str,
        most: usize,
    ) -> Result<Result<Vec<Upload>, BucketError>, Error> {
        let request = self
            .request(Effect::Read, "GET", "")
            .with_query("uploads", "")
            .with_query("prefix", prefix)
            .with_query("max-uploads", most.to_string())
            .with_query("encoding-type", "url");
        let answer = match self.send(&request)? {
            Ok(answer) => answer,
            Err(no) => return Ok(Err(no)),
        };
        let mut uploads = understood::<Uploads>(&answer)?.upload;
        for upload in &mut uploads {
            upload.key = decode(&upload.key);
        }
        self.check_prefix(prefix, uploads.iter().map(|upload| &upload.key))?;
        Ok(Ok(uploads))
    }

    /// Gives up these uploads; those that are gone are done.
    ///
    /// # Errors
    /// The cloud's.
    pub fn abort(&self, uploads: &[Upload]) -> Result<Result<(), BucketError>, Error> {
        for some in uploads.chunks(AT_ONCE) {
            let abort = |upload: &Upload| {
                Ok(self.delete_of(&upload.key)?.with_query("uploadId", &upload.upload_id))
            };
            let requests = some.iter().map(abort).collect::<Result<Vec<_>, Error>>()?;
            if let Err(no) = self.send_all(&requests)? {
                return Ok(Err(no));
            }
        }
        Ok(Ok(()))
    }

    /// The value of one of an object's own headers, `x-oss-meta-NAME`.
    ///
    /// # Errors
    /// The cloud's.
    pub fn mark(
        &self,
        key: &str,
        name: &str,
    ) -> Result<Result<Option<String>, BucketError>, Error> {
        let answer = self.send(&self.request(Effect::Read, "GET", &encoded(key)))?;
        let value = |answer: http::Response| {
            answer.header(&format!("x-oss-meta-{name}")).map(str::to_owned)
        };
        Ok(answer.map(value))
    }

    /// Makes an object without content, which helpers show as a directory where its key ends in a
    /// slash, with a header of its own.
    ///
    /// # Errors
    /// The cloud's.
    pub fn put_directory(
        &self,
        key: &str,
        name: &str,
        value: &str,
    ) -> Result<Result<(), BucketError>, Error> {
        let request = self
            .request(Effect::Mutate, "PUT", &encoded(key))
            .with_header("content-type", "application/x-directory")
            .with_header(format!("x-oss-meta-{name}"), value);
        self.send(&request).map(|answer| answer.map(drop))
    }

    fn send_all(&self, requests: &[Request]) -> Result<Result<(), BucketError>, Error> {
        for (request, sent) in requests.iter().zip(http::send_all(requests)) {
            match self.judge(request, sent)? {
                Ok(_) | Err(BucketError::NoUpload | BucketError::NoObject) => {}
                Err(no) => return Ok(Err(no)),
            }
        }
        Ok(Ok(()))
    }

    /// The request that deletes one object by its path. A path with `..` would mean another
    /// object, so there is none for such a key.
    fn delete_of(&self, key: &str) -> Result<Request, Error> {
        if key.split('/').any(|part| matches!(part, "." | "..")) {
            let text = format!("bucket {}: no path leads to `{}`", self.name, shown(key));
            return Err(Error::precondition(text).with_hint("delete it by hand"));
        }
        Ok(self.request(Effect::Mutate, "DELETE", &encoded(key)))
    }

    /// What is deleted is what was listed, so what a listing has beyond its prefix is an error.
    fn check_prefix<'a>(
        &self,
        prefix: &str,
        mut keys: impl Iterator<Item = &'a String>,
    ) -> Result<(), Error> {
        let Some(stranger) = keys.find(|key| !key.starts_with(prefix)) else { return Ok(()) };
        Err(Error::unavailable(format!(
            "bucket {}: its listing of `{}` has `{}`",
            self.name,
            shown(prefix),
            shown(stranger)
        )))
    }
}

/// A key in a path: slashes stay.
fn encoded(key: &str) -> String {
    key.split('/').map(encode).collect::<Vec<_>>().join("/")
}

/// Whether XML 1.0 has all of its characters.
fn is_text_of_xml(key: &str) -> bool {
    key.chars().all(|one| match one {
        '\t' | '\n' | '\r' => true,
        '\u{fffe}' | '\u{ffff}' => false,
        one => one >= ' ',
    })
}

/// White space too, which a reader of XML changes where it is not escaped.
fn escaped(key: &str) -> String {
    key.chars().fold(String::with_capacity(key.len()), |mut text, one| {
        match one {
            '&' => text.push_str("&amp;"),
            '<' => text.push_str("&lt;"),
            '>' => text.push_str("&gt;"),
            '\t' => text.push_str("&#9;"),
            '\n' => text.push_str("&#10;"),
            '\r' => text.push_str("&#13;"),
            one => text.push(one),
        }
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_written_so_that_it_is_read_as_itself() {
        assert_eq!(escaped("a&b<c>\r\n\t\"'"), "a&amp;b&lt;c&gt;&#13;&#10;&#9;\"'");
        assert!(["a\nb", "中", ""].into_iter().all(is_text_of_xml));
        assert!(!["\u{1}", "a\u{ffff}"].into_iter().any(is_text_of_xml));
        assert_eq!(encoded("a b/%/中"), "a%20b/%25/%E4%B8%AD");
    }
}
