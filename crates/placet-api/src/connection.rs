//! One connection: its bounds in time, and each of its requests from head to answer.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::{CONTENT_LENGTH, HOST, HeaderName, HeaderValue, TRANSFER_ENCODING};
use hyper::service::service_fn;
use hyper::{Method, Request, StatusCode, Version};
use hyper_util::rt::{TokioIo, TokioTimer};
use placet_authority::access::SignedIn;
use placet_fetch::Paced;
use placet_types::Denial;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::OwnedSemaphorePermit;

use crate::body::{Allowance, Received};
use crate::call::{Call, Shared};
use crate::first::unless_stopped;
use crate::identity::{Channel, Head, Identity};
use crate::log::{Level, Value};
use crate::problem::Problem;
use crate::query::Query;
use crate::reply::{self, Body, Reply};
use crate::route::{Access, Found, Lane, Route, Routes};
use crate::tls::Peer;
use crate::unmapped;

/// Where AuthZEN's routes are: that standard has one status for every request that is odd.
const AUTHZEN: &str = "/access/v1/";
/// Longest id of a request that is echoed.
const REQUEST_ID_MAX: usize = 128;

/// What serves every connection.
pub(crate) struct Handler {
    pub(crate) shared: Arc<Shared>,
    pub(crate) routes: Routes,
}

/// Where requests of one connection come from.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    pub(crate) channel: Channel,
    /// What the client showed of itself in the handshake, where there was one.
    pub(crate) peer: Option<Peer>,
}

impl From<Channel> for Origin {
    fn from(channel: Channel) -> Self {
        Self {
            channel,
            peer: None,
        }
    }
}

/// Serves one connection to its end.
pub(crate) async fn serve<S>(
    stream: S,
    origin: Origin,
    handler: Arc<Handler>,
    place: OwnedSemaphorePermit,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let limits = handler.shared.settings.limits;
    let stopping = handler.shared.stopping.clone();
    let connections = Arc::clone(&handler);
    connections
        .shared
        .requests
        .connections
        .fetch_add(1, Ordering::Relaxed);
    let service = service_fn(move |request| {
        let (handler, origin) = (Arc::clone(&handler), origin.clone());
        async move { Ok::<_, Infallible>(handler.answer(request, origin).await) }
    });
    let stream = Paced::new(stream, Duration::from_secs(limits.write_secs));
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_secs(limits.header_secs))
        .max_buf_size(limits.header_bytes)
        .max_headers(limits.headers)
        .half_close(false)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    // How it ended is the client's business: whatever mattered has its record.
    if unless_stopped(&stopping, connection.as_mut())
        .await
        .is_none()
    {
        connection.as_mut().graceful_shutdown();
        drop(connection.await);
    }
    connections
        .shared
        .requests
        .connections
        .fetch_sub(1, Ordering::Relaxed);
    drop(place);
}

impl Handler {
    async fn answer(&self, request: Request<Incoming>, origin: Origin) -> Reply {
        let shared = &self.shared;
        let began = shared.service.clock().monotonic();
        let id = request_id(&request);
        let trace = trace_id(&request);
        let found = self.routes.find(request.method(), request.uri().path());
        let (path, lane) = found.as_ref().map_or(("none", Lane::Read), |found| {
            (found.route.path, found.route.lane)
        });
        let method = request.method().clone();
        let answered = match found {
            Ok(found) => self.handle(request, origin, found).await,
            Err(problem) => Err(problem),
        };
        let (mut reply, code) = match answered {
            Ok(reply) => (reply, ""),
            Err(problem) => {
                let code = problem.code();
                (problem.into_reply(), code)
            }
        };
        dress(&mut reply, &id);
        let took = shared.service.clock().monotonic().saturating_sub(began);
        let status = reply.status().as_u16();
        shared.requests.count(path, lane, status, took);
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let level = if status >= 500 {
            Level::Warn
        } else {
            Level::Debug
        };
        let fields = [
            ("method", Value::Text(method.as_str())),
            ("route", Value::Text(path)),
            ("status", Value::Number(status.into())),
            ("code", Value::Text(code)),
            ("us", Value::Number(us)),
            ("id", Value::Text(&id)),
            ("trace", Value::Text(&trace)),
        ];
        let now = shared.service.clock().wall();
        shared.logger.say(level, now, "request", &fields);
        reply
    }

