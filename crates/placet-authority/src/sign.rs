//! Signing drafts: two signatures a permit, spread over the cores.
//!
//! Threads that stand by take their share of a large batch; to start one for each batch takes as long as
//! several signatures. The order of the drafts stays. Of a small batch one of them signs the artifacts, which no record holds,
//! while the records are signed here, written and synced; they are handed out no earlier for that.

use std::num::NonZero;
use std::sync::mpsc::{Receiver, SendError, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, OnceLock};
use std::thread::{self, JoinHandle};

use placet_artifact::{Artifact, Unsigned};
use placet_evidence::Entry;
use placet_log::Item;

use crate::keys::NodeKeys;
use crate::work::{Draft, Then};

/// Below this many records, handing work to another thread costs more than it saves.
const PARALLEL_MIN: usize = 6;
/// Threads that sign at a time. Past that the one that drafts is what everybody waits for.
const SIGNERS_MAX: usize = 8;

/// Everything that signs.
pub(crate) struct Signers {
    keys: Arc<NodeKeys>,
    /// Started with the first permit or large batch: a command that does one thing by itself has none.
    helpers: OnceLock<Vec<Helper>>,
}

/// A draft whose entry is signed.
pub(crate) struct Sealed {
    pub(crate) item: Item,
    pub(crate) draft: Draft,
    pub(crate) artifact: Option<Signing>,
}

/// An artifact that is signed here or by another thread meanwhile.
pub(crate) enum Signing {
    Done(Artifact),
    Beside(Receiver<Artifact>),
}

/// Some of a batch that was not sealed as a whole. Whoever waits for any of it has to be told.
pub(crate) struct Unsealed(Vec<Then>);

/// A thread that signs what it is handed.
struct Helper {
    jobs: Sender<Job>,
    thread: JoinHandle<()>,
}

/// What a thread signs.
enum Job {
    Share(Share),
    /// An artifact, and where it goes.
    Artifact(Unsigned, SyncSender<Artifact>),
}

/// A part of a batch, and where it goes.
struct Share {
    drafts: Vec<Draft>,
    to: SyncSender<Part>,
}

/// What became of a part of a batch.
#[derive(Default)]
struct Part {
    sealed: Vec<Sealed>,
    unsealed: Vec<Then>,
    /// Drafts went with the thread that had them. Their replies are dropped, which tells who waits.
    lost: bool,
}

impl Signers {
    pub(crate) const fn new(keys: Arc<NodeKeys>) -> Self {
        let helpers = OnceLock::new();
        Self { keys, helpers }
    }

    /// One for each core but this one's, within reason; without those that cannot be started.
    fn helpers(&self) -> &[Helper] {
        self.helpers.get_or_init(|| {
            let cores = thread::available_parallelism().map_or(1, NonZero::get);
            start(cores.min(SIGNERS_MAX) - 1, &self.keys)
        })
    }

    /// Signs every draft, in their order, or gives back what waits.
    pub(crate) fn seal(&self, mut drafts: Vec<Draft>) -> Result<Vec<Sealed>, Unsealed> {
        if drafts.len() < PARALLEL_MIN {
            let permits = |draft: &Draft| matches!(draft.then, Then::Permit { .. });
            let beside = drafts.iter().any(permits).then(|| self.helpers().first());
            return seal_some(&self.keys, drafts, beside.flatten()).whole();
        }
        let helpers = self.helpers();
        let most = drafts.len().div_ceil(helpers.len().saturating_add(1));
        let mut rest = drafts.split_off(most);
        let mut waiting = Vec::with_capacity(helpers.len());
        for helper in helpers {
            if rest.is_empty() {
                break;
            }
            let after = rest.split_off(most.min(rest.len()));
            waiting.push(helper.hand(std::mem::replace(&mut rest, after)));
        }
        let mut all = seal_some(&self.keys, drafts, None);
        for part in waiting {
            all.join(match part {
                Ok(receiver) => receiver.recv().unwrap_or_else(|_| Part::gone()),
                Err(drafts) => seal_some(&self.keys, drafts, None),
            });
        }
        all.whole()
    }
}

