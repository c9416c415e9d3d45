//! Shapes of what is taken and given, as JSON Schema 2020-12, which OpenAPI 3.1 uses.
//!
//! Written beside the types that they describe rather than derived from them: most of these types
//! belong to crates that know nothing of HTTP. The tests of the HTTP interface hold every reply of a real
//! server that they look at to them (`placet/tests/http/shapes.rs`).

mod parts;

pub(crate) mod authzen;

use serde_json::{Value, json};

use parts::*;

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

mod console;
pub(crate) mod environment;
pub(crate) mod lifecycle;

pub(crate) use console::{
    AWAY, CAME_BACK, CHECKS, ENDED_SESSION, EXPORT, LINK, PLAYED, POLICY_SOURCE, PROOF_BUNDLE,
    PROVIDER, SCENES, SESSION, SHAPE,
};

schema!(ANY, "Any", || json!({ "type": "object" }));
schema!(NOTHING, "Nothing", || object(&[], &[]));
schema!(HEALTH, "Health", || object(
    &[("status", json!({ "const": "ok" }))],
    &[(
        "certificates",
        json!({
            "const": "stale",
            "description": "changed certificates or trust bundles do not read; those from before are in force"
        })
    )]
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
        ("attestation", environment::attestation()),
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
schema!(DEFERRAL, "Deferral", || object(
    &[
        ("decision", json!({ "const": "defer" })),
        ("exec", exec()),
        ("index", index("the decision")),
        (
            "intent",
            json!({ "type": "object", "description": "the canonical intent" })
        ),
        (
            "salt",
            thumbprint(
                "what hides the parameters; the same intent sent again with it is decided by what was said of it"
            )
        ),
        ("waiting", waiting()),
    ],
    &[],
));
schema!(ACT_DEFERRAL, "ActDeferral", || object(
    &[
        ("decision", json!({ "const": "defer" })),
        ("exec", exec()),
        ("index", index("the decision")),
        ("waiting", waiting()),
    ],
    &[],
));
schema!(APPROVALS, "Approvals", || object(
    &[("items", list(&approval()))],
    &[]
));
schema!(APPROVAL, "Approval", approval);
schema!(SAID, "ApproversAct", || object(
    &[
        ("by", principal()),
        (
            "key",
            pattern(
                "^[A-Za-z0-9+/]{43}=$",
                "the approver's own Ed25519 key in base64, registered with the principal"
            )
        ),
        (
            "signature",
            pattern(
                "^[A-Za-z0-9+/]{86}==$",
                "over the DSSE encoding of the statement, see spec/http.md"
            )
        ),
        ("verdict", json!({ "enum": ["approve", "reject"] })),
    ],
    &[(
        "reason",
        json!({ "type": "string", "maxLength": 1024, "description": "public" })
    )],
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
schema!(RENEW, "Renew", || object(
    &[],
    &[
        ("attestation", environment::attestation()),
        ("environment", parts::environment()),
    ],
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
    &[("attested", environment::attested())],
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
            json!({ "const": "everything" }),
            object(&[("execution", exec())], &[]),
            object(&[("group", json!({ "type": "string", "minLength": 1, "maxLength": 128 }))], &[]),
            object(&[("node", digest("of the machine, as environments name it"))], &[]),
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
schema!(RESUMPTION, "Resumption", || object(
    &[(
        "reason",
        json!({ "type": "string", "maxLength": 1024, "description": "public" })
    )],
    &[(
        "node",
        digest("of a machine that was revoked: only it is resumed")
    )],
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
            &[("attested", environment::attested())],
        )] })
        ),
        (
            "remedy",
            nullable(
                "string",
                "what would have to change, where it was denied or its authority ended"
            )
        ),
    ],
    &[],
));
schema!(DECISION, "Decision", || object(
    &[
        ("index", index("where it stands")),
        ("decision", json!({ "enum": ["permit", "deny", "defer"] })),
        (
            "waiting",
            json!({ "oneOf": [{ "type": "null" }, waiting()] })
        ),
        ("code", nullable("string", "the denial code")),
        ("check", nullable("integer", "the check that denied")),
        ("check_name", nullable("string", "what that check asks")),
        ("remedy", nullable("string", "what would have to change")),
        (
            "words",
            json!({ "type": "array", "items": { "type": "string" } })
        ),
        (
            "waiting",
            nullable("object", "whose approval it waits for, and until when")
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
schema!(POLICIES, "Policies", || object(
    &[
        ("bundle", digest("of the bundle in force")),
        ("items", list(&policy(false))),
    ],
    &[],
));
schema!(POLICY, "Policy", || policy(true));
schema!(TESTS, "PolicyTests", || object(
    &[
        ("bundle", digest("of the bundle in force")),
        ("covered", list(&text("a policy that determined an answer"))),
        ("passed", json!({ "type": "boolean" })),
        (
            "results",
            list(&object(
                &[
                    ("command", text("what was asked")),
                    (
                        "failure",
                        nullable("string", "what differs from what was expected")
                    ),
                    ("file", text("where the test stands")),
                    ("line", count()),
                    ("name", text("of the test")),
                ],
                &[],
            ))
        ),
        ("uncovered", list(&text("a policy that determined none"))),
    ],
    &[],
));
schema!(BUNDLE, "Bundle", || object(
    &[
        (
            "archive",
            text("the bundle in its single-file form, spec/policy.md")
        ),
        ("bundle", digest("of its manifest")),
    ],
    &[],
));
schema!(OFFERED, "OfferedBundle", || object(
    &[(
        "archive",
        text("the bundle in its single-file form, spec/policy.md")
    )],
    &[(
        "bundle",
        digest("of its manifest; it is checked where it is said")
    )],
));
schema!(DIFFERENCE, "Difference", || {
    let named = || json!({ "type": "object", "additionalProperties": { "type": "string" } });
    object(
        &[
            ("added", list(&text("a policy"))),
            ("bundle", digest("of the bundle that was looked at")),
            ("changed", named()),
            ("members", named()),
            ("name", text("its name")),
            ("removed", list(&text("a policy"))),
            ("revision", count()),
            ("same", json!({ "type": "boolean" })),
            ("words", text("all of it, for people")),
        ],
        &[],
    )
});
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
        (
            "revoked_nodes",
            list(&digest("of a machine that is turned away"))
        ),
        ("size", index("number of records")),
        ("writing", json!({ "type": "boolean" })),
    ],
    &[],
));
