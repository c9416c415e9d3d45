//! What shapes are made of: small ones that occur in several, and the ways to write one down.

use serde_json::{Value, json};

/// An object of exactly these members.
pub(super) fn object(required: &[(&str, Value)], optional: &[(&str, Value)]) -> Value {
    let properties: serde_json::Map<String, Value> = required
        .iter()
        .chain(optional)
        .map(|(name, schema)| ((*name).to_owned(), schema.clone()))
        .collect();
    let names: Vec<&str> = required.iter().map(|(name, _)| *name).collect();
    json!({
        "type": "object", "additionalProperties": false, "properties": properties, "required": names,
    })
}

pub(super) fn text(description: &str) -> Value {
    json!({ "type": "string", "description": description })
}

pub(super) fn pattern(pattern: &str, description: &str) -> Value {
    json!({ "type": "string", "pattern": pattern, "description": description })
}

pub(super) fn nullable(kind: &str, description: &str) -> Value {
    json!({ "type": [kind, "null"], "description": description })
}

pub(super) fn list(items: &Value) -> Value {
    json!({ "type": "array", "items": items })
}

pub(super) fn exec() -> Value {
    pattern("^exec_[0-9a-f]{32}$", "an execution")
}

pub(super) fn principal() -> Value {
    pattern("^[a-z]{1,32}:[A-Za-z0-9._@/-]{1,96}$", "a principal")
}

pub(super) fn digest(description: &str) -> Value {
    pattern("^sha256:[0-9a-f]{64}$", description)
}

pub(super) fn thumbprint(description: &str) -> Value {
    pattern("^[A-Za-z0-9_-]{43}$", description)
}

pub(super) fn index(description: &str) -> Value {
    json!({ "type": "integer", "minimum": 0, "description": description })
}

pub(super) fn time(description: &str) -> Value {
    let description = format!("{description}; milliseconds since 1970");
    json!({ "type": "integer", "minimum": 0, "description": description })
}

pub(super) fn count() -> Value {
    json!({ "type": "integer", "minimum": 0, "maximum": 9007199254740991_u64 })
}

pub(super) fn byte() -> Value {
    json!({ "type": "integer", "minimum": 0, "maximum": 255 })
}

pub(super) fn code() -> Value {
    let codes: Vec<&str> = placet_types::DenialCode::ALL
        .iter()
        .map(|code| code.as_str())
        .collect();
    json!({ "enum": codes })
}

pub(super) fn environment() -> Value {
    let short = || json!({ "type": "string", "maxLength": 256 });
    object(
        &[
            ("arch", short()),
            ("boot", short()),
            ("distribution", short()),
            ("gateway", short()),
            ("kernel", short()),
            (
                "landlock_abi",
                json!({ "type": "integer", "minimum": 0, "maximum": 4294967295_u64 }),
            ),
            (
                "machine",
                digest("of the domain's name and the machine's id"),
            ),
            ("tier", short()),
        ],
        &[
            (
                "container",
                digest("of the image of the gateway's container, where it is configured"),
            ),
            (
                "gateway_digest",
                digest("of the gateway's own program, where it was measured"),
            ),
            (
                "region",
                place_name("the region that the machine stands in"),
            ),
            (
                "weaker",
                json!({ "type": "array", "items": { "type": "string" }, "description": "what this tier does not give" }),
            ),
            ("zone", place_name("the zone of the region")),
        ],
    )
}

fn place_name(description: &str) -> Value {
    pattern("^[a-z0-9][a-z0-9._-]{0,63}$", description)
}

pub(super) fn grant() -> Value {
    object(
        &[
            ("delegation", list(&principal())),
            ("depth", count()),
            ("lease_ms", count()),
            ("not_after", time("end of the window")),
            ("not_before", time("begin of the window")),
            ("profile", text("the profile that the scope comes from")),
            ("root", exec()),
            ("scope", digest("of the scope")),
            ("staleness_ms", count()),
        ],
        &[
            ("approved_by", list(&principal())),
            (
                "rerouted",
                list(&text("a profile that the policy put in place of another")),
            ),
        ],
    )
}

/// What an intent waits for.
pub(super) fn waiting() -> Value {
    object(
        &[
            ("needs", needs()),
            ("until", time("afterwards it begins anew")),
        ],
        &[],
    )
}

pub(super) fn needs() -> Value {
    list(&object(
        &[
            (
                "count",
                json!({ "type": "integer", "minimum": 1, "maximum": 16 }),
            ),
            (
                "groups",
                list(&text("a group of which the approvers may be")),
            ),
        ],
        &[],
    ))
}

