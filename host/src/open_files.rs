//! How many files a process that serves may have open.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Lets this process have as many as it may. Each mount holds descriptors, and so does each call;
/// the usual soft limit, 1024, is for programs that `select`, and nothing here does.
pub fn raise() {
    let most = getrlimit(Resource::Nofile).maximum;
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: most, maximum: most }) {
        tracing::warn!(%error, "the limit of open files stays as it is; connections may have to wait");
    }
}
