//! `tribunal report`: the report of a run directory, written again from what was recorded.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;

use super::complain;
use crate::campaign::outcome::EXIT_USAGE;

/// Flags of `tribunal report`.
#[derive(Clone, Debug, Args)]
pub struct ReportArgs {
    /// Run directory, such as runs/run/latest
    dir: PathBuf,
}

/// Runs the verb.
pub fn run(args: ReportArgs) -> u8 {
    let written = tribunal_reports::rebuild(&args.dir)
        .with_context(|| format!("no report can be made of {}", args.dir.display()));
    match written {
        Ok(names) => {
            for name in names {
                println!("{}", args.dir.join(name).display());
            }
            0
        }
        Err(error) => {
            complain(&error);
            EXIT_USAGE
        }
    }
}
