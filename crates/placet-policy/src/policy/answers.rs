//! Answers to questions that were asked before.
//!
//! An enforcement point asks much the same again and again: whether it may ask is a question of its
//! own each time. Where no fact of the moment can reach a policy, since the schema declares none in the
//! context of the action, the answer follows from the bundle and from what is asked, and is the same
//! for ever. It is found by everything that was asked, byte for byte, never by a digest of it.

use std::sync::Arc;

use placet_types::call::Members;
use placet_types::canonical::Json;

use super::cache::Cache;
use super::{Asked, Declared, Evaluation, Who};
use crate::request::FACTS;

/// Answers kept, at most twice as many.
const ANSWERS_MAX: usize = 1024;
/// A longer question is not worth its place.
const KEY_BYTES_MAX: usize = 1024;

/// Answers by what was asked.
pub(super) struct Answers(Cache<Vec<u8>, Arc<Evaluation>>);

impl Answers {
    pub(super) fn new() -> Self {
        Self(Cache::new(ANSWERS_MAX))
    }

    pub(super) fn get(&self, key: &Vec<u8>) -> Option<Evaluation> {
        self.0.get(key).map(|found| Evaluation::clone(&found))
    }

    pub(super) fn keep(&self, key: Vec<u8>, evaluation: &Evaluation) {
        self.0.insert(key, Arc::new(evaluation.clone()));
    }
}

/// What the answer follows from, in bytes that nothing else has. `None` where facts of the moment are
/// part of it, or where it is long.
pub(super) fn key(asked: &Asked<'_>, declared: &Declared) -> Option<Vec<u8>> {
    let names = declared.context(asked.action)?;
    if FACTS.iter().any(|fact| names.contains_key(*fact)) {
        return None;
    }
    let mut key = Vec::with_capacity(256);
    text(asked.action, &mut key);
    members(asked.action_properties, &mut key);
    who(&asked.subject, &mut key);
    who(&asked.resource, &mut key);
    members(asked.context, &mut key);
    (key.len() <= KEY_BYTES_MAX).then_some(key)
}

fn who(who: &Who<'_>, to: &mut Vec<u8>) {
    text(who.kind, to);
    text(who.id, to);
    members(who.given, to);
    match who.groups {
        None => to.push(0),
        Some(groups) => {
            to.push(1);
            count(groups.len(), to);
            groups.iter().for_each(|group| text(group, to));
        }
    }
}

fn members(members: &Members, to: &mut Vec<u8>) {
    count(members.len(), to);
    for (name, one) in members {
        text(name, to);
        value(one, to);
    }
}

fn value(one: &Json, to: &mut Vec<u8>) {
    match one {
        Json::Null => to.push(b'n'),
        Json::Bool(is) => to.extend([b'b', u8::from(*is)]),
        Json::Number(number) => {
            to.push(b'd');
            to.extend(number.to_bits().to_be_bytes());
        }
        Json::String(string) => {
            to.push(b's');
            text(string, to);
        }
        Json::Array(items) => {
            to.push(b'a');
            count(items.len(), to);
            items.iter().for_each(|item| value(item, to));
        }
        Json::Object(inner) => {
            to.push(b'o');
            members(inner, to);
        }
    }
}

/// A text and its length, so that none runs into the next.
fn text(text: &str, to: &mut Vec<u8>) {
    count(text.len(), to);
    to.extend(text.as_bytes());
}

