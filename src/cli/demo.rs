//! `tribunal demo`: a planted bug, caught before one's eyes.

use std::path::PathBuf;

use clap::Args;

use super::run::{RunArgs, execute};
use super::{EXIT_HARNESS, complain};
use crate::campaign::outcome::{EXIT_USAGE, ExitPolicy};

/// Flags of `tribunal demo`.
#[derive(Clone, Debug, Args)]
pub struct DemoArgs {
    /// The bug to plant; see `tribunal list defects`
    #[arg(long, default_value = "ack-before-quorum", value_name = "NAME")]
    defect: String,
    /// Folder of the run directories
    #[arg(long, default_value = "runs", value_name = "DIR")]
    runs_dir: PathBuf,
}

/// Runs the verb: 0 if the bug was caught, 1 if it was not.
pub fn run(args: DemoArgs) -> u8 {
    // The seed is fixed, so that the same faults come for everybody. A client of a leader that is cut off hangs at
    // its first read; with many clients some write before that, which is what shows a lost write.
    let mut run = RunArgs::from_words(&["--name=demo", "--time-limit=15s", "--seed=1", "--concurrency=6n"]);
    run.plant(&args.defect, args.runs_dir);
    let plan = match run.plan() {
        Ok(plan) => plan,
        Err(error) => {
            complain(&error);
            return EXIT_USAGE;
        }
    };
    eprintln!(
        "The bundled store runs with the planted bug `{}`. A correct checker must object.",
        args.defect
    );
    let policy = ExitPolicy {
        expect_fail: true,
        ..ExitPolicy::default()
    };
    match execute(&plan, &policy, false, None) {
        Ok(report) => {
            if report.verdict.exit_code == 0 {
                eprintln!("The planted bug was caught; the report shows how.");
            } else {
                eprintln!("The planted bug was not caught this time; another seed may have the faults that it takes.");
            }
            report.verdict.exit_code
        }
        Err(error) => {
            complain(&error);
            EXIT_HARNESS
        }
    }
}
