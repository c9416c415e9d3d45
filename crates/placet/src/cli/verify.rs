//! The words of `placet verify`.

use std::path::PathBuf;

use clap::Args;

#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// The proof bundle; - for standard input
    pub(crate) bundle: PathBuf,
    /// The domain's public policy file, from where you trust it
    #[arg(long, value_name = "FILE")]
    pub(crate) policy: Option<PathBuf>,
    /// The policy bundle that was in force: a directory or its single-file form. How an attested machine was appraised is then
    /// computed again (default: what the domain on this machine keeps)
    #[arg(long, value_name = "BUNDLE")]
    pub(crate) rules: Option<PathBuf>,
}
