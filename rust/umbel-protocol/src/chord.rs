//! What a message has to do with a chord: the last part of a header lets a message out that has waited for it.

use std::time::Duration;

use crate::envelope;
use crate::json::Writer;
use crate::message::Message;

/// In the body of a message that waits for a chord: the place of the list of its members, as JSON text.
pub const MEMBERS: &str = "\"umbel:chord-members\"";

/// What happens to a chord in the step in which a message is published.
#[derive(Debug, Clone, PartialEq)]
pub enum ChordStep {
    /// A part is counted. The message goes out only if that was the last one, with the members in place of [`MEMBERS`].
    Count(ChordPart),
    /// The chord is over: what is kept of it is forgotten.
    End {
        /// Group of its header.
        group: String,
    },
}

/// The end of one header member, counted once however often the member runs.
#[derive(Debug, Clone, PartialEq)]
pub struct ChordPart {
    /// Group of the header.
    pub group: String,
    /// Id of the member.
    pub task_id: String,
    /// Its place in the header; members without one come last.
    pub index: Option<i64>,
    /// Celery's `[1, id, state, result]`, in the result serializer.
    pub part: Vec<u8>,
    /// Life of what is kept of the chord, from this part on; `None` keeps it for ever.
    pub expires: Option<Duration>,
}

impl ChordPart {
    /// The place as Celery writes it in keys and scores.
    pub fn score(&self) -> String {
        self.index.map_or_else(|| "+inf".to_owned(), |index| index.to_string())
    }
}

/// The members' results as the JSON text of a list of result tuples.
pub fn member_tuples<'a>(task_ids: impl Iterator<Item = &'a str>) -> String {
    let mut writer = Writer::over(Vec::new());
    writer.begin_array();
    for task_id in task_ids {
        writer.begin_array();
        writer.begin_array();
        writer.string(task_id);
        writer.raw("null");
        writer.end_array();
        writer.raw("null");
        writer.end_array();
    }
    writer.end_array();
    String::from_utf8_lossy(&writer.into_bytes()).into_owned()
}

/// The message with the members in their place, if its body (in JSON) has one.
pub fn completed(message: &Message, members: &str) -> Message {
    let mut message = message.clone();
    if let Some(at) = memchr::memmem::rfind(&message.body, MEMBERS.as_bytes()) {
        message.body.splice(at..at + MEMBERS.len(), members.bytes());
    }
    message
}

/// The envelope of a message before and after the place of the members, as text: who has no base64 at hand can fill it
/// in (as text inside a JSON string). `None` if its body has no such place.
pub fn around_members(message: &Message, delivery_tag: &str) -> Option<(Vec<u8>, Vec<u8>)> {
    memchr::memmem::rfind(&message.body, MEMBERS.as_bytes())?;
    let envelope = envelope::encode_plain(message, delivery_tag)?;
    let place = MEMBERS.replace('"', "\\\"");
    let at = memchr::memmem::rfind(&envelope, place.as_bytes())?;
    Some((envelope[..at].to_vec(), envelope[at + place.len()..].to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_take_their_place() {
        let members = member_tuples(["a", "b\"c"].into_iter());
        assert_eq!(members, r#"[[["a", null], null], [["b\"c", null], null]]"#);
        let body = br#"[["g", {"args": ["umbel:chord-members"]}], {"result": "umbel:chord-members"}, null]"#;
        let message = Message { body: body.to_vec(), ..Message::default() };
        let text = String::from_utf8(completed(&message, "[1]").body).expect("text");
        assert_eq!(text, r#"[["g", {"args": ["umbel:chord-members"]}], {"result": [1]}, null]"#);
        let other = Message { body: b"\x80pickle".to_vec(), ..Message::default() };
        assert_eq!(completed(&other, "[1]"), other);
    }
}
