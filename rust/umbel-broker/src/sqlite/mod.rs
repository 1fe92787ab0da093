//! The embedded engine: queues and results in one SQLite file, shared by the processes of one machine.
//!
//! * `location`: the URL. `folder`: places where it cannot work. `schema`: the tables.
//! * `session`: a connection; every change is one transaction, taken in turn (`turnstile`), confirmed when it
//!   is on disk, and followed by a ring for whom it concerns (`bells`).
//! * `content`: a message's row. `places`: ready, held, delayed, dead. `routing`, `lease`, `results`: what their names say.
//! * `publisher`, `consumer`, `doorbell`, `admin`, `control`: the contract's handles, a connection each.

mod admin;
mod bells;
mod chords;
mod consumer;
mod content;
mod control;
mod doorbell;
mod fault;
mod folder;
mod fork;
mod lease;
mod lines;
mod location;
mod locks;
mod places;
mod publisher;
pub mod results;
mod routing;
mod schema;
mod session;
mod slots;
mod turnstile;

pub use location::{Location, Synchronous};

use std::sync::Arc;

use crate::broker::{Admin, Broker, Consumer, ConsumerOptions, Doorbell, Publisher};
use crate::clock::Clock;
use crate::control::{Control, Listener};
use crate::error::Result;
use session::Session;

/// A broker in a SQLite file.
pub struct SqliteBroker {
    location: Arc<Location>,
    clock: Arc<dyn Clock>,
}

impl SqliteBroker {
    /// The broker at `location`. The file is opened, and made if need be, when the first handle is asked for.
    pub fn new(location: Location, clock: Arc<dyn Clock>) -> Self {
        Self { location: Arc::new(location), clock }
    }

    fn session(&self) -> Result<Session> {
        Session::open(Arc::clone(&self.location), Arc::clone(&self.clock))
    }
}

impl Broker for SqliteBroker {
    fn display_url(&self) -> String {
        self.location.display_url()
    }

    fn identity(&self) -> String {
        self.location.identity()
    }

    fn publisher(&self) -> Result<Box<dyn Publisher>> {
        Ok(Box::new(publisher::SqlitePublisher::new(self.session()?)))
    }

    fn consumer(&self, options: ConsumerOptions) -> Result<Box<dyn Consumer>> {
        Ok(Box::new(consumer::SqliteConsumer::open(self.session()?, options)?))
    }

    fn doorbell(&self, queues: &[String]) -> Result<Box<dyn Doorbell>> {
        Ok(Box::new(doorbell::SqliteDoorbell::open(self.session()?, queues)?))
    }

    fn admin(&self) -> Result<Box<dyn Admin>> {
        Ok(Box::new(admin::SqliteAdmin::new(self.session()?)))
    }

    fn control(&self) -> Result<Box<dyn Control>> {
        Ok(Box::new(control::SqliteControl::new(self.session()?)))
    }

    fn listener(&self, exchange: &str) -> Result<Box<dyn Listener>> {
        Ok(Box::new(control::SqliteListener::open(self.session()?, exchange)?))
    }
}
