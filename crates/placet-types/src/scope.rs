//! Scopes: what one execution may touch. A scope only ever narrows.

use std::collections::BTreeSet;

use serde::{Deserialize, Deserializer, Serialize};

use crate::credential::Credentials;
use crate::digest::Digest;
use crate::egress::Egress;
use crate::id::SecretName;
use crate::images::Images;
use crate::path::{AbsPath, PathSet};
use crate::peer::{self, PeerRule};
use crate::redaction::Redaction;
use crate::tier::Tier;
use crate::trips::{Trip, Trips};

/// What an execution may touch. Everything that is not named is refused.
///
/// What may be written may be read; [`Scope::normalized`] adds the write trees to the read trees.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scope {
    /// Secrets that are handed over with the start, and how.
    #[serde(default, skip_serializing_if = "Credentials::is_empty")]
    pub credentials: Credentials,
    /// What stands before each connection that leaves it, beyond `network`.
    #[serde(default, skip_serializing_if = "Egress::is_scope")]
    pub egress: Egress,
    /// Names of environment variables that are passed on when the caller has them.
    pub env: BTreeSet<String>,
    /// Programs that may be started: files, or trees of files.
    pub exec: PathSet,
    /// What stands before each program that is started, beyond `exec`.
    #[serde(default, skip_serializing_if = "ExecCheck::is_image")]
    pub exec_check: ExecCheck,
    /// Which contents programs may have that are started, beside where they stand.
    #[serde(default, skip_serializing_if = "Images::is_any")]
    pub exec_digests: Images,
    /// Whether programs that stand in a writable tree may be started.
    pub exec_in_writable: bool,
    /// Bounds on resources.
    pub limits: Limits,
    /// Which network peers may be reached.
    pub network: Network,
    /// Files that must not change while it runs, nor come into being: measured before the start.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub pinned: BTreeSet<AbsPath>,
    /// Trees that may be read.
    pub read: PathSet,
    /// What answers must not show: taken out before whoever asked sees them.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub redact: BTreeSet<Redaction>,
    /// Services of the host that may be connected to, by the paths of their sockets.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub sockets: BTreeSet<AbsPath>,
    /// The weakest enforcement that will do.
    #[serde(default, skip_serializing_if = "Tier::is_default")]
    pub tier: Tier,
    /// How far its behaviour may go before all of it is ended.
    #[serde(default, skip_serializing_if = "Trips::is_empty")]
    pub trips: Trips,
    /// Trees that may be written.
    pub write: PathSet,
    /// Where what is written goes.
    #[serde(default, skip_serializing_if = "Writes::is_direct")]
    pub writes: Writes,
}

/// Where that goes which an execution writes into its write trees. In order, each stricter than the one
/// before.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Writes {
    /// Into the trees themselves.
    #[default]
    Direct,
    /// Into a copy; the differences are kept for somebody to look at and apply.
    Kept,
    /// Into a copy that is gone afterwards; only the list of differences is recorded.
    Discarded,
}

impl Writes {
    #[expect(
        clippy::trivially_copy_pass_by_ref,
        reason = "serde hands out references"
    )]
    fn is_direct(&self) -> bool {
        *self == Self::Direct
    }

    /// The word that profiles and records use.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Kept => "kept",
            Self::Discarded => "discarded",
        }
    }
}

/// What stands before each program that an execution starts.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum ExecCheck {
    /// Its image is identified before its first instruction; what nobody could look at afterwards
    /// does not start.
    #[default]
    Image,
    /// As well, it is an intent of its own: decided by policy and recorded before it runs.
    Decide,
}

impl ExecCheck {
    #[expect(
        clippy::trivially_copy_pass_by_ref,
        reason = "serde hands out references"
    )]
    pub(crate) fn is_image(&self) -> bool {
        *self == Self::Image
    }
}

/// Which network peers an execution may reach.
///
/// Either way it has a network of its own, with nothing but a loopback interface in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Network {
    /// None.
    None,
    /// These, over TCP, by the hand of the supervisor. Never empty, and none covers another.
    #[serde(deserialize_with = "peers")]
    Peers(BTreeSet<PeerRule>),
}

