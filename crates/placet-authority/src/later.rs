//! The same work without waiting: for callers that have many of them on one thread.
//!
//! Each `then` is called once what was asked is durable, or certainly not done, on a thread of the
//! sequencer: it must not wait there. Where a method returns an error, `then` is never called.

use std::collections::BTreeSet;

use placet_decision::Params;
use placet_evidence::{Caller, Stage};
use placet_types::{Digest, ExecutionId, GatewayName, Index, SecretName};

use crate::authority::{Authority, REASON_BYTES_MAX};
use crate::prepare::prepare;
use crate::random;
use crate::submission::{Answer, Denied, EndReport, SignalReport, Submission, Unavailable};
use crate::work::{Attempt, Reply, StartRequest, Work, answer};

impl Authority {
    pub(crate) fn queue_submission(
        &self,
        submission: Submission,
        reply: Reply<Answer>,
    ) -> Result<(), Unavailable> {
        match prepare(&submission) {
            Ok(prepared) => self.queue.push(Work::Intent(Box::new(prepared), reply)),
            Err(denial) => {
                let caller = match submission.caller {
                    Caller::Key(_) | Caller::Spiffe(_) | Caller::Token(_) => submission.caller,
                    Caller::Unix(_) | Caller::Execution(_) => Caller::Unix(submission.caller_uid),
                };
                let attempt = Attempt {
                    presented: submission.intent,
                    salt: random::salt().map_err(|_| Unavailable::Evidence)?,
                    caller,
                    denial,
                    exec: None,
                    stage: Stage::Intent,
                };
                let reply = Reply::new(move |refused: Result<Denied, Unavailable>| {
                    answer(reply, refused.map(Answer::Denied));
                });
                self.queue.push(Work::Refuse(attempt, reply))
            }
        }
    }

    pub(crate) fn queue_start(
        &self,
        exec: ExecutionId,
        artifact: Digest,
        gateway: GatewayName,
        caller: Caller,
        (credentials, pinned): (BTreeSet<SecretName>, Option<Params>),
        reply: Reply<Result<Index, Denied>>,
    ) -> Result<(), Unavailable> {
        let request = StartRequest {
            exec,
            artifact,
            gateway,
            caller,
            salt: random::salt().map_err(|_| Unavailable::Evidence)?,
            credentials,
            pinned,
        };
        self.queue
            .push_urgent(Work::Start(Box::new(request), reply))
    }

    pub(crate) fn queue_signal(
        &self,
        mut report: SignalReport,
        reply: Reply<Result<Index, Denied>>,
    ) -> Result<(), Unavailable> {
        report.detail = report.detail.chars().take(REASON_BYTES_MAX / 4).collect();
        self.queue.push_urgent(Work::Signal(report, reply))
    }

    pub(crate) fn queue_end(
        &self,
        report: EndReport,
        reply: Reply<Result<Index, Denied>>,
    ) -> Result<(), Unavailable> {
        self.queue.push_urgent(Work::End(report, reply))
    }

    /// As [`Authority::submit`].
    ///
    /// # Errors
    ///
    /// [`Unavailable`] when it was not queued.
    pub fn submit_then(
        &self,
        submission: Submission,
        then: impl FnOnce(Result<Answer, Unavailable>) + Send + 'static,
    ) -> Result<(), Unavailable> {
        self.queue_submission(submission, Reply::new(then))
    }

    /// As [`Authority::start`].
    ///
    /// # Errors
    ///
    /// [`Unavailable`] when it was not queued.
    pub fn start_then(
        &self,
        exec: ExecutionId,
        artifact: Digest,
        gateway: GatewayName,
        caller: Caller,
        then: impl FnOnce(Result<Result<Index, Denied>, Unavailable>) + Send + 'static,
    ) -> Result<(), Unavailable> {
        // Secrets go to a connection that holds the permit, and to none of these.
        let none = (BTreeSet::new(), None);
        self.queue_start(exec, artifact, gateway, caller, none, Reply::new(then))
    }

    /// As [`Authority::signal`].
    ///
    /// # Errors
    ///
    /// [`Unavailable`] when it was not queued.
    pub fn signal_then(
        &self,
        report: SignalReport,
        then: impl FnOnce(Result<Result<Index, Denied>, Unavailable>) + Send + 'static,
    ) -> Result<(), Unavailable> {
        self.queue_signal(report, Reply::new(then))
    }

    /// As [`Authority::end`].
    ///
    /// # Errors
    ///
    /// [`Unavailable`] when it was not queued.
    pub fn end_then(
        &self,
        report: EndReport,
        then: impl FnOnce(Result<Result<Index, Denied>, Unavailable>) + Send + 'static,
    ) -> Result<(), Unavailable> {
        self.queue_end(report, Reply::new(then))
    }
}
