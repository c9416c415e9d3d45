//! Parameters of the actions that a bundle declares, as `process:run` has its own in
//! [`crate::intent`].

use std::collections::BTreeMap;

use crate::canonical::{Bounds, Json, Malformed};

/// Members of a JSON object.
pub type Members = BTreeMap<String, Json>;

/// Parameters of any action but `process:run`: what policies see of it beside the facts that every
/// action has. Private: the log holds a commitment to their canonical bytes.
///
/// Names that begin with `__` are refused at any depth of `context` and `resource`: Cedar's JSON gives
/// them a meaning, and whoever asks must not choose it. Arguments never become Cedar's JSON.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CallParams {
    /// Arguments of any shape, for actions whose context has `args`.
    pub arguments: Option<Members>,
    /// Attributes of the context, as the bundle's schema declares them for the action.
    pub context: Members,
    /// What was said beside the arguments, of any shape, for actions whose context has `meta`.
    pub meta: Option<Members>,
    /// Attributes of the resource, as the schema declares them for its kind.
    pub resource: Members,
}

impl CallParams {
    /// The action of a connection that leaves an execution, whose peers are decided one by one: to a
    /// resource of the kind `Peer`, by what a scope would list it as.
    pub const CONNECT: &'static str = "network:connect";

    /// Longest canonical form, in bytes.
    pub const BYTES_MAX: usize = 1 << 20;

    /// The canonical bytes.
    #[must_use]
    pub fn to_canonical(&self) -> Vec<u8> {
        let mut members = Members::new();
        for (name, value) in [("arguments", &self.arguments), ("meta", &self.meta)] {
            if let Some(value) = value {
                members.insert(name.to_owned(), Json::Object(value.clone()));
            }
        }
        for (name, value) in [("context", &self.context), ("resource", &self.resource)] {
            if !value.is_empty() {
                members.insert(name.to_owned(), Json::Object(value.clone()));
            }
        }
        Json::Object(members).to_canonical()
    }

    /// Whether a reserved name stands anywhere in these.
    #[must_use]
    pub fn has_reserved(members: &Members) -> bool {
        members.iter().any(|(name, value)| is_reserved(name, value))
    }

    /// Reads canonical bytes.
    ///
    /// # Errors
    ///
    /// [`Malformed`] names the first rule that is broken: not canonical, another member than
    /// `arguments`, `context`, `meta` and `resource`, one that is no object, an empty `context` or
    /// `resource`, or a reserved name.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let bounds = Bounds {
            bytes_max: Self::BYTES_MAX,
            ..Bounds::MESSAGE
        };
        let json = Json::parse(bytes, bounds)?;
        if json.to_canonical() != bytes {
            return Err(Malformed::NotCanonical);
        }
        let Json::Object(members) = json else {
            return Err(shape("parameters are a JSON object"));
        };
        let mut params = Self::default();
        for (name, value) in members {
            let Json::Object(attributes) = value else {
                return Err(shape(
                    "`arguments`, `context`, `meta` and `resource` are objects",
                ));
            };
            match name.as_str() {
                "arguments" => params.arguments = Some(attributes),
                "meta" => params.meta = Some(attributes),
                _ => params.take(&name, attributes)?,
            }
        }
        Ok(params)
    }

    /// Takes what becomes Cedar's JSON.
    fn take(&mut self, name: &str, attributes: Members) -> Result<(), Malformed> {
        if attributes.is_empty() {
            return Err(shape("`context` and `resource` are left out when empty"));
        }
        if Self::has_reserved(&attributes) {
            return Err(shape("a name begins with `__`, which is reserved"));
        }
        match name {
            "context" => self.context = attributes,
            "resource" => self.resource = attributes,
            _ => {
                return Err(shape(
                    "parameters have `arguments`, `context`, `meta` and `resource` only",
                ));
            }
        }
        Ok(())
    }
}

fn shape(what: &str) -> Malformed {
    Malformed::Shape(what.into())
}

fn is_reserved(name: &str, value: &Json) -> bool {
    name.starts_with("__") || holds_reserved(value)
}

/// Whether a reserved name stands anywhere below. As deep as the text may nest, which is bounded.
fn holds_reserved(value: &Json) -> bool {
    match value {
        Json::Array(items) => items.iter().any(holds_reserved),
        Json::Object(members) => members.iter().any(|(name, value)| is_reserved(name, value)),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_read_back_from_their_canonical_bytes() {
        let text = br#"{"context":{"amount":12,"to":["a"]},"resource":{"owner":"rick"}}"#;
        let params = CallParams::decode(text).unwrap();
        assert_eq!(params.context.get("amount"), Some(&Json::Number(12.0)));
        assert_eq!(params.to_canonical(), text);
        assert_eq!(CallParams::decode(b"{}"), Ok(CallParams::default()));
        assert_eq!(CallParams::default().to_canonical(), b"{}");
        let text = br#"{"arguments":{"__x":[null,{"__y":1}]}}"#;
        let params = CallParams::decode(text).unwrap();
        assert_eq!(params.to_canonical(), text);
        let text = br#"{"arguments":{},"meta":{"a/b":[1],"__x":{}}}"#;
        let mut sorted =
            CallParams::decode(br#"{"arguments":{},"meta":{"__x":{},"a/b":[1]}}"#).unwrap();
        assert!(CallParams::decode(text).is_err(), "not canonical");
        assert!(sorted.meta.take().is_some_and(|meta| meta.len() == 2));
        assert_eq!(sorted.to_canonical(), br#"{"arguments":{}}"#);
        let none = CallParams::decode(br#"{"arguments":{}}"#).unwrap();
        assert_eq!(none.arguments, Some(Members::new()));
    }

    #[test]
    fn another_shape_is_refused() {
        for text in [
            r"[]",
            r#"{"context":1}"#,
            r#"{"context":{}}"#,
            r#"{"other":{"a":1}}"#,
            r#"{"arguments":[1]}"#,
            r#"{"meta":"x"}"#,
            r#"{"resource":{"b":1}, "context":{"a":1}}"#,
            r#"{"context":{"__entity":{"id":"x","type":"Principal"}}}"#,
            r#"{"context":{"a":[{"b":{"__extn":1}}]}}"#,
        ] {
            assert!(CallParams::decode(text.as_bytes()).is_err(), "{text}");
        }
    }
}
