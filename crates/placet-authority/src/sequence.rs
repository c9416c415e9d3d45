//! The sequencer: what drafts, signs and writes records, in one order.
//!
//! Two stages, each behind its lock. Drafting is serial, because each decision depends on the one
//! before; signing (two signatures a permit) is spread over the cores. Writing appends, which is
//! durable when it returns, then publishes: folds the batch into the state that others read,
//! answers the callers, and tells gateways what must end.
//!
//! Two threads do both stages in turn. One holds the first lock until it has the second, so batches
//! are written in the order that they were drafted; and while one waits for the disk, the other
//! drafts and signs the next batch. Where both stages stand idle and nothing waits, whoever hands
//! something in does its one turn itself: to wake a thread, and to be woken by it, takes as long as
//! all the work.
//!
//! After an append that failed, nothing is guessed: everyone who waits is told that there is no
//! evidence, and both threads end. Opening the log again finds out what is in it.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, TryLockError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use placet_artifact::receipt::Receipt;
use placet_evidence::Record;

use placet_log::{AppendError, Appended, Item, MAX_BATCH_BYTES, Sequencer};
use placet_state::{Changes, State};
use placet_tlog::proof::LogProof;
use placet_types::{DenialCode, ExecutionId, Index};

use crate::clock::Clock;
use crate::draft::Drafter;
use crate::keys::NodeKeys;
use crate::meters::Meters;
use crate::questions::Asked;
use crate::queue::{Queue, Waited};
use crate::shadow::Shadow;
use crate::sign::{Sealed, Signers, Signing};
use crate::snapshot::Saver;
use crate::submission::{Answer, Deferred, Denied, Permitted, Unavailable};
use crate::work::{Draft, Then, Work, answer};

/// Threads that draft and write in turn: one for each stage.
const THREADS: usize = 2;
/// Records between two snapshots.
const SNAPSHOT_EVERY: u64 = 50_000;
/// How long a thread waits for work at a time.
const PATIENCE: Duration = Duration::from_secs(3600);

/// Told of every execution that must end, right after the record that says so is durable.
pub type OnEnding = Box<dyn Fn(ExecutionId, DenialCode) + Send>;

/// What the threads share.
pub(crate) struct Sequence {
    pub(crate) queue: Arc<Queue<Work>>,
    signers: Signers,
    drafting: Mutex<Drafting>,
    /// Until it is finished, which closes the log.
    writing: Mutex<Option<Writer>>,
    /// The first append that failed.
    failed: Mutex<Option<AppendError>>,
}

/// The threads at work.
pub(crate) struct Sequencing(Vec<JoinHandle<()>>);

/// The first stage.
struct Drafting {
    drafter: Drafter,
    /// Drafts were made that the second stage has not been given. Stays so after a panic: what would
    /// be drafted next stands on decisions that never happened.
    ahead: bool,
}

/// The second stage.
pub(crate) struct Writer {
    /// Set by the first batch that was not written, never cleared: what was drafted after it stands on
    /// decisions that never happened, even if the log would take it.
    pub(crate) broken: bool,
    pub(crate) queue: Arc<Queue<Work>>,
    pub(crate) log: Box<dyn Sequencer>,
    pub(crate) durable: Arc<RwLock<State>>,
    pub(crate) on_ending: OnEnding,
    pub(crate) saver: Saver,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) meters: Arc<Meters>,
    pub(crate) shadow: Arc<Shadow>,
}

impl Sequence {
    pub(crate) fn new(
        queue: Arc<Queue<Work>>,
        keys: Arc<NodeKeys>,
        drafter: Drafter,
        writer: Writer,
    ) -> Self {
        let ahead = false;
        Self {
            queue,
            signers: Signers::new(keys),
            drafting: Mutex::new(Drafting { drafter, ahead }),
            writing: Mutex::new(Some(writer)),
            failed: Mutex::default(),
        }
    }

    /// Has an intent or a question drafted and written: here and now where that is idle, else in its
    /// turn. Its answer goes where it says, on this thread or on one of the sequencer.
    pub(crate) fn hand_in(&self, work: Work) -> Result<(), Unavailable> {
        self.hand_in_all(Vec::new(), vec![work])
    }

