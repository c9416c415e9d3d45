//! Other people's gateways, in the same run.

use super::place::Place;

pub(super) struct Peers;

pub(super) fn start(_place: &Place) -> Peers {
    Peers
}

impl Peers {
    pub(super) fn take(&mut self, _round: usize) {}
    pub(super) fn print(&self) {}
}
