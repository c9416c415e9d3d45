//! Meters in the text format that Prometheus reads.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use placet_authority::gateways::{Gateways, Said};
use placet_authority::meters::Histogram;
use placet_authority::node::Service;
use placet_authority::node::checks::{Check, CheckBody, ChecksBody, Finding};
use placet_authority::shadow::ShadowReport;

use crate::call::Shared;
use crate::route::Lane;

/// What is counted of requests.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    lanes: [Histogram; Lane::ALL.len()],
    /// By route and status. Both come from tables of this program, so there are only so many.
    by_route: Mutex<BTreeMap<(&'static str, u16), u64>>,
    pub(crate) connections: AtomicU64,
    pub(crate) streams: AtomicU64,
    events: AtomicU64,
    pub(crate) refused_connections: AtomicU64,
    pub(crate) webhooks_delivered: AtomicU64,
    pub(crate) webhooks_failed: AtomicU64,
    pub(crate) traces_exported: AtomicU64,
    pub(crate) traces_dropped: AtomicU64,
    pub(crate) traces_skipped: AtomicU64,
}

impl Requests {
    pub(crate) fn count(&self, route: &'static str, lane: Lane, status: u16, took: Duration) {
        let lanes = Lane::ALL.iter().zip(&self.lanes);
        for (_, histogram) in lanes.filter(|(own, _)| **own == lane) {
            histogram.count(took);
        }
        let mut by_route = self.by_route.lock().unwrap_or_else(PoisonError::into_inner);
        *by_route.entry((route, status)).or_default() += 1;
    }

    /// So many events were made, for however many streams.
    pub(crate) fn events(&self, count: usize) {
        self.events.fetch_add(count as u64, Ordering::Relaxed);
    }

    /// Everything that is counted, as text.
    pub(crate) fn render(&self, shared: &Shared) -> String {
        let mut text = Text::default();
        self.node(&shared.service, &mut text);
        identities(shared, &mut text);
        text.head(
            "placet_http_requests_total",
            "counter",
            "Requests by route and status.",
        );
        let by_route = self
            .by_route
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        for ((route, status), count) in by_route {
            let labels = format!("{{route=\"{route}\",status=\"{status}\"}}");
            text.put("placet_http_requests_total", &labels, count);
        }
        let name = "placet_http_request_seconds";
        text.head(
            name,
            "histogram",
            "Time from a request's head to its answer.",
        );
        for (lane, histogram) in Lane::ALL.iter().zip(&self.lanes) {
            text.histogram(name, &format!("lane=\"{}\",", lane.as_str()), histogram);
        }
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        text.gauge(
            "placet_http_connections",
            "Open connections.",
            load(&self.connections),
        );
        text.gauge(
            "placet_http_streams",
            "Open event streams.",
            load(&self.streams),
        );
        text.head(
            "placet_http_events_total",
            "counter",
            "Events that were made of records, each for all streams that keep up.",
        );
        text.put("placet_http_events_total", "", load(&self.events));
        text.head(
            "placet_http_connections_refused_total",
            "counter",
            "Connections that were refused because there were too many.",
        );
        let refused = load(&self.refused_connections);
        text.put("placet_http_connections_refused_total", "", refused);
        let name = "placet_webhook_messages_total";
        text.head(
            name,
            "counter",
            "Messages to receivers, by what came of them.",
        );
        text.put(
            name,
            "{outcome=\"delivered\"}",
            load(&self.webhooks_delivered),
        );
        text.put(name, "{outcome=\"given_up\"}", load(&self.webhooks_failed));
        let name = "placet_traces_spans_total";
        text.head(
            name,
            "counter",
            "Spans for the collector, by what came of them.",
        );
        text.put(name, "{outcome=\"exported\"}", load(&self.traces_exported));
        text.put(name, "{outcome=\"dropped\"}", load(&self.traces_dropped));
        let name = "placet_traces_records_skipped_total";
        text.head(
            name,
            "counter",
            "Records of which no span was made because the collector was too far behind.",
        );
        text.put(name, "", load(&self.traces_skipped));
        text.0
    }

