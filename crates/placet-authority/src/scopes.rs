//! Scopes by digest: in memory while they are used, on disk for ever.
//!
//! A record holds only the digest of the scope that it grants. The scope follows from bundle,
//! intent and parent, but whoever decides about a child or explains a permit wants it at hand.

use std::collections::BTreeMap;
use std::io;

use placet_types::canonical::{self, Bounds};
use placet_types::{Digest, FixedScope};

use crate::blobs::Blobs;

/// Scopes in memory. Past that the least recently added goes; it is still on disk.
const CACHED_MAX: usize = 1024;

/// Scopes by digest.
pub(crate) struct Scopes {
    blobs: Blobs,
    cached: BTreeMap<Digest, FixedScope>,
    order: std::collections::VecDeque<Digest>,
}

impl Scopes {
    pub(crate) fn new(blobs: Blobs) -> Self {
        Self {
            blobs,
            cached: BTreeMap::new(),
            order: std::collections::VecDeque::new(),
        }
    }

    /// Keeps a scope durably, once.
    pub(crate) fn keep(&mut self, scope: &FixedScope) -> io::Result<()> {
        if self.cached.contains_key(&scope.digest()) {
            return Ok(());
        }
        self.blobs.put(scope.text().as_bytes())?;
        self.cache(scope.clone());
        Ok(())
    }

    /// The scope with this digest.
    pub(crate) fn get(&mut self, digest: Digest) -> Option<FixedScope> {
        if let Some(scope) = self.cached.get(&digest) {
            return Some(scope.clone());
        }
        let scope = read(&self.blobs, digest)?;
        self.cache(scope.clone());
        Some(scope)
    }

    fn cache(&mut self, scope: FixedScope) {
        if self.order.len() == CACHED_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.cached.remove(&oldest);
        }
        self.order.push_back(scope.digest());
        self.cached.insert(scope.digest(), scope);
    }
}

/// Reads a scope from disk.
pub(crate) fn read(blobs: &Blobs, digest: Digest) -> Option<FixedScope> {
    let bytes = blobs.get(digest).ok()?;
    canonical::from_bytes(&bytes, Bounds::RECORD).ok()
}
