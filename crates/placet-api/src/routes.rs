//! Every route of the interface.

mod acts;
mod approvals;
pub(crate) mod approving;
mod authzen;
pub(crate) mod console;
mod console_routes;
pub(crate) mod console_session;
mod console_sources;
mod decisions;
mod demo;
mod docs;
mod environment;
mod events;
mod executions;
mod health;
mod intents;
mod lifecycle;
mod lifecycle_routes;
mod lineage;
mod lines;
mod log;
mod policies;
mod principals;

use crate::route::{Access, Lane, Route};
use crate::schemas;
use crate::schemas::authzen as shapes;
pub(crate) use approving::Stage;
pub(crate) use authzen::BATCH_MAX;
pub(crate) use decisions::predicate;
use lines::{filtered, get, or, post, text};

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

const PAGE: &[(&str, &str)] = &[
    ("cursor", "go on from the `next` of the page before"),
    ("limit", "at most this many, 1 to 500 (default 50)"),
];

/// All of them.
pub(crate) fn table() -> Vec<Route> {
    let mut all = vec![
        get(
            "/healthz",
            Access::Anyone,
            health::alive,
            "healthz",
            "The process serves",
            schemas::HEALTH,
        ),
        get(
            "/readyz",
            Access::Anyone,
            health::ready,
            "readyz",
            "The log is written and intents are decided",
            schemas::HEALTH,
        ),
        text(
            "/metrics",
            Access::Meters,
            health::metrics,
            "metrics",
            "Meters, for Prometheus",
            "text/plain; version=0.0.4",
        ),
        text(
            "/docs",
            Access::Anyone,
            docs::page,
            "docs",
            "This interface, for people",
            "text/html; charset=utf-8",
        ),
        get(
            "/openapi.json",
            Access::Anyone,
            docs::document,
            "openapi",
            "This interface, for programs",
            schemas::ANY,
        ),
        or(
            post(
                "/v1/intents",
                Access::Member,
                Lane::Intent,
                intents::submit,
                "submit",
                "Decide an intent. Denied is 403 with the code",
                schemas::INTENT,
                (201, schemas::PERMIT),
            ),
            (202, "It waits for approvals", schemas::DEFERRAL),
        ),
        post(
            "/access/v1/evaluation",
            Access::Member,
            Lane::Intent,
            authzen::evaluation,
            "evaluate",
            "AuthZEN: may this subject do this? A denial is 200 with decision false",
            shapes::QUESTION,
            (200, shapes::ANSWER),
        ),
        post(
            "/access/v1/evaluations",
            Access::Member,
            Lane::Intent,
            authzen::evaluations,
            "evaluateMany",
            "AuthZEN: many questions at once; what stands beside them is what they leave out",
            shapes::QUESTIONS,
            (200, shapes::ANSWERS),
        ),
        post(
            "/access/v1/search/subject",
            Access::Member,
            Lane::Intent,
            authzen::search::subjects,
            "searchSubjects",
            "AuthZEN: who may do this?",
            shapes::SUBJECT_SEARCH,
            (200, shapes::FOUND),
        ),
        post(
            "/access/v1/search/resource",
            Access::Member,
            Lane::Intent,
            authzen::search::resources,
            "searchResources",
            "AuthZEN: what may it be done to?",
            shapes::RESOURCE_SEARCH,
            (200, shapes::FOUND),
        ),
        post(
            "/access/v1/search/action",
            Access::Member,
            Lane::Intent,
            authzen::search::actions,
            "searchActions",
            "AuthZEN: what may be done?",
            shapes::ACTION_SEARCH,
            (200, shapes::FOUND),
        ),
        get(
            "/.well-known/authzen-configuration",
            Access::Anyone,
            authzen::metadata,
            "authzenConfiguration",
            "AuthZEN: what this decision point offers, and where",
            shapes::METADATA,
        ),
        filtered(
            get(
                "/v1/executions",
                Access::Member,
                executions::list,
                "listExecutions",
                "Executions, the latest first",
                schemas::PAGE_OF_NODES,
            ),
            FILTERS,
        ),
        get(
            "/v1/executions/{exec}",
            Access::Member,
            executions::read,
            "readExecution",
            "One execution",
            schemas::EXECUTION,
        ),
        post(
            "/v1/executions/{exec}/start",
            Access::Member,
            Lane::Urgent,
            executions::start,
            "startExecution",
            "Record that an execution starts; its lease is renewed over HTTP from then on",
            schemas::START,
            (200, schemas::RECORDED),
        ),
        post(
            "/v1/executions/{exec}/renew",
            Access::Member,
            Lane::Urgent,
            executions::renew,
            "renewLease",
            "Renew the lease. What is not renewed is recorded as terminated",
            schemas::NOTHING,
            (200, schemas::RENEWAL),
        ),
        post(
            "/v1/executions/{exec}/signal",
            Access::Member,
            Lane::Urgent,
            executions::signal,
            "signalExecution",
            "Record something notable",
            schemas::SIGNAL,
            (200, schemas::RECORDED),
        ),
        post(
            "/v1/executions/{exec}/end",
            Access::Member,
            Lane::Urgent,
            executions::end,
            "endExecution",
            "Record that an execution is over",
            schemas::END,
            (200, schemas::RECORDED),
        ),
        filtered(
            get(
                "/v1/executions/{exec}/ancestors",
                Access::Member,
                lineage::ancestors,
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
                lineage::descendants,
                "descendants",
                "Everything below an execution, in log order",
                schemas::PAGE_OF_NODES,
            ),
            PAGE,
        ),
        filtered(
            get(
                "/v1/decisions/{index}",
                Access::Member,
                decisions::read,
                "readDecision",
                "A recorded decision, in words too",
                schemas::DECISION,
            ),
            &[(
                "disclose",
                "true: with the private parameters, as far as they were not erased",
            )],
        ),
        get(
            "/v1/approvals",
            Access::Member,
            approvals::list,
            "listApprovals",
            "What waits for approvals: everything for operators; for others what they asked for, or may approve",
            schemas::APPROVALS,
        ),
        get(
            "/v1/approvals/{exec}",
            Access::Member,
            approvals::read,
            "readApproval",
            "One intent that waits, with its parameters",
            schemas::APPROVAL,
        ),
        post(
            "/v1/approvals/{exec}",
            Access::Member,
            Lane::Urgent,
            approvals::say,
            "approve",
            "Approve or reject it, signed by the approver's own key",
            schemas::SAID,
            (201, schemas::RECORDED),
        ),
        get(
            "/v1/principals",
            Access::Member,
            principals::list,
            "listPrincipals",
            "Who may act: everybody for operators, oneself for others",
            schemas::PRINCIPALS,
        ),
        get(
            "/v1/policy",
            Access::Member,
            principals::policy,
            "policyStatus",
            "The bundle in force, and the state of the domain",
            schemas::STATUS,
        ),
        get(
            "/v1/policies",
            Access::Member,
            policies::list,
            "listPolicies",
            "The policies of the bundle in force",
            schemas::POLICIES,
        ),
        get(
            "/v1/policies/{*id}",
            Access::Member,
            policies::read,
            "readPolicy",
            "One of them, with its source",
            schemas::POLICY,
        ),
        get(
            "/v1/policy/tests",
            Access::Member,
            policies::tests,
            "policyTests",
            "What the bundle's own tests find, and which policies they cover",
            schemas::TESTS,
        ),
        get(
            "/v1/policy/bundles/{digest}",
            Access::Operator,
            policies::archive,
            "readBundle",
            "A bundle that was ever in force, as it was uploaded",
            schemas::BUNDLE,
        ),
        or(
            post(
                "/v1/policy/activations",
                Access::Operator,
                Lane::Bundle,
                policies::activate,
                "activate",
                "Put a signed bundle in force, if it is signed, compiles, passes its tests and has a higher revision",
                schemas::BUNDLE,
                (201, schemas::RECORDED),
            ),
            (
                202,
                "The bundle in force governs this, and it waits for approvals: do the same again once they are given",
                schemas::ACT_DEFERRAL,
            ),
        ),
        post(
            "/v1/policy/diff",
            Access::Member,
            Lane::Bundle,
            policies::compare,
            "diffPolicy",
            "What a bundle changes of the one in force, policy by policy; for operators and auditors",
            schemas::OFFERED,
            (200, schemas::DIFFERENCE),
        ),
        post(
            "/v1/revocations",
            Access::Operator,
            Lane::Urgent,
            acts::revoke,
            "revoke",
            "End authority early",
            schemas::REVOCATION,
            (201, schemas::RECORDED),
        ),
        post(
            "/v1/halt",
            Access::Operator,
            Lane::Urgent,
            acts::halt,
            "halt",
            "Halt the whole domain",
            schemas::REASON,
            (201, schemas::RECORDED),
        ),
        or(
            post(
                "/v1/resume",
                Access::Operator,
                Lane::Urgent,
                acts::resume,
                "resume",
                "Let a halted domain continue, or a node that was revoked",
                schemas::RESUMPTION,
                (201, schemas::RECORDED),
            ),
            (
                202,
                "The bundle in force governs this, and it waits for approvals: do the same again once they are given",
                schemas::ACT_DEFERRAL,
            ),
        ),
        filtered(
            text(
                "/v1/events",
                Access::Member,
                events::stream,
                "events",
                "Records as they become durable; resumes after Last-Event-ID",
                "text/event-stream",
            ),
            &[(
                "from",
                "begin with the record of this index (default: with the next one)",
            )],
        ),
        text(
            "/log/checkpoint",
            Access::Public,
            log::checkpoint,
            "checkpoint",
            "The latest signed checkpoint (C2SP)",
            "text/plain; charset=utf-8",
        ),
        text(
            "/log/policy",
            Access::Public,
            log::policy,
            "logPolicy",
            "The domain's public policy file (C2SP)",
            "text/plain; charset=utf-8",
        ),
        text(
            "/log/proof/{index}",
            Access::Public,
            log::proof,
            "proof",
            "The proof that a record is in the log (C2SP tlog-proof)",
            "text/plain; charset=utf-8",
        ),
    ];
    all.extend(console_routes::table());
    all.extend(environment::lines());
    all.extend(lifecycle_routes::table());
    // Tiles: the level, then the index in groups of three digits, then perhaps a width.
    all.push(text(
        "/log/tile/{*tile}",
        Access::Public,
        log::tile,
        "tile",
        "A hash tile or an entry bundle (C2SP tlog-tiles)",
        "application/octet-stream",
    ));
    all
}

#[cfg(test)]
mod tests {
    use hyper::Method;

    use super::*;
    use crate::route::Routes;

    #[test]
    fn the_table_does_not_contradict_itself() {
        assert!(Routes::new(&table()).is_ok());
        let ids: std::collections::BTreeSet<_> = table().iter().map(|route| route.doc.id).collect();
        assert_eq!(ids.len(), table().len());
    }

    #[test]
    fn one_resource_has_one_path() {
        let routes = Routes::new(&table()).unwrap();
        let is = |path: &str| routes.find(&Method::GET, path).is_ok();
        assert!(is("/v1/executions") && is("/log/tile/0/x001/234.p/5"));
        for odd in [
            "/v1/executions/",
            "//v1/executions",
            "/v1/./executions",
            "/v1/%65xecutions",
            "/V1/executions",
            "/log/tile/",
        ] {
            assert!(!is(odd), "{odd}");
        }
        assert!(routes.find(&Method::DELETE, "/v1/executions").is_err());
        assert!(routes.find(&Method::HEAD, "/log/checkpoint").is_ok());
    }
}
