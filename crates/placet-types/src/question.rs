//! Questions: what somebody asks who only wants to know, and will carry out nothing here.
//!
//! Words of the OpenID AuthZEN Authorization API 1.0: may this subject do this action to this
//! resource, and who or what could. A question is answered with a decision and never with authority.

use crate::call::Members;
use crate::canonical::{Bounds, Json, Malformed, Object};

/// May this subject do this to this resource?
///
/// Private, because it is about people who are not asked: the log holds a commitment to the canonical
/// bytes.
#[derive(Clone, Debug, PartialEq)]
pub struct Question {
    /// What is to be done; empty where the question is which actions may be.
    pub action: AskedAction,
    /// Attributes of the context.
    pub context: Members,
    /// What it is done to; without an id where that is the question.
    pub resource: Party,
    /// What is asked for.
    pub sought: Sought,
    /// Who is to do it; without an id where that is the question.
    pub subject: Party,
}

/// A subject or a resource.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Party {
    /// Its name within its kind.
    pub id: String,
    /// Its kind: the Cedar entity type.
    pub kind: String,
    /// Attributes, as whoever asks gives them.
    pub properties: Members,
}

/// An action that is asked about.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AskedAction {
    /// Its name.
    pub name: String,
    /// What it is done with.
    pub properties: Members,
}

/// What a question asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sought {
    /// Yes or no.
    Decision,
    /// The subjects that may.
    Subjects(Span),
    /// The resources that it may be done to.
    Resources(Span),
    /// The actions that may be done.
    Actions(Span),
}

/// A part of the candidates of a search.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The first candidate, counted from 0.
    pub begin: u32,
    /// At most this many results.
    pub limit: u32,
}

impl Sought {
    const DECISION: &'static str = "decision";

    /// The name of what is sought.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Decision => Self::DECISION,
            Self::Subjects(_) => "subjects",
            Self::Resources(_) => "resources",
            Self::Actions(_) => "actions",
        }
    }

    /// Which candidates are looked at, for a search.
    #[must_use]
    pub const fn span(self) -> Option<Span> {
        match self {
            Self::Decision => None,
            Self::Subjects(span) | Self::Resources(span) | Self::Actions(span) => Some(span),
        }
    }
}

impl Question {
    /// Label of the commitment to a question.
    pub const LABEL: &'static str = "question";
    /// Longest canonical form, in bytes.
    pub const BYTES_MAX: usize = 1 << 20;
    /// Longest kind of a subject or resource, in bytes.
    pub const KIND_BYTES_MAX: usize = 128;
    /// Longest name of an action, in bytes.
    pub const ACTION_BYTES_MAX: usize = 256;
    /// Longest id of a subject or resource, in bytes.
    pub const ID_BYTES_MAX: usize = 4096;

    /// The canonical bytes: what the log commits to.
    #[must_use]
    pub fn to_canonical(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(256);
        let mut all = Object::begin(&mut out);
        let (action, resource, subject) = (&self.action, &self.resource, &self.subject);
        all.object("action", |to| {
            to.some("name", &action.name);
            to.filled("properties", &action.properties);
        });
        all.filled("context", &self.context);
        all.object("resource", |to| resource.write(to));
        all.text("sought", self.sought.as_str());
        if let Some(span) = self.sought.span() {
            all.object("span", |to| {
                to.number("begin", span.begin);
                to.number("limit", span.limit);
            });
        }
        all.object("subject", |to| subject.write(to));
        all.end();
        out
    }

