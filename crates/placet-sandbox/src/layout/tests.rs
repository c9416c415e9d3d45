//! The order and the contradictions of layouts.

use super::*;

fn found(path: &str, ino: u64) -> Found {
    Found {
        path: path.into(),
        inode: Inode { dev: 1, ino },
        is_dir: true,
        // Nothing here opens it.
        file: Arc::new(std::fs::File::open("/").unwrap().into()),
    }
}

fn grant(path: &str, right: Right) -> Grant {
    Grant {
        found: found(path, path.len() as u64),
        right,
    }
}

fn parts(grants: Vec<Grant>, hidden: Vec<Found>) -> Parts {
    Parts {
        grants,
        own_files: Vec::new(),
        copies: Vec::new(),
        hidden,
        devices: Vec::new(),
        root_links: vec![
            ("/bin".into(), "usr/bin".into()),
            ("/opt".into(), "srv/opt".into()),
        ],
        tmp_bytes_max: 1,
        client: None,
        meeting_place: false,
        credential_files: 0,
        sockets: Vec::new(),
    }
}

fn binds(mounts: &[Mount]) -> Vec<(String, u64)> {
    mounts
        .iter()
        .filter_map(|mount| {
            let Mount::Bind(bind) = mount else {
                return None;
            };
            Some((bind.target.to_str().unwrap().to_owned(), bind.attributes))
        })
        .collect()
}

#[test]
fn a_path_inside_another_of_the_same_access_needs_no_mount() {
    let grants = vec![
        grant("/usr", Right::Read),
        grant("/usr/bin", Right::Execute),
    ];
    let mounts = lay_out(&parts(grants, vec![])).unwrap();
    assert_eq!(
        binds(&mounts),
        [("usr".to_owned(), RDONLY | NOSUID | NODEV)]
    );
}

#[test]
fn a_read_only_path_inside_a_writable_one_is_mounted_on_it_later() {
    let grants = vec![grant("/ws/vendor", Right::Read), grant("/ws", Right::Write)];
    let mounts = lay_out(&parts(grants, vec![])).unwrap();
    let expected = [
        ("ws".to_owned(), NOSUID | NODEV | NOEXEC),
        ("ws/vendor".to_owned(), RDONLY | NOSUID | NODEV),
    ];
    assert_eq!(binds(&mounts), expected);
}

#[test]
fn a_writable_path_that_is_also_executable_is_a_contradiction() {
    let grants = vec![grant("/ws", Right::Write), grant("/ws", Right::Execute)];
    let error = lay_out(&parts(grants, vec![])).unwrap_err();
    assert!(matches!(error, SandboxError::ExecIsWritable(_)));
}

#[test]
fn a_client_that_the_tree_can_change_needs_a_scope_that_allows_it() {
    let with_client = |right| {
        let client = Some(found("/ws/bin/placet", 7));
        let parts = Parts {
            client,
            ..parts(vec![grant("/ws", right)], vec![])
        };
        lay_out(&parts)
    };
    for right in [Right::Read, Right::Execute, Right::WriteAndExecute] {
        let mounts = with_client(right).unwrap();
        let expected = ("run/placet/placet".to_owned(), RDONLY | NOSUID | NODEV);
        assert_eq!(binds(&mounts).first(), Some(&expected));
    }
    let error = with_client(Right::Write).unwrap_err();
    assert!(matches!(error, SandboxError::ExecIsWritable(_)));
}

#[test]
fn a_hidden_path_is_masked_last_and_only_inside_the_scope() {
    let hidden = vec![found("/ws/keys", 9), found("/elsewhere", 8)];
    let mounts = lay_out(&parts(vec![grant("/ws", Right::Write)], hidden)).unwrap();
    let last = mounts.last().unwrap();
    let Mount::Bind(bind) = last else {
        panic!("{last:?}")
    };
    assert_eq!(bind.target.to_str(), Ok("ws/keys"));
    assert_eq!(bind.covers.unwrap().ino, 9);
    assert_eq!(binds(&mounts).len(), 2);
}

#[test]
fn hiding_what_is_granted_is_a_contradiction() {
    let hidden = vec![found("/ws", 1)];
    let error = lay_out(&parts(vec![grant("/ws/a", Right::Write)], hidden)).unwrap_err();
    assert!(matches!(error, SandboxError::HiddenCoversGranted { .. }));
}

#[test]
fn only_root_links_into_the_scope_are_made() {
    let mounts = lay_out(&parts(vec![grant("/usr/bin/env", Right::Execute)], vec![])).unwrap();
    let links: Vec<_> = mounts
        .iter()
        .filter_map(|mount| {
            let Mount::Symlink { path, .. } = mount else {
                return None;
            };
            path.to_str().ok()
        })
        .collect();
    assert!(links.contains(&"bin"));
    assert!(!links.contains(&"opt"));
}

#[test]
fn a_granted_tmp_replaces_the_private_one() {
    let mounts = lay_out(&parts(vec![grant("/tmp", Right::Write)], vec![])).unwrap();
    let private = mounts.iter().any(
        |mount| matches!(mount, Mount::Private { target, .. } if target.to_str() == Ok("tmp")),
    );
    assert!(!private);
    assert_eq!(binds(&mounts).len(), 1);
}

#[test]
fn no_private_file_system_is_unlimited() {
    let unlimited = Parts {
        tmp_bytes_max: 0,
        ..parts(vec![], vec![])
    };
    let mounts = lay_out(&unlimited).unwrap();
    let sizes: Vec<_> = mounts
        .iter()
        .filter_map(|mount| {
            let Mount::Private { kind, data, .. } = mount else {
                return None;
            };
            if *kind == c"tmpfs" {
                data.to_str().ok()
            } else {
                None
            }
        })
        .collect();
    assert_eq!(sizes.len(), 3);
    assert!(
        sizes
            .iter()
            .all(|size| size.starts_with("size=4096,nr_inodes=")),
        "{sizes:?}"
    );
}
