//! `placet-mcp`: the frames between a client of the Model Context Protocol and a server.

use placet_mcp::emit;
use placet_mcp::frame::{Bounds, Frame, Kind, members};
use serde_json::Value;

/// What passes reads as the same message in another reader, and is written in one way: read again it is
/// the same, to the byte, and within the bounds.
pub(crate) fn frame(data: &[u8]) -> bool {
    let Ok(frame) = Frame::parse(data, Bounds::REQUEST) else {
        return false;
    };
    let written = emit::frame(&frame);
    let again = Frame::parse(written.as_bytes(), Bounds::ANSWER).expect("what passes passes again");
    assert_eq!(again, frame);
    assert_eq!(emit::frame(&again), written);
    let read: Value = serde_json::from_slice(data).expect("what passes is JSON to others");
    let forwarded: Value = serde_json::from_str(&written).expect("so is what is forwarded");
    let Kind::Answer { id: None, .. } = frame.kind else {
        assert_eq!(read, forwarded);
        return true;
    };
    // An answer to nobody in particular may have no id, and is written with `null`.
    assert!(forwarded.get("id").is_some_and(Value::is_null));
    true
}

/// The members of parameters are those that another reader sees.
pub(crate) fn frame_members(data: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(data) else {
        return false;
    };
    // Only what was part of a frame is read this way: its depth is bounded already.
    let whole = format!(r#"{{"jsonrpc":"2.0","method":"m","params":{text}}}"#);
    let Ok(frame) = Frame::parse(whole.as_bytes(), Bounds::REQUEST) else {
        return false;
    };
    let Kind::Notification {
        params: Some(params),
        ..
    } = frame.kind
    else {
        return false;
    };
    let ours = members(params).expect("parameters are an object");
    let theirs: Value = serde_json::from_str(params).expect("in JSON");
    let theirs = theirs.as_object().expect("an object to others too");
    assert_eq!(ours.len(), theirs.len());
    for one in ours {
        let value: Value = serde_json::from_str(one.value).expect("a value is JSON");
        assert_eq!(theirs.get(one.name.as_ref()), Some(&value));
    }
    true
}
