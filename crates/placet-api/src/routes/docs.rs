//! The documents: for programs as OpenAPI, for people as one page without any outside request.

use std::fmt::Write as _;

use hyper::StatusCode;
use hyper::header::HeaderName;

use super::lines::{get, text};
use super::table;
use crate::call::{Answer, Call};
use crate::openapi;
use crate::reply;
use crate::route::{Access, Route};
use crate::schemas;

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1a1a1a;background:#fff}\
code{font:14px/1.4 ui-monospace,monospace}table{border-collapse:collapse;width:100%}\
td,th{text-align:left;vertical-align:top;padding:.4rem .6rem;border-bottom:1px solid #ddd}\
@media(prefers-color-scheme:dark){body{color:#e6e6e6;background:#161616}td,th{border-color:#333}a{color:#9cf}}";

/// The routes of this interface, described.
pub(super) fn lines() -> Vec<Route> {
    vec![
        text(
            "/docs",
            Access::Anyone,
            page,
            "docs",
            "This interface, for people",
            "text/html; charset=utf-8",
        ),
        get(
            "/openapi.json",
            Access::Anyone,
            document,
            "openapi",
            "This interface, for programs",
            schemas::ANY,
        ),
    ]
}

fn document(_: Call) -> Answer {
    Box::pin(async { reply::json(StatusCode::OK, &openapi::document()) })
}

fn page(_: Call) -> Answer {
    Box::pin(async {
        let kind = "text/html; charset=utf-8";
        let mut reply = reply::bytes(StatusCode::OK, kind, render());
        let policy = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'";
        reply::set(
            &mut reply,
            HeaderName::from_static("content-security-policy"),
            policy,
        );
        Ok(reply)
    })
}

/// Everything on it comes from this program, so nothing needs an escape but what the table escapes.
fn render() -> String {
    let mut html = String::from("<!doctype html><html lang=en><meta charset=utf-8>");
    // Writing to a text does not fail.
    let mut put = |args: std::fmt::Arguments<'_>| html.write_fmt(args).unwrap_or(());
    put(format_args!(
        "<meta name=viewport content=\"width=device-width\"><title>Placet: HTTP interface</title><style>{STYLE}</style>"
    ));
    put(format_args!(
        "<h1>Placet {}: HTTP interface</h1>",
        env!("CARGO_PKG_VERSION")
    ));
    put(format_args!(
        "<p>JSON in and out, read strictly. What is denied is answered 403 with a problem (RFC 9457): <code>code</code> is the denial code, <code>check</code> the check that denied, <code>remedy</code> what would have to change. Say who you are with the Unix socket, or with a DPoP proof (RFC 9449) by an Ed25519 key that <code>placet principal set --key</code> registered. For programs: <a href=openapi.json>openapi.json</a> (OpenAPI 3.1).</p>"
    ));
    put(format_args!(
        "<table><thead><tr><th>Route<th>Who<th>What</thead><tbody>"
    ));
    for route in table() {
        put(format_args!(
            "<tr><td><code>{} {}</code><td>{}<td>{}",
            route.method,
            route.path,
            who(&route),
            route.doc.summary
        ));
        for (name, what) in route.doc.query {
            put(format_args!("<br><code>?{name}</code> {what}"));
        }
    }
    put(format_args!("</tbody></table></html>"));
    html
}

fn who(route: &Route) -> &'static str {
    match route.access {
        Access::Anyone => "anybody",
        Access::Public => "anybody, if the log is public",
        Access::Meters => "anybody, if the meters are public",
        Access::Member => "principals",
        Access::Operator => "operators",
    }
}
