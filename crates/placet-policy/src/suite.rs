//! A bundle's own tests: requests and the answers that its author expects.
//!
//! A bundle whose tests fail does not activate. Tests see what policies see; what a profile grants
//! is not looked at here.

mod question;
mod read;

use std::collections::BTreeSet;

use placet_evidence::{Appraisal, Caller, Environment, History, Risk};
use placet_types::canonical::Json;
use placet_types::{
    ActionName, CallParams, Millis, PrincipalId, ProfileName, ResourceRef, Seconds,
};

use crate::identities;
use crate::policy::{Effect, Evaluation, Policy};
use crate::request::{Given, Request};

pub(crate) use read::read;

/// An identity, and the principals that it is expected to be.
#[derive(Clone, Debug)]
pub(crate) struct IdentityCase {
    file: String,
    line: u32,
    name: String,
    caller: Caller,
    principals: BTreeSet<PrincipalId>,
}

/// One request of a test, and what is expected of it.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    file: String,
    line: u32,
    name: String,
    command: String,
    given: Put,
    expected: Expected,
}

/// What a test puts to policy.
#[derive(Clone, Debug)]
pub(crate) enum Put {
    /// A request.
    Request(Box<Asked>),
    /// A question.
    Question(Box<question::PutQuestion>),
}

/// What the node would know.
#[derive(Clone, Debug)]
pub(crate) struct World {
    environment: Environment,
    appraisal: Appraisal,
    history: History,
    risk: Risk,
    time: Millis,
}

/// A request that owns its parts.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    principal: PrincipalId,
    groups: Vec<String>,
    action: ActionName,
    resource: ResourceRef,
    params: Params,
    delegation: Vec<PrincipalId>,
    depth: u32,
    profile: Option<ProfileName>,
    world: World,
}

/// Parameters of a test's request.
#[derive(Clone, Debug)]
pub(crate) enum Params {
    Process(Json),
    Call(CallParams),
}

#[derive(Clone, Debug)]
struct Expected {
    effect: ExpectedEffect,
    policies: Option<BTreeSet<String>>,
    profiles: Option<BTreeSet<ProfileName>>,
    rerouted: Option<BTreeSet<ProfileName>>,
    lifetime: Option<Seconds>,
}

#[derive(Clone, Copy, Debug)]
enum ExpectedEffect {
    Exactly(Effect),
    /// Any denial.
    Deny,
}

/// What the tests of a bundle found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestReport {
    /// Every request of every test, in the order of the files.
    pub results: Vec<TestResult>,
    /// Policies that determined the answer to at least one request.
    pub covered: BTreeSet<String>,
    /// Policies that determined none.
    pub uncovered: BTreeSet<String>,
}

/// What one request of a test found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestResult {
    /// The member of the bundle.
    pub file: String,
    /// The line where the test begins, from 1.
    pub line: u32,
    /// Name of the test.
    pub name: String,
    /// The arguments, joined by spaces; of another action than `process:run`, its resource; of a
    /// question, all three.
    pub command: String,
    /// What differs from the expected answer; absent when nothing does.
    pub failure: Option<String>,
}

impl TestReport {
    /// Whether every request was answered as expected.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.failures().next().is_none()
    }

    /// The requests that were answered otherwise.
    pub fn failures(&self) -> impl Iterator<Item = &TestResult> {
        self.results
            .iter()
            .filter(|result| result.failure.is_some())
    }
}

/// Runs the bundle's tests against its compiled form.
#[must_use]
pub fn run_tests(bundle: &crate::Bundle, policy: &Policy) -> TestReport {
    let (mut results, mut covered) = (Vec::new(), BTreeSet::new());
    for case in &bundle.cases {
        let evaluation = match &case.given {
            Put::Request(asked) => policy.evaluate(&asked.request()),
            Put::Question(question) => question.put(policy),
        };
        let failure = case.expected.mismatch(&evaluation);
        covered.extend(evaluation.determining);
        results.push(TestResult {
            file: case.file.clone(),
            line: case.line,
            name: case.name.clone(),
            command: case.command.clone(),
            failure,
        });
    }
    let identities = bundle.identity_cases.iter();
    results.extend(identities.map(|case| case.result(policy)));
    let ids = policy.rules().map(|rule| rule.id.clone());
    let uncovered = ids.filter(|id| !covered.contains(id)).collect();
    TestReport {
        results,
        covered,
        uncovered,
    }
}

