//! Runs one vector: reads its input as JSON, calls the crate, says what came of it.

use placet_tlog::checkpoint::{Checkpoint, SignedCheckpoint};
use placet_tlog::hash::Hash;
use placet_tlog::note::{Note, SignatureKind, SignatureLine, VerifierKey};
use placet_tlog::policy::Policy;
use placet_tlog::proof::LogProof;
use placet_tlog::tile::{HashTile, Resource, TileId, Width, decode_entries};
use placet_tlog::tree::{ConsistencyProof, InclusionProof};
use placet_types::digest::{decode_hex, encode_hex};
use serde_json::{Value, json};

/// What a valid input gives, or why the input is not valid.
pub(crate) type Outcome = Result<Value, String>;

/// Runs an input of a section.
pub(crate) fn run(section: &str, input: &Value) -> Outcome {
    match section {
        "leaf" => leaf(input),
        "inclusion" => inclusion(input),
        "consistency" => consistency(input),
        "path" => path(input),
        "hash_tile" => hash_tile(input),
        "entry_bundle" => entry_bundle(input),
        "vkey" => vkey(input),
        "note" => note(input),
        "checkpoint" => checkpoint(input),
        "cosignature" => cosignature(input),
        "policy_file" => policy_file(input),
        "quorum" => quorum(input),
        "proof" => proof(input),
        other => panic!("unknown section {other}"),
    }
}

/// The outcome as the file states it.
pub(crate) fn outcome_json(outcome: &Outcome) -> Value {
    match outcome {
        Ok(gives) => json!({ "valid": true, "gives": gives }),
        Err(error) => json!({ "valid": false, "error": error }),
    }
}

fn leaf(input: &Value) -> Outcome {
    let stated = Hash::parse(text(input, "hash")).map_err(say)?;
    let made = Hash::leaf(&hex(input, "entry_hex"));
    if made == stated {
        Ok(json!({}))
    } else {
        Err("the entry has another leaf hash".to_owned())
    }
}

fn inclusion(input: &Value) -> Outcome {
    let proof = InclusionProof::new(hashes(input, "proof")?).map_err(say)?;
    let (leaf, root) = (hash(input, "leaf")?, hash(input, "root")?);
    proof
        .verify(&leaf, number(input, "index"), number(input, "size"), &root)
        .map_err(say)?;
    Ok(json!({}))
}

fn consistency(input: &Value) -> Outcome {
    let proof = ConsistencyProof::new(hashes(input, "proof")?).map_err(say)?;
    let (old_root, new_root) = (hash(input, "old_root")?, hash(input, "new_root")?);
    let (old, new) = (number(input, "old_size"), number(input, "new_size"));
    proof.verify(old, &old_root, new, &new_root).map_err(say)?;
    Ok(json!({}))
}

fn path(input: &Value) -> Outcome {
    let kind = |kind: &str, level: Option<u8>, index: u64, width: Width| json!({ "kind": kind, "level": level, "index": index.to_string(), "width": width.get() });
    Ok(match Resource::parse(text(input, "path")).map_err(say)? {
        Resource::Checkpoint => json!({ "kind": "checkpoint" }),
        Resource::Tile(tile) => kind("tile", Some(tile.level()), tile.index(), tile.width()),
        Resource::Entries(bundle) => kind("entries", None, bundle.index(), bundle.width()),
    })
}

fn hash_tile(input: &Value) -> Outcome {
    let id = TileId::new(0, 0, width(input)).unwrap();
    let tile = HashTile::decode(id, &hex(input, "tile_hex")).map_err(say)?;
    let hashes: Vec<String> = tile.hashes().iter().map(Hash::to_string).collect();
    Ok(json!({ "hashes": hashes }))
}

fn entry_bundle(input: &Value) -> Outcome {
    let bytes = hex(input, "bundle_hex");
    let entries = decode_entries(width(input), &bytes).map_err(say)?;
    let entries: Vec<String> = entries.iter().map(|entry| encode_hex(entry)).collect();
    Ok(json!({ "entries_hex": entries }))
}

fn vkey(input: &Value) -> Outcome {
    let key = VerifierKey::parse(text(input, "vkey")).map_err(say)?;
    let kind = match key.kind() {
        SignatureKind::Ed25519 => "ed25519",
        SignatureKind::CosignatureV1 => "cosignature/v1",
    };
    let public = encode_hex(key.public_key().as_bytes());
    let (name, id) = (key.name().as_str(), key.id().to_string());
    Ok(json!({ "name": name, "key_id": id, "kind": kind, "public_key_hex": public }))
}

