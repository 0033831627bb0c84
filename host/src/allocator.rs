//! The allocator of the static binary. musl's own gives each kind of allocation back to the kernel
//! as soon as none of it is in use, so that a server maps and unmaps memory several times in every
//! call. This one is as small, starts with nothing to do, and keeps what it has for the next call.

use dlmalloc::GlobalDlmalloc;

#[global_allocator]
static ALLOCATOR: GlobalDlmalloc = GlobalDlmalloc;

/// Lets a forked process allocate, whatever the other threads of its parent were doing. The first
/// thing that a process does: before it has threads.
#[allow(unsafe_code, reason = "handlers of a fork are no matter of Rust's")]
pub fn prepare_for_forks() {
    // SAFETY: no other thread exists, and nobody else calls this.
    unsafe { dlmalloc::enable_alloc_after_fork() };
}
