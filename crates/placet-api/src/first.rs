//! Two things that are waited for: whichever comes first.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

use tokio::sync::watch;

/// Which of two came first.
pub(crate) enum First<A, B> {
    /// The one that is looked at first.
    This(A),
    /// The other one.
    That(B),
}

/// Waits for whichever comes first. The other one is dropped.
pub(crate) async fn first<A: Future, B: Future>(this: A, that: B) -> First<A::Output, B::Output> {
    let (mut this, mut that) = (pin!(this), pin!(that));
    poll_fn(|context| {
        if let Poll::Ready(done) = this.as_mut().poll(context) {
            return Poll::Ready(First::This(done));
        }
        that.as_mut().poll(context).map(First::That)
    })
    .await
}

/// Waits for something unless the server stops before.
pub(crate) async fn unless_stopped<T>(
    stopping: &watch::Receiver<bool>,
    work: impl Future<Output = T>,
) -> Option<T> {
    let mut stopping = stopping.clone();
    let stops = async move {
        // A sender that is gone has stopped as well.
        drop(stopping.wait_for(|stops| *stops).await);
    };
    match first(work, stops).await {
        First::This(done) => Some(done),
        First::That(()) => None,
    }
}
