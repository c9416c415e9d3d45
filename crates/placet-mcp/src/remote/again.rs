//! A session that the server has forgotten is begun again, as its client began it.
//!
//! A server says so before it does anything, so the request that it refused may be asked once more: the very
//! bytes that were decided about. What the server knew of the session, such as subscriptions, is gone.

use std::time::Duration;

use hyper::header::{HeaderMap, HeaderValue};
use tokio::time::timeout;

use super::exchange::RemoteError;
use super::{Asked, Wire};
use crate::{emit, headers};

/// How long beginning may take.
const BEGIN: Duration = Duration::from_secs(30);

impl Wire {
    /// Asks; once more, if the server has forgotten the session and takes another.
    pub(super) async fn request_again(&self, mut asked: Asked) -> Result<(), RemoteError> {
        let outcome = self.request(&asked).await;
        if !matches!(outcome, Err(RemoteError::Forgotten)) {
            return outcome;
        }
        let forgotten = asked.headers.get(headers::SESSION).cloned();
        if !self.begin_again(forgotten.as_ref()).await {
            return outcome;
        }
        asked.headers.remove(headers::SESSION);
        asked.headers.extend(self.common());
        self.request(&asked).await
    }

    /// Whether there is a session other than this one, which is begun if there is none.
    pub(super) async fn begin_again(&self, forgotten: Option<&HeaderValue>) -> bool {
        let _turn = self.again.lock().await;
        let (opening, version) = {
            let state = self.state();
            if state.session.as_ref() != forgotten {
                // Another request has met the same, and was faster.
                return state.session.is_some();
            }
            (state.opening.clone(), state.version.clone())
        };
        let Some(opening) = opening else {
            return false;
        };
        (self.tell)("the server elsewhere has ended the session: it is begun again");
        let asked = Asked {
            id: opening.id,
            method: "initialize".to_owned(),
            is_alone: false,
            is_own: true,
            headers: HeaderMap::new(),
            body: opening.body,
        };
        let begun = timeout(BEGIN, self.request(&asked)).await;
        let is_same = {
            let state = self.state();
            // With another revision the client would speak past the server.
            state.version == version && state.session.as_ref() != forgotten
        };
        if !matches!(begun, Ok(Ok(()))) || !is_same {
            return false;
        }
        let said = emit::notification("notifications/initialized", None);
        self.say(said.into_bytes()).await
    }
}
