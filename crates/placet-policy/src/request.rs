//! From a request to Cedar: principal, action, resource and context.
//!
//! What the parameters of `process:run` mean to policies is said in [`process`] and in
//! `core.cedarschema`. Any other action is one that the bundle's own schema declares: its context and
//! the attributes of its resource are what the caller gives, held to the declared types ([`call`]).
//! The index, the evaluation and the tools know no action.

mod arguments;
mod asked;
mod call;
mod process;

use std::collections::BTreeSet;
use std::sync::OnceLock;

use cedar_policy::{
    Context, Entity, EntityId, EntityTypeName, EntityUid, RestrictedExpression, Schema,
};
use placet_evidence::{Appraisal, Claim, Environment, History, Risk};
use placet_types::canonical::Json;
use placet_types::{
    ActionName, CallParams, Digest, Millis, PlaceName, PrincipalId, ProcessParams, ProfileName,
    ResourceRef, tier,
};

use crate::entities::Entities as BundleEntities;
use crate::policy::Mentions;

pub(crate) use asked::{asked_context, described, plain, program_at};

/// Seconds since the last permit, as policies see them, when there was none: 136 years.
pub const NEVER_SECS: u64 = 4_294_967_295;

/// Attributes of a context that the node makes of what it knows of the moment: all that [`common`]
/// adds.
pub(crate) const FACTS: [&str; 10] = [
    "delegated",
    "delegation",
    "depth",
    "environment",
    "history",
    "hour",
    "profile",
    "risk",
    "time",
    "weekday",
];

/// Everything that policies see.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Who asks.
    pub principal: &'a PrincipalId,
    /// The groups that the log says the principal is in.
    pub groups: &'a [String],
    /// What is to be done.
    pub action: &'a ActionName,
    /// What it is done to.
    pub resource: &'a ResourceRef,
    /// The action's parameters.
    pub params: Given<'a>,
    /// Who acts for whom: the principals of the ancestors, the parent's first.
    pub delegation: &'a [PrincipalId],
    /// How many ancestors there are.
    pub depth: u32,
    /// The profile that the caller asks for.
    pub profile_asked: Option<&'a ProfileName>,
    /// The machine.
    pub environment: &'a Environment,
    /// How the machine was appraised.
    pub appraisal: &'a Appraisal,
    /// The principal's recent past.
    pub history: &'a History,
    /// The risk and what it is made of.
    pub risk: &'a Risk,
    /// When.
    pub time: Millis,
}

/// What the node knows of the moment: facts that every action has.
#[derive(Clone, Copy, Debug)]
pub struct Circumstances<'a> {
    /// The machine.
    pub environment: &'a Environment,
    /// How the machine was appraised.
    pub appraisal: &'a Appraisal,
    /// The principal's recent past.
    pub history: &'a History,
    /// The risk and what it is made of.
    pub risk: &'a Risk,
    /// When.
    pub time: Millis,
}

impl<'a> Request<'a> {
    fn circumstances(&self) -> Circumstances<'a> {
        Circumstances {
            environment: self.environment,
            appraisal: self.appraisal,
            history: self.history,
            risk: self.risk,
            time: self.time,
        }
    }

    fn lineage(&self) -> (&'a [PrincipalId], u32, Option<&'a ProfileName>) {
        (self.delegation, self.depth, self.profile_asked)
    }
}

/// Parameters, as policies are shown them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Given<'a> {
    /// Of `process:run`.
    Process(&'a Json),
    /// Of an action that the bundle declares.
    Call(&'a CallParams),
}

/// Why a request cannot be put to any policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum Unusable {
    /// The vocabulary has no such action.
    #[error("this version knows no action `{0}`")]
    Action(String),
    /// The action does not apply to resources of this kind.
    #[error("the action does not apply to anything of kind `{0}`")]
    Resource(String),
    /// The parameters do not have the action's shape.
    #[error("the parameters lack `{0}`, or it has another type")]
    Params(&'static str),
    /// The policies could take too long over it.
    #[error(
        "policies might take more steps over what is given here than an evaluation may; give less at once"
    )]
    Effort,
    /// Cedar refused a value.
    #[error("a value cannot be put to policies: {0}")]
    Value(String),
}

