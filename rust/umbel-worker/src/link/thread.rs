//! Threads that leave signals to the program's main thread.

use std::io;
use std::mem::MaybeUninit;
use std::thread::JoinHandle;

/// Starts a named thread with asynchronous signals blocked.
///
/// A signal taken by one of our threads would set Python's flag but not interrupt the call the main thread waits in.
/// Signals that report a fault of the running thread stay as they are.
pub(crate) fn spawn<T: Send + 'static>(
    name: &str,
    body: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    let before = block_signals();
    let thread = std::thread::Builder::new().name(name.to_owned()).spawn(body);
    if let Some(before) = before {
        // SAFETY: `before` was filled in by pthread_sigmask; this thread gets its own mask back.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &before, std::ptr::null_mut()) };
    }
    thread
}

/// Blocks signals in this thread, which the new one inherits; returns the former mask.
fn block_signals() -> Option<libc::sigset_t> {
    let mut set = MaybeUninit::<libc::sigset_t>::uninit();
    let mut before = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: both sets are valid for writes; sigfillset initialises `set` before it is read, and pthread_sigmask
    // initialises `before` when it returns 0.
    unsafe {
        libc::sigfillset(set.as_mut_ptr());
        for fault in
            [libc::SIGSEGV, libc::SIGBUS, libc::SIGFPE, libc::SIGILL, libc::SIGABRT, libc::SIGTRAP, libc::SIGPROF]
        {
            libc::sigdelset(set.as_mut_ptr(), fault);
        }
        let done = libc::pthread_sigmask(libc::SIG_BLOCK, set.as_ptr(), before.as_mut_ptr());
        (done == 0).then(|| before.assume_init())
    }
}
