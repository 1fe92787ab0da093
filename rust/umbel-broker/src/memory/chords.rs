//! Chords of the in-process engine, and the calls the result store makes.

use std::collections::{BTreeMap, HashMap};

use umbel_protocol::{ChordPart, Timestamp, chord};

use super::store::Store;

/// What is kept of one chord.
#[derive(Default)]
struct Chord {
    /// How many parts it waits for, once that is known.
    size: Option<u64>,
    /// Parts that were added later.
    extra: u64,
    /// By place and id, so that a member counts once; those without a place come last.
    parts: BTreeMap<(bool, i64, String), Vec<u8>>,
    /// Its last part was counted.
    done: bool,
    expires: Option<Timestamp>,
}

impl Chord {
    fn lives(&self, now: Timestamp) -> bool {
        self.expires.is_none_or(|expires| expires > now)
    }
}

/// Chords by the group of their header.
#[derive(Default)]
pub(super) struct Chords {
    by_group: HashMap<String, Chord>,
}

impl Chords {
    fn get(&mut self, group: &str, now: Timestamp) -> &mut Chord {
        let chord = self.by_group.entry(group.to_owned()).or_default();
        if !chord.lives(now) {
            *chord = Chord::default();
        }
        chord
    }

    /// Counts a part; the members as JSON text if it was the last. With `claim` only the first to ask is told.
    pub(super) fn count(&mut self, part: &ChordPart, now: Timestamp, claim: bool) -> Option<String> {
        let chord = self.get(&part.group, now);
        chord.expires = part.expires.map(|life| now.after(life));
        if chord.done {
            return None;
        }
        let place = (part.index.is_none(), part.index.unwrap_or(0), part.task_id.clone());
        chord.parts.entry(place).or_insert_with(|| part.part.clone());
        if chord.size.map(|size| size + chord.extra) != Some(chord.parts.len() as u64) {
            return None;
        }
        chord.done = claim;
        Some(chord::member_tuples(chord.parts.keys().map(|(_, _, task_id)| task_id.as_str())))
    }

    /// Forgets the parts; late copies of members change nothing any more.
    pub(super) fn end(&mut self, group: &str) {
        if let Some(chord) = self.by_group.get_mut(group) {
            chord.done = true;
            chord.parts.clear();
        }
    }

    pub(super) fn remove_expired(&mut self, now: Timestamp) {
        self.by_group.retain(|_, chord| chord.lives(now));
    }
}

impl Store {
    /// A chord begins, or begins anew, that waits for `size` parts.
    pub fn start_chord(&self, group: &str, size: u64, life: Option<std::time::Duration>) {
        self.change(|state, now| {
            let expires = life.map(|life| now.after(life));
            let chord = Chord { size: Some(size), expires, ..Chord::default() };
            state.chords.by_group.insert(group.to_owned(), chord);
        });
    }

    /// A chord waits for one more part.
    pub fn extend_chord(&self, group: &str) {
        self.change(|state, now| state.chords.get(group, now).extra += 1);
    }

    /// Counts a part of a chord, as a settlement does; every caller for whom it is complete is told the members.
    pub fn count_part(&self, part: &ChordPart) -> Option<String> {
        self.change(|state, now| state.chords.count(part, now, false))
    }

    /// The parts of a chord, in the order of their places.
    pub fn chord_parts(&self, group: &str) -> Vec<Vec<u8>> {
        let now = self.now();
        self.lock().chords.get(group, now).parts.values().cloned().collect()
    }

    /// Forgets a chord.
    pub fn end_chord(&self, group: &str) {
        self.change(|state, _| state.chords.end(group));
    }
}
