//! What is written reads back, and nothing else reads.

use proptest::prelude::*;

use super::*;

fn key(dir: &tempfile::TempDir, name: &str) -> StoreKey {
    StoreKey::create(&dir.path().join(name)).unwrap()
}

fn name(text: &str) -> SecretName {
    SecretName::parse(text).unwrap()
}

fn secret(bytes: &[u8]) -> Secret {
    Secret::new(Zeroizing::new(bytes.to_vec())).unwrap()
}

/// A store of two secrets, as bytes.
fn two(key: &StoreKey) -> Vec<u8> {
    let first = Sealed::empty(key).unwrap();
    let bytes = first.with(key, name("a"), &secret(b"value of a")).unwrap();
    let first = Sealed::parse(&bytes).unwrap().open(key).unwrap();
    first.with(key, name("b"), &secret(b"value of b")).unwrap()
}

fn opened(bytes: &[u8], key: &StoreKey) -> Result<Opened, FormatError> {
    Sealed::parse(bytes)?.open(key)
}

#[test]
fn what_was_written_reads_back_and_stands_nowhere_in_the_clear() {
    let dir = tempfile::tempdir().unwrap();
    let key = key(&dir, "key");
    let bytes = two(&key);
    let store = opened(&bytes, &key).unwrap();
    assert_eq!(store.version(), 2);
    let value = store.get(&key, &name("b")).unwrap().unwrap();
    assert_eq!(value.expose(), b"value of b");
    assert!(store.get(&key, &name("c")).unwrap().is_none());
    let text = String::from_utf8_lossy(&bytes);
    assert!(!text.contains("value of"));
}

#[test]
fn every_flipped_bit_and_every_cut_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let key = key(&dir, "key");
    let bytes = two(&key);
    for at in 0..bytes.len() {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1;
        assert!(opened(&flipped, &key).is_err(), "byte {at}");
        assert!(opened(&bytes[..at], &key).is_err(), "cut at {at}");
    }
    assert!(opened(&[bytes.as_slice(), b"\0"].concat(), &key).is_err());
}

#[test]
fn entries_cannot_be_swapped_even_by_who_makes_the_seal_anew() {
    let dir = tempfile::tempdir().unwrap();
    let key = key(&dir, "key");
    let Opened(mut store) = opened(&two(&key), &key).unwrap();
    let (a, b) = (
        store.entries.remove(&name("a")).unwrap(),
        store.entries.remove(&name("b")).unwrap(),
    );
    store.entries.insert(name("a"), b);
    store.entries.insert(name("b"), a);
    let swapped = Opened(seal(&key, 2, store.entries).unwrap());
    for one in ["a", "b"] {
        let got = swapped.get(&key, &name(one));
        assert!(matches!(got, Err(FormatError::Forged(_))), "{one}");
    }
}

#[test]
fn an_older_value_of_a_secret_does_not_pass_for_its_newer_one() {
    let dir = tempfile::tempdir().unwrap();
    let key = key(&dir, "key");
    let Opened(mut store) = opened(&two(&key), &key).unwrap();
    let entry = store.entries.get_mut(&name("a")).unwrap();
    entry.version = 2;
    let renumbered = Opened(seal(&key, 2, store.entries).unwrap());
    assert!(renumbered.get(&key, &name("a")).is_err());
}

#[test]
fn another_key_opens_nothing_and_a_new_key_opens_everything() {
    let dir = tempfile::tempdir().unwrap();
    let (old, new) = (key(&dir, "old"), key(&dir, "new"));
    let bytes = two(&old);
    assert_eq!(opened(&bytes, &new).unwrap_err(), FormatError::OtherKey);
    let rekeyed = opened(&bytes, &old).unwrap().under(&old, &new).unwrap();
    assert_eq!(opened(&rekeyed, &old).unwrap_err(), FormatError::OtherKey);
    let store = opened(&rekeyed, &new).unwrap();
    assert_eq!(store.version(), 3);
    let value = store.get(&new, &name("a")).unwrap().unwrap();
    assert_eq!(value.expose(), b"value of a");
}

#[test]
fn the_same_value_is_never_encrypted_alike() {
    let dir = tempfile::tempdir().unwrap();
    let key = key(&dir, "key");
    let once = || {
        let store = Sealed::empty(&key).unwrap();
        store.with(&key, name("a"), &secret(b"v")).unwrap()
    };
    assert_ne!(once(), once());
}

proptest! {
    #[test]
    fn what_the_decoder_takes_it_writes_again_to_the_byte(
        bytes in prop::collection::vec(any::<u8>(), 0..512),
        count in 0_u8..2,
    ) {
        let header = [MAGIC.as_slice(), &[7; 16], &[0; 8], &[0, 0, 0, count]].concat();
        for bytes in [bytes.clone(), [header, bytes].concat()] {
            if let Ok(store) = Sealed::parse(&bytes) {
                prop_assert_eq!(store.to_bytes(), bytes);
            }
        }
    }
}