    /// As [`hand_in`](Self::hand_in), for intents and what is over: it is written before them, and together with them
    /// where that fits one batch.
    pub(crate) fn hand_in_all(&self, over: Vec<Work>, asked: Vec<Work>) -> Result<(), Unavailable> {
        let ended = over.len();
        let all = over.into_iter().chain(asked).collect();
        let Some(mut over) = self.try_turn(all) else {
            return Ok(());
        };
        let asked = over.split_off(ended);
        self.queue.push_all(over, asked)
    }

    /// As [`hand_in`](Self::hand_in), before intents and questions. For a thread that may be held up
    /// by gateways, which are told of endings.
    pub(crate) fn hand_in_urgent(&self, work: Work) -> Result<(), Unavailable> {
        self.hand_in_all(vec![work], Vec::new())
    }

    /// Does one turn here, if nobody is at work and nobody waits. Gives back what it did not take.
    fn try_turn(&self, work: Vec<Work>) -> Option<Vec<Work>> {
        let Some(drafting) = try_lock(&self.drafting) else {
            return Some(work);
        };
        match try_lock(&self.writing) {
            Some(writing) if self.queue.is_idle() => self.turn(drafting, Some(writing), work),
            Some(_) | None => return Some(work),
        }
        None
    }

    /// What each thread does until the queue is closed and empty, or the log fails.
    fn run(&self) {
        loop {
            match self.queue.wait(PATIENCE) {
                Waited::Filled => {}
                Waited::Idle => continue,
                Waited::Closed => return,
            }
            let drafting = lock(&self.drafting);
            // The other thread may have taken it.
            let work = self.queue.take();
            if !work.is_empty() {
                self.turn(drafting, None, work);
            }
        }
    }

    /// Drafts, signs and writes.
    fn turn<'a>(
        &'a self,
        mut drafting: MutexGuard<'_, Drafting>,
        writing: Option<MutexGuard<'a, Option<Writer>>>,
        work: Vec<Work>,
    ) {
        if std::mem::replace(&mut drafting.ahead, true) {
            work.into_iter().for_each(Work::fail);
            return self.fail(AppendError::Stopped);
        }
        // What is started with its permit makes two.
        let mut drafts: Vec<Draft> = Vec::with_capacity(work.len().saturating_mul(2));
        for work in work {
            drafts.extend(drafting.drafter.draft_all(work));
        }
        if drafts.is_empty() {
            drafting.ahead = false;
            return;
        }
        let sealed = self.seal_all(drafts);
        // The order of writing is the order of drafting: the first lock is still held.
        let mut writing = writing.unwrap_or_else(|| lock(&self.writing));
        drafting.ahead = false;
        drop(drafting);
        let written = match (writing.as_mut(), sealed) {
            (Some(writer), sealed) => writer.commit(sealed),
            // It is finished. Whoever waits is told so by a reply that is dropped.
            (None, _) => Err(AppendError::Stopped),
        };
        drop(writing);
        if let Err(error) = written {
            self.fail(error);
        }
    }

    /// Saves the fold and closes the log, once no thread runs any more. The first failure, if any.
    fn finish(&self) -> Result<(), AppendError> {
        let writer = lock(&self.writing).take();
        match lock(&self.failed).take() {
            Some(error) => Err(error),
            None => {
                if let Some(mut writer) = writer {
                    writer.finish();
                }
                Ok(())
            }
        }
    }

    /// Signs every draft. When one cannot be encoded the fold has gone past what will be in the
    /// log, so nothing of the batch is written, nor anything after it.
    fn seal_all(&self, drafts: Vec<Draft>) -> Result<Vec<Sealed>, AppendError> {
        self.signers.seal(drafts).map_err(|unsealed| {
            // Closed before anyone is told, so that who is told finds nothing open.
            self.queue.close();
            unsealed.fail();
            AppendError::Stopped
        })
    }

    /// Nothing is taken any more, and everyone who waits is told.
    fn fail(&self, error: AppendError) {
        lock(&self.failed).get_or_insert(error);
        self.queue.close();
        loop {
            let work = self.queue.take();
            if work.is_empty() {
                return;
            }
            work.into_iter().for_each(Work::fail);
        }
    }
}

