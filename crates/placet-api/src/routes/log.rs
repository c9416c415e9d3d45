//! The evidence log as C2SP serves it.

use hyper::StatusCode;
use placet_authority::proofs;
use placet_tlog::tile::Resource;
use placet_types::Index;

use super::lines::text;
use crate::call::{Answer, Call};
use crate::problem::Problem;
use crate::reply;
use crate::route::{Access, Route};

const TEXT: &str = "text/plain; charset=utf-8";

/// The routes of the log.
pub(super) fn lines() -> Vec<Route> {
    vec![
        text(
            "/log/checkpoint",
            Access::Public,
            checkpoint,
            "checkpoint",
            "The latest signed checkpoint (C2SP)",
            "text/plain; charset=utf-8",
        ),
        text(
            "/log/policy",
            Access::Public,
            policy,
            "logPolicy",
            "The domain's public policy file (C2SP)",
            "text/plain; charset=utf-8",
        ),
        text(
            "/log/proof/{index}",
            Access::Public,
            proof,
            "proof",
            "The proof that a record is in the log (C2SP tlog-proof)",
            "text/plain; charset=utf-8",
        ),
        text(
            "/log/tile/{*tile}",
            Access::Public,
            tile,
            "tile",
            "A hash tile or an entry bundle (C2SP tlog-tiles)",
            "application/octet-stream",
        ),
    ]
}

/// The only one that changes.
fn checkpoint(call: Call) -> Answer {
    Box::pin(async move {
        let checkpoint = call.service().authority().reader().checkpoint();
        let body = checkpoint.to_string().into_bytes();
        Ok(reply::cacheable(&call.headers, TEXT, body, false))
    })
}

/// The domain's public policy file, for whoever trusts this connection.
fn policy(call: Call) -> Answer {
    Box::pin(async move {
        let body = call.shared.policy.clone().into_bytes();
        Ok(reply::cacheable(&call.headers, TEXT, body, false))
    })
}

/// Hash tiles and entry bundles never change.
fn tile(call: Call) -> Answer {
    Box::pin(async move {
        let tile = call.parts.first().map(String::as_str).unwrap_or_default();
        let path = format!("tile/{tile}");
        let resource = Resource::parse(&path);
        let resource = resource.map_err(|error| Problem::not_found(error.to_string()))?;
        let body = call
            .read(move |shared| {
                let reader = shared.service.authority().reader();
                Ok(reader.resource(&resource.to_string())?)
            })
            .await?;
        let kind = "application/octet-stream";
        Ok(reply::cacheable(&call.headers, kind, body, true))
    })
}

/// Under the latest checkpoint, so it grows with the log.
fn proof(call: Call) -> Answer {
    Box::pin(async move {
        let index = Index::new(call.part(0)?);
        let body = call
            .read(move |shared| {
                let reader = shared.service.authority().reader();
                Ok(proofs::proof(&reader, index)?.to_string().into_bytes())
            })
            .await?;
        let reply = reply::cacheable(&call.headers, TEXT, body, false);
        debug_assert!(
            reply.status() == StatusCode::OK || reply.status() == StatusCode::NOT_MODIFIED
        );
        Ok(reply)
    })
}
