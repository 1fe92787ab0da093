//! A private RabbitMQ node, kept by `scripts/rabbitmq-node`.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use super::{certificates, find_binary, free_port};

/// Longest time a node may take to start.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running node on loopback. It takes seconds to start: tests share one ([`RabbitServer::shared`]) and use virtual hosts of
/// their own, and those that break it start one for themselves.
pub struct RabbitServer {
    keeper: Mutex<Child>,
    answers: Mutex<BufReader<ChildStdout>>,
    folder: PathBuf,
    /// Its port for plain text.
    pub port: u16,
    /// Its port for TLS.
    pub tls_port: u16,
    vhosts: AtomicU32,
}

impl RabbitServer {
    /// A node of one's own; `None`, with a word on standard error, where there is no `rabbitmq-server` (in CI that is a
    /// failure).
    pub fn start() -> Option<Self> {
        if !Path::new("/usr/lib/rabbitmq/bin/rabbitmq-server").is_file() {
            find_binary("rabbitmq-server")?;
        }
        let folder = tempfile::Builder::new().prefix("umbel-rabbitmq-").tempdir().expect("a temporary folder").keep();
        certificates::make(&folder);
        let ports = [free_port(), free_port(), free_port(), free_port()];
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/rabbitmq-node");
        let mut keeper = Command::new(script)
            .arg(&folder)
            .args(ports.map(|port| port.to_string()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("scripts/rabbitmq-node starts");
        let answers = Mutex::new(BufReader::new(keeper.stdout.take().expect("its answers")));
        let [port, _, _, tls_port] = ports;
        let server = Self { keeper: Mutex::new(keeper), answers, folder, port, tls_port, vhosts: AtomicU32::new(1) };
        server.wait_until_up();
        Some(server)
    }

    /// The node that all tests of this process share. It ends with the process, which closes its standard input.
    pub fn shared() -> Option<&'static Self> {
        static SHARED: OnceLock<Option<RabbitServer>> = OnceLock::new();
        SHARED.get_or_init(Self::start).as_ref()
    }

    /// URL of a virtual host, as the user `guest`.
    pub fn url(&self, vhost: &str) -> String {
        format!("amqp://guest:guest@127.0.0.1:{}/{vhost}", self.port)
    }

    /// The same over TLS.
    pub fn tls_url(&self, vhost: &str) -> String {
        format!(
            "amqps://guest:guest@127.0.0.1:{}/{vhost}?ssl_ca_certs={}",
            self.tls_port,
            self.file("ca.crt").display()
        )
    }

    /// A file of its folder: `ca.crt`, and `client.crt` and `client.key`, which log in as `guest`.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Makes an empty virtual host, and says its name.
    pub fn new_vhost(&self) -> String {
        let name = format!("tests-{}", self.vhosts.fetch_add(1, Ordering::Relaxed));
        self.check(&format!("rabbit_vhost:add(<<\"{name}\">>, <<\"tests\">>)"));
        self.grant("guest", &name);
        name
    }

    /// Allows `user` everything in a virtual host.
    pub fn grant(&self, user: &str, vhost: &str) {
        let all = "<<\".*\">>, <<\".*\">>, <<\".*\">>, <<\"tests\">>";
        self.check(&format!("rabbit_auth_backend_internal:set_permissions(<<\"{user}\">>, <<\"{vhost}\">>, {all})"));
    }

    /// Removes a virtual host with all that is in it; connections to it are closed.
    pub fn drop_vhost(&self, name: &str) {
        self.evaluate(&format!("rabbit_vhost:delete(<<\"{name}\">>, <<\"tests\">>)"));
    }

    /// What an expression of Erlang is worth, evaluated in the node.
    pub fn evaluate(&self, expression: &str) -> String {
        let answer = self.ask(expression).expect("the node answers");
        assert!(!answer.starts_with("error:"), "{expression}: {answer}");
        answer
    }

    /// Evaluates what should be `ok`.
    pub fn check(&self, expression: &str) {
        assert_eq!(self.evaluate(expression), "ok", "{expression}");
    }

    /// Ends the node as a power cut would. What it had written to its files stays.
    pub fn kill(&self) {
        self.tell("kill");
    }

    /// Starts it again on the same ports and files.
    pub fn start_again(&self) {
        self.tell("start");
        self.wait_until_up();
    }

    /// Stops it from running, as if its machine hung.
    pub fn freeze(&self) {
        self.tell("freeze");
    }

    /// Lets it go on.
    pub fn thaw(&self) {
        self.tell("thaw");
    }

    fn ask(&self, expression: &str) -> std::io::Result<String> {
        let mut control = UnixStream::connect(self.folder.join("control"))?;
        control.set_read_timeout(Some(PATIENCE))?;
        writeln!(control, "{}.", expression.split_whitespace().collect::<Vec<_>>().join(" "))?;
        let mut answer = String::new();
        BufReader::new(control).read_line(&mut answer)?;
        Ok(answer.trim_end().to_owned())
    }

    fn tell(&self, word: &str) {
        let mut keeper = self.keeper.lock().expect("no test panics here");
        writeln!(keeper.stdin.as_mut().expect("its input"), "{word}").expect("its keeper lives");
        let mut answer = String::new();
        self.answers.lock().expect("no test panics here").read_line(&mut answer).expect("its keeper answers");
        assert_eq!(answer.trim_end(), word);
    }

    fn wait_until_up(&self) {
        let deadline = Instant::now() + PATIENCE;
        let up = || self.ask("{rabbit:is_running(), rabbit_networking:active_listeners() =/= []}");
        while !up().is_ok_and(|answer| answer == "{true,true}") {
            let ended = self.keeper.lock().expect("no test panics here").try_wait().expect("its state").is_some();
            let output = || std::fs::read_to_string(self.folder.join("output")).unwrap_or_default();
            assert!(!ended && Instant::now() < deadline, "RabbitMQ did not start: {}", output());
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for RabbitServer {
    fn drop(&mut self) {
        let keeper = self.keeper.get_mut().expect("no test panics here");
        drop(keeper.stdin.take());
        let _ = keeper.wait();
    }
}