    async fn handle(
        &self,
        request: Request<Incoming>,
        origin: Origin,
        found: Found,
    ) -> Result<Reply, Problem> {
        let Found { route, parts } = found;
        let (head, body) = request.into_parts();
        check_framing(&head)?;
        let channel = origin.channel;
        let host = self.host(&head, channel)?;
        let identity = self.identify(&head, &origin, &host).await?;
        self.admit(route, &identity).await?;
        let known: Vec<&str> = route.doc.query.iter().map(|(name, _)| *name).collect();
        let query = Query::parse(head.uri.query(), &known)?;
        let body = if route.doc.body.is_some() {
            Received::read(&head.headers, body, self.allowance(route)).await?
        } else {
            Received::none()
        };
        let is_head = head.method == Method::HEAD;
        let call = Call {
            shared: Arc::clone(&self.shared),
            identity,
            channel,
            headers: head.headers,
            parts,
            query,
            body,
        };
        let mut reply = (route.handler)(call).await?;
        if is_head {
            let length = hyper::body::Body::size_hint(reply.body()).exact();
            *reply.body_mut() = Body::Whole(None);
            if let Some(length) = length {
                reply.headers_mut().insert(CONTENT_LENGTH, length.into());
            }
        }
        Ok(reply)
    }

    fn allowance(&self, route: Route) -> Allowance {
        let limits = &self.shared.settings.limits;
        let room = &self.shared.room.bodies;
        Allowance {
            bytes_max: route.lane.body_bytes(limits.body_bytes),
            patience: Duration::from_secs(limits.body_secs),
            other_kind: if route.path.starts_with(AUTHZEN) {
                StatusCode::BAD_REQUEST
            } else {
                StatusCode::UNSUPPORTED_MEDIA_TYPE
            },
            memory: matches!(route.lane, Lane::Intent | Lane::Bundle).then(|| Arc::clone(room)),
        }
    }

    /// The host that the request names, where it is one that this listener answers to. A page that a
    /// browser got from elsewhere cannot reach a loopback listener under a name of its own.
    fn host(
        &self,
        head: &hyper::http::request::Parts,
        channel: Channel,
    ) -> Result<String, Problem> {
        let mut hosts = head.headers.get_all(HOST).iter();
        let host = hosts.next().and_then(|host| host.to_str().ok());
        let host = host.ok_or_else(|| Problem::malformed("a request needs one Host header"))?;
        if hosts.next().is_some() {
            return Err(Problem::malformed("a request needs one Host header"));
        }
        let named = head
            .uri
            .authority()
            .map(hyper::http::uri::Authority::as_str);
        if named.is_some_and(|named| !named.eq_ignore_ascii_case(host)) {
            return Err(Problem::malformed("the address and the Host header differ"));
        }
        let host = host.to_lowercase();
        let known = match channel {
            Channel::Unix { .. } => true,
            Channel::Tcp { .. } => {
                is_loopback_name(&host) || self.shared.settings.hosts.contains(&host)
            }
        };
        if known {
            return Ok(host);
        }
        let detail = "this node does not answer to that name; see `hosts` in its configuration";
        Err(Problem::new(
            StatusCode::MISDIRECTED_REQUEST,
            "host",
            detail,
        ))
    }

    /// Who asks: by what the request says of itself, or else by the connection that it came on.
    async fn identify(
        &self,
        head: &hyper::http::request::Parts,
        origin: &Origin,
        host: &str,
    ) -> Result<Identity, Problem> {
        let unproven = |denial: Denial| Problem::unproven(&denial);
        let tokens = &self.shared.tokens;
        if let Some(identity) = tokens.authenticate(&head.headers).await.map_err(unproven)? {
            return Ok(identity);
        }
        let seen = Head {
            method: head.method.as_str(),
            path: head.uri.path(),
            host,
            headers: &head.headers,
            channel: origin.channel,
        };
        let now = self.shared.service.clock().wall();
        let identity = self.shared.authenticators.identify(&seen, now);
        let identity = identity.map_err(unproven)?;
        let (Identity::Public, Some(peer), Some(tls)) = (&identity, &origin.peer, &self.shared.tls)
        else {
            return Ok(identity);
        };
        let workload = tls.still(peer, now).map_err(unproven)?;
        Ok(workload.map_or(identity, |it| Identity::Spiffe(it.id, it.until)))
    }

