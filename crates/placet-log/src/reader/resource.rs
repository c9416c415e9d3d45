//! The log as the resources that a C2SP tiled log serves, rendered when asked for.

use placet_tlog::tile::{BundleId, HashTile, MAX_BUNDLE_BYTES, Resource, TileId, push_entry};
use placet_types::Index;

use crate::bytes::wide;
use crate::reader::{LogReader, ReadError};
use crate::tree::TILE;

impl LogReader {
    /// The bytes of `checkpoint`, `tile/<L>/<N>[.p/<W>]` or `tile/entries/<N>[.p/<W>]`. Partial
    /// ones of every past size are there, and never change.
    ///
    /// # Errors
    ///
    /// [`ReadError::NoSuchResource`] for another path or a tile the log has not filled that far,
    /// or another [`ReadError`].
    pub fn resource(&self, path: &str) -> Result<Vec<u8>, ReadError> {
        match Resource::parse(path) {
            Ok(Resource::Checkpoint) => Ok(self.checkpoint().to_string().into_bytes()),
            Ok(Resource::Tile(tile)) => self.tile(tile),
            Ok(Resource::Entries(bundle)) => self.bundle(bundle),
            Err(_) => Err(ReadError::NoSuchResource(path.to_owned())),
        }
    }

    /// The bytes of a hash tile.
    ///
    /// # Errors
    ///
    /// As [`resource`](Self::resource).
    pub fn tile(&self, tile: TileId) -> Result<Vec<u8>, ReadError> {
        let nodes: Vec<_> = tile.nodes().collect();
        let size = self.size().get();
        let whole = nodes.len() == usize::from(tile.width().get());
        if !whole || nodes.iter().any(|node| node.end() > size) {
            return Err(ReadError::NoSuchResource(tile.to_string()));
        }
        let hashes = self.source.nodes(&nodes)?;
        let made = HashTile::new(tile, hashes);
        made.map(|tile| tile.encode())
            .map_err(|_| ReadError::NoSuchResource(tile.to_string()))
    }

    /// The bytes of an entry bundle.
    ///
    /// # Errors
    ///
    /// As [`resource`](Self::resource).
    pub fn bundle(&self, bundle: BundleId) -> Result<Vec<u8>, ReadError> {
        let missing = || ReadError::NoSuchResource(bundle.to_string());
        let first = bundle.index().checked_mul(TILE).ok_or_else(missing)?;
        let end = first
            .checked_add(bundle.width().get().into())
            .ok_or_else(missing)?;
        if end > self.size().get() {
            return Err(missing());
        }
        let mut bytes = Vec::new();
        let mut count = 0_usize;
        for entry in self.entries(Index::new(first)..Index::new(end)) {
            push_entry(&mut bytes, &entry?.1).map_err(|_| missing())?;
            count += 1;
        }
        debug_assert!(bytes.len() <= MAX_BUNDLE_BYTES);
        if wide(count) == end - first {
            Ok(bytes)
        } else {
            Err(missing())
        }
    }
}
