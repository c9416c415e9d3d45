//! Envelopes, written anew: the same members in the same order, whoever sent the frame.

use serde_json::Value;

use crate::frame::{Answer, Frame, Kind, OwnedId};
use crate::scan::Member;

/// A frame as it is forwarded, without a line end.
#[must_use]
pub fn frame(frame: &Frame<'_>) -> String {
    let mut out = match &frame.kind {
        Kind::Request { id, method, params } => request(id.as_str(), method, *params),
        Kind::Notification { method, params } => notification(method, *params),
        Kind::Answer { id, answer } => {
            let id = id.map_or("null", |id| id.as_str());
            match answer {
                Answer::Result(result) => result_of(id, result),
                Answer::Error(error) => format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{error}}}"#),
            }
        }
    };
    for Member { name, value } in &frame.extra {
        out.pop();
        out.push(',');
        out.push_str(&Value::from(name.as_ref()).to_string());
        out.push(':');
        out.push_str(value);
        out.push('}');
    }
    out
}

/// A request.
#[must_use]
pub fn request(id: &str, method: &str, params: Option<&str>) -> String {
    match params {
        Some(params) => {
            format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{params}}}"#)
        }
        None => format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}"}}"#),
    }
}

/// A notification.
#[must_use]
pub fn notification(method: &str, params: Option<&str>) -> String {
    match params {
        Some(params) => format!(r#"{{"jsonrpc":"2.0","method":"{method}","params":{params}}}"#),
        None => format!(r#"{{"jsonrpc":"2.0","method":"{method}"}}"#),
    }
}

/// A result.
#[must_use]
pub fn result_of(id: &str, result: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#)
}

/// An error with what a program can read of it.
#[must_use]
pub fn error(id: Option<&OwnedId>, code: i64, message: &str, data: Option<Value>) -> String {
    let mut error = serde_json::json!({ "code": code, "message": message });
    if let (Some(data), Some(members)) = (data, error.as_object_mut()) {
        members.insert("data".to_owned(), data);
    }
    let id = id.map_or("null", OwnedId::as_str);
    format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{error}}}"#)
}

/// An object of these members, as they stand.
#[must_use]
pub fn object<'a>(members: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let mut out = String::from("{");
    for (name, value) in members {
        if out.len() > 1 {
            out.push(',');
        }
        out.push_str(&Value::from(name).to_string());
        out.push(':');
        out.push_str(value);
    }
    out.push('}');
    out
}
