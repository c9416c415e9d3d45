//! The seam where a caller's identity is proven.
//!
//! An [`Authenticator`] looks at one kind of credential. It says who the caller is, that its kind is
//! not there, or that it is there and does not hold: then the request is refused, and no other kind
//! is asked. What the identity may do is not decided here, but by the principal records
//! ([`placet_authority::access`]). Bearer tokens and client certificates are further authenticators
//! with further variants of [`Identity`]; nothing else changes for them.

use std::net::SocketAddr;
use std::sync::Arc;

use hyper::HeaderMap;
use placet_authority::clock::Clock;
use placet_types::{Denial, DenialCode, Millis, Thumbprint};

use crate::dpop::{self, Proof};
use crate::seen::Seen;
use crate::sessions::Sessions;

pub use placet_authority::access::Identity;

/// What is known of the way that a request came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channel {
    /// Over the Unix socket, from a process of this user, by the kernel's word.
    Unix {
        /// The user.
        uid: u32,
    },
    /// Over TCP.
    Tcp {
        /// The other end.
        peer: SocketAddr,
        /// Whether it is encrypted.
        tls: bool,
    },
}

/// What an authenticator sees of a request: never its body.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    /// The method.
    pub method: &'a str,
    /// The path, without a query.
    pub path: &'a str,
    /// The host that the request names, with its port.
    pub host: &'a str,
    /// The header fields.
    pub headers: &'a HeaderMap,
    /// The way that it came.
    pub channel: Channel,
}

/// Proves identities by one kind of credential.
pub trait Authenticator: Send + Sync {
    /// Who the caller is, or `None` when the request has no credential of this kind.
    ///
    /// # Errors
    ///
    /// The credential is there and does not hold.
    fn authenticate(&self, head: &Head<'_>, now: Millis) -> Result<Option<Identity>, Denial>;
}

/// The peer credentials of a Unix socket.
#[derive(Clone, Copy, Debug)]
pub struct PeerCredentials;

/// Where a browser redeems the token of its link, and the header that holds it.
pub(crate) const SESSION_PATH: &str = "/v1/session";
const LINK_HEADER: &str = "placet-link";
/// Where a browser signs in by an identity provider: it begins, and comes back.
pub(crate) const PROVIDER_PATH: &str = "/v1/session/provider";
pub(crate) const CODE_PATH: &str = "/v1/session/code";

/// Ed25519 request proofs (DPoP, RFC 9449), without an access token: the key itself is registered, or
/// a user of this machine let it in by a link.
pub struct RequestProofs {
    seen: Seen,
    sessions: Arc<Sessions>,
    /// Whether a thumbprint is registered: nothing is remembered of keys that are not.
    is_registered: Box<dyn Fn(&Identity) -> bool + Send + Sync>,
}

/// Every kind, in the order in which they are asked.
pub(crate) struct Authenticators(Vec<Box<dyn Authenticator>>);

impl Channel {
    /// The scheme that the client sees.
    #[must_use]
    pub const fn scheme(self) -> &'static str {
        match self {
            Self::Unix { .. } | Self::Tcp { tls: false, .. } => "http",
            Self::Tcp { tls: true, .. } => "https",
        }
    }

    /// Whether the caller is on this machine.
    #[must_use]
    pub fn is_local(self) -> bool {
        match self {
            Self::Unix { .. } => true,
            Self::Tcp { peer, .. } => peer.ip().is_loopback(),
        }
    }
}

impl Authenticators {
    /// The kinds of this version.
    pub(crate) fn new(
        clock: &dyn Clock,
        is_registered: Box<dyn Fn(&Identity) -> bool + Send + Sync>,
        sessions: Arc<Sessions>,
    ) -> Self {
        let proofs = RequestProofs {
            seen: Seen::new(clock.wall()),
            sessions,
            is_registered,
        };
        Self(vec![Box::new(proofs), Box::new(PeerCredentials)])
    }

    /// Who the caller is: the public, when it says nothing.
    pub(crate) fn identify(&self, head: &Head<'_>, now: Millis) -> Result<Identity, Denial> {
        for kind in &self.0 {
            if let Some(identity) = kind.authenticate(head, now)? {
                return Ok(identity);
            }
        }
        Ok(Identity::Public)
    }
}

impl Authenticator for PeerCredentials {
    fn authenticate(&self, head: &Head<'_>, _: Millis) -> Result<Option<Identity>, Denial> {
        Ok(match head.channel {
            Channel::Unix { uid } => Some(Identity::Unix(uid)),
            Channel::Tcp { .. } => None,
        })
    }
}

impl Authenticator for RequestProofs {
    fn authenticate(&self, head: &Head<'_>, now: Millis) -> Result<Option<Identity>, Denial> {
        let mut proofs = head.headers.get_all("dpop").iter();
        let Some(proof) = proofs.next() else {
            return Ok(None);
        };
        if proofs.next().is_some() {
            return Err(unverified("more than one DPoP proof"));
        }
        let proof = Proof::verify(proof.as_bytes()).map_err(|error| error.denial())?;
        proof.check(head, now).map_err(|error| error.denial())?;
        if head.method == "POST" && [PROVIDER_PATH, CODE_PATH].contains(&head.path) {
            // Whoever signs in is nobody yet, so nothing is remembered of it. The same proof again does
            // no more: what it begins is bound to its key, and a provider takes a code once.
            return Ok(Some(Identity::Key(proof.thumbprint)));
        }
        let identity = self.identity(head, &proof.thumbprint, now)?;
        self.seen
            .once(&proof, now)
            .map_err(|error| error.denial())?;
        Ok(Some(identity))
    }
}

impl RequestProofs {
    /// Whom a proven key stands for: who let it in by a link, else whoever registered it.
    fn identity(&self, head: &Head<'_>, key: &Thumbprint, now: Millis) -> Result<Identity, Denial> {
        let granted = match head.headers.get(LINK_HEADER) {
            Some(token) if head.method == "POST" && head.path == SESSION_PATH => {
                let token = token.to_str().unwrap_or_default();
                let reason =
                    "the sign-in link was used, or is over; `placet console` prints another";
                let granted = self.sessions.redeem(token, key, now);
                Some(granted.ok_or_else(|| unverified(reason))?)
            }
            Some(_) | None => self.sessions.of(key, now),
        };
        if let Some(granted) = granted {
            return Ok(Identity::Session {
                by: granted.by,
                key: key.clone(),
                until: granted.until,
            });
        }
        let identity = Identity::Key(key.clone());
        if (self.is_registered)(&identity) {
            return Ok(identity);
        }
        let reason = "the key of the DPoP proof is not registered with an active principal";
        Err(unverified(reason))
    }
}

pub(crate) fn unverified(reason: &str) -> Denial {
    Denial::new(DenialCode::IdentityUnverified, reason)
}

/// What is needed to ask the principal records.
pub(crate) fn registered(
    service: placet_authority::node::Service,
) -> Box<dyn Fn(&Identity) -> bool + Send + Sync> {
    Box::new(move |identity| {
        let authority = service.authority();
        authority.with_access(|access| identity.is_somebody(access))
    })
}

/// Shared by every request.
pub(crate) type SharedAuthenticators = Arc<Authenticators>;

pub(crate) use dpop::ALGORITHMS;
