//! The same work without waiting: for callers that have many of them on one thread.
//!
//! Each `then` is called once what was asked is durable, or certainly not done, on a thread of the
//! sequencer or, before the method returns, on the caller's: it must not wait there. Where a method returns an error, `then` is never called.

use std::collections::BTreeSet;
use std::sync::mpsc::{channel, sync_channel};

use placet_decision::Params;
use placet_evidence::{Caller, Stage};
use placet_types::{Digest, ExecutionId, GatewayName, Index, SecretName};

use crate::authority::{Authority, REASON_BYTES_MAX, wait};
use crate::random;
use crate::submission::{Answer, Denied, EndReport, SignalReport, Submission, Unavailable};
use crate::work::{Attempt, Beginning, Prepared, Reply, StartRequest, Work, answer};

/// A decision, and what became of the start that followed it at once.
pub(crate) type Begun = (Answer, Option<Result<Index, Denied>>);

/// What is told of one of many things that were handed in together.
enum Tell {
    Over,
    Decided(usize, Result<Answer, Unavailable>),
    Started(usize, Result<Result<Index, Denied>, Unavailable>),
}

/// What was told of them so far.
struct Told {
    over: usize,
    decided: Vec<Option<Result<Answer, Unavailable>>>,
    started: Vec<Option<Result<Result<Index, Denied>, Unavailable>>>,
}

impl Told {
    fn new(over: usize, asked: usize) -> Self {
        Self {
            over,
            decided: (0..asked).map(|_| None).collect(),
            started: (0..asked).map(|_| None).collect(),
        }
    }

    fn take(&mut self, tell: Tell) {
        match tell {
            Tell::Over => self.over = self.over.saturating_sub(1),
            Tell::Decided(at, answer) => {
                if let Some(decided) = self.decided.get_mut(at) {
                    *decided = Some(answer);
                }
            }
            Tell::Started(at, outcome) => {
                if let Some(started) = self.started.get_mut(at) {
                    *started = Some(outcome);
                }
            }
        }
    }

    /// Whether nothing is missing. Only what was permitted is started.
    fn is_complete(&self) -> bool {
        let mut each = self.decided.iter().zip(&self.started);
        self.over == 0
            && each.all(|(decided, started)| match decided {
                Some(Ok(Answer::Permitted(_))) => started.is_some(),
                Some(_) => true,
                None => false,
            })
    }

    /// What is missing is `unavailable`.
    fn into_answers(self, unavailable: Unavailable) -> Vec<Result<Begun, Unavailable>> {
        let each = self.decided.into_iter().zip(self.started);
        each.map(
            |(decided, started)| match decided.unwrap_or(Err(unavailable))? {
                Answer::Permitted(permitted) => {
                    let started = started.unwrap_or(Err(unavailable))?;
                    Ok((Answer::Permitted(permitted), Some(started)))
                }
                other @ (Answer::Denied(_) | Answer::Deferred(_)) => Ok((other, None)),
            },
        )
        .collect()
    }
}

impl Authority {
    pub(crate) fn queue_submission(
        &self,
        submission: Submission,
        reply: Reply<Answer>,
    ) -> Result<(), Unavailable> {
        self.queue_prepared(submission, reply, Work::Intent)
    }

    /// As [`Authority::submit`], for what is started with its permit by the gateway that the intent names.
    /// What it answers beside a permit is the record of the start.
    ///
    /// # Errors
    ///
    /// [`Unavailable`] when nothing could be recorded.
    pub(crate) fn begin(&self, submission: Submission) -> Result<Begun, Unavailable> {
        let (sender, receiver) = sync_channel(1);
        let beginning = Beginning {
            salt: random::salt().map_err(|_| Unavailable::Evidence)?,
            reply: Reply::new(move |started| drop(sender.send(started))),
        };
        let work = |prepared, reply| Work::Begin(prepared, reply, Box::new(beginning));
        let decided = wait(|reply| self.queue_prepared(submission, reply, work))?;
        Ok(match decided {
            Answer::Permitted(permitted) => {
                let started = receiver.recv().unwrap_or(Err(Unavailable::Evidence));
                (Answer::Permitted(permitted), Some(started?))
            }
            other @ (Answer::Denied(_) | Answer::Deferred(_)) => (other, None),
        })
    }

