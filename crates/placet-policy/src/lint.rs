//! Lint: bundles that can be used, but probably do not say what their author meant.

use std::collections::BTreeSet;

use cedar_policy::{
    ActionConstraint, EntityUid, Policy as CedarPolicy, PrincipalConstraint, ResourceConstraint,
};
use placet_types::{Millis, Writes};

use crate::bundle::Bundle;
use crate::identities::{self, MappingRule, Named, Who};
use crate::policy::{Mentions, Policy, Rule};
use crate::problem::Problem;
use crate::suite::run_tests;

/// Forbids without scope that a bundle can have before they are worth a word. Each costs every
/// decision about a microsecond.
const OPEN_FORBIDS_MAX: usize = 8;

/// Variables whose values are secrets, or make programs run other code.
const RISKY_ENV: [&str; 13] = [
    "BASH_ENV",
    "DOCKER_HOST",
    "ENV",
    "GIT_ASKPASS",
    "GIT_SSH_COMMAND",
    "GNUPGHOME",
    "KUBECONFIG",
    "NODE_OPTIONS",
    "PERL5LIB",
    "PYTHONPATH",
    "PYTHONSTARTUP",
    "SSH_AUTH_SOCK",
    "XAUTHORITY",
];

/// What looks wrong in a bundle that compiles. `now` is when it is to be used.
#[must_use]
pub fn lint(bundle: &Bundle, policy: &Policy, now: Option<Millis>) -> Vec<Problem> {
    let mut found = policy.validator_warnings();
    found.extend(validity(bundle, now));
    for rule in policy.rules() {
        if let Some(cedar) = policy.cedar(&rule.id) {
            found.extend(one_policy(rule, cedar, bundle));
        }
    }
    found.extend(open_forbids(policy));
    found.extend(identities(bundle));
    found.extend(tests(bundle, policy));
    for profile in policy.profiles() {
        let file = format!("profiles/{}.toml", profile.name());
        let warn = |(rule, message)| Problem::warning(&file, rule, message);
        found.extend(profile_risks(profile).into_iter().map(warn));
    }
    found.sort();
    found.dedup();
    found
}

fn validity(bundle: &Bundle, now: Option<Millis>) -> Option<Problem> {
    let validity = bundle.manifest().validity;
    let now = now.filter(|now| !validity.holds_at(*now))?;
    let message = match validity.expires {
        Some(end) if end <= now => format!("the bundle expired at {end}"),
        Some(_) | None => "the bundle is not valid yet".to_owned(),
    };
    Some(Problem::warning("bundle.toml", "validity", message))
}

fn one_policy(rule: &Rule, cedar: &CedarPolicy, bundle: &Bundle) -> Vec<Problem> {
    let mut found = Vec::new();
    let mut warn = |name, message: String| {
        found.push(Problem::warning(&rule.file, name, message).at(rule.line));
    };
    let id = &rule.id;
    if rule.description.as_deref().is_none_or(str::is_empty) {
        warn(
            "no-description",
            format!("`{id}` has no @description: say why it is there"),
        );
    }
    let open = is_open(cedar);
    if rule.permits && open && !cedar.has_non_scope_constraint() {
        warn(
            "unconstrained-permit",
            format!("`{id}` permits everyone everything"),
        );
    } else if rule.permits && open {
        let message = format!("`{id}` permits every principal every resource on a condition alone");
        warn("open-permit", message);
    }
    if !rule.permits && forbids_by_position(cedar) {
        warn(
            "forbid-by-position",
            format!(
                "`{id}` forbids by `context.verb`, which options before the word escape \
                 (`git -C x push`): look in `context.args` too"
            ),
        );
    }
    if let Some(profile) = rule.reroute.as_ref()
        && *profile == bundle.about.default_profile
    {
        warn(
            "reroute-to-default",
            format!(
                "`{id}` reroutes to `{profile}`, where permits that name no profile lead anyway"
            ),
        );
    }
    for group in unknown_groups(cedar, bundle) {
        warn(
            "unknown-group",
            format!("`{id}` names {group}, which entities.toml does not declare"),
        );
    }
    found
}

fn is_open(cedar: &CedarPolicy) -> bool {
    let principal = match cedar.principal_constraint() {
        PrincipalConstraint::Any | PrincipalConstraint::Is(_) => true,
        PrincipalConstraint::In(_) | PrincipalConstraint::Eq(_) | PrincipalConstraint::IsIn(..) => {
            false
        }
    };
    let resource = match cedar.resource_constraint() {
        ResourceConstraint::Any | ResourceConstraint::Is(_) => true,
        ResourceConstraint::In(_) | ResourceConstraint::Eq(_) | ResourceConstraint::IsIn(..) => {
            false
        }
    };
    principal && resource
}