fn note(input: &Value) -> Outcome {
    let keys = keys(input)?;
    let note = Note::parse(text(input, "note").as_bytes()).map_err(say)?;
    let signed = note.verify(&keys.iter().collect::<Vec<_>>()).map_err(say)?;
    let signers: Vec<String> = signed.iter().map(|s| s.key().to_string()).collect();
    Ok(json!({ "text": note.text(), "signers": signers }))
}

fn checkpoint(input: &Value) -> Outcome {
    let keys = keys(input)?;
    let signed = SignedCheckpoint::parse(text(input, "note").as_bytes()).map_err(say)?;
    let opened = signed.open(&keys.iter().collect::<Vec<_>>()).map_err(say)?;
    Ok(tree(opened.checkpoint()))
}

fn cosignature(input: &Value) -> Outcome {
    let key = VerifierKey::parse(text(input, "vkey")).map_err(say)?;
    let line = SignatureLine::parse(text(input, "line")).map_err(say)?;
    let time = key.verify(text(input, "body"), &line).map_err(say)?;
    Ok(json!({ "time": time.map(|time| time.as_unix_secs()) }))
}

fn policy_file(input: &Value) -> Outcome {
    let policy = Policy::parse(text(input, "policy").as_bytes()).map_err(say)?;
    Ok(json!({ "canonical": policy.to_string() }))
}

fn quorum(input: &Value) -> Outcome {
    let policy = Policy::parse(text(input, "policy").as_bytes()).map_err(say)?;
    let signed = SignedCheckpoint::parse(text(input, "note").as_bytes()).map_err(say)?;
    let quorum = policy.evaluate(&signed).map_err(say)?;
    let cosigned = |c: &placet_tlog::policy::Cosignature| json!({ "witness": c.witness().as_str(), "time": c.time().as_unix_secs() });
    let cosigned: Vec<Value> = quorum.cosignatures().iter().map(cosigned).collect();
    Ok(json!({ "tree": tree(quorum.checkpoint()), "cosigned": cosigned }))
}

fn proof(input: &Value) -> Outcome {
    let policy = Policy::parse(text(input, "policy").as_bytes()).map_err(say)?;
    let proof = LogProof::parse(text(input, "proof").as_bytes()).map_err(say)?;
    let leaf = Hash::leaf(&hex(input, "entry_hex"));
    let verified = proof.verify(&policy, &leaf).map_err(say)?;
    let extra = proof.unauthenticated_extra().map(encode_hex);
    let tree = tree(verified.checkpoint().checkpoint());
    Ok(json!({ "index": verified.index(), "tree": tree, "extra_hex": extra }))
}

fn tree(checkpoint: &Checkpoint) -> Value {
    json!({
        "origin": checkpoint.origin().as_str(),
        "size": checkpoint.size().to_string(),
        "root": checkpoint.root().to_string(),
    })
}

fn keys(input: &Value) -> Result<Vec<VerifierKey>, String> {
    let keys = input["keys"].as_array().unwrap().iter();
    keys.map(|key| VerifierKey::parse(key.as_str().unwrap()).map_err(say))
        .collect()
}

fn hash(input: &Value, member: &str) -> Result<Hash, String> {
    Hash::parse(text(input, member)).map_err(say)
}

fn hashes(input: &Value, member: &str) -> Result<Vec<Hash>, String> {
    let texts = input[member].as_array().unwrap().iter();
    texts
        .map(|text| Hash::parse(text.as_str().unwrap()).map_err(say))
        .collect()
}

fn width(input: &Value) -> Width {
    Width::new(u16::try_from(input["width"].as_u64().unwrap()).unwrap()).unwrap()
}

/// Numbers are decimal texts: JSON readers of other languages round large ones.
fn number(input: &Value, member: &str) -> u64 {
    text(input, member).parse().unwrap()
}

fn text<'a>(input: &'a Value, member: &str) -> &'a str {
    input[member]
        .as_str()
        .unwrap_or_else(|| panic!("no text `{member}` in {input}"))
}

fn hex(input: &Value, member: &str) -> Vec<u8> {
    decode_hex(text(input, member)).unwrap()
}

fn say(error: impl std::error::Error) -> String {
    error.to_string()
}
