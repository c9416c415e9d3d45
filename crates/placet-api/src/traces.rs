//! Traces: spans of what was decided and executed, for a collector (OTLP over HTTP, in JSON).
//!
//! The log is the queue. A task reads records as they become durable, folds them into a graph of bounded size, and posts
//! the spans of what has finished: nothing that decides ever waits for it, and a collector that is away costs no memory.
//! What it does not take is tried a few times, dropped, and counted. Spans are those of `placet lineage export`: the
//! trace is the root's execution id, the span its own, and there are no arguments in them.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use placet_evidence::{Entry, Outcome, Record};
use placet_fetch::{Ask, Client, Leads, Target, TargetError, Trust, TrustError};
use placet_lineage::{Export, Graph};
use placet_types::{ExecutionId, Index};
use serde::Deserialize;
use tokio::time::sleep;

use crate::call::Shared;
use crate::first::unless_stopped;
use crate::log::{Level, Value};
use crate::problem::Problem;

/// Records that are looked at in one go: no message has more spans.
const STEP: u64 = 256;
/// How long more is waited for before what has finished is sent.
const LINGER: Duration = Duration::from_secs(1);
/// How long an attempt may take, and how much of an answer is read.
const PATIENCE: Duration = Duration::from_secs(10);
const ANSWER_MAX: usize = 64 << 10;
/// How often one message is tried.
const ATTEMPTS: u32 = 3;
/// Before the second attempt; each further one waits twice as long.
const PAUSE: Duration = Duration::from_secs(1);
/// Records that it may be behind before it goes on with the latest.
const BEHIND_MAX: u64 = 65_536;
/// What finished and is still known, for what follows from it.
const REMEMBERED: usize = 4096;

/// `[traces]`, as it is configured.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Traces {
    /// Certificates that are believed, in PEM (default: those of the system).
    pub ca: Option<PathBuf>,
    /// Where the collector listens, such as `http://127.0.0.1:4318`: `https`, or `http` to this machine.
    pub otlp: String,
}

/// Why nothing can be posted to a collector.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CollectorError {
    /// The address does not read, or what is posted could be overheard.
    #[error("traces: otlp = \"{0}\": {1}")]
    Address(String, TargetError),
    /// The authorities cannot be read.
    #[error("traces: {0}")]
    Authorities(#[from] TrustError),
}

/// A collector that can be posted to.
#[derive(Debug)]
pub struct Collector {
    client: Client,
    target: Target,
}

impl Collector {
    /// Reads what is configured. Its host is named by the administrator of this node, so its name may lead anywhere.
    ///
    /// # Errors
    ///
    /// [`CollectorError`] names what does not stand.
    pub fn open(traces: &Traces) -> Result<Self, CollectorError> {
        let odd = |error| CollectorError::Address(traces.otlp.clone(), error);
        let url = format!("{}/v1/traces", traces.otlp.trim_end_matches('/'));
        let trust = Trust::new(traces.ca.as_deref())?;
        Ok(Self {
            client: Client::new(trust, Leads::Anywhere, PATIENCE),
            target: Target::parse(&url).map_err(odd)?,
        })
    }

