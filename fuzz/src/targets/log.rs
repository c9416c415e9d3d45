//! `placet-tlog`: the formats of the log. Each text has one spelling, so it is printed again.

use placet_tlog::note::SignatureLine;
use placet_tlog::tile::{HashTile, Resource, TileId, Width, decode_entries, push_entry};
use placet_tlog::{Checkpoint, LogProof, Note, Policy, SignedCheckpoint, VerifierKey};

pub(crate) fn note(data: &[u8]) -> bool {
    let Ok(note) = Note::parse(data) else {
        return false;
    };
    assert_eq!(note.to_string().as_bytes(), data);
    for line in note.signatures() {
        assert_eq!(SignatureLine::parse(&line.to_string()).as_ref(), Ok(line));
    }
    true
}

pub(crate) fn vkey(data: &[u8]) -> bool {
    let Some(key) = text(data).and_then(|text| VerifierKey::parse(text).ok()) else {
        return false;
    };
    assert_eq!(key.to_string().as_bytes(), data);
    true
}

pub(crate) fn checkpoint(data: &[u8]) -> bool {
    let Ok(checkpoint) = SignedCheckpoint::parse(data) else {
        return false;
    };
    assert_eq!(checkpoint.to_string().as_bytes(), data);
    assert!(Note::parse(data).is_ok(), "a checkpoint that is no note");
    true
}

pub(crate) fn checkpoint_body(data: &[u8]) -> bool {
    let Some(body) = text(data).and_then(|text| Checkpoint::parse_body(text).ok()) else {
        return false;
    };
    assert_eq!(body.body().as_bytes(), data);
    true
}

pub(crate) fn log_proof(data: &[u8]) -> bool {
    let Ok(proof) = LogProof::parse(data) else {
        return false;
    };
    assert_eq!(proof.to_string().as_bytes(), data);
    true
}

/// A policy file may have comments, so it is compared as read, not as written.
pub(crate) fn log_policy(data: &[u8]) -> bool {
    let Ok(policy) = Policy::parse(data) else {
        return false;
    };
    assert_eq!(
        Policy::parse(policy.to_string().as_bytes()).as_ref(),
        Ok(&policy)
    );
    true
}

pub(crate) fn tile_path(data: &[u8]) -> bool {
    let Some(found) = text(data).and_then(|text| Resource::parse(text).ok()) else {
        return false;
    };
    assert_eq!(found.to_string().as_bytes(), data);
    true
}

/// A byte for the level, one for the width less one, then the tile.
pub(crate) fn hash_tile(data: &[u8]) -> bool {
    let [level, width, tile @ ..] = data else {
        return false;
    };
    let id = Width::new(u16::from(*width) + 1).and_then(|width| TileId::new(*level, 0, width));
    let Some(read) = id.and_then(|id| HashTile::decode(id, tile).ok()) else {
        return false;
    };
    assert_eq!(read.encode(), tile);
    true
}

/// A byte for the width less one, then the bundle.
pub(crate) fn entry_bundle(data: &[u8]) -> bool {
    let [width, bundle @ ..] = data else {
        return false;
    };
    let Some(width) = Width::new(u16::from(*width) + 1) else {
        return false;
    };
    let Ok(entries) = decode_entries(width, bundle) else {
        return false;
    };
    assert_eq!(entries.len(), usize::from(width.get()));
    let mut again = Vec::new();
    for entry in entries {
        push_entry(&mut again, entry).unwrap();
    }
    assert_eq!(again, bundle);
    true
}

fn text(data: &[u8]) -> Option<&str> {
    std::str::from_utf8(data).ok()
}
