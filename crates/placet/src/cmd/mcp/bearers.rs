//! Clients that show access tokens: the gateway as a resource server (RFC 6750, RFC 9728).
//!
//! Tokens of the domain's identity providers count if they are meant for exactly this gateway; whose they are says
//! the bundle in force. They end here: nothing of them goes to a server.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use hyper::StatusCode;
use hyper::header::HeaderMap;
use placet_api::oidc::{Oidc, ResourceTokens, Shown};
use placet_authority::clock::Clock;
use placet_authority::node::wire::{Request, Response};
use placet_evidence::{Caller as Proven, TokenIdentity};
use placet_mcp::listen::{Caller, Callers, PATH, Resolving, Unproven};
use placet_policy::Mapping;
use placet_types::{DenialCode, Digest, PrincipalId};
use tokio::sync::Mutex;
use tokio::task::spawn_blocking;

use crate::cli::Resource;
use crate::context::{Domain, clock};
use crate::exit::Failure;

/// Where the metadata of a resource stand.
const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";
/// How long rules are taken as they were read: what a bundle takes away ends that soon.
const FRESH: Duration = Duration::from_secs(1);

/// Takes access tokens for one gateway.
pub(super) struct Bearers {
    tokens: ResourceTokens,
    domain: Arc<Domain>,
    clock: Arc<dyn Clock>,
    /// Where the metadata stand, as clients see it.
    metadata: String,
    /// What each token must allow.
    scopes: BTreeSet<String>,
    /// Locked while somebody looks, so that one asks for all.
    known: Arc<Mutex<Known>>,
}

/// The rules of the bundle in force, and when they were looked for.
#[derive(Default)]
struct Known {
    bundle: Option<Digest>,
    mapping: Arc<Mapping>,
    looked: Option<Duration>,
}

/// What is wrong with what somebody showed.
enum Wrong {
    /// Nothing was shown.
    Nothing,
    /// The token does not hold.
    Token(DenialCode, String),
    /// It allows too little.
    Scope,
    /// It holds, and its bearer is not one principal.
    Bearer(String),
    /// The rules cannot be asked.
    Rules(String),
}

impl Bearers {
    /// For a gateway that clients know by this URL.
    pub(super) fn new(
        domain: &Arc<Domain>,
        providers: &[Oidc],
        resource: &Resource,
        scopes: &[String],
    ) -> Result<Self, Failure> {
        if providers.is_empty() {
            let hint = "add one: [[oidc]] with `issuer` and `audience`";
            let why = "--resource takes tokens of identity providers: there is none in placet.toml of the domain";
            return Err(Failure::new(why).hint(hint));
        }
        let tokens = ResourceTokens::new(providers, &resource.to_string());
        Ok(Self {
            tokens: tokens.map_err(Failure::new)?,
            domain: Arc::clone(domain),
            clock: clock(),
            metadata: format!("{}{WELL_KNOWN}{PATH}", resource.origin()),
            scopes: scopes.iter().cloned().collect(),
            known: Arc::default(),
        })
    }

    async fn caller(&self, headers: &HeaderMap) -> Result<Caller, Wrong> {
        let shown = self.tokens.of(headers, &*self.clock).await;
        let shown = shown.map_err(|denial| Wrong::Token(denial.code, denial.reason))?;
        let shown = shown.ok_or(Wrong::Nothing)?;
        if !self.scopes.is_subset(&shown.scopes) {
            return Err(Wrong::Scope);
        }
        let (principal, identity) = self.principal(&shown).await?;
        let left = shown.until.since(self.clock.wall());
        Ok(Caller {
            principal,
            // An issuer has no space in it.
            by: format!("{} {}", shown.identity.issuer, shown.identity.subject),
            good_for: Some(Duration::from_millis(left)),
            identity: Some(Arc::new(identity)),
        })
    }

