//! What one tree does on the network: what broker and proxy report, counted and listed for the record.
//!
//! Lists are bounded. Refusals and failures of one kind are one entry; when a list is full before it is
//! due, what does not fit is counted and not listed.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::os::fd::{AsFd as _, BorrowedFd};

use placet_egress::{Event, Proxy, Way};
use placet_evidence::{
    CONNECTIONS_MAX, Connection, ConnectionOutcome, ConnectionWay, NetworkUsage,
};
use placet_sandbox::{
    Broker, ConnectId, ConnectRefusal, ConnectReport, ConnectVerdict, Peer, RunningCell,
};
use placet_types::{DenialCode, Egress, Millis, Network, PeerRule, Scope};

use crate::contacts::Contacts;

/// Distinct peers that somebody is told of. Whoever tries more of them is told of enough.
const TOLD_MAX: usize = 32;

/// Watches the network of one tree.
pub(crate) struct NetworkWatch {
    proxy: Option<Proxy>,
    rules: Network,
    total: NetworkUsage,
    /// Since the last list.
    recent: NetworkUsage,
    list: Vec<Connection>,
    omitted: u64,
    open: BTreeMap<Source, Open>,
    opened: u64,
    /// Bytes of connections by the broker that have ended.
    by_broker: u64,
    /// Of a tree that is observed.
    contacts: Option<Contacts>,
    /// Whether each peer is decided about.
    decided: bool,
    /// Connections that wait for a decision, by whom they are to.
    asked: Vec<(Source, String)>,
    /// To whom connections by the broker are that were asked about and are not made yet; as many as wait there at most.
    under_way: BTreeMap<u64, String>,
    /// Refusals that are records of their own, of those that were taken last.
    denied: u64,
    /// Whom it was refused by its scope, each once.
    refused: BTreeSet<String>,
    /// Of those, the ones that nobody was told of yet.
    untold: Vec<String>,
}

/// What is recorded at a time.
pub(crate) struct Batch {
    pub(crate) list: Vec<Connection>,
    pub(crate) omitted: u64,
    pub(crate) usage: NetworkUsage,
}

/// Who counts a connection, and its number there.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Source {
    Broker(u64),
    Proxy(u64),
}

struct Open {
    entry: Connection,
    listed: bool,
    /// To whom, where each is decided.
    peer: Option<String>,
}

/// What became of open connections to peers that nobody may be connected to any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Withdrawn {
    /// They are closed, or there were none.
    Closed,
    /// A program holds one itself, of which nobody else can close it.
    Held(DenialCode),
}

impl NetworkWatch {
    pub(crate) fn new(proxy: Option<Proxy>, scope: &Scope, observe: bool) -> Self {
        let rules = scope.network.clone();
        Self {
            proxy,
            decided: scope.egress == Egress::Decide,
            rules,
            total: NetworkUsage::default(),
            recent: NetworkUsage::default(),
            list: Vec::new(),
            omitted: 0,
            open: BTreeMap::new(),
            opened: 0,
            by_broker: 0,
            contacts: observe.then(Contacts::default),
            asked: Vec::new(),
            under_way: BTreeMap::new(),
            denied: 0,
            refused: BTreeSet::new(),
            untold: Vec::new(),
        }
    }