/// A context in the making: only the attributes that policies can look at are made.
pub(crate) struct Builder<'a> {
    wanted: &'a Mentions,
    pairs: Vec<(String, RestrictedExpression)>,
}

impl<'a> Builder<'a> {
    fn new(wanted: &'a Mentions) -> Self {
        Self {
            wanted,
            pairs: Vec::with_capacity(20),
        }
    }

    fn finish(self) -> Result<Context, Unusable> {
        Context::from_pairs(self.pairs).map_err(|error| Unusable::Value(error.to_string()))
    }

    fn add(
        &mut self,
        name: &str,
        make: impl FnOnce() -> Result<RestrictedExpression, Unusable>,
    ) -> Result<(), Unusable> {
        if self.wanted.has(name) {
            self.pairs.push((name.to_owned(), make()?));
        }
        Ok(())
    }

    /// Adds a record with those of its parts that policies can look at: the others are not made.
    fn record(
        &mut self,
        name: &str,
        fill: impl FnOnce(&mut Parts<'_>) -> Result<(), Unusable>,
    ) -> Result<(), Unusable> {
        let wanted = self.wanted;
        self.add(name, || {
            let made = Vec::new();
            let mut parts = Parts { wanted, name, made };
            fill(&mut parts)?;
            RestrictedExpression::new_record(parts.made)
                .map_err(|error| Unusable::Value(error.to_string()))
        })
    }

    fn text(&mut self, name: &str, value: &str) -> Result<(), Unusable> {
        self.add(name, || Ok(text(value)))
    }

    fn bool(&mut self, name: &str, value: bool) -> Result<(), Unusable> {
        self.add(name, || Ok(RestrictedExpression::new_bool(value)))
    }

    fn long(&mut self, name: &str, value: u64) -> Result<(), Unusable> {
        self.add(name, || Ok(long(value)))
    }

    fn set(
        &mut self,
        name: &str,
        values: impl Iterator<Item = Result<RestrictedExpression, Unusable>>,
    ) -> Result<(), Unusable> {
        self.add(name, || {
            let values: Vec<_> = values.collect::<Result<_, _>>()?;
            Ok(RestrictedExpression::new_set(values))
        })
    }
}

/// A record of a context in the making.
struct Parts<'a> {
    wanted: &'a Mentions,
    name: &'a str,
    made: Vec<(String, RestrictedExpression)>,
}

impl Parts<'_> {
    fn add(
        &mut self,
        part: &str,
        make: impl FnOnce() -> Result<RestrictedExpression, Unusable>,
    ) -> Result<(), Unusable> {
        if self.wanted.has_part(self.name, part) {
            self.made.push((part.to_owned(), make()?));
        }
        Ok(())
    }

    fn text(&mut self, part: &str, value: &str) -> Result<(), Unusable> {
        self.add(part, || Ok(text(value)))
    }

    fn bool(&mut self, part: &str, value: bool) -> Result<(), Unusable> {
        self.add(part, || Ok(RestrictedExpression::new_bool(value)))
    }

    fn long(&mut self, part: &str, value: u64) -> Result<(), Unusable> {
        self.add(part, || Ok(long(value)))
    }

    fn words<'a>(
        &mut self,
        part: &str,
        words: impl Iterator<Item = &'a str>,
    ) -> Result<(), Unusable> {
        self.add(part, || Ok(RestrictedExpression::new_set(words.map(text))))
    }

    fn digest(&mut self, part: &str, digest: Option<&Digest>) -> Result<(), Unusable> {
        self.add(part, || {
            Ok(text(&digest.map_or_else(String::new, Digest::to_string)))
        })
    }

    fn place(&mut self, part: &str, place: Option<&PlaceName>) -> Result<(), Unusable> {
        self.text(part, place.map_or("", PlaceName::as_str))
    }
}

