//! One request on its way through a handler, and what all of them share.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};

use hyper::HeaderMap;
use placet_authority::Unavailable;
use placet_authority::access::Access;
use placet_authority::node::Service;
use placet_evidence::Environment;
use placet_types::{Fixed, PrincipalId};
use tokio::sync::{Semaphore, oneshot, watch};

use crate::body::Received;
use crate::config::Settings;
use crate::identity::{Channel, Identity, SharedAuthenticators};
use crate::index::LineageIndex;
use crate::lifecycle::LifecycleIndex;
use crate::log::Logger;
use crate::metrics::Requests;
use crate::oidc::Tokens;
use crate::pages::Pages;
use crate::problem::Problem;
use crate::query::Query;
use crate::recent::Recent;
use crate::reply::Reply;
use crate::sessions::Sessions;
use crate::stage::Stage;
use crate::tls::Listener;
use crate::unmapped::Unmapped;

/// What every request shares.
pub(crate) struct Shared {
    pub(crate) service: Service,
    pub(crate) settings: Settings,
    pub(crate) logger: Logger,
    pub(crate) authenticators: SharedAuthenticators,
    pub(crate) tokens: Tokens,
    /// What accepts connections over TLS.
    pub(crate) tls: Option<Arc<Listener>>,
    /// Browsers that signed in by a link.
    pub(crate) sessions: Arc<Sessions>,
    /// Where TCP is listened on, once it is.
    pub(crate) address: OnceLock<SocketAddr>,
    pub(crate) lineage: LineageIndex,
    /// What was put in force, and how often its policies count.
    pub(crate) lifecycle: LifecycleIndex,
    /// What can be played here, where it is a demo.
    pub(crate) stage: Option<Arc<dyn Stage>>,
    pub(crate) requests: Requests,
    /// The domain's public policy file.
    pub(crate) policy: String,
    /// The machine of the node, for callers that are on it.
    pub(crate) environment: Fixed<Environment>,
    /// Size of the log, as batches become durable.
    pub(crate) size: watch::Receiver<u64>,
    /// Turns true once the server stops.
    pub(crate) stopping: watch::Receiver<bool>,
    pub(crate) room: Room,
    /// Records as event streams tell them.
    pub(crate) recent: Recent,
    /// Identities that are nobody here, as far as there is a record of them.
    pub(crate) unmapped: Unmapped,
    /// Tokens of searches.
    pub(crate) pages: Pages,
}

/// What there is a bound for.
pub(crate) struct Room {
    /// Memory for large bodies, in KiB.
    pub(crate) bodies: Arc<Semaphore>,
    /// Intents that wait.
    pub(crate) intents: Semaphore,
    /// Work that may wait for the disk or take a while, but for what ends authority.
    pub(crate) reads: Semaphore,
    /// Replays of the recorded past.
    pub(crate) replays: Arc<Semaphore>,
    /// Operators' acts that wait.
    pub(crate) acts: Semaphore,
    /// Event streams.
    pub(crate) streams: Arc<Semaphore>,
}

/// One request.
pub(crate) struct Call {
    pub(crate) shared: Arc<Shared>,
    pub(crate) identity: Identity,
    pub(crate) channel: Channel,
    pub(crate) headers: HeaderMap,
    /// The variable parts of the path, in order.
    pub(crate) parts: Vec<String>,
    pub(crate) query: Query,
    pub(crate) body: Received,
}

/// What a handler gives.
pub(crate) type Answer = Pin<Box<dyn Future<Output = Result<Reply, Problem>> + Send>>;

impl Call {
    pub(crate) fn service(&self) -> &Service {
        &self.shared.service
    }

    /// The variable part of the path at this place, as what it must be.
    pub(crate) fn part<T: std::str::FromStr>(&self, at: usize) -> Result<T, Problem> {
        let text = self.parts.get(at).map(String::as_str).unwrap_or_default();
        text.parse()
            .map_err(|_| Problem::not_found("nothing is named so"))
    }

    /// The operator that the caller is, if it is one.
    pub(crate) fn operator(&self) -> Option<PrincipalId> {
        let authority = self.service().authority();
        authority.with_access(|access| self.identity.operator(access))
    }

    /// Whether the caller may see what is about this principal: operators and auditors see everything,
    /// others what is theirs.
    pub(crate) fn sees(&self) -> Sees {
        let authority = self.service().authority();
        authority.with_access(|access| Sees::of(&self.identity, access))
    }

    /// Runs what may wait for the disk on a thread where that holds up nobody.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Shared) -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        let full = || Problem::overloaded("too many readers at once");
        let room = self.shared.room.reads.try_acquire().map_err(|_| full())?;
        let shared = Arc::clone(&self.shared);
        let done = tokio::task::spawn_blocking(move || work(&shared)).await;
        drop(room);
        done.unwrap_or_else(|_| Err(Problem::internal()))
    }
}

/// What a caller sees.
#[derive(Clone, Debug)]
pub(crate) enum Sees {
    /// Operators and auditors.
    Everything,
    /// What is about these principals.
    Only(Vec<PrincipalId>),
}

impl Sees {
    pub(crate) fn of(identity: &Identity, access: &Access<'_>) -> Self {
        if identity.sees_everything(access) {
            Self::Everything
        } else {
            Self::Only(identity.principals(access))
        }
    }

    pub(crate) fn principal(&self, id: &PrincipalId) -> bool {
        match self {
            Self::Everything => true,
            Self::Only(own) => own.contains(id),
        }
    }
}

/// Waits for an answer of the sequencer. One that is dropped says that there is no evidence.
pub(crate) async fn answered<T>(
    answer: oneshot::Receiver<Result<T, Unavailable>>,
) -> Result<T, Problem> {
    let answer = answer.await.unwrap_or(Err(Unavailable::Evidence));
    answer.map_err(Problem::from)
}
