//! Which execution led to which.

use hyper::StatusCode;
use placet_lineage::{Export, Query};
use placet_types::ExecutionId;
use serde_json::Value;

use super::executions::{NodeReply, PageReply, node, page};
use crate::call::{Answer, Call, Sees};
use crate::problem::Problem;
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

/// The graph in another format, for other tools; for those who see everything.
pub(super) fn export(call: Call) -> Answer {
    Box::pin(async move {
        let format: Option<String> = call.query.get("format")?;
        let format = format.unwrap_or_else(|| "prov".to_owned());
        let within: Option<ExecutionId> = call.query.get("within")?;
        if !matches!(call.sees(), Sees::Everything) {
            let reason = "exports are for operators and auditors";
            return Err(Problem::of(&crate::identity::unverified(reason)));
        }
        let value = call
            .read(move |shared| {
                let reader = shared.service.authority().reader();
                let domain = shared.service.status().domain;
                shared.lineage.look(&reader, |graph| {
                    let mut export = Export::of(graph, &domain);
                    if within.is_some() {
                        export = export.only(&Query {
                            within,
                            ..Query::default()
                        });
                    }
                    match format.as_str() {
                        "prov" => Ok(export.prov()),
                        "otlp" => Ok(export.otlp()),
                        "openlineage" => Ok(Value::Array(export.openlineage())),
                        _ => Err(Problem::malformed("format: prov, otlp or openlineage")),
                    }
                })?
            })
            .await?;
        reply::json(StatusCode::OK, &value)
    })
}
