//! The sequencer loop: the one thread that writes.
//!
//! Draft, seal, append, publish. Drafting is serial, because each decision depends on the one
//! before. Sealing (two signatures a permit) is spread over the cores. The append is durable when
//! it returns. Publishing folds the batch into the state that others read, answers the callers, and
//! tells gateways what must end.
//!
//! After an append that failed, nothing is guessed: everyone who waits is told that there is no
//! evidence, and the loop ends. Opening the log again finds out what is in it.

use std::num::NonZero;
use std::sync::{Arc, PoisonError, RwLock};
use std::thread;
use std::time::Duration;

use placet_artifact::Artifact;
use placet_artifact::receipt::Receipt;
use placet_evidence::Entry;
use placet_log::{AppendError, Appended, Item, Sequencer};
use placet_state::{Changes, State};
use placet_tlog::proof::LogProof;
use placet_types::{DenialCode, ExecutionId, Index};

use crate::draft::Drafter;
use crate::keys::NodeKeys;
use crate::queue::{Batch, Queue};
use crate::submission::{Answer, Denied, Permitted};
use crate::work::{Draft, Then, Work, answer};

/// Below this many records, handing work to another thread costs more than it saves.
const PARALLEL_MIN: usize = 6;
/// Records between two snapshots.
pub(crate) const SNAPSHOT_EVERY: u64 = 20_000;

/// Told of every execution that must end, right after the record that says so is durable.
pub type OnEnding = Box<dyn Fn(ExecutionId, DenialCode) + Send>;

/// Told of the state after each batch that completes a stretch of [`SNAPSHOT_EVERY`] records.
pub(crate) type OnSnapshot = Box<dyn Fn(&State) + Send>;

pub(crate) struct Loop {
    pub(crate) queue: Arc<Queue<Work>>,
    pub(crate) log: Box<dyn Sequencer>,
    pub(crate) drafter: Drafter,
    pub(crate) keys: NodeKeys,
    pub(crate) durable: Arc<RwLock<State>>,
    pub(crate) on_ending: OnEnding,
    pub(crate) on_snapshot: OnSnapshot,
}

/// A draft whose entry is signed.
struct Sealed {
    draft: Draft,
    entry: Entry,
    artifact: Option<Artifact>,
}

impl Loop {
    /// Runs until the queue is closed and empty, or the log fails.
    pub(crate) fn run(mut self) -> Result<(), AppendError> {
        loop {
            let work = match self.queue.take(Duration::from_secs(3600)) {
                Batch::Items(work) => work,
                Batch::Idle => continue,
                Batch::Closed => {
                    (self.on_snapshot)(&self.read_durable());
                    return Ok(());
                }
            };
            if let Err(error) = self.commit(work) {
                self.fail_everyone();
                return Err(error);
            }
        }
    }

    fn commit(&mut self, work: Vec<Work>) -> Result<(), AppendError> {
        let drafts: Vec<Draft> = work
            .into_iter()
            .filter_map(|work| self.drafter.draft(work))
            .collect();
        if drafts.is_empty() {
            return Ok(());
        }
        let sealed = match self.seal_all(drafts) {
            Ok(sealed) => sealed,
            Err(drafts) => {
                drafts.into_iter().for_each(|draft| draft.then.fail());
                return Err(AppendError::Stopped);
            }
        };
        let items: Vec<Item> = sealed.iter().map(Sealed::item).collect();
        match self.log.append(self.log.size(), &items) {
            Ok(appended) => {
                self.publish(sealed, &appended);
                Ok(())
            }
            Err(error) => {
                sealed
                    .into_iter()
                    .for_each(|sealed| sealed.draft.then.fail());
                Err(error)
            }
        }
    }

    /// Signs every draft. When one cannot be encoded the fold has gone past what will be in the
    /// log, so the whole batch is given back.
    fn seal_all(&self, drafts: Vec<Draft>) -> Result<Vec<Sealed>, Vec<Draft>> {
        let signed = if drafts.len() < PARALLEL_MIN {
            sign_some(&self.keys, &drafts)
        } else {
            sign_spread(&self.keys, &drafts)
        };
        match signed {
            Some(signed) => Ok(drafts
                .into_iter()
                .zip(signed)
                .map(|(draft, (entry, artifact))| Sealed {
                    draft,
                    entry,
                    artifact,
                })
                .collect()),
            None => Err(drafts),
        }
    }

