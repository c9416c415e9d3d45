//! Whom a tree that is observed has wanted to reach, for whoever makes a scope of it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use placet_evidence::{Connection, ConnectionOutcome, ConnectionWay};

/// Distinct ones of each kind that are noted.
const NOTED_MAX: usize = 4096;

/// Peers, sockets and names, by how scopes write them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contacts {
    /// `host:port` over TCP, and whether it was in scope.
    pub peers: BTreeMap<String, bool>,
    /// Sockets of the host by their paths, and whether they were in scope.
    pub sockets: BTreeMap<String, bool>,
    /// Names that were looked up and are not in scope; nobody knows at which port.
    pub names: BTreeSet<String>,
}

impl Contacts {
    /// Notes a connection that was opened, or tried.
    pub(crate) fn note(&mut self, entry: &Connection) {
        let in_scope = entry.outcome != ConnectionOutcome::Refused;
        let name = entry.name.as_deref();
        match (entry.way, &entry.address) {
            // Only TCP can be in a scope.
            (ConnectionWay::Connect, Some(_)) if entry.why.as_deref() == Some("not_tcp") => {}
            (ConnectionWay::Dns, _) => {
                if let Some(name) = name.filter(|_| self.names.len() < NOTED_MAX) {
                    self.names.insert(name.to_owned());
                }
            }
            (_, Some(address)) => {
                let port = address.parse().map_or(0, |to: SocketAddr| to.port());
                let peer = name.map(|name| format!("{name}:{port}"));
                put(&mut self.peers, peer.as_ref().unwrap_or(address), in_scope);
            }
            (ConnectionWay::Connect, None) => {
                if let Some(path) = name {
                    put(&mut self.sockets, path, in_scope);
                }
            }
            (ConnectionWay::Tunnel | ConnectionWay::Http | ConnectionWay::Socks, None) => {
                if let Some(peer) = name {
                    put(&mut self.peers, peer, in_scope);
                }
            }
        }
    }
}

/// One that was in scope once is; the same may be refused for where it leads.
fn put(noted: &mut BTreeMap<String, bool>, what: &str, in_scope: bool) {
    if noted.len() < NOTED_MAX || noted.contains_key(what) {
        *noted.entry(what.to_owned()).or_default() |= in_scope;
    }
}
