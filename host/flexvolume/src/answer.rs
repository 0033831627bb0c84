//! One execution: from the argument list to what is printed.

use std::ffi::{OsStr, OsString};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use wharf_core::Error;

use crate::call_outs::CallOuts;
use crate::driver_file::DriverFile;
use crate::installed_driver::{self, InstalledDriver};
use crate::node_names::LocalHost;
use crate::reply::Reply;
use crate::request::{Request, Subject};
use crate::services::Open;
use crate::verb::Verb;

/// Answers people; the first words are those of the driver that Wharf takes over from.
const HELP: &str = "In K8s Mode: kubelet executes this file as a FlexVolume driver; every \
                    call-out answers one JSON object:\n    init\n    getvolumename <options>\n    \
                    attach <options> <node>\n    waitforattach <device> <options>\n    isattached \
                    <options> <node>\n    mountdevice <directory> <device> <options>\n    mount \
                    <directory> <options>\n    unmount <directory>\n    unmountdevice \
                    <directory>\n    detach <volume> <node>\n    expandvolume <options> \
                    <directory> <bytes> <bytes before>\n    expandfs <options> <device> \
                    <directory> <bytes> <bytes before>\n    version\n\n`wharf flexvolume \
                    install` put it here, and `.wharf.json` beside it says what it is. `wharf \
                    --help` shows everything else.\n";

/// What a call-out prints: one JSON object and a newline, whatever the arguments are. Never panics,
/// and prints nothing itself.
pub fn answer(argv: &[OsString], local_host: &LocalHost, open: &dyn Open) -> Vec<u8> {
    answer_with(argv, local_host, open, |_| {})
}

/// [`answer`], with something to do once the driver is known and before the call-out begins; not
/// for `init`, which must be quick.
pub(crate) fn answer_with(
    argv: &[OsString],
    local_host: &LocalHost,
    open: &dyn Open,
    prepare: fn(&DriverFile),
) -> Vec<u8> {
    match argv.get(1).and_then(|word| word.to_str()) {
        None if argv.len() < 2 => return HELP.as_bytes().to_vec(),
        Some("help" | "--help" | "-h") => return HELP.as_bytes().to_vec(),
        // Without a newline: the monitor of the driver before compares it byte by byte.
        Some("version" | "--version" | "-v") => {
            return env!("CARGO_PKG_VERSION").as_bytes().to_vec();
        }
        _ => {}
    }
    let reply = catch_unwind(AssertUnwindSafe(|| reply(argv, local_host, open, prepare)));
    // Where it was, only the process's own hook knows.
    reply.unwrap_or_else(|_| Reply::failure(&defect("a place unknown"))).to_line()
}

/// What is said of a panic: its place in the source, and not its message, which may hold anything.
pub(crate) fn defect(location: &str) -> Error {
    Error::internal(format!("wharf stopped on a defect of its own at {location}"))
        .with_hint("please report it")
}

fn reply(
    argv: &[OsString],
    local_host: &LocalHost,
    open: &dyn Open,
    prepare: fn(&DriverFile),
) -> Reply {
    let word = argv.get(1).map(OsString::as_os_str).unwrap_or_default();
    let Some(verb) = word.to_str().and_then(Verb::of) else {
        return Reply::not_supported(Some(unknown(word)));
    };
    let driver = match installed(argv) {
        Ok(driver) => driver,
        Err(error) => return Reply::failure(&error),
    };
    if verb == Verb::Init {
        return Reply { capabilities: Some(driver.capabilities), ..Reply::success() };
    }
    if verb.needs_attachable() && !driver.attachable {
        return without_attaching(verb);
    }
    prepare(&driver);
    let begun = Instant::now();
    let parsed = Request::parse(verb, argv.get(2..).unwrap_or_default(), &driver);
    let subject = parsed.as_ref().map(Request::subject).unwrap_or_default();
    let outcome = parsed.and_then(|request| {
        CallOuts::new(&driver, local_host, open, verb.bound()).perform(request)
    });
    log(&driver, verb, &subject, begun, outcome.as_ref().err());
    outcome.unwrap_or_else(|error| Reply::failure(&error))
}

/// What a kubelet hears that still knows the driver as one that attaches, as the driver before
/// said: it then does its own part, which is nothing where there is no device. Only `mountdevice`
/// is not left to it, for with a device, whatever that is, its part is to format and to mount.
fn without_attaching(verb: Verb) -> Reply {
    match verb {
        Verb::MountDevice => Reply::success(),
        _ => Reply::not_supported(None),
    }
}

fn log(driver: &DriverFile, verb: Verb, on: &Subject, begun: Instant, error: Option<&Error>) {
    let (driver, call_out) = (&driver.driver, verb.word());
    let milliseconds = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    let known = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    let (volume, pod) = (known(&on.volume), known(&on.pod));
    match error {
        Some(error) => {
            tracing::warn!(%driver, call_out, volume, pod, milliseconds, %error, "failed");
        }
        // Kubelet asks it of every volume again and again, and it does nothing.
        None if verb == Verb::GetVolumeName => {
            tracing::debug!(%driver, call_out, volume, pod, milliseconds, "done");
        }
        None => tracing::info!(%driver, call_out, volume, pod, milliseconds, "done"),
    }
}

fn installed(argv: &[OsString]) -> Result<DriverFile, Error> {
    let argv0 = argv.first().map(OsString::as_os_str).unwrap_or_default();
    let installed =
        InstalledDriver::find(argv0, installed_driver::own_executable).ok_or_else(|| {
            Error::precondition("this file is not a FlexVolume driver")
                .with_hint("`wharf flexvolume install` makes one, at <vendor>~<driver>/<driver>")
        })?;
    DriverFile::read(&installed.directory, &installed.driver)
}

/// Only a word of letters is repeated: anything else may be an option map in the wrong place.
fn unknown(word: &OsStr) -> String {
    match word.to_str().filter(|word| {
        (1..=32).contains(&word.len()) && word.bytes().all(|byte| byte.is_ascii_alphabetic())
    }) {
        Some(word) => format!("there is no call-out `{word}`"),
        None => "there is no such call-out".to_owned(),
    }
}
