//! Private servers for tests: each with a port, a folder and a process of its own, gone when dropped.

mod rabbit;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

pub use rabbit::RabbitServer;

/// Longest time a server may take to answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a private Redis has beyond the default.
#[derive(Debug, Clone, Default)]
pub struct RedisSetup {
    /// Password of the default user.
    pub password: Option<String>,
    /// TLS on the port, with certificates made for this server.
    pub tls: bool,
    /// More of `redis.conf`, as command line arguments: `["--maxmemory", "20mb"]`.
    pub arguments: Vec<String>,
}

/// A running `redis-server` (or sentinel) on loopback.
pub struct RedisServer {
    process: Child,
    /// Everything it writes.
    pub folder: TempDir,
    /// Its port, plain or TLS.
    pub port: u16,
    setup: RedisSetup,
    mode: Mode,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Server,
    Sentinel,
}

impl RedisServer {
    /// A server as it comes; `None`, with a word on standard error, where there is no `redis-server` (in CI that is a
    /// failure).
    pub fn start() -> Option<Self> {
        Self::with(RedisSetup::default())
    }

    /// A server with `setup`.
    pub fn with(setup: RedisSetup) -> Option<Self> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        if setup.tls {
            certificates::make(folder.path());
        }
        Self::launch(folder, setup, Mode::Server)
    }

    /// A sentinel that watches `master` under the name `umbel`.
    pub fn sentinel_of(master: &Self) -> Option<Self> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut lines = vec![format!("sentinel monitor umbel 127.0.0.1 {} 1", master.port)];
        lines.push("sentinel down-after-milliseconds umbel 500".to_owned());
        if let Some(password) = &master.setup.password {
            lines.push(format!("sentinel auth-pass umbel {password}"));
        }
        std::fs::write(folder.path().join("sentinel.conf"), lines.join("\n") + "\n").expect("sentinel.conf");
        Self::launch(folder, RedisSetup::default(), Mode::Sentinel)
    }

    fn launch(folder: TempDir, setup: RedisSetup, mode: Mode) -> Option<Self> {
        let binary = find_binary("redis-server")?;
        let port = free_port();
        let process = spawn(&binary, folder.path(), port, &setup, mode);
        let mut server = Self { process, folder, port, setup, mode };
        // Another process may take the port first: then choose again.
        while !server.wait_until_up() {
            let log = std::fs::read_to_string(server.folder.path().join("log")).unwrap_or_default();
            assert!(log.contains("Address already in use"), "redis-server did not start:\n{log}");
            std::fs::remove_file(server.folder.path().join("log")).expect("the log is there");
            server.port = free_port();
            server.process = spawn(&binary, server.folder.path(), server.port, &server.setup, mode);
        }
        Some(server)
    }

    /// Path of its unix socket.
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("redis.sock")
    }

    /// Path of the authority that signed its certificate.
    pub fn authority(&self) -> PathBuf {
        self.folder.path().join("ca.crt")
    }

    /// `redis://` or `rediss://` URL of database `db`, with its password.
    pub fn url(&self, db: u32) -> String {
        let user = self.setup.password.as_ref().map_or_else(String::new, |password| format!(":{password}@"));
        let scheme = if self.setup.tls { "rediss" } else { "redis" };
        format!("{scheme}://{user}127.0.0.1:{}/{db}", self.port)
    }

    /// A connection of an independent client to database `db`, to look at what our code left there. Over the unix
    /// socket, so that it works for every setup.
    pub fn client(&self, db: u32) -> redis::Connection {
        let password = self.setup.password.as_ref().map_or_else(String::new, |password| format!("&pass={password}"));
        let url = format!("unix://{}?db={db}{password}", self.socket().display());
        redis::Client::open(url).and_then(|client| client.get_connection()).expect("a client connection")
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Stops the process from running, as if its machine hung; it still accepts connections. Killing it works.
    pub fn freeze(&self) {
        let stopped = Command::new("kill").args(["-STOP", &self.pid().to_string()]).status();
        assert!(stopped.is_ok_and(|status| status.success()), "kill -STOP");
    }

    /// Kills the process without warning.
    pub fn kill(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }

    /// Starts the process again on the same port and folder.
    pub fn restart(&mut self) {
        self.kill();
        let binary = find_binary("redis-server").expect("it ran before");
        self.process = spawn(&binary, self.folder.path(), self.port, &self.setup, self.mode);
        assert!(self.wait_until_up(), "redis-server did not come back");
    }

    /// False when the process ended instead.
    fn wait_until_up(&mut self) -> bool {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if answers(&self.socket()) {
                return true;
            }
            if self.process.try_wait().expect("its state").is_some() {
                return false;
            }
            assert!(Instant::now() < deadline, "redis-server does not answer");
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The path of a program; absent is a failure in CI and a reason to skip elsewhere.
#[expect(clippy::print_stderr, reason = "says why a test was skipped")]
fn find_binary(name: &str) -> Option<PathBuf> {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&folders).map(|folder| folder.join(name)).find(|path| path.is_file());
    if found.is_none() {
        assert!(std::env::var_os("CI").is_none(), "{name} is not installed, and CI skips no test");
        eprintln!("skipped: {name} is not installed (make services installs it)");
    }
    found
}

fn spawn(binary: &Path, folder: &Path, port: u16, setup: &RedisSetup, mode: Mode) -> Child {
    let mut command = Command::new(binary);
    if mode == Mode::Sentinel {
        command.arg(folder.join("sentinel.conf")).arg("--sentinel");
    }
    command.args(["--bind", "127.0.0.1", "--daemonize", "no", "--dir"]).arg(folder);
    command.arg("--unixsocket").arg(folder.join("redis.sock")).arg("--logfile").arg(folder.join("log"));
    let port = port.to_string();
    if setup.tls {
        command.args(["--port", "0", "--tls-port", &port, "--tls-auth-clients", "optional"]);
        for (option, file) in
            [("--tls-cert-file", "server.crt"), ("--tls-key-file", "server.key"), ("--tls-ca-cert-file", "ca.crt")]
        {
            command.arg(option).arg(folder.join(file));
        }
    } else {
        command.args(["--port", &port]);
    }
    if mode == Mode::Server {
        command.args(["--save", "", "--databases", "4096", "--enable-debug-command", "yes"]);
    }
    if let Some(password) = &setup.password {
        command.args(["--requirepass", password]);
    }
    command.args(&setup.arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().expect("redis-server starts")
}

fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listener.local_addr().expect("its address").port()
}

/// True when a server behind the socket answers, be it that we must say a password first.
fn answers(socket: &Path) -> bool {
    let Ok(mut stream) = UnixStream::connect(socket) else { return false };
    let mut reply = [0; 7];
    let asked = stream.set_read_timeout(Some(PATIENCE)).and_then(|()| stream.write_all(b"PING\r\n"));
    asked.is_ok() && stream.read(&mut reply).is_ok() && matches!(&reply[..5], b"+PONG" | b"-NOAU")
}

/// Certificates for one server: an authority of its own, a certificate for loopback and one of a client `guest` signed by it.
mod certificates {
    use std::path::Path;
    use std::process::{Command, Stdio};

    const EXTENSIONS: &str = "subjectAltName=DNS:localhost,IP:127.0.0.1\nbasicConstraints=CA:FALSE\n";

    pub(super) fn make(folder: &Path) {
        std::fs::write(folder.join("extensions"), EXTENSIONS).expect("a file");
        for arguments in [
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ca.key -out ca.crt -days 2 -subj /CN=umbel-ca",
            "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout server.key -out server.csr -subj /CN=umbel",
            "x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -out server.crt -days 2 -extfile extensions",
            "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout client.key -out client.csr -subj /CN=guest",
            "x509 -req -in client.csr -CA ca.crt -CAkey ca.key -CAcreateserial -out client.crt -days 2 -extfile extensions",
        ] {
            let made = Command::new("openssl")
                .args(arguments.split(' '))
                .current_dir(folder)
                .stdin(Stdio::null())
                .output()
                .expect("openssl is installed");
            assert!(made.status.success(), "openssl {arguments}: {}", String::from_utf8_lossy(&made.stderr));
        }
    }
}
