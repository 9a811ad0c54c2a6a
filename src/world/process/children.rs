//! Child processes: started through the trampoline, signalled, reaped.
//!
//! Every child gets the death signal SIGKILL from its parent *thread* (prctl(2)), so one thread, the spawner,
//! starts them all and lives as long as they may: neither a killed tool nor a dropped [`Spawner`] leaves a child
//! behind. Only a pid that has not been reaped is ever signalled; until then the kernel gives it to nobody else.
//!
//! Left out: what a child forks itself. A daemon that detaches is not ours to find.

use std::ffi::OsString;
use std::fmt;
use std::fs::OpenOptions;
use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{self, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::error::WorldError;
pub use super::procfs::Process;

/// The running binary, as a program that can always be started again: even when the file was replaced or
/// deleted meanwhile (a build during a run), and then still the same one.
pub fn own_executable() -> PathBuf {
    PathBuf::from("/proc/self/exe")
}

/// A program to start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Launch {
    /// The program.
    pub program: PathBuf,
    /// Its arguments, without its name.
    pub arguments: Vec<OsString>,
    /// Where its output and errors are appended.
    pub log: PathBuf,
}

/// The thread that starts all children. When it is dropped, those that still run are killed.
#[derive(Debug)]
pub struct Spawner {
    requests: mpsc::Sender<Request>,
}

#[derive(Debug)]
struct Request {
    launch: Launch,
    answer: mpsc::Sender<Result<Child, WorldError>>,
}

impl Spawner {
    /// Begins the thread. `trampoline` is Tribunal's binary ([`own_executable`], outside of tests).
    ///
    /// # Errors
    /// If the system gives us no thread.
    pub fn new(trampoline: PathBuf) -> Result<Self, WorldError> {
        let (requests, inbox) = mpsc::channel::<Request>();
        let program = trampoline.clone();
        thread::Builder::new()
            .name("tribunal-spawner".to_owned())
            .spawn(move || {
                for Request { launch, answer } in inbox {
                    // Whoever asked may have gone; dropping the child then reaps nothing, but the child dies
                    // with this thread.
                    let _ = answer.send(spawn(&trampoline, &launch));
                }
            })
            .map_err(|source| WorldError::Spawn { program, source })?;
        Ok(Self { requests })
    }

    /// Starts a child in a process group of its own, so that Ctrl-C on a terminal reaches us alone. That the
    /// program cannot be executed shows when the child ends with [`CANNOT_EXECUTE`] or [`NOT_FOUND`].
    ///
    /// # Errors
    /// If its log cannot be opened or no process can be made.
    pub fn start(&self, launch: Launch) -> Result<Child, WorldError> {
        let (answer, answers) = mpsc::channel();
        let gone = |program| WorldError::Spawn {
            program,
            source: io::Error::other("the thread that starts children has ended"),
        };
        let program = launch.program.clone();
        self.requests
            .send(Request { launch, answer })
            .map_err(|_| gone(program.clone()))?;
        answers.recv().map_err(|_| gone(program))?
    }
}

/// Exit status of a trampoline whose program is there and cannot be executed, as of a shell.
pub const CANNOT_EXECUTE: u8 = 126;

/// Exit status of a trampoline whose program is not there, as of a shell.
pub const NOT_FOUND: u8 = 127;

fn spawn(trampoline: &PathBuf, launch: &Launch) -> Result<Child, WorldError> {
    let open = || OpenOptions::new().create(true).append(true).open(&launch.log);
    let output = open().map_err(WorldError::file("open", &launch.log))?;
    let errors = output.try_clone().map_err(WorldError::file("open", &launch.log))?;
    let mut command = process::Command::new(trampoline);
    command
        .arg0("tribunal")
        .args(["__child", "--parent", &process::id().to_string(), "--"])
        .arg(&launch.program)
        .args(&launch.arguments)
        .stdin(Stdio::null())
        .stdout(output)
        .stderr(errors)
        .process_group(0);
    // etcd takes every setting from the environment too; what our user has set for his own is not meant here.
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"ETCD_")) {
        command.env_remove(name);
    }
    let child = command.spawn().map_err(|source| WorldError::Spawn {
        program: trampoline.clone(),
        source,
    })?;
    Child::of(child).map_err(|source| WorldError::Spawn {
        program: launch.program.clone(),
        source,
    })
}

/// A child of ours, until it is reaped and its ending is known.
#[derive(Debug)]
pub struct Child {
    inner: process::Child,
    process: Process,
    ending: Option<Ending>,
}

impl Child {
    fn of(mut inner: process::Child) -> io::Result<Self> {
        match Process::with_pid(inner.id()) {
            Ok(process) => Ok(Self {
                inner,
                process,
                ending: None,
            }),
            Err(error) => {
                // Without /proc nothing here can be proved.
                let _ = inner.kill();
                let _ = inner.wait();
                Err(error)
            }
        }
    }

    /// Which process it is, or was.
    pub fn process(&self) -> Process {
        self.process
    }

    /// Reaps it if it has ended.
    pub fn poll(&mut self) -> Option<Ending> {
        if self.ending.is_none() {
            // An error would mean that it is not our child, which `std` made it.
            self.ending = self.inner.try_wait().ok().flatten().map(Ending);
        }
        self.ending
    }

    /// Sends a signal, unless it has been reaped: a zombie takes a signal and does nothing.
    ///
    /// # Errors
    /// If it has been reaped, or the system refuses (it may have changed its user).
    pub fn signal(&mut self, signal: Signal) -> Result<(), WorldError> {
        let failed = |reason: String| WorldError::Signal {
            signal: signal.as_str(),
            pid: self.process.pid,
            reason,
        };
        if let Some(ending) = self.ending {
            return Err(failed(format!("it has ended: {ending}")));
        }
        let pid = i32::try_from(self.process.pid).expect("a pid is a positive i32");
        kill(Pid::from_raw(pid), signal).map_err(|errno| failed(errno.to_string()))
    }
}

/// How a child ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ending(ExitStatus);

impl Ending {
    /// The signal that ended it, if one did.
    pub fn signal(self) -> Option<i32> {
        self.0.signal()
    }

    /// Its exit status, if it exited.
    pub fn code(self) -> Option<i32> {
        self.0.code()
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.code(), self.signal()) {
            (Some(code), _) => write!(f, "exit status {code}"),
            (None, Some(signal)) => write!(f, "killed by signal {signal}"),
            (None, None) => write!(f, "{}", self.0),
        }
    }
}
