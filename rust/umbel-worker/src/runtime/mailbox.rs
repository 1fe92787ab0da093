//! Messages for one thread, with a descriptor that is readable while there are any.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::EventfdFlags;
use umbel_broker::sync::Mutex;

/// Messages for one reader, who polls its descriptor. Writers touch the descriptor only when the box turns non-empty.
#[derive(Debug)]
pub(super) struct Mailbox<T> {
    messages: Mutex<Messages<T>>,
    bell: OwnedFd,
}

#[derive(Debug)]
struct Messages<T> {
    all: Vec<T>,
    /// The descriptor is readable.
    rung: bool,
    closed: bool,
}

impl<T> Mailbox<T> {
    pub(super) fn new() -> io::Result<Self> {
        let bell = rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self { messages: Mutex::new(Messages { all: Vec::new(), rung: false, closed: false }), bell })
    }

    pub(super) fn push(&self, message: T) {
        self.extend([message]);
    }

    pub(super) fn extend(&self, more: impl IntoIterator<Item = T>) {
        let mut messages = self.messages.lock();
        if messages.closed {
            return;
        }
        messages.all.extend(more);
        if !messages.all.is_empty() {
            self.ring(&mut messages);
        }
    }

    /// Wakes the reader without a message.
    pub(super) fn knock(&self) {
        self.ring(&mut self.messages.lock());
    }

    fn ring(&self, messages: &mut Messages<T>) {
        if !std::mem::replace(&mut messages.rung, true) {
            // Fails only when the counter is full, and then it is readable anyway.
            let _ = rustix::io::write(&self.bell, &1u64.to_ne_bytes());
        }
    }

    /// All messages, oldest first.
    pub(super) fn take(&self) -> Vec<T> {
        let mut messages = self.messages.lock();
        if std::mem::take(&mut messages.rung) {
            // Under the lock, so that the next push rings again.
            let _ = rustix::io::read(&self.bell, &mut [0u8; 8]);
        }
        std::mem::take(&mut messages.all)
    }

    /// Drops what is there and what will come: nobody reads any more.
    pub(super) fn close(&self) {
        self.messages.lock().closed = true;
        drop(self.take());
    }
}

impl<T> AsFd for Mailbox<T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }
}
