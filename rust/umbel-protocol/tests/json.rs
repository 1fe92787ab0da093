//! JSON as Python's `json` has it.

use std::vec::Drain;

use umbel_protocol::json::{self, Build, Value, Writer};
use umbel_protocol::{Limits, Malformed};

fn parse(text: &str) -> Result<Value, Malformed> {
    json::parse(text.as_bytes(), &Limits::default())
}

#[test]
fn what_python_reads_is_read() {
    for (text, value) in [
        ("null", Value::Null),
        (" true ", Value::Bool(true)),
        ("-0", Value::Int(0)),
        ("-9223372036854775808", Value::Int(i64::MIN)),
        ("9223372036854775808", Value::BigInt("9223372036854775808".into())),
        ("1e2", Value::Float(100.0)),
        ("1E400", Value::Float(f64::INFINITY)),
        ("Infinity", Value::Float(f64::INFINITY)),
        ("-Infinity", Value::Float(f64::NEG_INFINITY)),
        (r#""\ud83d\udc0d\u00e9\/\b""#, Value::from("🐍é/\u{8}")),
        (r#""é🐍""#, Value::from("é🐍")),
        ("[]", Value::Array(vec![])),
        ("{ }", Value::Object(vec![])),
        (
            r#"[1, {"a": [2]}]"#,
            Value::Array(vec![Value::Int(1), Value::Object(vec![("a".into(), Value::Array(vec![Value::Int(2)]))])]),
        ),
    ] {
        assert_eq!(parse(text), Ok(value), "{text}");
    }
    assert!(matches!(parse("NaN"), Ok(Value::Float(number)) if number.is_nan()));
}

#[test]
fn what_python_refuses_is_an_error_with_its_place() {
    for (text, detail) in [
        ("", "expected a value at byte 0"),
        ("01", "extra data at byte 1"),
        ("1.", "extra data at byte 1"),
        ("+1", "expected a value at byte 0"),
        ("nul", "expected a value at byte 0"),
        ("[1,]", "expected a value at byte 3"),
        ("[1 2]", "expected ',' or ']' at byte 3"),
        (r#"{"a": 1,}"#, "expected a member name in double quotes at byte 8"),
        (r#"{"a" 1}"#, "expected ':' at byte 5"),
        ("{1: 2}", "expected a member name in double quotes at byte 1"),
        ("\"\u{1}\"", "control character in a string at byte 1"),
        (r#""\x""#, "invalid escape at byte 1"),
        (r#""\u12g4""#, "invalid \\u escape at byte 1"),
        (r#""\u1""#, "incomplete \\u escape at byte 1"),
        ("[\"abc", "unterminated string starting at byte 1"),
        ("-", "expected a value at byte 0"),
        ("-Inf", "expected a value at byte 0"),
        ("\u{feff}1", "expected a value at byte 0"),
        ("[1]]", "extra data at byte 3"),
    ] {
        assert_eq!(parse(text).expect_err(text).detail, detail, "{text}");
    }
    assert_eq!(json::parse(b"[\"\xff\"]", &Limits::default()).expect_err("no text").detail, "not UTF-8 at byte 2");
}

#[test]
fn the_last_of_several_members_of_a_name_wins() {
    let value = parse(r#"{"a": 1, "b": 2, "a": 3}"#).expect("JSON");
    assert_eq!(value.get("a"), Some(&Value::Int(3)));
    assert_eq!(value.as_object().map(<[_]>::len), Some(3));
}

#[test]
fn text_is_escaped_as_python_escapes_it() {
    let text = "h\u{e9}\u{2603}\u{1f40d} \"\\/\u{0}\n\r\t\u{8}\u{c}\u{7f}\u{1f}";
    let expected = r#""h\u00e9\u2603\ud83d\udc0d \"\\/\u0000\n\r\t\b\f\u007f\u001f""#;
    assert_eq!(json::to_string(&Value::from(text)), expected);
}

#[test]
fn lone_surrogates_reach_a_builder_that_can_hold_them() {
    /// Keeps the bytes of strings.
    struct Bytes;
    impl Build for Bytes {
        type Node = Vec<u8>;
        type Key = Vec<u8>;
        type Error = Malformed;
        fn null(&mut self) -> Result<Vec<u8>, Malformed> {
            Ok(Vec::new())
        }
        fn bool(&mut self, _: bool) -> Result<Vec<u8>, Malformed> {
            Ok(Vec::new())
        }
        fn integer(&mut self, _: i64) -> Result<Vec<u8>, Malformed> {
            Ok(Vec::new())
        }
        fn big_integer(&mut self, digits: &str) -> Result<Vec<u8>, Malformed> {
            Ok(digits.into())
        }
        fn float(&mut self, _: f64) -> Result<Vec<u8>, Malformed> {
            Ok(Vec::new())
        }
        fn string(&mut self, text: &str) -> Result<Vec<u8>, Malformed> {
            Ok(text.into())
        }
        fn key(&mut self, text: &str) -> Result<Vec<u8>, Malformed> {
            Ok(text.into())
        }
        fn array(&mut self, items: Drain<'_, Vec<u8>>) -> Result<Vec<u8>, Malformed> {
            Ok(items.flatten().collect())
        }
        fn object(&mut self, members: Drain<'_, (Vec<u8>, Vec<u8>)>) -> Result<Vec<u8>, Malformed> {
            Ok(members.flat_map(|(key, node)| [key, node].concat()).collect())
        }
        fn surrogate_string(&mut self, wtf8: &[u8]) -> Result<Vec<u8>, Malformed> {
            Ok(wtf8.into())
        }
        fn surrogate_key(&mut self, wtf8: &[u8]) -> Result<Vec<u8>, Malformed> {
            Ok(wtf8.into())
        }
    }
    let text = r#"["a\ud83d", {"\udc0d\ud83d": "\ud83d\ud83d\udc0d"}]"#;
    let built = json::build(text.as_bytes(), &Limits::default(), &mut Bytes).expect("held");
    assert_eq!(built, b"a\xed\xa0\xbd\xed\xb0\x8d\xed\xa0\xbd\xed\xa0\xbd\xf0\x9f\x90\x8d");
    assert!(parse(text).expect_err("a tree of Rust text cannot").detail.starts_with("lone surrogate"));
    assert_eq!(json::skip(text.as_bytes(), &Limits::default()), Ok(()));
}

#[test]
fn lone_surrogates_are_written_as_they_came() {
    let mut writer = Writer::new();
    writer.code_points([0x61, 0xd83d, 0x1f40d, 0xdc0d]);
    assert_eq!(writer.into_bytes(), br#""a\ud83d\ud83d\udc0d\udc0d""#);
}

#[test]
fn a_document_can_be_written_in_pieces_and_taken_back() {
    let mut writer = Writer::over(b"prefix ".to_vec());
    writer.begin_object();
    writer.key("a");
    writer.begin_array();
    writer.integer(-12);
    let mark = writer.len();
    writer.begin_object();
    writer.key("half");
    writer.rewind(mark);
    writer.float(0.5);
    writer.null();
    writer.end_array();
    let mark = writer.len();
    writer.key("gone");
    writer.rewind(mark);
    writer.key("b");
    writer.raw("{\"x\": 1}");
    writer.end_object();
    let text = writer.into_bytes();
    assert_eq!(String::from_utf8_lossy(&text), r#"prefix {"a": [-12, 0.5, null], "b": {"x": 1}}"#);
}

#[test]
fn taking_back_the_first_element_leaves_no_comma() {
    let mut writer = Writer::new();
    writer.begin_array();
    let mark = writer.len();
    writer.string("[");
    writer.rewind(mark);
    writer.string("[");
    writer.string("{");
    writer.end_array();
    assert_eq!(writer.into_bytes(), br#"["[", "{"]"#);
}