    /// Who that is, by the rules of the bundle in force: exactly one principal, or nobody.
    async fn principal(&self, shown: &Shown) -> Result<(PrincipalId, TokenIdentity), Wrong> {
        let mapping = self.mapping().await.map_err(Wrong::Rules)?;
        // What rules name of it, and nothing else: that much is recorded.
        let identity = mapping.narrow(shown.identity.clone());
        let proven = Proven::Token(Box::new(identity.clone()));
        let mut principals = mapping.principals(&proven).into_iter();
        let who = format!(
            "subject {:?} of {}",
            shown.identity.subject, shown.identity.issuer
        );
        match (principals.next(), principals.next()) {
            (Some(principal), None) => Ok((principal, identity)),
            (None, _) => Err(Wrong::Bearer(format!(
                "no rule of the bundle in force says which principal {who} is"
            ))),
            (Some(_), Some(_)) => Err(Wrong::Bearer(format!(
                "by the rules of the bundle in force {who} is more than one principal"
            ))),
        }
    }

    async fn mapping(&self) -> Result<Arc<Mapping>, String> {
        let mut known = Arc::clone(&self.known).lock_owned().await;
        let now = self.clock.monotonic();
        let is_fresh = |looked| now.saturating_sub(looked) < FRESH;
        if !known.looked.is_some_and(is_fresh) {
            let domain = Arc::clone(&self.domain);
            let looking = spawn_blocking(move || known.look(&domain, now).map(|()| known));
            known = looking.await.map_err(|error| error.to_string())??;
        }
        Ok(Arc::clone(&known.mapping))
    }

    fn unproven(&self, wrong: Wrong) -> Unproven {
        let (status, code, error, why) = match wrong {
            Wrong::Nothing => (
                StatusCode::UNAUTHORIZED,
                DenialCode::IdentityUnverified,
                None,
                "who calls? it needs `Authorization: Bearer` with an access token for this gateway"
                    .to_owned(),
            ),
            Wrong::Token(code, why) => {
                let error = Some("invalid_token");
                (StatusCode::UNAUTHORIZED, code, error, why)
            }
            Wrong::Scope => (
                StatusCode::FORBIDDEN,
                DenialCode::IdentityUnverified,
                Some("insufficient_scope"),
                format!("the token must allow: {}", self.scope()),
            ),
            Wrong::Bearer(why) => (
                StatusCode::FORBIDDEN,
                DenialCode::IdentityUnmapped,
                None,
                why,
            ),
            Wrong::Rules(why) => (
                StatusCode::SERVICE_UNAVAILABLE,
                DenialCode::PolicyError,
                None,
                format!("who is who cannot be looked up: {why}"),
            ),
        };
        Unproven {
            status,
            code,
            challenge: self.challenge(error),
            why,
        }
    }

    fn scope(&self) -> String {
        let scopes: Vec<&str> = self.scopes.iter().map(String::as_str).collect();
        scopes.join(" ")
    }

    fn challenge(&self, error: Option<&str>) -> String {
        let mut challenge = format!("Bearer resource_metadata=\"{}\"", self.metadata);
        if let Some(error) = error {
            challenge.push_str(&format!(", error=\"{error}\""));
        }
        if !self.scopes.is_empty() {
            challenge.push_str(&format!(", scope=\"{}\"", self.scope()));
        }
        challenge
    }
}

impl Known {
    /// Asks the node which bundle is in force, and reads its rules if it is another one.
    fn look(&mut self, domain: &Domain, now: Duration) -> Result<(), String> {
        let status = domain.ask(&Request::Status);
        let Response::Status(status) = status.map_err(|failure| failure.message)? else {
            return Err("the node gave an answer that does not fit".to_owned());
        };
        let bundle = status.policy.map(|policy| policy.bundle);
        if self.bundle != bundle {
            let mapping = match bundle {
                None => Mapping::default(),
                Some(digest) => domain
                    .bundles()
                    .mapping(digest)
                    .map_err(|error| error.to_string())?,
            };
            self.mapping = Arc::new(mapping);
            self.bundle = bundle;
        }
        self.looked = Some(now);
        Ok(())
    }
}

impl Callers for Bearers {
    fn resolve<'a>(&'a self, headers: &'a HeaderMap) -> Resolving<'a> {
        Box::pin(async move {
            let caller = self.caller(headers).await;
            caller.map_err(|wrong| self.unproven(wrong))
        })
    }

    fn published(&self, path: &str) -> Option<String> {
        let rest = path.strip_prefix(WELL_KNOWN)?;
        let is_ours = rest.is_empty() || rest == PATH;
        is_ours.then(|| self.tokens.metadata(&self.scopes))
    }
}
