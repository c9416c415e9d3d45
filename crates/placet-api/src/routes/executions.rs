//! Executions: what their gateways report, and what is known of them.

use hyper::StatusCode;
use placet_artifact::Artifact;
use placet_authority::node::{Service, Standing};
use placet_authority::{Denied, EndReport, SignalReport, Unavailable};
use placet_evidence::{
    Appraisal, Attestation, Environment, Exit, Grant, RunEnd, SignalKind, Usage,
};
use placet_lineage::{Graph, Node, Query, Status};
use placet_types::{Denial, DenialCode, ExecutionId, Fixed, GatewayName, Index, Millis};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::oneshot;

use super::intents::caller;
use super::lines::{filtered, get, post};
use crate::call::{Answer, Call, Sees, answered};
use crate::problem::Problem;
use crate::reply::{self, Reply};
use crate::route::{Access, Lane, Route};
use crate::schemas;

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

/// What a gateway attests again, where it does; of the claims that were decided about, where it names none.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RenewBody {
    #[serde(default)]
    attestation: Option<Attestation>,
    #[serde(default)]
    environment: Option<Fixed<Environment>>,
}

/// A lease that was renewed.
#[derive(Serialize)]
struct RenewedReply {
    #[serde(skip_serializing_if = "Option::is_none")]
    attested: Option<AttestedReply>,
    lease_ms: u64,
    not_after: Millis,
    size: Index,
}

/// What the work rests on that its gateway attested.
#[derive(Serialize)]
struct AttestedReply {
    appraisal: Appraisal,
    /// Attest again within this time.
    left_ms: u64,
}

impl From<Standing> for AttestedReply {
    fn from(standing: Standing) -> Self {
        Self {
            appraisal: standing.appraisal,
            left_ms: standing.left_ms,
        }
    }
}

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
    #[serde(skip_serializing_if = "Option::is_none")]
    attested: Option<AttestedReply>,
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

/// The filters of executions.
const FILTERS: &[(&str, &str)] = &[
    ("action", "only this action, such as process:run"),
    ("bundle", "only what was decided under this bundle"),
    ("code", "only what was denied or terminated with this code"),
    ("cursor", "go on from the `next` of the page before"),
    ("from", "not finished before this time, in milliseconds"),
    ("limit", "at most this many, 1 to 500 (default 50)"),
    ("on_behalf_of", "only what acts for this principal"),
    (
        "policy",
        "only what this policy determined, alone or with others",
    ),
    ("principal", "only what this principal asked for itself"),
    ("resource", "only this resource, or what is below it"),
    ("resource_kind", "only resources of this kind"),
    (
        "risk_min",
        "only what had at least this risk, 0 to 100, when it was decided",
    ),
    (
        "status",
        "denied, deferred, authorized, running, completed, failed, terminated, lapsed or unseen",
    ),
    ("until", "decided before this time, in milliseconds"),
    ("within", "only this execution and what is below it"),
];

/// The routes of executions.
pub(super) fn lines() -> Vec<Route> {
    vec![
        filtered(
            get(
                "/v1/executions",
                Access::Member,
                list,
                "listExecutions",
                "Executions, the latest first",
                schemas::PAGE_OF_NODES,
            ),
            FILTERS,
        ),
        get(
            "/v1/executions/{exec}",
            Access::Member,
            read,
            "readExecution",
            "One execution",
            schemas::EXECUTION,
        ),
        post(
            "/v1/executions/{exec}/start",
            Access::Member,
            Lane::Urgent,
            start,
            "startExecution",
            "Record that an execution starts; its lease is renewed over HTTP from then on",
            schemas::START,
            (200, schemas::RECORDED),
        ),
        post(
            "/v1/executions/{exec}/renew",
            Access::Member,
            Lane::Urgent,
            renew,
            "renewLease",
            "Renew the lease. What is not renewed is recorded as terminated",
            schemas::RENEW,
            (200, schemas::RENEWAL),
        ),
        post(
            "/v1/executions/{exec}/signal",
            Access::Member,
            Lane::Urgent,
            signal,
            "signalExecution",
            "Record something notable",
            schemas::SIGNAL,
            (200, schemas::RECORDED),
        ),
        post(
            "/v1/executions/{exec}/end",
            Access::Member,
            Lane::Urgent,
            end,
            "endExecution",
            "Record that an execution is over",
            schemas::END,
            (200, schemas::RECORDED),
        ),
    ]
}

/// Records that an execution starts.
fn start(call: Call) -> Answer {
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
fn renew(call: Call) -> Answer {
    Box::pin(async move {
        let exec = own(&call)?;
        let body: RenewBody = call.body.json()?;
        let problem = |denial: Denial| Problem::of(&denial).about(exec);
        let service = call.service();
        attest(service, exec, body).map_err(problem)?;
        let renewal = service.renew(exec).map_err(problem)?;
        let reply = RenewedReply {
            attested: service.attested(exec).map(AttestedReply::from),
            lease_ms: renewal.lease_ms,
            not_after: renewal.not_after,
            size: renewal.size,
        };
        reply::json(StatusCode::OK, &reply)
    })
}

fn attest(service: &Service, exec: ExecutionId, body: RenewBody) -> Result<(), Denial> {
    match (body.attestation, body.environment) {
        (Some(attestation), environment) => service.attest(exec, &attestation, environment),
        (None, None) => Ok(()),
        (None, Some(_)) => {
            let reason = "an environment counts only with an attestation of it";
            Err(Denial::new(DenialCode::Malformed, reason))
        }
    }
}

/// Records something notable.
fn signal(call: Call) -> Answer {
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
fn end(call: Call) -> Answer {
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
fn list(call: Call) -> Answer {
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
fn read(call: Call) -> Answer {
    Box::pin(async move {
        let exec: ExecutionId = call.part(0)?;
        let node = node(&call, exec).await?;
        let open = call.service().authority().with_state(|state| {
            state.execution(&exec).map(|execution| OpenReply {
                attested: None,
                ending: execution.ending,
                grant: execution.grant.clone(),
                running_since: match execution.phase {
                    placet_state::Phase::Authorized => None,
                    placet_state::Phase::Running(since) => Some(since),
                },
            })
        });
        let remedy = node.node.code().map(DenialCode::remedy);
        let attested = call.service().attested(exec).map(AttestedReply::from);
        let open = open.map(|open| OpenReply { attested, ..open });
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
