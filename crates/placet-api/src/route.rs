//! The table of routes: what there is, who may ask, how much may be sent, and who answers.
//!
//! The dispatcher and the OpenAPI document are made of the same table, so a route that is not
//! documented does not exist.

use std::collections::BTreeMap;

use hyper::Method;

use crate::body::SMALL_BYTES;
use crate::call::{Answer, Call};
use crate::problem::Problem;
use crate::schemas::Schema;

/// One route.
#[derive(Clone, Copy)]
pub(crate) struct Route {
    /// `GET` or `POST`.
    pub(crate) method: &'static str,
    pub(crate) path: &'static str,
    pub(crate) access: Access,
    pub(crate) lane: Lane,
    pub(crate) doc: Doc,
    pub(crate) handler: fn(Call) -> Answer,
}

/// Who may ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Anybody, whatever is configured.
    Anyone,
    /// Anybody where the log is public, and every principal.
    Public,
    /// Anybody where the meters are public, and every principal.
    Meters,
    /// Whoever may act as some active principal.
    Member,
    /// Operators. Checked where the attempt is recorded.
    Operator,
}

/// Which bounds hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Lane {
    /// Intents: large bodies, refused first when there is too much.
    Intent,
    /// Policy bundles: large bodies, for operators.
    Bundle,
    /// What carries on or ends authority: small bodies, never behind intents.
    Urgent,
    /// Everything that only reads.
    Read,
}

/// What the documents say of a route.
#[derive(Clone, Copy)]
pub(crate) struct Doc {
    /// Unique name.
    pub(crate) id: &'static str,
    /// One line.
    pub(crate) summary: &'static str,
    /// Query parameters that are known.
    pub(crate) query: &'static [(&'static str, &'static str)],
    /// The body that is taken.
    pub(crate) body: Option<Schema>,
    /// What comes back when all is well.
    pub(crate) status: u16,
    /// What may come back instead, though all is well.
    pub(crate) also: Option<(u16, &'static str, Schema)>,
    /// Its media type.
    pub(crate) kind: &'static str,
    /// Its shape, for JSON.
    pub(crate) reply: Option<Schema>,
}

/// Finds the route of a request.
pub(crate) struct Routes {
    paths: matchit::Router<BTreeMap<&'static str, Route>>,
}

/// A route that was found, with the variable parts of its path.
pub(crate) struct Found {
    pub(crate) route: Route,
    pub(crate) parts: Vec<String>,
}

impl Lane {
    pub(crate) const ALL: [Self; 4] = [Self::Intent, Self::Bundle, Self::Urgent, Self::Read];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Intent => "intent",
            Self::Bundle => "bundle",
            Self::Urgent => "urgent",
            Self::Read => "read",
        }
    }

    /// Longest body, where intents may have `large`.
    pub(crate) const fn body_bytes(self, large: usize) -> usize {
        match self {
            Self::Intent | Self::Bundle => large,
            Self::Urgent | Self::Read => SMALL_BYTES,
        }
    }
}

impl Routes {
    /// Takes a table. Two routes of one path and method, or paths that contradict each other, are a
    /// mistake of this program that its tests find.
    pub(crate) fn new(table: &[Route]) -> Result<Self, matchit::InsertError> {
        let mut by_path: BTreeMap<&'static str, BTreeMap<&'static str, Route>> = BTreeMap::new();
        for route in table {
            let methods = by_path.entry(route.path).or_default();
            methods.insert(route.method, *route);
        }
        let mut paths = matchit::Router::new();
        for (path, methods) in by_path {
            paths.insert(path, methods)?;
        }
        Ok(Self { paths })
    }

    /// The route of this method and path.
    pub(crate) fn find(&self, method: &Method, path: &str) -> Result<Found, Problem> {
        // No name here needs an escape, so none is taken: one resource, one path.
        let plain = path
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && byte != b'%');
        let matched = self.paths.at(path).ok().filter(|_| plain);
        let matched =
            matched.ok_or_else(|| Problem::not_found("there is no such resource; see /docs"))?;
        let methods = matched.value;
        // What can be got can be asked about.
        let wanted = if method == Method::HEAD {
            "GET"
        } else {
            method.as_str()
        };
        let route = methods.get(wanted).copied().ok_or_else(|| {
            let allowed: Vec<&str> = methods.keys().copied().collect();
            Problem::method(allowed.join(", "))
        })?;
        let parts = matched.params.iter().map(|(_, part)| part.to_owned());
        Ok(Found {
            route,
            parts: parts.collect(),
        })
    }
}
