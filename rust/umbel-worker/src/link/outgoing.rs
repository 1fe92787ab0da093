//! Writing to a stream socket without raising SIGPIPE.

use std::io::{self, IoSlice};
use std::os::fd::BorrowedFd;

use rustix::event::{PollFd, PollFlags};
use rustix::io::{Errno, FdFlags};
use rustix::net::{SendAncillaryBuffer, SendFlags};

/// Keeps programs that a task starts from holding the link open.
pub(crate) fn close_on_exec(socket: BorrowedFd<'_>) -> io::Result<()> {
    let flags = rustix::io::fcntl_getfd(socket)?;
    Ok(rustix::io::fcntl_setfd(socket, flags | FdFlags::CLOEXEC)?)
}

/// Writes what fits now of `first` and then `second`; 0 if nothing fits.
pub(crate) fn send_some(socket: BorrowedFd<'_>, first: &[u8], second: &[u8]) -> io::Result<usize> {
    let parts = [IoSlice::new(first), IoSlice::new(second)];
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    loop {
        return match rustix::net::sendmsg(socket, &parts, &mut SendAncillaryBuffer::default(), flags) {
            Ok(sent) => Ok(sent),
            Err(Errno::INTR) => continue,
            Err(Errno::AGAIN) => Ok(0),
            Err(error) => Err(error.into()),
        };
    }
}

/// Writes all of `first` and then `second`; waits while the other end does not read.
pub(crate) fn send_all(socket: BorrowedFd<'_>, mut first: &[u8], mut second: &[u8]) -> io::Result<()> {
    while !first.is_empty() || !second.is_empty() {
        let sent = send_some(socket, first, second)?;
        if sent == 0 {
            wait_writable(socket)?;
            continue;
        }
        let of_first = sent.min(first.len());
        first = &first[of_first..];
        second = &second[sent - of_first..];
    }
    Ok(())
}

fn wait_writable(socket: BorrowedFd<'_>) -> io::Result<()> {
    let mut fds = [PollFd::new(&socket, PollFlags::OUT)];
    match rustix::event::poll(&mut fds, None) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
