//! What comes back: one answer, or a stream of events that may break and be taken up again.

use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::{Method, Response, StatusCode};
use tokio::time::{sleep, timeout};

use super::exchange::{RemoteError, piece, whole};
use super::{Asked, Wire, unless_over};
use crate::frame::{Answer, Bounds, Frame, Kind};
use crate::headers;
use crate::sse::{Event, Reader};

/// Times that the stream of a request is taken up again.
const AGAIN_MAX: u32 = 16;
/// How long to wait before that, unless the server says how long.
const RETRY: Duration = Duration::from_secs(1);
/// As long as a server may have it waited for.
const RETRY_MAX: Duration = Duration::from_secs(30);
/// How long the head of a stream may take that is taken up again.
const RESUME: Duration = Duration::from_secs(30);
/// The header that says where to take a stream up.
const LAST_EVENT: &str = "last-event-id";

/// What an answer came as.
enum Came {
    Json,
    Events,
    Other,
}

fn came(headers: &HeaderMap) -> Came {
    let kind = headers
        .get(CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok());
    let kind = kind
        .and_then(|kind| kind.split(';').next())
        .unwrap_or_default();
    match kind.trim().to_ascii_lowercase().as_str() {
        "application/json" => Came::Json,
        "text/event-stream" => Came::Events,
        _ => Came::Other,
    }
}

impl Wire {
    /// Asks, and hands over everything up to the answer.
    pub(super) async fn request(&self, asked: &Asked) -> Result<(), RemoteError> {
        let (headers, body) = (asked.headers.clone(), asked.body.clone());
        let response = self.peer.send(Method::POST, headers, body).await?;
        let session = response.headers().get(headers::SESSION).cloned();
        if response.status() != StatusCode::OK {
            return self.refused(asked, response).await;
        }
        match came(response.headers()) {
            Came::Json => {
                let body = whole(response.into_body(), Bounds::ANSWER.bytes_max).await?;
                let is_answer = self.look(asked, &body, session);
                if !asked.is_own {
                    self.line(body).await;
                }
                if is_answer {
                    Ok(())
                } else {
                    Err(RemoteError::OtherAnswer)
                }
            }
            Came::Events => self.events(asked, response.into_body(), session).await,
            Came::Other => Err(RemoteError::Kind),
        }
    }

    /// Whether a frame is the answer to this request; what it says of the server is taken.
    fn look(&self, asked: &Asked, bytes: &[u8], session: Option<HeaderValue>) -> bool {
        let Ok(frame) = Frame::parse(bytes, Bounds::ANSWER) else {
            return false;
        };
        let Kind::Answer {
            id: Some(id),
            answer,
        } = frame.kind
        else {
            return false;
        };
        if id.to_owned() != asked.id {
            return false;
        }
        if let Answer::Result(result) = answer {
            self.learn(asked, result, session);
        }
        true
    }

    /// An error status: with an error of the protocol in it, that is the answer.
    async fn refused(
        &self,
        asked: &Asked,
        response: Response<Incoming>,
    ) -> Result<(), RemoteError> {
        let status = response.status();
        let has_session = asked.headers.contains_key(headers::SESSION);
        let body = match came(response.headers()) {
            Came::Json => whole(response.into_body(), Bounds::REQUEST.bytes_max).await?,
            Came::Events | Came::Other => Vec::new(),
        };
        if status == StatusCode::NOT_FOUND && has_session && !asked.is_alone {
            return Err(RemoteError::Forgotten);
        }
        let Ok(Frame {
            kind:
                Kind::Answer {
                    id,
                    answer: Answer::Error(error),
                },
            ..
        }) = Frame::parse(&body, Bounds::ANSWER)
        else {
            return Err(RemoteError::Status(status.as_u16()));
        };
        if id.is_some_and(|id| id.to_owned() != asked.id) {
            return Err(RemoteError::OtherAnswer);
        }
        let frame = format!(
            r#"{{"jsonrpc":"2.0","id":{},"error":{error}}}"#,
            asked.id.as_str()
        );
        if asked.is_own {
            return Err(RemoteError::Status(status.as_u16()));
        }
        self.line(frame.into_bytes()).await;
        Ok(())
    }

