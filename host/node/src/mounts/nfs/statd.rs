//! Whether `rpc.statd` runs on this node, asked as `mount.nfs` asks: by the port mapper of this
//! machine, over UDP. Nothing of another machine is asked.

use std::net::{Ipv4Addr, UdpSocket};
use std::time::Duration;

/// Whoever runs on this machine answers in less, or never.
const BOUND: Duration = Duration::from_secs(1);
/// Any number: a socket is used for one question.
const TRANSACTION: u32 = 0x7768_7266;

/// RFC 1833.
const PORT_MAPPER: Procedure = Procedure { program: 100_000, version: 2, procedure: 3 };
const PORT_MAPPER_PORT: u16 = 111;
/// The status monitor, and nothing that it is to do.
const STATUS: Procedure = Procedure { program: 100_024, version: 1, procedure: 0 };
const UDP: u32 = 17;

struct Procedure {
    program: u32,
    version: u32,
    procedure: u32,
}

/// Whether it answers.
pub(super) fn is_running() -> bool {
    let Procedure { program, version, .. } = STATUS;
    let answered = ask(PORT_MAPPER_PORT, &PORT_MAPPER, &[program, version, UDP, 0]);
    let port = answered.and_then(|words| u16::try_from(*words.first()?).ok());
    // 0: nobody has registered.
    port.is_some_and(|port| port != 0 && ask(port, &STATUS, &[]).is_some())
}

/// What a program of this machine answers (RFC 5531).
fn ask(port: u16, procedure: &Procedure, arguments: &[u32]) -> Option<Vec<u32>> {
    let Procedure { program, version, procedure } = *procedure;
    // A call, of version 2 of the protocol; then who asks and how that is proved: nobody, twice.
    let head = [TRANSACTION, 0, 2, program, version, procedure, 0, 0, 0, 0];
    let call: Vec<u8> = head.iter().chain(arguments).flat_map(|word| word.to_be_bytes()).collect();
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).ok()?;
    socket.set_read_timeout(Some(BOUND)).ok()?;
    socket.connect((Ipv4Addr::LOCALHOST, port)).ok()?;
    socket.send(&call).ok()?;
    let mut reply = [0; 256];
    let length = socket.recv(&mut reply).ok()?;
    let words = reply.get(..length)?.chunks_exact(4);
    let words: Vec<u32> =
        words.filter_map(|word| Some(u32::from_be_bytes(word.try_into().ok()?))).collect();
    match words.as_slice() {
        // A reply, accepted, with an empty proof, and successful.
        [TRANSACTION, 1, 0, _, 0, 0, result @ ..] => Some(result.to_vec()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A program that answers one call with these words, and the words of that call.
    fn answering(words: &'static [u32]) -> (u16, std::thread::JoinHandle<Vec<u8>>) {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = socket.local_addr().unwrap().port();
        let heard = std::thread::spawn(move || {
            let mut call = [0; 256];
            let (length, from) = socket.recv_from(&mut call).unwrap();
            let reply: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
            socket.send_to(&reply, from).unwrap();
            call[..length].to_vec()
        });
        (port, heard)
    }

    #[test]
    fn a_call_is_made_as_the_protocol_has_it_and_only_success_counts() {
        for (reply, expected) in [
            (&[TRANSACTION, 1, 0, 0, 0, 0, 662][..], Some(vec![662])),
            (&[TRANSACTION, 1, 0, 0, 0, 0], Some(vec![])),
            (&[TRANSACTION, 1, 0, 0, 0, 1], None),
            (&[TRANSACTION, 1, 1, 0, 0, 0], None),
            (&[TRANSACTION + 1, 1, 0, 0, 0, 0], None),
            (&[], None),
        ] {
            let (port, heard) = answering(reply);
            assert_eq!(ask(port, &PORT_MAPPER, &[100_024, 1, UDP, 0]), expected, "{reply:?}");
            let call = heard.join().unwrap();
            assert_eq!(call.len(), 14 * 4);
            assert_eq!(call[12..24], [0, 1, 0x86, 0xa0, 0, 0, 0, 2, 0, 0, 0, 3]);
        }
    }

    #[test]
    fn nobody_there_is_no_answer() {
        let port = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        assert_eq!(ask(port, &STATUS, &[]), None);
    }
}
