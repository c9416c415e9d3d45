//! Reading tests from TOML. `[defaults]` stands in for what a `[[test]]` of the same file leaves
//! out; a table such as `history` replaces the default one as a whole.

use std::collections::{BTreeMap, BTreeSet};

use placet_evidence::{Appraisal, AppraisalStatus, Claim, Environment, History, Risk};
use placet_types::canonical::Json;
use placet_types::{
    ActionName, CallParams, Digest, Millis, PlaceName, PrincipalId, ProcessParams, ProfileName,
    ResourceRef, Seconds, Tier, Weakness, tier,
};
use serde::Deserialize;

use super::question::{FileQuestion, PutQuestion};
use super::{Asked, Case, Expected, ExpectedEffect, IdentityCase, Params, Put, World};
use crate::identities::FileIdentity;
use crate::policy::Effect;
use crate::problem::{Problem, line_at};
use crate::strict::{self, Duration, Instant};

/// When a test does not say when: Saturday, 2026-11-21, 12:00 UTC.
const NOON: Millis = Millis::new(1_795_262_400_000);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    defaults: FileCase,
    #[serde(default)]
    test: Vec<toml::Spanned<FileCase>>,
    #[serde(default)]
    identity: Vec<toml::Spanned<FileIdentityCase>>,
}

/// An identity, and which principals it is expected to be: none, for one that must be nobody.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileIdentityCase {
    name: String,
    is: FileIdentity,
    principals: BTreeSet<PrincipalId>,
}

/// The tests of one member.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) cases: Vec<Case>,
    pub(crate) identities: Vec<IdentityCase>,
}

#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileCase {
    name: Option<String>,
    principal: Option<PrincipalId>,
    groups: Option<Vec<String>>,
    action: Option<ActionName>,
    resource: Option<FileResource>,
    context: Option<toml::Table>,
    question: Option<FileQuestion>,
    arguments: Option<toml::Table>,
    meta: Option<toml::Table>,
    program: Option<String>,
    argv: Option<Vec<String>>,
    lines: Option<Vec<String>>,
    cwd: Option<String>,
    workspace: Option<String>,
    home: Option<String>,
    purpose: Option<String>,
    delegation: Option<Vec<PrincipalId>>,
    depth: Option<u32>,
    profile: Option<ProfileName>,
    trusted: Option<bool>,
    appraisal: Option<FileAppraisal>,
    time: Option<Instant>,
    environment: Option<FileEnvironment>,
    history: Option<FileHistory>,
    risk: Option<FileRisk>,
    expect: Option<String>,
    policies: Option<Vec<String>>,
    profiles: Option<Vec<ProfileName>>,
    rerouted: Option<Vec<ProfileName>>,
    lifetime: Option<Duration>,
}

/// What an action that the bundle declares is done to.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileResource {
    kind: String,
    id: String,
    #[serde(default)]
    attributes: toml::Table,
}

#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct FileHistory {
    denial_streak: u64,
    denials_60m: u64,
    denials_day: u64,
    denials_hour: u64,
    drifts_hour: u64,
    failure_streak: u64,
    permits_60m: u64,
    permits_day: u64,
    permits_hour: u64,
    permits_minute: u64,
    permits_resource_60m: u64,
    permits_resource_hour: u64,
    refused_connects_hour: u64,
    refused_execs_hour: u64,
    refused_reads_hour: u64,
    refused_writes_hour: u64,
    running: u64,
    seen_action: bool,
    seen_resource: bool,
    since_last_permit_secs: Option<u64>,
    since_last_success_secs: Option<u64>,
    signals_hour: u64,
    trips_hour: u64,
}

#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct FileRisk {
    score: u32,
    factors: Vec<String>,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct FileEnvironment {
    arch: String,
    boot: String,
    container: Option<Digest>,
    distribution: String,
    gateway: String,
    gateway_digest: Option<Digest>,
    kernel: String,
    landlock_abi: u32,
    #[serde(with = "tier::reached")]
    tier: Option<Tier>,
    region: Option<PlaceName>,
    weaker: BTreeSet<Weakness>,
    zone: Option<PlaceName>,
}

/// How the environment was appraised: attested just now and affirmed, where a test does not say.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct FileAppraisal {
    status: AppraisalStatus,
    age_secs: Option<u64>,
    affirming: BTreeSet<Claim>,
    warning: BTreeSet<Claim>,
    contraindicated: BTreeSet<Claim>,
}

