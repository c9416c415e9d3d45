//! The scope that is granted, and whether it holds: it covers what the intent needs, this machine can enforce it,
//! what it hands over is there, and what it is about is what was approved.

use placet_evidence::CheckedDenial as Denied;
use placet_policy::{Policy, Profile, Vars};
use placet_state::Standing;
use placet_types::{
    CallParams, DenialCode, ExecCheck, FixedScope, PeerRule, ProcessParams, Scope, tier,
};

use crate::Input;
use crate::checks::deny;
use crate::params::Read;

/// The action whose gateway speaks to a server elsewhere, and takes the credentials for it.
const MCP_CONNECT: &str = "mcp:connect";

/// What the profiles allow together, within the parent's scope. A process gets the files and programs
/// in it; any other action touches nothing by itself: its gateway carries it out.
pub(crate) fn scope(
    input: &Input<'_>,
    policy: &Policy,
    profiles: &[&Profile],
    read: &Read,
) -> Result<FixedScope, Denied> {
    let within = input.parent_scope.filter(|_| input.intent.parent.is_some());
    let denied = |denial: placet_types::Denial| deny(9, denial.code, denial.reason);
    match read {
        Read::Process { params, .. } => {
            let vars = Vars {
                workspace: params.workspace.clone(),
                home: params.home.clone(),
            };
            let scope = policy.scope(profiles, vars, within).map_err(denied)?;
            let scope = checked_as_asked(scope, input.intent.asked.exec_check)?;
            holds(input, &scope, params)?;
            Ok(scope)
        }
        Read::Call(_) => match input.intent.action.as_str() {
            MCP_CONNECT => policy.remote_scope(profiles, within).map_err(denied),
            CallParams::CONNECT => {
                let scope = policy.bare_scope(profiles, within).map_err(denied)?;
                reaches(input, &scope)?;
                Ok(scope)
            }
            _ => policy.bare_scope(profiles, within).map_err(denied),
        },
    }
}

/// A connection is only ever to a peer of the scope that it is made in: policy narrows that, and no more.
fn reaches(input: &Input<'_>, scope: &Scope) -> Result<(), Denied> {
    let peer: PeerRule =
        input
            .intent
            .resource
            .id
            .parse()
            .map_err(|error: placet_types::peer::PeerSyntax| {
                deny(1, DenialCode::Malformed, error.to_string())
            })?;
    if scope.network.rules().any(|rule| rule.covers(&peer)) {
        return Ok(());
    }
    let reason = "the peer is not in the network of the permit's profile, or not in that of the execution that wants it";
    Err(deny(9, DenialCode::ScopeExceeded, reason))
}

/// Who asks for a stricter check of what is started gets it.
fn checked_as_asked(scope: FixedScope, asked: ExecCheck) -> Result<FixedScope, Denied> {
    if asked <= scope.exec_check {
        return Ok(scope);
    }
    scope
        .changed(|scope| scope.exec_check = asked)
        .map_err(|error| deny(9, DenialCode::PolicyError, error.to_string()))
}

/// The scope must cover what the intent needs in any case: its program and its working directory.
fn holds(input: &Input<'_>, scope: &Scope, params: &ProcessParams) -> Result<(), Denied> {
    let exceeded = |reason: &str| Err(deny(9, DenialCode::ScopeExceeded, reason));
    let program = placet_types::AbsPath::parse(&input.intent.resource.id)
        .map_err(|error| deny(1, DenialCode::Malformed, error.to_string()))?;
    if !scope.may_exec(&program) {
        return exceeded("the program stands outside the paths that may be executed");
    }
    let listed = |digest| scope.may_exec_image(&program, digest);
    if !input.intent.resource.digest.as_ref().is_some_and(listed) {
        return exceeded("the contents of the program are not among those that may be started");
    }
    if !scope.read.contains(&params.cwd) {
        return exceeded("the working directory stands outside the paths that may be read");
    }
    Ok(())
}

/// A machine that gives less than the scope demands is told so before anything is issued: weaker
/// enforcement is never a fallback.
pub(crate) fn enforceable(input: &Input<'_>, scope: &Scope) -> Result<(), Denied> {
    let environment = &input.facts.environment;
    if environment.tier >= Some(scope.tier) {
        return Ok(());
    }
    let words: Vec<&str> = environment.weaker.iter().map(|one| one.word()).collect();
    let lacks = if words.is_empty() {
        String::new()
    } else {
        format!(", with less: {}", words.join(", "))
    };
    Err(deny(
        9,
        DenialCode::Unenforceable,
        format!(
            "the scope demands enforcement tier {} and this machine gives {}{lacks}; `placet doctor` \
             names what would raise it, and a profile with `tier = \"U0\"` accepts weaker enforcement",
            scope.tier,
            tier::name(environment.tier),
        ),
    ))
}

/// What would be handed over must be there: a program that misses its secret fails in odd ways.
pub(crate) fn credentials(input: &Input<'_>, scope: &Scope) -> Result<(), Denied> {
    let held = input.state.secrets();
    match scope
        .credentials
        .iter()
        .find(|one| !held.contains(&one.name))
    {
        None => Ok(()),
        Some(missing) => {
            let name = &missing.name;
            let reason = format!(
                "the profile hands over the secret `{name}`, which is not set; `placet secret set {name}` sets it"
            );
            Err(deny(9, DenialCode::CredentialMissing, reason))
        }
    }
}

/// What the intent is about must be what was approved: a tool that says it is something else since is
/// not the tool that somebody looked at.
pub(crate) fn definition(input: &Input<'_>) -> Result<(), Denied> {
    let resource = &input.intent.resource;
    match input.state.definitions().standing(resource) {
        Standing::Fits => Ok(()),
        Standing::Differs => Err(deny(
            6,
            DenialCode::RuntimeIntegrity,
            format!(
                "the definition of `{0}` is not the one that was approved; `placet mcp diff {0}` shows \
                 what changed, and an operator approves it with `placet mcp approve {0}`",
                resource.id
            ),
        )),
        Standing::NoRoom => Err(deny(
            6,
            DenialCode::Overloaded,
            "as many definitions are remembered as may be",
        )),
    }
}
