//! A message that a client has posted, whose headers say what its body says.

use hyper::StatusCode;
use hyper::header::HeaderMap;
use placet_types::DenialCode;

use super::check::{ALONE, one};
use super::refusal::{INVALID, Refusal};
use crate::frame::{Bounds, Frame, Kind, OwnedId, member, members};
use crate::headers;

/// The error of what is no frame.
const PARSE: i64 = -32_700;

/// A message.
pub(super) struct Posted {
    /// One line.
    pub(super) text: String,
    pub(super) id: Option<OwnedId>,
    pub(super) method: Option<String>,
    /// Where its progress is told, as it stands.
    pub(super) token: Option<String>,
    /// Whether it is of the revision without sessions.
    pub(super) is_alone: bool,
}

impl Posted {
    /// Reads a body, strictly, and compares what the headers say of it.
    pub(super) fn read(headers: &HeaderMap, bytes: &[u8]) -> Result<Self, Refusal> {
        let presented = || Some(String::from_utf8_lossy(bytes).chars().take(2048).collect());
        let frame = Frame::parse(bytes, Bounds::REQUEST).map_err(|error| {
            Refusal::new(StatusCode::BAD_REQUEST, PARSE, error.to_string())
                .recorded(DenialCode::Malformed, presented())
        })?;
        let (id, method, params) = match &frame.kind {
            Kind::Request { id, method, params } => (Some(id.to_owned()), Some(*method), *params),
            Kind::Notification { method, params } => (None, Some(*method), *params),
            Kind::Answer { id, .. } => (id.map(|id| id.to_owned()), None, None),
        };
        let is_alone = agree(headers, method, id.is_some(), params).map_err(|differs| {
            let why = match differs {
                Differs::Header(name) => {
                    format!("the header {name} is missing, or not what the body says")
                }
                Differs::Revision => format!("{ALONE} has no `initialize`, and answers to nothing"),
            };
            Refusal::new(StatusCode::BAD_REQUEST, differs.code(), why)
                .of(id.clone())
                .recorded(DenialCode::Malformed, presented())
        })?;
        let token = params
            .and_then(|params| members(params).ok())
            .and_then(|params| members(member(&params, "_meta")?).ok())
            .and_then(|meta| member(&meta, "progressToken").map(str::to_owned));
        // White space between members may be line ends; within strings it cannot be, or it would not have
        // been read.
        let text = String::from_utf8_lossy(bytes).replace(['\n', '\r'], " ");
        Ok(Self {
            id,
            method: method.map(str::to_owned),
            token,
            is_alone,
            text,
        })
    }
}

/// What headers and body disagree about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Differs {
    Header(&'static str),
    /// What only the other revisions have.
    Revision,
}

impl Differs {
    const fn code(self) -> i64 {
        match self {
            Self::Header(_) => headers::MISMATCH,
            Self::Revision => INVALID,
        }
    }
}

/// Whether a message is of the revision without sessions, if its headers say what it says.
fn agree(
    headers: &HeaderMap,
    method: Option<&str>,
    is_asked: bool,
    params: Option<&str>,
) -> Result<bool, Differs> {
    let header = |name: &'static str| one(headers, name).map_err(|_| Differs::Header(name));
    let (inside, said) = (headers::version_in(params), header(headers::VERSION)?);
    let is_alone = inside.is_some() || said.as_deref() == Some(ALONE);
    let Some(method) = method else {
        return if is_alone {
            Err(Differs::Revision)
        } else {
            Ok(false)
        };
    };
    if !is_alone {
        // Whoever looks at these on the way must not be told something else, whatever the revision.
        return match header(headers::METHOD)? {
            Some(said) if said != method => Err(Differs::Header(headers::METHOD)),
            _ => same_name(headers, method, params, false).map(|()| false),
        };
    }
    if method == "initialize" {
        return Err(Differs::Revision);
    }
    // Nothing says which headers a notification of this revision has, and it goes nowhere.
    if is_asked {
        if inside != said {
            return Err(Differs::Header(headers::VERSION));
        }
        if header(headers::METHOD)?.as_deref() != Some(method) {
            return Err(Differs::Header(headers::METHOD));
        }
        same_name(headers, method, params, true)?;
    }
    Ok(true)
}