impl IdentityCase {
    fn result(&self, policy: &Policy) -> TestResult {
        let found = policy.mapping().principals(&self.caller);
        let failure = (found != self.principals).then(|| {
            let words = |all: &BTreeSet<PrincipalId>| match all.len() {
                0 => "nobody".to_owned(),
                _ => all
                    .iter()
                    .map(PrincipalId::as_str)
                    .collect::<Vec<_>>()
                    .join(", "),
            };
            format!(
                "expected {}, found {}",
                words(&self.principals),
                words(&found)
            )
        });
        TestResult {
            file: self.file.clone(),
            line: self.line,
            name: self.name.clone(),
            command: identities::in_words(&self.caller),
            failure,
        }
    }
}

impl Asked {
    pub(crate) fn request(&self) -> Request<'_> {
        Request {
            principal: &self.principal,
            groups: &self.groups,
            action: &self.action,
            resource: &self.resource,
            params: match &self.params {
                Params::Process(json) => Given::Process(json),
                Params::Call(call) => Given::Call(call),
            },
            delegation: &self.delegation,
            depth: self.depth,
            profile_asked: self.profile.as_ref(),
            environment: &self.world.environment,
            appraisal: &self.world.appraisal,
            history: &self.world.history,
            risk: &self.world.risk,
            time: self.world.time,
        }
    }
}

impl Expected {
    fn mismatch(&self, found: &Evaluation) -> Option<String> {
        let determining = || describe(&found.determining);
        if !self.effect.accepts(found.effect) {
            let errors = found
                .errors
                .iter()
                .map(|fault| format!("; {}", fault.message));
            return Some(format!(
                "expected {}, found {}{}{}",
                self.effect.word(),
                word(found.effect),
                determining(),
                errors.collect::<String>()
            ));
        }
        let policies: BTreeSet<_> = found.determining.iter().cloned().collect();
        if let Some(expected) = self
            .policies
            .as_ref()
            .filter(|expected| **expected != policies)
        {
            return Some(format!(
                "expected it{}, found it{}",
                describe(expected),
                determining()
            ));
        }
        let profiles: BTreeSet<_> = found.obligations.profiles.iter().cloned().collect();
        if let Some(expected) = self
            .profiles
            .as_ref()
            .filter(|expected| **expected != profiles)
        {
            return Some(format!(
                "expected profiles {expected:?}, found {profiles:?}"
            ));
        }
        let rerouted: BTreeSet<_> = found.obligations.rerouted.iter().cloned().collect();
        if let Some(expected) = self
            .rerouted
            .as_ref()
            .filter(|expected| **expected != rerouted)
        {
            return Some(format!(
                "expected it rerouted to {expected:?}, found {rerouted:?}"
            ));
        }
        let lifetime = found.obligations.lifetime;
        if let Some(expected) = self.lifetime.filter(|expected| Some(*expected) != lifetime) {
            let found = lifetime.map_or_else(|| "none".to_owned(), |found| found.to_string());
            return Some(format!("expected a lifetime of {expected}, found {found}"));
        }
        None
    }
}

impl ExpectedEffect {
    fn accepts(self, found: Effect) -> bool {
        match self {
            Self::Exactly(effect) => effect == found,
            Self::Deny => found != Effect::Permit,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Exactly(effect) => word(effect),
            Self::Deny => "deny",
        }
    }
}

fn word(effect: Effect) -> &'static str {
    effect.denial_code().map_or("permit", |code| code.as_str())
}

fn describe<'a>(ids: impl IntoIterator<Item = &'a String>) -> String {
    let ids: Vec<_> = ids.into_iter().map(String::as_str).collect();
    if ids.is_empty() {
        " by no policy".to_owned()
    } else {
        format!(" by {}", ids.join(", "))
    }
}

#[cfg(test)]
mod tests;