/// The context of a call whose attributes mean what they look like: made without a detour by JSON, which
/// costs as much as everything else together. `None` where the schema has to say what a value means; and
/// the schema has to be asked about what is made here, as about any context.
pub(crate) fn plain_context(request: &Request<'_>) -> Result<Option<Context>, Unusable> {
    let Given::Call(params) = request.params else {
        return Ok(None);
    };
    let Some(own) = call::plain(params)? else {
        return Ok(None);
    };
    let mut builder = Builder::new(&Mentions::All);
    common(&request.circumstances(), request.lineage(), &mut builder)?;
    let is_given = |(name, _): &(String, _)| own.iter().any(|(given, _)| given == name);
    if builder.pairs.iter().any(is_given) {
        return Ok(None);
    }
    builder.pairs.extend(own);
    builder.finish().map(Some)
}

/// The context of a request: the facts that every action has, then the action's own; of both, what
/// is `wanted`. Whether a request is usable does not depend on what is wanted.
pub(crate) fn context(
    request: &Request<'_>,
    wanted: &Mentions,
    schema: &Schema,
) -> Result<Context, Unusable> {
    let is_process = request.action.as_str() == ProcessParams::ACTION;
    match request.params {
        Given::Process(params) if is_process => {
            let mut builder = Builder::new(wanted);
            common(&request.circumstances(), request.lineage(), &mut builder)?;
            process::add(request, params, &mut builder)?;
            builder.finish()
        }
        Given::Call(params) if !is_process => {
            // The schema holds the context to its types, and can do that only to a whole one.
            let mut builder = Builder::new(&Mentions::All);
            common(&request.circumstances(), request.lineage(), &mut builder)?;
            call::context(request, params, &builder.finish()?, schema)
        }
        Given::Process(_) | Given::Call(_) => Err(Unusable::Params("the action's own shape")),
    }
}

/// The principal with the groups that it is in.
pub(crate) fn principal(id: &PrincipalId, groups: &[String]) -> Result<Entity, Unusable> {
    registered(id.as_str(), groups)
}

/// As [`principal`], by the text of its name.
pub(crate) fn registered(id: &str, groups: &[String]) -> Result<Entity, Unusable> {
    let (kind, name) = id.split_once(':').unwrap_or_default();
    let attributes = [("kind", text(kind)), ("name", text(name))];
    let parents = groups.iter().map(|group| uid("Group", group));
    entity(uid("Principal", id)?, attributes, parents)
}

/// The resource: a program with the sets that the bundle puts it in, or what the caller says it is.
pub(crate) fn resource(
    request: &Request<'_>,
    bundle: &BundleEntities,
    schema: &Schema,
) -> Result<Entity, Unusable> {
    match request.params {
        Given::Process(_) => program(request.resource, bundle),
        Given::Call(params) => call::resource(request.resource, params, schema),
    }
}

fn program(resource: &ResourceRef, bundle: &BundleEntities) -> Result<Entity, Unusable> {
    if resource.kind != "Program" {
        return Err(Unusable::Resource(resource.kind.clone()));
    }
    let name = resource.id.rsplit('/').next().unwrap_or_default();
    let digest = resource
        .digest
        .map(|digest| ("digest", text(&digest.to_string())));
    let attributes = [("name", text(name)), ("path", text(&resource.id))]
        .into_iter()
        .chain(digest);
    let toolsets = bundle.toolsets_of(&resource.id);
    entity(
        uid("Program", &resource.id)?,
        attributes,
        toolsets.map(|name| uid("Toolset", name)),
    )
}

/// The entities that a call's arguments are, and what was said beside them, where it has any to be seen.
pub(crate) fn arguments(request: &Request<'_>) -> Result<Vec<Entity>, Unusable> {
    match request.params {
        Given::Process(_) => Ok(Vec::new()),
        Given::Call(params) => arguments::of(params)
            .map(|(_, id, given)| arguments::entity(id, given, arguments::workspace(params)))
            .collect(),
    }
}

