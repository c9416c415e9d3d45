//! Which execution led to which.

use hyper::StatusCode;
use placet_types::ExecutionId;

use super::executions::{NodeReply, PageReply, node, page};
use crate::call::{Answer, Call};
use crate::reply;

/// The parent, its parent, and so on.
pub(super) fn ancestors(call: Call) -> Answer {
    Box::pin(async move {
        let exec: ExecutionId = call.part(0)?;
        node(&call, exec).await?;
        let sees = call.sees();
        let page = call
            .read(move |shared| {
                let reader = shared.service.authority().reader();
                shared.lineage.look(&reader, |graph| {
                    let above = graph.ancestors(&exec);
                    let seen = above.filter(|node| sees.principal(&node.principal));
                    PageReply {
                        items: seen.map(NodeReply::from).collect(),
                        next: None,
                    }
                })
            })
            .await?;
        reply::json(StatusCode::OK, &page)
    })
}

/// Everything below it, in log order.
pub(super) fn descendants(call: Call) -> Answer {
    Box::pin(async move {
        let exec: ExecutionId = call.part(0)?;
        node(&call, exec).await?;
        let (limit, cursor) = page(&call)?;
        let sees = call.sees();
        let page = call
            .read(move |shared| {
                let reader = shared.service.authority().reader();
                shared.lineage.look(&reader, |graph| {
                    let mut below = graph
                        .descendants(&exec)
                        .filter(|node| cursor.is_none_or(|cursor| node.decided.index > cursor))
                        .filter(|node| sees.principal(&node.principal));
                    let items: Vec<_> = below.by_ref().take(limit).collect();
                    let last = items.last().map(|node| node.decided.index);
                    PageReply {
                        next: last.filter(|_| below.next().is_some()),
                        items: items.into_iter().map(NodeReply::from).collect(),
                    }
                })
            })
            .await?;
        reply::json(StatusCode::OK, &page)
    })
}
