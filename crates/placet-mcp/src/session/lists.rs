//! Lists: only what the principal may use is shown.
//!
//! A tool whose definition is not the approved one is not shown either: what it says of itself would
//! reach the agent's model with the list.

use std::sync::Arc;

use placet_authority::node::wire::SignalBody;
use placet_evidence::SignalKind;
use placet_types::DenialCode;

use super::Session;
use crate::catalog::Definition;
use crate::denial::Said;
use crate::emit;
use crate::frame::{OwnedId, items, member, members};
use crate::method::{Direction, Listed};
use crate::subject::{Sealed, Subject};

/// An item of a list: its text, and what tells tools apart.
struct Item {
    text: String,
    tool: Option<Definition>,
}

impl Session {
    /// Has each item of a list decided about, and sends on what may be seen.
    pub(super) fn filter(self: &Arc<Self>, listed: Listed, id: &OwnedId, result: &str) {
        let Ok(page) = members(result) else {
            let said = Said::new(DenialCode::Malformed, "the server's list is no object");
            return self.say(Direction::ToServer, id, false, &said);
        };
        let list = member(&page, listed.member()).and_then(|list| items(list).ok());
        let list = list.unwrap_or_default();
        if listed == Listed::Tools {
            let learned = self.learned(list.iter().copied());
            let mut state = self.state();
            learned
                .into_iter()
                .for_each(|definition| state.catalog.learn(definition));
        }
        let (mut shown, mut asked) = (Vec::new(), Vec::new());
        for text in list {
            // What has no name cannot be permitted.
            if let Some(sealed) = self.visible(listed, text) {
                let tool = (listed == Listed::Tools).then(|| Definition::read(text));
                shown.push(Item {
                    text: text.to_owned(),
                    tool: tool.flatten(),
                });
                asked.push(sealed);
            }
        }
        let rest: Vec<(String, String)> = page
            .iter()
            .filter(|one| one.name != listed.member() && one.name != "cacheScope")
            .map(|one| (one.name.clone().into_owned(), one.value.to_owned()))
            .collect();
        let is_cacheable = member(&page, "cacheScope").is_some();
        let (session, id) = (Arc::clone(self), id.clone());
        let then = Box::new(move |answers: Vec<Result<(), DenialCode>>| {
            let mut kept = Vec::new();
            for (item, answer) in shown.into_iter().zip(answers) {
                match (answer, item.tool) {
                    (Ok(()), _) => kept.push(item.text),
                    (Err(DenialCode::RuntimeIntegrity), Some(tool)) => session.has_drifted(&tool),
                    (Err(_), _) => {}
                }
            }
            let list = format!("[{}]", kept.join(","));
            let mut members = vec![(listed.member(), list.as_str())];
            members.extend(rest.iter().map(|(n, v)| (n.as_str(), v.as_str())));
            if is_cacheable {
                // What one principal may see is nobody else's to be shown.
                members.push(("cacheScope", "\"private\""));
            }
            let result = emit::object(members);
            session.reply(Direction::ToServer, emit::result_of(id.as_str(), &result));
        });
        if let Some(governor) = self.governor.get() {
            governor.preview(asked, then);
        }
    }

    fn visible(&self, listed: Listed, item: &str) -> Option<Sealed> {
        Subject::listed(&self.config.who, listed, item)?
            .seal(&self.config.who)
            .ok()
    }

    /// The definitions among these items; each is kept for people once.
    pub(super) fn learned<'a>(&self, list: impl IntoIterator<Item = &'a str>) -> Vec<Definition> {
        let definitions: Vec<Definition> = list.into_iter().filter_map(Definition::read).collect();
        for definition in &definitions {
            if self.state().kept.insert(definition.digest) {
                let name = format!("{}/{}", self.config.who.name, definition.name);
                (self.config.keep)(&name, definition);
            }
        }
        definitions
    }

    /// A tool says that it is something else than what was approved: noted once.
    fn has_drifted(&self, tool: &Definition) {
        let name = format!("{}/{}", self.config.who.name, tool.name);
        if !self.state().drifted.insert((name.clone(), tool.digest)) {
            return;
        }
        (self.config.tell)(&format!(
            "the definition of {name} has changed, and it is denied; `placet mcp diff {name}` shows how"
        ));
        if let Some(governor) = self.governor.get() {
            governor.signal(SignalBody {
                code: DenialCode::RuntimeIntegrity,
                count: 1,
                detail: format!("the definition of {name} is not the approved one"),
                ends: false,
                exec: self.config.who.server,
                kind: Some(SignalKind::Drift),
                trip: None,
            });
        }
    }
}
