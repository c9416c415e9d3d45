//! Denials that an agent can act on: which check, what would have to change, and where the proof is.

use placet_types::{DenialCode, ExecutionId, Index};
use serde_json::{Value, json};

use crate::emit;
use crate::frame::OwnedId;

/// Code of the JSON-RPC errors that denials are, where a tool's own error will not do.
pub const DENIED: i64 = -32_050;
/// Code of the JSON-RPC errors of what failed, and was not decided: its own for internal errors.
pub const FAILED: i64 = -32_603;
/// Under this name a tool's error says in `_meta` what a program can read of it.
pub const META: &str = "placet.dev/denial";

/// Why a request was not carried out, or was ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// The stable code of what was decided; `None` where something failed.
    pub code: Option<DenialCode>,
    /// Number of the check, and what it checks.
    pub check: Option<(u8, &'static str)>,
    /// What failed.
    pub reason: String,
    /// What would have to change, where more is known than the code says.
    pub remedy: Option<String>,
    /// The execution.
    pub exec: Option<ExecutionId>,
    /// The record.
    pub record: Option<Index>,
    /// Whether it ran and was ended.
    pub was_running: bool,
}

impl Said {
    /// Something that no record's index is known of.
    #[must_use]
    pub fn new(code: DenialCode, reason: impl Into<String>) -> Self {
        Self {
            code: Some(code),
            check: None,
            reason: reason.into(),
            remedy: None,
            exec: None,
            record: None,
            was_running: false,
        }
    }

    /// Something that failed: nobody has decided that it must not be.
    #[must_use]
    pub fn failed(reason: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            code: None,
            check: None,
            reason: reason.into(),
            remedy: Some(remedy.into()),
            exec: None,
            record: None,
            was_running: false,
        }
    }

    fn remedy(&self) -> &str {
        let general = || self.code.map_or("", DenialCode::remedy);
        self.remedy.as_deref().unwrap_or_else(general)
    }

    /// In words.
    #[must_use]
    pub fn text(&self) -> String {
        let reason = capital(&self.reason);
        let Some(code) = self.code else {
            return format!(
                "Failed in Placet: {reason}. To change that: {}.",
                self.remedy()
            );
        };
        let what = if self.was_running {
            "Ended by Placet"
        } else {
            "Denied by Placet"
        };
        let check = self
            .check
            .map(|(number, name)| format!(" (check {number}: {name})"))
            .unwrap_or_default();
        let mut text = format!(
            "{what}: {code}{check}. {reason}. To change that: {}.",
            self.remedy()
        );
        if let Some(record) = self.record {
            text.push_str(&format!(
                " Decision dec_{record}: `placet explain {record}`; proof: `placet log proof {record} --bundle`."
            ));
        }
        text
    }

    /// For programs.
    #[must_use]
    pub fn value(&self) -> Value {
        let mut value = json!({
            "reason": self.reason,
            "remedy": self.remedy(),
        });
        let Some(members) = value.as_object_mut() else {
            return value;
        };
        if let Some(code) = self.code {
            members.insert("code".into(), json!(code.as_str()));
        }
        if let Some((number, name)) = self.check {
            members.insert("check".into(), json!({ "number": number, "name": name }));
        }
        if let Some(exec) = self.exec {
            members.insert("execution".into(), json!(exec.to_string()));
        }
        if let Some(record) = self.record {
            let proof = format!("placet log proof {record} --bundle");
            members.insert("decision".into(), json!(format!("dec_{record}")));
            members.insert("proof".into(), json!(proof));
        }
        value
    }

    /// The answer to a call of a tool: an error of the tool, which agents are shown.
    #[must_use]
    pub fn tool_error(&self, id: &OwnedId) -> String {
        let result = json!({
            "resultType": "complete",
            "content": [{ "type": "text", "text": self.text() }],
            "isError": true,
            "_meta": { META: self.value() },
        });
        emit::result_of(id.as_str(), &result.to_string())
    }

    /// The answer to any other request.
    #[must_use]
    pub fn error(&self, id: Option<&OwnedId>) -> String {
        let code = if self.code.is_some() { DENIED } else { FAILED };
        emit::error(id, code, &self.text(), Some(self.value()))
    }
}

fn capital(text: &str) -> String {
    let mut chars = text.trim_end_matches('.').chars();
    let first = chars.next().map(|c| c.to_uppercase().to_string());
    first.unwrap_or_default() + chars.as_str()
}