fn peers<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeSet<PeerRule>, D::Error> {
    let rules = BTreeSet::<PeerRule>::deserialize(deserializer)?;
    if rules.is_empty() || peer::without_covered(&rules) != rules {
        return Err(serde::de::Error::custom(
            "a list of peers is empty, or one of them covers another",
        ));
    }
    Ok(rules)
}

impl Network {
    /// These peers, in normal form.
    #[must_use]
    pub fn peers(rules: &BTreeSet<PeerRule>) -> Self {
        let rules = peer::without_covered(rules);
        if rules.is_empty() {
            Self::None
        } else {
            Self::Peers(rules)
        }
    }

    /// The peers; none for [`Network::None`].
    pub fn rules(&self) -> impl Iterator<Item = &PeerRule> {
        match self {
            Self::None => None,
            Self::Peers(rules) => Some(rules),
        }
        .into_iter()
        .flatten()
    }

    /// The peers of both.
    #[must_use]
    pub fn intersect(&self, other: &Self) -> Self {
        let pairs = self
            .rules()
            .flat_map(|ours| other.rules().filter_map(|theirs| ours.intersect(theirs)));
        Self::peers(&pairs.collect())
    }

    fn excess_over(&self, outer: &Self) -> Option<PeerRule> {
        self.rules()
            .find(|rule| !outer.rules().any(|other| other.covers(rule)))
            .cloned()
    }
}

/// Bounds on resources. Every one is always set, but those on the tree as a whole, which not every
/// machine can enforce: a scope that has one is refused where it cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Processor time of each process, in seconds.
    pub cpu_secs: u64,
    /// Size of one file that is written, in bytes.
    pub file_size_bytes: u64,
    /// Address space of each process, in bytes.
    pub memory_bytes: u64,
    /// Open descriptors of each process.
    pub open_files: u64,
    /// Processes and threads of the caller's user in the execution.
    pub processes: u64,
    /// Private temporary storage, in bytes.
    pub tmp_bytes: u64,
    /// Processor time of all processes together, in percent of one processor; `None`: no bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tree_cpu_percent: Option<u64>,
    /// Memory of all processes together, in bytes; `None`: no bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tree_memory_bytes: Option<u64>,
    /// Time from start to end, in seconds.
    pub wall_secs: u64,
}

/// One part of a scope that goes beyond another scope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Excess {
    /// A tree that may not be read.
    Read(AbsPath),
    /// A tree that may not be written.
    Write(AbsPath),
    /// A program that may not be started.
    Exec(AbsPath),
    /// Starting programs that nobody decided about.
    ExecCheck,
    /// Connections that nobody decided about.
    Egress,
    /// Starting programs with other contents.
    ExecDigests,
    /// Starting programs from writable trees.
    ExecInWritable,
    /// Changing the real trees, or keeping the differences.
    Writes,
    /// An environment variable that may not be passed on.
    Env(String),
    /// Network peers that may not be reached.
    Network(PeerRule),
    /// A socket that may not be connected to.
    Socket(AbsPath),
    /// A secret that may not be handed over, or not in this form.
    Credential(SecretName),
    /// A bound that is too high, by name.
    Limit(&'static str),
    /// Weaker enforcement than is demanded.
    Tier(Tier),
    /// A file that nobody would watch.
    Pinned(AbsPath),
    /// Something that answers would show.
    Redact(Redaction),
    /// A trip limit that is too high, or missing.
    Trip(Trip),
}

impl Scope {
    /// This scope in normal form: the write trees are read trees too.
    #[must_use]
    pub fn normalized(mut self) -> Self {
        self.read = self.read.union(&self.write);
        self
    }

