//! Questions in tests: `question = { subject = …, action = …, resource = …, context = … }`.
//!
//! Of a subject or resource of kind `Principal`, the test's `groups` are what the log would say.

use placet_types::{AskedAction, Party, Question, Sought};
use serde::Deserialize;

use super::World;
use super::read::members;
use crate::policy::{Asked, Evaluation, Policy, Who};
use crate::request::Circumstances;

/// A question as a file has it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileQuestion {
    subject: FileParty,
    action: FileAction,
    resource: FileParty,
    #[serde(default)]
    context: toml::Table,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileParty {
    #[serde(rename = "type")]
    kind: String,
    id: String,
    #[serde(default)]
    properties: toml::Table,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileAction {
    name: String,
    #[serde(default)]
    properties: toml::Table,
}

/// A question that owns its parts.
#[derive(Clone, Debug)]
pub(crate) struct PutQuestion {
    question: Question,
    groups: Vec<String>,
    world: World,
}

impl FileQuestion {
    /// As strict as the real thing.
    pub(super) fn read(&self) -> Result<Question, String> {
        let question = Question {
            action: AskedAction {
                name: self.action.name.clone(),
                properties: members(&self.action.properties)?,
            },
            context: members(&self.context)?,
            resource: self.resource.read()?,
            sought: Sought::Decision,
            subject: self.subject.read()?,
        };
        Question::decode(&question.to_canonical()).map_err(|error| error.to_string())
    }
}

impl FileParty {
    fn read(&self) -> Result<Party, String> {
        Ok(Party {
            id: self.id.clone(),
            kind: self.kind.clone(),
            properties: members(&self.properties)?,
        })
    }
}

impl PutQuestion {
    pub(super) const fn new(question: Question, groups: Vec<String>, world: World) -> Self {
        Self {
            question,
            groups,
            world,
        }
    }

    pub(super) fn in_words(&self) -> String {
        let Question {
            subject,
            action,
            resource,
            ..
        } = &self.question;
        format!("{} {} {}", subject.id, action.name, resource.id)
    }

    pub(super) fn put(&self, policy: &Policy) -> Evaluation {
        let question = &self.question;
        policy.ask(&Asked {
            subject: self.who(&question.subject),
            action: &question.action.name,
            action_properties: &question.action.properties,
            resource: self.who(&question.resource),
            context: &question.context,
            facts: Circumstances {
                environment: &self.world.environment,
                appraisal: &self.world.appraisal,
                history: &self.world.history,
                risk: &self.world.risk,
                time: self.world.time,
            },
        })
    }

    fn who<'a>(&'a self, party: &'a Party) -> Who<'a> {
        Who {
            kind: &party.kind,
            id: &party.id,
            given: &party.properties,
            groups: (party.kind == "Principal").then_some(self.groups.as_slice()),
        }
    }
}