fn forbids_by_position(cedar: &CedarPolicy) -> bool {
    let mentions = Mentions::of_policy(cedar);
    let named = |name: &str| mentions != Mentions::All && mentions.has(name);
    named("verb") && !named("args")
}

/// Groups that the policy names, and that the bundle does not declare: probably misspelt.
fn unknown_groups(cedar: &CedarPolicy, bundle: &Bundle) -> BTreeSet<EntityUid> {
    let mut named = cedar.entity_literals();
    if let PrincipalConstraint::In(uid) | PrincipalConstraint::IsIn(_, uid) =
        cedar.principal_constraint()
    {
        named.push(uid);
    }
    let known = |uid: &EntityUid| {
        let name: &str = uid.id().as_ref();
        uid.type_name().to_string() != "Group" || bundle.entities.groups.contains_key(name)
    };
    named.into_iter().filter(|uid| !known(uid)).collect()
}

fn open_forbids(policy: &Policy) -> Option<Problem> {
    let open: Vec<&Rule> = policy
        .rules()
        .filter(|rule| !rule.permits)
        .filter(|rule| {
            policy.cedar(&rule.id).is_some_and(|cedar| {
                is_open(cedar) && !matches!(cedar.action_constraint(), ActionConstraint::Eq(_))
            })
        })
        .collect();
    let first = open.first().filter(|_| open.len() > OPEN_FORBIDS_MAX)?;
    let message = format!(
        "{} forbids name neither principal nor resource: each costs every decision about a \
         microsecond; give them a group or a toolset",
        open.len()
    );
    Some(Problem::warning(&first.file, "open-forbids", message).at(first.line))
}

/// Rules that give one principal to more identities than somebody counted.
fn identities(bundle: &Bundle) -> Vec<Problem> {
    let mapping = bundle.mapping();
    let warn = |rule: &MappingRule, name, message| {
        Problem::warning(identities::FILE, name, message).at(rule.line)
    };
    let mut found: Vec<Problem> = mapping
        .rules()
        .iter()
        .filter_map(|rule| match (&rule.who, &rule.principal) {
            (Who::Token(subjects), Named::Fixed(id))
                if subjects.subject.is_none() && subjects.claims.is_empty() =>
            {
                let message = format!("whoever {} knows is {id}", subjects.issuer);
                Some(warn(rule, "every-subject", message))
            }
            (Who::Token(subjects), _) if subjects.issuer.starts_with("http://") => {
                let message = format!(
                    "{} is not reached over TLS: a node takes it on loopback only",
                    subjects.issuer
                );
                Some(warn(rule, "plain-issuer", message))
            }
            (Who::Key(_) | Who::Unix(_) | Who::Spiffe(_) | Who::Token(_), _) => None,
        })
        .collect();
    if let (Some(first), true) = (mapping.rules().first(), bundle.identity_cases.is_empty()) {
        let message =
            "no test says which identity is which principal: add [[identity]] to tests/*.toml";
        found.push(warn(first, "untested-identities", message.to_owned()));
    }
    found
}

fn tests(bundle: &Bundle, policy: &Policy) -> Vec<Problem> {
    if bundle.cases.is_empty() {
        let message = "the bundle has no tests: add tests/*.toml, they run before each activation";
        return vec![Problem::warning("tests", "no-tests", message)];
    }
    let untested = run_tests(bundle, policy).uncovered;
    let rules = untested.iter().filter_map(|id| policy.rule(id));
    rules
        .map(|rule| {
            let message = format!("no test depends on `{}`", rule.id);
            Problem::warning(&rule.file, "untested", message).at(rule.line)
        })
        .collect()
}

fn profile_risks(profile: &crate::Profile) -> Vec<(&'static str, String)> {
    let mut found = Vec::new();
    for wide in profile.wide_reads() {
        found.push((
            "wide-read",
            format!("reads all of `{wide}`, with every credential in it"),
        ));
    }
    for name in profile.env().filter(|name| is_risky(name)) {
        let message = format!("passes on `{name}`, which can hold a secret or code");
        found.push(("risky-env", message));
    }
    if profile.writes() != Writes::Direct && !profile.writes_anything() {
        let message = format!(
            "`writes = \"{}\"` without any `write` tree: there is nothing to copy",
            profile.writes().as_str()
        );
        found.push(("writes-nothing", message));
    }
    if profile.lifetime().get() > profile.limits().wall_secs {
        let message = "the lifetime is longer than limits.wall, which ends it first".to_owned();
        found.push(("lifetime", message));
    }
    found
}

fn is_risky(name: &str) -> bool {
    let secret = [
        "TOKEN",
        "SECRET",
        "PASSWORD",
        "API_KEY",
        "CREDENTIAL",
        "PRIVATE_KEY",
    ];
    RISKY_ENV.contains(&name)
        || name.starts_with("AWS_")
        || secret.iter().any(|part| name.contains(part))
}

#[cfg(test)]
mod tests;
