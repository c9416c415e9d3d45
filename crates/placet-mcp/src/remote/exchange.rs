//! One request and its response: connections that are kept for the next one, and bounds.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::body::{Body, Bytes, Incoming};
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper::header::{
    ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderMap, HeaderValue, USER_AGENT,
};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::time::timeout;

use super::Remote;
use crate::oauth::{Challenge, OAuthError};
use placet_fetch::{Stream, TargetError, Whole};

/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(10);
/// Connections that are kept for the next request.
const IDLE_MAX: usize = 8;
/// Longest head of a response, in bytes.
const HEAD_BYTES_MAX: usize = 64 << 10;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum RemoteError {
    #[error(transparent)]
    Target(#[from] TargetError),
    #[error("no connection was made in time")]
    Late,
    #[error("the connection broke: {0}")]
    Broken(hyper::Error),
    #[error("it answered with HTTP status {0}")]
    Status(u16),
    #[error("its answer is longer than may be")]
    TooLong,
    #[error("its answer is neither JSON nor a stream of events")]
    Kind,
    #[error("its answer is not the answer to this request")]
    OtherAnswer,
    #[error("its stream ended before the answer")]
    Ended,
    #[error("the session is not known there any more")]
    Forgotten,
    #[error("it wants a token: `placet mcp login {0}` gets one")]
    Login(String),
    #[error(
        "it wants more than the token allows: `placet mcp login {0} --scope '{1}'` asks for it"
    )]
    Scope(String, String),
    #[error("{0}; `placet mcp login {1}` gets another token")]
    Token(OAuthError, String),
}

/// The server, and the connections to it.
pub(crate) struct Peer {
    remote: Remote,
    idle: Arc<Mutex<Vec<SendRequest<Whole>>>>,
}

impl Peer {
    pub(crate) fn new(remote: Remote) -> Self {
        Self {
            remote,
            idle: Arc::default(),
        }
    }

    /// Sends a request and gives the head of what comes back. A token that is not taken is renewed, once.
    pub(crate) async fn send(
        &self,
        method: Method,
        headers: HeaderMap,
        body: Vec<u8>,
    ) -> Result<Response<Incoming>, RemoteError> {
        let request = self.request(method, headers, body);
        let Some(bearer) = &self.remote.bearer else {
            return self.wanting(self.sent(request).await?);
        };
        let bad = |error| RemoteError::Token(error, self.remote.name.clone());
        let shown = bearer.header().await.map_err(bad)?;
        let response = self.sent(showing(&request, &shown)).await?;
        if response.status() != StatusCode::UNAUTHORIZED {
            return self.wanting(response);
        }
        let other = bearer.other(&shown).await.map_err(bad)?;
        self.wanting(self.sent(showing(&request, &other)).await?)
    }

    /// A refusal for want of a token says how to get one.
    fn wanting(&self, response: Response<Incoming>) -> Result<Response<Incoming>, RemoteError> {
        let name = || self.remote.name.clone();
        let challenge = || Challenge::of(response.headers()).unwrap_or_default();
        match response.status() {
            StatusCode::UNAUTHORIZED => Err(RemoteError::Login(name())),
            StatusCode::FORBIDDEN if challenge().error.as_deref() == Some("insufficient_scope") => {
                let plain = |c: &char| c.is_ascii_graphic() && !"'\"\\`".contains(*c) || *c == ' ';
                let scope = challenge().scope.unwrap_or_default();
                let scope = scope.chars().filter(plain).take(500).collect();
                Err(RemoteError::Scope(name(), scope))
            }
            _ => Ok(response),
        }
    }

    async fn sent(&self, mut request: Request<Whole>) -> Result<Response<Incoming>, RemoteError> {
        loop {
            let (mut sender, is_new) = match self.kept() {
                Some(sender) => (sender, false),
                None => (self.connect().await?, true),
            };
            match sender.try_send_request(request).await {
                Ok(response) => {
                    self.keep(sender);
                    return Ok(response);
                }
                Err(mut failed) => match failed.take_message() {
                    // It was closed before anything was sent.
                    Some(unsent) if !is_new => request = unsent,
                    _ => return Err(RemoteError::Broken(failed.into_error())),
                },
            }
        }
    }

