//! `cargo xtask …`: everything that is done to the source tree rather than by the product. One
//! module per command; what several commands share (running programs, the workspace's layout,
//! system packages) stands in modules of its own.

mod author;
mod bench;
mod binary;
mod build_backends;
mod chart;
mod command;
mod component;
mod deadline;
mod demo;
mod dist;
mod go;
mod guests;
mod image;
mod instance;
mod packages;
mod parts;
mod programs;
mod region;
mod sanity;
mod signals;
mod supervise;
mod tally;
mod test;
mod tidy;
mod wasm_target;
mod workspace;

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

/// Builds, checks and tries out Wharf.
///
/// Every command says what it does before it does it, and leaves what it makes under `target/`.
#[derive(Parser)]
#[command(
    name = "cargo xtask",
    arg_required_else_help = true,
    after_help = "Examples:
  cargo xtask demo                        the main job, from kubelet's call to a mounted file \
                  system
  cargo xtask build-backends              components in target/wharf, ready for `wharf backend \
                  install`
  cargo xtask test --only csi-sanity      one part of the tests
  cargo xtask region --dir /tmp/region    a cloud of your own, with a wharf.toml for every node

Exit codes: 0 done, 1 failed (the last lines say what), 2 the command line is wrong."
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    BuildBackends(build_backends::Options),
    /// Tests what the product does: guests, unit tests, node and end-to-end tests, csi-sanity. Runs
    /// to the end and names every failure there.
    Test(test::Options),
    /// Everything that `test` runs, and what concerns the source: formatting, lints, documentation,
    /// layout. Before you push.
    Ci(test::Options),
    Sanity(sanity::Options),
    Region(Box<region::Options>),
    Demo(demo::Options),
    Bench(bench::Options),
    Dist(dist::Options),
    Image(image::Options),
}

fn main() -> ExitCode {
    let done = match parse() {
        Command::BuildBackends(options) => build_backends::run(&options),
        Command::Test(options) => test::run(&options),
        Command::Ci(options) => test::run_ci(&options),
        Command::Sanity(options) => sanity::run(&options),
        Command::Region(options) => region::run(&options),
        Command::Demo(options) => demo::run(&options),
        Command::Bench(options) => bench::run(&options),
        Command::Dist(options) => dist::run(&options),
        Command::Image(options) => image::run(&options),
    };
    done.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}

/// The help of `test` and `ci` shows the table of parts.
fn parse() -> Command {
    let command = Arguments::command();
    let command = ["test", "ci"].into_iter().fold(command, |command, name| {
        command.mut_subcommand(name, |sub| sub.after_help(test::parts_help()))
    });
    Arguments::from_arg_matches(&command.get_matches()).unwrap_or_else(|error| error.exit()).command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }
}
