//! A server elsewhere: to speak to it is an execution of its own, with what it was granted.
//!
//! The scope says which hosts may be reached, and which credentials go along; they are put into headers here,
//! and neither the client nor a record sees them.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::mpsc::channel;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use hyper::header::{AUTHORIZATION, HeaderName, HeaderValue};
use placet_authority::asked::AskedBefore;
use placet_evidence::RunEnd;
use placet_fetch::{Client, Leads, Target, Trust};
use placet_mcp::config::expanded;
use placet_mcp::connect::intent;
use placet_mcp::governor::{Ended, Governor, Granted, Ruling, Then, Ticket};
use placet_mcp::oauth::bearer::{Bearer, Given};
use placet_mcp::oauth::tokens::{PREFIX, Tokens, secret_of};
use placet_mcp::remote::{Hold, Remote, open};
use placet_mcp::session::{Control as _, Over};
use placet_mcp::subject::Sealed;
use placet_process::terminal::{Refused, WaitsFor};
use placet_types::{CredentialForm, DenialCode, ExecutionId, ProfileName};
use zeroize::Zeroizing;

use super::lobby::Lobby;
use super::renew::Kept;
use super::serve::{Down, Front, Server, Up};
use crate::cmd::secret::keep_unreadable;
use crate::context::clock;
use crate::exit::{Failure, Status};

/// How long a question about tokens may take.
const QUESTION: Duration = Duration::from_secs(15);
/// How often it is asked whether a connection that waits was approved.
const ASK_AGAIN: Duration = Duration::from_millis(250);

type Reached<'a> = (&'a str, &'a BTreeMap<String, String>, Option<&'a Path>);

/// What is closed when authority ends, and why it was.
type Closing = Arc<(OnceLock<Hold>, OnceLock<DenialCode>)>;

pub(super) fn start(
    front: &Front,
    name: &str,
    profile: Option<&ProfileName>,
    (url, headers, ca): Reached<'_>,
    lobby: &Lobby,
) -> Result<Server, Failure> {
    keep_unreadable();
    let target = Target::parse(url).map_err(Failure::new)?;
    let trust = Trust::new(ca).map_err(Failure::new)?;
    let closing = Closing::default();
    let governor = governor(front, &closing)?;
    let call = intent(&front.principal, name, &target, profile).map_err(Failure::new)?;
    let mut ticket = match permitted(front, &governor, call, lobby)? {
        Some(Ruling::Started(ticket)) => ticket,
        other => {
            governor.close();
            return Ok(Server::Down(refused(name, other)));
        }
    };
    let granted = ticket.take_granted();
    let opened = granted.ok_or_else(|| "nothing was granted".to_owned());
    let opened = opened.and_then(|granted| {
        let out = front.out;
        let headers = ready(&granted, &target, headers)?;
        let leads = Leads::within(&granted.scope.network);
        let kept = Kept::new(&governor, ticket.holding(), front.domain.dir.logins());
        let bearer = bearer(name, &granted, &target, (&trust, &leads), kept)?;
        if bearer.is_some() && headers.iter().any(|(name, _)| *name == AUTHORIZATION) {
            return Err("it has both a login and an `Authorization` header".to_owned());
        }
        let remote = Remote {
            target,
            name: name.to_owned(),
            trust,
            leads,
            bearer,
            headers,
        };
        let tell = Arc::new(move |text: &str| out.note(format!("placet: {text}")));
        open(remote, tell).map_err(|error| error.to_string())
    });
    let (upstream, hold) = match opened {
        Ok(opened) => opened,
        Err(reason) => {
            end(&governor, ticket, RunEnd::Failed, None);
            let reason = format!("the server elsewhere, {name}, is not spoken to. {reason}");
            let remedy =
                "give it a profile that lets it be reached, with the credentials that it needs";
            return Ok(Server::Down(Down::failed(reason, remedy, 1)));
        }
    };
    // It was made a moment ago: nobody else has set it.
    closing.0.set(hold).unwrap_or(());
    if closing.1.get().is_some() {
        closing.0.get().into_iter().for_each(Hold::kill);
    }
    Ok(Server::Up(Box::new(Up {
        workspace: None,
        exec: ticket.exec,
        upstream,
        end: Box::new(move |over| {
            let (outcome, status) = match over {
                Over::Client => (RunEnd::Completed, Status::Ok),
                Over::Server => (RunEnd::Failed, Status::Code(1)),
            };
            end(&governor, ticket, outcome, closing.1.get().copied());
            Ok(status)
        }),
    })))
}

/// What is said of the connection for good: while it waits for approvals, its client waits too.
fn permitted(
    front: &Front,
    governor: &Governor,
    call: Sealed,
    lobby: &Lobby,
) -> Result<Option<Ruling>, Failure> {
    let (sender, receiver) = channel();
    let then = || -> Then {
        let sender = sender.clone();
        Box::new(move |ruling| drop(sender.send(ruling)))
    };
    // The same that was asked for by a gateway that has gone since is the same.
    let asked = front.domain.dir.asked();
    let key = AskedBefore::key(&call.intent, &call.params);
    let call = match key.and_then(|key| asked.salt(&key)) {
        Some(salt) => call.hidden_by(salt),
        None => call,
    };
    let salt = call.salt.clone();
    governor.connect(call.clone(), then());
    let mut ruling = receiver.recv().ok();
    let mut waits: Option<ExecutionId> = None;
    loop {
        match &ruling {
            Some(Ruling::Deferred(deferred, _)) => {
                if waits.is_some_and(|exec| exec != deferred.exec) || lobby.is_left() {
                    // It would wait anew, or for nobody: that is for whoever asks next.
                    return Ok(ruling);
                }
                if waits.is_none() {
                    if let Some(key) = &key {
                        // Without it the connection has to be approved anew by the next gateway.
                        asked.keep(key, &salt).unwrap_or(());
                    }
                    lobby.waits(WaitsFor::of(deferred))?;
                }
                waits = Some(deferred.exec);
            }
            // The node may be on its way back: what waits has time.
            Some(Ruling::Unavailable(denial))
                if waits.is_some() && !lobby.is_left() && may_pass(denial.code) => {}
            Some(Ruling::Started(_) | Ruling::Denied { .. }) => {
                if let Some(key) = &key {
                    asked.forget(key);
                }
                return Ok(ruling);
            }
            Some(Ruling::Unavailable(_)) | None => return Ok(ruling),
        }
        std::thread::sleep(ASK_AGAIN);
        governor.connect(call.clone(), then());
        ruling = receiver.recv().ok();
    }
}

