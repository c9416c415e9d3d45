//! Shapes of attestations and their appraisal.

use serde_json::{Value, json};

use super::Schema;
use super::parts::{count, environment, list, object, pattern, text, time};

schema!(NONCE, "AttestationNonce", || object(
    &[
        ("domain", text("the domain to which it is attested")),
        (
            "measures_gateways",
            json!({ "type": "boolean", "description": "whether the bundle in force looks at the digest of the gateway's program" })
        ),
        ("nonce", nonce()),
    ],
    &[],
));
schema!(PRESENTED, "PresentedEnvironment", || object(
    &[("environment", environment())],
    &[("attestation", attestation())],
));
schema!(APPRAISED, "AppraisedEnvironment", || object(
    &[
        ("age_max_secs", count()),
        ("appraisal", appraisal()),
        ("reasons", list(&text("what does not hold"))),
        (
            "trusted",
            json!({ "type": "boolean", "description": "whether anything could be permitted in it" })
        ),
    ],
    &[],
));

fn nonce() -> Value {
    pattern(
        "^[A-Za-z0-9_-]{54}$",
        "40 bytes that the node made, in base64url",
    )
}

/// What a gateway signed, beside the environment that it is about.
pub(super) fn attestation() -> Value {
    let part = || pattern("^[A-Za-z0-9_-]{2,1366}$", "1 to 1024 bytes in base64url");
    let quote = object(
        &[("key", part()), ("quoted", part()), ("signature", part())],
        &[],
    );
    object(
        &[
            (
                "backing",
                json!({
                    "description": "what stands behind the claims; a quote is read and refused by this version",
                    "oneOf": [{ "const": "self_reported" }, object(&[("tpm_quote", quote)], &[])],
                }),
            ),
            ("issued", time("when, by the gateway's clock")),
            (
                "key",
                pattern(
                    "^[A-Za-z0-9+/]{43}=$",
                    "the gateway's own key, which is the holder's",
                ),
            ),
            ("nonce", nonce()),
            (
                "signature",
                text("of the key, in base64, over the canonical statement (spec/attestation.md)"),
            ),
        ],
        &[],
    )
}

/// What the work rests on that its gateway attested, and how long that counts.
pub(super) fn attested() -> Value {
    object(&[("appraisal", appraisal()), ("left_ms", count())], &[])
}

fn appraisal() -> Value {
    let claims = || {
        json!({ "type": "array", "items": { "enum": [
            "architecture", "container", "distribution", "executable", "gateway", "gateway_version",
            "kernel", "landlock", "machine", "region", "tier", "zone",
        ] } })
    };
    object(
        &[
            ("affirming", claims()),
            ("contraindicated", claims()),
            (
                "status",
                json!({ "enum": ["none", "contraindicated", "warning", "affirming"] }),
            ),
            ("warning", claims()),
        ],
        &[("age_secs", count())],
    )
}
