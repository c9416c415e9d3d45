use super::*;
use crate::emit;
use proptest::prelude::*;

fn read(text: &str) -> Result<Frame<'_>, FrameError> {
    Frame::parse(text.as_bytes(), Bounds::REQUEST)
}

const CALL: &str =
    r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","arguments":{"x":1}}}"#;

#[test]
fn a_frame_is_emitted_in_one_envelope_whatever_order_it_came_in() {
    assert_eq!(emit::frame(&read(CALL).unwrap()), CALL);
    let shuffled = r#" { "params" : {"name":"a","arguments":{"x":1}}, "id" : 1 , "method":"tools/call", "jsonrpc":"2.0" } "#;
    assert_eq!(emit::frame(&read(shuffled).unwrap()), CALL);
    let extra = r#"{"jsonrpc":"2.0","id":"a","result":{"a":1.50},"x-trace":[1]}"#;
    assert_eq!(emit::frame(&read(extra).unwrap()), extra);
}

#[test]
fn duplicate_members_are_refused_at_any_depth_and_in_any_spelling() {
    for text in [
        r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":{"a":{"b":1,"b":2}}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":{"a":[{"b":1,"\u0062":2}]}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","m\u0065thod":"tools/call"}"#,
    ] {
        assert!(
            matches!(read(text), Err(FrameError::Duplicate(_))),
            "{text}"
        );
    }
    let many: Vec<String> = (0..40).map(|i| format!(r#""k{i}":1"#)).collect();
    let params = many.join(",");
    let frame = |more: &str| {
        format!(r#"{{"jsonrpc":"2.0","method":"notifications/x","params":{{{params}{more}}}}}"#)
    };
    assert!(read(&frame("")).is_ok());
    assert!(matches!(
        read(&frame(r#","k7":2"#)),
        Err(FrameError::Duplicate(_))
    ));
}

#[test]
fn case_tricks_are_refused() {
    for text in [
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","Method":"tools/call"}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","PARAMS":{}}"#,
    ] {
        assert!(
            matches!(read(text), Err(FrameError::CaseTrick(_))),
            "{text}"
        );
    }
}

#[test]
fn numbers_that_readers_read_differently_are_refused() {
    for number in [
        "12345678901234567890123",
        "9007199254740993",
        "1e400",
        "-1e309",
    ] {
        let text = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"m","params":{{"a":{number}}}}}"#);
        assert!(
            matches!(read(&text), Err(FrameError::Number(_))),
            "{number}"
        );
    }
    for number in ["0", "-0.5", "1e3", "9007199254740991", "123456789012345"] {
        let text = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"m","params":{{"a":{number}}}}}"#);
        assert!(read(&text).is_ok(), "{number}");
    }
}

#[test]
fn invalid_ids_are_refused() {
    for id in [
        "1.0",
        "1e1",
        "-0",
        "null",
        "true",
        "[]",
        "{}",
        r#""""#,
        r#""\u0061""#,
        "9007199254740993",
    ] {
        let text = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"ping"}}"#);
        assert!(read(&text).is_err(), "{id}");
    }
    let long = format!(
        r#"{{"jsonrpc":"2.0","id":"{}","method":"ping"}}"#,
        "a".repeat(257)
    );
    assert_eq!(read(&long), Err(FrameError::Id));
    for id in ["0", "-7", r#""abc""#, "9007199254740991"] {
        assert!(
            read(&format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"ping"}}"#)).is_ok(),
            "{id}"
        );
    }
}

#[test]
fn batches_oversize_and_overdeep_frames_are_refused() {
    assert_eq!(read(&format!("[{CALL}]")), Err(FrameError::Batch));
    let deep = |n: usize| {
        let (open, close) = ("[".repeat(n), "]".repeat(n));
        format!(r#"{{"jsonrpc":"2.0","method":"m","params":{{"a":{open}{close}}}}}"#)
    };
    assert!(read(&deep(40)).is_ok());
    assert!(matches!(read(&deep(100_000)), Err(FrameError::TooDeep(_))));
    let long = format!(
        r#"{{"jsonrpc":"2.0","method":"m","params":{{"a":"{}"}}}}"#,
        "x".repeat(2 << 20)
    );
    assert!(matches!(read(&long), Err(FrameError::TooLong(_))));
}

#[test]
fn what_is_neither_request_nor_answer_is_refused() {
    for text in [
        r#"{"id":1,"method":"ping"}"#,
        r#"{"jsonrpc":"1.0","id":1,"method":"ping"}"#,
        r#"{"jsonrpc":2.0,"id":1,"method":"ping"}"#,
        r#"{"jsonrpc":"2.0","id":1}"#,
        r#"{"jsonrpc":"2.0","id":1,"result":{},"error":{}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","result":{}}"#,
        r#"{"jsonrpc":"2.0","result":{}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":[1]}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"pi\u006eg"}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"a b"}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"ping"} x"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"ping",}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":{"a":"\ud800"}}"#,
        "",
        "null",
        "hello",
    ] {
        assert!(read(text).is_err(), "{text}");
    }
    assert!(Frame::parse(b"{\"jsonrpc\":\"\xff\"}", Bounds::REQUEST).is_err());
}

proptest! {
    /// Whatever passes is read alike by the ordinary reader, before and after it was emitted.
    #[test]
    fn what_passes_is_read_alike(text in r#"\{"jsonrpc":"2.0","id":[0-9]{1,3},"method":"m","params":\{("[ab]":([0-9]{1,3}|"[a-c\\"]{0,3}"|\[\]|\{"[ab]":1,"[ab]":2\}),?){0,3}\}\}"#) {
        if let Ok(frame) = read(&text) {
            let before: serde_json::Value = serde_json::from_str(&text).unwrap();
            let after: serde_json::Value = serde_json::from_str(&emit::frame(&frame)).unwrap();
            prop_assert_eq!(before, after);
        }
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        drop(Frame::parse(&bytes, Bounds::REQUEST));
    }
}