    fn node(&self, service: &Service, text: &mut Text) {
        let (authority, status) = (service.authority(), service.status());
        let meters = authority.meters();
        text.head(
            "placet_decisions_total",
            "counter",
            "Decisions by outcome and denial code.",
        );
        for (code, count) in meters.decisions() {
            let labels = match code {
                None => "{outcome=\"permit\",code=\"\"}".to_owned(),
                Some(code) => format!("{{outcome=\"deny\",code=\"{code}\"}}"),
            };
            text.put("placet_decisions_total", &labels, count);
        }
        text.head(
            "placet_answers_total",
            "counter",
            "Questions by their answers.",
        );
        for (outcome, count) in meters.answers() {
            let labels = format!("{{outcome=\"{outcome}\"}}");
            text.put("placet_answers_total", &labels, count);
        }
        text.gauge(
            "placet_log_records",
            "Records in the log.",
            status.size.get(),
        );
        checks(&service.checks(), text);
        gateways(&service.gateways(), text);
        beside(authority.shadow(), text);
        let (intents, urgent) = authority.waiting();
        text.head(
            "placet_queue_waiting",
            "gauge",
            "Work that waits for the sequencer.",
        );
        text.put("placet_queue_waiting", "{lane=\"intent\"}", intents as u64);
        text.put("placet_queue_waiting", "{lane=\"urgent\"}", urgent as u64);
        text.head(
            "placet_executions",
            "gauge",
            "Executions that hold a lease, by phase.",
        );
        text.put(
            "placet_executions",
            "{phase=\"authorized\"}",
            status.authorized,
        );
        text.put("placet_executions", "{phase=\"running\"}", status.running);
        text.gauge(
            "placet_writing",
            "1 while the log is written.",
            status.writing.into(),
        );
        text.gauge(
            "placet_halted",
            "1 while the domain is halted.",
            status.halted.into(),
        );
        text.gauge(
            "placet_ready",
            "1 while intents are decided.",
            service.ready().is_ok().into(),
        );
        text.head(
            "placet_batches_total",
            "counter",
            "Batches that became durable.",
        );
        text.put(
            "placet_batches_total",
            "",
            meters.batches.load(Ordering::Relaxed),
        );
        text.head(
            "placet_records_total",
            "counter",
            "Records that became durable.",
        );
        text.put(
            "placet_records_total",
            "",
            meters.records.load(Ordering::Relaxed),
        );
        let name = "placet_append_seconds";
        text.head(
            name,
            "histogram",
            "Time until a batch is durable: write, sync, sign.",
        );
        text.histogram(name, "", &meters.append);
    }
}

/// What checks of the log found, and when.
fn checks(body: &ChecksBody, text: &mut Text) {
    let each = |text: &mut Text, name: &str, help: &str, of: &dyn Fn(&CheckBody) -> Option<u64>| {
        text.head(name, "gauge", help);
        for check in Check::ALL {
            if let Some(value) = of(body.of(check)) {
                text.put(name, &format!("{{check=\"{}\"}}", check.as_str()), value);
            }
        }
    };
    each(
        text,
        "placet_check_sound",
        "1 where the last check of the log found nothing amiss; absent before the first.",
        &|it| {
            it.last
                .as_ref()
                .map(|it| (it.finding == Finding::Sound).into())
        },
    );
    each(
        text,
        "placet_check_records",
        "Records that the last check of the log looked at.",
        &|it| it.last.as_ref().map(|it| it.records),
    );
    each(
        text,
        "placet_check_finished_seconds",
        "When the last check of the log was over, in Unix time.",
        &|it| it.last.as_ref().map(|it| it.ended.as_unix_secs()),
    );
    each(
        text,
        "placet_check_due_seconds",
        "When the next check of the log begins, in Unix time.",
        &|it| it.due.map(placet_types::Millis::as_unix_secs),
    );
    each(
        text,
        "placet_check_running",
        "1 while the log is checked.",
        &|it| Some(it.running.is_some().into()),
    );
}

