//! Query strings, read strictly: each name once, none that the resource does not know.

use std::collections::BTreeMap;
use std::str::FromStr;

use crate::problem::Problem;

/// Longest query string, in bytes.
const BYTES_MAX: usize = 4096;

/// The parameters of a resource that reads none of them and takes whatever there is.
pub(crate) const ANY: &[(&str, &str)] = &[("*", "whatever there is")];

/// What stands after the question mark.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Query(BTreeMap<String, String>);

impl Query {
    /// Reads a query string that may hold these names.
    pub(crate) fn parse(text: Option<&str>, known: &[&str]) -> Result<Self, Problem> {
        let text = text.unwrap_or_default();
        if text.len() > BYTES_MAX {
            return Err(Problem::malformed("the query is too long"));
        }
        let mut all = BTreeMap::new();
        if known == ["*"] {
            return Ok(Self(all));
        }
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let odd = || Problem::malformed("the query is not percent-encoded UTF-8");
            let (name, value) = (
                decode(name).ok_or_else(odd)?,
                decode(value).ok_or_else(odd)?,
            );
            if !known.contains(&name.as_str()) {
                let known = if known.is_empty() {
                    "none".to_owned()
                } else {
                    known.join(", ")
                };
                let name: String = name.chars().take(64).collect();
                return Err(Problem::malformed(format!(
                    "the query parameter `{name}` is unknown here; known: {known}"
                )));
            }
            if all.insert(name, value).is_some() {
                return Err(Problem::malformed("a query parameter stands twice"));
            }
        }
        Ok(Self(all))
    }

    /// The parameter of this name.
    pub(crate) fn get<T: FromStr>(&self, name: &str) -> Result<Option<T>, Problem> {
        let Some(text) = self.0.get(name) else {
            return Ok(None);
        };
        let odd = |_| Problem::malformed(format!("the query parameter `{name}` does not read"));
        text.parse().map(Some).map_err(odd)
    }

    /// A parameter that is there or not: `name`, `name=true`, `name=false`.
    pub(crate) fn flag(&self, name: &str) -> Result<bool, Problem> {
        match self.0.get(name).map(String::as_str) {
            None | Some("false") => Ok(false),
            Some("" | "true") => Ok(true),
            Some(_) => Err(Problem::malformed(format!(
                "the query parameter `{name}` is true or false"
            ))),
        }
    }
}

fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let (high, low) = (rest.next()?, rest.next()?);
                let digit = |byte: u8| char::from(byte).to_digit(16);
                u8::try_from(digit(high)? * 16 + digit(low)?).ok()?
            }
            other => other,
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_reads_in_one_way_or_not_at_all() {
        let known = ["principal", "limit"];
        let query = Query::parse(Some("principal=agent%3Acoder&limit=7"), &known).unwrap();
        assert_eq!(query.get("principal"), Ok(Some("agent:coder".to_owned())));
        assert_eq!(query.get::<u64>("limit"), Ok(Some(7)));
        for text in [
            "limit=1&limit=2",
            "other=1",
            "limit=%4",
            "limit=%zz",
            "limit=%ff",
        ] {
            assert!(Query::parse(Some(text), &known).is_err(), "{text}");
        }
        assert!(
            Query::parse(Some("limit=x"), &known)
                .unwrap()
                .get::<u64>("limit")
                .is_err()
        );
    }
}
