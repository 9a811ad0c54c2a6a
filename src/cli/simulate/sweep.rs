//! The jobs of a sweep, and what comes of them.

#![expect(
    clippy::disallowed_methods,
    reason = "a sweep waits for processes of ours by the machine's clock; nothing under simulation is here"
)]

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tribunal_history::report::RunOutcome;
use tribunal_history::{FailingSeed, Record as _, SeedOutcome, SweepSummary};

use super::seeds::Supply;
use super::shown::Shown;
use super::summary::Totals;
use crate::campaign::outcome::ExitPolicy;
use crate::world::process::own_executable;

/// So many seeds that do not pass get a run directory each; the others can be run by their number.
const DIRS_MAX: usize = 50;

/// How often the display is refreshed and Ctrl-C looked at.
const TICK: Duration = Duration::from_millis(100);

/// How a sweep is run.
pub(super) struct Settings {
    /// The flags of each run.
    pub words: Vec<String>,
    pub jobs: usize,
    pub runs_dir: PathBuf,
    pub budget: Option<Duration>,
}

/// What a job says.
enum News {
    /// A seed was run to its end.
    Ended(Box<SeedOutcome>, Option<Box<FailingSeed>>),
    /// A seed took its process with it, or was not understood.
    Broken(u64, String),
}

/// What all jobs share.
struct Common {
    words: Vec<String>,
    runs_dir: PathBuf,
    supply: Arc<Supply>,
    interrupted: Arc<AtomicBool>,
    /// Run directories that were written.
    dirs: AtomicUsize,
}

/// Runs the sweep; also says how long it took.
pub(super) fn run(
    settings: &Settings,
    supply: Supply,
    interrupted: &Arc<AtomicBool>,
    policy: &ExitPolicy,
) -> (SweepSummary, Duration) {
    let began = Instant::now();
    let supply = Arc::new(supply);
    let shown = Shown::new(supply.total());
    let common = Arc::new(Common {
        words: settings.words.clone(),
        runs_dir: settings.runs_dir.clone(),
        supply: Arc::clone(&supply),
        interrupted: Arc::clone(interrupted),
        dirs: AtomicUsize::new(0),
    });
    let (tell, news) = channel();
    // No more jobs than seeds.
    let jobs = supply.total().map_or(settings.jobs, |total| {
        settings.jobs.min(usize::try_from(total).unwrap_or(usize::MAX))
    });
    let threads: Vec<_> = (0..jobs)
        .map(|_| {
            let (common, tell) = (Arc::clone(&common), tell.clone());
            std::thread::spawn(move || job(&common, &tell))
        })
        .collect();
    drop(tell);
    let totals = listen(&news, &supply, interrupted, settings.budget, &shown, began);
    for thread in threads {
        // One that panicked has said so on standard error, and its seed is missing.
        let _ = thread.join();
    }
    shown.finish();
    let took = began.elapsed();
    (totals.summary(interrupted.load(Ordering::SeqCst), policy), took)
}