impl Default for FileAppraisal {
    fn default() -> Self {
        Self {
            status: AppraisalStatus::Affirming,
            age_secs: None,
            affirming: BTreeSet::new(),
            warning: BTreeSet::new(),
            contraindicated: BTreeSet::new(),
        }
    }
}

impl Default for FileEnvironment {
    fn default() -> Self {
        Self {
            arch: "x86_64".to_owned(),
            boot: String::new(),
            container: None,
            distribution: "debian 12".to_owned(),
            gateway: String::new(),
            gateway_digest: None,
            kernel: "6.12.0".to_owned(),
            landlock_abi: 6,
            region: None,
            tier: Some(Tier::U1),
            weaker: BTreeSet::new(),
            zone: None,
        }
    }
}

/// Reads a member of `tests/`.
pub(crate) fn read(file: &str, text: &str) -> Result<Found, Vec<Problem>> {
    let parsed: File = strict::read(file, text).map_err(|problem| vec![problem])?;
    let (mut found, mut problems) = (Found::default(), Vec::new());
    for spanned in parsed.test {
        let line = line_at(text, spanned.span().start);
        let case = spanned.into_inner().or(&parsed.defaults);
        match case.cases(file, line) {
            Ok(cases) => found.cases.extend(cases),
            Err(message) => problems.push(Problem::error(file, "test", message).at(line)),
        }
    }
    for spanned in parsed.identity {
        let line = line_at(text, spanned.span().start);
        let case = spanned.into_inner();
        match case.is.caller() {
            Ok(caller) => found.identities.push(IdentityCase {
                file: file.to_owned(),
                line,
                name: case.name,
                caller,
                principals: case.principals,
            }),
            Err(message) => problems.push(Problem::error(file, "test", message).at(line)),
        }
    }
    if problems.is_empty() {
        Ok(found)
    } else {
        Err(problems)
    }
}

impl FileCase {
    fn or(self, defaults: &Self) -> Self {
        let d = defaults.clone();
        // A test that expects another answer expects it of other policies.
        let same_answer = self.expect.is_none();
        // One of the two ways to give arguments stands in for neither of the other's.
        let (argv, lines) = match (self.argv, self.lines) {
            (None, None) => (d.argv, d.lines),
            given => given,
        };
        Self {
            name: self.name.or(d.name),
            principal: self.principal.or(d.principal),
            groups: self.groups.or(d.groups),
            action: self.action.or(d.action),
            resource: self.resource.or(d.resource),
            context: self.context.or(d.context),
            question: self.question.or(d.question),
            arguments: self.arguments.or(d.arguments),
            meta: self.meta.or(d.meta),
            program: self.program.or(d.program),
            argv,
            lines,
            cwd: self.cwd.or(d.cwd),
            workspace: self.workspace.or(d.workspace),
            home: self.home.or(d.home),
            purpose: self.purpose.or(d.purpose),
            delegation: self.delegation.or(d.delegation),
            depth: self.depth.or(d.depth),
            profile: self.profile.or(d.profile),
            trusted: self.trusted.or(d.trusted),
            appraisal: self.appraisal.or(d.appraisal),
            time: self.time.or(d.time),
            environment: self.environment.or(d.environment),
            history: self.history.or(d.history),
            risk: self.risk.or(d.risk),
            policies: self.policies.or(d.policies.filter(|_| same_answer)),
            profiles: self.profiles.or(d.profiles.filter(|_| same_answer)),
            rerouted: self.rerouted.or(d.rerouted.filter(|_| same_answer)),
            lifetime: self.lifetime.or(d.lifetime.filter(|_| same_answer)),
            expect: self.expect.or(d.expect),
        }
    }

