//! What a file is as a program image: its digest and its ELF form, remembered for a while.
//!
//! A memory of facts is only as good as its key. Device, inode, size and both times change with
//! every change of contents, except within one tick of the kernel's clock: so only a file that
//! was last changed some ticks before it was read is remembered.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::{Mutex, PoisonError};

use sha2::{Digest, Sha256};

use super::{ImageDigest, Refusal};
use crate::digests::{Digests, is_settled};
use crate::elf::{self, Shape};
use crate::spec::FileIdentity;

/// Digest and form of one state of one file.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    pub(super) digest: ImageDigest,
    pub(super) shape: Shape,
}

/// Files remembered by this process, for all its trees.
const MEMORY_MAX: usize = 4096;
/// Larger images are refused: somebody would wait for seconds.
const IMAGE_BYTES_MAX: u64 = 1 << 30;
const CHUNK_BYTES: usize = 256 << 10;

static MEMORY: Mutex<Option<HashMap<FileIdentity, Facts>>> = Mutex::new(None);

/// The facts about an open file in this state. `alive` says whether anybody still needs them; `kept` are the digests that
/// earlier processes have computed, for a file that nobody in the tree can change.
///
/// # Errors
/// [`Refusal::Unreadable`], [`Refusal::Changed`] or [`Refusal::TooLarge`].
pub(super) fn of(
    file: &File,
    identity: FileIdentity,
    alive: &dyn Fn() -> bool,
    kept: Option<&Digests>,
) -> Result<Facts, Refusal> {
    if let Some(facts) = recall(&identity) {
        return Ok(facts);
    }
    if identity.size > IMAGE_BYTES_MAX {
        return Err(Refusal::TooLarge);
    }
    let settled = is_settled(&identity);
    let known = kept.and_then(|kept| kept.recall(&identity));
    let facts = Facts {
        digest: known.map_or_else(|| digest(file, alive), Ok)?,
        shape: elf::shape(file).map_err(|_| Refusal::Unreadable)?,
    };
    let metadata = file.metadata().map_err(|_| Refusal::Unreadable)?;
    if FileIdentity::of_metadata(&metadata) != identity {
        return Err(Refusal::Changed);
    }
    if settled {
        if let Some(kept) = kept.filter(|_| known.is_none()) {
            kept.remember(&identity, facts.digest);
        }
        remember(identity, facts.clone());
    }
    Ok(facts)
}

fn recall(identity: &FileIdentity) -> Option<Facts> {
    let memory = MEMORY.lock().unwrap_or_else(PoisonError::into_inner);
    memory.as_ref()?.get(identity).cloned()
}

fn remember(identity: FileIdentity, facts: Facts) {
    let mut memory = MEMORY.lock().unwrap_or_else(PoisonError::into_inner);
    let memory = memory.get_or_insert_default();
    if memory.len() >= MEMORY_MAX {
        memory.clear();
    }
    memory.insert(identity, facts);
}

fn digest(file: &File, alive: &dyn Fn() -> bool) -> Result<ImageDigest, Refusal> {
    let mut hash = Sha256::new();
    let mut chunk = vec![0u8; CHUNK_BYTES];
    let mut at = 0u64;
    loop {
        let read = match file.read_at(&mut chunk, at) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            read => read.map_err(|_| Refusal::Unreadable)?,
        };
        let Some(bytes) = chunk.get(..read).filter(|bytes| !bytes.is_empty()) else {
            return Ok(ImageDigest(hash.finalize().into()));
        };
        hash.update(bytes);
        at = at.saturating_add(bytes.len() as u64);
        if at > IMAGE_BYTES_MAX {
            return Err(Refusal::TooLarge);
        }
        if !alive() {
            return Err(Refusal::Unreadable);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;

    fn facts_of(file: &File) -> Result<Facts, Refusal> {
        let identity = FileIdentity::of_metadata(&file.metadata().unwrap());
        of(file, identity, &|| true, None)
    }

    #[test]
    fn the_digest_is_that_of_the_contents() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "abc").unwrap();
        let facts = facts_of(&File::open(file.path()).unwrap()).unwrap();
        // FIPS 180-2, appendix B.1.
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(facts.digest.to_string(), abc);
        assert_eq!(facts.shape, Shape::Foreign);
    }

    #[test]
    fn a_file_that_has_just_changed_is_not_remembered() {
        let file = tempfile::NamedTempFile::new().unwrap();
        // What an attacker would do: the same size and modification time, within one tick.
        let then = SystemTime::UNIX_EPOCH + Duration::from_secs(1);
        for content in ["first", "other"] {
            std::fs::write(file.path(), content).unwrap();
            file.as_file().set_modified(then).unwrap();
            let open = File::open(file.path()).unwrap();
            let identity = FileIdentity::of_metadata(&open.metadata().unwrap());
            let facts = of(&open, identity, &|| true, None).unwrap();
            assert_eq!(facts.digest.0, <[u8; 32]>::from(Sha256::digest(content)));
            assert!(recall(&identity).is_none());
        }
    }

    #[test]
    fn a_settled_file_is_remembered() {
        let own = File::open(std::env::current_exe().unwrap()).unwrap();
        let mut identity = FileIdentity::of_metadata(&own.metadata().unwrap());
        remember(identity, facts_of(&own).unwrap());
        assert!(recall(&identity).is_some());
        identity.ctime_ns += 1;
        assert!(recall(&identity).is_none());
    }

    #[test]
    fn a_digest_is_kept_for_the_next_process_and_taken_from_the_last_one() {
        let dir = tempfile::tempdir().unwrap();
        let kept = Digests::at(dir.path().to_owned());
        // A large file that no other test reads.
        let file = File::open("/bin/bash").unwrap();
        let identity = FileIdentity::of_metadata(&file.metadata().unwrap());
        let forget = || {
            MEMORY
                .lock()
                .unwrap()
                .as_mut()
                .map(|all| all.remove(&identity))
        };
        let facts = of(&file, identity, &|| true, Some(&kept)).unwrap();
        assert_eq!(kept.recall(&identity), Some(facts.digest));
        let other = ImageDigest([7; 32]);
        kept.remember(&identity, other);
        forget();
        let again = of(&file, identity, &|| true, Some(&kept)).unwrap();
        assert_eq!((again.digest, again.shape), (other, facts.shape));
        forget();
        let anew = of(&file, identity, &|| true, None).unwrap();
        assert_eq!(anew.digest, facts.digest);
        forget();
    }

    #[test]
    fn a_file_in_another_state_than_expected_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let open = File::open(file.path()).unwrap();
        let before = FileIdentity::of_metadata(&open.metadata().unwrap());
        std::fs::write(file.path(), "more").unwrap();
        let found = of(&open, before, &|| true, None);
        assert_eq!(found.unwrap_err(), Refusal::Changed);
    }
}
