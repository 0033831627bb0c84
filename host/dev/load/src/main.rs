//! For `cargo xtask bench`: calls a CSI server from many callers at once and says how long calls
//! took, and is the least that such a server in Rust can be.
//!
//! A program of its own because both are measured as release builds: callers that are slow
//! themselves would make every server look alike.

mod callers;
mod floor;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use clap::Parser;

/// Calls a CSI server, or is one.
#[derive(Parser)]
enum Command {
    /// Answers `NodeGetCapabilities` on this socket until it is ended, and nothing else.
    Serve {
        /// The socket.
        socket: PathBuf,
    },
    /// Calls `NodeGetCapabilities` again and again and prints what was measured as JSON.
    Call {
        /// The socket.
        socket: PathBuf,
        /// How many callers, each with a connection of its own.
        #[arg(long, default_value_t = 1)]
        callers: usize,
        /// For how long.
        #[arg(long, default_value_t = 3.0)]
        seconds: f64,
    },
}

fn main() -> Result<()> {
    let command = Command::parse();
    match command {
        Command::Serve { socket } => {
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
            runtime.block_on(floor::serve(&socket))
        }
        Command::Call { socket, callers, seconds } => {
            // One thread makes the calls in half the processor time, of which the server has more
            // then, and every p50 contains less of ours.
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let measured = runtime.block_on(callers::measure(
                &socket,
                callers,
                Duration::from_secs_f64(seconds),
            ))?;
            println!("{}", measured.json());
            Ok(())
        }
    }
}
