//! What a gateway that runs one command after the other keeps between two of them.
//!
//! None of it gives anything: cells that wait are empty, the connection is greeted again before it is used, and of the last command
//! only the scope is remembered, as a guess at that of the next. The next permit is verified against its own call as ever.

use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use placet_artifact::verify::Pins;
use placet_authority::node::Connection;
use placet_sandbox::{CellSpec, HeldOff, SpareCounts, Spares};
use placet_types::Scope;

/// How long a connection is kept at most. A node is there as long as somebody is connected to it, and one that was told to stop waits.
const CONNECTION_KEPT: Duration = Duration::from_secs(1);

/// Kept from one command to the next.
#[derive(Debug)]
pub struct Kept {
    /// Cells that wait for the next command: built ahead of time, and used only where one is what the permit would have built now.
    spares: Spares,
    last: Mutex<Option<Last>>,
    link: Mutex<Option<(Connection, Duration)>>,
    /// What this record of the genesis was verified to say.
    pins: Mutex<Option<(String, Pins)>>,
}

/// Of the last command.
#[derive(Clone, Debug)]
struct Last {
    like: u64,
    scope: Scope,
}

impl Kept {
    /// Nothing is: for a process that runs one command.
    #[must_use]
    pub fn nothing() -> Self {
        Self::with(Spares::none())
    }

    /// For a process that runs one command after the other, and [lets go](Self::let_go) of the connection while it runs none.
    ///
    /// # Errors
    ///
    /// When no thread can be started, which builds cells.
    pub fn for_many() -> io::Result<Self> {
        Ok(Self::with(Spares::kept()?))
    }

    fn with(spares: Spares) -> Self {
        Self {
            spares,
            last: Mutex::default(),
            link: Mutex::default(),
            pins: Mutex::default(),
        }
    }

    /// How many cells wait now.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.spares.waiting()
    }

    /// What became of the cells that were built ahead.
    #[must_use]
    pub fn counts(&self) -> SpareCounts {
        self.spares.counts()
    }

    /// Has the next cell built, where some are kept: for whoever has run a command and has nothing left to do for it. What waits has a copy
    /// of this memory, so of the command nothing should be left in it.
    pub fn restock(&self) {
        self.spares.restock();
    }

    /// Lets go of the connection if it was kept for a second at `now`, on the monotonic clock.
    pub fn let_go(&self, now: Duration) {
        let mut link = lock(&self.link);
        if link
            .as_ref()
            .is_some_and(|(_, since)| now.saturating_sub(*since) >= CONNECTION_KEPT)
        {
            *link = None;
        }
    }

    pub(crate) fn spares(&self) -> &Spares {
        &self.spares
    }

    /// As [`Spares::hold_off`].
    pub(crate) fn hold_off(&self) -> HeldOff<'_> {
        self.spares.hold_off()
    }

    /// The connection that was kept, greeted again: so what it says of the domain is of now.
    pub(crate) fn link(&self, now: Duration) -> Option<Connection> {
        self.let_go(now);
        let (mut link, _) = lock(&self.link).take()?;
        link.greet_again().is_ok().then_some(link)
    }

    pub(crate) fn keep_link(&self, link: Connection, now: Duration) {
        if self.spares.are_kept() {
            *lock(&self.link) = Some((link, now));
        }
    }

    /// What this very record says, where it was verified before.
    pub(crate) fn pins_of(&self, genesis: &str) -> Option<Pins> {
        let pins = lock(&self.pins);
        let (_, pins) = pins.as_ref().filter(|(of, _)| of == genesis)?;
        Some(pins.clone())
    }

    pub(crate) fn keep_pins(&self, genesis: &str, pins: &Pins) {
        if self.spares.are_kept() {
            *lock(&self.pins) = Some((genesis.to_owned(), pins.clone()));
        }
    }

    /// Notes what a command of this kind got.
    pub(crate) fn note(&self, spec: &CellSpec, like: u64, scope: &Scope) {
        if self.spares.are_kept() {
            self.spares.note(spec);
            *lock(&self.last) = Some(Last {
                like,
                scope: scope.clone(),
            });
        }
    }

    /// The scope that the last command got, where that was of this kind and a cell waits.
    pub(crate) fn scope_of_last(&self, like: u64) -> Option<Scope> {
        if self.waiting() == 0 {
            return None;
        }
        let last = lock(&self.last);
        let last = last.as_ref().filter(|last| last.like == like)?;
        Some(last.scope.clone())
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    // Whoever panicked with it has left it whole.
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
