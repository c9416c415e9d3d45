//! Evaluation: Cedar's own authorizer on a slice, and the rules that Cedar does not have.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use cedar_policy::{
    AuthorizationError, Authorizer, Context, Decision, Entities, EntityUid,
    Request as CedarRequest, Response,
};
use placet_evidence::Appraisal;
use placet_types::canonical::Json;
use placet_types::{CallParams, DenialCode};

use super::effort;
use super::index::{Reach, Slice};
use super::mentions::Mentions;
use super::{Obligations, Policy};
use crate::request::{self, Given, Request, Unusable};

/// What policy says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// A permit applies and no forbid does.
    Permit,
    /// A forbid applies.
    Forbid,
    /// No permit applies: denied by default.
    NoPermit,
    /// A permit applies, and demands more trust in the environment than there is.
    Unappraised,
    /// A forbid failed to evaluate, or the request could not be put to policies at all.
    Error,
    /// Policies could take too long over what the request gives, so they were not asked.
    TooMuch,
}

/// The answer of policy to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evaluation {
    /// What policy says.
    pub effect: Effect,
    /// Ids of the policies that determine it, in order: the permits of a permit, the forbids of a
    /// forbid, the failed forbids of an error; none otherwise.
    pub determining: Vec<String>,
    /// What failed to evaluate, in order of the ids. A permit that fails does not permit.
    pub errors: Vec<Fault>,
    /// What a permit obliges the enforcer to.
    pub obligations: Obligations,
}

/// Something that failed to evaluate.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fault {
    /// The policy, or `None` where the request could not be put to any.
    pub policy: Option<String>,
    /// What failed, for people: the words are Cedar's and may change with its version.
    pub message: String,
}

/// The index and the full set disagree, which must never happen.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the policy index answers {indexed:?}, the full set {full:?}")]
pub struct ShadowMismatch {
    /// By the index.
    pub indexed: Box<Evaluation>,
    /// By the full set.
    pub full: Box<Evaluation>,
}

/// What a request needs that does not change with its parameters.
pub(crate) struct Prepared {
    principal: EntityUid,
    action: EntityUid,
    resource: EntityUid,
    pub(crate) entities: Entities,
    slice: Option<Arc<Slice>>,
}

impl Effect {
    /// The denial code, unless it is a permit.
    #[must_use]
    pub fn denial_code(self) -> Option<DenialCode> {
        match self {
            Self::Permit => None,
            Self::Forbid => Some(DenialCode::PolicyForbids),
            Self::NoPermit => Some(DenialCode::NoPermit),
            Self::Unappraised => Some(DenialCode::EnvironmentUntrusted),
            Self::Error | Self::TooMuch => Some(DenialCode::PolicyError),
        }
    }
}

impl Evaluation {
    /// A permit that demands more than this appraisal is none.
    pub(super) fn held_to(mut self, appraisal: &Appraisal) -> Self {
        let demand = self.obligations.appraisal;
        if self.effect == Effect::Permit
            && demand.is_some_and(|demand| !demand.is_met_by(appraisal.status))
        {
            self.effect = Effect::Unappraised;
        }
        self
    }
}

impl Policy {
    /// Evaluates a request. The same bundle and request give the same answer, on any machine.
    #[must_use]
    pub fn evaluate(&self, request: &Request<'_>) -> Evaluation {
        let answer = self.prepare(request).and_then(|prepared| {
            let slice = prepared.slice.as_ref().filter(|_| self.index_is_trusted());
            self.answer(request, &prepared, slice.unwrap_or(&self.full))
        });
        let answer = answer.unwrap_or_else(|error| unusable(&error));
        answer.held_to(request.appraisal)
    }

    /// Evaluates a request against the full set, with nothing from any cache.
    #[must_use]
    pub fn evaluate_in_full(&self, request: &Request<'_>) -> Evaluation {
        let answer = self.prepare_afresh(request).and_then(|mut prepared| {
            // How much work it may be is a matter of the slice, whoever does it.
            prepared.slice = self.slice_of(&prepared);
            self.answer(request, &prepared, &self.full)
        });
        let answer = answer.unwrap_or_else(|error| unusable(&error));
        answer.held_to(request.appraisal)
    }

    /// Compares the indexed answer with that of the full set. Costs time in proportion to the
    /// number of policies: for samples, off the path of decisions.
    ///
    /// # Errors
    ///
    /// [`ShadowMismatch`] holds both answers. Call [`Policy::distrust_index`] then.
    pub fn shadow_check(&self, request: &Request<'_>) -> Result<(), ShadowMismatch> {
        let (indexed, full) = (self.evaluate(request), self.evaluate_in_full(request));
        if indexed == full {
            return Ok(());
        }
        Err(ShadowMismatch {
            indexed: Box::new(indexed),
            full: Box::new(full),
        })
    }