    async fn events(
        &self,
        asked: &Asked,
        body: Incoming,
        session: Option<HeaderValue>,
    ) -> Result<(), RemoteError> {
        let mut reader = Reader::new(Bounds::ANSWER.bytes_max);
        let mut body = Some(body);
        for _ in 0..AGAIN_MAX {
            if let Some(body) = body.take() {
                let ended = self
                    .read(&mut reader, body, Some((asked, session.clone())))
                    .await;
                match ended {
                    Ok(true) => return Ok(()),
                    Err(error @ RemoteError::TooLong) => return Err(error),
                    Ok(false) | Err(_) => {}
                }
            }
            // A stream without ids cannot be taken up, and no stream of the newer revision.
            let Some(last) = reader.last_id().filter(|_| !asked.is_alone) else {
                return Err(RemoteError::Ended);
            };
            let last = HeaderValue::from_str(last).map_err(|_| RemoteError::Ended)?;
            sleep(patience(&reader)).await;
            body = self.resume(Some(last)).await?;
        }
        Err(RemoteError::Ended)
    }

    /// Asks for the stream of the session, from where it broke; `None` when it is not there now.
    async fn resume(&self, last: Option<HeaderValue>) -> Result<Option<Incoming>, RemoteError> {
        let mut headers = self.common();
        if let Some(last) = last {
            headers.insert(LAST_EVENT, last);
        }
        let asking = timeout(RESUME, self.peer.send(Method::GET, headers, Vec::new()));
        let Ok(Ok(response)) = asking.await else {
            return Ok(None);
        };
        match (response.status(), came(response.headers())) {
            (StatusCode::OK, Came::Events) => Ok(Some(response.into_body())),
            (StatusCode::NOT_FOUND, _) => Err(RemoteError::Forgotten),
            (status, _) if status.is_server_error() => Ok(None),
            (status, _) => Err(RemoteError::Status(status.as_u16())),
        }
    }

    /// Hands over what a stream says, up to an answer to `asked`. `false`: it ended before.
    async fn read(
        &self,
        reader: &mut Reader,
        mut body: Incoming,
        asked: Option<(&Asked, Option<HeaderValue>)>,
    ) -> Result<bool, RemoteError> {
        reader.begin_again();
        while let Some(data) = piece(&mut body).await? {
            let events = reader.take(&data).map_err(|_| RemoteError::TooLong)?;
            for Event { name, data } in events {
                let is_message = name.as_deref().is_none_or(|name| name == "message");
                if !is_message || data.trim().is_empty() {
                    continue;
                }
                let is_answer = asked.as_ref().is_some_and(|(asked, session)| {
                    self.look(asked, data.as_bytes(), session.clone())
                });
                let is_own = asked.as_ref().is_some_and(|(asked, _)| asked.is_own);
                if !(is_own && is_answer) {
                    self.line(data.into_bytes()).await;
                }
                if is_answer {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// Hears what the server says by itself, as long as the session lasts. A server may have no such
    /// stream.
    pub(super) async fn listen(self: Arc<Self>) {
        let mut over = self.over.subscribe();
        unless_over(&mut over, self.hear()).await;
    }

    async fn hear(&self) {
        let mut reader = Reader::new(Bounds::ANSWER.bytes_max);
        let mut session = self.state().session.clone();
        loop {
            let now = self.state().session.clone();
            if now != session {
                // Another session has other events.
                reader = Reader::new(Bounds::ANSWER.bytes_max);
                session = now;
            }
            let last = reader
                .last_id()
                .and_then(|id| HeaderValue::from_str(id).ok());
            match self.resume(last).await {
                Ok(Some(body)) => {
                    // However it ended, it is asked for again.
                    drop(self.read(&mut reader, body, None).await);
                }
                Ok(None) => {}
                Err(RemoteError::Forgotten) if session.is_some() => {
                    if self.begin_again(session.as_ref()).await {
                        continue;
                    }
                    (self.tell)("the server elsewhere has ended the session");
                    self.over.send_replace(true);
                    return;
                }
                Err(_) => return,
            }
            sleep(patience(&reader)).await;
        }
    }
}

fn patience(reader: &Reader) -> Duration {
    reader
        .retry_ms()
        .map_or(RETRY, Duration::from_millis)
        .min(RETRY_MAX)
}
