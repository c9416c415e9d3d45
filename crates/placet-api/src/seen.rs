//! Request proofs that were used: each counts once, in bounded memory.
//!
//! Two generations take turns, each as long as a proof can be valid. A proof is in one of them until
//! it has expired. Nothing valid is ever forgotten to make room: where there is none, proofs are
//! refused. What was used before the process began is not known, so proofs from before are refused.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use placet_types::{Digest, Millis};

use crate::dpop::{AGE_SECS_MAX, AHEAD_SECS_MAX, Proof, ProofError};

/// Proofs that are remembered in one generation, of all keys.
const REMEMBERED_MAX: usize = 1 << 19;
/// Proofs of one key that are remembered in one generation: one caller cannot shut out the others.
const OF_ONE_KEY_MAX: usize = REMEMBERED_MAX / 4;
/// How long a generation takes new ones, in seconds.
const GENERATION_SECS: u64 = AGE_SECS_MAX + AHEAD_SECS_MAX;

type Id = [u8; 16];

/// Proofs that were used.
#[derive(Debug)]
pub(crate) struct Seen {
    began_secs: u64,
    generations: Mutex<Generations>,
}

#[derive(Debug, Default)]
struct Generations {
    since_secs: u64,
    now: Generation,
    before: Generation,
}

#[derive(Debug, Default)]
struct Generation {
    ids: BTreeSet<Id>,
    by_key: BTreeMap<Id, usize>,
}

impl Seen {
    pub(crate) fn new(began: Millis) -> Self {
        Self {
            began_secs: began.as_unix_secs(),
            generations: Mutex::default(),
        }
    }

    /// Takes a proof, the first time.
    pub(crate) fn once(&self, proof: &Proof, now: Millis) -> Result<(), ProofError> {
        if proof.issued_secs < self.began_secs {
            return Err(ProofError::Window);
        }
        let key = short(&[proof.thumbprint.as_str().as_bytes()]);
        let id = short(&[&key, proof.id.as_bytes()]);
        let mut generations = self
            .generations
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        generations.turn(now.as_unix_secs());
        if generations.before.ids.contains(&id) {
            return Err(ProofError::Replayed);
        }
        generations.now.add(key, id)
    }
}

impl Generations {
    fn turn(&mut self, now: u64) {
        let age = now.saturating_sub(self.since_secs);
        if age >= GENERATION_SECS {
            let last = std::mem::take(&mut self.now);
            // After two turns' time nothing of the last generation can be valid either.
            self.before = if age >= 2 * GENERATION_SECS {
                Generation::default()
            } else {
                last
            };
            self.since_secs = now;
        }
    }
}

impl Generation {
    fn add(&mut self, key: Id, id: Id) -> Result<(), ProofError> {
        if self.ids.contains(&id) {
            return Err(ProofError::Replayed);
        }
        let of_key = self.by_key.entry(key).or_default();
        if self.ids.len() >= REMEMBERED_MAX || *of_key >= OF_ONE_KEY_MAX {
            return Err(ProofError::Overloaded);
        }
        *of_key += 1;
        self.ids.insert(id);
        Ok(())
    }
}

/// Half of a SHA-256: nobody finds two of a kind in the minute that they count.
fn short(parts: &[&[u8]]) -> Id {
    let digest = Digest::of_parts(parts);
    let mut id = Id::default();
    for (to, from) in id.iter_mut().zip(digest.as_bytes()) {
        *to = *from;
    }
    id
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dpop::tests::signer;
    use placet_types::Thumbprint;

    fn proof(id: &str, issued_secs: u64) -> Proof {
        Proof::for_test(Thumbprint::of(&signer(1).public()), id, issued_secs)
    }

    #[test]
    fn a_proof_counts_once_for_as_long_as_it_is_valid() {
        let seen = Seen::new(Millis::new(1_000_000));
        let at = |secs: u64| Millis::new(secs * 1000);
        assert_eq!(seen.once(&proof("a", 1000), at(1000)), Ok(()));
        for now in [1000, 1001, 1060, 1064] {
            let again = seen.once(&proof("a", 1000), at(now));
            assert_eq!(again, Err(ProofError::Replayed), "{now}");
        }
        assert_eq!(seen.once(&proof("b", 1060), at(1064)), Ok(()));
        // Two turns later "a" is forgotten, and "b" would have expired.
        assert_eq!(seen.once(&proof("c", 1065), at(1065)), Ok(()));
        assert_eq!(
            seen.once(&proof("b", 1060), at(1120)),
            Err(ProofError::Replayed)
        );
    }

    #[test]
    fn a_proof_from_before_the_start_is_refused() {
        let seen = Seen::new(Millis::new(1_000_000));
        let early = seen.once(&proof("a", 999), Millis::new(1_000_000));
        assert_eq!(early, Err(ProofError::Window));
    }

    #[test]
    fn one_key_cannot_use_up_the_memory_of_the_others() {
        let mut generation = Generation::default();
        for number in 0..OF_ONE_KEY_MAX as u64 {
            let id = short(&[&number.to_be_bytes()]);
            generation.add([1; 16], id).unwrap();
        }
        let full = generation.add([1; 16], [7; 16]);
        assert_eq!(full, Err(ProofError::Overloaded));
        assert_eq!(generation.add([2; 16], [7; 16]), Ok(()));
    }
}
