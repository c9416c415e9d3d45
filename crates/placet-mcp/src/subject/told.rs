//! What a client says beside its request, in `_meta`, as far as policies see it.
//!
//! How it names itself always; of the rest only members that somebody named beforehand. A member that changes from
//! try to try would make each try another request: the same one could never be approved.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use placet_types::call::Members;
use placet_types::canonical::Json;

use super::SubjectError;
use crate::frame::FrameError;

/// Longest name of a member, in bytes.
const NAME_BYTES_MAX: usize = 128;
/// Longest name or version of a client that policies see, in bytes.
const PROGRAM_BYTES_MAX: usize = 256;
/// What every request carries, and what differs from try to try.
const VOLATILE: [&str; 4] = ["progressToken", "traceparent", "tracestate", "baggage"];
/// Beginning of the protocol's own names.
const RESERVED: &str = "io.modelcontextprotocol/";
/// Where a client without sessions says with each request what it is.
const CLIENT: &str = "io.modelcontextprotocol/clientInfo";

/// The name of a member of `_meta` that policies may see.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MetaName(String);

/// What speaks for a client, by its own word.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Program {
    name: Option<String>,
    version: Option<String>,
}

impl FromStr for MetaName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if VOLATILE.contains(&text) {
            return Err(format!(
                "`{text}` differs from try to try: no two calls would be the same, and none could be approved"
            ));
        }
        if text.starts_with(RESERVED) {
            return Err(format!(
                "`{RESERVED}…` is the protocol's own; policies see `client` and `client_version`"
            ));
        }
        if (1..=NAME_BYTES_MAX).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
        {
            Ok(Self(text.to_owned()))
        } else {
            Err(format!(
                "it is the name of a member of `_meta`, of at most {NAME_BYTES_MAX} letters without spaces"
            ))
        }
    }
}

impl fmt::Display for MetaName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Program {
    /// Of `initialize`.
    #[must_use]
    pub fn of_opening(params: Option<&Json>) -> Self {
        let info = params.and_then(|params| params.get("clientInfo"));
        info.map(Self::of).unwrap_or_default()
    }

    /// Of a request that says so itself.
    pub(super) fn of_request(beside: &Members) -> Option<Self> {
        beside.get(CLIENT).map(Self::of)
    }

    fn of(info: &Json) -> Self {
        let text = |name| {
            let text = info.get(name).and_then(Json::as_str)?;
            (1..=PROGRAM_BYTES_MAX)
                .contains(&text.len())
                .then(|| text.to_owned())
        };
        Self {
            name: text("name"),
            version: text("version"),
        }
    }

    /// What policies see of it.
    pub(super) fn told(&self) -> impl Iterator<Item = (String, Json)> {
        let told = [("client", &self.name), ("client_version", &self.version)];
        told.into_iter()
            .filter_map(|(name, said)| Some((name.to_owned(), Json::String(said.clone()?))))
    }
}

/// The members of `_meta`.
pub(super) fn members(beside: Option<Json>) -> Result<Members, SubjectError> {
    match beside {
        None => Ok(Members::new()),
        Some(Json::Object(members)) => Ok(members),
        Some(_) => Err(SubjectError::Params("_meta")),
    }
}

/// Those of them that policies see; `None` where nobody named any.
pub(super) fn seen(
    named: &BTreeSet<MetaName>,
    beside: &Members,
) -> Result<Option<Members>, SubjectError> {
    if named.is_empty() {
        return Ok(None);
    }
    let mut seen = Members::new();
    for (name, value) in beside {
        match named
            .iter()
            .find(|known| known.0.eq_ignore_ascii_case(name))
        {
            Some(known) if known.0 == *name => {
                seen.insert(name.clone(), value.clone());
            }
            // Another reader might take it for the one that was named.
            Some(_) => return Err(FrameError::CaseTrick(name.clone()).into()),
            None => {}
        }
    }
    Ok(Some(seen))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> Json {
        let bounds = placet_types::canonical::Bounds::MESSAGE;
        Json::parse(text.as_bytes(), bounds).unwrap()
    }

    #[test]
    fn only_what_somebody_named_is_seen_and_nothing_that_changes_from_try_to_try() {
        let named = BTreeSet::from(["com.example/ticket".parse().unwrap()]);
        let beside = json(r#"{"progressToken":1,"com.example/ticket":"T-1","com.example/id":"x"}"#);
        let beside = members(Some(beside)).unwrap();
        let seen_of_it = seen(&named, &beside).unwrap().unwrap();
        assert_eq!(
            Json::Object(seen_of_it),
            json(r#"{"com.example/ticket":"T-1"}"#)
        );
        assert_eq!(seen(&BTreeSet::new(), &beside), Ok(None));
        let trick = members(Some(json(r#"{"com.example/Ticket":"T-1"}"#))).unwrap();
        assert!(seen(&named, &trick).is_err());
        assert!(members(Some(json("[1]"))).is_err());
        for bad in [
            "",
            "a b",
            "progressToken",
            "traceparent",
            "io.modelcontextprotocol/clientInfo",
        ] {
            assert!(bad.parse::<MetaName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_client_is_what_it_says_within_bounds() {
        let info = json(r#"{"clientInfo":{"name":"coder","version":"1.2"}}"#);
        let told: Members = Program::of_opening(Some(&info)).told().collect();
        assert_eq!(
            Json::Object(told),
            json(r#"{"client":"coder","client_version":"1.2"}"#)
        );
        let long = format!(
            r#"{{"clientInfo":{{"name":"{}","version":7}}}}"#,
            "x".repeat(257)
        );
        for odd in [long.as_str(), "{}", r#"{"clientInfo":1}"#] {
            assert_eq!(Program::of_opening(Some(&json(odd))).told().count(), 0);
        }
        assert_eq!(Program::of_opening(None), Program::default());
    }
}