    /// One case for `argv` or a `resource`, or one for each of `lines`.
    fn cases(self, file: &str, line: u32) -> Result<Vec<Case>, String> {
        let name = self.name.clone().ok_or("a test needs a `name`")?;
        let expected = self.expected()?;
        let case = |command: String, given: Put| Case {
            file: file.to_owned(),
            line,
            name: name.clone(),
            command,
            given,
            expected: expected.clone(),
        };
        let request = |asked: Asked| Put::Request(Box::new(asked));
        if let Some(question) = &self.question {
            let groups = self.groups.clone().unwrap_or_default();
            let put = PutQuestion::new(question.read()?, groups, self.world());
            return Ok(vec![case(put.in_words(), Put::Question(Box::new(put)))]);
        }
        if let Some(action) = self.declared() {
            let given = self.call(action)?;
            return Ok(vec![case(given.resource.id.clone(), request(given))]);
        }
        let argvs = match (&self.argv, &self.lines) {
            (Some(argv), None) => vec![argv.clone()],
            (None, Some(lines)) => lines.iter().map(|line| words(line)).collect(),
            _ => return Err("a test has either `argv` or `lines`".into()),
        };
        if argvs.is_empty() {
            return Err("`lines` is empty: the test would check nothing".into());
        }
        argvs
            .into_iter()
            .map(|argv| Ok(case(argv.join(" "), request(self.given(&argv)?))))
            .collect()
    }

    /// The action, if it is one that the bundle declares.
    fn declared(&self) -> Option<&ActionName> {
        self.action
            .as_ref()
            .filter(|action| action.as_str() != ProcessParams::ACTION)
    }

    fn call(&self, action: &ActionName) -> Result<Asked, String> {
        let resource = self.resource.as_ref();
        let resource = resource.ok_or("a test of this action needs a `resource`")?;
        let params = CallParams {
            arguments: self.arguments.as_ref().map(members).transpose()?,
            context: members(self.context.as_ref().unwrap_or(&toml::Table::new()))?,
            meta: self.meta.as_ref().map(members).transpose()?,
            resource: members(&resource.attributes)?,
        };
        // As strict as the real thing.
        let params = CallParams::decode(&params.to_canonical()).map_err(|e| e.to_string())?;
        let resource = ResourceRef {
            digest: None,
            id: resource.id.clone(),
            kind: resource.kind.clone(),
        };
        resource.check().map_err(|error| error.to_string())?;
        self.asked(action.clone(), resource, Params::Call(params))
    }

    fn expected(&self) -> Result<Expected, String> {
        let effect = match self.expect.as_deref() {
            Some("permit") => ExpectedEffect::Exactly(Effect::Permit),
            Some("policy_forbids") => ExpectedEffect::Exactly(Effect::Forbid),
            Some("no_permit") => ExpectedEffect::Exactly(Effect::NoPermit),
            Some("environment_untrusted") => ExpectedEffect::Exactly(Effect::Unappraised),
            Some("policy_error") => ExpectedEffect::Exactly(Effect::Error),
            Some("deny") => ExpectedEffect::Deny,
            Some(_) | None => {
                return Err(
                    "`expect` is permit, deny, policy_forbids, no_permit, environment_untrusted or policy_error".into(),
                );
            }
        };
        Ok(Expected {
            effect,
            policies: self.policies.clone().map(|ids| ids.into_iter().collect()),
            profiles: self
                .profiles
                .clone()
                .map(|names| names.into_iter().collect()),
            rerouted: self
                .rerouted
                .clone()
                .map(|names| names.into_iter().collect()),
            lifetime: self.lifetime.map(|lifetime| Seconds::new(lifetime.0)),
        })
    }

    fn given(&self, argv: &[String]) -> Result<Asked, String> {
        let first = argv.first().ok_or("the command is empty")?;
        let program = match &self.program {
            Some(program) => program.clone(),
            None => format!("/usr/bin/{}", first.rsplit('/').next().unwrap_or_default()),
        };
        if !program.starts_with('/') {
            return Err(format!("program `{program}` must be an absolute path"));
        }
        let action = ActionName::parse(ProcessParams::ACTION).map_err(|e| e.to_string())?;
        let resource = ResourceRef {
            digest: Some(Digest::of(program.as_bytes())),
            id: program,
            kind: "Program".to_owned(),
        };
        self.asked(action, resource, Params::Process(self.params(argv)))
    }

    fn asked(
        &self,
        action: ActionName,
        resource: ResourceRef,
        params: Params,
    ) -> Result<Asked, String> {
        Ok(Asked {
            principal: self.principal.clone().ok_or("a test needs a `principal`")?,
            groups: self.groups.clone().unwrap_or_default(),
            action,
            resource,
            params,
            delegation: self.delegation.clone().unwrap_or_default(),
            depth: self.depth.unwrap_or_default(),
            profile: self.profile.clone(),
            world: self.world(),
        })
    }

