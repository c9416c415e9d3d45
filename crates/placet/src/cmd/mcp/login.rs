//! Logging in to a server elsewhere: a person's part, in a browser. What comes of it is a secret of the domain.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use placet_authority::node::wire::{Request, Response};
use placet_fetch::{Client, Leads, Target, Trust};
use placet_mcp::config::{Entry, Reach, expanded};
use placet_mcp::oauth::callback::Callback;
use placet_mcp::oauth::login::{Known, Login};
use placet_mcp::oauth::tokens::{Hidden, Reached, Tokens, secret_of};
use placet_mcp::remote::runtime;
use placet_types::{Network, PeerRule, SecretName};

use super::serve::configured;
use crate::cli::{Global, McpLogin};
use crate::cmd::revoke::recorded;
use crate::cmd::secret::keep_unreadable;
use crate::context::{Domain, clock};
use crate::exit::{Failure, Status};
use crate::out::{BOLD, DIM, GOOD, Out, paint};
use crate::show::shown;

/// How long one question may take.
const QUESTION: Duration = Duration::from_secs(15);

/// A server elsewhere, as the configuration has it.
struct Wanted {
    name: String,
    target: Target,
    ca: Option<PathBuf>,
    oauth: placet_mcp::config::Login,
}

pub(super) fn login(global: &Global, args: &McpLogin, out: Out) -> Result<Status, Failure> {
    keep_unreadable();
    let domain = Domain::open(global)?;
    let wanted = wanted(&args.config, &args.server)?;
    let secret = secret_name(&wanted.name)?;
    let tokens = runtime()?.block_on(asked(&wanted, args, out))?;
    let sealed = tokens.seal().map_err(Failure::new)?;
    let request = Request::SetSecret {
        name: secret.clone(),
        bytes: u32::try_from(sealed.len()).map_err(Failure::new)?,
    };
    // Whoever renews the old one is waited for; what it keeps then is older than this.
    let _alone = alone(&domain.dir.logins(), &secret)?;
    let index = match domain.node()?.ask_with(&request, &sealed)? {
        Response::Error(denial) => return Err(denial.into()),
        other => recorded(&other)?,
    };
    told(&wanted, &tokens, &secret, index, out);
    hint(&domain, &secret, out);
    Ok(Status::Ok)
}

pub(super) fn logout(global: &Global, server: &str, out: Out) -> Result<Status, Failure> {
    keep_unreadable();
    let domain = Domain::open(global)?;
    let secret = secret_name(&super::name::clean(server))?;
    let name = secret.clone();
    let _alone = alone(&domain.dir.logins(), &secret)?;
    let taken = domain
        .node()?
        .ask_for_secrets(&Request::TakeLogin { name })?;
    let (index, tokens) = match taken {
        (Response::Taken(index, _), values) => (index, values.into_iter().next()),
        (Response::Error(denial), _) => return Err(denial.into()),
        (other, _) => (recorded(&other)?, None),
    };
    let back = tokens.map_or_else(
        || Err("nothing could be read of them".to_owned()),
        |(_, tokens)| {
            let tokens = Tokens::open(&tokens).map_err(|error| error.to_string())?;
            given_back(&tokens)
        },
    );
    out.value(&serde_json::json!({
        "server": server, "secret": secret, "index": index, "revoked": back == Ok(true),
        "why": back.as_ref().err(),
    }));
    let what = if back == Ok(true) {
        "are gone, here and at who gave them"
    } else {
        "are gone here"
    };
    out.line(format!(
        "the tokens for {} {what} {}",
        shown(server),
        paint(DIM, format!("(record {index})"))
    ));
    match back {
        Ok(true) => {}
        Ok(false) => out.note(
            "placet: the authorization server takes no tokens back: whoever had them can use them until they are over",
        ),
        Err(why) => out.note(format!(
            "placet: they were not revoked, and are good until they are over: {}",
            shown(&why)
        )),
    }
    Ok(Status::Ok)
}

/// Gives tokens back to who gave them; whether that takes any.
fn given_back(tokens: &Tokens) -> Result<bool, String> {
    let Some(reached) = tokens.reached() else {
        return Ok(false);
    };
    let trust = Trust::new(reached.ca.as_deref()).map_err(|error| error.to_string())?;
    let leads = Leads::within(&Network::peers(&reached.peers));
    let client = Client::new(trust, leads, QUESTION);
    let runtime = runtime().map_err(|error| error.to_string())?;
    let revoked = runtime.block_on(tokens.revoke(&client));
    revoked.map(|()| true).map_err(|error| error.to_string())
}

/// The server that is meant.
fn wanted(config: &Path, server: &str) -> Result<Wanted, Failure> {
    let entries = configured(config, Some(server), None)?;
    let Some(Entry { name, reach, .. }) = entries.into_iter().next() else {
        return Err(Failure::new(format!(
            "there is no server {}",
            shown(server)
        )));
    };
    let Reach::Elsewhere { url, ca, oauth, .. } = reach else {
        return Err(Failure::new(format!(
            "{} is a program here; only servers at a URL are logged in to",
            shown(server)
        )));
    };
    let target = Target::parse(&url).map_err(Failure::new)?;
    Ok(Wanted {
        name,
        target,
        ca,
        oauth,
    })
}

