//! A campaign from end to end: plan, run, record, judge, report.

pub mod again;
pub mod evidence;
mod files;
pub mod judge;
pub mod outcome;
mod phases;
pub mod plan;
pub mod record;
pub mod recorder;
pub mod run;
pub mod run_dir;
pub mod sensitivity;
pub mod shrink;
pub mod simulated;
mod streamed;

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use tribunal_checker::online::Violation;
use tribunal_history::{Event, Report};

pub use plan::{Defendant, Plan};

use recorder::Counts;
use run_dir::{RunDir, RunDirError};

/// Where a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The cluster is being started.
    Start,
    /// Clients work under faults.
    Safety,
    /// Faults are being undone.
    Heal,
    /// Each node must serve again.
    Liveness,
    /// Each key is read once more.
    FinalReads,
    /// The history is being judged.
    Check,
    /// The report is being written.
    Report,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Start => "start",
            Self::Safety => "run",
            Self::Heal => "heal",
            Self::Liveness => "liveness",
            Self::FinalReads => "final reads",
            Self::Check => "check",
            Self::Report => "report",
        })
    }
}

/// Is told how a run goes on.
pub trait Progress: Send + Sync {
    /// The run enters a stage.
    fn stage(&self, stage: Stage);

    /// What was recorded so far; called several times a second.
    fn counts(&self, elapsed: Duration, counts: &Counts);

    /// The history cannot be explained any more, whatever comes; told when it is certain.
    fn violated(&self, violation: &Violation);
}

/// A run that could not even write its report. Everything else that goes wrong stands in the report.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// There is no run directory.
    #[error(transparent)]
    RunDir(#[from] RunDirError),
    /// A file of the run could not be written.
    #[error("{path} cannot be written: {source}; is the disk full?", path = path.display())]
    Write {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl RunError {
    /// What a failure to write this file is.
    pub fn write(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Write { path, source }
    }
}

/// Writes every file of the report into `dir`. The report lists the files that are there, its own among them.
fn write_report(report: &mut Report, dir: &RunDir, events: &[Event]) -> Result<(), RunError> {
    report.files = dir.files();
    let own = tribunal_reports::write(dir.path(), report, events).map_err(RunError::write(dir.path()))?;
    report.files.extend(own);
    Ok(())
}
