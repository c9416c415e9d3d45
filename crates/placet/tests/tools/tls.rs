//! Tools that fetch, under the profiles that are shipped for them: from a host that is in scope, over TLS
//! that they check themselves, through the proxy of their cell.

use std::fs;
use std::path::Path;
use std::process::Command;

use placet_types::Digest;

use crate::apart::Apart;
use crate::domain::{Domain, ran};

const HOST: &str = "https://example.org";

/// Runs a script outside of any cell, to make what is served.
fn sh(dir: &Path, script: &str) {
    fs::create_dir_all(dir).unwrap();
    let mut command = Command::new("bash");
    let ran = ran(command.args(["-euc", script]).current_dir(dir));
    assert_eq!(ran.code, 0, "{script}: {ran:?}");
}

/// A certificate authority of the test's own, and a certificate for the host.
const CERTIFICATES: &str = "\
    new='-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2'; \
    openssl req -x509 $new -keyout ca.key -out ca.pem -subj /CN=Test -addext basicConstraints=critical,CA:TRUE; \
    openssl req $new -keyout key.pem -out cert.csr -subj /CN=example.org; \
    printf 'subjectAltName=DNS:example.org\\n' > ext; \
    openssl x509 -req -in cert.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile ext -out cert.pem";

const REPOSITORY: &str = "git init -q --bare repo.git; git init -q w; cd w; \
    git -c user.name=a -c user.email=a@b commit -q --allow-empty -m 'one commit'; \
    git push -q ../repo.git HEAD:main; git -C ../repo.git symbolic-ref HEAD refs/heads/main; \
    git -C ../repo.git update-server-info";

