//! The layouts of machines other than this one, as files.

use std::fs;

use super::*;

const ONE: &str = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
36 31 0:33 / /sys/fs/cgroup/devices rw,relatime - cgroup cgroup rw,devices
39 31 0:36 / /sys/fs/cgroup/pids rw,relatime shared:7 master:1 - cgroup cgroup rw,pids,misc
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
";
const TWO: &str = "\
28 24 0:25 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate
";

fn pids(mounts: &str, groups: &str) -> Option<Own> {
    own(mounts, groups, Some("pids"))
}

fn owned(dir: &str, top: &str, version: Version) -> Option<Own> {
    let (dir, top) = (dir.into(), top.into());
    Some(Own { dir, top, version })
}

#[test]
fn version_1_is_taken_where_it_has_the_controller() {
    let groups = "8:misc,pids:/user/a\n6:devices:/other\n0::/unified\n";
    let top = "/sys/fs/cgroup/pids";
    let expected = owned("/sys/fs/cgroup/pids/user/a", top, Version::One);
    assert_eq!(pids(ONE, groups), expected);
    assert_eq!(pids(TWO, groups), None, "its mount is missing");
}

#[test]
fn version_2_is_taken_where_no_version_1_has_the_controller() {
    let groups = "6:devices:/other\n0::/system.slice/placet.service\n";
    let dir = "/sys/fs/cgroup/system.slice/placet.service";
    assert_eq!(
        pids(TWO, groups),
        owned(dir, "/sys/fs/cgroup", Version::Two)
    );
    assert_eq!(pids("", groups), None);
    assert_eq!(pids(TWO, ""), None);
}

#[test]
fn a_mount_of_a_part_shows_only_what_is_below_it() {
    let part = "39 31 0:36 /docker/x /cg rw - cgroup cgroup rw,pids\n";
    let expected = owned("/cg/y", "/cg", Version::One);
    assert_eq!(pids(part, "8:pids:/docker/x/y\n"), expected);
    let expected = owned("/cg", "/cg", Version::One);
    assert_eq!(pids(part, "8:pids:/docker/x\n"), expected);
    assert_eq!(pids(part, "8:pids:/docker/z\n"), None);
    assert_eq!(pids(TWO, "0::/../sibling\n"), None);
}

#[test]
fn version_2_is_found_beside_version_1() {
    let groups = "8:misc,pids:/user/a\n0::/b\n";
    let top = "/sys/fs/cgroup/unified";
    let expected = owned("/sys/fs/cgroup/unified/b", top, Version::Two);
    assert_eq!(own(ONE, groups, None), expected);
    assert_eq!(own(ONE, "8:misc,pids:/user/a\n", None), None);
}

/// The files of one group of version 2.
fn group(dir: &Path, controllers: &str, processes: &str) {
    fs::create_dir_all(dir).unwrap();
    let files = [
        ("cgroup.type", "domain\n"),
        ("cgroup.controllers", controllers),
        ("cgroup.subtree_control", ""),
        ("cgroup.procs", processes),
    ];
    for (name, text) in files {
        fs::write(dir.join(name), text).unwrap();
    }
}

fn two(dir: &Path, top: &Path, controllers: &[Controller]) -> Result<Parent, NoControlGroup> {
    let own = Own {
        dir: dir.to_path_buf(),
        top: top.to_path_buf(),
        version: Version::Two,
    };
    own.parent(controllers)
}

const PIDS: &[Controller] = &[Controller::Pids];

#[test]
fn version_2_climbs_to_the_nearest_group_without_processes() {
    let top = tempfile::tempdir().unwrap();
    let slice = top.path().join("system.slice");
    let service = slice.join("placet.service");
    group(top.path(), "cpu pids\n", "");
    group(&slice, "cpu pids\n", "");
    group(&service, "pids\n", "12\n");
    assert_eq!(two(&service, top.path(), PIDS).unwrap().dir, slice);
    group(&slice, "cpu\n", "");
    assert_eq!(two(&service, top.path(), PIDS).unwrap().dir, top.path());
    group(top.path(), "cpu pids\n", "1\n");
    let refused = two(&service, top.path(), PIDS).unwrap_err();
    assert!(matches!(refused, NoControlGroup::NoParent { group, .. } if group == service));
    fs::remove_file(top.path().join("cgroup.type")).unwrap();
    assert_eq!(two(&service, top.path(), PIDS).unwrap().dir, top.path());
}

#[test]
fn version_2_needs_all_controllers_in_one_group_and_none_for_none() {
    let top = tempfile::tempdir().unwrap();
    let service = top.path().join("placet.service");
    group(top.path(), "cpu memory\n", "");
    group(&service, "cpu\n", "12\n");
    let both = [Controller::Cpu, Controller::Memory];
    assert_eq!(two(&service, top.path(), &both).unwrap().dir, top.path());
    let all = Controller::ALL;
    let refused = two(&service, top.path(), &all).unwrap_err().to_string();
    assert!(refused.contains("cpu and memory and pids"), "{refused}");
    assert_eq!(two(&service, top.path(), &[]).unwrap().dir, service);
    fs::write(service.join("cgroup.type"), "threaded\n").unwrap();
    assert_eq!(two(&service, top.path(), &[]).unwrap().dir, top.path());
}

#[test]
fn version_2_enables_the_controller_on_both_levels_once() {
    let top = tempfile::tempdir().unwrap();
    let place = top.path().join("placet");
    group(top.path(), "pids\n", "");
    group(&place, "pids\n", "");
    let enabled = |dir: &Path| fs::read_to_string(dir.join("cgroup.subtree_control")).unwrap();
    let parent = two(&place, top.path(), PIDS).unwrap();
    assert_eq!(parent.dir, place, "an empty group of its own would do");
    let parent = Parent {
        dir: top.path().to_path_buf(),
        version: Version::Two,
    };
    fs::write(place.join("cgroup.subtree_control"), "cpu pids\n").unwrap();
    parent.enable_below(&place, PIDS).unwrap();
    assert_eq!(enabled(top.path()), "+pids");
    assert_eq!(enabled(&place), "cpu pids\n");
}