    /// Readable when the proxy has something to say.
    pub(crate) fn as_fd(&self) -> Option<BorrowedFd<'_>> {
        self.proxy.as_ref().map(|proxy| proxy.as_fd())
    }

    /// Ends every connection through the proxy, without waiting.
    pub(crate) fn cut(&self) {
        if let Some(proxy) = &self.proxy {
            proxy.cut();
        }
    }

    /// As [`Self::cut`], and waits a little for what is left to say.
    pub(crate) fn close(&self) {
        if let Some(proxy) = &self.proxy {
            proxy.close();
        }
    }

    /// Everything, for the record of the end; `None` when the tree had no way out and looked for none.
    pub(crate) fn total(&self) -> Option<NetworkUsage> {
        let had_a_way = self.rules != Network::None;
        (had_a_way || self.total != NetworkUsage::default()).then_some(self.total)
    }

    /// Whom it has wanted to reach, if that is noted.
    pub(crate) fn contacts(&self) -> Option<&Contacts> {
        self.contacts.as_ref()
    }

    /// Bytes both ways, but those of open connections by the broker, which the kernel has to be asked for.
    pub(crate) fn bytes(&self) -> u64 {
        let by_proxy = self.proxy.as_ref().map_or(0, Proxy::carried);
        self.by_broker.saturating_add(by_proxy)
    }

    /// Takes what broker and proxy report; gives how many connections were refused.
    pub(crate) fn take(&mut self, cell: &RunningCell, now: Millis) -> u64 {
        let before = self.total.refused;
        for report in cell.broker().map(Broker::reports).unwrap_or_default() {
            self.take_connect(report, now);
        }
        let events = self.proxy.as_ref().map(Proxy::events).unwrap_or_default();
        for event in events {
            self.take_event(event, now);
        }
        self.total.refused.saturating_sub(before)
    }

    /// Connections that wait for a decision.
    pub(crate) fn take_asked(&mut self) -> Vec<(Source, String)> {
        std::mem::take(&mut self.asked)
    }

    /// How many were refused by decisions that stand in the log, since the last time.
    pub(crate) fn take_denied(&mut self) -> u64 {
        std::mem::take(&mut self.denied)
    }

    /// Whom it was refused for the first time, since the last time, by what its scope would list.
    pub(crate) fn take_untold(&mut self) -> Vec<String> {
        std::mem::take(&mut self.untold)
    }

    /// Answers one of them.
    pub(crate) fn answer(&self, source: Source, allow: bool, cell: &RunningCell) {
        match (source, cell.broker(), &self.proxy) {
            (Source::Broker(id), Some(broker), _) => {
                let verdict = if allow {
                    ConnectVerdict::Allow
                } else {
                    ConnectVerdict::Refuse
                };
                // One that does not wait any more has been refused.
                broker.answer(ConnectId(id), verdict);
            }
            (Source::Proxy(id), _, Some(proxy)) => proxy.answer(id, allow),
            (Source::Broker(_), None, _) | (Source::Proxy(_), _, None) => {}
        }
    }

    /// Ends what is open to peers for which there is a cause to; gives the cause where it cannot.
    pub(crate) fn withdraw(&self, cause: impl Fn(&str) -> Option<DenialCode>) -> Withdrawn {
        let mut withdrawn = Withdrawn::Closed;
        for (source, open) in &self.open {
            let Some(cause) = open.peer.as_deref().and_then(&cause) else {
                continue;
            };
            match (source, &self.proxy) {
                (Source::Proxy(id), Some(proxy)) => proxy.cut_one(*id),
                (Source::Broker(_), _) | (Source::Proxy(_), None) => {
                    withdrawn = Withdrawn::Held(cause);
                }
            }
        }
        withdrawn
    }

    /// Whom a connect is to, by what the scope lists it as: the name that it was looked up for, unless its
    /// address is listed itself.
    fn peer_of(&self, to: SocketAddr) -> String {
        let listed = placet_egress::Reach::new(&self.rules).listed(to).is_some();
        let name = self.proxy.as_ref().filter(|_| !listed);
        let name = name.and_then(|proxy| proxy.name_of(to.ip()));
        name.map_or_else(|| to.to_string(), |name| format!("{name}:{}", to.port()))
    }

    /// What is to be recorded, if there is anything.
    pub(crate) fn batch(&mut self) -> Option<Batch> {
        for open in self.open.values_mut().filter(|open| !open.listed) {
            if self.list.len() >= CONNECTIONS_MAX {
                break;
            }
            open.listed = true;
            self.list.push(open.entry.clone());
        }
        let usage = std::mem::take(&mut self.recent);
        let list = std::mem::take(&mut self.list);
        let omitted = std::mem::take(&mut self.omitted);
        let anything = !list.is_empty() || omitted > 0;
        anything.then_some(Batch {
            list,
            omitted,
            usage,
        })
    }

    /// A batch that could not be recorded, for the next time.
    pub(crate) fn put_back(&mut self, batch: Batch) {
        let later = std::mem::replace(&mut self.list, batch.list);
        self.omitted = self.omitted.saturating_add(batch.omitted);
        later.into_iter().for_each(|entry| self.add(entry));
        let (recent, usage) = (&mut self.recent, batch.usage);
        recent.failed = recent.failed.saturating_add(usage.failed);
        recent.opened = recent.opened.saturating_add(usage.opened);
        recent.refused = recent.refused.saturating_add(usage.refused);
        recent.sent_bytes = recent.sent_bytes.saturating_add(usage.sent_bytes);
        recent.received_bytes = recent.received_bytes.saturating_add(usage.received_bytes);
    }

    /// Whether a list is full.
    pub(crate) fn is_full(&self) -> bool {
        self.list.len() >= CONNECTIONS_MAX
    }

    /// Whether there is anything to record.
    pub(crate) fn is_due(&self) -> bool {
        !self.list.is_empty() || self.omitted > 0 || self.open.values().any(|open| !open.listed)
    }

    fn take_connect(&mut self, report: ConnectReport, now: Millis) {
        match report {
            ConnectReport::Asked(call) => {
                // Only TCP is asked about.
                if let Peer::Tcp(to) = call.to {
                    let peer = self.peer_of(to);
                    self.under_way.insert(call.id.0, peer.clone());
                    self.asked.push((Source::Broker(call.id.0), peer));
                }
            }
            ConnectReport::Opened(call) => {
                let entry = self.about(&call.to, ConnectionOutcome::Opened, now);
                let peer = self.under_way.remove(&call.id.0);
                self.open(Source::Broker(call.id.0), entry, peer);
            }
            ConnectReport::Failed { call, .. } => {
                self.under_way.remove(&call.id.0);
                let entry = self.about(&call.to, ConnectionOutcome::Failed, now);
                self.note(entry);
            }
            ConnectReport::Closed {
                id: ConnectId(id),
                bytes,
            } => {
                let bytes = bytes.map(|bytes| (bytes.sent, bytes.received));
                self.close_one(Source::Broker(id), bytes, now);
            }
            ConnectReport::Refused { call, why } => {
                self.under_way.remove(&call.id.0);
                let why = match why {
                    ConnectRefusal::NotTcp => "not_tcp",
                    ConnectRefusal::Denied => "denied",
                    ConnectRefusal::Unanswered => "unanswered",
                    ConnectRefusal::Unlisted | _ => "unlisted_address",
                };
                let mut entry = self.about(&call.to, ConnectionOutcome::Refused, now);
                entry.why = Some(why.to_owned());
                self.note(entry);
            }
        }
    }

    fn take_event(&mut self, event: Event, now: Millis) {
        match event {
            Event::Asked { id, host, port } => {
                self.asked
                    .push((Source::Proxy(id), format!("{host}:{port}")));
            }
            Event::Opened(opened) => {
                let peer = format!("{}:{}", opened.host, opened.address.port());
                let entry = Connection {
                    address: Some(opened.address.to_string()),
                    name: Some(opened.host),
                    rule: Some(opened.rule.to_string()),
                    ..entry(way_of(opened.way), ConnectionOutcome::Opened, now)
                };
                self.open(Source::Proxy(opened.id), entry, Some(peer));
            }
            Event::Ended(ended) => {
                let bytes = Some((ended.sent, ended.received));
                self.close_one(Source::Proxy(ended.id), bytes, now);
            }
            Event::Refused {
                way,
                host,
                port,
                why,
            } => {
                let outcome = ConnectionOutcome::Refused;
                self.note(Connection {
                    name: asked(&host, port),
                    why: Some(why.as_str().to_owned()),
                    ..entry(way_of(way), outcome, now)
                });
            }
            Event::Failed { way, host, port } => {
                let outcome = ConnectionOutcome::Failed;
                self.note(Connection {
                    name: asked(&host, port),
                    ..entry(way_of(way), outcome, now)
                });
            }
        }
    }

    /// A connect(2): its address, the name that it was looked up for, and what lists it.
    fn about(&self, to: &Peer, outcome: ConnectionOutcome, now: Millis) -> Connection {
        let entry = entry(ConnectionWay::Connect, outcome, now);
        let to = match to {
            Peer::Tcp(to) | Peer::NotTcp(to) => *to,
            Peer::Socket(path) => {
                let name = path.to_string_lossy().chars().take(255).collect();
                return Connection {
                    name: Some(name),
                    ..entry
                };
            }
        };
        let name = self.proxy.as_ref().and_then(|it| it.name_of(to.ip()));
        let listed = outcome != ConnectionOutcome::Refused;
        let rule = listed.then(|| self.rule_of(to, name.as_ref())).flatten();
        Connection {
            address: Some(to.to_string()),
            name: name.map(|name| name.to_string()),
            rule,
            ..entry
        }
    }

    fn rule_of(&self, to: SocketAddr, name: Option<&placet_types::HostName>) -> Option<String> {
        let reach = placet_egress::Reach::new(&self.rules);
        let by_name = |rule: &&PeerRule| match rule {
            PeerRule::Name(rule) => {
                name.is_some_and(|name| rule.names(name)) && rule.ports().contains(&to.port())
            }
            PeerRule::Address(_) => false,
        };
        let listed = reach.listed(to).map(PeerRule::Address);
        listed
            .or_else(|| self.rules.rules().find(by_name).cloned())
            .map(|rule| rule.to_string())
    }

    fn open(&mut self, source: Source, entry: Connection, peer: Option<String>) {
        count(&mut self.total.opened, &mut self.recent.opened, 1);
        if let Some(contacts) = &mut self.contacts {
            contacts.note(&entry);
        }
        self.opened = self.opened.saturating_add(1);
        let entry = Connection {
            id: Some(self.opened),
            ..entry
        };
        let open = Open {
            entry,
            listed: false,
            peer: peer.filter(|_| self.decided),
        };
        self.open.insert(source, open);
    }

    fn close_one(&mut self, source: Source, bytes: Option<(u64, u64)>, now: Millis) {
        let (sent, received) = bytes.unwrap_or_default();
        if let Source::Broker(_) = source {
            let both = sent.saturating_add(received);
            self.by_broker = self.by_broker.saturating_add(both);
        }
        let (total, recent) = (&mut self.total, &mut self.recent);
        count(&mut total.sent_bytes, &mut recent.sent_bytes, sent);
        count(
            &mut total.received_bytes,
            &mut recent.received_bytes,
            received,
        );
        let Some(open) = self.open.remove(&source) else {
            return;
        };
        self.add(Connection {
            closed: Some(now),
            sent_bytes: bytes.map(|(sent, _)| sent),
            received_bytes: bytes.map(|(_, received)| received),
            ..open.entry
        });
    }

    /// A refusal or a failure.
    fn note(&mut self, entry: Connection) {
        if let Some(contacts) = &mut self.contacts {
            contacts.note(&entry);
        }
        let (total, recent) = (&mut self.total, &mut self.recent);
        if entry.why.as_deref() == Some("denied") {
            self.denied = self.denied.saturating_add(1);
        } else if let Some(whom) = whom(&entry)
            && self.refused.len() < TOLD_MAX
            && self.refused.insert(whom.clone())
        {
            self.untold.push(whom);
        }
        if entry.outcome == ConnectionOutcome::Refused {
            count(&mut total.refused, &mut recent.refused, 1);
        } else {
            count(&mut total.failed, &mut recent.failed, 1);
        }
        let alike = |other: &&mut Connection| {
            let (time, times) = (other.time, other.times);
            **other
                == Connection {
                    time,
                    times,
                    ..entry.clone()
                }
        };
        match self.list.iter_mut().find(alike) {
            Some(known) => known.times = known.times.saturating_add(1),
            None => self.add(entry),
        }
    }

    fn add(&mut self, entry: Connection) {
        if self.is_full() {
            self.omitted = self.omitted.saturating_add(1);
        } else {
            self.list.push(entry);
        }
    }
}

