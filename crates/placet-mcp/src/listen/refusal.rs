//! What is refused before a session sees it: a status, an error of the protocol, and what is recorded.

use std::ops::{Deref, DerefMut};

use hyper::header::{ALLOW, CONNECTION, HeaderValue, WWW_AUTHENTICATE};
use hyper::{Response, StatusCode};
use placet_types::DenialCode;
use serde_json::{Value, json as object};

use super::answer::{Body, json};
use super::caller::Unproven;
use crate::emit;
use crate::frame::OwnedId;

/// The request breaks a rule of the transport.
pub(super) const INVALID: i64 = -32_600;
/// There is no such session.
pub(super) const NO_SESSION: i64 = -32_001;
/// There is no room, or no session any more.
pub(super) const BUSY: i64 = -32_000;

/// A refusal.
#[derive(Debug)]
pub(super) struct Refusal(Box<Said>);

/// What is said of it.
#[derive(Debug)]
pub(super) struct Said {
    pub(super) status: StatusCode,
    pub(super) code: i64,
    pub(super) why: String,
    /// What was asked, where that could be read.
    pub(super) id: Option<OwnedId>,
    pub(super) data: Option<Value>,
    pub(super) challenge: Option<String>,
    /// What may be done there instead (RFC 9110, 10.2.1).
    pub(super) allow: Option<&'static str>,
    /// Under which code it is recorded, where it is.
    pub(super) recorded: Option<DenialCode>,
    /// What was presented, for the record.
    pub(super) presented: Option<String>,
    /// Whether the connection ends with it.
    pub(super) closes: bool,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, code: i64, why: impl Into<String>) -> Self {
        Self(Box::new(Said {
            status,
            code,
            why: why.into(),
            id: None,
            data: None,
            challenge: None,
            allow: None,
            recorded: None,
            presented: None,
            closes: false,
        }))
    }

    pub(super) fn busy(why: &str) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, BUSY, why)
    }

    pub(super) fn method(allow: &'static str) -> Self {
        let why = format!("only these: {allow}");
        let mut refusal = Self::new(StatusCode::METHOD_NOT_ALLOWED, INVALID, why);
        refusal.allow = Some(allow);
        refusal
    }

    /// Nothing comes from that session any more.
    pub(super) fn over() -> Self {
        let why = "the session is over; begin another with `initialize`";
        Self::new(StatusCode::NOT_FOUND, NO_SESSION, why)
    }

    pub(super) fn recorded(mut self, code: DenialCode, presented: Option<String>) -> Self {
        self.recorded = Some(code);
        self.presented = presented;
        self
    }

    pub(super) fn of(mut self, id: Option<OwnedId>) -> Self {
        self.id = id;
        self
    }

    pub(super) fn closing(mut self) -> Self {
        self.closes = true;
        self
    }

    pub(super) fn response(self) -> Response<Body> {
        let said = *self.0;
        let text = emit::error(said.id.as_ref(), said.code, &said.why, said.data);
        let mut response = json(said.status, text);
        let headers = response.headers_mut();
        let challenge = said.challenge.as_deref().map(HeaderValue::from_str);
        if let Some(Ok(challenge)) = challenge {
            headers.insert(WWW_AUTHENTICATE, challenge);
        }
        if let Some(allow) = said.allow {
            headers.insert(ALLOW, HeaderValue::from_static(allow));
        }
        if said.closes {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

impl Deref for Refusal {
    type Target = Said;

    fn deref(&self) -> &Said {
        &self.0
    }
}

impl DerefMut for Refusal {
    fn deref_mut(&mut self) -> &mut Said {
        &mut self.0
    }
}

impl From<Unproven> for Refusal {
    fn from(unproven: Unproven) -> Self {
        let said = object!({ "code": unproven.code, "reason": unproven.why });
        let mut refusal = Self::new(unproven.status, INVALID, unproven.why)
            .recorded(unproven.code, None)
            .closing();
        refusal.data = Some(said);
        refusal.challenge = Some(unproven.challenge);
        refusal
    }
}
