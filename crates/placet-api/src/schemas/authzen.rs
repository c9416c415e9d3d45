//! Shapes of the AuthZEN routes. Open where that standard has them open.

use serde_json::{Map, Value, json};

use super::{Schema, index, list, text};
use crate::routes::BATCH_MAX;

/// A question.
pub(crate) const QUESTION: Schema = Schema {
    name: "Question",
    make: || question(["subject", "action", "resource"], [true, true, true]),
};
/// Many questions.
pub(crate) const QUESTIONS: Schema = Schema {
    name: "Questions",
    make: || {
        let item = json!({ "type": "object", "description": "a question; what it leaves out is what stands beside the list" });
        let mut all = open(
            &[
                ("subject", party(true)),
                ("action", action()),
                ("resource", party(true)),
                ("context", json!({ "type": "object" })),
                (
                    "evaluations",
                    json!({ "type": "array", "items": item, "maxItems": BATCH_MAX }),
                ),
                (
                    "options",
                    open(
                        &[(
                            "evaluations_semantic",
                            json!({
                                "enum": ["execute_all", "deny_on_first_deny", "permit_on_first_permit"],
                            }),
                        )],
                        &[],
                    ),
                ),
            ],
            &[],
        );
        let whole = json!({ "required": ["subject", "action", "resource"] });
        let many = json!({ "required": ["evaluations"], "properties": { "evaluations": { "minItems": 1 } } });
        if let Value::Object(members) = &mut all {
            members.insert("anyOf".to_owned(), json!([whole, many]));
        }
        all
    },
};
/// A search for subjects.
pub(crate) const SUBJECT_SEARCH: Schema = Schema {
    name: "SubjectSearch",
    make: || {
        paged(question(
            ["subject", "action", "resource"],
            [false, true, true],
        ))
    },
};
/// A search for resources.
pub(crate) const RESOURCE_SEARCH: Schema = Schema {
    name: "ResourceSearch",
    make: || {
        paged(question(
            ["subject", "action", "resource"],
            [true, true, false],
        ))
    },
};
/// A search for actions.
pub(crate) const ACTION_SEARCH: Schema = Schema {
    name: "ActionSearch",
    make: || paged(question(["subject", "resource"], [true, true])),
};
/// A decision.
pub(crate) const ANSWER: Schema = Schema {
    name: "Answer",
    make: answer,
};
/// Decisions; one alone where one was asked for.
pub(crate) const ANSWERS: Schema = Schema {
    name: "Answers",
    make: || json!({ "oneOf": [answer(), super::object(&[("evaluations", list(&answer()))], &[])] }),
};
/// What a search found.
pub(crate) const FOUND: Schema = Schema {
    name: "Found",
    make: || {
        let entity = super::object(
            &[
                ("id", text("within its type")),
                ("type", text("what it is")),
            ],
            &[],
        );
        let action = super::object(&[("name", text("of the action"))], &[]);
        let page = super::object(
            &[
                (
                    "count",
                    json!({ "type": "integer", "minimum": 0, "maximum": 1000 }),
                ),
                (
                    "next_token",
                    text("goes on with the same question; empty at the end"),
                ),
            ],
            &[],
        );
        let results = list(&json!({ "oneOf": [entity, action] }));
        super::object(&[("page", page), ("results", results)], &[])
    },
};
/// What there is, and where.
pub(crate) const METADATA: Schema = Schema {
    name: "AuthzenConfiguration",
    make: || {
        let place = || json!({ "type": "string", "format": "uri" });
        super::object(
            &[
                ("access_evaluation_endpoint", place()),
                ("access_evaluations_endpoint", place()),
                ("policy_decision_point", place()),
                ("search_action_endpoint", place()),
                ("search_resource_endpoint", place()),
                ("search_subject_endpoint", place()),
            ],
            &[],
        )
    },
};

fn answer() -> Value {
    let error = super::object(
        &[
            ("message", text("why it was not asked")),
            (
                "status",
                json!({ "type": "integer", "minimum": 400, "maximum": 499 }),
            ),
        ],
        &[],
    );
    let context = super::object(
        &[],
        &[
            ("code", text("the denial code, or malformed")),
            ("error", error),
            ("reason", text("why not")),
            ("record", index("the record that says so")),
            ("remedy", text("what would have to change")),
        ],
    );
    let decision = json!({ "type": "boolean" });
    super::object(&[("context", context), ("decision", decision)], &[])
}

/// An object that may have further members.
fn open(members: &[(&str, Value)], required: &[&str]) -> Value {
    let properties: Map<String, Value> = members
        .iter()
        .map(|(name, schema)| ((*name).to_owned(), schema.clone()))
        .collect();
    json!({ "type": "object", "properties": properties, "required": required })
}

fn question<const N: usize>(required: [&str; N], named: [bool; N]) -> Value {
    let mut members = vec![("context", json!({ "type": "object" }))];
    for (name, has_id) in required.into_iter().zip(named) {
        members.push((
            name,
            if name == "action" {
                action()
            } else {
                party(has_id)
            },
        ));
    }
    open(&members, &required)
}

fn action() -> Value {
    let name = json!({ "type": "string", "minLength": 1, "maxLength": 256 });
    open(
        &[("name", name), ("properties", json!({ "type": "object" }))],
        &["name"],
    )
}

fn party(has_id: bool) -> Value {
    let kind = json!({ "type": "string", "minLength": 1, "maxLength": 128 });
    let id = json!({ "type": "string", "minLength": 1, "maxLength": 4096 });
    let properties = ("properties", json!({ "type": "object" }));
    if has_id {
        return open(&[("type", kind), ("id", id), properties], &["type", "id"]);
    }
    open(&[("type", kind), properties], &["type"])
}

fn paged(mut question: Value) -> Value {
    let limit = json!({ "type": "integer", "minimum": 1 });
    let page = open(
        &[("limit", limit), ("token", json!({ "type": "string" }))],
        &[],
    );
    if let Some(Value::Object(properties)) = question.get_mut("properties") {
        properties.insert("page".to_owned(), page);
    }
    question
}
