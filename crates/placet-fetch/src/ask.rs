//! One question and its answer: within bounds, without redirects, on a connection of its own.

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::{Body, Bytes, Frame, SizeHint};
use hyper::header::{
    ACCEPT, AUTHORIZATION, CONNECTION, CONTENT_TYPE, HOST, HeaderMap, HeaderValue, USER_AGENT,
};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use zeroize::Zeroizing;

use crate::target::{Leads, Stream, Target, TargetError};
use crate::trust::Trust;

/// Longest head of an answer, in bytes.
const HEAD_BYTES_MAX: usize = 16 << 10;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// It is not reached.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// It took too long.
    #[error("it did not answer in time")]
    Late,
    /// What came is no answer of HTTP, or too long.
    #[error("it does not answer as it should")]
    Answer,
}

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub enum Ask<'a> {
    /// What stands there.
    Get,
    /// A form, perhaps with a value of the `Authorization` header.
    Form(&'a [u8], Option<&'a HeaderValue>),
    /// A JSON document.
    Json(&'a [u8]),
}

/// What came back.
pub struct Answer {
    /// The status.
    pub status: u16,
    /// Its headers.
    pub headers: HeaderMap,
    /// The whole of its body; wiped when it goes.
    pub body: Zeroizing<Vec<u8>>,
}

/// What asks.
#[derive(Clone, Debug)]
pub struct Client {
    trust: Trust,
    leads: Leads,
    patience: Duration,
}

impl Client {
    /// Asks peers that these authorities vouch for, where names may lead there; waits so long.
    #[must_use]
    pub fn new(trust: Trust, leads: Leads, patience: Duration) -> Self {
        Self {
            trust,
            leads,
            patience,
        }
    }

    /// Asks, and gives whatever status comes back; a redirect is not followed.
    ///
    /// # Errors
    ///
    /// [`FetchError`]
    pub async fn ask(
        &self,
        at: &Target,
        ask: Ask<'_>,
        bytes_max: usize,
    ) -> Result<Answer, FetchError> {
        timeout(self.patience, self.asked(at, ask, bytes_max))
            .await
            .map_err(|_| FetchError::Late)?
    }

    async fn asked(
        &self,
        at: &Target,
        ask: Ask<'_>,
        bytes_max: usize,
    ) -> Result<Answer, FetchError> {
        let request = request(at, ask)?;
        match at.connect(&self.trust, &self.leads).await? {
            Stream::Plain(stream) => exchange(stream, request, bytes_max).await,
            Stream::Tls(stream) => exchange(*stream, request, bytes_max).await,
        }
    }
}

fn request(at: &Target, ask: Ask<'_>) -> Result<Request<Whole>, FetchError> {
    let (method, kind, body, authorization) = match ask {
        Ask::Get => (Method::GET, None, None, None),
        Ask::Form(body, authorization) => {
            let kind = "application/x-www-form-urlencoded";
            (Method::POST, Some(kind), Some(body), authorization)
        }
        Ask::Json(body) => (Method::POST, Some("application/json"), Some(body), None),
    };
    let mut request = Request::new(Whole(body.map(Bytes::copy_from_slice)));
    *request.method_mut() = method;
    *request.uri_mut() = at.path().parse().map_err(|_| FetchError::Answer)?;
    let host = HeaderValue::from_str(at.authority()).map_err(|_| FetchError::Answer)?;
    let headers = request.headers_mut();
    headers.insert(HOST, host);
    let both = "application/json, text/event-stream";
    let accept = if matches!(ask, Ask::Json(_)) {
        both
    } else {
        "application/json"
    };
    headers.insert(ACCEPT, HeaderValue::from_static(accept));
    headers.insert(USER_AGENT, HeaderValue::from_static("placet"));
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    if let Some(kind) = kind {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    }
    if let Some(value) = authorization {
        headers.insert(AUTHORIZATION, value.clone());
    }
    Ok(request)
}

async fn exchange<S>(
    stream: S,
    request: Request<Whole>,
    bytes_max: usize,
) -> Result<Answer, FetchError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let broken = |_| FetchError::Answer;
    let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
        .max_buf_size(HEAD_BYTES_MAX)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(broken)?;
    // It ends with the sender, or with the timeout that drops both.
    let driver = Driver(tokio::spawn(async move { drop(connection.await) }));
    let reply = sender.send_request(request).await.map_err(broken)?;
    let (head, mut body) = reply.into_parts();
    let mut all = Zeroizing::new(Vec::new());
    while let Some(frame) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
        if let Ok(data) = frame.map_err(broken)?.into_data() {
            if data.len() > bytes_max.saturating_sub(all.len()) {
                return Err(FetchError::Answer);
            }
            all.extend_from_slice(&data);
        }
    }
    drop(driver);
    Ok(Answer {
        status: head.status.as_u16(),
        headers: head.headers,
        body: all,
    })
}

/// The task that carries a connection ends with whoever asks.
struct Driver(tokio::task::JoinHandle<()>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A body that is there as a whole.
#[derive(Debug)]
pub struct Whole(pub Option<Bytes>);

impl Body for Whole {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.take().map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.as_ref().map_or(0, |bytes| bytes.len() as u64))
    }
}
