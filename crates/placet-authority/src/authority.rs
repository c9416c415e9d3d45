//! The handle that callers hold.

use std::fmt;
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use placet_evidence::{Caller, Environment, Stage};
use placet_log::{AppendError, LogReader, Sequencer};
use placet_secrets::Store;
use placet_state::State;
use placet_types::{Denial, DenialCode, Digest, ExecutionId, Fixed, Index, Millis, PrincipalId};

use crate::access::Rules;
use crate::activate::{self, Bundles};
use crate::again::Again;
use crate::approvals;
use crate::blobs::Blobs;
use crate::clock::Clock;
use crate::control::{Act, ActError};
use crate::dir::DomainDir;
use crate::draft::Drafter;
use crate::host;
use crate::keys::NodeKeys;
use crate::later::in_bounds;
use crate::meters::Meters;
use crate::opening::{OpenError, check_keys, fold};
use crate::policies::Compiled;
use crate::prepare::principal_record;
use crate::preview::{self, Preview};
use crate::queue::Queue;
use crate::random;
use crate::scopes::{self, Scopes};
use crate::sequence::{OnEnding, Sequence, Sequencing, Writer};
use crate::shadow::{Follower, Shadow, ShadowReport};
use crate::snapshot::Saver;
use crate::submission::{
    Answer, BornReport, ConnectionsReport, Denied, EndReport, SignalReport, Submission, Unavailable,
};
use crate::verifier::Verifier;
use crate::work::{Attempt, ReadyAct, Reply, Work};

/// Longest reason that an operator can give, in bytes.
pub const REASON_BYTES_MAX: usize = 1024;

/// The decision service of one domain.
///
/// There is no way to build one without a log. Methods block until what they did is durable.
pub struct Authority {
    pub(crate) queue: Arc<Queue<Work>>,
    pub(crate) sequence: Arc<Sequence>,
    durable: Arc<RwLock<State>>,
    reader: LogReader,
    bundles: Bundles,
    blobs: Blobs,
    /// The machine of this node, as far as it shows without being tried.
    pub(crate) host: Fixed<Environment>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) verifier: Verifier,
    pub(crate) compiled: Compiled,
    /// For the bundle of this digest.
    env_names: Mutex<(Option<Digest>, Arc<Vec<String>>)>,
    /// Which identities are which principals, by the bundle in force when it was last looked at.
    pub(crate) rules: Mutex<Rules>,
    /// For artifacts that are made again.
    pub(crate) keys: Arc<NodeKeys>,
    pub(crate) secrets: Store,
    /// Changes of the secrets, and starts that get them, take turns.
    pub(crate) turns: RwLock<()>,
    /// Acts that can be governed take turns: what policies are shown of one holds until it is done.
    pub(crate) acting: Mutex<()>,
    sequencer: Mutex<Option<Sequencing>>,
    shadow: Follower,
    meters: Arc<Meters>,
}

/// What an authority runs on. Made by [`Running::open`] for a directory, or by hand for another
/// log.
pub struct Running {
    /// The log, with a genesis record at index 0.
    pub log: Box<dyn Sequencer>,
    /// The node's keys.
    pub keys: NodeKeys,
    /// Scopes by digest.
    pub blobs: Blobs,
    /// Bundles by digest.
    pub bundles: Bundles,
    /// The store of secrets.
    pub secrets: Store,
    /// Where folds are saved, if anywhere.
    pub snapshots: Option<std::path::PathBuf>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Told of executions that must end.
    pub on_ending: OnEnding,
}

impl Running {
    /// Opens the log of a domain directory as its only writer.
    ///
    /// # Errors
    ///
    /// [`OpenError`], among others when another process has the directory.
    pub fn open(
        dir: &DomainDir,
        clock: Arc<dyn Clock>,
        on_ending: OnEnding,
    ) -> Result<Self, OpenError> {
        let keys = NodeKeys::load(dir)?;
        let log = crate::init::open_log(dir)?;
        Ok(Self {
            log: Box::new(log),
            keys,
            blobs: Blobs::new(dir.blobs()),
            bundles: Bundles::new(dir.bundles()),
            secrets: crate::secrets::store(dir),
            snapshots: Some(dir.snapshots()),
            clock,
            on_ending,
        })
    }
}