/// An intent that waits, with what an approver has to know and to sign.
pub(super) fn approval() -> Value {
    object(
        &[
            (
                "asked_by",
                list(&text("a policy that asks for the approvals")),
            ),
            ("exec", exec()),
            ("index", index("the record that deferred it")),
            (
                "intent",
                json!({ "type": "object", "description": "the canonical intent" }),
            ),
            ("needs", needs()),
            (
                "opening",
                json!({
                    "type": ["object", "null"],
                    "description": "what opens the commitment: canonical JSON of the parameters, and the salt",
                    "properties": { "params": { "type": "string" }, "salt": { "type": "string" } },
                    "required": ["params", "salt"], "additionalProperties": false,
                }),
            ),
            (
                "params",
                nullable("object", "its exact parameters, unless they were erased"),
            ),
            (
                "said",
                json!({
                    "type": "object", "description": "what approvers said so far, by their names",
                    "additionalProperties": { "enum": ["approve", "reject"] },
                }),
            ),
            (
                "sign",
                object(
                    &[
                        ("domain", text("name of the domain")),
                        ("intent", digest("of the intent")),
                        ("payload_type", text("of the DSSE encoding")),
                    ],
                    &[],
                ),
            ),
            ("until", time("afterwards it begins anew")),
            ("words", text("what it needs")),
        ],
        &[],
    )
}

/// A policy of the bundle in force.
pub(super) fn policy(whole: bool) -> Value {
    let known = [
        (
            "approvals",
            json!({ "oneOf": [{ "type": "null" }, object(
                &[
                    ("count", count()),
                    ("groups", list(&text("a group of approvers"))),
                    ("within_secs", count()),
                ],
                &[],
            )] }),
        ),
        ("description", nullable("string", "what it is for")),
        ("effect", json!({ "enum": ["permit", "forbid"] })),
        ("file", text("the member of the bundle where it stands")),
        ("id", text("the name that decisions cite")),
        (
            "lifetime_secs",
            nullable("integer", "how long its permits last at most"),
        ),
        ("line", count()),
        (
            "profile",
            nullable("string", "what its permits are carried out with"),
        ),
        (
            "reroute",
            nullable("string", "the profile that it puts in place of another"),
        ),
        ("revoked", json!({ "type": "boolean" })),
        (
            "severity",
            nullable("string", "low, medium, high or critical"),
        ),
    ];
    let source = [(
        "source",
        text("as it stands in the bundle; absent for links"),
    )];
    object(&known, if whole { &source } else { &[] })
}

/// A node of the lineage.
pub(super) fn node() -> Value {
    let at = || json!({ "oneOf": [{ "type": "null" }, place()] });
    object(
        &[
            ("status", status()),
            ("action", text("what was to be done")),
            (
                "answer",
                json!({ "type": "object", "description": "permitted or denied, and how" }),
            ),
            ("born", count()),
            (
                "bundle",
                nullable("string", "the bundle that it was decided under"),
            ),
            (
                "caller",
                json!({ "type": "object", "description": "who submitted it, and how that is known" }),
            ),
            ("decided", place()),
            ("delegation", list(&principal())),
            (
                "ended",
                json!({ "type": ["object", "null"], "description": "how it ended" }),
            ),
            ("exec", exec()),
            ("gateway", text("who was to carry it out")),
            ("intent", digest("of the intent")),
            ("parent", nullable("string", "the execution that asked")),
            ("policies", list(&json!({ "type": "string" }))),
            ("principal", principal()),
            ("refused", count()),
            ("resource", json!({ "type": "object" })),
            ("root", exec()),
            ("signals", count()),
            ("started", at()),
        ],
        &[("risk", risk())],
    )
}

/// Where an intent is in its life.
pub(super) fn status() -> Value {
    json!({ "enum": ["denied", "deferred", "authorized", "running", "completed", "failed", "terminated", "lapsed", "unseen"] })
}

/// How unusual it was.
fn risk() -> Value {
    object(
        &[
            ("factors", list(&text("what was unusual; spec/history.md"))),
            (
                "score",
                json!({ "type": "integer", "minimum": 0, "maximum": 100 }),
            ),
        ],
        &[],
    )
}

pub(super) fn place() -> Value {
    object(
        &[
            ("index", index("of the record")),
            ("time", time("of the record")),
        ],
        &[],
    )
}
