//! The SQLite engine passes the conformance suites.

use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use umbel_backend::{Backend, SqliteBackend};
use umbel_broker::sqlite::Location;
use umbel_broker::{Broker, Clock, ManualClock, SqliteBroker, TransportOptions};
use umbel_protocol::Timestamp;
use umbel_testkit::conformance::{BackendFixture, BrokerFixture};

struct Sqlite {
    folder: TempDir,
    clock: Arc<ManualClock>,
}

impl Sqlite {
    fn start() -> Self {
        let clock = Arc::new(ManualClock::new(Timestamp::from_seconds(1_700_000_000.0)));
        Self { folder: tempfile::tempdir().expect("a folder"), clock }
    }

    fn location(&self) -> Location {
        // What a power cut leaves is not tested here, and the disk is spared.
        let url = format!("sqlite:///{}?synchronous=normal", self.folder.path().join("q.sqlite3").display());
        Location::parse(&url, &TransportOptions::new(), "broker_url").expect("a location")
    }

    fn clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.clock) as Arc<dyn Clock>
    }
}

impl BrokerFixture for Sqlite {
    fn broker(&self) -> Arc<dyn Broker> {
        Arc::new(SqliteBroker::new(self.location(), self.clock()))
    }

    fn advance(&self, duration: Duration) {
        self.clock.advance(duration.as_secs_f64());
    }

    fn clock(&self) -> Option<Arc<dyn Clock>> {
        Some(self.clock())
    }

    fn inject_malformed(&self, queue: &str, raw: &[u8]) {
        self.broker().admin().expect("the tables are made");
        let connection = rusqlite::Connection::open(self.location().path).expect("the file opens");
        let inserts = [
            ("INSERT OR IGNORE INTO queues (name) VALUES (?1)", rusqlite::params![queue]),
            ("INSERT INTO messages (headers, body) VALUES (NULL, ?1)", rusqlite::params![raw]),
        ];
        for (sql, values) in inserts {
            connection.execute(sql, values).expect("inserted");
        }
        let placed = connection.execute(
            "INSERT INTO ready (queue, step, position, message)
             SELECT id, 0, (SELECT 1 + coalesce(max(position), 0) FROM ready), last_insert_rowid()
             FROM queues WHERE name = ?1",
            [queue],
        );
        assert_eq!(placed, Ok(1));
    }

    fn backend_in_same_store(&self) -> Option<Arc<dyn Backend>> {
        Some(self.backend())
    }
}

impl BackendFixture for Sqlite {
    fn backend(&self) -> Arc<dyn Backend> {
        Arc::new(SqliteBackend::new(self.location(), self.clock()))
    }

    fn advance(&self, duration: Duration) {
        self.clock.advance(duration.as_secs_f64());
    }
}

mod broker {
    umbel_testkit::broker_conformance!(super::Sqlite::start);
}

mod backend {
    umbel_testkit::backend_conformance!(super::Sqlite::start);
}

mod same_store {
    umbel_testkit::same_store_conformance!(super::Sqlite::start);
}
