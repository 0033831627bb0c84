//! A cloud on loopback with bad manners: one for each path.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use wharf_runtime::{Endpoint, HttpEgress};

/// The bytes of `/big`.
pub const BIG: usize = 5 << 20;

pub struct Server {
    pub address: SocketAddr,
    /// Request heads, in the order of arrival.
    pub heads: Arc<Mutex<Vec<String>>>,
}

impl Server {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, heads) =
            (listener.local_addr().unwrap(), Arc::<Mutex<Vec<String>>>::default());
        let seen = Arc::clone(&heads);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let seen = Arc::clone(&seen);
                std::thread::spawn(move || serve(stream, &seen));
            }
        });
        Self { address, heads }
    }

    pub fn base(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn egress(&self) -> HttpEgress {
        HttpEgress::new([Endpoint::new("cloud", &self.base()).unwrap().allow_private()], None)
    }

    pub fn hits(&self) -> usize {
        self.heads.lock().unwrap().len()
    }
}

fn serve(mut stream: TcpStream, seen: &Mutex<Vec<String>>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).unwrap_or(0) == 0 {
            return;
        }
    }
    let path = head
        .split_whitespace()
        .nth(1)
        .unwrap_or_default()
        .split('?')
        .next()
        .unwrap_or_default()
        .to_owned();
    seen.lock().unwrap().push(head);
    let answer: Vec<u8> = match path.as_str() {
        "/redirect" => b"HTTP/1.1 302 Found\r\nlocation: /secret\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".to_vec(),
        "/cookie" => b"HTTP/1.1 200 OK\r\nset-cookie: a=b\r\nx-request-id: 7\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".to_vec(),
        "/refuse" => b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".to_vec(),
        "/big" => {
            let mut big = format!("HTTP/1.1 200 OK\r\ncontent-length: {BIG}\r\nconnection: close\r\n\r\n").into_bytes();
            big.resize(big.len() + BIG, b'x');
            big
        }
        "/truncated" => b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\nconnection: close\r\n\r\nhalf".to_vec(),
        "/throttle" => b"HTTP/1.1 429 Too Many Requests\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".to_vec(),
        "/throttling-code" => {
            let body = r#"{"Code":"Throttling.User","Message":"flow control"}"#;
            let head = "HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length:";
            format!("{head} {}\r\n\r\n{body}", body.len()).into_bytes()
        }
        "/drop" => Vec::new(),
        "/slow" => {
            // Until the client gives up.
            let _ = reader.read(&mut [0]);
            return;
        }
        _ => b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok".to_vec(),
    };
    let _ = stream.write_all(&answer);
}
