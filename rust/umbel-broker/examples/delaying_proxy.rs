//! A broker some way off: a TCP proxy on loopback that holds every piece back for half of a round trip, each way.
//!
//! ```text
//! cargo run --release --example delaying_proxy -- --to 6379 --round-trip-ms 5
//! cargo run --release --example delaying_proxy -- --check --round-trip-ms 5
//! ```
//!
//! The first prints the port it listens on, and runs until it is killed. The second measures the proxy itself with an
//! echo server behind it: its round trip, bytes and small pieces a second. Pieces are on their way side by side, as on
//! a long cable: the delay adds to each, not up.

#![expect(clippy::print_stdout, reason = "printing is what it is for")]

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};
use std::{io, thread};

/// Bytes of one piece, at most.
const PIECE: usize = 256 * 1024;
/// Pieces on their way in one direction of a connection; then its sender has to wait, as on a full cable.
const IN_FLIGHT: usize = 8192;

/// When it arrives at the other end, and what; nothing: the sender has closed its side.
type Piece = (Instant, Vec<u8>);

fn main() -> io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let delay = number(&arguments, "--round-trip-ms").unwrap_or(0.0) / 2000.0;
    let delay = Duration::from_secs_f64(delay.max(0.0));
    if arguments.iter().any(|argument| argument == "--check") {
        return check(delay);
    }
    let Some(to) = number(&arguments, "--to") else {
        return Err(io::Error::other(
            "usage: delaying_proxy --to PORT --round-trip-ms MS | --check --round-trip-ms MS",
        ));
    };
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    println!("{}", listener.local_addr()?.port());
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a port")]
    serve(&listener, to as u16, delay)
}

fn number(arguments: &[String], name: &str) -> Option<f64> {
    let at = arguments.iter().position(|argument| argument == name)?;
    arguments.get(at + 1)?.parse().ok()
}

/// Passes every connection on to the port `to`.
fn serve(listener: &TcpListener, to: u16, delay: Duration) -> io::Result<()> {
    for near in listener.incoming() {
        let near = near?;
        let Ok(far) = TcpStream::connect((Ipv4Addr::LOCALHOST, to)) else { continue };
        near.set_nodelay(true)?;
        far.set_nodelay(true)?;
        carry(near.try_clone()?, far.try_clone()?, delay);
        carry(far, near, delay);
    }
    Ok(())
}

/// Carries one direction, with a thread that reads and one that waits and writes.
fn carry(from: TcpStream, to: TcpStream, delay: Duration) {
    let (sender, receiver) = sync_channel(IN_FLIGHT);
    thread::spawn(move || take_in(from, &sender, delay));
    thread::spawn(move || give_out(to, &receiver));
}

fn take_in(mut from: TcpStream, sender: &SyncSender<Piece>, delay: Duration) {
    let mut buffer = vec![0; PIECE];
    loop {
        let size = from.read(&mut buffer).unwrap_or(0);
        if sender.send((Instant::now() + delay, buffer[..size].to_vec())).is_err() || size == 0 {
            return;
        }
    }
}

fn give_out(mut to: TcpStream, receiver: &Receiver<Piece>) {
    for (due, piece) in receiver {
        if let Some(left) = due.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
            thread::sleep(left);
        }
        if piece.is_empty() {
            let _ = to.shutdown(Shutdown::Write);
        } else if to.write_all(&piece).is_err() {
            let _ = to.shutdown(Shutdown::Both);
            return;
        }
    }
}

/// Prints what the proxy itself can do, as JSON.
fn check(delay: Duration) -> io::Result<()> {
    let echo = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let echo_port = echo.local_addr()?.port();
    thread::spawn(move || serve_echo(&echo));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let port = listener.local_addr()?.port();
    thread::spawn(move || serve(&listener, echo_port, delay));
    let round_trip = measured_round_trip(&TcpStream::connect((Ipv4Addr::LOCALHOST, port))?)?;
    let bytes = rate(&TcpStream::connect((Ipv4Addr::LOCALHOST, port))?, 64 * 1024, 2000)?;
    let pieces = rate(&TcpStream::connect((Ipv4Addr::LOCALHOST, port))?, 512, 100_000)?;
    println!(
        "{{\"round_trip_ms\": {:.3}, \"megabytes_per_second\": {:.0}, \"pieces_per_second\": {:.0}}}",
        round_trip.as_secs_f64() * 1e3,
        bytes * 64.0 * 1024.0 / 1e6,
        pieces
    );
    Ok(())
}

fn serve_echo(listener: &TcpListener) {
    for connection in listener.incoming().flatten() {
        thread::spawn(move || {
            let (mut reader, mut writer) = (&connection, &connection);
            let _ = connection.set_nodelay(true);
            let _ = io::copy(&mut reader, &mut writer);
            let _ = connection.shutdown(Shutdown::Write);
        });
    }
}

/// The median of a hundred.
fn measured_round_trip(mut connection: &TcpStream) -> io::Result<Duration> {
    connection.set_nodelay(true)?;
    let mut taken = Vec::new();
    for _ in 0..100 {
        let start = Instant::now();
        connection.write_all(b"x")?;
        connection.read_exact(&mut [0])?;
        taken.push(start.elapsed());
    }
    taken.sort();
    Ok(taken[50])
}

/// Pieces of `size` bytes a second, sent one after another while their echoes are read.
fn rate(connection: &TcpStream, size: usize, count: usize) -> io::Result<f64> {
    connection.set_nodelay(true)?;
    let start = Instant::now();
    let sending = connection.try_clone()?;
    let sender = thread::spawn(move || {
        let piece = vec![b'x'; size];
        (0..count).try_for_each(|_| (&sending).write_all(&piece))?;
        sending.shutdown(Shutdown::Write)
    });
    let echoed = io::copy(&mut &*connection, &mut io::sink())?;
    sender.join().map_err(|_| io::Error::other("the sender broke"))??;
    #[expect(clippy::cast_precision_loss, reason = "a rate")]
    let pieces = echoed as f64 / size as f64;
    Ok(pieces / start.elapsed().as_secs_f64())
}
