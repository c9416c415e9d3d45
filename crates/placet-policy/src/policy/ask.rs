//! Answers to questions: the same policies, for somebody who only wants to know.

use cedar_policy::{Authorizer, Entities, Entity, EntityUid, Request as CedarRequest};
use placet_types::call::Members;

use super::evaluate::{Evaluation, unusable};
use super::index::Reach;
use super::{Policy, answers, describe, effort};
use crate::request::{self, Circumstances, Unusable};

/// A question as policies see it.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// Who is to do it.
    pub subject: Who<'a>,
    /// What is to be done.
    pub action: &'a str,
    /// What it is done with: `context.action`, where the schema declares that.
    pub action_properties: &'a Members,
    /// What it is done to.
    pub resource: Who<'a>,
    /// Attributes of the context, as whoever asks gives them.
    pub context: &'a Members,
    /// What the node knows. The context has those of these facts that the schema declares.
    pub facts: Circumstances<'a>,
}

/// A subject or a resource of a question.
#[derive(Clone, Copy, Debug)]
pub struct Who<'a> {
    /// Its kind: the entity type.
    pub kind: &'a str,
    /// Its id.
    pub id: &'a str,
    /// Attributes, as whoever asks gives them: they fill in what the directory leaves out.
    pub given: &'a Members,
    /// The groups of a registered principal. What is asked about one comes from the log alone.
    pub groups: Option<&'a [String]>,
}

impl Policy {
    /// Answers a question. The same bundle and question give the same answer, on any machine.
    ///
    /// What the schema does not declare is left out: no policy can look at it.
    #[must_use]
    pub fn ask(&self, asked: &Asked<'_>) -> Evaluation {
        // What is found again knows nothing of the environment; what it demands of one, it does.
        self.answer_to(asked).held_to(asked.facts.appraisal)
    }

    fn answer_to(&self, asked: &Asked<'_>) -> Evaluation {
        let afresh = || {
            self.answer_question(asked)
                .unwrap_or_else(|error| unusable(&error))
        };
        let key = answers::key(asked, &self.declared).filter(|_| self.index_is_trusted());
        let Some(key) = key else { return afresh() };
        if let Some(evaluation) = self.answers.get(&key) {
            return evaluation;
        }
        let evaluation = afresh();
        self.answers.keep(key, &evaluation);
        evaluation
    }

    /// Names of the entities of a kind that the directory has, in order, from the one at this place on.
    pub fn candidates(&self, kind: &str, begin: usize) -> impl Iterator<Item = &str> {
        self.directory.ids(kind, begin)
    }

    /// Names of the actions that something can be asked about, in order.
    #[must_use]
    pub fn actions(&self) -> Vec<String> {
        let mut names: Vec<String> = self
            .schema
            .actions()
            .filter(|action| action.type_name().to_string() == "Action")
            .map(|action| AsRef::<str>::as_ref(action.id()).to_owned())
            .collect();
        names.sort_unstable();
        names
    }

    fn answer_question(&self, asked: &Asked<'_>) -> Result<Evaluation, Unusable> {
        let action = request::uid("Action", asked.action)?;
        if self.base.get(&action).is_none() {
            return Err(Unusable::Action(asked.action.to_owned()));
        }
        let (subject, resource) = (
            self.entity_of(&asked.subject)?,
            self.entity_of(&asked.resource)?,
        );
        let (subject_uid, resource_uid) = (subject.uid(), resource.uid());
        let entities = self.with([subject, resource])?;
        let reach = Reach::new(&action, &subject_uid, &resource_uid, &entities);
        let slice = self.index.slice(&reach, &self.full.set, &self.slices);
        let spent_on = slice.as_ref().unwrap_or(&self.full);
        spent_on.effort.check(effort::asked(asked))?;
        let slice = slice.filter(|_| self.index_is_trusted());
        let slice = slice.as_ref().unwrap_or(&self.full);
        let context = request::asked_context(asked, &action, &self.declared, &self.schema)?;
        let cedar = CedarRequest::new(
            subject_uid,
            action,
            resource_uid,
            context,
            Some(&self.schema),
        )
        .map_err(|error| Unusable::Value(describe(&error)))?;
        let response = Authorizer::new().is_authorized(&cedar, &slice.set, &entities);
        Ok(self.judge(&response))
    }

    /// The entity that is meant, by what the log, the bundle, the directory and the asker say of it, in
    /// this order.
    fn entity_of(&self, who: &Who<'_>) -> Result<Entity, Unusable> {
        if let Some(groups) = who.groups {
            return request::registered(who.id, groups);
        }
        let uid = request::uid(who.kind, who.id)?;
        match who.kind {
            // The log alone says who is a principal.
            "Principal" => Err(Unusable::Value(format!("{uid} is not registered"))),
            "Program" => request::program_at(who.id, &self.bundle_entities),
            "Group" | "Toolset" | "Wordlist" | "Action" => self
                .base
                .get(&uid)
                .cloned()
                .ok_or_else(|| Unusable::Resource(who.kind.to_owned())),
            _ => self.described(who, &uid),
        }
    }

    fn described(&self, who: &Who<'_>, uid: &EntityUid) -> Result<Entity, Unusable> {
        if !self.declared.has_kind(who.kind) {
            return Err(Unusable::Resource(who.kind.to_owned()));
        }
        let stored = self.directory.json(who.kind, who.id);
        let is_known = |name: &str| {
            stored.is_some_and(|json| {
                json.get("attrs")
                    .is_some_and(|attrs| attrs.get(name).is_some())
            })
        };
        let fills = |name: &str| self.declared.in_kind(who.kind, name) && !is_known(name);
        let filled: Members = who
            .given
            .iter()
            .filter(|(name, _)| fills(name))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        if filled.is_empty()
            && let Some(entity) = self.directory.get(uid)
        {
            return Ok(entity.clone());
        }
        if stored.is_none()
            && let Some(entity) = request::plain(uid, &filled, &self.declared)
        {
            return Ok(entity);
        }
        request::described(who.kind, who.id, stored, &filled, &self.schema)
    }

    /// What every question needs, these two, and what the directory has behind them.
    fn with(&self, two: [Entity; 2]) -> Result<Entities, Unusable> {
        let names = two.iter().map(Entity::uid);
        let behind = two.iter().filter_map(|entity| {
            // Of one that was filled in, what stands in the file is reached through its own name.
            self.directory.get(&entity.uid()).map(Entity::uid)
        });
        let own: Vec<EntityUid> = names.collect();
        let behind = self.directory.reached(behind);
        let others = behind
            .iter()
            .filter(|uid| !own.contains(uid) && self.base.get(uid).is_none());
        let others = others.filter_map(|uid| self.directory.get(uid).cloned());
        let [subject, resource] = two;
        // Whoever does something to themselves is one entity.
        let resource = Some(resource).filter(|one| !one.deep_eq(&subject));
        let fresh = [Some(subject), resource].into_iter().flatten();
        let fresh = fresh.filter(|one| self.base.get(&one.uid()).is_none());
        self.base
            .clone()
            .add_entities(fresh.chain(others), Some(&self.schema))
            .map_err(|error| Unusable::Value(describe(&error)))
    }

    /// Whether the bundle knows this action.
    #[must_use]
    pub fn has_action(&self, action: &str) -> bool {
        request::uid("Action", action).is_ok_and(|uid| self.base.get(&uid).is_some())
    }
}