/// Takes in what the jobs say until none of them is left.
fn listen(
    news: &Receiver<News>,
    supply: &Supply,
    interrupted: &AtomicBool,
    budget: Option<Duration>,
    shown: &Shown,
    began: Instant,
) -> Totals {
    let mut totals = Totals::default();
    loop {
        if interrupted.load(Ordering::SeqCst) || budget.is_some_and(|budget| began.elapsed() >= budget) {
            supply.end();
        }
        match news.recv_timeout(TICK) {
            Ok(News::Ended(outcome, failing)) => {
                if let Some(failing) = &failing {
                    shown.failing(failing);
                }
                totals.add(*outcome, failing.map(|failing| *failing));
            }
            Ok(News::Broken(seed, why)) => {
                let broken = FailingSeed {
                    seed,
                    headline: why,
                    dir: None,
                    confirmed: None,
                };
                shown.failing(&broken);
                totals.add_broken(broken);
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return totals,
        }
        shown.counts(began.elapsed(), &totals);
    }
}

/// Takes seeds until there are none, in a process that it starts anew when one dies.
fn job(common: &Common, tell: &Sender<News>) {
    let mut process: Option<Process> = None;
    while let Some(seed) = common.supply.take() {
        let answer = match process.as_mut() {
            Some(process) => process.ask(seed),
            None => Process::start(&common.words, None).and_then(|started| process.insert(started).ask(seed)),
        };
        // A seed that was cut short says nothing.
        if common.interrupted.load(Ordering::SeqCst) {
            return;
        }
        let said = match answer {
            Ok(outcome) => {
                let failing = look_closer(common, &outcome);
                News::Ended(Box::new(outcome), failing.map(Box::new))
            }
            Err(why) => {
                process = None;
                News::Broken(seed, why)
            }
        };
        // Nobody listens once the sweep is over.
        let _ = tell.send(said);
    }
}

/// Runs a seed that did not pass once more, in a process of its own that writes its directory.
fn look_closer(common: &Common, outcome: &SeedOutcome) -> Option<FailingSeed> {
    match outcome.outcome {
        // Whether one seed alone felt every kind of fault says nothing of a sweep.
        RunOutcome::Pass | RunOutcome::InsufficientCoverage | RunOutcome::Interrupted => return None,
        RunOutcome::Violation => common.supply.failed(outcome.seed),
        RunOutcome::HarnessError | RunOutcome::Inconclusive => {}
    }
    let mut failing = FailingSeed {
        seed: outcome.seed,
        headline: outcome.headline.clone(),
        dir: None,
        confirmed: None,
    };
    if common.dirs.fetch_add(1, Ordering::SeqCst) >= DIRS_MAX {
        return Some(failing);
    }
    let again = Process::start(&common.words, Some(&common.runs_dir)).and_then(|mut process| process.ask(outcome.seed));
    match again {
        Ok(again) => {
            failing.confirmed = Some(again.outcome == outcome.outcome && again.hash == outcome.hash);
            failing.dir = again.dir;
        }
        Err(why) => {
            failing.confirmed = Some(false);
            failing.headline = format!("{}; a process of its own failed: {why}", failing.headline);
        }
    }
    Some(failing)
}

/// A job's process.
struct Process {
    child: Child,
    to: Option<ChildStdin>,
    from: BufReader<ChildStdout>,
}

impl Process {
    fn start(words: &[String], write: Option<&PathBuf>) -> Result<Self, String> {
        // Between fork and exec a second child would inherit the ends of the first one's pipes.
        static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
        let mut command = Command::new(own_executable());
        command.arg("__seeds").args(words);
        if let Some(dir) = write {
            command.arg("--write").arg(dir);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let spawned = {
            let _one = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
            command.spawn()
        };
        let mut child = spawned.map_err(|error| format!("no process can be started: {error}"))?;
        let (to, from) = (child.stdin.take(), child.stdout.take());
        let from = from.map(BufReader::new).ok_or("the process has no output")?;
        Ok(Self { child, to, from })
    }

    /// Lets it run a seed.
    fn ask(&mut self, seed: u64) -> Result<SeedOutcome, String> {
        let asked = match &mut self.to {
            Some(to) => writeln!(to, "{seed}").and_then(|()| to.flush()),
            None => Err(std::io::Error::other("it has no input")),
        };
        let mut line = String::new();
        let read = asked.and_then(|()| self.from.read_line(&mut line));
        match read {
            Ok(1..) => {
                SeedOutcome::from_json(&line).map_err(|error| format!("a job said what cannot be read: {error}"))
            }
            Ok(0) | Err(_) => Err(match self.child.wait() {
                Ok(status) => format!("the process that ran it ended: {status}"),
                Err(error) => format!("the process that ran it is gone: {error}"),
            }),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // The end of its input is the end of its work; a seed that is under way is not waited for.
        drop(self.to.take());
        let deadline = Instant::now() + Duration::from_millis(200);
        while Instant::now() < deadline {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
