//! The binary: FlexVolume driver by the name that it is executed under, command line otherwise.
//! Puts the rooms together and decides nothing.

#[cfg(target_env = "musl")]
mod allocator;
mod assembly;
mod backend_command;
mod cli;
mod component_log;
mod config;
mod config_command;
mod csi_command;
mod doctor;
mod drivers;
mod events;
mod flexvolume_command;
mod health;
mod http;
mod log;
mod may_mount;
mod metrics;
mod migrate_command;
mod mounts_command;
mod observed;
mod observer_pair;
mod open_files;
mod output;
mod provide;
mod reload;
mod renewal;
mod secrets;
mod status;
mod status_command;
mod traces;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
use wharf_core::manifest::World;

use crate::cli::{Cli, Command};
use crate::output::Failure;

fn main() -> ExitCode {
    #[cfg(target_env = "musl")]
    allocator::prepare_for_forks();
    forbid_core_dumps();
    let arguments: Vec<_> = std::env::args_os().collect();
    // Before anything else: a call-out pays for nothing that it does not use.
    if arguments.first().is_some_and(|name| wharf_flexvolume::is_call_out(name)) {
        return wharf_flexvolume::serve(&arguments, &flexvolume_command::OpenFromConfig);
    }
    if arguments.get(1).is_some_and(|word| word == wharf_node::CHILD_COMMAND) {
        return wharf_node::answer_parent();
    }
    if arguments.get(1).is_some_and(|word| word == wharf_modules::COMPILE_COMMAND) {
        return wharf_modules::compile_for_parent(&arguments);
    }
    match run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let code = failure.code();
            output::complain(failure);
            code.into()
        }
    }
}

/// Memory holds keys now and then, and a dump would keep them. A limit of one byte stops dumps to
/// files as a limit of zero does, and those that the kernel pipes to a program besides (core(5)).
/// What is executed from here has the limit too. A system that refuses it works all the same.
fn forbid_core_dumps() {
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(1), maximum: Some(1) });
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
}

/// Messages for people; each says what failed and what to do.
fn run(cli: Cli) -> Result<(), Failure> {
    match cli.command {
        Command::Csi(command) => Ok(csi_command::run(&cli.config, &command)?),
        Command::Backend(command) => backend_command::run(&cli.config, World::Backend, command),
        Command::Authenticator(command) => {
            backend_command::run(&cli.config, World::CloudAuth, command)
        }
        Command::Provide { directory, output } => provide::run(&cli.config, &directory, output),
        Command::Flexvolume(command) => flexvolume_command::run(&cli.config, &command),
        Command::Config(command) => config_command::run(&cli.config, &command),
        Command::Doctor(command) => doctor::run(&cli.config, &command),
        Command::Status(command) => status_command::run(&cli.config, &command),
        Command::Migrate(command) => migrate_command::run(&cli.config, &command),
        Command::Mounts(command) => mounts_command::run(&cli.config, command),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "wharf", &mut script);
            output::write(&script)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_memory_is_written_to_disk() {
        forbid_core_dumps();
        assert_eq!(rustix::process::getrlimit(Resource::Core).current, Some(1));
        assert_eq!(rustix::process::dumpable_behavior().unwrap(), DumpableBehavior::NotDumpable);
    }
}
