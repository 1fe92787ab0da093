//! Whether to look for a reply for a moment before sleeping until it comes.
//!
//! A server on the same machine answers sooner than a sleeping thread is woken, so a caller that does nothing but wait
//! saves a third of its time by looking again and again. It yields between two looks, so that it takes no processor
//! from anybody who could use it, and gives up the habit where replies take longer: with a server further away.

use std::time::{Duration, Instant};

/// How long to look at most.
const MOMENT: Duration = Duration::from_micros(60);

/// Looks in vain in a row after which it does without.
const MISSES: u32 = 8;

/// Replies until it tries once more.
const PAUSE: u32 = 1000;

/// The habits of one connection.
#[derive(Debug, Default)]
pub struct Eagerness {
    wanted: bool,
    misses: u32,
    sleeps: u32,
}

impl Eagerness {
    /// Looks before it sleeps, from now on.
    pub fn want(&mut self) {
        self.wanted = true;
    }

    /// Calls `look` until it says that there is something, for a moment, if that is worth while.
    ///
    /// # Errors
    /// Those of `look`.
    pub fn look<E>(&mut self, mut look: impl FnMut() -> Result<bool, E>) -> Result<(), E> {
        if !self.wanted || self.is_asleep() {
            return Ok(());
        }
        let until = Instant::now() + MOMENT;
        while Instant::now() < until {
            if look()? {
                self.misses = 0;
                return Ok(());
            }
            std::thread::yield_now();
        }
        self.misses += 1;
        Ok(())
    }

    fn is_asleep(&mut self) -> bool {
        if self.misses < MISSES {
            return false;
        }
        self.sleeps += 1;
        if self.sleeps == PAUSE {
            // One miss more and it goes on sleeping.
            (self.sleeps, self.misses) = (0, MISSES - 1);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_only_where_looking_helps() {
        let (mut eager, mut looks) = (Eagerness::default(), 0);
        let mut reply = |eager: &mut Eagerness, there: bool| {
            let before = looks;
            let looked: Result<(), ()> = eager.look(|| {
                looks += 1;
                Ok(there)
            });
            looked.expect("no error");
            looks > before
        };
        assert!(!reply(&mut eager, true), "not unless wanted");
        eager.want();
        for _ in 0..100 {
            assert!(reply(&mut eager, true));
        }
        for _ in 0..MISSES {
            assert!(reply(&mut eager, false));
        }
        for _ in 0..PAUSE {
            assert!(!reply(&mut eager, true), "the server is too far away");
        }
        assert!(reply(&mut eager, false), "one more try");
        assert!(!reply(&mut eager, true), "still too far");
    }
}