    fn request(&self, method: Method, headers: HeaderMap, body: Vec<u8>) -> Request<Whole> {
        let accept = if method == Method::GET {
            "text/event-stream"
        } else {
            "application/json, text/event-stream"
        };
        let has_body = method == Method::POST;
        let mut request = Request::new(Whole(has_body.then(|| Bytes::from(body))));
        *request.method_mut() = method;
        if let Ok(path) = self.remote.target.path().parse() {
            *request.uri_mut() = path;
        }
        let all = request.headers_mut();
        for (name, value) in &self.remote.headers {
            all.insert(name, value.clone());
        }
        all.extend(headers);
        if let Ok(host) = HeaderValue::from_str(self.remote.target.authority()) {
            all.insert(HOST, host);
        }
        all.insert(ACCEPT, HeaderValue::from_static(accept));
        all.insert(USER_AGENT, HeaderValue::from_static("placet"));
        if has_body {
            all.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        request
    }

    fn kept(&self) -> Option<SendRequest<Whole>> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(sender) = idle.pop() {
            if sender.is_ready() {
                return Some(sender);
            }
        }
        None
    }

    /// Keeps a connection for the next request once this one's response was read.
    fn keep(&self, mut sender: SendRequest<Whole>) {
        let idle = Arc::downgrade(&self.idle);
        tokio::spawn(async move {
            if sender.ready().await.is_err() {
                return;
            }
            if let Some(idle) = idle.upgrade() {
                let mut idle = idle.lock().unwrap_or_else(PoisonError::into_inner);
                if idle.len() < IDLE_MAX {
                    idle.push(sender);
                }
            }
        });
    }

    async fn connect(&self) -> Result<SendRequest<Whole>, RemoteError> {
        let remote = &self.remote;
        let connecting = timeout(CONNECT, remote.target.connect(&remote.trust, &remote.leads));
        match connecting.await.map_err(|_| RemoteError::Late)?? {
            Stream::Plain(stream) => begin(stream).await,
            Stream::Tls(stream) => begin(*stream).await,
        }
    }
}

/// The same request, with a token.
fn showing(request: &Request<Whole>, token: &HeaderValue) -> Request<Whole> {
    let mut shown = Request::new(Whole(request.body().0.clone()));
    *shown.method_mut() = request.method().clone();
    *shown.uri_mut() = request.uri().clone();
    *shown.headers_mut() = request.headers().clone();
    shown.headers_mut().insert(AUTHORIZATION, token.clone());
    shown
}

async fn begin<S>(stream: S) -> Result<SendRequest<Whole>, RemoteError>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = Builder::new()
        .max_buf_size(HEAD_BYTES_MAX)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(RemoteError::Broken)?;
    // It ends with the sender and the response, and how is told to whoever waits for that.
    tokio::spawn(async move { drop(connection.await) });
    Ok(sender)
}

/// The next piece of a body; `None` at its end.
pub(crate) async fn piece(body: &mut Incoming) -> Result<Option<Bytes>, RemoteError> {
    loop {
        let next = poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).await;
        match next {
            None => return Ok(None),
            Some(Err(error)) => return Err(RemoteError::Broken(error)),
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    return Ok(Some(data));
                }
            }
        }
    }
}

/// The whole of a body, within a bound.
pub(crate) async fn whole(mut body: Incoming, bytes_max: usize) -> Result<Vec<u8>, RemoteError> {
    let mut all = Vec::new();
    while let Some(data) = piece(&mut body).await? {
        if data.len() > bytes_max.saturating_sub(all.len()) {
            return Err(RemoteError::TooLong);
        }
        all.extend_from_slice(&data);
    }
    Ok(all)
}
