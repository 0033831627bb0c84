//! Clients that write something into `:authority` that is no host: byte for byte what each sends
//! for two calls of `GetPluginInfo` over one connection, as recorded from the real client.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::rig::*;

/// The path itself: grpc-go 1.47 with a dialer, as kubelet had it before 1.26.
const KUBELET: &[u8] = include_bytes!("clients/kubelet-1.25.bin");
/// The path percent-encoded: grpc-go as kubelet's registration has it.
const REGISTRATION: &[u8] = include_bytes!("clients/grpc-go-encoded.bin");
/// The path percent-encoded, in a name of its own: the C core 58 (Python 1.85).
const C_CORE: &[u8] = include_bytes!("clients/grpc-c-core.bin");
/// The path itself, and streams 3 and 5: grpc-java 1.68 over netty's epoll domain socket.
const JAVA: &[u8] = include_bytes!("clients/grpc-java-netty.bin");

const RST_STREAM: u8 = 3;
const GOAWAY: u8 = 7;
const HEADERS: u8 = 1;
const END_STREAM: u8 = 1;

/// KUBELET's first call alone, with another literal for the authority.
fn first_call_with(authority: &[u8]) -> Vec<u8> {
    let find = |bytes: &[u8], what: &[u8]| {
        bytes.windows(what.len()).position(|window| window == what).unwrap()
    };
    let own: &[u8] = b"\x41\x8c\x61\x34\xd6\xc1\x07\x5b\x04\x41\x97\x41\xc9\xd7";
    let end = find(KUBELET, &[0, 0, 0x0f, HEADERS, 4, 0, 0, 0, 3]);
    let (frame, at) = (find(KUBELET, &[0, 0, 0x5e, HEADERS, 4]), find(KUBELET, own));
    let mut bytes = [&KUBELET[..at], authority, &KUBELET[at + own.len()..end]].concat();
    bytes[frame + 2] = u8::try_from(0x5e - own.len() + authority.len()).unwrap();
    bytes
}

/// Streams that were answered with trailers, and those that were reset.
async fn answered(rig: &Rig, requests: &[u8], calls: usize) -> (Vec<u32>, Vec<u32>) {
    drop(rig.channel().await);
    let mut socket = UnixStream::connect(&rig.socket).await.unwrap();
    socket.write_all(requests).await.unwrap();
    let (mut done, mut reset) = (Vec::new(), Vec::new());
    while done.len() + reset.len() < calls {
        let mut header = [0; 9];
        socket.read_exact(&mut header).await.unwrap();
        let length = u32::from_be_bytes([0, header[0], header[1], header[2]]);
        let stream = u32::from_be_bytes([header[5], header[6], header[7], header[8]]);
        let mut payload = vec![0; length as usize];
        socket.read_exact(&mut payload).await.unwrap();
        match (header[3], header[4]) {
            (HEADERS, flags) if flags & END_STREAM != 0 => done.push(stream),
            (RST_STREAM, _) => reset.push(stream),
            (GOAWAY, _) => panic!("the connection is ended: {payload:?}"),
            _ => {}
        }
    }
    done.sort_unstable();
    (done, reset)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_client_is_answered_whatever_it_writes_into_the_authority() {
    let rig = Rig::start().await;
    for (client, requests, streams) in [
        ("kubelet before 1.26", KUBELET.to_vec(), vec![1, 3]),
        ("kubelet's registration", REGISTRATION.to_vec(), vec![1, 3]),
        ("the C core", C_CORE.to_vec(), vec![1, 3]),
        ("Java", JAVA.to_vec(), vec![3, 5]),
        ("an empty one", first_call_with(b"\x41\x00"), vec![1]),
        ("the static table's empty one", first_call_with(b"\x81"), vec![1]),
        ("none", first_call_with(b""), vec![1]),
        ("a host", first_call_with(b"\x01\x09localhost"), vec![1]),
    ] {
        let wait = answered(&rig, &requests, streams.len());
        let (done, reset) =
            tokio::time::timeout(Duration::from_secs(60), wait).await.expect(client);
        assert_eq!((done, reset), (streams, vec![]), "{client}");
    }
}
