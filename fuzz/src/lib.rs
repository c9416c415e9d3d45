//! Fuzz targets, one for each decoder that meets bytes from outside.
//!
//! A target takes any bytes. It returns whether the decoder accepted them, and panics when an
//! accepted input breaks a promise: mostly that there is one spelling, so what was read is written
//! again to the byte. Not a harness: `src/bin/fuzz.rs` hands the targets to libFuzzer.

#![forbid(unsafe_code)]

mod targets;

use targets::{artifact, authority, egress, evidence, log, mcp, policy, secrets, types};

/// A target: whether the decoder accepted the bytes.
pub type Target = fn(&[u8]) -> bool;

/// Every target by name. A name is also that of its seed corpus, `corpus/<name>/`.
pub const TARGETS: &[(&str, Target)] = &[
    ("json", types::json),
    ("intent", types::intent),
    ("process_params", types::process_params),
    ("scope", types::scope),
    ("path_set", types::path_set),
    ("peer_rule", types::peer_rule),
    ("public_key", types::public_key),
    ("note", log::note),
    ("vkey", log::vkey),
    ("checkpoint", log::checkpoint),
    ("checkpoint_body", log::checkpoint_body),
    ("log_proof", log::log_proof),
    ("log_policy", log::log_policy),
    ("tile_path", log::tile_path),
    ("hash_tile", log::hash_tile),
    ("entry_bundle", log::entry_bundle),
    ("dsse", artifact::dsse),
    ("jws", artifact::jws),
    ("claims", artifact::claims),
    ("artifact", artifact::artifact),
    ("thumbprint", artifact::thumbprint),
    ("receipt", artifact::receipt),
    ("entry", evidence::entry),
    ("attestation", evidence::attestation),
    ("connections", evidence::connections),
    ("proof_bundle", evidence::proof_bundle),
    ("verify_bundle", evidence::verify_bundle),
    ("wire_request", authority::wire_request),
    ("wire_response", authority::wire_response),
    ("secrets_store", secrets::store),
    ("http_head", egress::http_head),
    ("chunked_body", egress::chunked_body),
    ("socks", egress::socks),
    ("dns_question", egress::dns_question),
    ("mcp_frame", mcp::frame),
    ("mcp_members", mcp::frame_members),
    ("policy_archive", policy::archive),
    ("policy_member", policy::member),
];

/// The target of this name.
#[must_use]
pub fn target(name: &str) -> Option<Target> {
    TARGETS
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, target)| *target)
}