    pub(super) fn index_is_trusted(&self) -> bool {
        self.index_trusted.load(Ordering::Relaxed)
    }

    fn prepare(&self, request: &Request<'_>) -> Result<Arc<Prepared>, Unusable> {
        let key = cache_key(request);
        if let Some(prepared) = self.prepared.get(&key) {
            return Ok(prepared);
        }
        let mut prepared = self.prepare_afresh(request)?;
        prepared.slice = self.slice_of(&prepared);
        let prepared = Arc::new(prepared);
        self.prepared.insert(key, Arc::clone(&prepared));
        Ok(prepared)
    }

    fn slice_of(&self, prepared: &Prepared) -> Option<Arc<Slice>> {
        let Prepared {
            action,
            principal,
            resource,
            entities,
            ..
        } = prepared;
        let reach = Reach::new(action, principal, resource, entities);
        self.index.slice(&reach, &self.full.set, &self.slices)
    }

    pub(crate) fn prepare_afresh(&self, request: &Request<'_>) -> Result<Prepared, Unusable> {
        let principal = request::principal(request.principal, request.groups)?;
        let resource = request::resource(request, &self.bundle_entities, &self.schema)?;
        let action = request::action(request.action)?;
        if self.base.get(&action).is_none() {
            return Err(Unusable::Action(request.action.as_str().to_owned()));
        }
        let (principal_uid, resource_uid) = (principal.uid(), resource.uid());
        let entities = self
            .base
            .clone()
            .add_entities([principal, resource], Some(&self.schema))
            .map_err(|error| Unusable::Value(error.to_string()))?;
        Ok(Prepared {
            principal: principal_uid,
            action,
            resource: resource_uid,
            entities,
            slice: None,
        })
    }

    /// The request as Cedar has it, with the attributes that matter to `mentions`.
    ///
    /// Cedar answers requests that its validator never thought of, and permits some: a whole
    /// context is checked against the schema. One that leaves attributes out cannot be; it is made
    /// by the same code, and no bundle can change the part of the schema that it follows.
    pub(crate) fn to_cedar(
        &self,
        request: &Request<'_>,
        prepared: &Prepared,
        mentions: &Mentions,
    ) -> Result<CedarRequest, Unusable> {
        // A plain context that the schema takes is the one that the longer way would make.
        if let Some(plain) = request::plain_context(request)?
            && let Ok(cedar) = self.asked(prepared, plain, true)
        {
            return Ok(cedar);
        }
        let context = request::context(request, mentions, &self.schema)?;
        let whole = *mentions == Mentions::All || matches!(request.params, Given::Call(_));
        self.asked(prepared, context, whole)
    }

    fn asked(
        &self,
        prepared: &Prepared,
        context: Context,
        is_whole: bool,
    ) -> Result<CedarRequest, Unusable> {
        CedarRequest::new(
            prepared.principal.clone(),
            prepared.action.clone(),
            prepared.resource.clone(),
            context,
            is_whole.then_some(&self.schema),
        )
        .map_err(|error| Unusable::Value(error.to_string()))
    }

    fn answer(
        &self,
        request: &Request<'_>,
        prepared: &Prepared,
        slice: &Slice,
    ) -> Result<Evaluation, Unusable> {
        let spent_on = prepared.slice.as_ref().unwrap_or(&self.full);
        spent_on.effort.check(effort::given(request.params))?;
        let cedar = self.to_cedar(request, prepared, &slice.mentions)?;
        let entities = self.with_arguments(request, prepared)?;
        let response = Authorizer::new().is_authorized(&cedar, &slice.set, &entities);
        Ok(self.judge(&response))
    }

