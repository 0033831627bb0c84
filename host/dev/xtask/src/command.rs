//! Running other programs: what is run is printed first, and a failure names the program and how it
//! ended. What may take long keeps to the deadline of what it is run for.

use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::{deadline, supervise};

/// The cargo that runs this command, so that a toolchain override carries over. What `cargo run`
/// tells us about our own package is taken out of the environment: build scripts that watch it
/// would run again each time cargo is started from here after it was started by hand.
pub fn cargo() -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    let ours = std::env::vars_os()
        .map(|(name, _)| name)
        .filter(|name| name.to_str().is_some_and(is_about_our_package));
    ours.for_each(|name| {
        cargo.env_remove(name);
    });
    cargo
}

fn is_about_our_package(variable: &str) -> bool {
    variable.starts_with("CARGO_PKG_")
        || matches!(
            variable,
            "CARGO_MANIFEST_DIR"
                | "CARGO_MANIFEST_PATH"
                | "CARGO_MANIFEST_LINKS"
                | "CARGO_PRIMARY_PACKAGE"
        )
}

/// Announces a piece of work that may take a while. Nobody has to be there to read it.
pub fn announce(what: &str) {
    let _ = writeln!(std::io::stdout(), "==> {what}");
}

/// From here on everything that this process and its children print goes to standard error. Returns
/// what was standard output, for the one thing that a script reads.
pub fn keep_standard_output() -> Result<File> {
    let stdout = std::io::stdout();
    let kept =
        File::from(stdout.as_fd().try_clone_to_owned().context("cannot share standard output")?);
    rustix::stdio::dup2_stdout(std::io::stderr())
        .context("cannot send standard output elsewhere")?;
    Ok(kept)
}

/// Runs to the end with this process's output. A failure of the program is an error.
pub fn run(command: &mut Command) -> Result<()> {
    println!("    $ {}", shown(command));
    let mut child = command
        .stdin(Stdio::null())
        .spawn()
        .with_context(|| format!("cannot start `{}`", program(command)))?;
    let status = supervise::wait(&mut child, deadline::left())
        .with_context(|| format!("`{}`", shown(command)))?;
    if !status.success() {
        bail!("`{}` failed ({status})", shown(command));
    }
    Ok(())
}

/// Runs quietly and returns what it printed. A failure carries the end of what it said on standard
/// error.
pub fn output(command: &mut Command) -> Result<String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start `{}`", program(command)))?;
    if !output.status.success() {
        bail!(
            "`{}` failed ({}): {}",
            shown(command),
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    String::from_utf8(output.stdout)
        .with_context(|| format!("`{}` printed something that is not text", program(command)))
}

/// Looks for a program as a shell would, and in the directories for administrators that a user's
/// `PATH` may lack.
pub fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let directories = std::env::split_paths(&path)
        .chain(["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from));
    directories.map(|directory| directory.join(name)).find(|candidate| is_program(candidate))
}

fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata()
        .is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

fn program(command: &Command) -> String {
    command.get_program().to_string_lossy().into_owned()
}

/// The command as one would type it, without its environment.
pub fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let name = program.file_name().unwrap_or(program.as_os_str()).to_string_lossy().into_owned();
    command.get_args().fold(name, |line, argument| line + " " + &argument.to_string_lossy())
}