impl Authority {
    /// Folds the log and begins to take work.
    ///
    /// # Errors
    ///
    /// [`OpenError`] names what does not hold. Nothing was written.
    pub fn open(running: Running) -> Result<Self, OpenError> {
        let Running {
            log,
            keys,
            blobs,
            bundles,
            secrets,
            snapshots,
            clock,
            on_ending,
        } = running;
        let reader = log.reader();
        let state = fold(&reader, snapshots.as_deref())?;
        check_keys(&state, &keys)?;
        let active = state.policy().map(|active| active.bundle);
        let policy = active.and_then(|bundle| bundles.load(bundle).ok());
        let policy = policy.map(Arc::new);
        let compiled = Compiled::of(active, policy.clone());
        let queue = Arc::new(Queue::new());
        let durable = Arc::new(RwLock::new(state.clone()));
        let drafter = Drafter::new(
            state,
            policy,
            Scopes::new(blobs.clone()),
            Arc::clone(&clock),
            keys.artifact.public(),
        );
        let meters = Arc::new(Meters::default());
        let shadow = Arc::new(Shadow::new(reader.size()));
        let writer = Writer {
            broken: false,
            clock: Arc::clone(&clock),
            meters: Arc::clone(&meters),
            shadow: Arc::clone(&shadow),
            queue: Arc::clone(&queue),
            log,
            durable: Arc::clone(&durable),
            on_ending,
            saver: Saver::new(snapshots, reader.clone()),
        };
        let host = host::said(
            &durable
                .read()
                .unwrap_or_else(PoisonError::into_inner)
                .genesis()
                .domain,
        );
        let host = host.map_err(|error| OpenError::Machine(error.to_string()))?;
        let host = Fixed::new(host).map_err(|error| OpenError::Machine(error.to_string()))?;
        let keys = Arc::new(keys);
        let sequence = Sequence::new(Arc::clone(&queue), Arc::clone(&keys), drafter, writer);
        let sequence = Arc::new(sequence);
        let sequencer = Sequencing::start(&sequence).map_err(OpenError::Thread)?;
        let sequencer = Mutex::new(Some(sequencer));
        let follower = Follower::start(shadow, &reader, &bundles, &blobs, Arc::clone(&durable));
        let env_names = Mutex::default();
        let authority = Self {
            host,
            queue,
            sequence,
            durable,
            reader,
            bundles,
            blobs,
            clock,
            verifier: Verifier::draw().map_err(|error| OpenError::Machine(error.to_string()))?,
            compiled,
            env_names,
            rules: Mutex::default(),
            keys,
            secrets,
            turns: RwLock::new(()),
            acting: Mutex::new(()),
            sequencer,
            shadow: follower.map_err(OpenError::Thread)?,
            meters,
        };
        authority.settle_secrets();
        authority.lapse_acts().map_err(|_| OpenError::Closed)?;
        // A node may have been lost between an activation and what follows from it.
        authority.decide_again().map_err(|_| OpenError::Closed)?;
        Ok(authority)
    }

    /// Decides an intent. Returns once the decision is durable.
    ///
    /// # Errors
    ///
    /// [`Unavailable`] when nothing could be recorded; then nothing may run.
    pub fn submit(&self, submission: Submission) -> Result<Answer, Unavailable> {
        wait(|reply| self.queue_submission(submission, reply))
    }

    /// Says what would be decided now, and why. Nothing is recorded, nothing is released.
    ///
    /// # Errors
    ///
    /// A denial when the intent does not parse.
    pub fn preview(&self, submission: &Submission, now: Millis) -> Result<Preview, Denial> {
        let prepared = self.prepared(submission)?;
        let state = self.with_state(State::clone);
        let policy = state
            .policy()
            .and_then(|active| self.policy_of(active.bundle));
        let parent_scope = prepared
            .intent
            .parent
            .and_then(|parent| state.execution(&parent))
            .and_then(|parent| scopes::read(&self.blobs, parent.grant.scope));
        Ok(preview::preview(
            &state,
            policy.as_deref(),
            parent_scope.as_ref(),
            &prepared,
            now,
        ))
    }

