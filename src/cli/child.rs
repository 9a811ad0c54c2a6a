//! `tribunal __child --parent PID -- PROGRAM ARGUMENTS…`: what every child of ours starts as.
//!
//! It asks for SIGKILL at the death of the thread that started it (prctl(2), `PR_SET_PDEATHSIG`), then becomes
//! the program. The setting survives `exec`, except into a program with set-user-id or capabilities. Doing this
//! between `fork` and `exec` in the parent would need `unsafe`; a program of its own needs none.
//!
//! The parent may die before the request is made. Then this process has another parent already, sees that, and
//! ends. A program that cannot be executed ends it with the status that a shell would give.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use clap::Args;
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::unistd::getppid;

use crate::world::process::{CANNOT_EXECUTE, NOT_FOUND, own_executable};

/// The parent is gone, or the system refuses the death signal: the harness could not start a child.
const NO_PARENT: u8 = 4;

/// Arguments of `tribunal __child`.
#[derive(Clone, Debug, Args)]
pub struct ChildArgs {
    /// Process whose thread starts this one
    #[arg(long, value_name = "PID")]
    parent: i32,
    /// Program to become, with its arguments
    #[arg(last = true, required = true, value_name = "PROGRAM")]
    program: Vec<OsString>,
}

/// Runs the verb. Returns only if the program did not start.
pub fn run(args: ChildArgs) -> u8 {
    let (code, message) = become_program(&args);
    eprintln!("tribunal __child: {message}");
    code
}

fn become_program(args: &ChildArgs) -> (u8, String) {
    if let Err(errno) = set_pdeathsig(Signal::SIGKILL) {
        return (NO_PARENT, format!("the system refuses a death signal: {errno}"));
    }
    let (parent, now) = (args.parent, getppid().as_raw());
    if now != parent {
        return (
            NO_PARENT,
            format!("the parent is process {now} and not {parent}: it died meanwhile"),
        );
    }
    let (program, arguments) = args.program.split_first().expect("clap requires one");
    let mut command = Command::new(program);
    command.args(arguments);
    if Path::new(program) == own_executable() {
        // Otherwise a list of processes would show nodes under the name of a link in /proc.
        command.arg0("tribunal");
    }
    let error = command.exec();
    let code = match error.kind() {
        io::ErrorKind::NotFound => NOT_FOUND,
        _ => CANNOT_EXECUTE,
    };
    (code, format!("cannot execute {program:?}: {error}"))
}
