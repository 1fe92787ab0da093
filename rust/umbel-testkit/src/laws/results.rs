//! Result records.

use umbel_protocol::content::Serializer;
use umbel_protocol::result::{self, ExceptionRecord, Record};
use umbel_protocol::{Limits, ReadError};

use super::memory::bounded;
use super::packing::TABLES;

/// Bytes of memory for each byte of a record: the tree it is read from, and the record's own copy.
const TIMES: usize = 320;

/// A record is read, written and read again as the same, in both serializers; the quick look at its status agrees.
pub(super) fn result(data: &[u8]) {
    let limits = Limits { max_bytes: 1 << 16, ..Limits::default() };
    let unpacked = bounded(data.len() + (3 << 16) + TABLES, 1, || result::unpack(data, &limits));
    let record = match unpacked {
        Ok(record) => record,
        Err(ReadError::Malformed(_) | ReadError::NeedsPython(_)) => return,
    };
    for serializer in [Serializer::Json, Serializer::Msgpack] {
        let Ok(read) = bounded(record.len(), TIMES, || Record::decode(&record, serializer, &limits)) else { continue };
        let written = read.encode(serializer).expect("it was read in this serializer");
        let again = Record::decode(&written, serializer, &Limits::default()).expect("what was written can be read");
        assert_eq!(format!("{again:?}"), format!("{read:?}"));
        if serializer == Serializer::Json {
            assert_eq!(Record::status_of(&record, &limits).as_ref(), Ok(&read.status));
        }
        if let Ok(exception) = ExceptionRecord::from_value(&read.result) {
            let again = ExceptionRecord::from_value(&exception.to_value()).expect("an exception");
            assert_eq!(format!("{again:?}"), format!("{exception:?}"));
        }
    }
}
