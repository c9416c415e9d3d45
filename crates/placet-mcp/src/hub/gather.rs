//! What all servers are asked together: openings, lists, levels.

use std::collections::BTreeSet;

use placet_types::DenialCode;

use super::names::Kind;
use super::{Hub, State, merge};
use crate::emit;
use crate::frame::{Answer, OwnedId, items, member, members, text_of};
use crate::method::Listed;

/// Pages that one server is asked for.
const PAGES_MAX: u32 = 64;

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// `initialize`
    Opening,
    /// `server/discover`
    Discovery,
    /// A list.
    List(Listed),
    /// Something that is answered with nothing.
    Nothing,
}

/// What has come of it.
pub(super) struct Gather {
    what: What,
    method: String,
    params: Option<String>,
    /// Whether the client waits for it, or the hub itself.
    is_own: bool,
    left: BTreeSet<usize>,
    /// Results, as they came; of a list, one for each page.
    results: Vec<(usize, String)>,
    error: Option<String>,
    pages: u32,
}

impl Hub {
    pub(super) fn gather(&self, id: &OwnedId, what: What, method: &str, params: Option<&str>) {
        let has_cursor = params
            .and_then(|params| members(params).ok())
            .is_some_and(|all| member(&all, "cursor").is_some());
        if has_cursor && matches!(what, What::List(_)) {
            let why = "there is one page, without a cursor";
            return self.refused(id, -32_602, DenialCode::Malformed, why);
        }
        self.begin(id, what, (method, params), false);
    }

    /// Asks everybody for names of a kind, unless they are asked already.
    pub(super) fn gather_names(&self, kind: Kind) {
        let lists: &[(Listed, &str)] = match kind {
            Kind::Tool => &[(Listed::Tools, "tools/list")],
            Kind::Prompt => &[(Listed::Prompts, "prompts/list")],
            Kind::Uri | Kind::Template => &[
                (Listed::Documents, "resources/list"),
                (Listed::Templates, "resources/templates/list"),
            ],
        };
        for (listed, method) in lists {
            let id = {
                let mut state = self.state();
                let is_asked = state
                    .gathers
                    .values()
                    .any(|gather| gather.is_own && gather.what == What::List(*listed));
                if is_asked {
                    continue;
                }
                state.own_id()
            };
            self.begin(&id, What::List(*listed), (method, None), true);
        }
    }

    fn begin(
        &self,
        id: &OwnedId,
        what: What,
        (method, params): (&str, Option<&str>),
        is_own: bool,
    ) {
        let living = self.living();
        {
            let mut state = self.state();
            if state.gathers.contains_key(id) || state.open.contains_key(id) {
                drop(state);
                let why = "this id is in use";
                return self.refused(id, -32_600, DenialCode::Malformed, why);
            }
            state.gathers.insert(
                id.clone(),
                Gather {
                    what,
                    method: method.to_owned(),
                    params: params.map(str::to_owned),
                    is_own,
                    left: living.iter().copied().collect(),
                    results: Vec::new(),
                    error: None,
                    pages: 0,
                },
            );
        }
        for part in living {
            self.ask_page(id, part, (method, params.map(str::to_owned)));
        }
    }

    fn ask_page(&self, gather: &OwnedId, part: usize, (method, params): (&str, Option<String>)) {
        let id = {
            let mut state = self.state();
            let id = state.own_id();
            state.pages.insert(id.clone(), (gather.clone(), part));
            id
        };
        let asked = self.to(part, emit::request(id.as_str(), method, params.as_deref()));
        if !asked {
            self.page(
                part,
                &id,
                Answer::Error("{\"code\":-32000,\"message\":\"it has ended\"}"),
            );
        }
    }

    /// Takes an answer to what was asked of all; `false` of any other.
    pub(super) fn page(&self, part: usize, id: &OwnedId, answer: Answer<'_>) -> bool {
        let (gather, next) = {
            let mut state = self.state();
            match state.pages.get(id) {
                Some((_, asked)) if *asked == part => {}
                Some(_) | None => return false,
            }
            let Some((gather, _)) = state.pages.remove(id) else {
                return false;
            };
            let Some(open) = state.gathers.get_mut(&gather) else {
                // The client has given it up.
                return true;
            };
            (gather, open.take(part, answer))
        };
        if let Some((method, params)) = next {
            self.ask_page(&gather, part, (&method, params));
        }
        self.finish(&gather);
        true
    }

