//! What is done of a start while the node decides whether there is one.
//!
//! A gateway that stays has a cell that waits. To take it for a command takes a plan of its scope, a broker, a trace, which together cost more than the decision. A command like the
//! one before will probably get the same scope, so this is done meanwhile, for that scope. What comes of it is used if the cell that the
//! verified permit asks for is the same in every field; else it is ended, and the permit's is built.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash as _, Hasher as _};

use placet_sandbox::{Ahead, CellSpec, Spares, WaitingCell};
use placet_types::Scope;

use crate::call::Call;
use crate::terminal::Front;

/// A cell for the scope that a command will probably get.
#[derive(Debug)]
pub(super) struct Guess {
    like: u64,
    made: Option<Made>,
}

/// What was made ready, and for what.
#[derive(Debug)]
struct Made {
    scope: Scope,
    spec: CellSpec,
    ahead: Option<Ahead>,
}

/// Of commands with the same number the scope is probably the same. It is no more than a guess, so it need not be hard to find two.
pub(super) fn like(call: &Call, front: Option<&Front>) -> u64 {
    let mut like = DefaultHasher::new();
    let (intent, asked) = (&call.intent, &call.intent.asked);
    (call.program.path.as_str(), call.params.cwd.as_str()).hash(&mut like);
    (intent.principal.as_str(), intent.parent).hash(&mut like);
    asked
        .profile
        .as_ref()
        .map(|name| name.as_str())
        .hash(&mut like);
    asked.exec_check.hash(&mut like);
    let streams = front.and_then(Front::streams);
    streams
        .map(|streams| (streams.input, streams.output, streams.error))
        .hash(&mut like);
    like.finish()
}

impl Guess {
    pub(super) fn for_command(like: u64) -> Self {
        Self { like, made: None }
    }

    pub(super) fn like(&self) -> u64 {
        self.like
    }

    /// Makes a cell ready for a scope, of which this is the spec.
    pub(super) fn make(&mut self, scope: Scope, spec: CellSpec, spares: &Spares) {
        let ahead = spares.ahead(spec.clone());
        self.made = Some(Made { scope, spec, ahead });
    }

    /// What is decided later is decided about another time.
    pub(super) fn forget(&mut self) {
        self.made = None;
    }

    /// The spec that was written for this very scope, meanwhile; the cell that was made ready for another one is ended.
    pub(super) fn spec_for(&mut self, scope: &Scope) -> Option<CellSpec> {
        self.made.take_if(|made| made.scope != *scope);
        self.made.as_ref().map(|made| made.spec.clone())
    }

    /// The cell, if it is what the permit asks for.
    pub(super) fn confirm(self, spec: &CellSpec) -> Option<WaitingCell> {
        self.made?.ahead?.confirm(spec)
    }
}
