//! Every route of the interface. Each subject has its own in its own file, beside what answers them.

mod acts;
mod approvals;
pub(crate) mod approving;
mod authzen;
pub(crate) mod console;
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
mod lineage;
mod lines;
mod log;
mod policies;
mod principals;

use crate::route::Route;
pub(crate) use approving::Stage;
pub(crate) use authzen::BATCH_MAX;
pub(crate) use decisions::predicate;

/// All of them, by subject.
pub(crate) fn table() -> Vec<Route> {
    [
        health::lines(),
        docs::lines(),
        intents::lines(),
        authzen::lines(),
        executions::lines(),
        lineage::lines(),
        decisions::lines(),
        approvals::lines(),
        principals::lines(),
        policies::lines(),
        lifecycle::lines(),
        acts::lines(),
        events::lines(),
        log::lines(),
        environment::lines(),
        console::lines(),
        console_session::lines(),
        console_sources::lines(),
        demo::lines(),
    ]
    .concat()
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
