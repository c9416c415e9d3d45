//! Saves the fold from time to time, beside the work: a node that starts again reads less.

use std::path::PathBuf;
use std::thread::{self, JoinHandle};

use placet_log::{LogReader, snapshots};
use placet_state::State;

/// Saves folds, if there is anywhere to.
pub(crate) struct Saver {
    dir: Option<PathBuf>,
    reader: LogReader,
    saving: Option<JoinHandle<()>>,
}

impl Saver {
    pub(crate) fn new(dir: Option<PathBuf>, reader: LogReader) -> Self {
        Self {
            dir,
            reader,
            saving: None,
        }
    }

    /// Saves `state` on a thread of its own, unless the one before is not saved yet.
    pub(crate) fn save(&mut self, state: State) {
        let Some(dir) = self.dir.clone() else { return };
        if self.saving.as_ref().is_some_and(|it| !it.is_finished()) {
            return;
        }
        let reader = self.reader.clone();
        let saving = thread::Builder::new().name("snapshot".into());
        self.saving = saving.spawn(move || write(&dir, &reader, &state)).ok();
    }

    /// Saves `state` now.
    pub(crate) fn finish(&mut self, state: &State) {
        if let Some(saving) = self.saving.take() {
            // One that failed costs time at the next start and nothing else.
            drop(saving.join());
        }
        if let Some(dir) = &self.dir {
            write(dir, &self.reader, state);
        }
    }
}

/// A fold that was not saved costs time at the next start and nothing else.
fn write(dir: &std::path::Path, reader: &LogReader, state: &State) {
    let size = state.next().get();
    if let (Ok(root), Ok(bytes)) = (reader.root_at(size), state.to_snapshot()) {
        drop(snapshots::save(dir, size, root, &bytes));
    }
}
