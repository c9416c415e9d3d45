//! The console: its embedded files, and the page that stands in where it was not built.
//!
//! Names are stable and contents have an ETag. Nothing is inline and nothing comes from elsewhere,
//! and the policy that goes with each page says so.

use hyper::StatusCode;
use hyper::header::{CONTENT_DISPOSITION, HeaderName, HeaderValue, LOCATION};

use super::lines::{filtered, text};
use crate::call::{Answer, Call};
use crate::problem::Problem;
use crate::query;
use crate::reply::{self, Reply};
use crate::route::{Access, Doc, Route};

mod files {
    include!(concat!(env!("OUT_DIR"), "/console.rs"));
}

/// Where the console is.
pub(crate) const PATH: &str = "/console/";

/// Where a browser comes back to from an identity provider: the same page.
pub(crate) const BACK_PATH: &str = "/console/signed-in";

/// Where it comes back to once it signed out there: the same page again.
pub(crate) const LEFT_PATH: &str = "/console/signed-out";

const HTML: &str = "text/html; charset=utf-8";
const INDEX: &str = "index.html";
/// The proof viewer as one file, to be saved and opened without a server.
const SAVED: &str = "proof-viewer.html";

/// Only its own files, no inline script, no frames; texts become markup in one place of the program.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
    require-trusted-types-for 'script'; trusted-types svelte-trusted-html";
const PLAIN_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const NOT_BUILT: &str = "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content=\"width=device-width\">\
<title>Placet: no console here</title><style>\
body{font:16px/1.6 system-ui,sans-serif;max-width:42rem;margin:4rem auto;padding:0 1rem;color:#1c2024;background:#fbfbfa}\
code,pre{font:14px/1.5 ui-monospace,monospace}pre{padding:1rem;border:1px solid #d9dadb;border-radius:6px}\
@media(prefers-color-scheme:dark){body{color:#e4e6e8;background:#16181b}pre{border-color:#3a3e44}a{color:#9cc4ff}}</style>\
<h1>The console is not in this build</h1>\
<p>The node works, and so do the command line and the <a href=/docs>HTTP interface</a>. The console is built with Node 20 or later, \
and becomes part of the program with the next build:\
<pre>make console\ncargo build --release -p placet</pre>\
<p><code>make demo</code> and <code>make test</code> do both.</html>";

/// The routes of the console.
pub(super) fn lines() -> Vec<Route> {
    let moved = |path, id| {
        let (what, kind) = ("Leads to the console", "text/html; charset=utf-8");
        let route = text(path, Access::Anyone, moved, id, what, kind);
        let doc = Doc {
            status: 307,
            ..route.doc
        };
        Route { doc, ..route }
    };
    vec![
        moved("/", "root"),
        moved("/console", "consoleMoved"),
        text(
            "/console/",
            Access::Anyone,
            page,
            "console",
            "The console, for people",
            "text/html; charset=utf-8",
        ),
        filtered(
            text(
                BACK_PATH,
                Access::Anyone,
                page,
                "consoleSignedIn",
                "The console, for a browser that comes back from an identity provider",
                "text/html; charset=utf-8",
            ),
            query::ANY,
        ),
        filtered(
            text(
                LEFT_PATH,
                Access::Anyone,
                page,
                "consoleSignedOut",
                "The console, for a browser that signed out at an identity provider",
                "text/html; charset=utf-8",
            ),
            query::ANY,
        ),
        text(
            "/console/{file}",
            Access::Anyone,
            asset,
            "consoleFile",
            "A file of the console",
            "*/*",
        ),
    ]
}

/// Who opens the address in a browser looks for the console.
fn moved(_: Call) -> Answer {
    Box::pin(async {
        let mut reply = reply::bytes(StatusCode::TEMPORARY_REDIRECT, HTML, Vec::new());
        reply::set(&mut reply, LOCATION, PATH);
        Ok(reply)
    })
}

/// The page.
fn page(call: Call) -> Answer {
    Box::pin(async move {
        Ok(match content(INDEX) {
            Some(bytes) => file(&call, INDEX, bytes),
            None => dressed(reply::bytes(StatusCode::OK, HTML, NOT_BUILT), PLAIN_POLICY),
        })
    })
}

/// One of its files.
fn asset(call: Call) -> Answer {
    Box::pin(async move {
        let name = call.parts.first().map(String::as_str).unwrap_or_default();
        let bytes = content(name);
        let bytes = bytes.ok_or_else(|| Problem::not_found("the console has no such file"))?;
        let mut reply = file(&call, name, bytes);
        if name == SAVED {
            // Its script is in it, so it runs from the disk and never from here.
            let saved =
                HeaderValue::from_static("attachment; filename=\"placet-proof-viewer.html\"");
            reply.headers_mut().insert(CONTENT_DISPOSITION, saved);
        }
        Ok(reply)
    })
}

/// Whether the console is part of this program.
pub(crate) fn is_built() -> bool {
    content(INDEX).is_some()
}

fn content(name: &str) -> Option<&'static [u8]> {
    let mut files = files::FILES.iter();
    files.find(|(own, _)| *own == name).map(|(_, bytes)| *bytes)
}

fn file(call: &Call, name: &str, bytes: &'static [u8]) -> Reply {
    let reply = reply::cacheable(&call.headers, kind(name), bytes.to_vec(), false);
    dressed(reply, POLICY)
}

fn kind(name: &str) -> &'static str {
    match name.rsplit_once('.').map(|(_, end)| end) {
        Some("html") => HTML,
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("yml") => "text/yaml; charset=utf-8",
        Some("json") => "application/json",
        _ => "application/octet-stream",
    }
}

fn dressed(mut reply: Reply, policy: &'static str) -> Reply {
    for (name, value) in [
        ("content-security-policy", policy),
        ("cross-origin-opener-policy", "same-origin"),
        ("cross-origin-resource-policy", "same-origin"),
        (
            "permissions-policy",
            "camera=(), geolocation=(), microphone=()",
        ),
    ] {
        reply::set(&mut reply, HeaderName::from_static(name), value);
    }
    reply
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policy_lets_nothing_inline_or_foreign_run() {
        assert!(POLICY.starts_with("default-src 'none'; script-src 'self';"));
        assert!(!POLICY.contains("unsafe") && !POLICY.contains("http"));
    }

    #[test]
    fn the_stand_in_page_says_how_to_build_and_has_no_script() {
        assert!(NOT_BUILT.contains("make console") && !NOT_BUILT.contains("<script"));
    }
}