    /// What both scopes allow.
    #[must_use]
    pub fn intersect(&self, other: &Self) -> Self {
        Self {
            credentials: self.credentials.intersect(&other.credentials),
            egress: self.egress.max(other.egress),
            env: self.env.intersection(&other.env).cloned().collect(),
            exec: self.exec.intersect(&other.exec),
            exec_check: self.exec_check.max(other.exec_check),
            exec_digests: self.exec_digests.intersect(&other.exec_digests),
            exec_in_writable: self.exec_in_writable && other.exec_in_writable,
            limits: self.limits.intersect(&other.limits),
            network: self.network.intersect(&other.network),
            // Each file that is watched is one thing more that ends the work.
            pinned: self.pinned.union(&other.pinned).cloned().collect(),
            read: self.read.intersect(&other.read),
            // Each rule takes more away.
            redact: self.redact.union(&other.redact).cloned().collect(),
            sockets: self.sockets.intersection(&other.sockets).cloned().collect(),
            tier: self.tier.max(other.tier),
            trips: self.trips.intersect(&other.trips),
            write: self.write.intersect(&other.write),
            writes: self.writes.max(other.writes),
        }
    }

    /// The first part of this scope that goes beyond `outer`, or `None` when it lies within.
    #[must_use]
    pub fn excess_over(&self, outer: &Self) -> Option<Excess> {
        let beyond = |ours: &PathSet, theirs: &PathSet| {
            ours.iter().find(|root| !theirs.contains(root)).cloned()
        };
        beyond(&self.read, &outer.read)
            .map(Excess::Read)
            .or_else(|| beyond(&self.write, &outer.write).map(Excess::Write))
            .or_else(|| beyond(&self.exec, &outer.exec).map(Excess::Exec))
            .or_else(|| (self.exec_check < outer.exec_check).then_some(Excess::ExecCheck))
            .or_else(|| {
                let exceeds = self.exec_digests.exceed(&outer.exec_digests);
                exceeds.then_some(Excess::ExecDigests)
            })
            .or_else(|| (self.egress < outer.egress).then_some(Excess::Egress))
            .or_else(|| {
                (self.exec_in_writable && !outer.exec_in_writable).then_some(Excess::ExecInWritable)
            })
            .or_else(|| (self.writes < outer.writes).then_some(Excess::Writes))
            .or_else(|| {
                self.env
                    .difference(&outer.env)
                    .next()
                    .cloned()
                    .map(Excess::Env)
            })
            .or_else(|| {
                self.network
                    .excess_over(&outer.network)
                    .map(Excess::Network)
            })
            .or_else(|| {
                let excess = self.sockets.difference(&outer.sockets).next();
                excess.cloned().map(Excess::Socket)
            })
            .or_else(|| {
                self.credentials
                    .excess_over(&outer.credentials)
                    .map(Excess::Credential)
            })
            .or_else(|| self.limits.excess_over(&outer.limits).map(Excess::Limit))
            .or_else(|| (self.tier < outer.tier).then_some(Excess::Tier(self.tier)))
            .or_else(|| {
                let unwatched = outer.pinned.difference(&self.pinned).next();
                unwatched.cloned().map(Excess::Pinned)
            })
            .or_else(|| {
                let shown = outer.redact.difference(&self.redact).next();
                shown.cloned().map(Excess::Redact)
            })
            .or_else(|| self.trips.excess_over(&outer.trips).map(Excess::Trip))
    }

    /// Whether `program` may be started: it stands in an exec tree, or in a writable one where
    /// that is allowed.
    #[must_use]
    pub fn may_exec(&self, program: &AbsPath) -> bool {
        self.exec.contains(program) || self.may_be_born(program)
    }

    /// Whether the contents of `program` are among those that may be started, which does not matter in a writable tree from which
    /// programs may be started.
    #[must_use]
    pub fn may_exec_image(&self, program: &AbsPath, digest: &Digest) -> bool {
        self.exec_digests.allow(digest) || self.may_be_born(program)
    }

    fn may_be_born(&self, program: &AbsPath) -> bool {
        self.exec_in_writable && self.write.contains(program)
    }
}

