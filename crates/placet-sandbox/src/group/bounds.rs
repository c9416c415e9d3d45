//! What a whole tree may have, in the words of either version of control groups.
//!
//! Files and units: the kernel's cgroup-v2 document, and those of version 1 on memory, pids and
//! sched-bwc.

use super::find::Version;

/// A part of the kernel that control groups bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Controller {
    Cpu,
    Memory,
    Pids,
}

/// Bounds on a tree together; `None` is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Bounds {
    pub(crate) processes: Option<u64>,
    pub(crate) memory_bytes: Option<u64>,
    /// Of one processor.
    pub(crate) cpu_percent: Option<u64>,
}

/// A value to be written into a file of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Setting {
    pub(super) file: &'static str,
    pub(super) value: String,
    /// Whether a kernel that has no such file has nothing to be bounded there.
    pub(super) optional: bool,
}

/// pid 1 and the worker, which RLIMIT_NPROC would let start under any limit too.
const PROCESSES_MIN: u64 = 2;
/// The kernel's own default.
const PERIOD_US: u64 = 100_000;
/// What the kernel takes at least.
const QUOTA_US_MIN: u64 = 1_000;

impl Controller {
    pub(super) const ALL: [Self; 3] = [Self::Cpu, Self::Memory, Self::Pids];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Memory => "memory",
            Self::Pids => "pids",
        }
    }
}

impl Bounds {
    /// Whether something is bounded by that controller.
    pub(super) fn need(self, controller: Controller) -> bool {
        match controller {
            Controller::Cpu => self.cpu_percent.is_some(),
            Controller::Memory => self.memory_bytes.is_some(),
            Controller::Pids => self.processes.is_some(),
        }
    }

    /// What is to be written, in order.
    pub(super) fn settings(self, controller: Controller, version: Version) -> Vec<Setting> {
        match controller {
            Controller::Cpu => self.cpu(version),
            Controller::Memory => self.memory(version),
            Controller::Pids => {
                let processes = self.processes.map(|count| count.max(PROCESSES_MIN));
                let setting = processes.map(|count| required("pids.max", &count));
                setting.into_iter().collect()
            }
        }
    }

    fn cpu(self, version: Version) -> Vec<Setting> {
        let Some(percent) = self.cpu_percent else {
            return Vec::new();
        };
        let quota = percent.saturating_mul(PERIOD_US / 100).max(QUOTA_US_MIN);
        match version {
            Version::One => vec![
                required("cpu.cfs_period_us", &PERIOD_US),
                required("cpu.cfs_quota_us", &quota),
            ],
            Version::Two => vec![required("cpu.max", &format!("{quota} {PERIOD_US}"))],
        }
    }

    /// Swap would be memory beyond the bound. Version 1 counts both together, and the sum cannot
    /// be less than its part, which is why it comes second.
    fn memory(self, version: Version) -> Vec<Setting> {
        let Some(bytes) = self.memory_bytes else {
            return Vec::new();
        };
        let (bound, swap) = match version {
            Version::One => (
                required("memory.limit_in_bytes", &bytes),
                required("memory.memsw.limit_in_bytes", &bytes),
            ),
            Version::Two => (
                required("memory.max", &bytes),
                required("memory.swap.max", &0),
            ),
        };
        let swap = Setting {
            optional: true,
            ..swap
        };
        vec![bound, swap]
    }
}

fn required(file: &'static str, value: &impl ToString) -> Setting {
    Setting {
        file,
        value: value.to_string(),
        optional: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Bounds = Bounds {
        processes: Some(7),
        memory_bytes: Some(1 << 20),
        cpu_percent: Some(150),
    };

    fn written(bounds: Bounds, version: Version) -> Vec<String> {
        let settings = Controller::ALL.map(|controller| bounds.settings(controller, version));
        let lines = settings.concat().into_iter();
        lines
            .map(|setting| format!("{}={}", setting.file, setting.value))
            .collect()
    }

    #[test]
    fn each_version_gets_its_own_files() {
        let one = [
            "cpu.cfs_period_us=100000",
            "cpu.cfs_quota_us=150000",
            "memory.limit_in_bytes=1048576",
            "memory.memsw.limit_in_bytes=1048576",
            "pids.max=7",
        ];
        assert_eq!(written(ALL, Version::One), one);
        let two = [
            "cpu.max=150000 100000",
            "memory.max=1048576",
            "memory.swap.max=0",
            "pids.max=7",
        ];
        assert_eq!(written(ALL, Version::Two), two);
    }

    #[test]
    fn what_is_not_bounded_needs_nothing() {
        for version in [Version::One, Version::Two] {
            assert_eq!(written(Bounds::default(), version), [""; 0]);
        }
        let needed = |bounds: Bounds| Controller::ALL.map(|controller| bounds.need(controller));
        assert_eq!(needed(Bounds::default()), [false; 3]);
        assert_eq!(needed(ALL), [true; 3]);
    }

    #[test]
    fn the_smallest_bounds_are_ones_that_a_tree_can_start_with() {
        let least = Bounds {
            processes: Some(0),
            memory_bytes: None,
            cpu_percent: Some(0),
        };
        assert_eq!(
            written(least, Version::Two),
            ["cpu.max=1000 100000", "pids.max=2"]
        );
    }
}
