//! Requests without sessions share one: each gets an id there that nobody else has, and what comes back for it
//! gets the one that its client knows.

use std::borrow::Cow;

use hyper::StatusCode;

use super::streams::Asked;
use crate::emit;
use crate::frame::{Bounds, Frame, Kind, OwnedId, member, members};

/// The member of `_meta` that names the request that something is told about.
const SUBSCRIPTION: &str = "io.modelcontextprotocol/subscriptionId";

/// The request under another id, and its progress told under that id as well.
pub(super) fn request(text: &str, id: &OwnedId) -> Option<String> {
    let frame = Frame::parse(text.as_bytes(), Bounds::REQUEST).ok()?;
    let Kind::Request { method, params, .. } = frame.kind else {
        return None;
    };
    // The session refuses them as well, for what it governs: here they would be lost.
    if !frame.extra.is_empty() {
        return None;
    }
    let params = params.map(|params| {
        let changed = within(params, "progressToken", id.as_str());
        changed.map_or(Cow::Borrowed(params), Cow::Owned)
    });
    Some(emit::request(id.as_str(), method, params.as_deref()))
}

/// Which request a notification is about, as it says.
pub(super) struct About {
    token: Option<String>,
    subscription: Option<String>,
}

pub(super) fn about(params: Option<&str>) -> About {
    let of = |params: &str, name: &str| {
        let params = members(params).ok()?;
        member(&params, name).map(str::to_owned)
    };
    let meta = params.and_then(|params| of(params, "_meta"));
    About {
        token: params.and_then(|params| of(params, "progressToken")),
        subscription: meta.and_then(|meta| of(&meta, SUBSCRIPTION)),
    }
}

impl About {
    pub(super) fn is_of(&self, asked: &Asked) -> bool {
        let own = match &asked.original {
            Some(_) => Some(asked.id.as_str()),
            None => asked.token.as_deref(),
        };
        (self.token.is_some() && self.token.as_deref() == own)
            || self.subscription.as_deref() == Some(asked.id.as_str())
    }
}

/// What a notification says, in the words of the client that it goes to.
pub(super) fn notified(params: Option<&str>, asked: Option<&Asked>) -> Option<String> {
    let params = params?;
    let Some((asked, original)) = asked.and_then(|asked| Some((asked, asked.original.as_ref()?)))
    else {
        return Some(params.to_owned());
    };
    let told = with(params, "progressToken", |token| {
        (token == asked.id.as_str()).then(|| asked.token.clone())?
    });
    let told = told.map_or(Cow::Borrowed(params), Cow::Owned);
    let named = with(&told, "_meta", |meta| {
        with(meta, SUBSCRIPTION, |id| {
            (id == asked.id.as_str()).then(|| original.as_str().to_owned())
        })
    });
    Some(named.unwrap_or_else(|| told.into_owned()))
}

/// The status that goes with an answer of the revision without sessions.
pub(super) fn status(text: &str) -> StatusCode {
    let code = || {
        let envelope = members(text).ok()?;
        let error = members(member(&envelope, "error")?).ok()?;
        member(&error, "code")?.parse::<i64>().ok()
    };
    match code() {
        Some(-32_601) => StatusCode::NOT_FOUND,
        Some(-32_700 | -32_600 | -32_602 | -32_022..=-32_020) => StatusCode::BAD_REQUEST,
        Some(_) | None => StatusCode::OK,
    }
}

/// `params` with this member of its `_meta`, which is there, made another.
fn within(params: &str, name: &str, value: &str) -> Option<String> {
    with(params, "_meta", |meta| {
        with(meta, name, |_| Some(value.to_owned()))
    })
}

/// An object with this member made another; `None` where it is not there, or stays what it is.
fn with(object: &str, name: &str, change: impl FnOnce(&str) -> Option<String>) -> Option<String> {
    let all = members(object).ok()?;
    let changed = change(member(&all, name)?)?;
    let each = all.iter().map(|one| {
        let value = if one.name == name {
            changed.as_str()
        } else {
            one.value
        };
        (one.name.as_ref(), value)
    });
    Some(emit::object(each))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_back_is_in_the_words_of_the_client_that_asked() {
        let own = OwnedId::text("alone-7");
        let text = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x","_meta":{"progressToken":5,"k":[1, 2]}}}"#;
        let asked = request(text, &own).unwrap();
        assert!(asked.contains(r#""id":"alone-7""#), "{asked}");
        assert!(
            asked.contains(r#""_meta":{"progressToken":"alone-7","k":[1, 2]}"#),
            "{asked}"
        );
        let asked = Asked {
            id: own,
            original: OwnedId::read("1"),
            token: Some("5".to_owned()),
        };
        let progress = r#"{"progressToken":"alone-7","progress":1}"#;
        assert!(about(Some(progress)).is_of(&asked));
        assert_eq!(
            notified(Some(progress), Some(&asked)).unwrap(),
            r#"{"progressToken":5,"progress":1}"#
        );
        let changed = r#"{"_meta":{"io.modelcontextprotocol/subscriptionId":"alone-7"}}"#;
        assert!(about(Some(changed)).is_of(&asked));
        assert_eq!(
            notified(Some(changed), Some(&asked)).unwrap(),
            r#"{"_meta":{"io.modelcontextprotocol/subscriptionId":1}}"#
        );
        // What is about nothing that this client asked stays as it is.
        let other = r#"{"progressToken":"alone-8","progress":1}"#;
        assert!(!about(Some(other)).is_of(&asked));
        assert_eq!(notified(Some(other), Some(&asked)).unwrap(), other);
    }

    #[test]
    fn what_no_session_would_hear_of_is_not_dropped_in_silence() {
        let own = OwnedId::text("alone-7");
        let extra = r#"{"jsonrpc":"2.0","id":1,"method":"ping","extra":1}"#;
        assert_eq!(request(extra, &own), None);
        for (error, expected) in [
            (-32_601, StatusCode::NOT_FOUND),
            (-32_020, StatusCode::BAD_REQUEST),
            (-32_050, StatusCode::OK),
        ] {
            let text = format!(r#"{{"jsonrpc":"2.0","id":1,"error":{{"code":{error}}}}}"#);
            assert_eq!(status(&text), expected);
        }
    }
}
