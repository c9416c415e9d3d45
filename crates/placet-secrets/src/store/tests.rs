//! Which state counts, whatever a crash or somebody else left behind.

use std::os::unix::fs::PermissionsExt as _;

use super::*;

struct Kept {
    dir: tempfile::TempDir,
    store: Store,
}

fn kept() -> Kept {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::new(StorePaths {
        store: dir.path().join("secrets.sealed"),
        key: dir.path().join("secrets.key"),
    });
    Kept { dir, store }
}

fn name(text: &str) -> SecretName {
    SecretName::parse(text).unwrap()
}

fn set(text: &str, value: &str) -> Change {
    let value = Secret::new(Zeroizing::new(value.as_bytes().to_vec())).unwrap();
    Change::Set(name(text), value)
}

impl Kept {
    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Makes a change that counts.
    fn change(&self, version: u64, change: Change) {
        let pending = self.store.prepare(version, change).unwrap();
        assert_eq!(pending.version(), version + 1);
        self.store.commit(pending).unwrap();
    }

    fn value(&self, version: u64, text: &str) -> Result<String, StoreError> {
        let name = name(text);
        let values = self.store.get(version, [&name])?;
        let [(_, value)] = values.as_slice() else {
            panic!("one was asked for");
        };
        Ok(String::from_utf8(value.expose().to_vec()).unwrap())
    }
}

#[test]
fn secrets_are_set_changed_and_removed() {
    let kept = kept();
    kept.store.verify(0).unwrap();
    kept.change(0, set("a", "one"));
    kept.change(1, set("b", "two"));
    kept.change(2, set("a", "three"));
    assert_eq!(kept.value(3, "a").unwrap(), "three");
    kept.change(3, Change::Remove(name("a")));
    assert!(matches!(kept.value(4, "a"), Err(StoreError::Unknown(_))));
    assert_eq!(kept.value(4, "b").unwrap(), "two");
    let missing = kept.store.prepare(4, Change::Remove(name("a")));
    assert!(matches!(missing, Err(StoreError::Unknown(_))));
}

#[test]
fn a_crash_leaves_the_old_value_or_the_new_one_as_the_version_says() {
    for (recorded, expected) in [(1, "old"), (2, "new")] {
        let kept = kept();
        kept.change(0, set("a", "old"));
        // Killed after the next state was written.
        let _pending = kept.store.prepare(1, set("a", "new")).unwrap();
        kept.store.settle(recorded).unwrap();
        assert_eq!(kept.value(recorded, "a").unwrap(), expected);
        assert!(!kept.path("secrets.next").exists());
    }
}

#[test]
fn a_crash_while_the_key_changes_leaves_one_key_that_fits() {
    // How far it got: nothing committed; the store renamed; all done.
    for (recorded, steps) in [(1, 0), (2, 0), (2, 1), (2, 2)] {
        let kept = kept();
        kept.change(0, set("a", "value"));
        let pending = kept.store.prepare(1, Change::Rekey).unwrap();
        match steps {
            0 => {}
            1 => rename(&kept.store.next_store(), &kept.store.paths.store).unwrap(),
            _ => kept.store.commit(pending).unwrap(),
        }
        kept.store.settle(recorded).unwrap();
        assert_eq!(kept.value(recorded, "a").unwrap(), "value", "{steps}");
        assert!(!kept.store.next_key().exists(), "{steps}");
        kept.change(recorded, Change::Rekey);
        assert_eq!(kept.value(recorded + 1, "a").unwrap(), "value");
    }
}

#[test]
fn a_store_that_was_put_back_is_refused() {
    let kept = kept();
    kept.change(0, set("a", "one"));
    let old = fs::read(kept.path("secrets.sealed")).unwrap();
    kept.change(1, set("a", "two"));
    fs::write(kept.path("secrets.sealed"), old).unwrap();
    let refused = kept.value(2, "a").unwrap_err();
    let version = matches!(
        refused,
        StoreError::Version {
            expected: 2,
            found: 1
        }
    );
    assert!(version, "{refused}");
    let changed = kept.store.prepare(2, set("a", "three")).unwrap_err();
    assert!(matches!(changed, StoreError::Version { .. }), "{changed}");
    fs::remove_file(kept.path("secrets.sealed")).unwrap();
    assert!(kept.store.verify(2).is_err());
}

#[test]
fn a_planted_next_state_does_not_count() {
    let kept = kept();
    kept.change(0, set("a", "one"));
    fs::write(kept.path("secrets.next"), b"placet-secrets-v1\nnonsense").unwrap();
    kept.store.settle(1).unwrap();
    assert_eq!(kept.value(1, "a").unwrap(), "one");
}

#[test]
fn a_key_that_others_can_read_is_not_used() {
    let kept = kept();
    kept.change(0, set("a", "one"));
    let key = kept.path("secrets.key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).unwrap();
    let refused = kept.value(1, "a").unwrap_err();
    assert!(
        matches!(refused, StoreError::Key(KeyError::Open { .. })),
        "{refused}"
    );
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    let moved = kept.path("moved");
    fs::rename(&key, &moved).unwrap();
    std::os::unix::fs::symlink(&moved, &key).unwrap();
    assert!(kept.value(1, "a").is_err());
    fs::remove_file(&key).unwrap();
    let lost = kept.value(1, "a").unwrap_err();
    assert!(
        matches!(lost, StoreError::Key(KeyError::Missing(_))),
        "{lost}"
    );
    // A store that holds something is never given another key.
    assert!(kept.store.prepare(1, set("a", "two")).is_err());
}

#[test]
fn there_are_at_most_a_thousand() {
    let kept = kept();
    let key = StoreKey::create(&kept.path("secrets.key")).unwrap();
    let mut bytes = Sealed::empty(&key).unwrap();
    let value = Secret::new(Zeroizing::new(vec![1])).unwrap();
    for at in 0..COUNT_MAX {
        let next = bytes.with(&key, name(&format!("n{at}")), &value).unwrap();
        bytes = Sealed::parse(&next).unwrap().open(&key).unwrap();
        if at + 1 == COUNT_MAX {
            fs::write(kept.path("secrets.sealed"), next).unwrap();
        }
    }
    let full = kept.store.prepare(1000, set("another", "x")).unwrap_err();
    assert!(matches!(full, StoreError::Full), "{full}");
    kept.change(1000, set("n7", "changed"));
    assert_eq!(kept.value(1001, "n7").unwrap(), "changed");
}
