//! Responses: their bodies, and the ways to make one.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::body::{Body as HttpBody, Bytes, Frame, SizeHint};
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderName, HeaderValue, IF_NONE_MATCH};
use hyper::{HeaderMap, Response, StatusCode};
use placet_types::Digest;
use serde::Serialize;
use tokio::sync::mpsc;

use crate::problem::Problem;

/// A response of this crate.
pub(crate) type Reply = Response<Body>;

/// The body of a response.
#[derive(Debug)]
pub(crate) enum Body {
    /// All of it.
    Whole(Option<Bytes>),
    /// Piece by piece, as they come.
    Pieces(mpsc::Receiver<Bytes>),
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.get_mut() {
            Self::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Pieces(pieces) => pieces
                .poll_recv(context)
                .map(|piece| piece.map(|bytes| Ok(Frame::data(bytes)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(None))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Self::Pieces(_) => SizeHint::default(),
        }
    }
}

/// A response with these bytes.
pub(crate) fn bytes(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Reply {
    let body = body.into();
    let mut reply = Response::new(Body::Whole((!body.is_empty()).then_some(body)));
    *reply.status_mut() = status;
    set(&mut reply, CONTENT_TYPE, kind);
    set(&mut reply, CACHE_CONTROL, "no-store");
    reply
}

/// Bytes that most answers fit in, a permit with its artifact and receipt among them: one that grows is moved each time.
const ROOM: usize = 8 << 10;

/// A response with this value as JSON.
pub(crate) fn json(status: StatusCode, value: &impl Serialize) -> Result<Reply, Problem> {
    let mut body = Vec::with_capacity(ROOM);
    serde_json::to_writer(&mut body, value).map_err(|_| Problem::internal())?;
    Ok(bytes(status, "application/json", body))
}

/// What changes and may be kept as long as it is asked about again, or never changes at all.
pub(crate) fn cacheable(
    asked: &HeaderMap,
    kind: &'static str,
    body: Vec<u8>,
    immutable: bool,
) -> Reply {
    let tag = format!(
        "\"{}\"",
        Digest::of(&body).hex().get(..32).unwrap_or_default()
    );
    let known = asked.get_all(IF_NONE_MATCH).iter().any(|tags| {
        let tags = tags.to_str().unwrap_or_default();
        let mut tags = tags.split(',').map(str::trim);
        tags.any(|one| one == "*" || one.strip_prefix("W/").unwrap_or(one) == tag)
    });
    let mut reply = if known {
        bytes(StatusCode::NOT_MODIFIED, kind, Vec::new())
    } else {
        bytes(StatusCode::OK, kind, body)
    };
    let kept = if immutable {
        "public, max-age=31536000, immutable"
    } else {
        "no-cache"
    };
    set(&mut reply, CACHE_CONTROL, kept);
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        reply.headers_mut().insert(ETAG, tag);
    }
    reply
}

pub(crate) fn set(reply: &mut Reply, name: HeaderName, value: &'static str) {
    reply
        .headers_mut()
        .insert(name, HeaderValue::from_static(value));
}
