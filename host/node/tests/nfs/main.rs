//! The node against a real NFS server, in a machine that has one: `wharf_testing::nfs_machine`.

use std::process::ExitCode;
use std::time::Duration;

use libtest_mimic::{Arguments, Trial};

mod bed;
mod machine;

/// Half a minute on idle processors.
const LIMIT: Duration = Duration::from_secs(240);

fn main() -> ExitCode {
    if let Some(ended) = wharf_testing::nfs_machine::enter("nfs", LIMIT) {
        return ended;
    }
    let tests = [machine::TESTS];
    let trials = tests.into_iter().flatten().map(|(name, test)| {
        Trial::test(*name, move || {
            test();
            Ok(())
        })
    });
    libtest_mimic::run(&Arguments::from_args(), trials.collect()).exit_code()
}