async fn asked(wanted: &Wanted, args: &McpLogin, out: Out) -> Result<Tokens, Failure> {
    let trust = Trust::new(wanted.ca.as_deref()).map_err(Failure::new)?;
    let peers = peers(wanted);
    let client = Client::new(trust, Leads::within(&Network::peers(&peers)), QUESTION);
    let callback = Callback::bind(wanted.oauth.port)
        .await
        .map_err(Failure::new)?;
    let scope = args.scope.clone().or_else(|| wanted.oauth.scope.clone());
    let redirect = callback.redirect();
    let begun = Login::begin(&client, &wanted.target, known(wanted)?, scope, redirect).await;
    let login = begun.map_err(Failure::new)?;
    out.note(format!(
        "placet: {} lets you in at {}. Open this in a browser on this machine:",
        shown(&wanted.name),
        shown(login.issuer())
    ));
    out.note(login.url());
    let patience = Duration::from_secs(args.wait);
    let code = callback
        .wait(&login, patience)
        .await
        .map_err(Failure::new)?;
    let ca = wanted.ca.as_deref().map(std::path::absolute).transpose()?;
    let reached = Reached { ca, peers };
    let finished = login.finish(&client, code, clock().wall(), reached).await;
    finished.map_err(Failure::new)
}

/// Where the questions of a login may lead: to the public internet, to the server's own address, and to
/// what the configuration names.
fn peers(wanted: &Wanted) -> BTreeSet<PeerRule> {
    let mut rules: BTreeSet<PeerRule> = wanted.oauth.reach.clone();
    let host = wanted.target.host();
    let own = match host.parse::<IpAddr>() {
        Ok(IpAddr::V4(ip)) => vec![format!("{ip}:1-65535")],
        Ok(IpAddr::V6(ip)) => vec![format!("[{ip}]:1-65535")],
        Err(_) if host == "localhost" => {
            vec!["127.0.0.1:1-65535".to_owned(), "[::1]:1-65535".to_owned()]
        }
        Err(_) => Vec::new(),
    };
    rules.extend(own.iter().filter_map(|rule| rule.parse::<PeerRule>().ok()));
    rules
}

fn known(wanted: &Wanted) -> Result<Option<Known>, Failure> {
    let variable = |name: &str| std::env::var(name).ok();
    let of = |text: &Option<String>| match text {
        None => Ok(None),
        Some(text) => expanded(text, variable).map(Some).map_err(Failure::new),
    };
    let secret = of(&wanted.oauth.client_secret)?.map(Hidden::new);
    match of(&wanted.oauth.client_id)? {
        Some(id) => Ok(Some(Known { id, secret })),
        None if secret.is_some() => Err(Failure::new(
            "`placet.oauth` has a `client_secret` and no `client_id`",
        )),
        None => Ok(None),
    }
}

fn told(
    wanted: &Wanted,
    tokens: &Tokens,
    secret: &SecretName,
    index: placet_types::Index,
    out: Out,
) {
    out.value(&serde_json::json!({
        "server": wanted.name, "secret": secret, "index": index, "issuer": tokens.issuer(),
        "resource": tokens.resource(), "scope": tokens.scope(), "renews": tokens.renews(),
    }));
    out.line(format!(
        "{} to {} as {secret} {}",
        paint(GOOD, "logged in"),
        paint(BOLD, shown(tokens.resource())),
        paint(DIM, format!("(record {index})"))
    ));
    if !tokens.renews() {
        out.note("placet: these tokens cannot be renewed; log in again when they are over");
    }
}

/// Without a profile that hands it over nobody gets it.
fn hint(domain: &Domain, secret: &SecretName, out: Out) {
    let Ok(Response::Secrets(body)) = domain.ask(&Request::Secrets) else {
        return;
    };
    let is_named = body
        .secrets
        .iter()
        .any(|one| one.name == *secret && !one.profiles.is_empty());
    if !is_named {
        out.note(format!(
            "placet: no profile hands it over yet. In the profile of `mcp:connect` to it:\n  [[credentials]]\n  name = \"{secret}\"\n  env = \"OAUTH\""
        ));
    }
}

fn secret_name(server: &str) -> Result<SecretName, Failure> {
    secret_of(server)
        .ok_or_else(|| Failure::new(format!("{} cannot be the name of a secret", shown(server))))
}

/// Whoever changes the tokens of a server is alone with them.
pub(super) fn alone(logins: &Path, secret: &SecretName) -> std::io::Result<File> {
    fs::create_dir_all(logins)?;
    let file = File::create(logins.join(format!("{secret}.lock")))?;
    file.lock()?;
    Ok(file)
}