impl Sequencing {
    /// Starts the threads.
    pub(crate) fn start(sequence: &Arc<Sequence>) -> io::Result<Self> {
        let mut threads = Vec::with_capacity(THREADS);
        for _ in 0..THREADS {
            let own = Arc::clone(sequence);
            let spawned = thread::Builder::new()
                .name("sequencer".into())
                .spawn(move || own.run());
            match spawned {
                Ok(thread) => threads.push(thread),
                Err(error) => {
                    // Those that run see the closed queue and leave.
                    sequence.queue.close();
                    return Err(error);
                }
            }
        }
        Ok(Self(threads))
    }

    pub(crate) fn is_running(&self) -> bool {
        self.0.iter().all(|thread| !thread.is_finished())
    }

    /// The first failure, whoever's turn it was. The fold is saved when there was none.
    pub(crate) fn finish(self, sequence: &Sequence) -> Result<(), AppendError> {
        let ends: Vec<_> = self.0.into_iter().map(JoinHandle::join).collect();
        let finished = sequence.finish();
        let panicked = ends.into_iter().any(|end| end.is_err());
        finished.and(if panicked {
            Err(AppendError::Stopped)
        } else {
            Ok(())
        })
    }
}

impl Writer {
    /// Writes what was sealed, unless something before it was not written.
    fn commit(&mut self, sealed: Result<Vec<Sealed>, AppendError>) -> Result<(), AppendError> {
        let was_broken = std::mem::replace(&mut self.broken, true);
        let sealed = sealed?;
        if was_broken {
            sealed.into_iter().for_each(|one| one.draft.then.fail());
            return Err(AppendError::Stopped);
        }
        self.write_all(sealed)?;
        self.broken = false;
        Ok(())
    }

    /// In as many batches as its size needs.
    fn write_all(&mut self, sealed: Vec<Sealed>) -> Result<(), AppendError> {
        let mut rest = sealed.into_iter().peekable();
        while rest.peek().is_some() {
            let mut weight = 0_usize;
            let fits = |one: &Sealed| {
                weight = weight.saturating_add(one.item.weight());
                weight <= MAX_BATCH_BYTES
            };
            let (items, batch): (Vec<Item>, Vec<Sealed>) = take_while(&mut rest, fits)
                .map(|mut one| (std::mem::take(&mut one.item), one))
                .unzip();
            if let Err(error) = self.write(items, batch) {
                rest.for_each(|one| one.draft.then.fail());
                return Err(error);
            }
        }
        Ok(())
    }

    fn write(&mut self, items: Vec<Item>, batch: Vec<Sealed>) -> Result<(), AppendError> {
        let began = self.clock.monotonic();
        match self.log.append(self.log.size(), &items) {
            Ok(appended) => {
                let took = self.clock.monotonic().saturating_sub(began);
                self.publish(items, batch, &appended, took);
                Ok(())
            }
            Err(error) => {
                // Closed before anyone is told, so that who is told finds nothing open.
                self.queue.close();
                batch.into_iter().for_each(|one| one.draft.then.fail());
                Err(error)
            }
        }
    }

    fn publish(
        &mut self,
        items: Vec<Item>,
        batch: Vec<Sealed>,
        appended: &Appended,
        took: Duration,
    ) {
        let before = appended.first().get();
        let changes = self.fold(&batch, appended.first());
        // Endings first: whoever waits for an answer can wait a little longer.
        for (exec, cause) in changes.into_iter().flat_map(|changes| changes.ending) {
            (self.on_ending)(exec, cause);
        }
        let records = batch.iter().map(|one| &one.draft.record);
        let size = Index::new(appended.head().claim().size());
        self.meters.written(records, took, size);
        self.shadow.grown(size);
        let mut index = appended.first();
        for (item, one) in items.into_iter().zip(batch) {
            self.release(item, one, index, appended);
            index = index.next();
        }
        if before / SNAPSHOT_EVERY != index.get() / SNAPSHOT_EVERY {
            self.saver.save(self.read_durable());
        }
    }

