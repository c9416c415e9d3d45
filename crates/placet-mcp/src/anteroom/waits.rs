//! What is waited for, and what whoever waits is told.

use placet_types::{DenialCode, ExecutionId, Index};
use serde_json::json;

use super::held::Asked;
use crate::asked::{Modes, message};
use crate::denial::Said;
use crate::emit;

/// Of JSON-RPC: the client has to show a page first (revision 2025-11-25).
const PAGE_REQUIRED: i64 = -32_042;

/// Number and name of the check that defers.
pub(super) type Check = (u8, &'static str);

/// What is waited for.
#[derive(Clone, Debug)]
pub struct Waits {
    /// The server, by its name.
    pub server: String,
    /// The execution that is to be approved.
    pub exec: ExecutionId,
    /// The record that says so.
    pub record: Index,
    /// Whose approval, and until when.
    pub whose: String,
    /// Where approvals are given in a browser, if there is such a place.
    pub console: Option<String>,
}

impl Waits {
    fn message(&self, by_page: bool) -> String {
        let what = format!("the server {}", self.server);
        let exec = self.exec.to_string();
        message(&what, &self.reason(), &exec, by_page)
    }

    pub(super) fn question(&self, modes: Modes) -> Option<serde_json::Value> {
        let console = self.console.as_deref();
        modes.question(&self.message(console.is_some() && modes.page()), console)
    }

    fn reason(&self) -> String {
        format!("it needs the approval of {}", self.whose)
    }

    /// What whoever has waited long enough is told.
    pub(super) fn said(&self, check: Check) -> Said {
        let Waits {
            server,
            exec,
            record,
            ..
        } = self;
        Said {
            check: Some(check),
            remedy: Some(format!(
                "have somebody run `placet approve {exec}`, then ask again: the server is started once it is approved"
            )),
            exec: Some(*exec),
            record: Some(*record),
            ..Said::new(
                DenialCode::ApprovalRequired,
                format!("the server {server} is not started yet: {}", self.reason()),
            )
        }
    }

    /// The answer to a request that has waited long enough.
    pub(super) fn too_long(&self, check: Check, asked: &Asked, modes: Modes) -> String {
        let said = self.said(check);
        let Some(console) = self.console.as_deref().filter(|_| modes.page()) else {
            return refusal(&said, asked);
        };
        // The client shows the page, and asks again.
        let mut data = said.value();
        if let Some(data) = data.as_object_mut() {
            let page = json!([{
                "mode": "url", "message": self.message(true), "url": console,
                "elicitationId": self.exec.to_string(),
            }]);
            data.insert("elicitations".to_owned(), page);
        }
        emit::error(Some(&asked.id), PAGE_REQUIRED, &said.text(), Some(data))
    }
}

/// The answer to what is not done.
pub(super) fn refusal(said: &Said, asked: &Asked) -> String {
    if asked.is_call {
        said.tool_error(&asked.id)
    } else {
        said.error(Some(&asked.id))
    }
}
