//! How a client is asked to wait for an approval: what it can show, and what it is shown.
//!
//! A client of before declares that once, when it begins, and is asked by a request. One without sessions declares it
//! with each request; it is answered `input_required`, and its second try names the state that it was given.

use serde_json::{Value, json};

use crate::emit;
use crate::frame::{OwnedId, member, members, text_of};
use crate::scan::Member;

/// Name of the one thing that is asked for with `input_required`.
const INPUT: &str = "placet-approval";
/// What can be answered `input_required`.
const TAKES_INPUT: [&str; 3] = ["tools/call", "prompts/get", "resources/read"];
/// Where a client without sessions says with each request what it can do.
const CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";

/// How a client can be asked something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Modes {
    form: bool,
    page: bool,
}

/// What a request had of its own where the gateway's question and answer stand: put back for the second try.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Before {
    responses: Option<String>,
    state: Option<String>,
}

impl Modes {
    /// Of `capabilities`: an empty `elicitation` is that of before, which had forms only.
    fn read(capabilities: &str) -> Self {
        let elicitation = members(capabilities)
            .ok()
            .and_then(|all| members(member(&all, "elicitation")?).ok());
        let Some(elicitation) = elicitation else {
            return Self::default();
        };
        let has = |name| member(&elicitation, name).is_some_and(|value| value != "null");
        Self {
            form: has("form") || !has("url"),
            page: has("url"),
        }
    }

    /// What the parameters of `initialize` declare.
    pub(crate) fn declared(params: Option<&str>) -> Self {
        let params = params.and_then(|params| members(params).ok());
        let capabilities = params.as_ref().and_then(|all| member(all, "capabilities"));
        capabilities.map(Self::read).unwrap_or_default()
    }

    /// What a request without a session declares.
    pub(crate) fn of_request(params: Option<&str>) -> Option<Self> {
        let params = members(params?).ok()?;
        let meta = members(member(&params, "_meta")?).ok()?;
        member(&meta, CAPABILITIES).map(Self::read)
    }

    /// Whether it can show a page.
    pub(crate) fn page(self) -> bool {
        self.page
    }

    /// What the client is asked to show; `None` if it can show nothing of use.
    pub(crate) fn question(self, message: &str, console: Option<&str>) -> Option<Value> {
        match console {
            Some(console) if self.page => {
                Some(json!({ "mode": "url", "message": message, "url": console }))
            }
            Some(_) | None if self.form => Some(json!({
                "mode": "form", "message": message,
                "requestedSchema": { "type": "object", "properties": {} },
            })),
            Some(_) | None => None,
        }
    }
}

/// What stands in the question: what is held, why, and how it goes on.
pub(crate) fn message(what: &str, reason: &str, exec: &str, by_page: bool) -> String {
    let how = if by_page {
        format!("There it is {exec}")
    } else {
        format!("Have it approved: `placet approve {exec}`")
    };
    format!("Placet holds {what}: {reason}. {how}. It goes on by itself once it is approved.")
}

/// Whether a request of this method can be answered `input_required`.
pub(crate) fn takes_input(method: &str) -> bool {
    TAKES_INPUT.contains(&method)
}

/// The answer that asks for a second try with this state.
pub(crate) fn input_required(id: &OwnedId, question: &Value, token: &str) -> String {
    let result = json!({
        "resultType": "input_required",
        "inputRequests": { INPUT: { "method": "elicitation/create", "params": question } },
        "requestState": token,
    });
    emit::result_of(id.as_str(), &result.to_string())
}

/// The state that a request names.
pub(crate) fn state_of(given: &[Member<'_>]) -> Option<String> {
    let state = member(given, "requestState").and_then(text_of)?;
    Some(state.into_owned())
}

/// Whether the second try says that its user goes on.
pub(crate) fn goes_on(given: &[Member<'_>]) -> bool {
    let answer = member(given, "inputResponses")
        .and_then(|responses| members(responses).ok())
        .and_then(|responses| member(&responses, INPUT).map(str::to_owned));
    answer.is_some_and(|answer| is_accepted(&answer))
}

/// Whether the answer to an elicitation says that somebody goes on with it.
pub(crate) fn is_accepted(result: &str) -> bool {
    members(result).is_ok_and(|all| member(&all, "action") == Some("\"accept\""))
}

impl Before {
    /// What of these parameters the second try will lack.
    pub(crate) fn of(params: Option<&str>) -> Self {
        let given = params.and_then(|params| members(params).ok());
        let given = given.unwrap_or_default();
        let own = |name: &str| member(&given, name).map(str::to_owned);
        Self {
            responses: own("inputResponses"),
            state: own("requestState"),
        }
    }

    /// The parameters of the second try as those of the first were.
    pub(crate) fn back_in(&self, given: &[Member<'_>]) -> String {
        let own = [
            ("inputResponses", self.responses.as_deref()),
            ("requestState", self.state.as_deref()),
        ];
        let rest = given
            .iter()
            .filter(|one| one.name != "inputResponses" && one.name != "requestState")
            .map(|one| (one.name.as_ref(), one.value));
        let own = own
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?)));
        emit::object(rest.chain(own))
    }
}
