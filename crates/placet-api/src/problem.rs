//! Problems: what a request that was not done is answered with (RFC 9457).
//!
//! A denial is an answer, not a failure; it has its code, the check that it comes from, the record
//! that says so, and what would have to change.

use hyper::StatusCode;
use hyper::header::{ALLOW, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use placet_authority::{Denied, Unavailable};
use placet_decision::CHECKS;
use placet_log::ReadError;
use placet_types::canonical::Malformed;
use placet_types::{Denial, DenialCode, ExecutionId, Index};
use serde::Serialize;

use crate::identity::ALGORITHMS;
use crate::reply::{self, Reply};

/// A request that was not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem(Box<Members>);

/// What is said of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Members {
    /// `urn:placet:problem:` and the code.
    #[serde(rename = "type")]
    kind: String,
    /// What the code means, in a few words.
    title: &'static str,
    /// The HTTP status.
    status: u16,
    /// What is wrong with this request.
    detail: String,
    /// The denial code, or the name of a failure of the request itself.
    code: &'static str,
    /// Number of the check that denied, 1 to 10.
    #[serde(skip_serializing_if = "Option::is_none")]
    check: Option<u8>,
    /// What that check asks.
    #[serde(skip_serializing_if = "Option::is_none")]
    check_name: Option<&'static str>,
    /// The execution that it is about, or that would have been.
    #[serde(skip_serializing_if = "Option::is_none")]
    exec: Option<ExecutionId>,
    /// The record that says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    index: Option<Index>,
    /// What would have to change.
    #[serde(skip_serializing_if = "Option::is_none")]
    remedy: Option<&'static str>,
    #[serde(skip)]
    allow: Option<String>,
}

impl Problem {
    /// A failure of the request itself, before anything of it was asked.
    pub(crate) fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self(Box::new(Members {
            kind: format!("urn:placet:problem:{code}"),
            title: status.canonical_reason().unwrap_or("Error"),
            status: status.as_u16(),
            detail: detail.into(),
            code,
            check: None,
            check_name: None,
            exec: None,
            index: None,
            remedy: None,
            allow: None,
        }))
    }

    pub(crate) fn not_found(what: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", what)
    }

    pub(crate) fn malformed(detail: impl Into<String>) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            DenialCode::Malformed.as_str(),
            detail,
        )
    }

    pub(crate) fn internal() -> Self {
        let detail = "the answer could not be made";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", detail)
    }

    pub(crate) fn overloaded(detail: &str) -> Self {
        Self::of(&Denial::new(DenialCode::Overloaded, detail))
    }

    pub(crate) fn method(allowed: String) -> Self {
        let detail = format!("this resource takes {allowed}");
        let mut problem = Self::new(StatusCode::METHOD_NOT_ALLOWED, "method", detail);
        problem.0.allow = Some(allowed);
        problem
    }

    /// Who has not said who it is.
    pub(crate) fn unauthenticated() -> Self {
        let detail = "say who you are: connect to the Unix socket, send a DPoP proof by a registered key, a bearer token, or show a client certificate";
        let denial = Denial::new(DenialCode::IdentityUnverified, detail);
        Self::unproven(&denial)
    }

    /// Who has said who it is, and has not proven it.
    pub(crate) fn unproven(denial: &Denial) -> Self {
        let problem = Self::of(denial);
        if denial.code == DenialCode::Overloaded {
            return problem;
        }
        problem.with_status(StatusCode::UNAUTHORIZED)
    }

    pub(crate) fn of(denial: &Denial) -> Self {
        let status = status(denial.code);
        let mut problem = Self::new(status, denial.code.as_str(), &denial.reason);
        problem.0.remedy = Some(denial.code.remedy());
        problem
    }

    pub(crate) fn about(mut self, exec: ExecutionId) -> Self {
        self.0.exec = Some(exec);
        self
    }

    fn with_status(mut self, status: StatusCode) -> Self {
        self.0.status = status.as_u16();
        self.0.title = status.canonical_reason().unwrap_or("Error");
        self
    }

    /// What is wrong with the request.
    pub(crate) fn detail(&self) -> &str {
        &self.0.detail
    }

    /// The HTTP status.
    pub(crate) fn status(&self) -> u16 {
        self.0.status
    }

    /// The name of the failure: for logs and meters.
    pub(crate) fn code(&self) -> &'static str {
        self.0.code
    }

    pub(crate) fn into_reply(self) -> Reply {
        let status = StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::BAD_REQUEST);
        let body = serde_json::to_vec(&self.0).unwrap_or_default();
        let mut reply = reply::bytes(status, "application/problem+json", body);
        if status == StatusCode::UNAUTHORIZED
            && let Ok(challenge) = HeaderValue::from_str(&format!("DPoP algs=\"{ALGORITHMS}\""))
        {
            reply.headers_mut().insert(WWW_AUTHENTICATE, challenge);
        }
        if status == StatusCode::SERVICE_UNAVAILABLE {
            reply::set(&mut reply, RETRY_AFTER, "1");
        }
        if let Some(allow) = self
            .0
            .allow
            .and_then(|allow| HeaderValue::from_str(&allow).ok())
        {
            reply.headers_mut().insert(ALLOW, allow);
        }
        reply
    }
}

/// Not being permitted is 403, whatever the check; only what the caller can do nothing about, or has
/// spelled wrongly, is something else.
fn status(code: DenialCode) -> StatusCode {
    let later = [
        DenialCode::Overloaded,
        DenialCode::EvidenceUnavailable,
        DenialCode::GovernanceDiscontinuity,
    ];
    if code == DenialCode::Malformed {
        StatusCode::BAD_REQUEST
    } else if later.contains(&code) {
        StatusCode::SERVICE_UNAVAILABLE
    } else {
        StatusCode::FORBIDDEN
    }
}

impl From<Denied> for Problem {
    fn from(denied: Denied) -> Self {
        let check = denied.denial.check;
        let name = usize::from(check).checked_sub(1);
        let denial = Denial::new(denied.denial.code, denied.denial.reason);
        let mut problem = Self::of(&denial);
        problem.0.check = Some(check);
        problem.0.check_name = name.and_then(|at| CHECKS.get(at).copied());
        problem.0.exec = denied.exec;
        problem.0.index = Some(denied.index);
        problem
    }
}

impl From<Unavailable> for Problem {
    fn from(unavailable: Unavailable) -> Self {
        Self::of(&Denial::new(unavailable.code(), unavailable.to_string()))
    }
}

impl From<Malformed> for Problem {
    fn from(error: Malformed) -> Self {
        Self::malformed(error.to_string())
    }
}

impl From<ReadError> for Problem {
    fn from(error: ReadError) -> Self {
        let is_missing = matches!(
            error,
            ReadError::NoSuchRecord { .. }
                | ReadError::NoSuchTree { .. }
                | ReadError::NoSuchResource(_)
        );
        if is_missing {
            return Self::not_found(error.to_string());
        }
        // What the operating system said is for the operator's log, not for callers.
        let reason = "the log could not be read";
        Self::of(&Denial::new(DenialCode::EvidenceUnavailable, reason))
    }
}
