//! The log as C2SP serves it.

use std::fs;
use std::path::Path;

use crate::client::{self, exchange, request};
use crate::place::{Node, Place};

fn files(dir: &Path, prefix: &str, all: &mut Vec<String>) {
    for entry in fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        let name = format!("{prefix}{}", entry.file_name().to_str().unwrap());
        if entry.path().is_dir() {
            files(&entry.path(), &format!("{name}/"), all);
        } else {
            all.push(name);
        }
    }
}

fn get_if(node: &Node<'_>, path: &str, tag: &str) -> u16 {
    let text = request("GET", path, "placet", &[("if-none-match", tag)], None);
    exchange(client::unix(&node.place.socket()), text.as_bytes()).status
}

#[test]
fn every_resource_is_what_an_export_has_and_tiles_never_change() {
    let place = Place::new();
    let node = place.up();
    for _ in 0..3 {
        node.started(&["true"]);
    }
    let export = place.path("export");
    place.ok(&["log", "export", export.to_str().unwrap()]);
    let mut all = Vec::new();
    files(&export, "", &mut all);
    assert!(all.len() >= 3, "{all:?}");
    for name in all {
        let path = format!("/log/{name}");
        let answer = node.get(&path);
        assert_eq!(answer.status, 200, "{path}");
        assert_eq!(answer.body, fs::read(export.join(&name)).unwrap(), "{path}");
        let tag = answer.header("etag").unwrap().to_owned();
        assert_eq!(get_if(&node, &path, &tag), 304, "{path}");
        assert_eq!(get_if(&node, &path, "\"other\""), 200, "{path}");
        let kept = answer.header("cache-control").unwrap();
        let immutable = "public, max-age=31536000, immutable";
        let wanted = if name == "checkpoint" {
            "no-cache"
        } else {
            immutable
        };
        assert_eq!(kept, wanted, "{path}");
    }
    let head = node.ask("HEAD", "/log/checkpoint", None);
    assert!(head.body.is_empty() && head.header("content-length").is_some());
    for odd in [
        "/log/tile/0/000",
        "/log/tile/0/000.p/0",
        "/log/tile/9/000.p/1",
        "/log/tile/entries/x001/000",
        "/log/tile/0/00",
    ] {
        assert_eq!(node.get(odd).status, 404, "{odd}");
    }
}

#[test]
fn a_proof_over_http_is_the_proof_of_the_command_line_and_of_the_policy_file() {
    let place = Place::new();
    let node = place.up();
    node.started(&["true"]);
    let served = String::from_utf8(node.get("/log/proof/1").body).unwrap();
    assert_eq!(served, place.ok(&["log", "proof", "1"]));
    let policy = String::from_utf8(node.get("/log/policy").body).unwrap();
    assert_eq!(
        policy,
        fs::read_to_string(place.dir().join("domain.tlog-policy")).unwrap()
    );
    assert_eq!(node.get("/log/proof/100000").status, 404);
    assert_eq!(node.get("/log/proof/x").status, 404);
}