fn entry(way: ConnectionWay, outcome: ConnectionOutcome, now: Millis) -> Connection {
    Connection {
        address: None,
        closed: None,
        id: None,
        name: None,
        outcome,
        received_bytes: None,
        rule: None,
        sent_bytes: None,
        time: now,
        times: 1,
        way,
        why: None,
    }
}

/// Of a refusal, whom it was to. A socket with a path is none of the network's: programs try many that need not be there.
fn whom(entry: &Connection) -> Option<String> {
    if entry.outcome != ConnectionOutcome::Refused {
        return None;
    }
    let Some(address) = &entry.address else {
        return entry
            .name
            .clone()
            .filter(|_| entry.way != ConnectionWay::Connect);
    };
    let port = address.parse().map_or(0, |to: SocketAddr| to.port());
    let named = entry.name.as_ref().map(|name| format!("{name}:{port}"));
    Some(named.unwrap_or_else(|| address.clone()))
}

/// What a program asked for, with its port where there was one.
fn asked(host: &str, port: u16) -> Option<String> {
    match (host.is_empty(), port) {
        (true, _) => None,
        (false, 0) => Some(host.to_owned()),
        (false, port) => Some(format!("{host}:{port}")),
    }
}

fn way_of(way: Way) -> ConnectionWay {
    match way {
        Way::Tunnel => ConnectionWay::Tunnel,
        Way::Http => ConnectionWay::Http,
        Way::Socks => ConnectionWay::Socks,
        Way::Dns => ConnectionWay::Dns,
    }
}

fn count(total: &mut u64, recent: &mut u64, more: u64) {
    *total = total.saturating_add(more);
    *recent = recent.saturating_add(more);
}
