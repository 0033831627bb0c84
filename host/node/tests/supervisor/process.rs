//! The supervisor's process: this test program, started again by a bed. Anybody else who runs the
//! test sees that it serves nothing without one.

use std::path::PathBuf;

use nix::libc;
use wharf_node::supervisor::{SupervisorOptions, serve};

use crate::bed::BED;

/// Set for a supervisor that is to find a kernel before Linux 6.5.
pub const OLDER_KERNEL: &str = "WHARF_TEST_OLDER_KERNEL";

/// Such a kernel does not know `MOVE_MOUNT_BENEATH` and refuses move_mount(2) with it. See
/// seccomp(2) and `linux/filter.h`.
fn refuse_to_lay_beneath() {
    const BENEATH: u32 = 0x200;
    /// Of the number of the system call, and of the lower half of its fifth argument.
    const NUMBER: u32 = 0;
    const FLAGS: u32 = 16 + 4 * 8;
    let load = |at| statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, at);
    let jump = |test, value, otherwise| statement(libc::BPF_JMP | test, 0, otherwise, value);
    let end = |answer| statement(libc::BPF_RET, 0, 0, answer);
    let mut filter = [
        load(NUMBER),
        jump(libc::BPF_JEQ, u32::try_from(libc::SYS_move_mount).unwrap(), 3),
        load(FLAGS),
        jump(libc::BPF_JSET, BENEATH, 1),
        end(libc::SECCOMP_RET_ERRNO | libc::EINVAL.cast_unsigned()),
        end(libc::SECCOMP_RET_ALLOW),
    ];
    let program =
        libc::sock_fprog { len: u16::try_from(filter.len()).unwrap(), filter: filter.as_mut_ptr() };
    // SAFETY: the program is there for as long as the calls last.
    let is_set = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
            && libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) == 0
    };
    assert!(is_set, "{}", std::io::Error::last_os_error());
}

fn statement(code: u32, jt: u8, jf: u8, k: u32) -> libc::sock_filter {
    libc::sock_filter { code: u16::try_from(code).unwrap(), jt, jf, k }
}

#[test]
fn this_test_is_the_supervisor_of_a_bed() {
    let Some(bed) = std::env::var_os(BED).map(PathBuf::from) else { return };
    if std::env::var_os(OLDER_KERNEL).is_some() {
        refuse_to_lay_beneath();
    }
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).init();
    let options = SupervisorOptions {
        run_directory: bed.join("run"),
        state_directory: bed.join("state"),
        ..SupervisorOptions::default()
    };
    let ended = serve(&options);
    eprintln!("{}", ended.as_ref().unwrap_err());
    ended.unwrap();
}

/// The smallest file system there is: a root with one file. For a helper that is handed an open
/// `/dev/fuse`, which Debian has no small program for.
pub mod file_system {
    use std::fs::File;
    use std::io::{Read, Write};
    use std::os::fd::FromRawFd;

    /// The name of the test that serves it, on the descriptor that its argument names.
    pub const TEST: &str = "process::file_system::this_test_serves_one_file_on_a_given_device";
    /// What is in its file: this, or its key.
    pub const CONTENT: &str = "hello";
    /// What the argument ends with that names its key.
    pub const KEY: &str = "/passwd";
    /// What its argument begins with.
    const DESCRIPTOR: &str = "/dev/fd/";

    #[test]
    fn this_test_serves_one_file_on_a_given_device() {
        let number = std::env::args().find_map(|argument| {
            argument.strip_prefix(DESCRIPTOR).and_then(|number| number.parse().ok())
        });
        let Some(number) = number else { return };
        let key = std::env::args().find(|argument| argument.ends_with(KEY));
        let content = key.map_or(CONTENT.into(), |key| std::fs::read_to_string(key).unwrap());
        // SAFETY: whoever started this program opened the descriptor for it.
        serve(unsafe { File::from_raw_fd(number) }, content.as_bytes());
    }

    /// Until it is unmounted. The messages are those of `linux/fuse.h`.
    fn serve(mut device: File, content: &[u8]) {
        let attributes = |node| attributes(node, content.len());
        let mut buffer = vec![0_u8; 1 << 20];
        while let Ok(count @ 40..) = device.read(&mut buffer) {
            let request = &buffer[..count];
            let word = |at: usize| u32::from_ne_bytes(request[at..at + 4].try_into().unwrap());
            let long = |at: usize| u64::from_ne_bytes(request[at..at + 8].try_into().unwrap());
            let (operation, unique, node) = (word(4), long(8), long(16));
            let answer = match operation {
                2 | 42 => continue,
                26 => Ok(words(&[7, 31, 0, 0, 0, 1 << 16, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0])),
                1 if request[40..].starts_with(b"file\0") => {
                    Ok([words(&[2, 0, 0, 0, 1, 0, 1, 0, 0, 0]), attributes(2)].concat())
                }
                1 => Err(2),
                3 => Ok([words(&[1, 0, 0, 0]), attributes(node)].concat()),
                14 | 27 => Ok(words(&[0; 4])),
                15 if long(48) == 0 => Ok(content.to_vec()),
                15 | 18 | 25 | 29 => Ok(Vec::new()),
                17 => {
                    Ok(words(&[0, 0, 0, 0, 0, 0, 1, 0, 1, 0, 4096, 255, 4096, 0, 0, 0, 0, 0, 0, 0]))
                }
                _ => Err(38),
            };
            let (error, body) = match answer {
                Ok(body) => (0_i32, body),
                Err(error) => (-error, Vec::new()),
            };
            let length = u32::try_from(16 + body.len()).unwrap();
            let head = [&length.to_ne_bytes()[..], &error.to_ne_bytes(), &unique.to_ne_bytes()];
            if device.write_all(&[head.concat(), body].concat()).is_err() {
                return;
            }
        }
    }

    fn words(words: &[u32]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_ne_bytes()).collect()
    }

    fn attributes(node: u64, length: usize) -> Vec<u8> {
        let is_root = node == 1;
        let size = if is_root { 0 } else { u32::try_from(length).unwrap() };
        let mode = if is_root { 0o40755 } else { 0o100_644 };
        let node = u32::try_from(node).unwrap();
        let times = [0; 9];
        let head = [node, 0, size, 0, 0, 0];
        words(&[&head[..], &times, &[mode, 1, 0, 0, 0, 4096, 0]].concat())
    }
}