    /// Reads canonical bytes.
    ///
    /// # Errors
    ///
    /// [`Malformed`] when they are not what [`Question::to_canonical`] writes.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let bounds = Bounds {
            bytes_max: Self::BYTES_MAX,
            ..Bounds::MESSAGE
        };
        let json = Json::parse(bytes, bounds)?;
        let question = Self::from_json(&json).ok_or_else(|| shape("no question"))?;
        question.check()?;
        if question.to_canonical() != bytes {
            return Err(Malformed::NotCanonical);
        }
        Ok(question)
    }

    /// Checks the bounds of names, and that what is sought is what is left open.
    ///
    /// # Errors
    ///
    /// [`Malformed::Shape`] says which one is out of bounds.
    pub fn check(&self) -> Result<(), Malformed> {
        let open = self.sought;
        let subject_open = matches!(open, Sought::Subjects(_));
        let resource_open = matches!(open, Sought::Resources(_));
        let action_open = matches!(open, Sought::Actions(_));
        self.subject.check("subject", subject_open)?;
        self.resource.check("resource", resource_open)?;
        let name = self.action.name.len();
        match (action_open, name) {
            (true, 0) | (false, 1..=Self::ACTION_BYTES_MAX) => Ok(()),
            (true, _) => Err(shape("a search for actions names none")),
            (false, _) => Err(shape("action.name: 1 to 256 bytes")),
        }
    }

    fn from_json(json: &Json) -> Option<Self> {
        let span = || {
            let span = json.get("span")?;
            let number = |name: &str| match span.get(name)? {
                Json::Number(value) => exact(*value),
                Json::Null | Json::Bool(_) | Json::String(_) | Json::Array(_) | Json::Object(_) => {
                    None
                }
            };
            Some(Span {
                begin: number("begin")?,
                limit: number("limit")?,
            })
        };
        let sought = match json.get("sought")?.as_str()? {
            Sought::DECISION => Sought::Decision,
            "subjects" => Sought::Subjects(span()?),
            "resources" => Sought::Resources(span()?),
            "actions" => Sought::Actions(span()?),
            _ => return None,
        };
        let action = json.get("action")?;
        Some(Self {
            action: AskedAction {
                name: text(action, "name"),
                properties: members(action, "properties"),
            },
            context: members(json, "context"),
            resource: party(json.get("resource")?),
            sought,
            subject: party(json.get("subject")?),
        })
    }
}

impl Party {
    fn write(&self, to: &mut Object<'_>) {
        to.some("id", &self.id);
        to.filled("properties", &self.properties);
        to.some("type", &self.kind);
    }

    fn check(&self, what: &str, open: bool) -> Result<(), Malformed> {
        if !(1..=Question::KIND_BYTES_MAX).contains(&self.kind.len()) {
            return Err(shape(&format!("{what}.type: 1 to 128 bytes")));
        }
        match (open, self.id.len()) {
            (true, 0) | (false, 1..=Question::ID_BYTES_MAX) => Ok(()),
            (true, _) => Err(shape(&format!("a search for {what}s names none"))),
            (false, _) => Err(shape(&format!("{what}.id: 1 to 4096 bytes"))),
        }
    }
}

/// A whole number that a search can have.
fn exact(value: f64) -> Option<u32> {
    let whole = value.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(&value);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "whole and within 32 bits, as was just seen"
    )]
    whole.then_some(value as u32)
}

fn party(json: &Json) -> Party {
    Party {
        id: text(json, "id"),
        kind: text(json, "type"),
        properties: members(json, "properties"),
    }
}

fn text(json: &Json, name: &str) -> String {
    json.get(name)
        .and_then(Json::as_str)
        .unwrap_or_default()
        .to_owned()
}

fn members(json: &Json, name: &str) -> Members {
    match json.get(name) {
        Some(Json::Object(members)) => members.clone(),
        Some(Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) | Json::Array(_))
        | None => Members::new(),
    }
}

fn shape(what: &str) -> Malformed {
    Malformed::Shape(what.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question() -> Question {
        let properties = Members::from([("role".to_owned(), Json::String("admin".into()))]);
        Question {
            action: AskedAction {
                name: "write".into(),
                properties: Members::new(),
            },
            context: Members::new(),
            resource: Party {
                id: "record-1".into(),
                kind: "record".into(),
                properties: Members::new(),
            },
            sought: Sought::Decision,
            subject: Party {
                id: "bob".into(),
                kind: "user".into(),
                properties,
            },
        }
    }

    #[test]
    fn a_question_reads_back_from_its_canonical_bytes() {
        let bytes = question().to_canonical();
        assert_eq!(
            bytes,
            br#"{"action":{"name":"write"},"resource":{"id":"record-1","type":"record"},"sought":"decision","subject":{"id":"bob","properties":{"role":"admin"},"type":"user"}}"#
        );
        assert_eq!(Question::decode(&bytes), Ok(question()));
        let mut search = question();
        search.subject.id = String::new();
        search.sought = Sought::Subjects(Span {
            begin: 7,
            limit: 100,
        });
        assert_eq!(Question::decode(&search.to_canonical()), Ok(search));
    }

    #[test]
    fn what_is_left_open_is_what_is_sought() {
        let mut odd = question();
        odd.sought = Sought::Subjects(Span { begin: 0, limit: 1 });
        assert!(odd.check().is_err());
        let mut odd = question();
        odd.action.name = String::new();
        assert!(odd.check().is_err());
        let mut odd = question();
        odd.resource.kind = "x".repeat(129);
        assert!(odd.check().is_err());
        let text = br#"{"action":{"name":"a"},"extra":1,"resource":{"id":"r","type":"t"},"sought":"decision","subject":{"id":"s","type":"t"}}"#;
        assert_eq!(Question::decode(text), Err(Malformed::NotCanonical));
    }
}