fn same_name(
    headers: &HeaderMap,
    method: &str,
    params: Option<&str>,
    is_needed: bool,
) -> Result<(), Differs> {
    let differs = Differs::Header(headers::NAME);
    let said = one(headers, headers::NAME).map_err(|_| differs)?;
    let name = headers::name_in(method, params);
    match (said, name) {
        (None, None) => Ok(()),
        (None, Some(_)) => (!is_needed).then_some(()).ok_or(differs),
        // It says something about a request that has no name.
        (Some(_), None) => Err(differs),
        (Some(said), Some(name)) => {
            let is_same = headers::decoded(&said).is_some_and(|said| said == name);
            is_same.then_some(()).ok_or(differs)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(headers: &[(&'static str, &str)], body: &str) -> Result<Posted, i64> {
        let mut all = HeaderMap::new();
        for (name, value) in headers {
            all.append(*name, value.parse().unwrap());
        }
        Posted::read(&all, body.as_bytes()).map_err(|refusal| {
            assert_eq!(refusal.recorded, Some(DenialCode::Malformed));
            refusal.code
        })
    }

    const CALL: &str = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"pay",
        "_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","progressToken":"t"}}}"#;

    #[test]
    fn headers_say_what_the_body_says_or_nothing_is_read() {
        let good = [
            (headers::VERSION, ALONE),
            (headers::METHOD, "tools/call"),
            (headers::NAME, "pay"),
        ];
        let posted = read(&good, CALL).unwrap();
        assert!(posted.is_alone && !posted.text.contains('\n'));
        assert_eq!(posted.token.as_deref(), Some("\"t\""));
        for (at, other) in [
            (0, "2025-11-25"),
            (1, "tools/list"),
            (2, "echo"),
            (2, "Pay"),
            (2, "=?base64?***?="),
        ] {
            let mut changed = good;
            changed[at].1 = other;
            assert_eq!(read(&changed, CALL).err(), Some(headers::MISMATCH));
        }
        for missing in 0..3 {
            let mut fewer = good.to_vec();
            fewer.remove(missing);
            assert_eq!(read(&fewer, CALL).err(), Some(headers::MISMATCH));
        }
        let mut twice = good.to_vec();
        twice.push((headers::NAME, "pay"));
        assert_eq!(read(&twice, CALL).err(), Some(headers::MISMATCH));
        // Encoded, it is the same name.
        let mut encoded = good;
        encoded[2].1 = "=?base64?cGF5?=";
        assert!(read(&encoded, CALL).is_ok());
    }

    #[test]
    fn other_revisions_need_no_such_headers_and_must_not_lie_in_them() {
        let call = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"pay"}}"#;
        assert!(!read(&[], call).unwrap().is_alone);
        assert!(read(&[(headers::METHOD, "tools/call")], call).is_ok());
        for lie in [
            (headers::METHOD, "tools/list"),
            (headers::NAME, "echo"),
            (headers::VERSION, ALONE),
        ] {
            assert_eq!(read(&[lie], call).err(), Some(headers::MISMATCH), "{lie:?}");
        }
        assert_eq!(read(&[], "[]").err(), Some(PARSE));
        assert_eq!(read(&[], &format!("{call}\n{call}")).err(), Some(PARSE));
        let answer = r#"{"jsonrpc":"2.0","id":1,"result":{}}"#;
        assert!(read(&[], answer).is_ok());
        assert_eq!(
            read(&[(headers::VERSION, ALONE)], answer).err(),
            Some(INVALID)
        );
    }
}
