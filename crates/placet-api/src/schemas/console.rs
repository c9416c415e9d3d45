//! Shapes of what a browser needs beside the rest: sessions, links, proof bundles, the policy's source.

use serde_json::{Value, json};

use super::Schema;
use super::parts::{
    digest, index, list, nullable, object, principal, status, text, thumbprint, time,
};

schema!(SESSION, "Session", || object(
    &[
        (
            "demo",
            json!({ "type": "boolean", "description": "whether scenes can be played here" })
        ),
        ("domain", text("name of the domain")),
        (
            "identity",
            json!({ "enum": ["public", "unix", "key", "session", "provider", "certificate", "token"], "description": "how it was proven" })
        ),
        (
            "key",
            nullable("string", "thumbprint of the key that proves the requests")
        ),
        (
            "logins",
            list(&object(
                &[
                    ("issuer", text("for the request that begins a sign-in")),
                    ("name", text("for people")),
                ],
                &[]
            ))
        ),
        ("metrics_public", json!({ "type": "boolean" })),
        ("now", time("the node's clock")),
        (
            "principals",
            list(&object(
                &[
                    ("groups", list(&json!({ "type": "string" }))),
                    ("id", principal()),
                    (
                        "signs",
                        json!({ "type": "boolean", "description": "whether this key is registered with it, and can sign approvals" })
                    ),
                ],
                &[]
            ))
        ),
        ("public", json!({ "type": "boolean" })),
        (
            "role",
            json!({ "enum": ["operator", "auditor", "approver", "member", "public"] })
        ),
        ("until", nullable("integer", "when the session is over")),
    ],
    &[],
));
schema!(CHECKS, "LogChecks", || object(
    &[("fsck", check()), ("replay", check())],
    &[],
));
schema!(PROVIDER, "ProviderSignIn", || object(
    &[(
        "issuer",
        text("of an identity provider, as the session names it")
    )],
    &[],
));
schema!(AWAY, "ProviderAddress", || object(
    &[("url", text("where the browser goes"))],
    &[],
));
schema!(ENDED_SESSION, "EndedSession", || object(
    &[(
        "url",
        nullable(
            "string",
            "where to sign out at the identity provider, too; null where that is not wanted or not possible"
        )
    )],
    &[],
));
schema!(CAME_BACK, "ProviderCode", || object(
    &[
        ("code", text("of the identity provider")),
        ("state", text("as it went out")),
    ],
    &[("iss", text("who answered, where the answer says so"))],
));
schema!(LINK, "SignInLink", || object(
    &[
        (
            "built",
            json!({ "type": "boolean", "description": "whether the console is part of this program" })
        ),
        ("token", thumbprint("counts once")),
        ("until", time("it can be redeemed before")),
        (
            "url",
            nullable(
                "string",
                "where to open it; null where nothing listens on TCP"
            )
        ),
    ],
    &[],
));
schema!(PROOF_BUNDLE, "ProofBundle", || object(
    &[
        ("format", json!({ "const": "placet-proof-bundle/v1" })),
        ("genesis", proven()),
        (
            "policy",
            text("the domain's public policy file, for reading")
        ),
        ("record", proven()),
    ],
    &[
        ("artifact", text("for a permit")),
        (
            "disclosed",
            object(
                &[
                    ("params", text("canonical JSON")),
                    ("salt", text("what hid them"))
                ],
                &[]
            )
        ),
        ("related", list(&proven())),
    ],
));
schema!(POLICY_SOURCE, "PolicySource", || object(
    &[
        ("bundle", digest("of the bundle's manifest")),
        (
            "items",
            list(&object(
                &[
                    ("path", text("within the bundle")),
                    ("text", text("of the member"))
                ],
                &[]
            ))
        ),
    ],
    &[],
));

schema!(SCENES, "DemoScenes", || object(
    &[(
        "items",
        list(&object(
            &[
                (
                    "breaks",
                    json!({ "type": "boolean", "description": "an attempt to break something" })
                ),
                ("command", list(&json!({ "type": "string" }))),
                ("name", text("for the request that plays it")),
                (
                    "stays",
                    json!({ "type": "boolean", "description": "goes on until somebody ends it" })
                ),
                ("title", text("for people")),
                ("words", text("what to look at")),
            ],
            &[]
        ))
    )],
    &[],
));
schema!(SHAPE, "LineageShape", || object(
    &[(
        "items",
        list(&object(
            &[
                ("index", index("the record of its decision")),
                ("status", status()),
            ],
            &[
                ("ended", index("the record of its end")),
                ("parent", index("the record of its parent's decision")),
            ],
        ))
    )],
    &[("next", index("the cursor of the next page"))],
));
schema!(EXPORT, "LineageExport", || json!({
    "type": ["object", "array"], "description": "as the format has it",
}));
schema!(PLAYED, "DemoPlayed", || object(
    &[
        ("exec", nullable("string", "the execution that it is about")),
        ("from", index("the first record that it wrote")),
        (
            "index",
            nullable(
                "integer",
                "the record of what was refused, or the first that was found damaged"
            )
        ),
        (
            "refused",
            json!({
                "type": ["array", "null"], "items": { "type": "string" },
                "description": "the denial code, and the step of verification",
            })
        ),
        ("said", text("the last of what its program said")),
        (
            "status",
            nullable("integer", "how its program ended, as a shell says it")
        ),
    ],
    &[],
));

fn proven() -> Value {
    object(
        &[
            ("entry", text("the log entry, to the byte")),
            ("proof", text("its C2SP tlog-proof")),
        ],
        &[],
    )
}

/// How it stands with one check of the log.
fn check() -> Value {
    let last = object(
        &[
            ("began", time("when it began")),
            ("ended", time("when it was over")),
            (
                "finding",
                json!({ "enum": ["sound", "remark", "damaged", "unread"], "description": "remark: what can be computed again, or cannot be told any more" }),
            ),
            ("records", index("records that were looked at, from 0 on")),
        ],
        &[
            ("detail", text("what is amiss")),
            ("index", index("the first record that is amiss")),
        ],
    );
    let running = object(
        &[
            ("began", time("when it began")),
            ("of", index("records that there were then")),
            ("records", index("records that were looked at so far")),
        ],
        &[],
    );
    object(
        &[
            (
                "due",
                nullable("integer", "when it begins next, where it begins by itself"),
            ),
            ("last", json!({ "oneOf": [{ "type": "null" }, last] })),
            ("running", json!({ "oneOf": [{ "type": "null" }, running] })),
        ],
        &[],
    )
}
