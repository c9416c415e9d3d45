//! The client of a cell, which only some suites have.

use std::path::Path;

use placet_sandbox::CLIENT_PATH;

use crate::host::on_host;

/// Where a cell finds its client.
pub(crate) fn shown(client: &Path) -> &str {
    if on_host() {
        client.to_str().unwrap()
    } else {
        CLIENT_PATH
    }
}
