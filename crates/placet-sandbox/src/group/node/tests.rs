//! Who removes which group, on ordinary directories: the locks are the same.

use super::*;

#[test]
fn a_sweep_removes_what_nobody_holds() {
    let place = tempfile::tempdir().unwrap();
    let (left, held) = (place.path().join("left"), place.path().join("held"));
    fs::create_dir(&left).unwrap();
    fs::create_dir(&held).unwrap();
    let lock = hold(&held).unwrap();
    assert!(lock.is_some());
    sweep(place.path());
    assert!(!left.exists() && held.exists());
    drop(lock);
    sweep(place.path());
    assert!(!held.exists());
}

#[test]
fn a_sweep_leaves_files_and_what_is_not_empty() {
    let place = tempfile::tempdir().unwrap();
    let (busy, file) = (place.path().join("busy"), place.path().join("cgroup.procs"));
    fs::create_dir_all(busy.join("process")).unwrap();
    fs::write(&file, "").unwrap();
    sweep(place.path());
    assert!(busy.exists() && file.exists());
}

#[test]
fn a_group_swept_before_it_was_held_is_noticed() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("group");
    assert!(hold(&path).unwrap().is_none(), "gone before it was opened");
    fs::create_dir(&path).unwrap();
    let sweeper = File::open(&path).unwrap();
    flock(&sweeper, FlockOperation::LockExclusive).unwrap();
    thread::scope(|scope| {
        let holder = scope.spawn(|| hold(&path).unwrap().is_none());
        // Enough for the holder to have opened it and to wait for the lock.
        thread::sleep(Duration::from_millis(50));
        fs::remove_dir(&path).unwrap();
        drop(sweeper);
        assert!(holder.join().unwrap());
    });
}

#[test]
fn many_makers_and_sweepers_do_not_take_each_others_groups() {
    let place = tempfile::tempdir().unwrap();
    let make = || {
        for count in 0..200 {
            sweep(place.path());
            let path = place
                .path()
                .join(format!("{:?}-{count}", thread::current().id()));
            fs::create_dir(&path).unwrap();
            let Some(held) = hold(&path).unwrap() else {
                continue;
            };
            thread::yield_now();
            assert!(path.exists());
            let tasks = File::open("/dev/null").unwrap().into();
            drop(Node {
                path,
                dir: held,
                ends: Ends::One { tasks },
            });
        }
    };
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(make);
        }
    });
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 0);
}