    /// Records that a gateway refused what was presented to it.
    ///
    /// # Errors
    ///
    /// [`Unavailable`] when nothing could be recorded.
    pub fn refused(
        &self,
        presented: Vec<u8>,
        exec: Option<ExecutionId>,
        denial: Denial,
        caller: Caller,
        stage: Stage,
    ) -> Result<Denied, Unavailable> {
        let attempt = Attempt {
            presented,
            salt: random::salt().map_err(|_| Unavailable::Evidence)?,
            caller,
            denial,
            exec,
            stage,
        };
        wait(|reply| self.sequence.hand_in(Work::Refuse(attempt, reply)))
    }

    /// Records something notable about a running execution.
    ///
    /// # Errors
    ///
    /// [`Unavailable`] when nothing could be recorded.
    pub fn signal(&self, report: SignalReport) -> Result<Result<Index, Denied>, Unavailable> {
        self.urgent(|reply| Work::Signal(in_bounds(report), reply))
    }

    /// Records what a running execution did on the network.
    ///
    /// # Errors
    ///
    /// [`Unavailable`] when nothing could be recorded.
    pub fn connections(
        &self,
        report: ConnectionsReport,
    ) -> Result<Result<Index, Denied>, Unavailable> {
        let salt = random::salt().map_err(|_| Unavailable::Evidence)?;
        self.urgent(|reply| Work::Connections(report, salt, reply))
    }

    /// Records which programs an execution made and started.
    ///
    /// # Errors
    ///
    /// [`Unavailable`] when nothing could be recorded.
    pub fn born(&self, report: BornReport) -> Result<Result<Index, Denied>, Unavailable> {
        let salt = random::salt().map_err(|_| Unavailable::Evidence)?;
        self.urgent(|reply| Work::Born(report, salt, reply))
    }

    /// Records that an execution is over, its whole tree gone.
    ///
    /// # Errors
    ///
    /// [`Unavailable`] when nothing could be recorded.
    pub fn end(&self, report: EndReport) -> Result<Result<Index, Denied>, Unavailable> {
        self.urgent(|reply| Work::End(report, reply))
    }

    /// Ends what the bundle in force does not permit, of all that was permitted under another one.
    pub(crate) fn decide_again(&self) -> Result<(), Unavailable> {
        for report in self.with_again(|again| again.withdrawn()) {
            // One that ended meanwhile is answered as unknown, which is as good.
            drop(self.signal(report)?);
        }
        Ok(())
    }

    /// With everything that an earlier decision can be made from again, as it is now.
    pub(crate) fn with_again<R>(&self, decide: impl FnOnce(&Again<'_>) -> R) -> R {
        let state = self.with_state(State::clone);
        let policy = state
            .policy()
            .and_then(|active| self.policy_of(active.bundle));
        decide(&Again {
            state: &state,
            policy: policy.as_deref(),
            reader: &self.reader,
            blobs: &self.blobs,
            now: self.clock.wall(),
        })
    }

    pub(crate) fn urgent<T: Send + 'static>(
        &self,
        work: impl FnOnce(Reply<T>) -> Work,
    ) -> Result<T, Unavailable> {
        wait(|reply| self.sequence.hand_in_urgent(work(reply)))
    }

