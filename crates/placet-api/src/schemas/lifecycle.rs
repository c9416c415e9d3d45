//! Shapes of the life of bundles: beside the one in force, over the recorded past, in use.

use serde_json::{Value, json};

use super::Schema;
use super::parts::{
    code, count, digest, exec, index, list, nullable, object, principal, text, time,
};

schema!(SHADOW, "Shadow", || object(
    &[(
        "shadow",
        json!({ "oneOf": [{ "type": "null" }, object(
            &[
                ("bundle", digest("of the bundle's manifest")),
                ("found", supposed()),
                ("from", index("decisions are counted from this record on")),
                ("name", text("its name")),
                ("revision", count()),
                ("since", index("the record since which it is decided beside the one in force")),
                ("size", index("number of records; those from found.through on were not looked at yet")),
            ],
            &[("problem", text("why nothing is found"))],
        )] })
    )],
    &[],
));
schema!(SHADOW_BUNDLE, "ShadowBundle", || object(
    &bundle(),
    &[("reason", reason())],
));
schema!(REPLAY, "Replay", || object(
    &[("archive", text("the bundle in its single-file form"))],
    &[
        (
            "bundle",
            digest("of its manifest; it is checked where it is said")
        ),
        ("from", index("only decisions from this record on")),
        ("since", time("only decisions from then on")),
    ],
));
schema!(SUPPOSED, "Supposed", supposed);
schema!(ACTIVATIONS, "Activations", || object(
    &[(
        "items",
        list(&object(
            &[
                ("bundle", digest("of the bundle's manifest")),
                ("by", principal()),
                ("index", index("the record")),
                ("name", text("its name")),
                ("revision", count()),
                ("signers", list(&text("an operator's key"))),
                ("time", time("when")),
            ],
            &[],
        ))
    )],
    &[],
));
schema!(COVERAGE, "PolicyCoverage", || object(
    &[
        ("bundle", digest("of the bundle in force")),
        ("decisions", count()),
        (
            "items",
            list(&object(
                &[
                    ("decisions", count()),
                    ("id", text("of the policy")),
                    (
                        "last",
                        nullable("integer", "the latest record that it determined")
                    ),
                ],
                &[],
            ))
        ),
    ],
    &[],
));
schema!(NODES, "PolicyNodes", || object(
    &[
        (
            "gateways",
            list(&object(
                &[
                    ("authorized", count()),
                    ("bundle", digest("of the bundle that permitted them")),
                    ("gateway", text("its name")),
                    (
                        "machine",
                        digest("of the domain's name and the machine's id")
                    ),
                    ("running", count()),
                    ("since", index("the first of them was decided there")),
                ],
                &[
                    (
                        "appraisal",
                        json!({ "enum": ["none", "contraindicated", "warning", "affirming"],
                            "description": "the lowest that its executions are appraised as now; absent where it did not attest" })
                    ),
                    ("attested_secs", count()),
                ],
            ))
        ),
        (
            "nodes",
            list(&object(
                &[
                    (
                        "bundle",
                        nullable("string", "digest of the bundle that it decides with")
                    ),
                    ("index", index("number of records that it has folded")),
                    ("node", text("its record key")),
                    ("revision", nullable("integer", "of the bundle")),
                    (
                        "since",
                        nullable("integer", "the record that put it in force")
                    ),
                    (
                        "usable",
                        json!({ "type": "boolean", "description": "whether the bundle compiles there; where not, everything is denied" })
                    ),
                ],
                &[],
            ))
        ),
    ],
    &[],
));

fn bundle() -> [(&'static str, Value); 2] {
    [
        ("archive", text("the bundle in its single-file form")),
        ("bundle", digest("of its manifest")),
    ]
}

fn reason() -> Value {
    json!({ "type": "string", "maxLength": 1024, "description": "why; public" })
}

fn supposed() -> Value {
    let difference = object(
        &[
            ("action", text("for what")),
            ("index", index("the decision")),
            ("principal", principal()),
            ("resource", text("on what")),
            ("was", brief()),
            ("would_be", brief()),
        ],
        // Absent where somebody only asked a question.
        &[("exec", exec())],
    );
    object(
        &[
            ("closed", count()),
            (
                "complete",
                json!({ "type": "boolean", "description": "whether everything was looked at" }),
            ),
            ("decisions", count()),
            ("different", count()),
            ("listed", list(&difference)),
            ("opened", count()),
            ("same", count()),
            (
                "through",
                index("the record after the last one that was looked at"),
            ),
            ("unknown", count()),
        ],
        &[],
    )
}

/// A decision in a few words.
fn brief() -> Value {
    object(
        &[
            ("outcome", json!({ "enum": ["permit", "deny", "defer"] })),
            ("policies", list(&text("a policy that determined it"))),
        ],
        &[
            ("code", code()),
            ("not_after", time("end of the window of a permit")),
            ("profile", text("of a permit")),
            ("reason", text("what failed; or whom it waits for")),
            ("scope", digest("of the scope of a permit")),
        ],
    )
}