    fn world(&self) -> World {
        let history = self.history.clone().unwrap_or_default();
        let risk = self.risk.clone().unwrap_or_default();
        World {
            environment: environment(self.environment.clone().unwrap_or_default()),
            appraisal: appraisal(self.appraisal.clone(), self.trusted.unwrap_or(true)),
            history: History {
                denial_streak: history.denial_streak,
                denials_60m: history.denials_60m,
                denials_day: history.denials_day,
                denials_hour: history.denials_hour,
                drifts_hour: history.drifts_hour,
                failure_streak: history.failure_streak,
                permits_60m: history.permits_60m,
                permits_day: history.permits_day,
                permits_hour: history.permits_hour,
                permits_minute: history.permits_minute,
                permits_resource_60m: history.permits_resource_60m,
                permits_resource_hour: history.permits_resource_hour,
                refused_connects_hour: history.refused_connects_hour,
                refused_execs_hour: history.refused_execs_hour,
                refused_reads_hour: history.refused_reads_hour,
                refused_writes_hour: history.refused_writes_hour,
                running: history.running,
                seen_action: history.seen_action,
                seen_resource: history.seen_resource,
                since_last_permit_secs: history.since_last_permit_secs,
                since_last_success_secs: history.since_last_success_secs,
                signals_hour: history.signals_hour,
                trips_hour: history.trips_hour,
            },
            risk: Risk {
                factors: risk.factors,
                score: risk.score,
            },
            time: self.time.map_or(NOON, |time| time.0),
        }
    }

    fn params(&self, argv: &[String]) -> Json {
        let workspace = self.workspace.as_deref().unwrap_or("/home/dev/project");
        let mut members = BTreeMap::new();
        let mut add = |name: &str, text: &str| members.insert(name.to_owned(), string(text));
        add("cwd", self.cwd.as_deref().unwrap_or(workspace));
        add("home", self.home.as_deref().unwrap_or("/home/dev"));
        add("workspace", workspace);
        if let Some(purpose) = &self.purpose {
            add("purpose", purpose);
        }
        members.insert(
            "argv".to_owned(),
            Json::Array(argv.iter().map(|a| string(a)).collect()),
        );
        members.insert("env".to_owned(), Json::Object(BTreeMap::new()));
        Json::Object(members)
    }
}

fn environment(file: FileEnvironment) -> Environment {
    Environment {
        arch: file.arch,
        boot: file.boot,
        container: file.container,
        distribution: file.distribution,
        gateway: file.gateway,
        gateway_digest: file.gateway_digest,
        kernel: file.kernel,
        landlock_abi: file.landlock_abi,
        machine: Digest::of(b"a machine in a test"),
        region: file.region,
        tier: file.tier,
        weaker: file.weaker,
        zone: file.zone,
    }
}

/// `trusted = false` alone is a machine whose tier is ruled out.
fn appraisal(file: Option<FileAppraisal>, trusted: bool) -> Appraisal {
    let mut file = file.unwrap_or_default();
    if !trusted {
        file.status = AppraisalStatus::Contraindicated;
        if file.contraindicated.is_empty() {
            file.contraindicated.insert(Claim::Tier);
        }
    }
    // Nothing is said of what nobody attested; what was attested was so at some time.
    let attested = file.status != AppraisalStatus::None;
    Appraisal {
        affirming: file.affirming,
        age_secs: file.age_secs.or(attested.then_some(0)),
        contraindicated: file.contraindicated,
        status: file.status,
        warning: file.warning,
    }
}

pub(super) fn members(table: &toml::Table) -> Result<BTreeMap<String, Json>, String> {
    table
        .iter()
        .map(|(name, value)| Ok((name.clone(), json(value)?)))
        .collect()
}

fn json(value: &toml::Value) -> Result<Json, String> {
    #[expect(
        clippy::cast_precision_loss,
        reason = "what a double does not hold is refused when the parameters are read"
    )]
    Ok(match value {
        toml::Value::String(text) => string(text),
        toml::Value::Integer(number) => Json::Number(*number as f64),
        toml::Value::Float(number) => Json::Number(*number),
        toml::Value::Boolean(value) => Json::Bool(*value),
        toml::Value::Datetime(_) => return Err("write a date as a string, as JSON does".into()),
        toml::Value::Array(items) => Json::Array(items.iter().map(json).collect::<Result<_, _>>()?),
        toml::Value::Table(table) => Json::Object(members(table)?),
    })
}

fn string(text: &str) -> Json {
    Json::String(text.to_owned())
}

fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}