/// The action's id.
pub(crate) fn action(name: &ActionName) -> Result<EntityUid, Unusable> {
    uid("Action", name.as_str())
}

pub(crate) fn uid(kind: &str, id: &str) -> Result<EntityUid, Unusable> {
    let known = KINDS.iter().find(|(name, _)| *name == kind);
    let name = match known {
        // Read once: to read it takes as long as to evaluate a policy.
        Some((_, read)) => read.get_or_init(|| kind.parse().ok()).clone(),
        None => kind.parse().ok(),
    };
    let name = name.ok_or_else(|| Unusable::Value(format!("`{kind}` is no entity type")))?;
    Ok(EntityUid::from_type_name_and_id(name, EntityId::new(id)))
}

/// Entity types that most requests name.
static KINDS: [(&str, OnceLock<Option<EntityTypeName>>); 6] = [
    ("Action", OnceLock::new()),
    (arguments::KIND, OnceLock::new()),
    ("Group", OnceLock::new()),
    ("Principal", OnceLock::new()),
    ("Program", OnceLock::new()),
    ("Toolset", OnceLock::new()),
];

fn entity(
    uid: EntityUid,
    attributes: impl IntoIterator<Item = (&'static str, RestrictedExpression)>,
    parents: impl Iterator<Item = Result<EntityUid, Unusable>>,
) -> Result<Entity, Unusable> {
    let attributes = attributes
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
    Entity::new(uid, attributes, parents.collect::<Result<_, _>>()?)
        .map_err(|error| Unusable::Value(error.to_string()))
}

fn common(
    request: &Circumstances<'_>,
    (delegation, depth, profile): (&[PrincipalId], u32, Option<&ProfileName>),
    to: &mut Builder<'_>,
) -> Result<(), Unusable> {
    let (hour, weekday) = clock(request.time);
    let acting =
        |id: &PrincipalId| uid("Principal", id.as_str()).map(RestrictedExpression::new_entity_uid);
    to.bool("delegated", !delegation.is_empty())?;
    to.set("delegation", delegation.iter().map(acting))?;
    to.long("depth", u64::from(depth))?;
    to.record("environment", |parts| environment(request, parts))?;
    to.record("history", |parts| history(request.history, parts))?;
    to.long("hour", hour)?;
    to.text("profile", profile.map_or("", ProfileName::as_str))?;
    to.record("risk", |parts| risk(request.risk, parts))?;
    to.add("time", || {
        Ok(RestrictedExpression::new_datetime(request.time.to_string()))
    })?;
    to.long("weekday", weekday)
}

fn environment(seen: &Circumstances<'_>, to: &mut Parts<'_>) -> Result<(), Unusable> {
    let environment = seen.environment;
    to.add("appraisal", || appraisal(seen.appraisal))?;
    to.text("arch", &environment.arch)?;
    to.text("boot", &environment.boot)?;
    to.digest("container", environment.container.as_ref())?;
    to.text("distribution", &environment.distribution)?;
    to.text("gateway", &environment.gateway)?;
    to.digest("gateway_digest", environment.gateway_digest.as_ref())?;
    to.text("kernel", &environment.kernel)?;
    to.long("landlock_abi", u64::from(environment.landlock_abi))?;
    to.add("machine", || Ok(text(&environment.machine.to_string())))?;
    to.place("region", environment.region.as_ref())?;
    to.text("tier", tier::name(environment.tier))?;
    to.bool("trusted", seen.appraisal.contraindicated.is_empty())?;
    to.words("weaker", environment.weaker.iter().map(|one| one.word()))?;
    to.place("zone", environment.zone.as_ref())
}

fn appraisal(appraisal: &Appraisal) -> Result<RestrictedExpression, Unusable> {
    let claims = |claims: &BTreeSet<Claim>| {
        RestrictedExpression::new_set(claims.iter().map(|claim| text(claim.as_str())))
    };
    let parts = [
        ("affirming", claims(&appraisal.affirming)),
        (
            "age_secs",
            long(appraisal.age_secs.unwrap_or(NEVER_SECS).min(NEVER_SECS)),
        ),
        ("contraindicated", claims(&appraisal.contraindicated)),
        ("status", text(appraisal.status.as_str())),
        ("warning", claims(&appraisal.warning)),
    ];
    RestrictedExpression::new_record(parts.map(|(part, value)| (part.to_owned(), value)))
        .map_err(|error| Unusable::Value(error.to_string()))
}

fn history(history: &History, to: &mut Parts<'_>) -> Result<(), Unusable> {
    let since = |secs: Option<u64>| secs.unwrap_or(NEVER_SECS).min(NEVER_SECS);
    to.long("denial_streak", history.denial_streak)?;
    to.long("denials_60m", history.denials_60m)?;
    to.long("denials_day", history.denials_day)?;
    to.long("denials_hour", history.denials_hour)?;
    to.long("drifts_hour", history.drifts_hour)?;
    to.long("failure_streak", history.failure_streak)?;
    to.long("permits_60m", history.permits_60m)?;
    to.long("permits_day", history.permits_day)?;
    to.long("permits_hour", history.permits_hour)?;
    to.long("permits_minute", history.permits_minute)?;
    to.long("permits_resource_60m", history.permits_resource_60m)?;
    to.long("permits_resource_hour", history.permits_resource_hour)?;
    to.long("refused_connects_hour", history.refused_connects_hour)?;
    to.long("refused_execs_hour", history.refused_execs_hour)?;
    to.long("refused_reads_hour", history.refused_reads_hour)?;
    to.long("refused_writes_hour", history.refused_writes_hour)?;
    to.long("running", history.running)?;
    to.bool("seen_action", history.seen_action)?;
    to.bool("seen_resource", history.seen_resource)?;
    to.long(
        "since_last_permit_secs",
        since(history.since_last_permit_secs),
    )?;
    to.long(
        "since_last_success_secs",
        since(history.since_last_success_secs),
    )?;
    to.long("signals_hour", history.signals_hour)?;
    to.long("trips_hour", history.trips_hour)
}

fn risk(risk: &Risk, to: &mut Parts<'_>) -> Result<(), Unusable> {
    to.words("factors", risk.factors.iter().map(String::as_str))?;
    to.long("score", u64::from(risk.score))
}

/// Hour (0 to 23) and weekday (1 is Monday) of an instant, UTC. 1970-01-01 was a Thursday.
fn clock(time: Millis) -> (u64, u64) {
    let secs = time.as_unix_secs();
    (secs / 3600 % 24, (secs / 86_400 + 3) % 7 + 1)
}

fn text(value: &str) -> RestrictedExpression {
    RestrictedExpression::new_string(value.to_owned())
}

/// Counters past Cedar's largest integer are that integer.
fn long(value: u64) -> RestrictedExpression {
    RestrictedExpression::new_long(i64::try_from(value).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fact_is_listed() {
        let asked = crate::testing::Asked::of("/usr/bin/cat", &["cat"]);
        let mut builder = Builder::new(&Mentions::All);
        let request = asked.request();
        common(&request.circumstances(), request.lineage(), &mut builder).unwrap();
        let made: Vec<&str> = builder
            .pairs
            .iter()
            .map(|(name, _)| name.as_str())
            .collect();
        assert_eq!(made, FACTS);
    }

    #[test]
    fn weekdays_and_hours_are_utc() {
        assert_eq!(clock(Millis::new(0)), (0, 4));
        assert_eq!(clock(Millis::new(1_795_230_300_000)), (3, 6));
        assert_eq!(clock(Millis::new(1_795_392_000_000)).1, 1);
    }
}
