//! What only a privileged supervisor can add: the features of tier P.
//!
//! Each is tried as a cell would use it. What stands outside of the single cell, the directory of
//! groups with its backstop, is set up by that, as the first cell would.

use super::{Feature, State};
use crate::tier::Tier;
use crate::{group, opens, privileged};

const P: &[Tier] = &[Tier::P];

/// Tier P is reached when every feature that it needs is there, and it needs at least one.
pub(super) fn features(everything: bool) -> Vec<Feature> {
    let place = place();
    let mut features = vec![
        control_group(&place),
        network_backstop(&place),
        tree_bounds(),
        memory_files(),
        second_gate(),
    ];
    if everything {
        // No tier needs it, and the kernel makes a thread to answer it.
        features.push(landlock_denials());
    }
    features
}

fn feature(
    name: &'static str,
    needed_by: &'static [Tier],
    gives: &'static str,
    state: Result<(), (String, &str)>,
) -> Feature {
    let root = rustix::process::geteuid().is_root();
    let others = match name {
        // With a group of their own, others have these too.
        "control_group" | "tree_bounds" => DELEGATED,
        _ => "run placet as root",
    };
    Feature {
        name,
        needed_by,
        gives,
        state: match state {
            Ok(()) => State::Present,
            Err((why, remedy)) => State::Absent {
                why,
                remedy: if root { remedy } else { others }.to_owned(),
            },
        },
    }
}

/// The group of version 2 without bounds.
fn place() -> Result<group::Place, String> {
    let place = group::Place::find(group::Bounds::default());
    let place = place.map_err(|error| error.to_string())?;
    match place.version_two() {
        Some(_) => Ok(place),
        None => Err("no group of cgroup v2 can be made below this process's own".to_owned()),
    }
}

const DELEGATED: &str = "run placet as root, or in a group that is yours: systemd-run --user --scope -p Delegate=yes placet …";

const MOUNT: &str =
    "mount -t cgroup2 cgroup2 /sys/fs/cgroup, or in a container, one that may write there";

fn control_group(place: &Result<group::Place, String>) -> Feature {
    let state = place.as_ref().map(|_| ());
    let state = state.map_err(|why| (why.clone(), MOUNT));
    let gives = "the tree ends in one step, with whatever joined it";
    feature("control_group", P, gives, state)
}

fn network_backstop(place: &Result<group::Place, String>) -> Feature {
    let place = place.as_ref().map_err(String::clone);
    let stands = place.and_then(|place| match privileged::set_up(place) {
        Ok(true) => Ok(()),
        Ok(false) => Err("programs cannot be attached to control groups".to_owned()),
        Err(error) => Err(error.to_string()),
    });
    let remedy =
        "boot a kernel with CONFIG_CGROUP_BPF; in a container, grant CAP_BPF and CAP_NET_ADMIN";
    let gives = "sockets of the tree reach loopback only, should its empty network not hold";
    feature(
        "network_backstop",
        P,
        gives,
        stands.map_err(|why| (why, remedy)),
    )
}

fn tree_bounds() -> Feature {
    let all = group::Bounds {
        processes: Some(u64::MAX >> 1),
        memory_bytes: Some(u64::MAX >> 1),
        cpu_percent: Some(100),
    };
    let state = group::Place::find(all).map(drop);
    let remedy = "mount the controllers cpu, memory and pids, of cgroup v1 or v2";
    let gives = "memory, processor time and processes of a tree as a whole are bounded";
    let state = state.map_err(|error| (error.to_string(), remedy));
    feature("tree_bounds", P, gives, state)
}

fn memory_files() -> Feature {
    let why = "vm.memfd_noexec is missing or cannot be written".to_owned();
    let state = privileged::can_forbid_executable_memory()
        .then_some(())
        .ok_or((
            why,
            "boot Linux 6.3 or later; in a container, mount /proc/sys writable",
        ));
    let gives = "no memory file of the tree can be executed";
    feature("memfd_noexec", P, gives, state)
}

fn second_gate() -> Feature {
    let state = match opens::Opens::new() {
        Ok(Some(_)) => Ok(()),
        Ok(None) => Err("fanotify gives this process no permission events".to_owned()),
        Err(error) => Err(error.to_string()),
    };
    let remedy = "boot a kernel with CONFIG_FANOTIFY_ACCESS_PERMISSIONS; in a container, grant CAP_SYS_ADMIN";
    let gives = "where programs are decided about, who is in a cell's mounts and not in its trace executes nothing";
    feature(
        "second_exec_gate",
        P,
        gives,
        state.map_err(|why| (why, remedy)),
    )
}

fn landlock_denials() -> Feature {
    let why = "the host's audit is off, or cannot be read from here".to_owned();
    let readable = crate::denials::Audit::open().is_ok();
    let state = (readable && crate::denials::audit_is_on())
        .then_some(())
        .ok_or(());
    let gives = "what Landlock refuses is told, with its path and process";
    let remedy = "auditctl -e 1: this makes every process of the host a little slower";
    feature(
        "landlock_denials",
        &[],
        gives,
        state.map_err(|_| (why, remedy)),
    )
}
