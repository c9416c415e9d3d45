//! Bodies of requests: bounded in size, time and number, and read strictly.

use std::future::poll_fn;
use std::pin::Pin;
use std::time::Duration;

use hyper::StatusCode;
use hyper::body::{Body as _, Bytes, Incoming};
use hyper::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap};
use placet_types::canonical::{self, Bounds, Json};
use serde::de::DeserializeOwned;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::problem::Problem;

/// Longest body of anything but an intent, in bytes.
pub(crate) const SMALL_BYTES: usize = 64 << 10;
/// Deepest nesting of a body.
const DEPTH_MAX: usize = 32;

/// A body that was read, and its share of the memory for bodies.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) bytes: Bytes,
    _share: Option<OwnedSemaphorePermit>,
}

/// How much may be read, and for how long.
#[derive(Clone, Debug)]
pub(crate) struct Allowance {
    pub(crate) bytes_max: usize,
    pub(crate) patience: Duration,
    /// What a body of another kind than JSON is answered with.
    pub(crate) other_kind: StatusCode,
    /// The memory for large bodies, in KiB; small ones are bounded by the number of connections.
    pub(crate) memory: Option<std::sync::Arc<Semaphore>>,
}

impl Received {
    pub(crate) const fn none() -> Self {
        Self {
            bytes: Bytes::new(),
            _share: None,
        }
    }

    /// Reads the body of a request, as much as is allowed.
    pub(crate) async fn read(
        headers: &HeaderMap,
        body: Incoming,
        allowance: Allowance,
    ) -> Result<Self, Problem> {
        check_kind(headers, allowance.other_kind)?;
        let announced = announced(headers);
        if announced.is_some_and(|length| length > allowance.bytes_max) {
            return Err(too_long(allowance.bytes_max));
        }
        let share = match allowance.memory {
            Some(memory) => Some(share(memory, announced.unwrap_or(allowance.bytes_max))?),
            None => None,
        };
        let read = collect(body, allowance.bytes_max);
        let late = || {
            let detail = "the body took too long";
            Problem::new(StatusCode::REQUEST_TIMEOUT, "timeout", detail)
        };
        let bytes = tokio::time::timeout(allowance.patience, read)
            .await
            .map_err(|_| late())??;
        Ok(Self {
            bytes,
            _share: share,
        })
    }

    /// The body as I-JSON of any shape.
    pub(crate) fn i_json(&self) -> Result<Json, Problem> {
        let bounds = Bounds {
            bytes_max: self.bytes.len(),
            depth_max: DEPTH_MAX,
        };
        Json::parse(&self.bytes, bounds).map_err(Problem::from)
    }

    /// The body as JSON of this shape: I-JSON, no member twice, no unknown member.
    pub(crate) fn json<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        let bounds = Bounds {
            bytes_max: self.bytes.len(),
            depth_max: DEPTH_MAX,
        };
        canonical::canonicalize(&self.bytes, bounds)
            .map(|(value, _)| value)
            .map_err(Problem::from)
    }
}

/// A form that a browser can send across origins without asking is no JSON.
fn check_kind(headers: &HeaderMap, status: StatusCode) -> Result<(), Problem> {
    let kind = headers
        .get(CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok());
    let essence = kind.and_then(|kind| kind.split(';').next()).map(str::trim);
    let is_json = essence.is_some_and(|kind| kind.eq_ignore_ascii_case("application/json"));
    if is_json && !headers.contains_key(CONTENT_ENCODING) {
        return Ok(());
    }
    let detail = "send `Content-Type: application/json`, without a content encoding";
    Err(Problem::new(status, "media_type", detail))
}

fn announced(headers: &HeaderMap) -> Option<usize> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn too_long(max: usize) -> Problem {
    let detail = format!("the body is longer than {max} bytes");
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_long", detail)
}

fn share(memory: std::sync::Arc<Semaphore>, bytes: usize) -> Result<OwnedSemaphorePermit, Problem> {
    let kib = u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX);
    memory
        .try_acquire_many_owned(kib)
        .map_err(|_| Problem::overloaded("too many bodies at once"))
}

async fn collect(mut body: Incoming, max: usize) -> Result<Bytes, Problem> {
    let mut all = Vec::new();
    while let Some(frame) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
        let frame = frame.map_err(|_| Problem::malformed("the body ended early"))?;
        if let Ok(data) = frame.into_data() {
            if data.len() > max.saturating_sub(all.len()) {
                return Err(too_long(max));
            }
            all.extend_from_slice(&data);
        }
    }
    Ok(all.into())
}