    /// A server has ended: nothing more comes of what it was asked.
    pub(super) fn give_up_pages(&self, part: usize) {
        let asked: Vec<OwnedId> = {
            let state = self.state();
            let of = state.pages.iter().filter(|(_, (_, asked))| *asked == part);
            of.map(|(id, _)| id.clone()).collect()
        };
        for id in asked {
            self.page(
                part,
                &id,
                Answer::Error("{\"code\":-32000,\"message\":\"the server has ended\"}"),
            );
        }
    }

    fn finish(&self, id: &OwnedId) {
        let (gather, waiting) = {
            let mut state = self.state();
            if !state
                .gathers
                .get(id)
                .is_some_and(|gather| gather.left.is_empty())
            {
                return;
            }
            let Some(gather) = state.gathers.remove(id) else {
                return;
            };
            if let What::List(listed) = gather.what {
                state.learn(listed, &gather);
            }
            let is_asking = state.gathers.values().any(|gather| gather.is_own);
            let waiting = if is_asking {
                Vec::new()
            } else {
                std::mem::take(&mut state.waiting)
            };
            (gather, waiting)
        };
        if !gather.is_own {
            let answer = self.answer(id, &gather);
            self.client.push(answer);
        }
        for frame in waiting {
            self.take_client(&frame);
        }
    }

    fn answer(&self, id: &OwnedId, gather: &Gather) -> String {
        if let (true, Some(error)) = (gather.results.is_empty(), &gather.error) {
            return format!(
                r#"{{"jsonrpc":"2.0","id":{},"error":{error}}}"#,
                id.as_str()
            );
        }
        let results: Vec<(usize, &str)> = gather
            .results
            .iter()
            .map(|(part, result)| (*part, result.as_str()))
            .collect();
        let result = match gather.what {
            What::Opening | What::Discovery => {
                let names: Vec<&str> = self.parts.iter().map(|(name, _)| name.as_str()).collect();
                merge::openings(&results, &names, gather.what == What::Discovery)
            }
            What::List(listed) => merge::lists(&results, listed, &self.state().names),
            What::Nothing => results
                .first()
                .map_or("{}", |(_, result)| result)
                .to_owned(),
        };
        emit::result_of(id.as_str(), &result)
    }
}

impl Gather {
    /// Takes one answer; gives what to ask this server next, if anything.
    fn take(&mut self, part: usize, answer: Answer<'_>) -> Option<(String, Option<String>)> {
        let result = match answer {
            Answer::Error(error) => {
                self.left.remove(&part);
                self.error.get_or_insert_with(|| error.to_owned());
                return None;
            }
            Answer::Result(result) => result,
        };
        self.results.push((part, result.to_owned()));
        let cursor = members(result)
            .ok()
            .and_then(|all| member(&all, "nextCursor").map(str::to_owned))
            .filter(|cursor| text_of(cursor).is_some());
        match (self.what, cursor) {
            (What::List(_), Some(cursor)) if self.pages < PAGES_MAX => {
                self.pages = self.pages.saturating_add(1);
                let given = self
                    .params
                    .as_deref()
                    .and_then(|params| members(params).ok());
                let given = given.unwrap_or_default();
                let all = given.iter().map(|one| (one.name.as_ref(), one.value));
                let params = emit::object(all.chain([("cursor", cursor.as_str())]));
                Some((self.method.clone(), Some(params)))
            }
            _ => {
                self.left.remove(&part);
                None
            }
        }
    }
}

impl State {
    fn learn(&mut self, listed: Listed, gather: &Gather) {
        let kind = Kind::of(listed);
        let mut found = Vec::new();
        for (part, result) in &gather.results {
            let page = members(result).unwrap_or_default();
            let list = member(&page, listed.member()).and_then(|list| items(list).ok());
            for item in list.unwrap_or_default() {
                let name = members(item)
                    .ok()
                    .and_then(|all| Some(text_of(member(&all, kind.member())?)?.into_owned()));
                found.extend(name.map(|name| (*part, name)));
            }
        }
        self.names.learn(kind, found);
    }
}