    /// Looks at the durable state.
    pub fn with_state<R>(&self, look: impl FnOnce(&State) -> R) -> R {
        look(&self.durable.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Names of environment variables that some profile of the bundle in force passes on.
    #[must_use]
    pub fn env_names(&self) -> Arc<Vec<String>> {
        let Some(active) = self.with_state(|state| state.policy().map(|active| active.bundle))
        else {
            return Arc::default();
        };
        let mut known = self
            .env_names
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if known.0 != Some(active) {
            let names = self.bundles.env_names(active).unwrap_or_default();
            *known = (Some(active), Arc::new(names));
        }
        Arc::clone(&known.1)
    }

    /// A handle for reading the log.
    #[must_use]
    pub fn reader(&self) -> LogReader {
        self.reader.clone()
    }

    /// Scopes by digest.
    #[must_use]
    pub fn blobs(&self) -> &Blobs {
        &self.blobs
    }

    /// Bundles by digest.
    #[must_use]
    pub fn bundles(&self) -> &Bundles {
        &self.bundles
    }

    /// What it counts while it works.
    #[must_use]
    pub fn meters(&self) -> &Meters {
        &self.meters
    }

    /// What the bundle that is decided beside the one in force would have changed, if there is one.
    #[must_use]
    pub fn shadow(&self) -> Option<ShadowReport> {
        self.shadow.report()
    }

    /// Works that wait for the sequencer: intents, and what must not wait behind them.
    #[must_use]
    pub fn waiting(&self) -> (usize, usize) {
        self.queue.depths()
    }

    /// Whether the sequencer still writes.
    #[must_use]
    pub fn is_writing(&self) -> bool {
        let sequencer = self
            .sequencer
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        !self.queue.is_closed() && sequencer.as_ref().is_some_and(Sequencing::is_running)
    }

    /// Takes no more work, finishes what waits, saves the fold, and says how the log did.
    ///
    /// # Errors
    ///
    /// The failed append that ended the sequencer, if one did.
    pub fn close(&self) -> Result<(), AppendError> {
        self.shadow.stop();
        self.queue.close();
        let sequencer = self
            .sequencer
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        sequencer.map_or(Ok(()), |sequencer| sequencer.finish(&self.sequence))
    }

    pub(crate) fn ready(&self, act: Act, by: &PrincipalId) -> Result<ReadyAct, ActError> {
        let checked = |reason: String| {
            if reason.len() <= REASON_BYTES_MAX {
                return Ok(reason);
            }
            let error = format!("the reason is longer than {REASON_BYTES_MAX} bytes");
            Err(ActError::new(DenialCode::Malformed, error))
        };
        Ok(match act {
            Act::Revoke { selector, reason } => {
                self.check_selector(&selector)?;
                ReadyAct::Revoke(selector, checked(reason)?)
            }
            Act::Halt { reason } => ReadyAct::Halt(checked(reason)?),
            Act::Resume { node, reason } => {
                self.check_resumed(node)?;
                ReadyAct::Resume(node, checked(reason)?)
            }
            Act::Principal {
                id,
                groups,
                keys,
                uids,
                acts_for,
                status,
            } => {
                let record = principal_record(id, groups, keys, uids, acts_for, status, by.clone());
                ReadyAct::Principal(record?)
            }
            Act::Activate { archive, bundle } => {
                let operators = self.with_state(|state| state.genesis().operators.clone());
                let activation = activate::prepare(&archive, &bundle, &operators, &self.bundles)?;
                ReadyAct::Activate(Box::new(activation))
            }
            Act::Shadow { bundle, reason } => {
                let operators = self.with_state(|state| state.genesis().operators.clone());
                let prepare = |(archive, digest): (Vec<u8>, Digest)| {
                    activate::prepare(&archive, &digest, &operators, &self.bundles).map(Box::new)
                };
                ReadyAct::Shadow(bundle.map(prepare).transpose()?, checked(reason)?)
            }
            Act::Changes(review) => {
                ReadyAct::Changes(self.with_state(|state| review.when_over(state))?)
            }
            Act::Definition(mut review) => {
                review.reason = checked(review.reason)?;
                ReadyAct::Definition(review.checked()?)
            }
            Act::Approve {
                exec,
                key,
                reason,
                signature,
                verdict,
            } => {
                let said = approvals::Said {
                    exec,
                    key,
                    reason: checked(reason)?,
                    signature,
                    verdict,
                };
                let approval = self.with_state(|state| approvals::ready(state, said, by))?;
                ReadyAct::Approve(Box::new(approval))
            }
            Act::Erase { index, reason } => {
                if index >= self.reader.size() {
                    let error = format!("there is no record at index {index}");
                    return Err(ActError::new(DenialCode::Malformed, error));
                }
                ReadyAct::Erase(index, checked(reason)?)
            }
        })
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").finish_non_exhaustive()
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        // A failed append was told to everyone who waited for it.
        drop(self.close());
    }
}

/// Queues work and waits for its answer.
pub(crate) fn wait<T: Send + 'static>(
    queue: impl FnOnce(Reply<T>) -> Result<(), Unavailable>,
) -> Result<T, Unavailable> {
    let (sender, receiver) = sync_channel(1);
    // Nobody waits any more: then nobody is left to be told.
    queue(Reply::new(move |answer| drop(sender.send(answer))))?;
    receiver.recv().unwrap_or(Err(Unavailable::Evidence))
}
