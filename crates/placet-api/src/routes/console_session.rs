//! Who a browser is: its sign-in by a link, and what it may do.

use hyper::StatusCode;
use placet_authority::access::{AUDITORS, Identity, OPERATORS};
use placet_types::{Millis, PrincipalId, Thumbprint};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::console::{PATH, is_built};
use crate::call::{Answer, Call, Shared};
use crate::identity::Channel;
use crate::problem::Problem;
use crate::reply;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NoBody {}

/// Who the caller is.
#[derive(Serialize)]
struct SessionReply {
    /// Whether scenes can be played here.
    demo: bool,
    domain: String,
    /// How it was proven: `public`, `unix`, `key`, `session`, `certificate`, `token`.
    identity: &'static str,
    key: Option<Thumbprint>,
    metrics_public: bool,
    /// The node's time, so that a browser whose clock is off shows true ages.
    now: u64,
    principals: Vec<OwnPrincipal>,
    public: bool,
    /// `operator`, `auditor`, `member`, `public`: the most that it is, first.
    role: &'static str,
    until: Option<u64>,
}

#[derive(Serialize)]
struct OwnPrincipal {
    groups: Vec<String>,
    id: PrincipalId,
    /// Whether this very key is registered with it, so that it can sign approvals.
    signs: bool,
}

/// Who the caller is, whoever it is.
pub(super) fn read(call: Call) -> Answer {
    Box::pin(async move { reply::json(StatusCode::OK, &session(&call)) })
}

/// A link was redeemed on the way here, by the proof in the head of this request.
pub(super) fn begin(call: Call) -> Answer {
    Box::pin(async move {
        let NoBody {} = call.body.json()?;
        if let Identity::Session { .. } = call.identity {
            return reply::json(StatusCode::CREATED, &session(&call));
        }
        let detail =
            "send the token of a link as Placet-Link, and a DPoP proof by a key of your own";
        Err(Problem::malformed(detail))
    })
}

/// Signs out: the key stands for nobody any more.
pub(super) fn end(call: Call) -> Answer {
    Box::pin(async move {
        let NoBody {} = call.body.json()?;
        if let Identity::Session { key, .. } = &call.identity {
            call.shared.sessions.end(key);
        }
        reply::json(StatusCode::OK, &json!({}))
    })
}

/// A new link, for the Unix user who asks.
pub(super) fn link(call: Call) -> Answer {
    Box::pin(async move {
        let NoBody {} = call.body.json()?;
        let Channel::Unix { uid } = call.channel else {
            let reason = "links are given out over the Unix socket only";
            return Err(Problem::of(&crate::identity::unverified(reason)));
        };
        let now = call.service().clock().wall();
        let link = call.shared.sessions.link(uid, now);
        let (token, until) = link.ok_or_else(Problem::internal)?;
        let address = address_of(&call.shared, &token);
        let value = json!({ "built": is_built(), "token": *token, "until": until, "url": address });
        reply::json(StatusCode::CREATED, &value)
    })
}

/// Where a browser of this machine redeems a token.
pub(crate) fn address_of(shared: &Shared, token: &str) -> Option<String> {
    address(shared).map(|base| format!("{base}{PATH}#link={token}"))
}

/// Where a browser of this machine finds the console.
fn address(shared: &Shared) -> Option<String> {
    let address = shared.address.get()?;
    let scheme = if shared.settings.tls.is_some() {
        "https"
    } else {
        "http"
    };
    let host = match shared.settings.hosts.first() {
        Some(host) if host.contains(':') || address.port() == 443 => host.clone(),
        Some(host) => format!("{host}:{}", address.port()),
        None => address.to_string(),
    };
    Some(format!("{scheme}://{host}"))
}

fn session(call: &Call) -> SessionReply {
    let now = call.service().clock().wall();
    let settings = &call.shared.settings;
    let (identity, key, until) = match &call.identity {
        Identity::Public => ("public", None, None),
        Identity::Unix(_) => ("unix", None, None),
        Identity::Key(key) => ("key", Some(key.clone()), None),
        Identity::Session { key, until, .. } => ("session", Some(key.clone()), Some(*until)),
        Identity::Spiffe(_, until) => ("certificate", None, Some(*until)),
        Identity::Token(_, until) => ("token", None, Some(*until)),
    };
    let (domain, principals) = call.service().authority().with_access(|access| {
        let state = access.state();
        let own = call.identity.principals(access);
        let own = own.into_iter().filter_map(|id| {
            let principal = state.principal(&id)?;
            Some(OwnPrincipal {
                groups: principal.groups.iter().cloned().collect(),
                signs: key.as_ref().is_some_and(|key| principal.keys.contains(key)),
                id,
            })
        });
        (state.genesis().domain.to_string(), own.collect::<Vec<_>>())
    });
    let is_in = |group: &str| {
        principals
            .iter()
            .any(|one| one.groups.iter().any(|own| own == group))
    };
    let role = if is_in(OPERATORS) {
        "operator"
    } else if is_in(AUDITORS) {
        "auditor"
    } else if principals.is_empty() {
        "public"
    } else {
        "member"
    };
    SessionReply {
        demo: call.shared.stage.is_some(),
        domain,
        identity,
        key,
        metrics_public: settings.metrics_public,
        now: now.get(),
        principals,
        public: settings.public,
        role,
        until: until.map(Millis::get),
    }
}