/// A crate as a sparse registry has it.
fn publish_crate(files: &Path) {
    let source = "mkdir -p placet-thing-1.0.0/src dl index/pl/ac; cd placet-thing-1.0.0; \
        printf '[package]\\nname = \"placet-thing\"\\nversion = \"1.0.0\"\\nedition = \"2021\"\\n' > Cargo.toml; \
        printf 'pub fn said() -> &%sstatic str { \"built\" }\\n' \"'\" > src/lib.rs; cd ..; \
        tar czf dl/placet-thing-1.0.0.crate placet-thing-1.0.0";
    sh(files, source);
    let archive = fs::read(files.join("dl/placet-thing-1.0.0.crate")).unwrap();
    let checksum = Digest::of(&archive).hex();
    let entry = format!(
        r#"{{"name":"placet-thing","vers":"1.0.0","deps":[],"cksum":"{checksum}","features":{{}},"yanked":false}}"#
    );
    fs::write(files.join("index/pl/ac/placet-thing"), entry).unwrap();
    let config = format!(r#"{{"dl":"{HOST}/dl/{{crate}}-{{version}}.crate"}}"#);
    fs::write(files.join("index/config.json"), config).unwrap();
}

fn publish_wheel(files: &Path) {
    let wheel = "import zipfile\nz = zipfile.ZipFile('greet-1.0-py3-none-any.whl', 'w')\nz.writestr('greet.py', 'def main(): print(\"greeted\")\\n')\nd = 'greet-1.0.dist-info/'\nz.writestr(d + 'METADATA', 'Metadata-Version: 2.1\\nName: greet\\nVersion: 1.0\\n')\nz.writestr(d + 'WHEEL', 'Wheel-Version: 1.0\\nGenerator: test\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n')\nz.writestr(d + 'entry_points.txt', '[console_scripts]\\ngreet = greet:main\\n')\nz.writestr(d + 'RECORD', '')\nz.close()\n";
    fs::create_dir_all(files.join("simple/greet")).unwrap();
    fs::write(files.join("wheel.py"), wheel).unwrap();
    sh(files, "/usr/bin/python3 wheel.py");
    let link =
        format!("<a href=\"{HOST}/greet-1.0-py3-none-any.whl\">greet-1.0-py3-none-any.whl</a>");
    fs::write(files.join("simple/greet/index.html"), link).unwrap();
}

fn publish_package(files: &Path) {
    fs::create_dir_all(files.join("package")).unwrap();
    let manifest = r#"{"name":"placet-said","version":"1.0.0","main":"index.js"}"#;
    fs::write(files.join("package/package.json"), manifest).unwrap();
    fs::write(files.join("package/index.js"), "console.log('installed')\n").unwrap();
    sh(files, "tar czf placet-said-1.0.0.tgz package");
    let tarball = format!("{HOST}/placet-said-1.0.0.tgz");
    let document = format!(
        r#"{{"name":"placet-said","dist-tags":{{"latest":"1.0.0"}},"versions":{{"1.0.0":{{"name":"placet-said","version":"1.0.0","dist":{{"tarball":"{tarball}"}}}}}}}}"#
    );
    fs::write(files.join("placet-said"), document).unwrap();
}

/// A domain whose tools reach the host, which has something for each of them.
fn published() -> (Domain, Apart) {
    let domain = Domain::new();
    let network = "\nnetwork = [\"example.org:443\"]";
    let profiles = ["git", "cargo", "python", "npm"].map(|tool| format!("profiles/{tool}.toml"));
    let changes: Vec<(&str, &str, &str)> = profiles
        .iter()
        .map(|file| (file.as_str(), "\nnetwork = []", network))
        .chain([(
            "profiles/operator.toml",
            "exec_in_writable = true",
            "exec_in_writable = true\nnetwork = [\"example.org:443\"]",
        )])
        .collect();
    domain.activate_changed(&changes);
    let files = domain.path("files");
    sh(&domain.path("tls"), CERTIFICATES);
    sh(&files, REPOSITORY);
    publish_crate(&files);
    publish_wheel(&files);
    publish_package(&files);
    fs::copy(
        domain.path("tls").join("ca.pem"),
        domain.work().join("ca.pem"),
    )
    .unwrap();
    let apart = Apart::new(&domain);
    (domain, apart)
}

/// Takes root, as the continuous integration has: it makes a network of its own.
#[test]
fn tools_fetch_over_tls_from_the_host_in_scope_and_check_its_certificate() {
    let (domain, apart) = published();
    let work = domain.work();
    let run = |who: &str, profile: &str, env: &[(&str, &str)], command: &[&str]| {
        let options = ["run", "--as", who, "--profile", profile, "--"];
        let mut started = apart.command(&domain, &[&options, command].concat());
        ran(started.envs(env.iter().copied()))
    };
    let ok = |profile: &str, env: &[(&str, &str)], command: &[&str]| {
        let ran = run("agent:coder", profile, env, command);
        assert_eq!(ran.code, 0, "{command:?}: {ran:?}");
        ran.stdout
    };

    // Git, by a person: agents do not exchange commits.
    let repository = format!("{HOST}/repo.git");
    let clone = |ca: &str, to: &str| {
        let trust = format!("http.sslCAInfo={ca}");
        let command = ["git", "-c", &trust, "clone", "-q", &repository, to];
        run("user:op", "git", &[], &command)
    };
    let cloned = clone(work.join("ca.pem").to_str().unwrap(), "here");
    assert_eq!(cloned.code, 0, "{cloned:?}");
    assert!(work.join("here/.git").exists());
    // What the host says of itself is checked where it always was: in the tool.
    let untrusted = clone("/etc/ssl/certs/ca-certificates.crt", "there");
    assert!(
        untrusted.code != 0 && untrusted.stderr.contains("certificate"),
        "{untrusted:?}"
    );

    // Cargo, with a dependency from a registry.
    fs::create_dir_all(work.join("app/src")).unwrap();
    fs::create_dir_all(work.join(".cargo")).unwrap();
    let config = format!(
        "[http]\ncainfo = \"ca.pem\"\n[source.crates-io]\nreplace-with = \"here\"\n[source.here]\nregistry = \"sparse+{HOST}/index/\"\n"
    );
    fs::write(work.join(".cargo/config.toml"), config).unwrap();
    let manifest = "[package]\nname = \"app\"\nversion = \"0.1.0\"\nedition = \"2021\"\n[dependencies]\nplacet-thing = \"1\"\n";
    fs::write(work.join("app/Cargo.toml"), manifest).unwrap();
    let main = "fn main() { println!(\"{}\", placet_thing::said()); }\n";
    fs::write(work.join("app/src/main.rs"), main).unwrap();
    let (home, cache) = (std::env::var("HOME").unwrap(), work.join(".cargo-home"));
    let env = [
        ("HOME", home.as_str()),
        ("CARGO_HOME", cache.to_str().unwrap()),
        ("CARGO_TERM_COLOR", "never"),
    ];
    let at = ["--manifest-path", "app/Cargo.toml"];
    ok(
        "cargo",
        &env,
        &[&["cargo", "fetch", "-q"], &at[..]].concat(),
    );
    let run_it = [&["cargo", "--offline", "run", "-q"], &at[..]].concat();
    assert_eq!(ok("cargo", &env, &run_it), "built\n");
    let shown = apart.last(&domain);
    let own = shown["programs"]["list"].as_array().unwrap();
    let built = own
        .iter()
        .find(|it| it["path"].as_str().unwrap().ends_with("/debug/app"));
    let by = built.unwrap_or_else(|| panic!("{shown}"))["made_by"]["path"]
        .as_str()
        .unwrap();
    assert!(by.contains("ld") || by.contains("rustc"), "{by}");

    // pip, into a virtual environment.
    ok("python", &[], &["/usr/bin/python3", "-m", "venv", ".venv"]);
    let index = format!("{HOST}/simple/");
    let install = [
        ".venv/bin/pip",
        "install",
        "-q",
        "--cert",
        "ca.pem",
        "--index-url",
        &index,
    ];
    ok("python", &[], &[&install[..], &["greet"]].concat());
    assert_eq!(ok("python", &[], &[".venv/bin/greet"]), "greeted\n");

    // npm, what is locked.
    fs::create_dir(work.join("js")).unwrap();
    let manifest =
        "{\"name\":\"app\",\"version\":\"1.0.0\",\"dependencies\":{\"placet-said\":\"1.0.0\"}}";
    fs::write(work.join("js/package.json"), manifest).unwrap();
    let registry = format!("--registry={HOST}/");
    let options = [
        "--prefix=js",
        "--cafile=ca.pem",
        "--cache=.npm",
        "--no-audit",
        "--no-fund",
        &registry,
    ];
    ok("npm", &[], &[&["npm", "install"], &options[..]].concat());
    for made in ["js/node_modules", ".npm"] {
        fs::remove_dir_all(work.join(made)).unwrap();
    }
    ok("npm", &[], &[&["npm", "ci"], &options[..]].concat());
    let shown = apart.last(&domain);
    let list = shown["connections"]["list"].as_array().unwrap();
    assert!(
        !list.is_empty() && list.iter().all(|it| it["name"] == "example.org"),
        "{shown}"
    );
    let said = ok(
        "node",
        &[],
        &[
            "/usr/bin/node",
            "-e",
            "require('./js/node_modules/placet-said')",
        ],
    );
    assert_eq!(said, "installed\n");
}
