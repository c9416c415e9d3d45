//! A connection of a governed tree as an intent.

use placet_types::call::Members;
use placet_types::canonical::Json;
use placet_types::{
    ActionName, Asked, CallParams, Commitment, ExecutionId, GatewayName, Intent, PrincipalId,
    ProfileName, ResourceRef, Salt,
};

use crate::call::{Asking, CallError, GATEWAY, salt, shape};

/// What policy calls whoever is connected to.
const KIND: &str = "Peer";

/// A connection that was made an intent, with what belongs to it.
#[derive(Clone, Debug)]
pub(crate) struct Peered {
    intent: Intent,
    params: Vec<u8>,
    salt: Salt,
}

impl Peered {
    /// The call that connecting to a peer amounts to: `host:port`, as the scope lists it.
    pub(crate) fn new(
        peer: &str,
        principal: PrincipalId,
        (parent, profile): (ExecutionId, Option<&ProfileName>),
    ) -> Result<Self, CallError> {
        let params = described(peer).to_canonical();
        let salt = salt()?;
        let intent = Intent {
            action: ActionName::parse(CallParams::CONNECT).map_err(|error| shape(&error))?,
            asked: Asked {
                // It leaves the cell that was asked for so.
                profile: profile.cloned(),
                ..Asked::default()
            },
            gateway: GatewayName::parse(GATEWAY).map_err(|error| shape(&error))?,
            params: Commitment::to(CallParams::CONNECT, &params, &salt),
            parent: Some(parent),
            principal,
            resource: ResourceRef {
                digest: None,
                id: peer.to_owned(),
                kind: KIND.to_owned(),
            },
        };
        intent.resource.check()?;
        Ok(Self {
            intent,
            params,
            salt,
        })
    }

    pub(crate) fn asking(&self) -> Asking<'_> {
        Asking {
            intent: &self.intent,
            params: &self.params,
            salt: &self.salt,
        }
    }
}

/// What policies see of a peer.
fn described(peer: &str) -> CallParams {
    let (host, port) = peer.rsplit_once(':').unwrap_or((peer, ""));
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let port = f64::from(port.parse::<u16>().unwrap_or(0));
    let mut resource = Members::from([
        ("host".to_owned(), Json::String(bare.to_owned())),
        ("port".to_owned(), Json::Number(port)),
    ]);
    if bare.parse::<std::net::IpAddr>().is_ok() {
        resource.insert("address".to_owned(), Json::String(bare.to_owned()));
    }
    CallParams {
        resource,
        ..CallParams::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(peer: &str) -> String {
        String::from_utf8(described(peer).to_canonical()).unwrap()
    }

    #[test]
    fn a_peer_is_described_by_name_or_by_address() {
        assert_eq!(
            words("example.org:443"),
            r#"{"resource":{"host":"example.org","port":443}}"#
        );
        assert_eq!(
            words("[::1]:80"),
            r#"{"resource":{"address":"::1","host":"::1","port":80}}"#
        );
    }
}
