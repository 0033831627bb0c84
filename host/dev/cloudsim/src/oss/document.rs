//! XML, out and in: a writer for the few shapes that answers have, and the shapes that requests may
//! have.

use quick_xml::escape::escape;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::error::OssError;

/// An XML document that is being written. Names come from the code, values are escaped.
#[derive(Debug)]
pub(crate) struct Document {
    text: String,
}

impl Document {
    pub(crate) fn new() -> Self {
        Self { text: "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n".to_owned() }
    }

    /// `<name>value</name>`.
    pub(crate) fn field(&mut self, name: &str, value: &str) -> &mut Self {
        self.text += &format!("<{name}>{}</{name}>", escape(allowed(value)));
        self
    }

    /// An element around what `inner` writes.
    pub(crate) fn inside(&mut self, name: &str, inner: impl FnOnce(&mut Self)) -> &mut Self {
        self.text += &format!("<{name}>");
        inner(self);
        self.text += &format!("</{name}>");
        self
    }

    pub(crate) fn text(self) -> String {
        self.text
    }
}

/// XML 1.0 has no way to write most control characters. A client that has such keys asks for
/// `encoding-type=url`.
fn allowed(value: &str) -> String {
    value
        .chars()
        .map(|letter| match letter {
            '\t' | '\n' | '\r' => letter,
            letter if letter.is_control() => '\u{fffd}',
            letter => letter,
        })
        .collect()
}

/// `<CreateBucketConfiguration>`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct CreateBucket {
    pub(crate) storage_class: Option<String>,
}

/// `<CompleteMultipartUpload>`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct CompleteUpload {
    pub(crate) part: Vec<CompletePart>,
}

/// One part that a client wants in its object.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct CompletePart {
    pub(crate) part_number: u32,
    #[serde(rename = "ETag")]
    pub(crate) etag: String,
}

/// `<Delete>`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Delete {
    pub(crate) quiet: bool,
    pub(crate) object: Vec<DeleteKey>,
}

/// One object to delete.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct DeleteKey {
    pub(crate) key: String,
}

/// `<Tagging>`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Tagging {
    pub(crate) tag_set: TagSet,
}

/// `<TagSet>`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct TagSet {
    pub(crate) tag: Vec<Tag>,
}

/// One tag of a bucket.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Tag {
    pub(crate) key: String,
    #[serde(default)]
    pub(crate) value: String,
}

/// Reads a request's document. An empty body is an empty document.
pub(crate) fn read<T: DeserializeOwned + Default>(body: &[u8]) -> Result<T, OssError> {
    if body.is_empty() {
        return Ok(T::default());
    }
    let text = std::str::from_utf8(body).map_err(|_| OssError::malformed_xml())?;
    quick_xml::de::from_str(text).map_err(|_| OssError::malformed_xml())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_read_with_and_without_a_name_space() {
        for space in ["", " xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\""] {
            let text = format!(
                "<?xml version='1.0'?><Delete{space}><Quiet>true</Quiet>\
                 <Object><Key>a &amp; b</Key></Object><Object><Key>c</Key></Object></Delete>"
            );
            let delete: Delete = read(text.as_bytes()).unwrap();
            let keys: Vec<_> = delete.object.iter().map(|object| object.key.as_str()).collect();
            assert!(delete.quiet);
            assert_eq!(keys, ["a & b", "c"]);
        }
        assert_eq!(read::<CreateBucket>(b"").unwrap().storage_class, None);
        assert_eq!(read::<Delete>(b"<Delete><Object>").unwrap_err().code, "MalformedXML");
    }
}