    fn fold(&self, batch: &[Sealed], first: Index) -> Vec<Changes> {
        let mut state = self.durable.write().unwrap_or_else(PoisonError::into_inner);
        let mut index = first;
        let mut all = Vec::new();
        for one in batch {
            // The drafter has folded the same record already.
            if let Ok(changes) = state.apply(index, &one.draft.record) {
                all.push(changes);
            }
            if matches!(one.draft.record, Record::Shadow(_)) {
                self.shadow.begin(state.clone());
            }
            index = index.next();
        }
        all
    }

    fn release(&mut self, item: Item, sealed: Sealed, index: Index, appended: &Appended) {
        let Sealed {
            draft, artifact, ..
        } = sealed;
        match draft.then {
            Then::Permit {
                reply,
                grant,
                scope,
                ..
            } => {
                let receipt = receipt(item.entry, index, appended);
                let artifact = artifact.and_then(Signing::finish);
                let permitted = artifact.zip(receipt).map(|(artifact, receipt)| {
                    let exec = draft.record.exec().unwrap_or(grant.root);
                    Permitted {
                        exec,
                        index,
                        artifact,
                        receipt,
                        grant,
                        scope,
                    }
                });
                let answered = permitted.map(|permitted| Answer::Permitted(Box::new(permitted)));
                answer(
                    reply,
                    answered.ok_or(crate::submission::Unavailable::Evidence),
                );
            }
            Then::Deny {
                reply,
                exec,
                denial,
            } => {
                answer(
                    reply,
                    Ok(Answer::Denied(Denied {
                        index,
                        exec: Some(exec),
                        denial,
                    })),
                );
            }
            Then::Defer {
                reply,
                exec,
                waiting,
            } => {
                let deferred = Deferred {
                    index,
                    exec,
                    waiting,
                };
                answer(reply, Ok(Answer::Deferred(Box::new(deferred))));
            }
            Then::Answered { reply, asked } => answer(reply, Ok(Asked { index, ..asked })),
            Then::Refused { reply, denied } => answer(reply, Ok(Denied { index, ..denied })),
            Then::NotDone { reply, denied } => {
                answer(reply, Ok(Err(Denied { index, ..denied })));
            }
            Then::Done { reply } => answer(reply, Ok(Ok(index))),
            Then::Acted { reply, erase } => {
                let erased = erase.is_none_or(|target| self.log.erase(target).is_ok());
                let failed = || {
                    let reason = "the payload was not erased; run the command again";
                    crate::control::ActError::new(DenialCode::EvidenceUnavailable, reason)
                };
                answer(reply, Ok(if erased { Ok(index) } else { Err(failed()) }));
            }
        }
    }

    fn read_durable(&self) -> State {
        self.durable
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn finish(&mut self) {
        let state = self.read_durable();
        self.saver.finish(&state);
    }
}

/// A thread that panicked left a stage between two batches or took its batch with it; either way
/// the log says what is durable.
fn lock<T>(stage: &Mutex<T>) -> MutexGuard<'_, T> {
    stage.lock().unwrap_or_else(PoisonError::into_inner)
}

/// As `Iterator::take_while`, but the first item is always taken and none is lost.
fn take_while<T>(
    rest: &mut std::iter::Peekable<impl Iterator<Item = T>>,
    mut fits: impl FnMut(&T) -> bool,
) -> impl Iterator<Item = T> {
    let mut first = true;
    std::iter::from_fn(move || {
        let takes = |one: &T| fits(one) || first;
        let taken = rest.next_if(takes);
        first = false;
        taken
    })
}

/// The stage, if nobody is in it.
fn try_lock<T>(stage: &Mutex<T>) -> Option<MutexGuard<'_, T>> {
    match stage.try_lock() {
        Ok(guard) => Some(guard),
        Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
        Err(TryLockError::WouldBlock) => None,
    }
}

fn receipt(entry: Vec<u8>, index: Index, appended: &Appended) -> Option<Receipt> {
    let path = appended.inclusion_proof(index)?;
    let proof = LogProof::new(index.get(), path, appended.head().as_ref().clone());
    Some(Receipt {
        entry,
        proof: proof.to_string().into_bytes(),
    })
}
