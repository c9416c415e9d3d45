//! How a line of the table is written down.

use crate::call::{Answer, Call};
use crate::route::{Access, Doc, Lane, Route};
use crate::schemas::{self, Schema};

/// The filters of every list.
pub(super) const PAGE: &[(&str, &str)] = &[
    ("cursor", "go on from the `next` of the page before"),
    ("limit", "at most this many, 1 to 500 (default 50)"),
];

const JSON: &str = "application/json";

pub(super) fn get(
    path: &'static str,
    access: Access,
    handler: fn(Call) -> Answer,
    id: &'static str,
    summary: &'static str,
    reply: Schema,
) -> Route {
    Route {
        method: "GET",
        path,
        access,
        lane: Lane::Read,
        doc: Doc {
            id,
            summary,
            query: &[],
            body: None,
            status: 200,
            also: None,
            kind: JSON,
            reply: Some(reply),
        },
        handler,
    }
}

pub(super) fn text(
    path: &'static str,
    access: Access,
    handler: fn(Call) -> Answer,
    id: &'static str,
    summary: &'static str,
    kind: &'static str,
) -> Route {
    let route = get(path, access, handler, id, summary, schemas::ANY);
    Route {
        doc: Doc {
            kind,
            reply: None,
            ..route.doc
        },
        ..route
    }
}

#[expect(
    clippy::too_many_arguments,
    reason = "a line of a table; each has its place in it"
)]
pub(super) fn post(
    path: &'static str,
    access: Access,
    lane: Lane,
    handler: fn(Call) -> Answer,
    id: &'static str,
    summary: &'static str,
    body: Schema,
    reply: (u16, Schema),
) -> Route {
    let route = get(path, access, handler, id, summary, reply.1);
    Route {
        method: "POST",
        lane,
        doc: Doc {
            body: Some(body),
            status: reply.0,
            ..route.doc
        },
        ..route
    }
}

pub(super) fn or(route: Route, also: (u16, &'static str, Schema)) -> Route {
    Route {
        doc: Doc {
            also: Some(also),
            ..route.doc
        },
        ..route
    }
}

pub(super) fn filtered(route: Route, query: &'static [(&'static str, &'static str)]) -> Route {
    Route {
        doc: Doc { query, ..route.doc },
        ..route
    }
}
