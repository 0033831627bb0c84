//! A small HTTP server on loopback for tests of what the host sends: it answers every request as a
//! test says and passes it on. What it leaves out: everything but bodies with a `content-length`.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

/// One request.
#[derive(Debug)]
pub struct HttpRequest {
    /// Its first line, without the line break.
    pub line: String,
    /// Everything before the body, as it was sent.
    pub head: String,
    /// The body.
    pub body: Vec<u8>,
}

/// The status and the body of an answer to the request with this first line.
pub type Answer = fn(&str) -> (u16, String);

/// The server. Its thread ends with the test's process.
#[derive(Debug)]
pub struct FakeHttpServer {
    /// `http://127.0.0.1:PORT`.
    pub address: String,
    requests: Receiver<HttpRequest>,
}

impl FakeHttpServer {
    /// # Errors
    /// When no port of loopback can be had.
    pub fn start(answer: Answer) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = format!("http://{}", listener.local_addr()?);
        let (sender, requests) = channel();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let sender = sender.clone();
                std::thread::spawn(move || serve(stream, answer, &sender));
            }
        });
        Ok(Self { address, requests })
    }

    /// The next request, in the order of arrival.
    ///
    /// # Errors
    /// When none comes within this time.
    pub fn next(&self, within: Duration) -> Result<HttpRequest, RecvTimeoutError> {
        self.requests.recv_timeout(within)
    }
}

/// One connection, request after request, until it ends or something is not HTTP.
fn serve(mut stream: TcpStream, answer: Answer, sender: &Sender<HttpRequest>) {
    let (mut bytes, mut chunk) = (Vec::new(), [0; 16 << 10]);
    while let Ok(read @ 1..) = stream.read(&mut chunk) {
        bytes.extend(chunk.iter().take(read));
        let Some(request) = take_request(&mut bytes) else { continue };
        let (status, body) = answer(&request.line);
        let _ = sender.send(request);
        let length = body.len();
        let answer = format!("HTTP/1.1 {status} X\r\ncontent-length: {length}\r\n\r\n{body}");
        let _ = stream.write_all(answer.as_bytes());
    }
}

/// The request at the beginning of what was read, once it is whole.
fn take_request(bytes: &mut Vec<u8>) -> Option<HttpRequest> {
    let end = bytes.windows(4).position(|at| at == b"\r\n\r\n")? + 4;
    let head = String::from_utf8_lossy(bytes.get(..end)?).into_owned();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let length: usize = length.unwrap_or("0").parse().ok()?;
    let body = bytes.get(end..end + length)?.to_vec();
    bytes.drain(..end + length);
    let line = head.lines().next().unwrap_or_default().to_owned();
    Some(HttpRequest { line, head, body })
}