    fn publish(&mut self, sealed: Vec<Sealed>, appended: &Appended) {
        let before = appended.first().get();
        let changes = self.fold(&sealed, appended.first());
        // Endings first: whoever waits for an answer can wait a little longer.
        for (exec, cause) in changes.into_iter().flat_map(|changes| changes.ending) {
            (self.on_ending)(exec, cause);
        }
        let mut index = appended.first();
        for one in sealed {
            self.release(one, index, appended);
            index = index.next();
        }
        if before / SNAPSHOT_EVERY != index.get() / SNAPSHOT_EVERY {
            (self.on_snapshot)(&self.read_durable());
        }
    }

    fn fold(&self, sealed: &[Sealed], first: Index) -> Vec<Changes> {
        let mut state = self.durable.write().unwrap_or_else(PoisonError::into_inner);
        let mut index = first;
        let mut all = Vec::new();
        for one in sealed {
            // The drafter has folded the same record already.
            if let Ok(changes) = state.apply(index, &one.draft.record) {
                all.push(changes);
            }
            index = index.next();
        }
        all
    }

    fn release(&mut self, sealed: Sealed, index: Index, appended: &Appended) {
        let Sealed {
            draft,
            entry,
            artifact,
        } = sealed;
        match draft.then {
            Then::Permit {
                reply,
                grant,
                scope,
                ..
            } => {
                let receipt = receipt(entry, index, appended);
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
                    &reply,
                    answered.ok_or(crate::submission::Unavailable::Evidence),
                );
            }
            Then::Deny {
                reply,
                exec,
                denial,
            } => {
                answer(
                    &reply,
                    Ok(Answer::Denied(Denied {
                        index,
                        exec: Some(exec),
                        denial,
                    })),
                );
            }
            Then::Refused { reply, denied } => answer(&reply, Ok(Denied { index, ..denied })),
            Then::NotDone { reply, denied } => {
                answer(&reply, Ok(Err(Denied { index, ..denied })));
            }
            Then::Done { reply } => answer(&reply, Ok(Ok(index))),
            Then::Acted { reply, erase } => {
                let erased = erase.is_none_or(|target| self.log.erase(target).is_ok());
                let failed = || {
                    let reason = "the payload was not erased; run the command again";
                    crate::control::ActError::new(DenialCode::EvidenceUnavailable, reason)
                };
                answer(&reply, Ok(if erased { Ok(index) } else { Err(failed()) }));
            }
        }
    }

    fn read_durable(&self) -> State {
        self.durable
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn fail_everyone(&self) {
        self.queue.close();
        while let Batch::Items(work) = self.queue.take(Duration::ZERO) {
            work.into_iter().for_each(Work::fail);
        }
    }
}

impl Sealed {
    fn item(&self) -> Item {
        Item {
            entry: self.entry.as_bytes().to_vec(),
            payload: self.draft.payload.clone(),
        }
    }
}

type Signed = (Entry, Option<Artifact>);

fn sign_one(keys: &NodeKeys, draft: &Draft) -> Option<Signed> {
    let artifact = match &draft.then {
        Then::Permit { unsigned, .. } => Some(unsigned.sign(&keys.artifact).ok()?),
        Then::Deny { .. }
        | Then::Refused { .. }
        | Then::NotDone { .. }
        | Then::Done { .. }
        | Then::Acted { .. } => None,
    };
    Some((Entry::seal(&draft.record, &keys.record).ok()?, artifact))
}

fn sign_some(keys: &NodeKeys, drafts: &[Draft]) -> Option<Vec<Signed>> {
    drafts.iter().map(|draft| sign_one(keys, draft)).collect()
}

/// Spreads the signing over the cores. The order stays.
fn sign_spread(keys: &NodeKeys, drafts: &[Draft]) -> Option<Vec<Signed>> {
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    let share = drafts.len().div_ceil(cores);
    thread::scope(|scope| {
        let shares: Vec<_> = drafts
            .chunks(share)
            .map(|chunk| scope.spawn(move || sign_some(keys, chunk)))
            .collect();
        let mut signed = Vec::with_capacity(drafts.len());
        for handle in shares {
            signed.extend(handle.join().ok()??);
        }
        Some(signed)
    })
}

fn receipt(entry: Entry, index: Index, appended: &Appended) -> Option<Receipt> {
    let path = appended.inclusion_proof(index)?;
    let proof = LogProof::new(index.get(), path, appended.head().as_ref().clone());
    Some(Receipt {
        entry: entry.into_bytes(),
        proof: proof.to_string().into_bytes(),
    })
}
