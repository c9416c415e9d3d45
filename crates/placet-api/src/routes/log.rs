//! The evidence log as C2SP serves it.

use hyper::StatusCode;
use placet_authority::proofs;
use placet_tlog::tile::Resource;
use placet_types::Index;

use crate::call::{Answer, Call};
use crate::problem::Problem;
use crate::reply;

const TEXT: &str = "text/plain; charset=utf-8";

/// The only one that changes.
pub(super) fn checkpoint(call: Call) -> Answer {
    Box::pin(async move {
        let checkpoint = call.service().authority().reader().checkpoint();
        let body = checkpoint.to_string().into_bytes();
        Ok(reply::cacheable(&call.headers, TEXT, body, false))
    })
}

/// The domain's public policy file, for whoever trusts this connection.
pub(super) fn policy(call: Call) -> Answer {
    Box::pin(async move {
        let body = call.shared.policy.clone().into_bytes();
        Ok(reply::cacheable(&call.headers, TEXT, body, false))
    })
}

/// Hash tiles and entry bundles never change.
pub(super) fn tile(call: Call) -> Answer {
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
pub(super) fn proof(call: Call) -> Answer {
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