impl Unsealed {
    /// Tells everybody that there is no evidence.
    pub(crate) fn fail(self) {
        self.0.into_iter().for_each(Then::fail);
    }
}

impl Job {
    /// What nobody has sealed for it.
    fn into_drafts(self) -> Vec<Draft> {
        match self {
            Self::Share(share) => share.drafts,
            Self::Artifact(..) => Vec::new(),
        }
    }
}

impl Signing {
    /// Waits for it. `None` when the thread that was to sign it is gone.
    pub(crate) fn finish(self) -> Option<Artifact> {
        match self {
            Self::Done(artifact) => Some(artifact),
            Self::Beside(receiver) => receiver.recv().ok(),
        }
    }
}

impl Helper {
    fn start(keys: Arc<NodeKeys>) -> Option<Self> {
        let (jobs, handed) = channel::<Job>();
        let work = move || {
            for job in handed {
                // Whoever handed it in waits for it, or had no use for it after all.
                match job {
                    Job::Share(Share { drafts, to }) => {
                        drop(to.send(seal_some(&keys, drafts, None)));
                    }
                    Job::Artifact(unsigned, to) => drop(to.send(unsigned.sign(&keys.artifact))),
                }
            }
        };
        let thread = thread::Builder::new().name("signer".into()).spawn(work);
        let thread = thread.ok()?;
        Some(Self { jobs, thread })
    }

    /// Has an artifact signed; `None` if the thread is gone.
    fn sign(&self, unsigned: &Unsigned) -> Option<Signing> {
        let (to, receiver) = sync_channel(1);
        let job = Job::Artifact(unsigned.clone(), to);
        self.jobs.send(job).ok()?;
        Some(Signing::Beside(receiver))
    }

    /// Hands drafts over; gives them back if the thread is gone.
    fn hand(&self, drafts: Vec<Draft>) -> Result<Receiver<Part>, Vec<Draft>> {
        let (to, receiver) = sync_channel(1);
        match self.jobs.send(Job::Share(Share { drafts, to })) {
            Ok(()) => Ok(receiver),
            Err(SendError(job)) => Err(job.into_drafts()),
        }
    }
}

impl Drop for Signers {
    fn drop(&mut self) {
        for Helper { jobs, thread } in self.helpers.take().into_iter().flatten() {
            drop(jobs);
            // It waited for the next share: there is nothing that it could have left undone.
            drop(thread.join());
        }
    }
}

impl Part {
    fn gone() -> Self {
        let lost = true;
        Self {
            lost,
            ..Self::default()
        }
    }

    fn join(&mut self, next: Self) {
        self.sealed.extend(next.sealed);
        self.unsealed.extend(next.unsealed);
        self.lost |= next.lost;
    }

    fn whole(self) -> Result<Vec<Sealed>, Unsealed> {
        if self.unsealed.is_empty() && !self.lost {
            return Ok(self.sealed);
        }
        let sealed = self.sealed.into_iter().map(|one| one.draft.then);
        Err(Unsealed(sealed.chain(self.unsealed).collect()))
    }
}

fn start(helpers: usize, keys: &Arc<NodeKeys>) -> Vec<Helper> {
    let started = (0..helpers).filter_map(|_| Helper::start(Arc::clone(keys)));
    started.collect()
}

/// Seals drafts here; their artifacts are signed by the thread beside, if there is one.
fn seal_some(keys: &NodeKeys, drafts: Vec<Draft>, beside: Option<&Helper>) -> Part {
    let mut part = Part {
        sealed: Vec::with_capacity(drafts.len()),
        ..Part::default()
    };
    for draft in drafts {
        let artifact = signing(keys, &draft.then, beside);
        match Entry::seal(&draft.record, &keys.record) {
            Ok(entry) => part.sealed.push(Sealed::new(draft, entry, artifact)),
            Err(_) => part.unsealed.push(draft.then),
        }
    }
    part
}

