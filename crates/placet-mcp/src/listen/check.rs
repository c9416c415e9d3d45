//! What the head of a request must be before anything of it is looked at closer.

use hyper::body::Incoming;
use hyper::header::{
    ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderMap, ORIGIN, TRANSFER_ENCODING,
};
use hyper::{Method, Request, StatusCode, Uri};
use placet_types::DenialCode;
use serde_json::json;

use super::PATH;
use super::refusal::{INVALID, Refusal};
use crate::frame::Bounds;
use crate::headers;
use crate::remote;

/// The revision without sessions.
pub(super) const ALONE: &str = "2026-07-28";
/// Revisions that are spoken.
const VERSIONS: [&str; 4] = ["2025-03-26", "2025-06-18", "2025-11-25", ALONE];
/// Code of the error for a revision that is not spoken.
const UNSUPPORTED: i64 = -32_022;
/// How this host may be called without being told so.
const LOOPBACK: [&str; 3] = ["localhost", "127.0.0.1", "[::1]"];

/// The names that a request brings along: of this host, and of the page that sent it.
pub(super) fn names(request: &Request<Incoming>, hosts: &[String]) -> Result<(), Refusal> {
    let refused = |why: &str| {
        Refusal::new(StatusCode::FORBIDDEN, INVALID, why)
            .recorded(DenialCode::IdentityUnverified, None)
            .closing()
    };
    let host = one(request.headers(), HOST.as_str())?
        .unwrap_or_default()
        .to_lowercase();
    if !is_own(&host, hosts) {
        return Err(refused("this gateway does not answer to that name"));
    }
    // A second name, in the line of the request, must be the same.
    if let Some(authority) = request.uri().authority()
        && !authority.as_str().eq_ignore_ascii_case(&host)
    {
        return Err(refused("the request names two hosts"));
    }
    // A page from elsewhere may not speak here, whatever name its own host has.
    if let Some(origin) = one(request.headers(), ORIGIN.as_str())? {
        let origin: Option<Uri> = origin.parse().ok();
        let authority = origin.as_ref().and_then(Uri::authority);
        if !authority.is_some_and(|authority| authority.as_str().eq_ignore_ascii_case(&host)) {
            return Err(refused("a page from elsewhere may not ask"));
        }
    }
    Ok(())
}

fn is_own(host: &str, hosts: &[String]) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    let mut own = hosts.iter().map(String::as_str).chain(LOOPBACK);
    own.any(|own| own.eq_ignore_ascii_case(host) || own.eq_ignore_ascii_case(name))
}

/// The endpoint and what may be done with it.
pub(super) fn place(request: &Request<Incoming>) -> Result<(), Refusal> {
    if request.uri().path() != PATH {
        let why = format!("the endpoint is {PATH}");
        return Err(Refusal::new(StatusCode::NOT_FOUND, INVALID, why).closing());
    }
    let method = request.method();
    if ![Method::POST, Method::GET, Method::DELETE].contains(method) {
        return Err(Refusal::method("GET, POST, DELETE").closing());
    }
    let headers = request.headers();
    let length = one(headers, CONTENT_LENGTH.as_str())?;
    let has_body = headers.contains_key(TRANSFER_ENCODING)
        || length.as_deref().is_some_and(|length| length != "0");
    if method != Method::POST && has_body {
        let why = "only POST has a body";
        return Err(Refusal::new(StatusCode::BAD_REQUEST, INVALID, why).closing());
    }
    Ok(())
}

/// The revision that the head names, where it names one.
pub(super) fn version(headers: &HeaderMap) -> Result<(), Refusal> {
    match one(headers, headers::VERSION)? {
        Some(version) if !VERSIONS.contains(&version.as_str()) => {
            let why = "this revision is not spoken here";
            let mut refusal = Refusal::new(StatusCode::BAD_REQUEST, UNSUPPORTED, why);
            refusal.data = Some(json!({ "supported": VERSIONS, "requested": version }));
            Err(refusal)
        }
        _ => Ok(()),
    }
}

/// The value of a header that may stand once.
pub(super) fn one(headers: &HeaderMap, name: &str) -> Result<Option<String>, Refusal> {
    let mut all = headers.get_all(name).iter();
    let Some(first) = all.next() else {
        return Ok(None);
    };
    match (first.to_str(), all.next()) {
        (Ok(text), None) => Ok(Some(text.to_owned())),
        _ => {
            let why = format!("the header {name} stands once, as text");
            Err(
                Refusal::new(StatusCode::BAD_REQUEST, headers::MISMATCH, why)
                    .recorded(DenialCode::Malformed, None),
            )
        }
    }
}

fn accepts(headers: &HeaderMap, kind: &str) -> bool {
    let all = headers
        .get_all(ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok());
    let mut kinds = all.flat_map(|value| value.split(','));
    kinds.any(|given| {
        let given = given.split(';').next().unwrap_or_default().trim();
        given.eq_ignore_ascii_case(kind) || given == "*/*"
    })
}

pub(super) fn wants_events(headers: &HeaderMap) -> Result<(), Refusal> {
    if accepts(headers, "text/event-stream") {
        return Ok(());
    }
    let why = "Accept must have text/event-stream";
    Err(Refusal::new(StatusCode::NOT_ACCEPTABLE, INVALID, why))
}

/// Both kinds of answers must be welcome, and the body must be JSON: a page cannot send that without asking
/// first.
pub(super) fn kinds(headers: &HeaderMap) -> Result<(), Refusal> {
    wants_events(headers)?;
    if !accepts(headers, "application/json") {
        let why = "Accept must have application/json";
        return Err(Refusal::new(StatusCode::NOT_ACCEPTABLE, INVALID, why));
    }
    let kind = one(headers, CONTENT_TYPE.as_str())?.unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if kind.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    let why = "Content-Type must be application/json";
    Err(Refusal::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        INVALID,
        why,
    ))
}

pub(super) async fn body(body: Incoming) -> Result<Vec<u8>, Refusal> {
    let read = remote::whole(body, Bounds::REQUEST.bytes_max).await;
    read.map_err(|_| {
        let why = "the body is too long, or broke off";
        Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, INVALID, why)
            .recorded(DenialCode::Malformed, None)
            .closing()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_its_own_by_name_and_not_by_its_beginning() {
        let hosts = ["mcp.example.com".to_owned()];
        for own in [
            "localhost",
            "localhost:8080",
            "127.0.0.1:1",
            "[::1]:9",
            "[::1]",
            "mcp.example.com:443",
        ] {
            assert!(is_own(own, &hosts), "{own}");
        }
        for other in [
            "",
            "localhost.evil.example",
            "evil.example:8080",
            "127.0.0.1.evil.example",
            "localhost:8080.evil.example",
            "localhost:",
            "127.0.0.2",
            "[::1",
        ] {
            assert!(!is_own(other, &hosts), "{other}");
        }
    }
}
