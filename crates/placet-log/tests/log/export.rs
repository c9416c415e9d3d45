//! An exported log is a C2SP tiled log: its files lead from the checkpoint to every entry.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::common;
use placet_log::conformance::entry;
use placet_log::{ExportError, Sequencer as _};
use placet_tlog::checkpoint::SignedCheckpoint;
use placet_tlog::tile::{AuthenticTiles, BundleId, TileId, TileReader, decode_entries};

struct Static(PathBuf);

impl TileReader for &Static {
    type Error = io::Error;

    fn read_tile(&self, tile: TileId) -> io::Result<Vec<u8>> {
        fs::read(self.0.join(tile.to_string()))
    }
}

/// Reads the exported directory as a stranger would, and returns the number of entries proven.
fn verify_static(dir: &Path) -> u64 {
    let files = Static(dir.to_owned());
    let note = fs::read(dir.join("checkpoint")).unwrap();
    let signed = SignedCheckpoint::parse(&note).unwrap();
    let opened = signed.open(&[&common::verifier()]).unwrap();
    let (size, root) = (opened.checkpoint().size(), opened.checkpoint().root());
    let tiles = AuthenticTiles::open(size, root, &files).unwrap();
    let mut index = 0;
    for bundle in BundleId::changed(0, size) {
        let bytes = fs::read(dir.join(bundle.to_string())).unwrap();
        let entries = decode_entries(bundle.width(), &bytes).unwrap();
        tiles
            .tile(bundle.leaf_tile())
            .unwrap()
            .verify_entries(&entries)
            .unwrap();
        for found in entries {
            assert_eq!(found, entry(index));
            index += 1;
        }
    }
    for tile in TileId::all(size) {
        tiles.tile(tile).unwrap();
    }
    assert_eq!(index, size);
    size
}

#[test]
fn an_exported_log_proves_every_entry_from_its_checkpoint() {
    for lens in [&[][..], &[1], &[256], &[300, 1, 470], &[9_000, 10]] {
        let (dir, out) = (common::tempdir(), common::tempdir());
        common::append(dir.path(), lens);
        let log = common::open(dir.path()).log;
        let mut files = 0;
        let done = log
            .reader()
            .export(out.path(), |progress| files = progress.files)
            .unwrap();
        assert_eq!((done.size, done.files), (lens.iter().sum(), files));
        if done.size > 0 {
            assert_eq!(verify_static(out.path()), done.size);
        }
    }
}

#[test]
fn an_export_never_mixes_with_what_is_there() {
    let (dir, out) = (common::tempdir(), common::tempdir());
    common::append(dir.path(), &[3]);
    let reader = common::open(dir.path()).log.reader();
    reader.export(out.path(), |_| ()).unwrap();
    let again = reader.export(out.path(), |_| ());
    assert!(matches!(again, Err(ExportError::NotEmpty)), "{again:?}");
}

#[test]
fn every_partial_tile_that_was_ever_published_is_served() {
    let dir = common::tempdir();
    common::append(dir.path(), &[400]);
    let log = common::open(dir.path()).log;
    let reader = log.reader();
    for size in 1..=400 {
        for tile in TileId::all(size) {
            assert_eq!(
                reader.tile(tile).unwrap().len(),
                usize::from(tile.width().get()) * 32
            );
        }
        for bundle in BundleId::changed(0, size) {
            let bytes = reader.bundle(bundle).unwrap();
            assert!(decode_entries(bundle.width(), &bytes).is_ok());
        }
    }
}