impl Limits {
    /// The lower bound of each pair.
    #[must_use]
    pub fn intersect(&self, other: &Self) -> Self {
        Self {
            cpu_secs: self.cpu_secs.min(other.cpu_secs),
            file_size_bytes: self.file_size_bytes.min(other.file_size_bytes),
            memory_bytes: self.memory_bytes.min(other.memory_bytes),
            open_files: self.open_files.min(other.open_files),
            processes: self.processes.min(other.processes),
            tmp_bytes: self.tmp_bytes.min(other.tmp_bytes),
            tree_cpu_percent: lower(self.tree_cpu_percent, other.tree_cpu_percent),
            tree_memory_bytes: lower(self.tree_memory_bytes, other.tree_memory_bytes),
            wall_secs: self.wall_secs.min(other.wall_secs),
        }
    }

    fn excess_over(&self, outer: &Self) -> Option<&'static str> {
        // No bound is the highest one.
        let bound = |bound: Option<u64>| bound.unwrap_or(u64::MAX);
        let pairs = [
            ("cpu_secs", self.cpu_secs, outer.cpu_secs),
            (
                "file_size_bytes",
                self.file_size_bytes,
                outer.file_size_bytes,
            ),
            ("memory_bytes", self.memory_bytes, outer.memory_bytes),
            ("open_files", self.open_files, outer.open_files),
            ("processes", self.processes, outer.processes),
            ("tmp_bytes", self.tmp_bytes, outer.tmp_bytes),
            (
                "tree_cpu_percent",
                bound(self.tree_cpu_percent),
                bound(outer.tree_cpu_percent),
            ),
            (
                "tree_memory_bytes",
                bound(self.tree_memory_bytes),
                bound(outer.tree_memory_bytes),
            ),
            ("wall_secs", self.wall_secs, outer.wall_secs),
        ];
        pairs
            .into_iter()
            .find(|(_, ours, theirs)| ours > theirs)
            .map(|(name, _, _)| name)
    }
}

