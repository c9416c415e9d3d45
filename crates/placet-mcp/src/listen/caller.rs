//! Who calls: what a request brings along becomes a principal, or it is told what it needs.

use std::hash::{Hash, Hasher};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::StatusCode;
use hyper::header::HeaderMap;
use placet_evidence::TokenIdentity;
use placet_types::{DenialCode, PrincipalId};

/// Somebody who has proven who it is.
#[derive(Clone, Debug)]
pub struct Caller {
    /// As whom it acts.
    pub principal: PrincipalId,
    /// How it has proven itself, beyond the principal: a session is of both. Never a secret.
    pub by: String,
    /// Who that is to whoever vouches for it, where somebody does.
    pub identity: Option<Arc<TokenIdentity>>,
    /// How long what it showed is good; what it listens to ends then.
    pub good_for: Option<Duration>,
}

impl PartialEq for Caller {
    fn eq(&self, other: &Self) -> bool {
        (&self.principal, &self.by) == (&other.principal, &other.by)
    }
}

impl Eq for Caller {}

impl Hash for Caller {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (&self.principal, &self.by).hash(state);
    }
}

/// Why somebody is not let in, and what it needs.
#[derive(Clone, Debug)]
pub struct Unproven {
    /// 401, or 403 where a proof is good and not enough.
    pub status: StatusCode,
    /// Under which code it is recorded.
    pub code: DenialCode,
    /// What `WWW-Authenticate` says.
    pub challenge: String,
    /// In words.
    pub why: String,
}

impl Default for Unproven {
    fn default() -> Self {
        Self {
            status: StatusCode::UNAUTHORIZED,
            code: DenialCode::IdentityUnverified,
            challenge: "Bearer realm=\"placet\"".to_owned(),
            why: "who calls? it needs `Authorization: Bearer` with a token for this gateway"
                .to_owned(),
        }
    }
}

/// What finding out gives.
pub type Resolving<'a> = Pin<Box<dyn Future<Output = Result<Caller, Unproven>> + Send + 'a>>;

/// One way to prove who calls. What is shown is for this gateway and goes no further.
pub trait Callers: Send + Sync {
    /// The caller of a request with these headers.
    fn resolve<'a>(&'a self, headers: &'a HeaderMap) -> Resolving<'a>;

    /// JSON that anybody may read at this path.
    fn published(&self, path: &str) -> Option<String> {
        // Most have nothing to say.
        let _: &str = path;
        None
    }
}
