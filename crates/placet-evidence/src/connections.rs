//! What an execution did on the network, connection by connection.
//!
//! Whom an execution talks to is private: the record is public and holds numbers and a commitment, the
//! list stands in the payload beside it and can be erased.

use serde::{Deserialize, Serialize};

use placet_types::canonical::Malformed;
use placet_types::{Commitment, Digest, ExecutionId, Millis, Salt};

use crate::list::{self, is_zero};
use crate::usage::NetworkUsage;

/// Entries of one list.
pub const CONNECTIONS_MAX: usize = 512;
/// What the commitment to a list is labelled with.
const LABEL: &str = "connections";

/// What an execution did on the network since the last record of this kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Connections {
    /// How many entries the list has, at most [`CONNECTIONS_MAX`].
    pub count: u64,
    /// Which execution.
    pub exec: ExecutionId,
    /// Digest of the intent.
    pub intent: Digest,
    /// Commitment to the list.
    pub list: Commitment,
    /// Events for which the list had no room. They are counted in `usage`.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub omitted: u64,
    /// When it was recorded.
    pub time: Millis,
    /// Numbers since the last record of this kind.
    pub usage: NetworkUsage,
}

/// One entry of the list. A connection that is open when a record is made is listed there without
/// its end, and again with it, under the same `id`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Connection {
    /// Where that is, `address:port`, where that was found out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// When it was over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closed: Option<Millis>,
    /// Which connection of the execution, from 1, for those that were opened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<u64>,
    /// The host that was asked for, or that the address was looked up for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What became of it.
    pub outcome: ConnectionOutcome,
    /// Bytes received, once it is over and where somebody counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub received_bytes: Option<u64>,
    /// The peer of the scope that lets it be reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// Bytes sent, once it is over and where somebody counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent_bytes: Option<u64>,
    /// When it was opened, or refused, or failed; the first time, where it is one of several.
    pub time: Millis,
    /// How often, for refusals and failures of one kind.
    #[serde(default = "once", skip_serializing_if = "is_one")]
    pub times: u64,
    /// How it was asked for.
    pub way: ConnectionWay,
    /// Why it was refused: a stable word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// What became of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConnectionOutcome {
    /// It was opened.
    Opened,
    /// The scope does not cover it.
    Refused,
    /// The scope covers it, and the peer or the network said no.
    Failed,
}

/// How a connection was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConnectionWay {
    /// By connect(2), through the broker.
    Connect,
    /// By a DNS question: a lookup, not a connection.
    Dns,
    /// As a plain HTTP request to the proxy.
    Http,
    /// By SOCKS5.
    Socks,
    /// By HTTP CONNECT.
    Tunnel,
}

impl Connections {
    /// The commitment to a list in its canonical bytes.
    #[must_use]
    pub fn commit(list: &[u8], salt: &Salt) -> Commitment {
        Commitment::to(LABEL, list, salt)
    }

    /// Whether a list is the one that the record commits to.
    #[must_use]
    pub fn opens_to(&self, list: &[u8], salt: &Salt) -> bool {
        self.list.opens_to(LABEL, list, salt)
    }

    /// Reads a list from its canonical bytes.
    ///
    /// # Errors
    ///
    /// [`Malformed`] names the rule that is broken.
    pub fn read_list(bytes: &[u8]) -> Result<Vec<Connection>, Malformed> {
        list::read(bytes, CONNECTIONS_MAX)
    }
}

const fn once() -> u64 {
    1
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde hands out references"
)]
fn is_one(value: &u64) -> bool {
    *value == 1
}

#[cfg(test)]
mod tests {
    use placet_types::canonical;

    use super::*;

    fn refused() -> Connection {
        Connection {
            address: None,
            closed: None,
            id: None,
            name: Some("example.org".into()),
            outcome: ConnectionOutcome::Refused,
            received_bytes: None,
            rule: None,
            sent_bytes: None,
            time: Millis::new(7),
            times: 1,
            way: ConnectionWay::Tunnel,
            why: Some("unlisted_name".into()),
        }
    }

    #[test]
    fn a_list_reads_back_from_its_canonical_bytes_and_opens_its_commitment() {
        let list = vec![refused()];
        let bytes = canonical::to_bytes(&list).unwrap();
        assert_eq!(
            String::from_utf8(bytes.clone()).unwrap(),
            r#"[{"name":"example.org","outcome":"refused","time":7,"way":"tunnel","why":"unlisted_name"}]"#
        );
        assert_eq!(Connections::read_list(&bytes), Ok(list));
        let salt = Salt::new([3; 32]);
        let record = Connections {
            count: 1,
            exec: "exec_00000000000000000000000000000000".parse().unwrap(),
            intent: Digest::of(b"intent"),
            list: Connections::commit(&bytes, &salt),
            omitted: 0,
            time: Millis::new(8),
            usage: NetworkUsage::default(),
        };
        assert!(record.opens_to(&bytes, &salt));
        assert!(!record.opens_to(b"[]", &salt));
    }

    #[test]
    fn a_list_has_a_bound() {
        let list = vec![refused(); CONNECTIONS_MAX + 1];
        let bytes = canonical::to_bytes(&list).unwrap();
        assert!(Connections::read_list(&bytes).is_err());
    }
}