fn may_pass(code: DenialCode) -> bool {
    matches!(
        code,
        DenialCode::EvidenceUnavailable | DenialCode::Overloaded
    )
}

/// What has the connection decided and watches it: when its authority is over, it is closed.
fn governor(front: &Front, closing: &Closing) -> Result<Governor, Failure> {
    let closing = Arc::clone(closing);
    let bearer = front.bearer.clone();
    let ending = Box::new(move |_, cause| {
        closing.1.get_or_init(|| cause);
        closing.0.get().into_iter().for_each(Hold::kill);
    });
    // On connections of its own: to be handed credentials may take long.
    Ok(Governor::new(front.governing()?, bearer, ending)?)
}

/// The headers, if what was granted covers the endpoint.
fn ready(
    granted: &Granted,
    target: &Target,
    headers: &BTreeMap<String, String>,
) -> Result<Vec<(HeaderName, HeaderValue)>, String> {
    target
        .within(&granted.scope)
        .map_err(|error| error.to_string())?;
    let header = |(name, value): (&String, &String)| {
        let bad = || format!("the header `{name}` cannot be one");
        let of =
            |variable: &str| credential(granted, variable).or_else(|| std::env::var(variable).ok());
        let value = Zeroizing::new(expanded(value, of)?);
        let mut value = HeaderValue::from_str(&value).map_err(|_| bad())?;
        value.set_sensitive(true);
        let name: HeaderName = name.parse().map_err(|_| bad())?;
        Ok((name, value))
    };
    headers.iter().map(header).collect()
}

/// The value of the credential that was granted as this variable.
fn credential(granted: &Granted, variable: &str) -> Option<String> {
    let mut credentials = granted.scope.credentials.iter();
    let one = credentials.find(|one| match &one.form {
        // What a login gave goes to its server alone, and never as a whole.
        CredentialForm::Env(name) => {
            name.as_str() == variable && !one.name.as_str().starts_with(PREFIX)
        }
        CredentialForm::File { .. } => false,
    })?;
    let (_, value) = granted.secrets.iter().find(|(name, _)| *name == one.name)?;
    std::str::from_utf8(value.expose()).ok().map(str::to_owned)
}

/// The token of a login, where the scope has it.
fn bearer(
    name: &str,
    granted: &Granted,
    target: &Target,
    (trust, leads): (&Trust, &Leads),
    kept: Kept,
) -> Result<Option<Bearer>, String> {
    let secret = secret_of(name);
    let held = granted
        .secrets
        .iter()
        .find(|(held, _)| Some(held) == secret.as_ref());
    let Some((secret, value)) = held else {
        return Ok(None);
    };
    let tokens = Tokens::open(value).map_err(|error| error.to_string())?;
    let given = Given {
        tokens,
        keeper: Arc::new(kept.of(secret.clone())),
        client: Client::new(trust.clone(), leads.clone(), QUESTION),
        scope: granted.scope.clone(),
        clock: clock(),
    };
    let bearer = Bearer::new(target.clone(), given).map_err(|error| error.to_string())?;
    Ok(Some(bearer))
}

fn refused(name: &str, ruling: Option<Ruling>) -> Down {
    let what = format!("the server elsewhere, {name}, may not be spoken to");
    match ruling {
        Some(Ruling::Denied {
            denial,
            exec,
            index,
        }) => {
            let refused = Refused {
                denial,
                exec,
                record: index,
            };
            let remedy = match refused.denial.code {
                DenialCode::CredentialMissing => Some(
                    "`placet mcp login` gets the tokens of a server, `placet secret set` takes any other credential",
                ),
                DenialCode::NoPermit => Some("a policy has to permit `mcp:connect` to the server"),
                _ => None,
            };
            Down::denied(&what, refused, remedy, 10)
        }
        Some(Ruling::Deferred(deferred, _)) => {
            let whose = deferred.waiting.in_words();
            let exec = deferred.exec;
            let reason = format!("{what}: it needs the approval of {whose}: placet approve {exec}");
            let remedy = "start it again once it was approved: it is the same then";
            Down::told(DenialCode::ApprovalRequired, reason, remedy, 11)
        }
        Some(Ruling::Unavailable(denial)) => {
            let reason = format!("{what}: {}", denial.reason);
            Down::told(denial.code, reason, "see `placet doctor`", 1)
        }
        Some(Ruling::Started(_)) | None => {
            let reason = format!("{what}: the node did not answer");
            Down::failed(reason, "see `placet doctor`", 1)
        }
    }
}

fn end(governor: &Governor, ticket: Ticket, outcome: RunEnd, cause: Option<DenialCode>) {
    let output = None;
    let ended = Ended {
        outcome,
        cause,
        output,
    };
    governor.end(ticket, ended);
    governor.close();
}
