//! Shapes of what is taken and given, as JSON Schema 2020-12, which OpenAPI 3.1 uses.
//!
//! Written beside the types that they describe rather than derived from them: most of these types
//! belong to crates that know nothing of HTTP. A test holds every reply of a real server to them.

use serde_json::{Value, json};

/// Makes a shape.
#[derive(Clone, Copy)]
pub(crate) struct Schema {
    pub(crate) name: &'static str,
    pub(crate) make: fn() -> Value,
}

macro_rules! schema {
    ($(#[$doc:meta])* $id:ident, $name:literal, $make:expr) => {
        $(#[$doc])*
        pub(crate) const $id: Schema = Schema { name: $name, make: $make };
    };
}

schema!(ANY, "Any", || json!({ "type": "object" }));
schema!(NOTHING, "Nothing", || object(&[], &[]));
schema!(HEALTH, "Health", || object(
    &[("status", json!({ "const": "ok" }))],
    &[]
));
schema!(PROBLEM, "Problem", || object(
    &[
        ("type", text("urn:placet:problem: and the code")),
        ("title", text("the status in words")),
        (
            "status",
            json!({ "type": "integer", "minimum": 400, "maximum": 599 })
        ),
        ("detail", text("what is wrong with this request")),
        (
            "code",
            text("the denial code, or the name of a failure of the request itself")
        ),
    ],
    &[
        (
            "check",
            json!({ "type": "integer", "minimum": 1, "maximum": 10, "description": "the check that denied" })
        ),
        ("check_name", text("what that check asks")),
        ("exec", exec()),
        ("index", index("the record that says so")),
        ("remedy", text("what would have to change")),
    ],
));
schema!(INTENT, "Intent", || object(
    &[
        (
            "action",
            pattern(
                "^[a-z0-9_-]{1,32}:[a-z0-9_-]{1,64}$",
                "what is to be done; this version decides process:run"
            )
        ),
        (
            "gateway",
            pattern("^[a-z0-9_-]{1,64}$", "who is to carry it out")
        ),
        (
            "holder",
            pattern(
                "^[A-Za-z0-9+/]{43}=$",
                "the gateway's Ed25519 public key in base64; the artifact is bound to it"
            )
        ),
        (
            "params",
            json!({ "type": "object", "description": "the parameters; the log holds a salted commitment to them" })
        ),
        ("principal", principal()),
        (
            "resource",
            object(
                &[
                    (
                        "id",
                        json!({ "type": "string", "minLength": 1, "maxLength": 4096 })
                    ),
                    ("kind", pattern("^[A-Za-z0-9_:]{1,64}$", "such as Program"))
                ],
                &[("digest", digest("of its content"))],
            )
        ),
    ],
    &[
        (
            "asked",
            object(
                &[],
                &[
                    (
                        "lifetime_secs",
                        json!({ "type": "integer", "minimum": 0, "maximum": 9007199254740991_u64 })
                    ),
                    (
                        "profile",
                        pattern("^[a-z0-9_-]{1,64}$", "at most the scope of this profile")
                    ),
                ]
            )
        ),
        ("environment", environment()),
        ("parent", exec()),
        (
            "salt",
            thumbprint("32 random bytes that hide the parameters; drawn by the node where absent")
        ),
    ],
));
schema!(PERMIT, "Permit", || object(
    &[
        ("decision", json!({ "const": "permit" })),
        ("exec", exec()),
        ("index", index("the decision")),
        (
            "artifact",
            text("the authorization artifact, a compact JWS")
        ),
        (
            "receipt",
            object(
                &[
                    ("entry", text("the log entry of the decision")),
                    ("proof", text("its C2SP tlog-proof"))
                ],
                &[]
            )
        ),
        ("grant", grant()),
        (
            "scope",
            json!({ "type": "object", "description": "what the execution may touch" })
        ),
        (
            "intent",
            json!({ "type": "object", "description": "the canonical intent" })
        ),
        (
            "salt",
            thumbprint("what hides the parameters; whoever has it can test guesses")
        ),
    ],
    &[],
));
schema!(START, "Start", || object(
    &[
        ("artifact", text("the artifact, as it was issued")),
        (
            "gateway",
            pattern("^[a-z0-9_-]{1,64}$", "who carries it out")
        )
    ],
    &[],
));
schema!(SIGNAL, "Signal", || object(
    &[
        ("code", code()),
        ("detail", text("what happened, without parameters"))
    ],
    &[
        (
            "count",
            json!({ "type": "integer", "minimum": 0, "maximum": 9007199254740991_u64 })
        ),
        (
            "ends",
            json!({ "type": "boolean", "description": "whether it ends the execution's authority" })
        ),
        (
            "kind",
            json!({ "enum": ["drift", "limit", "refused_connect", "refused_exec", "refused_read", "refused_write", "trip"] }),
        ),
    ],
));
schema!(END, "End", || object(
    &[(
        "outcome",
        json!({ "enum": ["completed", "failed", "terminated", "lapsed", "unseen"] })
    )],
    &[
        ("cause", code()),
        (
            "exit",
            json!({ "oneOf": [
            object(&[("code", byte())], &[]),
            object(&[("signal", byte())], &[]),
        ] })
        ),
        (
            "usage",
            object(
                &[
                    ("cpu_ms", count()),
                    ("rss_kib_max", count()),
                    ("wall_ms", count())
                ],
                &[(
                    "network",
                    object(
                        &[
                            ("failed", count()),
                            ("opened", count()),
                            ("received_bytes", count()),
                            ("refused", count()),
                            ("sent_bytes", count()),
                        ],
                        &[]
                    )
                )],
            )
        ),
    ],
));
schema!(RECORDED, "Recorded", || object(
    &[("index", index("the record"))],
    &[]
));
schema!(RENEWAL, "Renewal", || object(
    &[
        ("lease_ms", count()),
        (
            "not_after",
            time("end of the window, which renewing does not move")
        ),
        ("size", index("number of records")),
    ],
    &[],
));
schema!(REVOCATION, "Revocation", || object(
    &[
        (
            "reason",
            json!({ "type": "string", "maxLength": 1024, "description": "public" })
        ),
        (
            "selector",
            json!({ "oneOf": [
            object(&[("artifact", exec())], &[]),
            object(&[("execution", exec())], &[]),
            object(&[("policy", json!({ "type": "string", "minLength": 1, "maxLength": 128 }))], &[]),
            object(&[("principal", principal())], &[]),
            object(&[("subtree", exec())], &[]),
        ] })
        ),
    ],
    &[],
));
schema!(REASON, "Reason", || object(
    &[(
        "reason",
        json!({ "type": "string", "maxLength": 1024, "description": "public" })
    )],
    &[],
));
schema!(PAGE_OF_NODES, "Executions", || object(
    &[("items", json!({ "type": "array", "items": node() }))],
    &[("next", index("the cursor of the next page"))],
));
schema!(EXECUTION, "Execution", || object(
    &[
        ("execution", node()),
        (
            "open",
            json!({ "oneOf": [{ "type": "null" }, object(
            &[
                ("ending", json!({ "type": ["string", "null"], "description": "why it must end" })),
                ("grant", grant()),
                ("running_since", json!({ "type": ["integer", "null"] })),
            ],
            &[],
        )] })
        ),
    ],
    &[],
));
schema!(DECISION, "Decision", || object(
    &[
        ("index", index("where it stands")),
        ("decision", json!({ "enum": ["permit", "deny"] })),
        ("code", nullable("string", "the denial code")),
        ("check", nullable("integer", "the check that denied")),
        ("check_name", nullable("string", "what that check asks")),
        ("remedy", nullable("string", "what would have to change")),
        (
            "words",
            json!({ "type": "array", "items": { "type": "string" } })
        ),
        (
            "params",
            nullable(
                "object",
                "the private parameters, where they were asked for and not erased"
            )
        ),
        (
            "record",
            json!({ "type": "object", "description": "the `decided` record, as spec/evidence.md has it" })
        ),
    ],
    &[],
));
schema!(PRINCIPALS, "Principals", || object(
    &[(
        "items",
        json!({ "type": "array", "items": object(
        &[
            ("acts_for", list(&principal())),
            ("groups", list(&json!({ "type": "string" }))),
            ("id", principal()),
            ("status", json!({ "enum": ["active", "suspended"] })),
            ("uids", list(&count())),
        ],
        &[("keys", list(&thumbprint("JWK thumbprint (RFC 7638)")))],
    ) })
    )],
    &[],
));
schema!(STATUS, "Status", || object(
    &[
        ("domain", text("name of the domain")),
        ("halted", json!({ "type": "boolean" })),
        (
            "policy",
            json!({ "oneOf": [{ "type": "null" }, object(
            &[
                ("bundle", digest("of the bundle's manifest")),
                ("name", text("its name")),
                ("revision", count()),
                ("since", index("the record that put it in force")),
            ],
            &[],
        )] })
        ),
        ("size", index("number of records")),
        ("writing", json!({ "type": "boolean" })),
    ],
    &[],
));

/// An object of exactly these members.
fn object(required: &[(&str, Value)], optional: &[(&str, Value)]) -> Value {
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

fn text(description: &str) -> Value {
    json!({ "type": "string", "description": description })
}

fn pattern(pattern: &str, description: &str) -> Value {
    json!({ "type": "string", "pattern": pattern, "description": description })
}

fn nullable(kind: &str, description: &str) -> Value {
    json!({ "type": [kind, "null"], "description": description })
}

fn list(items: &Value) -> Value {
    json!({ "type": "array", "items": items })
}

fn exec() -> Value {
    pattern("^exec_[0-9a-f]{32}$", "an execution")
}

fn principal() -> Value {
    pattern("^[a-z]{1,32}:[A-Za-z0-9._@/-]{1,96}$", "a principal")
}

fn digest(description: &str) -> Value {
    pattern("^sha256:[0-9a-f]{64}$", description)
}

fn thumbprint(description: &str) -> Value {
    pattern("^[A-Za-z0-9_-]{43}$", description)
}

fn index(description: &str) -> Value {
    json!({ "type": "integer", "minimum": 0, "description": description })
}

fn time(description: &str) -> Value {
    let description = format!("{description}; milliseconds since 1970");
    json!({ "type": "integer", "minimum": 0, "description": description })
}

fn count() -> Value {
    json!({ "type": "integer", "minimum": 0, "maximum": 9007199254740991_u64 })
}

fn byte() -> Value {
    json!({ "type": "integer", "minimum": 0, "maximum": 255 })
}

fn code() -> Value {
    let codes: Vec<&str> = placet_types::DenialCode::ALL
        .iter()
        .map(|code| code.as_str())
        .collect();
    json!({ "enum": codes })
}

fn environment() -> Value {
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
        &[(
            "weaker",
            json!({ "type": "array", "items": { "type": "string" }, "description": "what this tier does not give" }),
        )],
    )
}

fn grant() -> Value {
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
        &[],
    )
}

/// A node of the lineage.
fn node() -> Value {
    let at = || json!({ "oneOf": [{ "type": "null" }, place()] });
    object(
        &[
            (
                "status",
                json!({ "enum": ["denied", "authorized", "running", "completed", "failed", "terminated", "lapsed", "unseen"] }),
            ),
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
        &[],
    )
}

fn place() -> Value {
    object(
        &[
            ("index", index("of the record")),
            ("time", time("of the record")),
        ],
        &[],
    )
}
