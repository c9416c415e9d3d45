//! What can be wrong with the evidence, by name.

/// What is wrong at an index. Opening, reading and `fsck` say it in the same words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Damage {
    /// The segment ends inside the frame.
    #[error("the segment ends inside the frame")]
    FrameCutShort,
    /// The frame's fixed header is not one: another magic, or lengths that no frame has.
    #[error("there is no frame header where one must be")]
    FrameHeader,
    /// The frame's header and table do not match their SHA-256.
    #[error("the frame's header or table was altered")]
    FrameSeal,
    /// The frame begins at another index.
    #[error("the frame says that it begins at index {0}")]
    FrameIndex(u64),
    /// The frame's leaf hash for this entry was altered; the entry itself is sound.
    #[error("the frame's leaf hash of the entry was altered")]
    LeafHash,
    /// The entry does not hash to its leaf.
    #[error("the entry was altered")]
    Entry,
    /// The entries do not fill their section.
    #[error("the frame's entries do not fill their section")]
    EntryLengths,
    /// The payload is not the one that was written.
    #[error("the payload was altered or never wholly written")]
    Payload,
    /// The root that the frame builds on is not that of the entries before it.
    #[error("the frame builds on another history")]
    RootBefore,
    /// The root after the frame is not that of its entries.
    #[error("the frame's root is not that of its entries")]
    RootAfter,
    /// The log key did not sign the history that the frame builds on.
    #[error("the log key did not sign the history before the frame")]
    Signature,
    /// The caller's check of the entry refused it, beyond what the log key vouches for.
    #[error("the log key does not vouch for the entry, and its own check refused it")]
    Unvouched,
    /// The segments do not follow one another.
    #[error("a segment is missing or out of place")]
    SegmentOrder,
    /// A frame is torn although later ones are whole.
    #[error("the frame is torn although later frames are whole")]
    TornMiddle,
    /// The log ends before the size that its head states.
    #[error("the log was cut off: its head states {head} records")]
    Truncated {
        /// Size that the signed head states.
        head: u64,
    },
    /// The entries do not make the root that the signed head states.
    #[error("the entries are not those that the signed head of size {head} states")]
    HeadRoot {
        /// Size that the signed head states.
        head: u64,
    },
}