/// Gateways that wait for commands, each a series of its own: its counters begin anew with the next process of its number.
fn gateways(found: &Gateways, text: &mut Text) {
    text.gauge(
        "placet_gateways_offered",
        "Gateways that may wait for commands.",
        found.offered as u64,
    );
    let name = "placet_gateways";
    text.head(
        name,
        "gauge",
        "Gateways that are there, by whether they wait for a command.",
    );
    let working = found.staying.len().saturating_sub(found.waiting);
    text.put(name, "{state=\"waiting\"}", found.waiting as u64);
    text.put(name, "{state=\"working\"}", working as u64);
    let each = |text: &mut Text, name: &str, kind: &str, help: &str, of: &dyn Fn(&Said) -> u64| {
        text.head(name, kind, help);
        for (number, said) in &found.staying {
            text.put(name, &format!("{{gateway=\"{number}\"}}"), of(said));
        }
    };
    each(
        text,
        "placet_gateway_cells_waiting",
        "gauge",
        "Cells that a gateway holds ready.",
        &|it| it.waiting,
    );
    each(
        text,
        "placet_gateway_commands_total",
        "counter",
        "Commands that a gateway ran.",
        &|it| it.served,
    );
    each(
        text,
        "placet_gateway_cells_built_total",
        "counter",
        "Cells that a gateway built ahead.",
        &|it| it.built,
    );
    each(
        text,
        "placet_gateway_cells_used_total",
        "counter",
        "Cells that were built ahead and ran a command.",
        &|it| it.taken,
    );
    let name = "placet_gateway_declined_total";
    text.head(
        name,
        "counter",
        "Commands that a gateway left to their callers, by that in which those stand otherwise than it does.",
    );
    for (number, said) in &found.staying {
        for (part, count) in &said.declined {
            let labels = format!("{{gateway=\"{number}\",part=\"{part}\"}}");
            text.put(name, &labels, *count);
        }
    }
}

/// What a bundle beside the one in force would have changed.
fn beside(report: Option<ShadowReport>, text: &mut Text) {
    let Some(report) = report else { return };
    let name = "placet_shadow_decisions";
    text.head(
        name,
        "gauge",
        "Decisions that were made again with the bundle beside the one in force, by what came of them.",
    );
    let found = &report.found;
    for (what, count) in [
        ("same", found.same),
        ("opened", found.opened),
        ("closed", found.closed),
        (
            "other",
            found
                .different
                .saturating_sub(found.opened)
                .saturating_sub(found.closed),
        ),
        ("unknown", found.unknown),
    ] {
        text.put(name, &format!("{{outcome=\"{what}\"}}"), count);
    }
    text.gauge(
        "placet_shadow_behind",
        "Records that were not looked at yet with it.",
        report.size.get().saturating_sub(found.through.get()),
    );
}

/// Identity providers and certificates.
fn identities(shared: &Shared, text: &mut Text) {
    let name = "placet_oidc_total";
    text.head(
        name,
        "counter",
        "Tokens that were accepted, and questions for keys, by provider.",
    );
    for (issuer, meters) in shared.tokens.meters() {
        for (what, counter) in [
            ("accepted", &meters.accepted),
            ("keys_fetched", &meters.fetched),
            ("keys_failed", &meters.failed),
        ] {
            let labels = format!(
                "{{issuer=\"{}\",event=\"{what}\"}}",
                issuer.escape_default()
            );
            text.put(name, &labels, counter.load(Ordering::Relaxed));
        }
    }
    if let Some(tls) = &shared.tls {
        text.gauge(
            "placet_tls_stale",
            "Times that changed certificates could not be taken; 0 while the files are in force.",
            tls.failing(),
        );
    }
}

#[derive(Default)]
struct Text(String);

impl Text {
    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        // Writing to a text does not fail.
        self.0.write_fmt(line).unwrap_or(());
        self.0.push('\n');
    }

    fn head(&mut self, name: &str, kind: &str, help: &str) {
        self.line(format_args!("# HELP {name} {help}"));
        self.line(format_args!("# TYPE {name} {kind}"));
    }

    fn put(&mut self, name: &str, labels: &str, value: u64) {
        self.line(format_args!("{name}{labels} {value}"));
    }

    fn gauge(&mut self, name: &str, help: &str, value: u64) {
        self.head(name, "gauge", help);
        self.put(name, "", value);
    }

    fn histogram(&mut self, name: &str, labels: &str, histogram: &Histogram) {
        for (end_us, count) in histogram.cumulative() {
            let end = seconds(end_us);
            self.line(format_args!(
                "{name}_bucket{{{labels}le=\"{end}\"}} {count}"
            ));
        }
        let total = histogram.total();
        self.line(format_args!("{name}_bucket{{{labels}le=\"+Inf\"}} {total}"));
        let labels = labels.strip_suffix(',').unwrap_or(labels);
        let labels = if labels.is_empty() {
            String::new()
        } else {
            format!("{{{labels}}}")
        };
        self.line(format_args!(
            "{name}_sum{labels} {}",
            seconds(histogram.sum_us())
        ));
        self.line(format_args!("{name}_count{labels} {total}"));
    }
}

fn seconds(us: u64) -> String {
    let text = format!("{}.{:06}", us / 1_000_000, us % 1_000_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}
