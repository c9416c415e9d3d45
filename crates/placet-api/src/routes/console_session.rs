//! Who a browser is: its sign-in by a link or by an identity provider, and what it may do.

use std::sync::Arc;

use hyper::StatusCode;
use hyper::header::HOST;
use placet_authority::access::{AUDITORS, Identity, OPERATORS, SignedIn};
use placet_types::{Millis, PrincipalId, Thumbprint};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::console::{BACK_PATH, LEFT_PATH, PATH, is_built};
use super::lines::{get, post};
use crate::call::{Answer, Call, Shared};
use crate::identity::Channel;
use crate::identity::{CODE_PATH, PROVIDER_PATH};
use crate::oidc::LoginError;
use crate::problem::Problem;
use crate::reply;
use crate::route::{Access, Lane, Route};
use crate::schemas;
use crate::sessions::{Granted, SESSION_MS, after};
use crate::unmapped;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NoBody {}

/// Who the caller is.
#[derive(Serialize)]
struct SessionReply {
    /// Whether scenes can be played here.
    demo: bool,
    domain: String,
    /// How it was proven: `public`, `unix`, `key`, `session`, `provider`, `certificate`, `token`.
    identity: &'static str,
    key: Option<Thumbprint>,
    /// Identity providers by which browsers sign in.
    logins: Vec<Provider>,
    metrics_public: bool,
    /// The node's time, so that a browser whose clock is off shows true ages.
    now: u64,
    principals: Vec<OwnPrincipal>,
    public: bool,
    /// `operator`, `auditor`, `approver`, `member`, `public`: the most that it is, first.
    role: &'static str,
    until: Option<u64>,
}

#[derive(Serialize)]
struct Provider {
    issuer: String,
    name: String,
}

#[derive(Serialize)]
struct OwnPrincipal {
    groups: Vec<String>,
    id: PrincipalId,
    /// Whether this very key is registered with it, so that it can sign approvals.
    signs: bool,
}

/// The routes of sessions of browsers.
pub(super) fn lines() -> Vec<Route> {
    let session = |path, access, handler, id, summary, reply| {
        let none = schemas::NOTHING;
        post(path, access, Lane::Read, handler, id, summary, none, reply)
    };
    vec![
        get(
            "/v1/session",
            Access::Anyone,
            read,
            "readSession",
            "Who the caller is, and which principals it may act as",
            schemas::SESSION,
        ),
        session(
            "/v1/session",
            Access::Anyone,
            begin,
            "beginSession",
            "Redeem the token of a link, sent as Placet-Link, for the key of the DPoP proof",
            (201, schemas::SESSION),
        ),
        post(
            PROVIDER_PATH,
            Access::Anyone,
            Lane::Read,
            provider,
            "beginProviderSignIn",
            "Begin a sign-in by an identity provider, for the key of the DPoP proof",
            schemas::PROVIDER,
            (200, schemas::AWAY),
        ),
        post(
            CODE_PATH,
            Access::Anyone,
            Lane::Read,
            code,
            "endProviderSignIn",
            "Come back from an identity provider with a code, with a DPoP proof by the same key",
            schemas::CAME_BACK,
            (201, schemas::SESSION),
        ),
        session(
            "/v1/session/end",
            Access::Anyone,
            end,
            "endSession",
            "End the session of this key",
            (200, schemas::ENDED_SESSION),
        ),
        session(
            "/v1/session/link",
            Access::Member,
            link,
            "makeLink",
            "A one-time sign-in link for the console; over the Unix socket only",
            (201, schemas::LINK),
        ),
    ]
}

/// Who the caller is, whoever it is.
fn read(call: Call) -> Answer {
    Box::pin(async move { reply::json(StatusCode::OK, &session(&call, &call.identity)) })
}

