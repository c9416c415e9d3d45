//! Scopes by digest: in memory while they are used, on disk for ever.
//!
//! A record holds only the digest of the scope that it grants. The scope follows from bundle,
//! intent and parent, but whoever decides about a child or explains a permit wants it at hand.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use placet_types::canonical::{self, Bounds};
use placet_types::{Digest, Scope};

use crate::blobs::Blobs;

/// Scopes in memory. Past that the least recently added goes; it is still on disk.
const CACHED_MAX: usize = 1024;

/// Scopes by digest.
pub(crate) struct Scopes {
    blobs: Blobs,
    cached: BTreeMap<Digest, Arc<Scope>>,
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

    /// Keeps the scope with this digest durably, once.
    pub(crate) fn keep(&mut self, digest: Digest, scope: &Arc<Scope>) -> io::Result<()> {
        if self.cached.contains_key(&digest) {
            return Ok(());
        }
        let bytes = canonical::to_bytes(scope.as_ref()).map_err(io::Error::other)?;
        self.blobs.put(&bytes)?;
        self.cache(digest, Arc::clone(scope));
        Ok(())
    }

    /// The scope with this digest.
    pub(crate) fn get(&mut self, digest: Digest) -> Option<Arc<Scope>> {
        if let Some(scope) = self.cached.get(&digest) {
            return Some(Arc::clone(scope));
        }
        let scope = Arc::new(read(&self.blobs, digest)?);
        self.cache(digest, Arc::clone(&scope));
        Some(scope)
    }

    fn cache(&mut self, digest: Digest, scope: Arc<Scope>) {
        if self.order.len() == CACHED_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.cached.remove(&oldest);
        }
        self.order.push_back(digest);
        self.cached.insert(digest, scope);
    }
}

/// Reads a scope from disk.
pub(crate) fn read(blobs: &Blobs, digest: Digest) -> Option<Scope> {
    let bytes = blobs.get(digest).ok()?;
    canonical::from_bytes(&bytes, Bounds::RECORD).ok()
}