fn count(count: usize, to: &mut Vec<u8>) {
    to.extend(count.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Policy;
    use crate::policy::Effect;
    use crate::request::Circumstances;
    use crate::testing::{self, files};
    use crate::{Bundle, policy::Obligations};

    const SCHEMA: &str = r#"
entity user in [Group] { role?: String, level?: Long, from?: ipaddr };
entity record { status?: String, closed: Bool };
action "read" appliesTo { principal: user, resource: record };
action "write" appliesTo { principal: user, resource: record, context: { hour: Long } };
"#;

    const POLICIES: &str = r#"
@id("admins") permit(principal, action == Action::"read", resource)
when { principal has role && principal.role == "admin" && !resource.closed };
@id("near") permit(principal, action == Action::"read", resource)
when { principal has from && principal.from.isLoopback() };
@id("late") permit(principal, action == Action::"write", resource)
when { context.hour > 11 };
"#;

    fn policy() -> Policy {
        let bundle = Bundle::read(&files(&[
            ("policies/a.cedar", Some(POLICIES)),
            ("schema.cedarschema", Some(SCHEMA)),
        ]));
        Policy::compile(&bundle.unwrap()).unwrap_or_else(|problems| panic!("{problems:#?}"))
    }

    fn given(text: &str) -> Members {
        let json = Json::parse(text.as_bytes(), placet_types::canonical::Bounds::MESSAGE);
        let Json::Object(members) = json.unwrap() else {
            panic!("an object");
        };
        members
    }

    struct Question {
        action: &'static str,
        subject: Members,
        resource: Members,
        circumstances: testing::Asked,
    }

    fn question(subject: &str, resource: &str) -> Question {
        Question {
            action: "read",
            subject: given(subject),
            resource: given(resource),
            circumstances: testing::Asked::of("/usr/bin/cat", &["cat"]),
        }
    }

    impl Question {
        fn put(&self, policy: &Policy) -> Evaluation {
            policy.ask(&self.asked())
        }

        fn key(&self, policy: &Policy) -> Option<Vec<u8>> {
            key(&self.asked(), &policy.declared)
        }

        fn asked(&self) -> Asked<'_> {
            const NOTHING: &Members = &Members::new();
            let request = self.circumstances.request();
            let one = |kind, id, given| Who {
                kind,
                id,
                given,
                groups: None,
            };
            Asked {
                subject: one("user", "ann", &self.subject),
                action: self.action,
                action_properties: NOTHING,
                resource: one("record", "7", &self.resource),
                context: NOTHING,
                facts: Circumstances {
                    environment: request.environment,
                    appraisal: request.appraisal,
                    history: request.history,
                    risk: request.risk,
                    time: request.time,
                },
            }
        }
    }

    #[test]
    fn an_answer_is_found_again_by_all_that_was_asked_and_by_nothing_less() {
        let policy = policy();
        let open = r#"{"closed":false}"#;
        let admin = question(r#"{"role":"admin"}"#, open);
        let first = admin.put(&policy);
        assert_eq!(first.effect, Effect::Permit);
        assert!(policy.answers.get(&admin.key(&policy).unwrap()).is_some());
        assert_eq!(admin.put(&policy), first);
        for (subject, resource) in [
            (r#"{"role":"admi"}"#, open),
            (r#"{"role":"admin"}"#, r#"{"closed":true}"#),
            (r#"{"level":1}"#, open),
            ("{}", open),
        ] {
            let other = question(subject, resource);
            assert_ne!(other.key(&policy), admin.key(&policy), "{subject}");
            assert_eq!(other.put(&policy).effect, Effect::NoPermit, "{subject}");
        }
    }

    #[test]
    fn what_depends_on_the_moment_is_answered_anew() {
        let policy = policy();
        let mut late = question("{}", r#"{"closed":false}"#);
        late.action = "write";
        assert_eq!(late.key(&policy), None);
        let noon = late.circumstances.time;
        let hours = |hours: u64| placet_types::Millis::new(hours * 3_600_000);
        for (time, effect) in [
            (hours(3), Effect::NoPermit),
            (hours(14), Effect::Permit),
            (hours(3), Effect::NoPermit),
        ] {
            late.circumstances.time = time;
            assert_eq!(late.put(&policy).effect, effect);
        }
        assert_ne!(noon, late.circumstances.time);
    }

    #[test]
    fn plain_values_are_held_to_the_schema_like_any_other() {
        let policy = policy();
        let open = r#"{"closed":false}"#;
        let near = question(r#"{"from":"127.0.0.1","role":"guest"}"#, open).put(&policy);
        assert_eq!(near.determining, ["near"]);
        for (subject, resource, needle) in [
            (r#"{"role":7}"#, open, "role"),
            (r#"{"level":"high"}"#, open, "level"),
            (r#"{"level":1.5}"#, open, "level"),
            (r#"{"from":"nowhere"}"#, open, "nowhere"),
            (r#"{"role":"admin"}"#, "{}", "closed"),
        ] {
            let answer = question(subject, resource).put(&policy);
            assert_eq!(answer.effect, Effect::Error, "{subject} {resource}");
            assert_eq!(answer.obligations, Obligations::default());
            let said = &answer.errors[0].message;
            assert!(said.contains(needle), "{said}");
        }
    }
}