/// The lower of two bounds, of which each may be absent.
fn lower(one: Option<u64>, other: Option<u64>) -> Option<u64> {
    one.into_iter().chain(other).min()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn limits() -> impl Strategy<Value = Limits> {
        let tree = prop::array::uniform2(prop::option::of(1_u64..9));
        (prop::array::uniform7(1_u64..9), tree).prop_map(|([a, b, c, d, e, f, g], [h, i])| Limits {
            cpu_secs: a,
            file_size_bytes: b,
            memory_bytes: c,
            open_files: d,
            processes: e,
            tmp_bytes: f,
            tree_cpu_percent: h,
            tree_memory_bytes: i,
            wall_secs: g,
        })
    }

    fn paths() -> impl Strategy<Value = PathSet> {
        prop::collection::vec("(/[ab]){1,3}", 0..4)
            .prop_map(|texts| PathSet::new(texts.iter().map(|t| AbsPath::parse(t).unwrap())))
    }

    fn network() -> impl Strategy<Value = Network> {
        let texts = [
            "10.0.0.0/8:443",
            "10.1.0.0/16:1-1000",
            "10.1.2.3:443",
            "0.0.0.0/0:80",
            "[2001:db8::]/32:443",
            "example.org:443",
            "*.example.org:1-1000",
            "*.a.example.org:443",
            "b.a.example.org:80-443",
        ];
        prop::collection::btree_set(prop::sample::select(texts.to_vec()), 0..5).prop_map(|texts| {
            Network::peers(&texts.iter().map(|text| text.parse().unwrap()).collect())
        })
    }

    fn credentials() -> impl Strategy<Value = Credentials> {
        let texts = [
            r#"{"form":{"env":"T"},"name":"t"}"#,
            r#"{"form":{"env":"T"},"name":"u"}"#,
            r#"{"form":{"file":{"path":"t"}},"name":"t"}"#,
            r#"{"form":{"file":{"env":"T_FILE","path":"t"}},"name":"t"}"#,
            r#"{"form":{"file":{"env":"T_FILE","path":"u"}},"name":"u"}"#,
        ];
        prop::collection::btree_set(prop::sample::select(texts.to_vec()), 0..3).prop_map(|texts| {
            let read = texts.iter().map(|text| serde_json::from_str(text).unwrap());
            // Those that clash are no credentials of any scope.
            Credentials::new(read).unwrap_or_default()
        })
    }

    fn sockets() -> impl Strategy<Value = BTreeSet<AbsPath>> {
        prop::collection::btree_set("(/[ab]){1,2}", 0..3)
            .prop_map(|texts| texts.iter().map(|t| AbsPath::parse(t).unwrap()).collect())
    }

    fn trips() -> impl Strategy<Value = Trips> {
        let one = (prop::sample::select(Trip::ALL.to_vec()), 0_u64..4);
        prop::collection::vec(one, 0..5).prop_map(Trips::from_iter)
    }

    fn pinned() -> impl Strategy<Value = BTreeSet<AbsPath>> {
        let path = "/[a-c]".prop_map(|text| AbsPath::parse(&text).unwrap());
        prop::collection::btree_set(path, 0..3)
    }

    fn scope() -> impl Strategy<Value = Scope> {
        let env = (
            credentials(),
            prop::collection::btree_set("[A-C]", 0..3),
            sockets(),
        );
        let check = prop_oneof![Just(ExecCheck::Image), Just(ExecCheck::Decide)];
        let egress = prop_oneof![Just(Egress::Scope), Just(Egress::Decide)];
        let digests = prop::collection::btree_set(0_u8..4, 0..4);
        let digests = prop::option::of(digests).prop_map(|digests| {
            digests.map_or(Images::Any, |digests| {
                Images::Listed(
                    digests
                        .iter()
                        .map(|byte| Digest::new([*byte; 32]))
                        .collect(),
                )
            })
        });
        let exec = (paths(), (check, egress, digests), any::<bool>());
        let tier = prop::sample::select(Tier::ALL.to_vec());
        let writes = prop::sample::select(vec![Writes::Direct, Writes::Kept, Writes::Discarded]);
        let rule = prop_oneof![Just("pattern:a"), Just("pointer:/a"), Just("pointer:/b")];
        let rule = rule.prop_map(|text| text.parse::<Redaction>().unwrap());
        let redact = prop::collection::btree_set(rule, 0..3);
        let ends = ((pinned(), redact), tier, trips());
        let trees = (paths(), paths(), writes);
        (env, exec, limits(), network(), trees, ends).prop_map(
            |(
                env,
                exec,
                limits,
                network,
                (read, write, writes),
                ((pinned, redact), tier, trips),
            )| {
                let (credentials, env, sockets) = env;
                let (exec, (exec_check, egress, exec_digests), exec_in_writable) = exec;
                Scope {
                    credentials,
                    egress,
                    env,
                    exec,
                    exec_check,
                    exec_digests,
                    exec_in_writable,
                    limits,
                    network,
                    pinned,
                    read,
                    redact,
                    sockets,
                    tier,
                    trips,
                    write,
                    writes,
                }
                .normalized()
            },
        )
    }

    proptest! {
        #[test]
        fn attenuation_never_widens(a in scope(), b in scope()) {
            let both = a.intersect(&b);
            prop_assert_eq!(both.excess_over(&a), None);
            prop_assert_eq!(both.excess_over(&b), None);
            prop_assert_eq!(&both, &b.intersect(&a));
            prop_assert_eq!(&both, &both.clone().normalized());
        }

        #[test]
        fn a_scope_within_another_is_left_whole(a in scope(), b in scope()) {
            let inner = a.intersect(&b);
            prop_assert_eq!(inner.intersect(&a), inner);
        }

        #[test]
        fn scopes_are_canonical_json(a in scope()) {
            let bytes = crate::canonical::to_bytes(&a).unwrap();
            let again = crate::canonical::from_bytes(&bytes, crate::canonical::Bounds::RECORD);
            prop_assert_eq!(again, Ok(a));
        }
    }
}
