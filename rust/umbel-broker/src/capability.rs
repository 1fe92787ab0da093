//! What not every broker can do, said before somebody relies on it.

use std::fmt;

/// A part of the contract that a broker may lack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Capability {
    /// A batch that is published, and a settlement with its follow-ups, happen whole or not at all. Without it follow-ups
    /// come first and the end of the delivery last: a crash between the two repeats, and loses nothing.
    Atomic = 1,
    /// What is held outlives its connection: it comes back by the heartbeat of another once its holder has been silent
    /// for the length of its lease, and a new connection of the holder can go on with it. Without it the end of a
    /// connection gives back what was held on it.
    Leases = 1 << 1,
    /// Settled messages wait for their time in the broker.
    Delays = 1 << 2,
    /// So do messages that are published with a time in the future.
    PublishedDelays = 1 << 3,
    /// It tells when the next delayed message is due, for that comes with a fetch or heartbeat. Without it such messages
    /// come by themselves.
    Dues = 1 << 4,
    /// kombu's four steps of priority, 0 served first.
    Priorities = 1 << 5,
    /// Of several queues each gets its turn.
    Fairness = 1 << 6,
    /// Headers, unusual properties and priorities come out letter for letter as they went in.
    Verbatim = 1 << 7,
    /// Bytes that form no message can be in a queue, and are kept as they are.
    Malformed = 1 << 8,
    /// Named exchanges: direct and topic.
    Exchanges = 1 << 9,
    /// A fanout exchange can fill queues.
    Fanout = 1 << 10,
    /// Who waits for messages takes none by it.
    Overhearing = 1 << 11,
    /// Messages that wait can be looked at, in order, and stay as they are.
    Peeking = 1 << 12,
    /// Something can be said to all workers, and answered.
    Control = 1 << 13,
    /// What is revoked is kept.
    Revocations = 1 << 14,
    /// Messages can take locks as they are published.
    Locks = 1 << 15,
    /// Rate limits that workers share.
    Turns = 1 << 16,
    /// What goes back to the front of a queue is next in line. Without it: somewhere in it.
    Front = 1 << 17,
    /// How many tasks run at a time is counted over all workers.
    Slots = 1 << 18,
    /// Lines of a queue are served alike. Without it their messages are served in the order in which they came.
    Lines = 1 << 19,
}

impl Capability {
    /// All of them.
    pub const ALL: [Self; 20] = [
        Self::Atomic,
        Self::Leases,
        Self::Delays,
        Self::PublishedDelays,
        Self::Dues,
        Self::Priorities,
        Self::Fairness,
        Self::Verbatim,
        Self::Malformed,
        Self::Exchanges,
        Self::Fanout,
        Self::Overhearing,
        Self::Peeking,
        Self::Control,
        Self::Revocations,
        Self::Locks,
        Self::Turns,
        Self::Front,
        Self::Slots,
        Self::Lines,
    ];

    /// Its name in settings and in Python.
    pub fn name(self) -> &'static str {
        match self {
            Self::Atomic => "atomic",
            Self::Leases => "leases",
            Self::Delays => "delays",
            Self::PublishedDelays => "published-delays",
            Self::Dues => "dues",
            Self::Priorities => "priorities",
            Self::Fairness => "fairness",
            Self::Verbatim => "verbatim",
            Self::Malformed => "malformed",
            Self::Exchanges => "exchanges",
            Self::Fanout => "fanout",
            Self::Overhearing => "overhearing",
            Self::Peeking => "peeking",
            Self::Control => "control",
            Self::Revocations => "revocations",
            Self::Locks => "locks",
            Self::Turns => "turns",
            Self::Front => "front",
            Self::Slots => "slots",
            Self::Lines => "lines",
        }
    }

    /// The one of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|capability| capability.name() == name)
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// What a broker can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capabilities(u32);

impl Capabilities {
    /// The whole contract.
    pub const ALL: Self = Self(u32::MAX);
    /// The least of it.
    pub const NONE: Self = Self(0);

    /// With this one too.
    pub const fn with(self, capability: Capability) -> Self {
        Self(self.0 | capability as u32)
    }

    /// Without this one.
    pub const fn without(self, capability: Capability) -> Self {
        Self(self.0 & !(capability as u32))
    }

    /// Whether this is among them.
    pub const fn has(self, capability: Capability) -> bool {
        self.0 & capability as u32 != 0
    }
}

impl FromIterator<Capability> for Capabilities {
    fn from_iter<T: IntoIterator<Item = Capability>>(all: T) -> Self {
        all.into_iter().fold(Self::NONE, Self::with)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_a_name_and_a_place_of_its_own() {
        for capability in Capability::ALL {
            assert_eq!(Capability::named(capability.name()), Some(capability));
            assert!(!Capabilities::NONE.has(capability) && Capabilities::NONE.with(capability).has(capability));
            let others = Capability::ALL.into_iter().filter(|other| *other != capability);
            let without = Capabilities::ALL.without(capability);
            assert!(!without.has(capability) && others.clone().all(|other| without.has(other)));
            assert!(others.clone().all(|other| !Capabilities::NONE.with(capability).has(other)));
        }
        assert_eq!(Capability::named("flying"), None);
    }
}
