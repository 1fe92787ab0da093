//! How a process ended, in words.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use rustix::process::{WaitId, WaitIdOptions};

/// `PIDFD_GET_INFO` of Linux 6.13, in the size its first version had.
const GET_INFO: libc::Ioctl = ioctl_number(0xff, 11, size_of::<Info>());

/// Asks for, and answers with, the exit code (Linux 6.15).
const INFO_EXIT: u64 = 1 << 3;

/// `struct pidfd_info`, first version: what is known of a process, by its descriptor.
#[repr(C)]
#[derive(Default)]
struct Info {
    mask: u64,
    cgroup: u64,
    ids: [u32; 11],
    exit_code: i32,
}

/// `_IOWR(magic, number, size)`.
const fn ioctl_number(magic: u32, number: u32, size: usize) -> libc::Ioctl {
    ((3 << 30) | ((size as u32) << 16) | (magic << 8) | number) as libc::Ioctl
}

/// How process `pid` behind `pidfd`, which has ended, did so. The process is not reaped: that is its parent's part.
///
/// A child of this process can be asked after directly. A grandchild shows its exit code in `/proc` until its parent
/// reaps it, and recent kernels remember it with the descriptor from then on.
pub(super) fn describe(pid: i32, pidfd: BorrowedFd<'_>) -> String {
    match own_child(pidfd).or_else(|| zombie(pid)).or_else(|| reaped(pidfd)) {
        Some(Ended::Code(code)) => format!("exit code {code}"),
        Some(Ended::Signal(signal)) => signal_text(signal),
        None => "its process ended".to_owned(),
    }
}

/// A signal's number and name.
pub(super) fn signal_text(signal: i32) -> String {
    let name = match signal {
        libc::SIGKILL => "SIGKILL",
        libc::SIGSEGV => "SIGSEGV",
        libc::SIGABRT => "SIGABRT",
        libc::SIGTERM => "SIGTERM",
        libc::SIGBUS => "SIGBUS",
        libc::SIGILL => "SIGILL",
        libc::SIGFPE => "SIGFPE",
        libc::SIGINT => "SIGINT",
        libc::SIGQUIT => "SIGQUIT",
        libc::SIGHUP => "SIGHUP",
        libc::SIGXCPU => "SIGXCPU",
        libc::SIGSYS => "SIGSYS",
        _ => return format!("signal {signal}"),
    };
    format!("signal {signal} ({name})")
}

enum Ended {
    Code(i32),
    Signal(i32),
}

impl Ended {
    /// From a status as `wait` returns it.
    fn from_wait(status: i32) -> Self {
        match status & 0x7f {
            0 => Self::Code((status >> 8) & 0xff),
            signal => Self::Signal(signal),
        }
    }
}

fn own_child(pidfd: BorrowedFd<'_>) -> Option<Ended> {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    let status = rustix::process::waitid(WaitId::PidFd(pidfd.as_fd()), options).ok()??;
    status.exit_status().map(Ended::Code).or_else(|| status.terminating_signal().map(Ended::Signal))
}

fn zombie(pid: i32) -> Option<Ended> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything; the state comes first behind it, the exit status last.
    let (_, fields) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = fields.split_ascii_whitespace().collect();
    match fields.as_slice() {
        ["Z", .., status] => Some(Ended::from_wait(status.parse().ok()?)),
        _ => None,
    }
}

fn reaped(pidfd: BorrowedFd<'_>) -> Option<Ended> {
    let mut info = Info { mask: INFO_EXIT, ..Info::default() };
    // SAFETY: the request's number carries the size of `Info`, which is what the kernel reads and writes; kernels that
    // do not know it refuse.
    let done = unsafe { libc::ioctl(pidfd.as_raw_fd(), GET_INFO, &mut info) };
    if done != 0 || info.mask & INFO_EXIT == 0 {
        return None;
    }
    Some(Ended::from_wait(info.exit_code))
}
