//! `ProcessState`: what a task may leave changed in its process, put back in three system calls.

use std::mem::MaybeUninit;

use pyo3::prelude::*;

/// Signal mask and alarm of the calling thread and process as they were.
#[pyclass(frozen, module = "umbel._native")]
pub(crate) struct ProcessState {
    mask: libc::sigset_t,
    /// A timer that ran already is the application's, of a profiler for example.
    stops_alarm: bool,
}

#[pymethods]
impl ProcessState {
    #[new]
    fn new() -> Self {
        let mut mask = MaybeUninit::<libc::sigset_t>::zeroed();
        let mut timer = MaybeUninit::<libc::itimerval>::zeroed();
        // SAFETY: both are valid for writes, and all zeros are values of their types should a call fail.
        let (mask, timer) = unsafe {
            libc::pthread_sigmask(libc::SIG_BLOCK, std::ptr::null(), mask.as_mut_ptr());
            libc::getitimer(libc::ITIMER_REAL, timer.as_mut_ptr());
            (mask.assume_init(), timer.assume_init())
        };
        let stops_alarm = timer.it_value.tv_sec == 0 && timer.it_value.tv_usec == 0;
        Self { mask, stops_alarm }
    }

    /// Puts mask and alarm back. True if descriptors 0 to 2 are open.
    fn restore(&self) -> bool {
        let mut standard = [0, 1, 2].map(|fd| libc::pollfd { fd, events: 0, revents: 0 });
        // SAFETY: plain numbers, and pointers to values that live through the calls.
        unsafe {
            if self.stops_alarm {
                libc::alarm(0);
            }
            libc::pthread_sigmask(libc::SIG_SETMASK, &self.mask, std::ptr::null_mut());
            libc::poll(standard.as_mut_ptr(), 3, 0);
        }
        standard.iter().all(|descriptor| descriptor.revents & libc::POLLNVAL == 0)
    }
}
