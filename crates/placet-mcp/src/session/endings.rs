//! What ends before it has answered: its authority is over, or one of the two ends is gone.

use std::sync::Arc;
use std::thread;

use placet_evidence::RunEnd;
use placet_types::{DenialCode, ExecutionId};
use serde_json::json;

use super::{Key, Open, Session};
use crate::denial::Said;
use crate::emit;
use crate::frame::OwnedId;
use crate::governor::{Ended, Ticket};
use crate::method::Direction;

impl Session {
    /// The authority of an execution is over: whoever carries it out is told to stop, whoever asked
    /// is told why, and its end is recorded.
    pub(super) fn must_end(self: &Arc<Self>, exec: ExecutionId, cause: DenialCode) {
        let mut state = self.state();
        let Some(key) = state.by_exec.remove(&exec) else {
            return;
        };
        let Some(Open::Running { ticket, is_call }) = state.open.remove(&key) else {
            return;
        };
        state.open.insert(key.clone(), Open::Ending);
        drop(state);
        self.stop(&key, cause);
        let said = Said {
            exec: Some(exec),
            record: Some(ticket.decided),
            was_running: true,
            ..Said::new(cause, "its authority ended while it ran")
        };
        self.say(key.0, &key.1, is_call, &said);
        self.end_because(ticket, cause);
        self.expect_stop(key);
    }

    fn end_because(&self, ticket: Ticket, cause: DenialCode) {
        self.end(
            ticket,
            Ended {
                outcome: RunEnd::Terminated,
                cause: Some(cause),
                output: None,
            },
        );
    }

    fn stop(&self, key: &Key, cause: DenialCode) {
        let reason = json!(format!("Placet: {cause}")).to_string();
        let params = emit::object([("requestId", key.1.as_str()), ("reason", &reason)]);
        let frame = emit::notification("notifications/cancelled", Some(&params));
        // An end that does not read does not stop either, and that is found out below.
        self.outbox(key.0).offer(frame);
    }

    /// A server that has not answered what was cancelled, within its grace, may go on with it: it is
    /// asked to end, and then it is ended. Silence is no proof that something has stopped.
    fn expect_stop(self: &Arc<Self>, key: Key) {
        if key.0 != Direction::ToServer {
            return self.forget(&key);
        }
        let session = Arc::clone(self);
        let watch = move || {
            let grace = session.config.grace;
            thread::sleep(grace);
            if !session.has_not_stopped(&key) {
                return;
            }
            (session.config.tell)(
                "the server did not confirm that it stopped what was ended: it is ended as a whole",
            );
            session.control.stop();
            thread::sleep(grace);
            if session.has_not_stopped(&key) {
                session.control.kill();
            }
        };
        if thread::Builder::new()
            .name("grace".into())
            .stack_size(128 << 10)
            .spawn(watch)
            .is_err()
        {
            self.control.kill();
        }
    }

    fn has_not_stopped(&self, key: &Key) -> bool {
        let state = self.state();
        !state.is_over && matches!(state.open.get(key), Some(Open::Ending))
    }

    fn forget(&self, key: &Key) {
        let mut state = self.state();
        state.open.remove(key);
        state.is_late(key.clone());
    }

    /// The server's end is closed: whatever it had not answered it never will.
    pub(super) fn server_is_gone(&self) {
        let open: Vec<(Key, Open)> = {
            let mut state = self.state();
            state.is_over = true;
            state.by_exec.clear();
            state.waiting.clear();
            state.pending.clear();
            state.open.drain().collect()
        };
        let gone = gone(&self.control.refused());
        for ((direction, id), open) in open {
            match open {
                Open::Running { ticket, is_call } => {
                    let said = Said {
                        exec: Some(ticket.exec),
                        record: Some(ticket.decided),
                        ..gone.clone()
                    };
                    self.end_failed(ticket);
                    self.tell_client(direction, &id, is_call, &said);
                }
                Open::Deciding { .. } | Open::Passed(_) => {
                    self.tell_client(direction, &id, false, &gone);
                }
                Open::Ending => {}
            }
        }
        self.to_server.close();
    }

    fn tell_client(&self, direction: Direction, id: &OwnedId, is_call: bool, said: &Said) {
        if direction == Direction::ToServer {
            self.say(direction, id, is_call, said);
        }
    }
}

/// What it was refused is probably why it ended.
fn gone(refused: &[String]) -> Said {
    let mut reason = "the server ended before it answered".to_owned();
    let mut remedy = "start the server again, and see its messages for why it ended";
    if !refused.is_empty() {
        reason = format!("{reason}; it was refused {}", refused.join("; "));
        remedy = "start the server under a profile that lists what it needs, or with what it fetches installed before";
    }
    let mut said = Said::new(DenialCode::LineageFragmented, reason);
    said.remedy = Some(remedy.to_owned());
    said.was_running = true;
    said
}
