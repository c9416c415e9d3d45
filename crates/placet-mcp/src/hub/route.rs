//! Which server a request of the client is for.

use placet_types::DenialCode;
use serde_json::json;

use super::gather::What;
use super::names::{Kind, Led};
use super::{Hub, State, replaced};
use crate::emit;
use crate::frame::{Answer, Frame, Id, OwnedId, member, members, text_of};
use crate::method::Listed;

/// Requests that wait until it is known who offers what.
const WAITING_MAX: usize = 256;
/// Tasks whose servers are remembered.
const TASKS_MAX: usize = 4096;
const INVALID_PARAMS: i64 = -32_602;
const NO_METHOD: i64 = -32_601;

impl Hub {
    pub(super) fn request(
        &self,
        bytes: &[u8],
        frame: &Frame<'_>,
        (id, method, params): (Id<'_>, &str, Option<&str>),
    ) {
        let id = id.to_owned();
        let what = match method {
            "initialize" => Some(What::Opening),
            "server/discover" => Some(What::Discovery),
            "tools/list" => Some(What::List(Listed::Tools)),
            "prompts/list" => Some(What::List(Listed::Prompts)),
            "resources/list" => Some(What::List(Listed::Documents)),
            "resources/templates/list" => Some(What::List(Listed::Templates)),
            "logging/setLevel" | "subscriptions/listen" => Some(What::Nothing),
            _ => None,
        };
        if let Some(what) = what {
            return self.gather(&id, what, method, params);
        }
        match method {
            "ping" => drop(self.client.push(emit::result_of(id.as_str(), "{}"))),
            "tools/call" => self.by_name(bytes, frame, &id, (Kind::Tool, "name", params)),
            "prompts/get" => self.by_name(bytes, frame, &id, (Kind::Prompt, "name", params)),
            "resources/read" | "resources/subscribe" | "resources/unsubscribe" => {
                self.by_name(bytes, frame, &id, (Kind::Uri, "uri", params));
            }
            "completion/complete" => self.completion(bytes, frame, &id, params),
            _ => self.by_task(frame, &id, params),
        }
    }

    /// By the name that a member of the parameters is.
    fn by_name(
        &self,
        bytes: &[u8],
        frame: &Frame<'_>,
        id: &OwnedId,
        (kind, name, params): (Kind, &str, Option<&str>),
    ) {
        let given = params
            .and_then(|params| members(params).ok())
            .and_then(|members| Some(text_of(member(&members, name)?)?.into_owned()));
        let Some(given) = given else {
            // A session says what is missing.
            return self.pass(self.first(), id, emit::frame(frame));
        };
        match self.led(bytes, id, (kind, &given)) {
            Some((part, own)) if own == given => self.pass(part, id, emit::frame(frame)),
            Some((part, own)) => {
                let params = replaced(params, name, &json!(own).to_string());
                self.pass(part, id, with_params(frame, params.as_deref()));
            }
            None => {}
        }
    }

    /// Where a name leads; `None` when the client was told, or the request waits.
    fn led(
        &self,
        bytes: &[u8],
        id: &OwnedId,
        (kind, given): (Kind, &str),
    ) -> Option<(usize, String)> {
        let led = {
            let mut state = self.state();
            let led = state.names.lead(kind, given);
            if led == Led::Nowhere && !state.names.knows(kind) && state.waiting.len() < WAITING_MAX
            {
                state.waiting.push(bytes.to_vec());
                drop(state);
                self.gather_names(kind);
                return None;
            }
            led
        };
        match led {
            Led::To(part, own) => Some((part, own)),
            Led::Several(shown) => {
                let message = format!(
                    "several servers have `{given}`; list again, and name one of: {}",
                    shown.join(", ")
                );
                self.refused(id, INVALID_PARAMS, DenialCode::Malformed, &message);
                None
            }
            // It is refused there, and that is recorded.
            Led::Nowhere => Some((self.first(), given.to_owned())),
        }
    }

    fn completion(&self, bytes: &[u8], frame: &Frame<'_>, id: &OwnedId, params: Option<&str>) {
        let all = params
            .and_then(|params| members(params).ok())
            .unwrap_or_default();
        let reference = member(&all, "ref");
        let of = reference
            .and_then(|text| members(text).ok())
            .unwrap_or_default();
        let text = |name: &str| Some(text_of(member(&of, name)?)?.into_owned());
        let (kind, name) = match (text("name"), text("uri")) {
            (Some(name), _) => ((Kind::Prompt, "name"), name),
            (None, Some(uri)) => ((Kind::Template, "uri"), uri),
            (None, None) => return self.pass(self.first(), id, emit::frame(frame)),
        };
        if let Some((part, own)) = self.led(bytes, id, (kind.0, &name)) {
            let reference = replaced(reference, kind.1, &json!(own).to_string());
            let params = reference.and_then(|reference| replaced(params, "ref", &reference));
            self.pass(part, id, with_params(frame, params.as_deref()));
        }
    }

    /// By the task that it is about, else to the only server that is left.
    fn by_task(&self, frame: &Frame<'_>, id: &OwnedId, params: Option<&str>) {
        let task = params
            .and_then(|params| members(params).ok())
            .and_then(|members| Some(text_of(member(&members, "taskId")?)?.into_owned()));
        let part = task.and_then(|task| self.state().tasks.get(&task).copied());
        match (part, self.living().as_slice()) {
            (Some(part), _) => self.pass(part, id, emit::frame(frame)),
            (None, [only]) => self.pass(*only, id, emit::frame(frame)),
            (None, _) => {
                let message = "there are several servers here, and nothing says which is meant";
                self.refused(id, NO_METHOD, DenialCode::Malformed, message);
            }
        }
    }
}

impl State {
    /// A request was answered; a task that it left behind is its server's.
    pub(super) fn learn_task(&mut self, at: usize, id: &OwnedId, answer: Answer<'_>) {
        self.open.remove(id);
        let Answer::Result(result) = answer else {
            return;
        };
        if !result.contains("\"task") {
            return;
        }
        let Ok(all) = members(result) else { return };
        let inner = member(&all, "task").and_then(|task| members(task).ok());
        let inner = inner.unwrap_or(all);
        if let Some(task) = member(&inner, "taskId").and_then(text_of)
            && self.tasks.len() < TASKS_MAX
        {
            self.tasks.entry(task.into_owned()).or_insert(at);
        }
    }
}

fn with_params(frame: &Frame<'_>, params: Option<&str>) -> String {
    match &frame.kind {
        crate::frame::Kind::Request { id, method, .. } => {
            emit::request(id.as_str(), method, params)
        }
        crate::frame::Kind::Notification { .. } | crate::frame::Kind::Answer { .. } => {
            emit::frame(frame)
        }
    }
}
