//! What is sent back, and how an object's bytes get there: read piece by piece by a thread that
//! waits for the client.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

use axum::body::{Body, Bytes};
use axum::http::{HeaderName, HeaderValue, Response, StatusCode};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::document::Document;
use super::error::OssError;
use super::request::{Face, Head};
use crate::faults::Fault;
use crate::wire::Cutter;

/// Bytes that are read at a time.
const PIECE: usize = 128 << 10;

/// Pieces that wait for a client: with the one in work 640 KiB for each answer under way.
const PIECES: usize = 4;

/// An answer.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) content: Content,
}

/// The body of an answer.
#[derive(Debug)]
pub(crate) enum Content {
    /// None.
    Empty,
    /// What `HEAD` answers: so many bytes, not sent.
    Unsent(u64),
    /// A document.
    Text(String),
    /// A part of a file.
    File { file: File, from: u64, length: u64 },
}

impl Reply {
    pub(crate) fn empty(status: u16) -> Self {
        Self { status, headers: Vec::new(), content: Content::Empty }
    }

    pub(crate) fn document(document: Document) -> Self {
        Self::empty(200)
            .with("content-type", "application/xml")
            .containing(Content::Text(document.text()))
    }

    /// A refusal. To `HEAD` the document goes into a header, as there is no body.
    pub(crate) fn error(error: &OssError, request_id: &str, head: &Head) -> Self {
        let document = error.document(request_id, head.host());
        let mut reply = Self::empty(error.status);
        for (name, value) in &error.headers {
            reply = reply.with(*name, value.as_str());
        }
        if error.status == 304 {
            reply
        } else if head.method == "HEAD" {
            reply.with("x-oss-err", STANDARD.encode(document))
        } else {
            reply.with("content-type", "application/xml").containing(Content::Text(document))
        }
    }

    #[must_use]
    pub(crate) fn with(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    #[must_use]
    pub(crate) fn containing(mut self, content: Content) -> Self {
        self.content = content;
        self
    }

    /// With the headers that every answer has.
    #[must_use]
    pub(crate) fn signed_off(self, request_id: &str, face: Face) -> Self {
        let reply = self.with("server", "AliyunOSS").with("x-oss-request-id", request_id);
        match face {
            Face::Native => reply,
            Face::S3 => reply.with("x-amz-request-id", request_id),
        }
    }

    fn length(&self) -> u64 {
        match &self.content {
            Content::Empty | Content::Unsent(_) => 0,
            Content::Text(text) => text.len() as u64,
            Content::File { length, .. } => *length,
        }
    }

    /// Sends it, or what a fault makes of it.
    pub(crate) fn send(mut self, fault: Option<&Fault>, cutter: &Cutter) -> Response<Body> {
        match fault {
            Some(Fault::DropAnswer | Fault::DropRequest) => cutter.cut(),
            Some(Fault::TruncateAnswer) => match usize::try_from(self.length() / 2) {
                Ok(half) if half > 0 => cutter.cut_after(half),
                _ => cutter.cut(),
            },
            Some(Fault::GarbageAnswer) => {
                self.status = 200;
                self.content = Content::Text("<html>\u{0}this is not the answer".to_owned());
            }
            Some(
                Fault::Fail { .. }
                | Fault::Throttle
                | Fault::BindToken
                | Fault::Delay { .. }
                | Fault::Hold(_),
            )
            | None => {}
        }
        let length = match &self.content {
            Content::Unsent(length) | Content::File { length, .. } => Some(*length),
            Content::Empty | Content::Text(_) => None,
        };
        let body = match self.content {
            Content::Empty | Content::Unsent(_) => Body::empty(),
            Content::Text(text) => Body::from(text),
            Content::File { file, from, length } => stream(file, from, length),
        };
        let mut response = Response::new(body);
        *response.status_mut() =
            StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let length = length.map(|length| ("content-length".to_owned(), length.to_string()));
        for (name, value) in self.headers.into_iter().chain(length) {
            let name = HeaderName::try_from(name);
            if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(value.as_bytes())) {
                response.headers_mut().insert(name, value);
            }
        }
        response
    }
}

fn stream(file: File, from: u64, length: u64) -> Body {
    let (pieces, taken) = mpsc::channel(PIECES);
    tokio::task::spawn_blocking(move || {
        if let Err(error) = read(file, from, length, &pieces) {
            // The client sees the connection close before the announced end.
            let _ = pieces.blocking_send(Err(error));
        }
    });
    Body::from_stream(ReceiverStream::new(taken))
}

type Pieces = mpsc::Sender<std::io::Result<Bytes>>;

fn read(mut file: File, from: u64, length: u64, pieces: &Pieces) -> std::io::Result<()> {
    file.seek(SeekFrom::Start(from))?;
    let mut left = length;
    while left > 0 {
        let size = usize::try_from(left).unwrap_or(PIECE).min(PIECE);
        let mut piece = vec![0; size];
        file.read_exact(&mut piece)?;
        left -= size as u64;
        if pieces.blocking_send(Ok(piece.into())).is_err() {
            // Nobody reads any more.
            return Ok(());
        }
    }
    Ok(())
}
