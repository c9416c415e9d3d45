//! Authorize: what an agent must not do, refused before anything starts.

use placet_types::DenialCode;

use super::ground::Ground;
use super::report::Seen;
use super::stage::Stage;
use super::step::{End, Try};
use crate::exit::{DENIED, Failure};

const FORBIDDEN: End = End::Denied(DenialCode::PolicyForbids);
const NO_PERMIT: End = End::Denied(DenialCode::NoPermit);

const REFUSED: &[Try] = &[
    Try::new(
        "git push origin main",
        &["git", "push", "origin", "main"],
        FORBIDDEN,
    )
    .also(Ground::remote_is_empty),
    Try::new(
        "git -C . push",
        &["git", "-C", ".", "push", "origin", "main"],
        FORBIDDEN,
    )
    .also(Ground::remote_is_empty),
    Try::new(
        "git -c alias.x='push origin main' x",
        &["git", "-c", "alias.x=push origin main", "x"],
        NO_PERMIT,
    )
    .also(Ground::remote_is_empty),
    Try::new(
        "rm -rf, outside of the repository",
        &["rm", "-rf", "{outside}"],
        FORBIDDEN,
    )
    .also(Ground::outside_is_whole),
    Try::new(
        "find .. -delete",
        &["find", "..", "-name", "thesis.txt", "-delete"],
        FORBIDDEN,
    )
    .also(Ground::outside_is_whole),
    Try::new(
        "cat ~/.ssh/id_ed25519",
        &["cat", "{home}/.ssh/id_ed25519"],
        FORBIDDEN,
    ),
    Try::new("su -c id", &["su", "-c", "id"], FORBIDDEN),
];

/// Programs that reach other machines, and how they are called.
const NETWORK: &[(&str, Try)] = &[
    (
        "curl",
        network(
            "curl, to a listener",
            &["curl", "-sS", "http://127.0.0.1:{port}/"],
        ),
    ),
    (
        "wget",
        network(
            "wget, from a listener",
            &["wget", "-qO-", "http://127.0.0.1:{port}/"],
        ),
    ),
    (
        "ssh",
        network("ssh, to a listener", &["ssh", "-p", "{port}", "127.0.0.1"]),
    ),
    (
        "openssl",
        network(
            "openssl, to a listener",
            &["openssl", "s_client", "-connect", "127.0.0.1:{port}"],
        ),
    ),
];

/// After refusals, ordinary work goes on.
const STILL: Try = Try::done("goes on: git status", &["git", "status", "--short"]);

const fn network(what: &'static str, argv: &'static [&'static str]) -> Try {
    Try::new(what, argv, FORBIDDEN).also(Ground::nobody_connected)
}

/// The agent tries what it must not, and works on.
pub(super) fn refuses(stage: &mut Stage) -> Result<(), Failure> {
    asks_beforehand(stage)?;
    stage.attempt_all(REFUSED)?;
    let names: Vec<&str> = NETWORK.iter().map(|(name, _)| *name).collect();
    let there = stage.ground.first_tool(&names);
    if let Some((_, one)) = NETWORK.iter().find(|(name, _)| Some(*name) == there) {
        stage.attempt(one)?;
    }
    stage.attempt(&STILL).map(drop)
}

/// `placet decide` says what would happen. It records nothing.
fn asks_beforehand(stage: &mut Stage) -> Result<(), Failure> {
    let before = stage.ground.size()?;
    let args = ["decide", "--json", "--as=agent:coder", "--", "git", "push"];
    let asked = stage.ground.placet(&args)?;
    let denial = asked
        .json()?
        .get("preview")
        .and_then(|preview| preview.get("denial"))
        .cloned();
    let code = denial
        .as_ref()
        .and_then(|denial| denial.get("code")?.as_str())
        .unwrap_or("permit");
    let recorded = stage.ground.size()?.get().saturating_sub(before.get());
    let observed = format!("would be {code}, {recorded} records");
    let fits = code == DenialCode::PolicyForbids.as_str()
        && recorded == 0
        && asked.status.code() == Some(DENIED.into());
    let seen = if fits {
        Seen::holds(observed)
    } else {
        Seen::differs(observed)
    };
    stage.add(
        "asks beforehand: placet decide -- git push",
        "a denial, nothing recorded",
        seen,
    )
}
