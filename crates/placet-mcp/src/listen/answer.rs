//! What is answered: one message, a stream of events, or nothing.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::{Bytes, Frame, SizeHint};
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};
use tokio::time::{Instant, Interval, Sleep, interval_at, sleep};

use super::live::Live;
use super::streams::{Next, Reader};

/// How often a silent stream says that it is there.
const BEAT: Duration = Duration::from_secs(15);

/// A body that is there, or that comes.
pub(super) enum Body {
    Whole(Option<Bytes>),
    Events(Box<Events>),
}

/// A stream of events, as one connection hears it.
pub(super) struct Events {
    live: Arc<Live>,
    reader: Reader,
    /// What goes first: an event without data, which tells from where to take the stream up.
    first: Option<String>,
    beat: Interval,
    until: Option<Pin<Box<Sleep>>>,
    /// Whether closing it gives up what was asked: so it is without sessions.
    gives_up: bool,
}

impl Events {
    pub(super) fn new(live: Arc<Live>, reader: Reader, first: Option<String>) -> Self {
        Self {
            live,
            reader,
            first,
            beat: interval_at(Instant::now() + BEAT, BEAT),
            until: None,
            gives_up: false,
        }
    }

    pub(super) fn good_for(mut self, time: Option<Duration>) -> Self {
        self.until = time.map(|time| Box::pin(sleep(time)));
        self
    }

    /// With this before anything else.
    pub(super) fn primed(mut self, first: Option<String>) -> Self {
        self.first = first;
        self
    }

    pub(super) fn giving_up(mut self) -> Self {
        self.gives_up = true;
        self
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<String>> {
        if let Some(until) = &mut self.until
            && until.as_mut().poll(context).is_ready()
        {
            return Poll::Ready(None);
        }
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(first));
        }
        match self.live.next(&mut self.reader, context) {
            Next::Event(text) => Poll::Ready(Some(text)),
            Next::Over => Poll::Ready(None),
            // Somebody in between may close what is silent.
            Next::Wait => self
                .beat
                .poll_tick(context)
                .map(|_| Some(":\n\n".to_owned())),
        }
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.live.left(&self.reader, self.gives_up);
    }
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match &mut *self {
            Self::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Events(events) => events
                .poll(context)
                .map(|text| text.map(|text| Ok(Frame::data(Bytes::from(text))))),
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
            Self::Events(_) => SizeHint::default(),
        }
    }
}

pub(super) fn events(events: Events) -> Response<Body> {
    let mut response = Response::new(Body::Events(Box::new(events)));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

pub(super) fn json(status: StatusCode, text: String) -> Response<Body> {
    let mut response = Response::new(Body::Whole(Some(Bytes::from(text))));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(
        "x-content-type-options",
        HeaderValue::from_static("nosniff"),
    );
    response
}

pub(super) fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::Whole(None));
    *response.status_mut() = status;
    response
}
