//! Locks in a file.

use rusqlite::{OptionalExtension, params};

use super::fault::Fault;
use super::session::Step;
use crate::broker::Outgoing;
use crate::once::{Lock, Taken};

impl Step<'_> {
    pub(super) fn publish_once(&mut self, outgoing: &Outgoing, lock: &Lock) -> Result<Taken, Fault> {
        self.connection.prepare_cached("DELETE FROM locks WHERE until <= ?1")?.execute([self.now.0])?;
        let mut find = self.connection.prepare_cached("SELECT owner FROM locks WHERE name = ?1")?;
        let owner: Option<String> = find.query_row([&lock.name], |row| row.get(0)).optional()?;
        match owner {
            Some(owner) if owner == lock.owner => return Ok(Taken::Published { replaced: None }),
            Some(owner) if !lock.replace => return Ok(Taken::Refused { owner }),
            _ => {}
        }
        self.publish(std::slice::from_ref(outgoing))?;
        let mut take =
            self.connection.prepare_cached("INSERT OR REPLACE INTO locks (name, owner, until) VALUES (?1, ?2, ?3)")?;
        take.execute(params![lock.name, lock.owner, self.now.after(lock.life).0])?;
        Ok(Taken::Published { replaced: owner })
    }

    pub(super) fn release_lock(&mut self, name: &str, owner: &str) -> Result<(), Fault> {
        let mut release = self.connection.prepare_cached("DELETE FROM locks WHERE name = ?1 AND owner = ?2")?;
        release.execute([name, owner])?;
        Ok(())
    }
}
