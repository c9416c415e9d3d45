//! Browsers that signed in: one-time tokens, and the keys that stand for somebody.
//!
//! A user of this machine asks for a link over the Unix socket, which says who they are. The browser
//! that opens it makes an Ed25519 key of its own, which it cannot export, and redeems the token with a
//! request proof by that key. From then on the key stands for that user, until the session is over or
//! the process is: nothing of this is kept anywhere, and no cookie is involved. Whoever an identity provider
//! signed in ([`crate::oidc`]) stands here too. So no other page, port
//! or program gains from a request of that browser, and a token that was seen afterwards is worth nothing.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use placet_authority::access::SignedIn;
use placet_types::{Digest, Millis, Thumbprint};
use zeroize::Zeroizing;

/// How long a link can be opened, in milliseconds.
pub(crate) const LINK_MS: u64 = 10 * 60 * 1000;
/// How long a session lasts, in milliseconds.
pub(crate) const SESSION_MS: u64 = 12 * 60 * 60 * 1000;
/// Links that can be open at a time; the oldest goes first.
const LINKS_MAX: usize = 32;
/// Sessions at a time; the oldest goes first.
const SESSIONS_MAX: usize = 256;

/// Links that were given out, and sessions. In memory only.
#[derive(Debug, Default)]
pub(crate) struct Sessions(Mutex<Tables>);

#[derive(Debug, Default)]
struct Tables {
    /// By the digest of the token: a table lookup then tells nothing about the token itself.
    links: VecDeque<(Digest, Link)>,
    sessions: BTreeMap<Thumbprint, Granted>,
}

/// Who it stands for, and until when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Granted {
    pub(crate) by: SignedIn,
    pub(crate) until: Millis,
}

/// What was given out, until it is redeemed.
#[derive(Clone, Copy, Debug)]
struct Link {
    uid: u32,
    until: Millis,
}

impl Sessions {
    /// A new token for this user, and until when it can be redeemed. `None` without randomness.
    pub(crate) fn link(&self, uid: u32, now: Millis) -> Option<(Zeroizing<String>, Millis)> {
        let mut bytes = Zeroizing::new([0_u8; 32]);
        getrandom::fill(bytes.as_mut_slice()).ok()?;
        let token = Zeroizing::new(URL_SAFE_NO_PAD.encode(bytes.as_slice()));
        let until = after(now, LINK_MS);
        let link = Link { uid, until };
        let mut tables = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tables.links.retain(|(_, link)| link.until > now);
        while tables.links.len() >= LINKS_MAX {
            tables.links.pop_front();
        }
        let digest = Digest::of(token.as_bytes());
        tables.links.push_back((digest, link));
        Some((token, until))
    }

    /// Uses a token up: from now on this key stands for the user that asked for it.
    pub(crate) fn redeem(&self, token: &str, key: &Thumbprint, now: Millis) -> Option<Granted> {
        let digest = Digest::of(token.as_bytes());
        let mut tables = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let at = tables.links.iter().position(|(own, _)| *own == digest)?;
        let (_, link) = tables.links.remove(at)?;
        if link.until <= now {
            return None;
        }
        let granted = Granted {
            by: SignedIn::Unix(link.uid),
            until: after(now, SESSION_MS),
        };
        tables.grant(key, granted.clone(), now);
        Some(granted)
    }

    /// From now on this key stands for whoever an identity provider says.
    pub(crate) fn grant(&self, key: &Thumbprint, granted: Granted, now: Millis) {
        let mut tables = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tables.grant(key, granted, now);
    }

    /// Whom this key stands for now.
    pub(crate) fn of(&self, key: &Thumbprint, now: Millis) -> Option<Granted> {
        let tables = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let granted = tables.sessions.get(key).cloned()?;
        (granted.until > now).then_some(granted)
    }

    /// Ends the session of this key.
    pub(crate) fn end(&self, key: &Thumbprint) {
        let mut tables = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tables.sessions.remove(key);
    }
}

impl Tables {
    fn grant(&mut self, key: &Thumbprint, granted: Granted, now: Millis) {
        self.make_room(now);
        self.sessions.insert(key.clone(), granted);
    }

    fn make_room(&mut self, now: Millis) {
        self.sessions.retain(|_, session| session.until > now);
        while self.sessions.len() >= SESSIONS_MAX {
            let oldest = self.sessions.iter().min_by_key(|(_, one)| one.until);
            let Some(oldest) = oldest.map(|(key, _)| key.clone()) else {
                return;
            };
            self.sessions.remove(&oldest);
        }
    }
}

pub(crate) fn after(now: Millis, ms: u64) -> Millis {
    Millis::new(now.get().saturating_add(ms))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dpop::tests::signer;

    const NOW: Millis = Millis::new(1_000);

    fn key(seed: u8) -> Thumbprint {
        Thumbprint::of(&signer(seed).public())
    }

    #[test]
    fn a_link_makes_one_session_of_the_key_that_redeems_it() {
        let sessions = Sessions::default();
        let (token, until) = sessions.link(7, NOW).unwrap();
        assert_eq!(until.get(), NOW.get() + LINK_MS);
        assert_eq!(sessions.redeem("other", &key(1), NOW), None);
        let granted = sessions.redeem(&token, &key(1), NOW).unwrap();
        assert_eq!(granted.by, SignedIn::Unix(7));
        assert_eq!(sessions.redeem(&token, &key(2), NOW), None);
        assert_eq!(sessions.of(&key(1), NOW), Some(granted.clone()));
        assert_eq!(sessions.of(&key(2), NOW), None);
        sessions.end(&key(1));
        assert_eq!(sessions.of(&key(1), NOW), None);
    }

    #[test]
    fn links_and_sessions_end_by_themselves() {
        let sessions = Sessions::default();
        let (token, until) = sessions.link(7, NOW).unwrap();
        assert_eq!(sessions.redeem(&token, &key(1), until), None);
        let (token, _) = sessions.link(7, NOW).unwrap();
        let granted = sessions.redeem(&token, &key(1), NOW).unwrap();
        let last = Millis::new(granted.until.get() - 1);
        assert_eq!(sessions.of(&key(1), last), Some(granted.clone()));
        assert_eq!(sessions.of(&key(1), granted.until), None);
    }

    #[test]
    fn what_is_remembered_is_bounded_and_the_oldest_goes_first() {
        let sessions = Sessions::default();
        let (first, _) = sessions.link(7, NOW).unwrap();
        let last = (0..LINKS_MAX)
            .map(|_| sessions.link(7, NOW).unwrap())
            .last();
        assert_eq!(sessions.redeem(&first, &key(1), NOW), None);
        assert!(sessions.redeem(&last.unwrap().0, &key(1), NOW).is_some());
        for at in 0..=SESSIONS_MAX {
            let now = Millis::new(NOW.get() + 1 + at as u64);
            let (token, _) = sessions.link(7, now).unwrap();
            let other = format!("{at:042}0").parse().unwrap();
            assert!(sessions.redeem(&token, &other, now).is_some());
        }
        assert_eq!(sessions.of(&key(1), NOW), None);
        assert_eq!(sessions.0.lock().unwrap().sessions.len(), SESSIONS_MAX);
    }
}
