//! A proxy that cuts a connection after so many frames.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use umbel_amqp::frame;

/// The largest frame in these sessions.
const LARGEST: usize = 1 << 20;

/// Passes frames on until so many have gone by, in both directions and over all connections together; then all are cut, and
/// later ones pass whole.
pub(crate) struct Proxy {
    pub(crate) port: u16,
    state: Arc<State>,
}

struct State {
    server: u16,
    cut_after: usize,
    passed: AtomicUsize,
    cut: AtomicBool,
    over: AtomicBool,
}

impl Proxy {
    pub(crate) fn to(server: u16, cut_after: usize) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let port = listener.local_addr().expect("its address").port();
        let (passed, cut, over) = (AtomicUsize::new(0), AtomicBool::new(false), AtomicBool::new(false));
        let state = Arc::new(State { server, cut_after, passed, cut, over });
        let accepting = Arc::clone(&state);
        std::thread::spawn(move || accepting.accept(&listener));
        Self { port, state }
    }

    /// Whether it has cut, which it has not when the session was shorter.
    pub(crate) fn has_cut(&self) -> bool {
        self.state.cut.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.state.over.store(true, Ordering::SeqCst);
        // Ends the thread that accepts.
        drop(TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)));
    }
}

impl State {
    fn accept(self: &Arc<Self>, listener: &TcpListener) {
        for client in listener.incoming() {
            if self.over.load(Ordering::SeqCst) {
                return;
            }
            let (Ok(client), Ok(server)) = (client, TcpStream::connect((Ipv4Addr::LOCALHOST, self.server))) else {
                return;
            };
            let of_client = (client.try_clone(), server.try_clone());
            let (Ok(from_client), Ok(to_server)) = of_client else { return };
            let (one, other) = (Arc::clone(self), Arc::clone(self));
            std::thread::spawn(move || one.pass(from_client, to_server, frame::PROTOCOL_HEADER.len()));
            std::thread::spawn(move || other.pass(server, client, 0));
        }
    }

    /// Passes bytes on, frame by frame, after `greeting` bytes that are none.
    fn pass(&self, mut from: TcpStream, mut to: TcpStream, mut greeting: usize) {
        let (mut held, mut buffer) = (Vec::new(), vec![0; 64 << 10]);
        'reading: while let Ok(read @ 1..) = from.read(&mut buffer) {
            held.extend_from_slice(&buffer[..read]);
            if held.len() >= greeting {
                let _ = to.write_all(&held[..greeting]);
                held.drain(..greeting);
                greeting = 0;
            }
            while greeting == 0
                && let Ok(Some((_, length))) = frame::split(&held, LARGEST)
            {
                let number = self.passed.fetch_add(1, Ordering::SeqCst);
                if number >= self.cut_after && !self.cut.swap(true, Ordering::SeqCst) {
                    break 'reading;
                }
                if to.write_all(&held[..length]).is_err() {
                    break 'reading;
                }
                held.drain(..length);
            }
        }
        let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
    }
}
