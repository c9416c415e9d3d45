//! Workspaces that nobody should hand over as a whole.
//!
//! `placet run` takes the current directory as workspace where there is no repository. Started in a
//! home directory, that would hand an agent every credential that the user has; started in `/`, the
//! machine. A refusal that names the cause is worth more than a permit that nobody meant.

use placet_types::{AbsPath, Denial};

use super::{Vars, exceeded};

/// Trees that belong to the system: no workspace may lie in them.
const SYSTEM_TREES: [&str; 12] = [
    "/bin", "/boot", "/dev", "/etc", "/lib", "/lib32", "/lib64", "/libx32", "/proc", "/run",
    "/sbin", "/sys",
];

/// Directories that many users or programs share: no workspace may be one of them as a whole.
const SHARED: [&str; 10] = [
    "/home",
    "/media",
    "/mnt",
    "/opt",
    "/srv",
    "/tmp",
    "/usr",
    "/usr/local",
    "/var",
    "/var/tmp",
];

/// Trees below a home directory that hold credentials, or programs that other work starts. No workspace may lie in one, or hold one.
const SECRETS: [&str; 17] = [
    ".aws",
    ".azure",
    ".cargo",
    ".config/chromium",
    ".config/gcloud",
    ".config/gh",
    ".config/google-chrome",
    ".docker",
    ".gnupg",
    ".kube",
    ".local/share/keyrings",
    ".mozilla",
    ".netrc",
    ".password-store",
    ".pki",
    ".rustup",
    ".ssh",
];

/// Refuses a workspace that is wider than a piece of work, or that holds credentials.
pub(super) fn workspace(vars: &Vars) -> Result<(), Denial> {
    let (workspace, home) = (&vars.workspace, &vars.home);
    let refuse = |why: &str| {
        Err(exceeded(format!(
            "the workspace `{workspace}` is {why}; run in the directory of one piece of work"
        )))
    };
    if workspace.as_str() == "/" {
        return refuse("the whole machine");
    }
    if workspace == home {
        return refuse("a home directory with everything in it");
    }
    if home.is_within(workspace) {
        return refuse("above a home directory");
    }
    if SHARED.contains(&workspace.as_str()) {
        return refuse("a directory that many share");
    }
    if within_any(workspace, &SYSTEM_TREES) || within_usr(workspace) {
        return refuse("part of the system");
    }
    for secret in SECRETS {
        // A home directory so long that the path no longer fits has no such tree.
        let Ok(secret) = home.join(secret) else {
            continue;
        };
        if workspace.is_within(&secret) || secret.is_within(workspace) {
            return refuse(&format!(
                "in or around `{secret}`, where credentials or toolchains are kept"
            ));
        }
    }
    Ok(())
}

/// `${home}` must be the home of somebody, or paths below it would be paths of the system.
pub(super) fn home(vars: &Vars) -> Result<(), Denial> {
    if vars.home.as_str() == "/" || within_any(&vars.home, &SYSTEM_TREES) {
        return Err(exceeded(format!("`{}` is no home directory", vars.home)));
    }
    Ok(())
}

/// /usr is the system's, except for sources that people keep there.
fn within_usr(workspace: &AbsPath) -> bool {
    within_any(workspace, &["/usr"]) && !within_any(workspace, &["/usr/local/src", "/usr/src"])
}

fn within_any(path: &AbsPath, roots: &[&str]) -> bool {
    roots
        .iter()
        .any(|root| AbsPath::parse(root).is_ok_and(|root| path.is_within(&root)))
}
