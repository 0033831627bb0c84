//! `cargo xtask …`: everything that is done to the source tree rather than by the product. One module per command; what several
//! commands share (running programs, the workspace's layout, system packages) stands in modules of its own.

mod build_backends;
mod command;
mod component;
mod guests;
mod packages;
mod wasm_target;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Builds, checks and tries out Wharf.
///
/// Every command says what it does before it does it, and leaves what it makes under `target/`.
#[derive(Parser)]
#[command(name = "cargo xtask", max_term_width = 110)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    BuildBackends(build_backends::Options),
}

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::BuildBackends(options) => build_backends::run(&options),
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