/// A link was redeemed on the way here, by the proof in the head of this request.
fn begin(call: Call) -> Answer {
    Box::pin(async move {
        let NoBody {} = call.body.json()?;
        if let Identity::Session { .. } = call.identity {
            return reply::json(StatusCode::CREATED, &session(&call, &call.identity));
        }
        let detail =
            "send the token of a link as Placet-Link, and a DPoP proof by a key of your own";
        Err(Problem::malformed(detail))
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    issuer: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Came {
    code: String,
    iss: Option<String>,
    state: String,
}

/// Begins a sign-in by an identity provider, for the key of this request's proof.
fn provider(call: Call) -> Answer {
    Box::pin(async move {
        let Wanted { issuer } = call.body.json()?;
        let (key, back) = arriving(&call)?;
        let tokens = &call.shared.tokens;
        let address = tokens.begin(&issuer, key, &back).await;
        let address = address.map_err(|error| unsigned(&error))?;
        reply::json(StatusCode::OK, &json!({ "url": address }))
    })
}

/// Ends it: the key stands for whoever the provider says, if that is somebody here.
fn code(call: Call) -> Answer {
    Box::pin(async move {
        let came: Came = call.body.json()?;
        let (key, back) = arriving(&call)?;
        let said = (came.state.as_str(), came.code.as_str(), came.iss.as_deref());
        let arrived = call.shared.tokens.finish(said, key, &back).await;
        let arrived = arrived.map_err(|error| unsigned(&error))?;
        let now = call.service().clock().wall();
        let until = arrived.until.min(after(now, SESSION_MS));
        let identity = Identity::Token(Arc::clone(&arrived.identity), until);
        let authority = call.service().authority();
        if !authority.with_access(|access| identity.is_somebody(access)) {
            return Err(unmapped::denied(&call.shared, &identity).await);
        }
        let by = SignedIn::Token(arrived.identity);
        let granted = Granted { by, until };
        call.shared.sessions.grant(key, granted.clone(), now);
        let identity = Identity::Session {
            by: granted.by,
            key: key.clone(),
            until,
        };
        reply::json(StatusCode::CREATED, &session(&call, &identity))
    })
}

/// The key of a browser that signs in, and the one address that it comes back to: this console, under
/// the name that the browser knows it by, which is one that the listener answers to.
fn arriving(call: &Call) -> Result<(&Thumbprint, String), Problem> {
    let (Identity::Key(key) | Identity::Session { key, .. }) = &call.identity else {
        return Err(Problem::unauthenticated());
    };
    Ok((key, own_address(call, BACK_PATH)?))
}

/// A page of this console under the name that the browser knows it by.
fn own_address(call: &Call, path: &str) -> Result<String, Problem> {
    let host = call.headers.get(HOST).and_then(|host| host.to_str().ok());
    let host = host.filter(|_| matches!(call.channel, Channel::Tcp { .. }));
    let host = host.ok_or_else(|| Problem::malformed("a browser signs in over TCP"))?;
    let host = host.to_lowercase();
    Ok(format!("{}://{host}{path}", call.channel.scheme()))
}

/// Why a browser was not signed in.
fn unsigned(error: &LoginError) -> Problem {
    let detail = error.to_string();
    match error {
        LoginError::Issuer => Problem::not_found(detail),
        LoginError::Busy => Problem::overloaded(&detail),
        LoginError::Unreachable(_) => {
            Problem::new(StatusCode::BAD_GATEWAY, "provider_unavailable", detail)
        }
        LoginError::Token(denial) => Problem::unproven(denial),
        LoginError::State | LoginError::OtherIssuer | LoginError::Refused(_) => {
            Problem::unproven(&crate::identity::unverified(&detail))
        }
    }
}

/// Signs out: the key stands for nobody any more. Says where to sign out of the provider's session, too.
fn end(call: Call) -> Answer {
    Box::pin(async move {
        let NoBody {} = call.body.json()?;
        let mut away = None;
        if let Identity::Session { by, key, .. } = &call.identity {
            call.shared.sessions.end(key);
            if let SignedIn::Token(identity) = by {
                let back = own_address(&call, LEFT_PATH)?;
                away = call.shared.tokens.away(&identity.issuer, &back).await;
            }
        }
        reply::json(StatusCode::OK, &json!({ "url": away }))
    })
}

/// A new link, for the Unix user who asks.
fn link(call: Call) -> Answer {
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

/// Whether a policy in force asks these groups for approvals.
fn approves(call: &Call, groups: &[String]) -> bool {
    let policy = call.service().authority().policy_in_force();
    policy.is_some_and(|policy| {
        let mut asking = policy.rules().filter_map(|rule| rule.approvals.as_ref());
        asking.any(|approvals| {
            let asked = &approvals.needed.groups;
            groups.iter().any(|own| asked.iter().any(|one| one == own))
        })
    })
}

fn session(call: &Call, identity: &Identity) -> SessionReply {
    let now = call.service().clock().wall();
    let settings = &call.shared.settings;
    let (how, key, until) = match identity {
        Identity::Public => ("public", None, None),
        Identity::Unix(_) => ("unix", None, None),
        Identity::Key(key) => ("key", Some(key.clone()), None),
        Identity::Session { by, key, until } => {
            let how = match by {
                SignedIn::Unix(_) => "session",
                SignedIn::Token(_) => "provider",
            };
            (how, Some(key.clone()), Some(*until))
        }
        Identity::Spiffe(_, until) => ("certificate", None, Some(*until)),
        Identity::Token(_, until) => ("token", None, Some(*until)),
    };
    let (domain, principals) = call.service().authority().with_access(|access| {
        let state = access.state();
        let own = identity.principals(access);
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
    let logins = call.shared.tokens.logins();
    let logins = logins.map(|(issuer, name)| Provider {
        issuer: issuer.to_owned(),
        name: name.to_owned(),
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
    } else if principals.iter().any(|one| approves(call, &one.groups)) {
        "approver"
    } else if principals.is_empty() {
        "public"
    } else {
        "member"
    };
    SessionReply {
        demo: call.shared.stage.is_some(),
        domain,
        identity: how,
        key,
        logins: logins.collect(),
        metrics_public: settings.metrics_public,
        now: now.get(),
        principals,
        public: settings.public,
        role,
        until: until.map(Millis::get),
    }
}
