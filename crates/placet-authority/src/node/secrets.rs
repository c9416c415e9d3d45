//! Secrets at the node: operators' changes, and values for the connection that holds the permit.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use placet_decision::Params;
use placet_evidence::Caller;
use placet_secrets::{Change, Secret};
use placet_types::{DenialCode, Digest, ExecutionId, GatewayName, SecretName};

use super::acts::Acted;
use super::answer::{denied_response, refuse, unavailable_response};
use super::registry::{Carrier, Outlet};
use super::server::{Node, Peer};
use super::wire::{self, FollowingBody, Request, Response, SecretBody, SecretsBody};
use crate::access::Identity;
use crate::authority::Authority;
use crate::control::{ActError, NotPermitted};
use crate::secrets::Handed;

impl Node {
    /// Answers a request; requests and answers with secrets have them beside the frame.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "every other request is one frame, and so is its answer"
    )]
    pub(super) fn respond(
        &self,
        request: Request,
        peer: &Peer,
        outlet: &Arc<Outlet>,
        stream: &mut UnixStream,
    ) -> io::Result<(Response, Vec<Secret>)> {
        if peer.greeted.get().is_none() {
            return Ok((self.handle(request, peer, outlet), Vec::new()));
        }
        Ok(match request {
            Request::SetSecret { name, bytes } => {
                let value = wire::read_secret(stream, bytes)?;
                (
                    self.change_secrets(Change::Set(name, value), peer),
                    Vec::new(),
                )
            }
            Request::RenewSecret { bytes, exec, name } => {
                let value = wire::read_secret(stream, bytes)?;
                let holds = self.registry.carries(outlet, exec);
                (
                    self.renew_secret(holds, exec, name, value, peer),
                    Vec::new(),
                )
            }
            Request::HandAgain { exec, name } if self.registry.carries(outlet, exec) => {
                match self.authority.hand_again(exec, &name) {
                    Ok(secret) => {
                        // A secret has 64 KiB at most.
                        let bytes = u32::try_from(secret.len()).unwrap_or_default();
                        let following = FollowingBody { bytes, name };
                        (Response::Handed(following), vec![secret])
                    }
                    Err(denial) => (Response::Error(denial), Vec::new()),
                }
            }
            Request::HandAgain { .. } => (elsewhere(), Vec::new()),
            Request::TakeLogin { name } => self.take_login(name, peer),
            Request::Start {
                artifact,
                exec,
                gateway,
                pinned,
                takes_secrets: true,
            } => {
                let pinned = pinned.map(|body| Params::new(body.measured.into_bytes(), body.salt));
                self.start_with_secrets((exec, artifact), gateway, pinned, peer, outlet)
            }
            request => (self.handle(request, peer, outlet), Vec::new()),
        })
    }

    /// An operator's change of the secrets. What is recorded of a refused one names the secret.
    pub(super) fn change_secrets(&self, change: Change, peer: &Peer) -> Response {
        let presented = match &change {
            Change::Set(name, _) => format!("set the secret {name}"),
            Change::Remove(name) => format!("remove the secret {name}"),
            Change::Rekey => "rotate the key of the secrets".to_owned(),
        };
        let identity = Identity::Unix(peer.uid);
        let done = match self.operator(&identity) {
            Some(by) => {
                let caller = Caller::Unix(peer.uid);
                self.authority.change_secrets(change, by, caller)
            }
            None => Ok(Err(ActError::new(
                DenialCode::IdentityUnverified,
                "only an active principal of the group `operators` may do this",
            ))),
        };
        match done {
            Ok(Ok(index)) => Response::Recorded { index },
            Ok(Err(ActError {
                decided: Some(NotPermitted::Waits(deferred)),
                ..
            })) => Acted::Waits(deferred).into(),
            Ok(Err(error)) => {
                Response::Error(self.refuse_act(presented.into_bytes(), error, &identity))
            }
            Err(unavailable) => unavailable_response(unavailable),
        }
    }

    /// Takes a login away; its value goes to the operator who did.
    fn take_login(&self, name: SecretName, peer: &Peer) -> (Response, Vec<Secret>) {
        // Before it is gone, and of use only once it is.
        let value = self.authority.login(&name);
        let response = self.change_secrets(Change::Remove(name.clone()), peer);
        match (response, value) {
            (Response::Recorded { index }, Some(value)) => {
                // A secret has 64 KiB at most.
                let bytes = u32::try_from(value.len()).unwrap_or_default();
                let following = FollowingBody { bytes, name };
                (Response::Taken(index, following), vec![value])
            }
            (response, _) => (response, Vec::new()),
        }
    }

    /// The successor of a secret, from the connection that carries the execution which was handed it.
    fn renew_secret(
        &self,
        holds: bool,
        exec: ExecutionId,
        name: SecretName,
        value: Secret,
        peer: &Peer,
    ) -> Response {
        if !holds {
            return elsewhere();
        }
        let presented = format!("renew the secret {name} of {exec}");
        match self.authority.renew_secret(exec, name, value) {
            Ok(Ok(index)) => Response::Recorded { index },
            Ok(Err(error)) => {
                let identity = Identity::Unix(peer.uid);
                Response::Error(self.refuse_act(presented.into_bytes(), error, &identity))
            }
            Err(unavailable) => unavailable_response(unavailable),
        }
    }

    /// A start that takes the values of its credentials: on the connection that was answered with
    /// the permit, and on no other.
    pub(super) fn start_with_secrets(
        &self,
        (exec, artifact): (ExecutionId, Digest),
        gateway: GatewayName,
        pinned: Option<Params>,
        peer: &Peer,
        outlet: &Arc<Outlet>,
    ) -> (Response, Vec<Secret>) {
        if !self.registry.carries(outlet, exec) {
            return (elsewhere(), Vec::new());
        }
        let started = self
            .authority
            .start_with_secrets(exec, artifact, gateway, peer.uid, pinned);
        match started {
            Ok(Ok(Handed { index, secrets })) => {
                let following = secrets.iter().map(|(name, secret)| FollowingBody {
                    // A secret has 64 KiB at most.
                    bytes: u32::try_from(secret.len()).unwrap_or_default(),
                    name: name.clone(),
                });
                let response = Response::Started {
                    index,
                    secrets: following.collect(),
                };
                (
                    response,
                    secrets.into_iter().map(|(_, secret)| secret).collect(),
                )
            }
            Ok(Err(denied)) => {
                self.start_refused(exec, outlet, Carrier::of(outlet));
                (denied_response(denied), Vec::new())
            }
            Err(unavailable) => {
                self.start_refused(exec, outlet, Carrier::of(outlet));
                (unavailable_response(unavailable), Vec::new())
            }
        }
    }
}

fn elsewhere() -> Response {
    let reason = "secrets go to the connection that the permit was answered on";
    refuse(DenialCode::HolderMismatch, reason)
}

impl Authority {
    /// What there is, and what profiles want that there is not.
    pub(super) fn secrets(&self) -> SecretsBody {
        let blank = |name: &SecretName| SecretBody {
            held: false,
            name: name.clone(),
            profiles: Vec::new(),
            set: None,
            used: None,
        };
        let mut all: BTreeMap<SecretName, SecretBody> = self.with_state(|state| {
            let held = state.secrets().iter();
            held.map(|(name, held)| {
                let body = SecretBody {
                    held: true,
                    set: Some(held.set),
                    used: held.used,
                    ..blank(name)
                };
                (name.clone(), body)
            })
            .collect()
        });
        for (profile, names) in self.secrets_by_profile() {
            for name in names {
                let body = all.entry(name.clone()).or_insert_with(|| blank(&name));
                body.profiles.push(profile.clone());
            }
        }
        SecretsBody {
            secrets: all.into_values().collect(),
            trouble: self.secrets_trouble(),
        }
    }
}
