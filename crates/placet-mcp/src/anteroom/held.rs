//! What is held of a client, line by line, and for how long.

use std::collections::VecDeque;

use crate::asked::{Before, Modes};
use crate::denial::Said;
use crate::frame::{Bounds, Frame, Kind, OwnedId, member, members};

/// Lines that are held, and their bytes; with more the client is not read.
const LINES_MAX: usize = 256;
const BYTES_MAX: usize = 4 << 20;

#[derive(Default)]
pub(super) struct State {
    pub(super) lines: VecDeque<Held>,
    pub(super) bytes: usize,
    pub(super) taken: VecDeque<(String, Before)>,
    pub(super) modes: Modes,
    /// Once it is decided: whether there is a server.
    pub(super) decided: Option<Result<(), Said>>,
    /// Whether everything that was held has gone on, so that more goes on at once.
    pub(super) is_through: bool,
    /// Whether the client has closed its end.
    pub(super) is_left: bool,
}

/// A line that the session will read.
pub(super) struct Held {
    pub(super) line: Vec<u8>,
    pub(super) asked: Option<Asked>,
    /// Ticks after which a request in it is answered here.
    pub(super) left: u32,
}

/// A request.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) id: OwnedId,
    pub(super) is_call: bool,
    /// Whether its client knows that it waits, and does.
    pub(super) is_patient: bool,
}

impl State {
    pub(super) fn has_room(&self, bytes: usize) -> bool {
        self.lines.len() < LINES_MAX && self.bytes.saturating_add(bytes) <= BYTES_MAX
    }

    /// Takes out the requests that were given up, with what says so; and those whose time is over, and gives these.
    pub(super) fn tick(&mut self) -> Vec<Asked> {
        let gone: Vec<OwnedId> = self
            .lines
            .iter()
            .filter_map(|held| given_up(&held.line))
            .collect();
        let mut late = Vec::new();
        self.lines.retain_mut(|held| match &held.asked {
            Some(asked) if gone.contains(&asked.id) => false,
            Some(asked) if !asked.is_patient => {
                held.left = held.left.saturating_sub(1);
                if held.left == 0 {
                    late.push(asked.clone());
                }
                held.left > 0
            }
            Some(_) => true,
            None => given_up(&held.line).is_none(),
        });
        self.bytes = self.lines.iter().map(|held| held.line.len()).sum();
        late
    }
}

/// Which request a line gives up.
fn given_up(line: &[u8]) -> Option<OwnedId> {
    match Frame::parse(line, Bounds::REQUEST).ok()?.kind {
        Kind::Notification {
            method: "notifications/cancelled",
            params,
        } => OwnedId::read(member(&members(params?).ok()?, "requestId")?),
        Kind::Notification { .. } | Kind::Request { .. } | Kind::Answer { .. } => None,
    }
}
