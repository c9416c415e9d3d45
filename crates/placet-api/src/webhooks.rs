//! Webhooks: other channels are told what waits for approvals, and what became of it.
//!
//! The log is the queue. A task for each receiver reads records as they become durable and delivers one
//! message after the other, so nothing that decides ever waits for it, memory is bounded by one message,
//! and a receiver that was away is told what it missed as long as it still matters. Messages are signed
//! as Standard Webhooks has it (HMAC-SHA256), and their ids follow from the record: whoever gets one twice knows.
//!
//! After a start, everything since the oldest intent that still waits is told again.

mod message;
mod post;
mod receiver;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use placet_types::Index;
use tokio::time::sleep;

use crate::call::Shared;
use crate::first::unless_stopped;
use crate::log::{Level, Value};
use message::{Message, read};

pub use receiver::{Receiver, ReceiverError, Webhook};

/// Records that are looked at in one go.
const STEP: u64 = 256;
/// Before the second attempt; each further one waits twice as long.
const PAUSE: Duration = Duration::from_secs(1);
/// Longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// Tells each receiver, until the server stops.
pub(crate) fn spawn(shared: &Arc<Shared>) {
    for receiver in &shared.settings.webhooks {
        let teller = Teller {
            shared: Arc::clone(shared),
            receiver: Arc::clone(receiver),
            next: oldest(shared),
            is_down: false,
        };
        tokio::spawn(async move {
            let stopping = teller.shared.stopping.clone();
            unless_stopped(&stopping, teller.run()).await;
        });
    }
}

/// The record that the oldest wait began with, else the next one.
fn oldest(shared: &Shared) -> u64 {
    let authority = shared.service.authority();
    let now = shared.service.clock().wall();
    authority.with_state(|state| {
        let waiting = state.waiting(now);
        let oldest = waiting.first().map(|(_, waits)| waits.decided);
        oldest.unwrap_or_else(|| state.next()).get()
    })
}

struct Teller {
    shared: Arc<Shared>,
    receiver: Arc<Receiver>,
    next: u64,
    /// The last message was given up: the next one is tried once, until one gets through.
    is_down: bool,
}

impl Teller {
    async fn run(mut self) {
        let mut size = self.shared.size.clone();
        loop {
            let known = *size.borrow_and_update();
            while self.next < known {
                if !self.step(known).await {
                    return;
                }
            }
            if size.changed().await.is_err() {
                return;
            }
        }
    }

    /// Goes through the next records, up to the first that is to be told. Whether it may go on.
    async fn step(&mut self, known: u64) -> bool {
        let end = known.min(self.next.saturating_add(STEP));
        let (shared, receiver) = (Arc::clone(&self.shared), Arc::clone(&self.receiver));
        let from = Index::new(self.next);
        let found =
            tokio::task::spawn_blocking(move || read(&shared, &receiver, from..Index::new(end)));
        match found.await {
            Ok(Ok(Some(message))) => {
                self.next = message.index.next().get();
                self.tell(&message).await;
                true
            }
            Ok(Ok(None)) => {
                self.next = end;
                true
            }
            // A log that cannot be read ends the node; this ends with it.
            Ok(Err(_)) | Err(_) => false,
        }
    }

    async fn tell(&mut self, message: &Message) {
        let attempts = if self.is_down {
            1
        } else {
            self.receiver.attempts()
        };
        let mut pause = PAUSE;
        for attempt in 1..=attempts {
            let now = self.shared.service.clock().wall();
            if message.until.is_some_and(|until| now >= until) {
                return;
            }
            match post::post(&self.receiver, message, now).await {
                Ok(()) => {
                    self.is_down = false;
                    let told = &self.shared.requests.webhooks_delivered;
                    told.fetch_add(1, Ordering::Relaxed);
                    return;
                }
                Err(error) => self.say("webhook", message, attempt, &error.to_string()),
            }
            if attempt < attempts {
                sleep(pause).await;
                pause = pause.saturating_mul(2).min(PAUSE_MAX);
            }
        }
        self.is_down = true;
        self.say(
            "webhook given up",
            message,
            attempts,
            "the next message has its turn",
        );
        let failed = &self.shared.requests.webhooks_failed;
        failed.fetch_add(1, Ordering::Relaxed);
    }

    fn say(&self, event: &'static str, message: &Message, attempt: u32, error: &str) {
        let fields = [
            ("receiver", Value::Text(self.receiver.host())),
            ("id", Value::Text(&message.id)),
            ("attempt", Value::Number(attempt.into())),
            ("error", Value::Text(error)),
        ];
        let now = self.shared.service.clock().wall();
        self.shared.logger.say(Level::Warn, now, event, &fields);
    }
}
