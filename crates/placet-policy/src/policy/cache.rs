//! A bounded cache in two generations: looking up and keeping cost the same at every size.
//!
//! When the young generation is full it becomes the old one, and the old one is forgotten; what is
//! still used moves back on its next use. Nothing is ever iterated, so no answer depends on order.

use std::collections::HashMap;
use std::hash::Hash;
use std::mem;
use std::sync::{Mutex, MutexGuard, PoisonError};

pub(super) struct Cache<K, V> {
    generations: Mutex<Generations<K, V>>,
    young_max: usize,
}

struct Generations<K, V> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
}

impl<K: Eq + Hash, V: Clone> Cache<K, V> {
    /// A cache that holds at most twice `young_max` values.
    pub(super) fn new(young_max: usize) -> Self {
        let generations = Generations {
            young: HashMap::new(),
            old: HashMap::new(),
        };
        Self {
            generations: Mutex::new(generations),
            young_max,
        }
    }

    pub(super) fn get(&self, key: &K) -> Option<V> {
        let mut generations = self.lock();
        if let Some(value) = generations.young.get(key) {
            return Some(value.clone());
        }
        let (key, value) = generations.old.remove_entry(key)?;
        self.insert_locked(&mut generations, key, value.clone());
        Some(value)
    }

    pub(super) fn insert(&self, key: K, value: V) {
        self.insert_locked(&mut self.lock(), key, value);
    }

    fn insert_locked(&self, generations: &mut Generations<K, V>, key: K, value: V) {
        if generations.young.len() >= self.young_max {
            generations.old = mem::take(&mut generations.young);
        }
        generations.young.insert(key, value);
    }

    /// A thread that panicked left the maps whole: every change to them is one call.
    fn lock(&self) -> MutexGuard<'_, Generations<K, V>> {
        self.generations
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_stays_and_the_rest_is_bounded() {
        let cache = Cache::new(4);
        for key in 0..100 {
            cache.insert(key, key);
            assert_eq!(cache.get(&0), Some(0), "the one in use is kept at {key}");
        }
        assert_eq!(cache.get(&1), None);
        let generations = cache.lock();
        assert!(generations.young.len() + generations.old.len() <= 8);
    }
}
