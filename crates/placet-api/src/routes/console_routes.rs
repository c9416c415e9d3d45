//! The routes of the console, and what a browser needs beside the rest.

use super::{
    PAGE, console, console_session, console_sources, demo, filtered, get, lineage, post, text,
};
use crate::identity::{CODE_PATH, PROVIDER_PATH};
use crate::query;
use crate::route::{Access, Doc, Lane, Route};
use crate::schemas;

pub(super) fn table() -> Vec<Route> {
    let session = |path, access, handler, id, summary, reply| {
        let none = schemas::NOTHING;
        post(path, access, Lane::Read, handler, id, summary, none, reply)
    };
    let moved = |path, id| {
        let (what, kind) = ("Leads to the console", "text/html; charset=utf-8");
        let route = text(path, Access::Anyone, console::moved, id, what, kind);
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
            console::page,
            "console",
            "The console, for people",
            "text/html; charset=utf-8",
        ),
        filtered(
            text(
                console::BACK_PATH,
                Access::Anyone,
                console::page,
                "consoleSignedIn",
                "The console, for a browser that comes back from an identity provider",
                "text/html; charset=utf-8",
            ),
            query::ANY,
        ),
        filtered(
            text(
                console::LEFT_PATH,
                Access::Anyone,
                console::page,
                "consoleSignedOut",
                "The console, for a browser that signed out at an identity provider",
                "text/html; charset=utf-8",
            ),
            query::ANY,
        ),
        text(
            "/console/{file}",
            Access::Anyone,
            console::asset,
            "consoleFile",
            "A file of the console",
            "*/*",
        ),
        get(
            "/v1/session",
            Access::Anyone,
            console_session::read,
            "readSession",
            "Who the caller is, and which principals it may act as",
            schemas::SESSION,
        ),
        session(
            "/v1/session",
            Access::Anyone,
            console_session::begin,
            "beginSession",
            "Redeem the token of a link, sent as Placet-Link, for the key of the DPoP proof",
            (201, schemas::SESSION),
        ),
        post(
            PROVIDER_PATH,
            Access::Anyone,
            Lane::Read,
            console_session::provider,
            "beginProviderSignIn",
            "Begin a sign-in by an identity provider, for the key of the DPoP proof",
            schemas::PROVIDER,
            (200, schemas::AWAY),
        ),
        post(
            CODE_PATH,
            Access::Anyone,
            Lane::Read,
            console_session::code,
            "endProviderSignIn",
            "Come back from an identity provider with a code, with a DPoP proof by the same key",
            schemas::CAME_BACK,
            (201, schemas::SESSION),
        ),
        session(
            "/v1/session/end",
            Access::Anyone,
            console_session::end,
            "endSession",
            "End the session of this key",
            (200, schemas::ENDED_SESSION),
        ),
        session(
            "/v1/session/link",
            Access::Member,
            console_session::link,
            "makeLink",
            "A one-time sign-in link for the console; over the Unix socket only",
            (201, schemas::LINK),
        ),
        filtered(
            get(
                "/v1/lineage/shape",
                Access::Public,
                lineage::shape,
                "lineageShape",
                "Which decision led to which, and nothing else of them; the latest first",
                schemas::SHAPE,
            ),
            PAGE,
        ),
        filtered(
            get(
                "/v1/proofs/{index}",
                Access::Public,
                console_sources::proof,
                "proofBundle",
                "The proof bundle about a record; for the public without artifact and parameters",
                schemas::PROOF_BUNDLE,
            ),
            &[(
                "disclose",
                "true: with the private parameters, as far as they are the caller's to see and were not erased",
            )],
        ),
        filtered(
            get(
                "/v1/lineage/export",
                Access::Member,
                lineage::export,
                "exportLineage",
                "The graph for other tools; for operators and auditors",
                schemas::EXPORT,
            ),
            &[
                (
                    "format",
                    "prov (W3C PROV-JSON, the default), otlp (OpenTelemetry), or openlineage",
                ),
                ("within", "only this execution and what is below it"),
            ],
        ),
        get(
            "/v1/demo",
            Access::Member,
            demo::scenes,
            "demoScenes",
            "What can be played here: nothing, but on the node of a demo",
            schemas::SCENES,
        ),
        post(
            "/v1/demo/{scene}",
            Access::Member,
            Lane::Read,
            demo::play,
            "demoPlay",
            "Play a scene of a demo; there are none on other nodes",
            schemas::NOTHING,
            (200, schemas::PLAYED),
        ),
        get(
            "/v1/policy/source",
            Access::Member,
            console_sources::policy,
            "policySource",
            "The bundle in force, to be read",
            schemas::POLICY_SOURCE,
        ),
    ]
}
