//! Executions: what their gateways report, and what is known of them.

use hyper::StatusCode;
use placet_artifact::Artifact;
use placet_authority::{Denied, EndReport, SignalReport, Unavailable};
use placet_evidence::{Exit, Grant, RunEnd, SignalKind, Usage};
use placet_lineage::{Graph, Node, Query, Status};
use placet_types::{DenialCode, ExecutionId, GatewayName, Index, Millis};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::oneshot;

use super::intents::caller;
use crate::call::{Answer, Call, Sees, answered};
use crate::problem::Problem;
use crate::reply::{self, Reply};

/// Most nodes on a page.
const PAGE_MAX: usize = 500;
const PAGE: usize = 50;

/// The artifact that an execution starts under, and who carries it out.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StartBody {
    artifact: String,
    gateway: GatewayName,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SignalBody {
    code: DenialCode,
    #[serde(default = "once")]
    count: u64,
    detail: String,
    #[serde(default)]
    ends: bool,
    #[serde(default)]
    kind: Option<SignalKind>,
}

const fn once() -> u64 {
    1
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EndBody {
    outcome: RunEnd,
    #[serde(default)]
    cause: Option<DenialCode>,
    #[serde(default)]
    exit: Option<Exit>,
    #[serde(default)]
    usage: Option<Usage>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NoBody {}

/// A node with its state in one word.
#[derive(Serialize)]
pub(super) struct NodeReply {
    status: Status,
    #[serde(flatten)]
    node: Node,
}

/// What is known of one that is open.
#[derive(Serialize)]
struct OpenReply {
    ending: Option<DenialCode>,
    grant: Grant,
    running_since: Option<Millis>,
}

/// A page of nodes, and where the next one begins.
#[derive(Serialize)]
pub(super) struct PageReply {
    pub(super) items: Vec<NodeReply>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) next: Option<Index>,
}

impl From<&Node> for NodeReply {
    fn from(node: &Node) -> Self {
        Self {
            status: node.status(),
            node: node.clone(),
        }
    }
}

/// Records that an execution starts.
pub(super) fn start(call: Call) -> Answer {
    Box::pin(async move {
        let exec = own(&call)?;
        let body: StartBody = call.body.json()?;
        let artifact = Artifact::parse(&body.artifact)
            .map_err(|error| Problem::malformed(format!("artifact: {error}")).about(exec))?;
        let (sender, receiver) = oneshot::channel();
        let then = move |answer| drop(sender.send(answer));
        let caller = caller(&call)?;
        call.service()
            .start_then(exec, artifact.digest(), body.gateway, caller, then)?;
        recorded(receiver).await
    })
}

/// Renews the lease. The answer says how long it lasts, or why the execution must end.
pub(super) fn renew(call: Call) -> Answer {
    Box::pin(async move {
        let exec = own(&call)?;
        let NoBody {} = call.body.json()?;
        let renewal = call.service().renew(exec);
        let renewal = renewal.map_err(|denial| Problem::of(&denial).about(exec))?;
        let value = json!({
            "lease_ms": renewal.lease_ms, "not_after": renewal.not_after, "size": renewal.size,
        });
        reply::json(StatusCode::OK, &value)
    })
}

/// Records something notable.
pub(super) fn signal(call: Call) -> Answer {
    Box::pin(async move {
        let exec = own(&call)?;
        let body: SignalBody = call.body.json()?;
        let report = SignalReport {
            exec,
            code: body.code,
            count: body.count,
            detail: body.detail,
            ends: body.ends,
            kind: body.kind,
            trip: None,
        };
        let (sender, receiver) = oneshot::channel();
        let then = move |answer| drop(sender.send(answer));
        call.service().signal_then(report, then)?;
        recorded(receiver).await
    })
}

/// Records that an execution is over.
pub(super) fn end(call: Call) -> Answer {
    Box::pin(async move {
        let exec = own(&call)?;
        let body: EndBody = call.body.json()?;
        let report = EndReport {
            exec,
            outcome: body.outcome,
            cause: body.cause,
            exit: body.exit,
            usage: body.usage,
        };
        let (sender, receiver) = oneshot::channel();
        let then = move |answer| drop(sender.send(answer));
        call.service().end_then(report, then)?;
        recorded(receiver).await
    })
}

/// The execution of the path, which must be open and the caller's own.
fn own(call: &Call) -> Result<ExecutionId, Problem> {
    let exec = call.part(0)?;
    let may = call.service().may_act_on(&call.identity, exec);
    may.map_err(|denial| Problem::of(&denial).about(exec))?;
    Ok(exec)
}

async fn recorded(
    answer: oneshot::Receiver<Result<Result<Index, Denied>, Unavailable>>,
) -> Result<Reply, Problem> {
    let index = answered(answer).await??;
    reply::json(StatusCode::OK, &json!({ "index": index }))
}

/// Executions, the latest first.
pub(super) fn list(call: Call) -> Answer {
    Box::pin(async move {
        let query = filter(&call)?;
        let (limit, cursor) = page(&call)?;
        let sees = call.sees();
        let page = call
            .read(move |shared| {
                let reader = shared.service.authority().reader();
                shared
                    .lineage
                    .look(&reader, |graph| select(graph, &query, &sees, limit, cursor))
            })
            .await?;
        reply::json(StatusCode::OK, &page)
    })
}

fn select(
    graph: &Graph,
    query: &Query,
    sees: &Sees,
    limit: usize,
    cursor: Option<Index>,
) -> PageReply {
    let mut found = graph
        .select(query)
        .rev()
        .filter(|node| cursor.is_none_or(|cursor| node.decided.index < cursor))
        .filter(|node| sees.principal(&node.principal));
    let items: Vec<NodeReply> = found.by_ref().take(limit).map(NodeReply::from).collect();
    let more = found.next().is_some();
    let last = items.last().map(|item| item.node.decided.index);
    PageReply {
        items,
        next: last.filter(|_| more),
    }
}

/// One execution.
pub(super) fn read(call: Call) -> Answer {
    Box::pin(async move {
        let exec: ExecutionId = call.part(0)?;
        let node = node(&call, exec).await?;
        let open = call.service().authority().with_state(|state| {
            state.execution(&exec).map(|execution| OpenReply {
                ending: execution.ending,
                grant: execution.grant.clone(),
                running_since: match execution.phase {
                    placet_state::Phase::Authorized => None,
                    placet_state::Phase::Running(since) => Some(since),
                },
            })
        });
        let remedy = node.node.code().map(DenialCode::remedy);
        let value = json!({ "execution": node, "open": open, "remedy": remedy });
        reply::json(StatusCode::OK, &value)
    })
}

/// A node that the caller sees.
pub(super) async fn node(call: &Call, exec: ExecutionId) -> Result<NodeReply, Problem> {
    let sees = call.sees();
    call.read(move |shared| {
        let reader = shared.service.authority().reader();
        let found = shared.lineage.look(&reader, |graph| {
            let node = graph.get(&exec);
            let node = node.filter(|node| sees.principal(&node.principal));
            node.map(NodeReply::from)
        })?;
        found.ok_or_else(|| {
            let detail = "no such execution of yours; very old ones are only in the log";
            Problem::not_found(detail).about(exec)
        })
    })
    .await
}

fn filter(call: &Call) -> Result<Query, Problem> {
    let query = &call.query;
    let time = |name: &str| Ok::<_, Problem>(query.get::<u64>(name)?.map(Millis::new));
    let status = match query.get::<String>("status")? {
        None => None,
        Some(word) => {
            let status = Status::ALL.iter().find(|status| status.as_str() == word);
            Some(*status.ok_or_else(|| Problem::malformed("status: there is no such status"))?)
        }
    };
    Ok(Query {
        action: query.get("action")?,
        bundle: query.get("bundle")?,
        code: query.get("code")?,
        from: time("from")?,
        on_behalf_of: query.get("on_behalf_of")?,
        policy: query.get("policy")?,
        principal: query.get("principal")?,
        resource: query.get("resource")?,
        resource_kind: query.get("resource_kind")?,
        risk_min: query.get("risk_min")?,
        status,
        until: time("until")?,
        within: query.get("within")?,
    })
}

pub(super) fn page(call: &Call) -> Result<(usize, Option<Index>), Problem> {
    let limit = call.query.get("limit")?.unwrap_or(PAGE);
    if !(1..=PAGE_MAX).contains(&limit) {
        return Err(Problem::malformed("limit: 1 to 500"));
    }
    Ok((limit, call.query.get("cursor")?))
}