    /// Whether it took the message; else why not.
    async fn post(&self, body: &[u8]) -> Result<(), String> {
        let answered = self.client.ask(&self.target, Ask::Json(body), ANSWER_MAX);
        match answered.await {
            Ok(answer) if (200..300).contains(&answer.status) => Ok(()),
            Ok(answer) => Err(format!("it answered {}", answer.status)),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// Follows the log, until the server stops.
pub(crate) fn spawn(shared: &Arc<Shared>) {
    let Some(collector) = &shared.settings.traces else {
        return;
    };
    let authority = shared.service.authority();
    let (begin, next) = authority.with_state(|state| {
        let running = state.executions().map(|(_, execution)| execution.decided);
        let next = state.next();
        (running.min().unwrap_or(next), next)
    });
    let exporter = Exporter {
        shared: Arc::clone(shared),
        collector: Arc::clone(collector),
        graph: Graph::recent(REMEMBERED),
        next: begin.get(),
        told: next,
        is_down: false,
    };
    tokio::spawn(async move {
        let stopping = exporter.shared.stopping.clone();
        unless_stopped(&stopping, exporter.run()).await;
    });
}

struct Exporter {
    shared: Arc<Shared>,
    collector: Arc<Collector>,
    graph: Graph,
    next: u64,
    /// What finished before this record was somebody else's to tell: it is only read to know what runs.
    told: Index,
    /// The last message was given up: the next one is tried once, until one gets through.
    is_down: bool,
}

/// What some records finished.
struct Finished {
    graph: Graph,
    execs: BTreeSet<ExecutionId>,
}

impl Exporter {
    async fn run(mut self) {
        let mut size = self.shared.size.clone();
        loop {
            let known = *size.borrow_and_update();
            self.skip(known);
            while self.next < known {
                if !self.step(known).await {
                    return;
                }
            }
            if size.changed().await.is_err() {
                return;
            }
            // What ends within a second is one message.
            sleep(LINGER).await;
        }
    }

    /// Goes on with the latest records where too many wait. What they would have told is counted as records.
    fn skip(&mut self, known: u64) {
        let behind = known.saturating_sub(self.next);
        if behind <= BEHIND_MAX {
            return;
        }
        let skipped = behind.saturating_sub(STEP);
        self.next = self.next.saturating_add(skipped);
        self.graph = Graph::recent(REMEMBERED);
        let counter = &self.shared.requests.traces_skipped;
        counter.fetch_add(skipped, Ordering::Relaxed);
    }

    /// Reads the next records and tells what finished with them. Whether it may go on.
    async fn step(&mut self, known: u64) -> bool {
        let end = known.min(self.next.saturating_add(STEP));
        let (shared, graph) = (Arc::clone(&self.shared), std::mem::take(&mut self.graph));
        let (from, told) = (self.next, self.told);
        let folded = tokio::task::spawn_blocking(move || fold(&shared, graph, from..end, told));
        // A log that cannot be read ends the node; this ends with it.
        let Ok(Ok(found)) = folded.await else {
            return false;
        };
        self.graph = found.graph;
        self.next = end;
        if !found.execs.is_empty() {
            self.tell(&found.execs).await;
        }
        true
    }

    async fn tell(&mut self, execs: &BTreeSet<ExecutionId>) {
        let authority = self.shared.service.authority();
        let domain = authority.with_state(|state| state.genesis().domain.clone());
        let traces = Export::of(&self.graph, &domain).these(execs).otlp();
        let body = traces.to_string().into_bytes();
        let taken = self.post(&body).await;
        self.is_down = !taken;
        let requests = &self.shared.requests;
        let counter = if taken {
            &requests.traces_exported
        } else {
            &requests.traces_dropped
        };
        counter.fetch_add(execs.len() as u64, Ordering::Relaxed);
    }

    async fn post(&self, body: &[u8]) -> bool {
        let attempts = if self.is_down { 1 } else { ATTEMPTS };
        let mut pause = PAUSE;
        for attempt in 1..=attempts {
            match self.collector.post(body).await {
                Ok(()) => return true,
                Err(error) => self.say(attempt, &error),
            }
            if attempt < attempts {
                sleep(pause).await;
                pause = pause.saturating_mul(2);
            }
        }
        false
    }

    fn say(&self, attempt: u32, error: &str) {
        let fields = [
            ("collector", Value::Text(self.collector.target.host())),
            ("attempt", Value::Number(attempt.into())),
            ("error", Value::Text(error)),
        ];
        let now = self.shared.service.clock().wall();
        self.shared.logger.say(Level::Warn, now, "traces", &fields);
    }
}

/// Applies some records, and names what they finished.
fn fold(
    shared: &Shared,
    mut graph: Graph,
    range: std::ops::Range<u64>,
    told: Index,
) -> Result<Finished, Problem> {
    let reader = shared.service.authority().reader();
    let mut execs = BTreeSet::new();
    for entry in reader.entries(Index::new(range.start)..Index::new(range.end)) {
        let (index, bytes) = entry?;
        let record = Entry::from_bytes(bytes)
            .read()
            .map_err(|_| Problem::internal())?;
        let applied = graph.apply(index, &record).is_ok();
        let finished = finished(&record).filter(|_| applied && index >= told);
        execs.extend(finished.filter(|exec| graph.get(exec).is_some()));
    }
    Ok(Finished { graph, execs })
}

/// What the record is the last one of.
fn finished(record: &Record) -> Option<ExecutionId> {
    if let Record::Ended(ended) = record {
        return Some(ended.exec);
    }
    let Record::Decided(decided) = record else {
        return None;
    };
    (decided.outcome == Outcome::Deny).then_some(decided.facts.exec)
}