    /// What is prepared for every call, and the arguments of this one.
    pub(crate) fn with_arguments<'a>(
        &self,
        request: &Request<'_>,
        prepared: &'a Prepared,
    ) -> Result<Cow<'a, Entities>, Unusable> {
        let arguments = request::arguments(request)?;
        if arguments.is_empty() {
            return Ok(Cow::Borrowed(&prepared.entities));
        }
        prepared
            .entities
            .clone()
            .add_entities(arguments, Some(&self.schema))
            .map(Cow::Owned)
            .map_err(|error| Unusable::Value(error.to_string()))
    }

    pub(super) fn judge(&self, response: &Response) -> Evaluation {
        let diagnostics = response.diagnostics();
        let mut determining: Vec<String> = diagnostics
            .reason()
            .map(|id| AsRef::<str>::as_ref(id).to_owned())
            .collect();
        let mut errors: Vec<Fault> = diagnostics.errors().map(fault).collect();
        determining.sort_unstable();
        errors.sort_unstable();
        let failed_forbids = self.failed_forbids(&errors);
        let effect = match response.decision() {
            Decision::Deny if !determining.is_empty() => Effect::Forbid,
            // Cedar skips what fails. A forbid that could not be evaluated might have forbidden.
            Decision::Allow | Decision::Deny if !failed_forbids.is_empty() => Effect::Error,
            Decision::Allow => Effect::Permit,
            Decision::Deny => Effect::NoPermit,
        };
        let mut obligations = Obligations::default();
        match effect {
            Effect::Permit => obligations = self.obligations(&determining),
            Effect::Error => determining = failed_forbids,
            Effect::Forbid | Effect::NoPermit | Effect::Unappraised | Effect::TooMuch => {}
        }
        Evaluation {
            effect,
            determining,
            errors,
            obligations,
        }
    }

    /// The failed policies that forbid, or of which nothing is known.
    fn failed_forbids(&self, errors: &[Fault]) -> Vec<String> {
        let ids = errors
            .iter()
            .map(|fault| fault.policy.clone().unwrap_or_default());
        ids.filter(|id| self.rules.get(id).is_none_or(|rule| !rule.permits))
            .collect()
    }

    fn obligations(&self, determining: &[String]) -> Obligations {
        let rules = || determining.iter().filter_map(|id| self.rules.get(id));
        let profiles: BTreeSet<_> = rules()
            .map(|rule| rule.granted_profile().unwrap_or(&self.default_profile))
            .collect();
        let rerouted: BTreeSet<_> = rules().filter_map(|rule| rule.reroute.clone()).collect();
        let approvals = || rules().filter_map(|rule| rule.approvals.as_ref());
        let needed: BTreeSet<_> = approvals().map(|approvals| &approvals.needed).collect();
        Obligations {
            profiles: profiles.into_iter().cloned().collect(),
            rerouted: rerouted.into_iter().collect(),
            appraisal: rules().filter_map(|rule| rule.appraisal).max(),
            lifetime: rules().filter_map(|rule| rule.lifetime).min(),
            approvals: needed.into_iter().cloned().collect(),
            within: approvals().map(|approvals| approvals.within).min(),
        }
    }
}

fn fault(error: &AuthorizationError) -> Fault {
    let AuthorizationError::PolicyEvaluationError(error) = error;
    Fault {
        policy: Some(AsRef::<str>::as_ref(error.policy_id()).to_owned()),
        message: error.inner().to_string(),
    }
}

pub(super) fn unusable(error: &Unusable) -> Evaluation {
    // An action or resource that no policy can speak of is permitted by none; anything else that
    // keeps a request from policies might have kept it from a forbid.
    let effect = match error {
        Unusable::Action(_) | Unusable::Resource(_) => Effect::NoPermit,
        Unusable::Params(_) | Unusable::Value(_) => Effect::Error,
        Unusable::Effort => Effect::TooMuch,
    };
    Evaluation {
        effect,
        determining: Vec::new(),
        errors: vec![Fault {
            policy: None,
            message: error.to_string(),
        }],
        obligations: Obligations::default(),
    }
}

/// What [`Prepared`] depends on, each part after its length so that no two keys read alike.
fn cache_key(request: &Request<'_>) -> String {
    let resource = request.resource;
    let digest = resource
        .digest
        .map(|digest| digest.hex())
        .unwrap_or_default();
    let fixed = [
        request.principal.as_str(),
        request.action.as_str(),
        &resource.kind,
        &resource.id,
        &digest,
    ];
    let mut key = String::with_capacity(256);
    // Of an action that the bundle declares the caller describes the resource.
    let described = match request.params {
        Given::Process(_) => String::new(),
        Given::Call(params) => described(params),
    };
    for part in fixed
        .into_iter()
        .chain([described.as_str()])
        .chain(request.groups.iter().map(String::as_str))
    {
        key.push_str(&part.len().to_string());
        key.push(':');
        key.push_str(part);
    }
    key
}

/// The resource's attributes, as one text for each.
fn described(params: &CallParams) -> String {
    let bytes = Json::Object(params.resource.clone()).to_canonical();
    String::from_utf8(bytes).unwrap_or_default()
}
