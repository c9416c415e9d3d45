//! Reading questions. What is unknown is ignored; what is known has its type, or is refused.

use placet_types::call::Members;
use placet_types::canonical::Json;
use placet_types::{AskedAction, Party, Question, Sought};

use crate::problem::Problem;

/// The parts of a question, as far as they are there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parts<'a> {
    subject: Option<&'a Json>,
    action: Option<&'a Json>,
    resource: Option<&'a Json>,
    context: Option<&'a Json>,
}

impl<'a> Parts<'a> {
    pub(super) fn of(json: &'a Json) -> Result<Self, Problem> {
        let Json::Object(_) = json else {
            return Err(Problem::malformed("a question is a JSON object"));
        };
        Ok(Self {
            subject: json.get("subject"),
            action: json.get("action"),
            resource: json.get("resource"),
            context: json.get("context"),
        })
    }

    /// These, and what they leave out from `others`: each part as a whole, never mixed.
    pub(super) fn or(self, others: &Self) -> Self {
        Self {
            subject: self.subject.or(others.subject),
            action: self.action.or(others.action),
            resource: self.resource.or(others.resource),
            context: self.context.or(others.context),
        }
    }
}

/// A question that asks for yes or no.
pub(super) fn question(parts: &Parts<'_>) -> Result<Question, Problem> {
    about(parts, Sought::Decision)
}

/// A question that asks for this. What is sought has a kind, and no id that counts.
pub(super) fn about(parts: &Parts<'_>, sought: Sought) -> Result<Question, Problem> {
    let action = match sought {
        Sought::Actions(_) => AskedAction::default(),
        Sought::Decision | Sought::Subjects(_) | Sought::Resources(_) => action(parts.action)?,
    };
    let context = match parts.context {
        None => Members::new(),
        Some(Json::Object(members)) => members.clone(),
        Some(_) => return Err(Problem::malformed("context: an object")),
    };
    let question = Question {
        action,
        context,
        resource: party(
            "resource",
            parts.resource,
            matches!(sought, Sought::Resources(_)),
        )?,
        sought,
        subject: party(
            "subject",
            parts.subject,
            matches!(sought, Sought::Subjects(_)),
        )?,
    };
    question.check()?;
    Ok(question)
}

fn action(json: Option<&Json>) -> Result<AskedAction, Problem> {
    let json = object("action", json)?;
    Ok(AskedAction {
        name: text("action", json, "name")?,
        properties: properties("action", json)?,
    })
}

fn party(what: &str, json: Option<&Json>, open: bool) -> Result<Party, Problem> {
    let json = object(what, json)?;
    Ok(Party {
        id: if open {
            String::new()
        } else {
            text(what, json, "id")?
        },
        kind: text(what, json, "type")?,
        properties: properties(what, json)?,
    })
}

fn object<'a>(what: &str, json: Option<&'a Json>) -> Result<&'a Json, Problem> {
    match json {
        Some(json @ Json::Object(_)) => Ok(json),
        Some(_) => Err(Problem::malformed(format!("{what}: an object"))),
        None => Err(Problem::malformed(format!("{what} is missing"))),
    }
}

fn text(what: &str, json: &Json, name: &str) -> Result<String, Problem> {
    match json.get(name) {
        Some(Json::String(text)) => Ok(text.clone()),
        Some(_) => Err(Problem::malformed(format!("{what}.{name}: a string"))),
        None => Err(Problem::malformed(format!("{what}.{name} is missing"))),
    }
}

fn properties(what: &str, json: &Json) -> Result<Members, Problem> {
    match json.get("properties") {
        None => Ok(Members::new()),
        Some(Json::Object(members)) => Ok(members.clone()),
        Some(_) => Err(Problem::malformed(format!("{what}.properties: an object"))),
    }
}

#[cfg(test)]
mod tests {
    use placet_types::canonical::Bounds;

    use super::*;

    fn json(text: &str) -> Json {
        Json::parse(text.as_bytes(), Bounds::MESSAGE).unwrap()
    }

    #[test]
    fn a_default_is_taken_as_a_whole_or_not_at_all() {
        let all = json(
            r#"{"resource":{"type":"record","id":"1","properties":{"a":1}},"subject":{"type":"u","id":"s"},"action":{"name":"read"}}"#,
        );
        let own = json(r#"{"resource":{"type":"record","id":"2"}}"#);
        let merged = Parts::of(&own).unwrap().or(&Parts::of(&all).unwrap());
        let asked = question(&merged).unwrap();
        assert_eq!(asked.resource.id, "2");
        assert!(asked.resource.properties.is_empty());
        let half = json(r#"{"resource":{"id":"2"}}"#);
        let merged = Parts::of(&half).unwrap().or(&Parts::of(&all).unwrap());
        assert!(question(&merged).is_err());
    }

    #[test]
    fn what_is_sought_has_no_id() {
        let asked = json(
            r#"{"subject":{"type":"user","id":"ignored"},"resource":{"type":"r","id":"1"},"action":{"name":"read"},"unknown":1}"#,
        );
        let span = placet_types::Span { begin: 0, limit: 1 };
        let found = about(&Parts::of(&asked).unwrap(), Sought::Subjects(span)).unwrap();
        assert_eq!(found.subject.id, "");
    }
}
