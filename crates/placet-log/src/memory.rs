//! A log in memory, for tests and for what need not outlive a process. Durable for nothing.

use std::ops::Range;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use placet_tlog::Hash;
use placet_tlog::checkpoint::SignedCheckpoint;
use placet_tlog::note::NoteSigner;
use placet_tlog::tree::{BatchTree, Frontier, NodeId};
use placet_types::Index;

use crate::bytes::{narrow, wide};
use crate::fsck::damage::Damage;
use crate::reader::{LogReader, Payload, ReadError, Source};
use crate::sequencer::{
    AppendError, Appended, BatchError, EraseError, Item, Sequencer, check_batch,
};
use crate::tree::{HashTree, TILE, node_of_leaves};
use crate::vouch;

/// A sequencer whose log is in memory and is gone with its last reader.
pub struct MemoryLog {
    signer: NoteSigner,
    frontier: Frontier,
    head: Arc<SignedCheckpoint>,
    shared: Arc<Shared>,
}

struct Shared(RwLock<Contents>);

struct Contents {
    head: Arc<SignedCheckpoint>,
    tree: HashTree,
    records: Vec<Record>,
}

struct Record {
    leaf: Hash,
    entry: Vec<u8>,
    payload: Payload,
}

impl MemoryLog {
    /// An empty log that signs its checkpoints with `signer`, whose name is the origin.
    ///
    /// # Errors
    ///
    /// [`BatchError::TreeFull`] never: an empty tree can always be signed.
    pub fn new(signer: NoteSigner) -> Result<Self, BatchError> {
        let head = vouch::sign(&signer, 0, Hash::EMPTY_ROOT).ok_or(BatchError::TreeFull)?;
        let tree = HashTree::default();
        let contents = Contents {
            head: Arc::clone(&head),
            tree,
            records: Vec::new(),
        };
        let shared = Arc::new(Shared(RwLock::new(contents)));
        Ok(Self {
            signer,
            frontier: Frontier::new(),
            head,
            shared,
        })
    }
}

impl Sequencer for MemoryLog {
    fn head(&self) -> &Arc<SignedCheckpoint> {
        &self.head
    }

    fn append(&mut self, expected: Index, batch: &[Item]) -> Result<Appended, AppendError> {
        check_batch(batch)?;
        let size = self.size();
        if expected != size {
            return Err(AppendError::Conflict { size });
        }
        let leaves: Vec<Hash> = batch.iter().map(|item| Hash::leaf(&item.entry)).collect();
        let tree = BatchTree::new(&self.frontier, leaves.clone());
        let tree = tree.map_err(|_| BatchError::TreeFull)?;
        let head = vouch::sign(&self.signer, tree.size(), tree.root());
        let head = head.ok_or(BatchError::TreeFull)?;
        self.frontier = tree.frontier();
        self.head = Arc::clone(&head);
        self.shared.publish(&head, leaves, batch);
        Ok(Appended::new(size.get(), head, tree))
    }

    fn erase(&mut self, index: Index) -> Result<(), EraseError> {
        let size = self.size();
        let mut contents = self.shared.write();
        let record = contents.records.get_mut(narrow(index.get()));
        let record = record.ok_or(EraseError::NoSuchRecord { index, size })?;
        if record.payload != Payload::None {
            record.payload = Payload::Erased;
        }
        Ok(())
    }

    fn reader(&self) -> LogReader {
        LogReader::new(Arc::<Shared>::clone(&self.shared))
    }
}

impl Shared {
    fn read(&self) -> RwLockReadGuard<'_, Contents> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Contents> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn publish(&self, head: &Arc<SignedCheckpoint>, leaves: Vec<Hash>, batch: &[Item]) {
        let mut contents = self.write();
        for (leaf, item) in leaves.into_iter().zip(batch) {
            contents.tree.push(leaf);
            let payload = item.payload.clone().map_or(Payload::None, Payload::Present);
            contents.records.push(Record {
                leaf,
                entry: item.entry.clone(),
                payload,
            });
        }
        contents.head = Arc::clone(head);
    }
}

impl Contents {
    fn node(&self, node: NodeId) -> Option<Hash> {
        if let Some(hash) = self.tree.upper(node) {
            return Some(hash);
        }
        let tile = (node.index() << node.level()) / TILE;
        let records = self.records.get(narrow(tile * TILE)..)?;
        let leaves: Vec<Hash> = records
            .iter()
            .take(narrow(TILE))
            .map(|record| record.leaf)
            .collect();
        node_of_leaves(node, tile, &leaves)
    }
}

impl Source for Shared {
    fn head(&self) -> Arc<SignedCheckpoint> {
        Arc::clone(&self.read().head)
    }

    fn nodes(&self, nodes: &[NodeId]) -> Result<Vec<Hash>, ReadError> {
        let contents = self.read();
        let beyond = |node: &NodeId| ReadError::NoSuchTree {
            asked: node.end(),
            size: wide(contents.records.len()),
        };
        nodes
            .iter()
            .map(|node| contents.node(*node).ok_or_else(|| beyond(node)))
            .collect()
    }

    fn entries(&self, range: Range<u64>) -> Result<Vec<Vec<u8>>, ReadError> {
        let contents = self.read();
        let end = range.end.min(range.start.saturating_add(TILE));
        let records = contents
            .records
            .get(narrow(range.start)..narrow(end))
            .unwrap_or_default();
        Ok(records.iter().map(|record| record.entry.clone()).collect())
    }

    fn payload(&self, index: u64) -> Result<Payload, ReadError> {
        let contents = self.read();
        let damaged = ReadError::Damaged {
            index: Index::new(index),
            damage: Damage::Entry,
        };
        contents
            .records
            .get(narrow(index))
            .map(|record| record.payload.clone())
            .ok_or(damaged)
    }
}
