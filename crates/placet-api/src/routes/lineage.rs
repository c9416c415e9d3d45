//! Which execution led to which.

use hyper::StatusCode;
use placet_lineage::{Export, Graph, Node, Query, Status};
use placet_types::{ExecutionId, Index};
use serde::Serialize;
use serde_json::Value;

use super::executions::{NodeReply, PageReply, node, page};
use super::lines::{PAGE, filtered, get};
use crate::call::{Answer, Call, Sees};
use crate::problem::Problem;
use crate::reply;
use crate::route::{Access, Route};
use crate::schemas;

/// The routes of lineage.
pub(super) fn lines() -> Vec<Route> {
    vec![
        filtered(
            get(
                "/v1/executions/{exec}/ancestors",
                Access::Member,
                ancestors,
                "ancestors",
                "The parent, its parent, and so on",
                schemas::PAGE_OF_NODES,
            ),
            &[],
        ),
        filtered(
            get(
                "/v1/executions/{exec}/descendants",
                Access::Member,
                descendants,
                "descendants",
                "Everything below an execution, in log order",
                schemas::PAGE_OF_NODES,
            ),
            PAGE,
        ),
        filtered(
            get(
                "/v1/lineage/shape",
                Access::Public,
                shape,
                "lineageShape",
                "Which decision led to which, and nothing else of them; the latest first",
                schemas::SHAPE,
            ),
            PAGE,
        ),
        filtered(
            get(
                "/v1/lineage/export",
                Access::Member,
                export,
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
    ]
}

/// The parent, its parent, and so on.
fn ancestors(call: Call) -> Answer {
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
fn descendants(call: Call) -> Answer {
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

/// An execution, as far as it is anybody's business where the log is public: where it stands and what it
/// came from. Not who, not what, not why.
#[derive(Serialize)]
struct Shape {
    #[serde(skip_serializing_if = "Option::is_none")]
    ended: Option<Index>,
    index: Index,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent: Option<Index>,
    status: Status,
}

#[derive(Serialize)]
struct Shapes {
    items: Vec<Shape>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<Index>,
}

/// Which decision led to which, the latest first.
fn shape(call: Call) -> Answer {
    Box::pin(async move {
        let (limit, cursor) = page(&call)?;
        let shapes = call
            .read(move |shared| {
                let reader = shared.service.authority().reader();
                shared
                    .lineage
                    .look(&reader, |graph| shapes(graph, limit, cursor))
            })
            .await?;
        reply::json(StatusCode::OK, &shapes)
    })
}

fn shapes(graph: &Graph, limit: usize, cursor: Option<Index>) -> Shapes {
    let everything = Query::default();
    let nodes = graph.select(&everything).rev();
    let mut nodes = nodes.filter(|node| cursor.is_none_or(|cursor| node.decided.index < cursor));
    let shape = |node: &Node| {
        let parent = node.parent.and_then(|parent| graph.get(&parent));
        Shape {
            ended: node.ended.map(|end| end.at.index),
            index: node.decided.index,
            parent: parent.map(|parent| parent.decided.index),
            status: node.status(),
        }
    };
    let items: Vec<Shape> = nodes.by_ref().take(limit).map(shape).collect();
    let last = items.last().map(|item| item.index);
    Shapes {
        next: last.filter(|_| nodes.next().is_some()),
        items,
    }
}

/// The graph in another format, for other tools; for those who see everything.
fn export(call: Call) -> Answer {
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
