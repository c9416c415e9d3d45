//! A cell that stands ready before it is known whether it is the one that is wanted.
//!
//! Whoever has asked whether a command may run waits for the answer, and waits then for its cell to be taken and served. Where the command is like the
//! one before, its scope is probably the same. So the spare is taken and served for that scope meanwhile, with the new command's program and
//! directory. As for every spare that is a guess and gives nothing: nothing runs in it, and it becomes a cell only by
//! [`Ahead::confirm`], with a spec that was made of the answer and is the same in every field. The environment comes with that spec. One that
//! is not confirmed ends when it is dropped.
//!
//! What is granted was opened when the cell was made ready, and by then at the latest is what the cell has.

use std::fmt;

use crate::cell::{Cell, WaitingCell};
use crate::prepare;
use crate::spares::Spares;
use crate::spec::CellSpec;

/// A spare that is served for a guess.
pub struct Ahead {
    spec: CellSpec,
    cell: WaitingCell,
}

impl Ahead {
    /// For this spec, whose environment does not count. What fails here is missed by nobody: the cell that is built instead says why.
    pub(crate) fn of(spec: CellSpec, spares: &Spares) -> Option<Self> {
        // What names lead to is of one cell, and whoever looks them up holds it from the start.
        if spec.egress.resolved.is_some() {
            return None;
        }
        let program = prepare::program(&spec).ok()?;
        let spare = spares.take_for(&spec)?;
        let prepared = Cell::prepare_like(&spare.plan, &spec, program).ok()?;
        if !spare.put(&prepared.plan().worker.program) {
            return None;
        }
        let cell = prepared.serve_spare(spare).ok()?;
        Some(Self { spec, cell })
    }

    /// The cell, if it is the one that this spec asks for.
    #[must_use]
    pub fn confirm(self, spec: &CellSpec) -> Option<WaitingCell> {
        if !spec.is_but_for_environment(&self.spec) {
            return None;
        }
        let env = prepare::env(&spec.env).ok()?;
        // One that has ended meanwhile cannot be told.
        let lives = self.cell.renew(spec.lease).is_ok();
        (lives && self.cell.tell(&env)).then_some(self.cell)
    }
}

impl fmt::Debug for Ahead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ahead")
            .field("cell", &self.cell)
            .finish_non_exhaustive()
    }
}