    /// Whether somebody of this identity may ask at all.
    async fn admit(&self, route: Route, identity: &Identity) -> Result<(), Problem> {
        let settings = &self.shared.settings;
        let open = match route.access {
            Access::Anyone => true,
            Access::Public => settings.public,
            Access::Meters => settings.metrics_public,
            Access::Member | Access::Operator => false,
        };
        if open {
            return Ok(());
        }
        if *identity == Identity::Public {
            return Err(Problem::unauthenticated());
        }
        let authority = self.shared.service.authority();
        if authority.with_access(|access| identity.is_somebody(access)) {
            return Ok(());
        }
        match identity {
            Identity::Spiffe(..)
            | Identity::Token(..)
            | Identity::Session {
                by: SignedIn::Token(_),
                ..
            } => Err(unmapped::denied(&self.shared, identity).await),
            Identity::Public
            | Identity::Key(_)
            | Identity::Unix(_)
            | Identity::Session {
                by: SignedIn::Unix(_),
                ..
            } => {
                let reason =
                    "no active principal is registered for you; see `placet principal set`";
                Err(Problem::of(&crate::identity::unverified(reason)))
            }
        }
    }
}

/// What two readers could take for different requests is none.
fn check_framing(head: &hyper::http::request::Parts) -> Result<(), Problem> {
    if head.version != Version::HTTP_11 && head.version != Version::HTTP_10 {
        return Err(Problem::malformed("this node speaks HTTP/1.1"));
    }
    let (length, encoding) = (
        head.headers.contains_key(CONTENT_LENGTH),
        head.headers.contains_key(TRANSFER_ENCODING),
    );
    if length && encoding {
        return Err(Problem::malformed(
            "a body has a length or an encoding, not both",
        ));
    }
    Ok(())
}

fn is_loopback_name(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    ["localhost", "127.0.0.1", "[::1]"].contains(&name)
}

/// Headers that every answer has.
fn dress(reply: &mut Reply, id: &str) {
    reply::set(
        reply,
        HeaderName::from_static("x-content-type-options"),
        "nosniff",
    );
    reply::set(
        reply,
        HeaderName::from_static("referrer-policy"),
        "no-referrer",
    );
    let policy = HeaderName::from_static("content-security-policy");
    if !reply.headers().contains_key(&policy) {
        reply::set(reply, policy, "default-src 'none'; frame-ancestors 'none'");
    }
    if let Ok(id) = HeaderValue::from_str(id) {
        reply.headers_mut().insert("x-request-id", id);
    }
}

/// The caller's own id for a request, echoed; empty where there is none that can be.
fn request_id(request: &Request<Incoming>) -> String {
    let id = request.headers().get("x-request-id");
    let id = id.and_then(|id| id.to_str().ok()).unwrap_or_default();
    if id.len() <= REQUEST_ID_MAX {
        id.to_owned()
    } else {
        String::new()
    }
}

/// The trace id of a W3C `traceparent`; empty where there is none.
fn trace_id(request: &Request<Incoming>) -> String {
    let parent = request.headers().get("traceparent");
    let parent = parent
        .and_then(|parent| parent.to_str().ok())
        .unwrap_or_default();
    let parts: Vec<&str> = parent.split('-').collect();
    let hex = |text: &str, length: usize| {
        text.len() == length
            && text
                .bytes()
                .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    };
    match parts.as_slice() {
        [version, trace, span, flags, ..]
            if hex(version, 2) && hex(trace, 32) && hex(span, 16) && hex(flags, 2) =>
        {
            (*trace).to_owned()
        }
        _ => String::new(),
    }
}