impl Sealed {
    fn new(mut draft: Draft, entry: Entry, artifact: Option<Signing>) -> Self {
        let item = Item {
            entry: entry.into_bytes(),
            payload: draft.payload.take(),
        };
        Self {
            item,
            draft,
            artifact,
        }
    }
}

fn signing(keys: &NodeKeys, then: &Then, beside: Option<&Helper>) -> Option<Signing> {
    let unsigned = match then {
        Then::Permit { unsigned, .. } => unsigned,
        Then::Deny { .. }
        | Then::Defer { .. }
        | Then::Answered { .. }
        | Then::Refused { .. }
        | Then::NotDone { .. }
        | Then::Done { .. }
        | Then::Acted { .. } => return None,
    };
    let beside = beside.and_then(|helper| helper.sign(unsigned));
    Some(beside.unwrap_or_else(|| Signing::Done(unsigned.sign(&keys.artifact))))
}

#[cfg(test)]
mod tests {
    use placet_evidence::{Halt, Record};
    use placet_types::{Index, Millis, PrincipalId, SigningKey};
    use zeroize::Zeroizing;

    use super::*;
    use crate::work::Reply;

    fn keys() -> Arc<NodeKeys> {
        let key = |seed| SigningKey::from_seed(&Zeroizing::new([seed; 32]));
        let (artifact, log, record) = (key(1), key(2).public(), key(3));
        Arc::new(NodeKeys {
            artifact,
            log,
            record,
        })
    }

    /// A draft that says which it is, and tells `told` what became of it.
    fn draft(number: u64, reason: String, told: &Sender<bool>) -> Draft {
        let told = told.clone();
        let reply = Reply::new(move |answer: Result<Result<Index, _>, _>| {
            told.send(answer.is_ok()).unwrap();
        });
        let by = PrincipalId::parse("user:ann").unwrap();
        let record = Record::Halted(Halt {
            by,
            reason,
            time: Millis::new(number),
        });
        let (payload, then) = (None, Then::Done { reply });
        Draft {
            record,
            payload,
            then,
        }
    }

    fn batch(count: u64, told: &Sender<bool>) -> Vec<Draft> {
        (0..count)
            .map(|number| draft(number, "a drill".into(), told))
            .collect()
    }

    #[test]
    fn drafts_come_out_in_their_order_however_many_sign() {
        let (keys, (told, _answers)) = (keys(), channel());
        for helpers in [0, 1, 3] {
            let signers = Signers {
                helpers: OnceLock::from(start(helpers, &keys)),
                keys: Arc::clone(&keys),
            };
            for count in [0, 1, 5, 6, 7, 64] {
                let Ok(sealed) = signers.seal(batch(count, &told)) else {
                    panic!("not sealed")
                };
                let times = sealed.iter().map(|one| one.draft.record.time().get());
                assert_eq!(times.collect::<Vec<_>>(), (0..count).collect::<Vec<_>>());
                for one in sealed {
                    let entry = Entry::from_bytes(one.item.entry);
                    let opened = entry.open(&keys.record.public()).unwrap();
                    assert_eq!(*opened.record(), one.draft.record);
                }
            }
        }
    }

    #[test]
    fn one_draft_that_cannot_be_encoded_fails_its_batch_and_everybody_is_told() {
        let (told, answers) = channel();
        let signers = Signers::new(keys());
        let mut drafts = batch(20, &told);
        drafts.push(draft(20, "a".repeat(70_000), &told));
        let Err(unsealed) = signers.seal(drafts) else {
            panic!("sealed")
        };
        unsealed.fail();
        drop(told);
        assert_eq!(answers.iter().collect::<Vec<_>>(), [false; 21]);
    }
}
