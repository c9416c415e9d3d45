//! Tiers of enforcement, and what a weaker one does not give.

use std::fmt;

/// How strongly a cell confines. A higher tier gives all that a lower one gives, and more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tier {
    /// Without user namespaces: Landlock, seccomp, a standing trace and a reaper of its own, on the
    /// host's file tree and network.
    U0,
    /// Namespaces, mounts, Landlock and seccomp. Needs no privilege.
    #[default]
    U1,
    /// U1, and what only a privileged supervisor can add.
    P,
}

impl Tier {
    /// All of them, weakest first.
    pub const ALL: [Self; 3] = [Self::U0, Self::U1, Self::P];

    /// What it does not give although a higher tier does.
    #[must_use]
    pub fn weaker(self) -> &'static [Weakness] {
        match self {
            Self::U0 => &[
                Weakness::CodeFromWritable,
                Weakness::SharedNetwork,
                Weakness::SharedProcesses,
                Weakness::UnboundedTmp,
                Weakness::VisibleMetadata,
            ],
            Self::U1 | Self::P => &[],
        }
    }
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::U0 => "U0",
            Self::U1 => "U1",
            Self::P => "P",
        })
    }
}

impl Weakness {
    /// Its stable word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::CodeFromWritable => "code_from_writable",
            Self::SharedNetwork => "shared_network",
            Self::SharedProcesses => "shared_processes",
            Self::UnboundedTmp => "unbounded_tmp",
            Self::VisibleMetadata => "visible_metadata",
        }
    }

    /// What it means, in one sentence.
    #[must_use]
    pub fn meaning(self) -> &'static str {
        match self {
            Self::CodeFromWritable => "libraries can be loaded from what the tree has written",
            Self::SharedNetwork => "the host's interfaces show, and nothing inside can listen",
            Self::SharedProcesses => "processes outside show, with their command lines",
            Self::UnboundedTmp => "temporary storage is bounded by file, not as a whole",
            Self::VisibleMetadata => "names, owners and sizes of files elsewhere can be asked for",
        }
    }
}

/// Something that a tier does not give.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Weakness {
    /// No mount is noexec: what the tree has written can be loaded as a library.
    CodeFromWritable,
    /// No network namespace: host interfaces show, and the tree has no loopback of its own.
    SharedNetwork,
    /// No pid namespace: other processes show in /proc with their command lines.
    SharedProcesses,
    /// No file system of its own: temporary storage is bounded by file, not as a whole.
    UnboundedTmp,
    /// No mount namespace: stat(2) and the like answer about every path.
    VisibleMetadata,
}