    /// Records what is over and, with it, decides intents that are started with their permits, as
    /// [`Authority::begin`] does. Returns once all of it is durable.
    pub(crate) fn begin_all(
        &self,
        over: Vec<EndReport>,
        submissions: Vec<Submission>,
    ) -> Vec<Result<Begun, Unavailable>> {
        let (sender, receiver) = channel();
        let mut told = Told::new(over.len(), submissions.len());
        let over = over.into_iter().map(|report| {
            let sender = sender.clone();
            let reply = Reply::new(move |_| drop(sender.send(Tell::Over)));
            Work::End(report, reply)
        });
        let over = over.collect();
        let asked = submissions.into_iter().enumerate().map(|(at, submission)| {
            let (decided, started) = (sender.clone(), sender.clone());
            let beginning = Beginning {
                salt: random::salt().map_err(|_| Unavailable::Evidence)?,
                reply: Reply::new(move |it| drop(started.send(Tell::Started(at, it)))),
            };
            let reply = Reply::new(move |it| drop(decided.send(Tell::Decided(at, it))));
            let work = |prepared, reply| Work::Begin(prepared, reply, Box::new(beginning));
            self.work_of(submission, reply, work)
        });
        // Without randomness nothing is asked; what is over is recorded all the same.
        let asked: Result<Vec<Work>, Unavailable> = asked.collect();
        drop(sender);
        let refused = match asked {
            Ok(asked) => self.sequence.hand_in_all(over, asked),
            Err(unavailable) => self
                .sequence
                .hand_in_all(over, Vec::new())
                .and(Err(unavailable)),
        };
        // What was dropped without an answer has none: then this ends as well.
        while !told.is_complete()
            && let Ok(tell) = receiver.recv()
        {
            told.take(tell);
        }
        told.into_answers(refused.err().unwrap_or(Unavailable::Evidence))
    }

    fn queue_prepared(
        &self,
        submission: Submission,
        reply: Reply<Answer>,
        work: impl FnOnce(Box<Prepared>, Reply<Answer>) -> Work,
    ) -> Result<(), Unavailable> {
        self.sequence
            .hand_in(self.work_of(submission, reply, work)?)
    }

    fn work_of(
        &self,
        submission: Submission,
        reply: Reply<Answer>,
        work: impl FnOnce(Box<Prepared>, Reply<Answer>) -> Work,
    ) -> Result<Work, Unavailable> {
        Ok(match self.prepared(&submission) {
            Ok(prepared) => work(Box::new(prepared), reply),
            Err(denial) => {
                let caller = match submission.caller {
                    Caller::Key(_) | Caller::Spiffe(_) | Caller::Token(_) => submission.caller,
                    Caller::Unix(_) | Caller::Execution(_) => Caller::Unix(submission.caller_uid),
                };
                let attempt = Attempt {
                    presented: submission.intent.as_bytes().to_vec(),
                    salt: random::salt().map_err(|_| Unavailable::Evidence)?,
                    caller,
                    denial,
                    exec: None,
                    stage: Stage::Intent,
                };
                let reply = Reply::new(move |refused: Result<Denied, Unavailable>| {
                    answer(reply, refused.map(Answer::Denied));
                });
                Work::Refuse(attempt, reply)
            }
        })
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
        self.sequence
            .hand_in_urgent(Work::Start(Box::new(request), reply))
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
        // Not here and now: gateways are told of what it ends, and that may wait for one of them.
        self.queue
            .push_urgent(Work::Signal(in_bounds(report), Reply::new(then)))
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
        self.queue.push_urgent(Work::End(report, Reply::new(then)))
    }
}

/// A signal whose text is no longer than a reason may be.
pub(crate) fn in_bounds(mut report: SignalReport) -> SignalReport {
    report.detail = report.detail.chars().take(REASON_BYTES_MAX / 4).collect();
    report
}
