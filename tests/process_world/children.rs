//! Children: proofs of what was done to them, and that none outlives us.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getpgid};
use tribunal::world::process::{CANNOT_EXECUTE, Child, Ending, Launch, NOT_FOUND, Process, Spawner, WorldError};

use crate::{eventually, tribunal};

fn launch(directory: &Path, program: &str, arguments: &[&str]) -> Launch {
    Launch {
        program: program.into(),
        arguments: arguments.iter().map(Into::into).collect(),
        log: directory.join("log"),
    }
}

fn sleeper(spawner: &Spawner, directory: &Path) -> Child {
    spawner.start(launch(directory, "sleep", &["1000"])).expect("a child")
}

fn ending(child: &mut Child) -> Ending {
    eventually("the child ends", || child.poll().is_some());
    child.poll().expect("it has ended")
}

/// Whether a process runs; a zombie that nobody reaps yet does not, and has no command line.
fn runs(process: Process) -> bool {
    process.is_current() && fs::read(format!("/proc/{}/cmdline", process.pid)).is_ok_and(|line| !line.is_empty())
}

/// Waits until the trampoline has become its program.
fn wait_until_started(process: Process, program: &str) {
    eventually("the trampoline becomes the program", || {
        fs::read_to_string(format!("/proc/{}/comm", process.pid)).is_ok_and(|name| name.trim() == program)
    });
}

#[test]
fn a_stopped_child_is_seen_to_be_stopped_and_a_killed_one_to_be_killed() {
    let directory = tempfile::tempdir().expect("a directory");
    let spawner = Spawner::new(tribunal()).expect("a thread");
    let mut child = sleeper(&spawner, directory.path());
    let process = child.process();
    wait_until_started(process, "sleep");
    assert_eq!(process.stopped_threads().expect("it runs"), (0, 1));

    child.signal(Signal::SIGSTOP).expect("sent");
    eventually("it is stopped", || {
        process.stopped_threads().is_ok_and(|threads| threads == (1, 1))
    });
    child.signal(Signal::SIGCONT).expect("sent");
    eventually("it goes on", || {
        process.stopped_threads().is_ok_and(|threads| threads == (0, 1))
    });
    assert_eq!(child.poll(), None);

    child.signal(Signal::SIGKILL).expect("sent");
    assert_eq!(ending(&mut child).signal(), Some(9));
    assert!(!process.is_current(), "its pid is free");
    assert!(
        matches!(child.signal(Signal::SIGKILL), Err(WorldError::Signal { .. })),
        "a reaped pid is not ours"
    );
}

#[test]
fn a_child_has_a_process_group_of_its_own() {
    let directory = tempfile::tempdir().expect("a directory");
    let spawner = Spawner::new(tribunal()).expect("a thread");
    let child = sleeper(&spawner, directory.path());
    let pid = Pid::from_raw(i32::try_from(child.process().pid).expect("a pid"));
    assert_eq!(getpgid(Some(pid)), Ok(pid));
}

#[test]
fn a_program_that_cannot_be_executed_says_so_in_its_log() {
    let directory = tempfile::tempdir().expect("a directory");
    let spawner = Spawner::new(tribunal()).expect("a thread");
    let not_executable = directory.path().join("text");
    fs::write(&not_executable, "text").expect("written");
    for (program, code) in [
        ("/no/such/program", NOT_FOUND),
        (not_executable.to_str().expect("text"), CANNOT_EXECUTE),
    ] {
        let mut child = spawner.start(launch(directory.path(), program, &[])).expect("a child");
        assert_eq!(ending(&mut child).code(), Some(i32::from(code)), "{program}");
        let log = fs::read_to_string(directory.path().join("log")).expect("a log");
        assert!(log.lines().last().is_some_and(|line| line.contains(program)), "{log}");
    }
}

#[test]
fn output_and_errors_are_appended_to_the_log_and_settings_of_etcd_do_not_leak_in() {
    let directory = tempfile::tempdir().expect("a directory");
    let spawner = Spawner::new(tribunal()).expect("a thread");
    for life in ["one", "two"] {
        let script = format!("echo {life}; env | grep ^ETCD_; echo {life} >&2; exit 7");
        let mut child = spawner
            .start(launch(directory.path(), "sh", &["-c", &script]))
            .expect("a child");
        assert_eq!(ending(&mut child).code(), Some(7));
    }
    let log = fs::read_to_string(directory.path().join("log")).expect("a log");
    assert_eq!(log, "one\none\ntwo\ntwo\n");
}

#[test]
fn a_log_that_cannot_be_opened_is_an_error_with_its_path() {
    let directory = tempfile::tempdir().expect("a directory");
    let spawner = Spawner::new(tribunal()).expect("a thread");
    let error = spawner
        .start(launch(&directory.path().join("missing"), "sleep", &["1"]))
        .expect_err("refused");
    assert!(error.to_string().contains("missing/log"), "{error}");
}

#[test]
fn a_trampoline_whose_parent_is_another_one_does_not_become_the_program() {
    let other = std::process::id() + 1;
    let output = Command::new(tribunal())
        .args(["__child", "--parent", &other.to_string(), "--", "echo", "started"])
        .output()
        .expect("it runs");
    assert_eq!(output.status.code(), Some(4));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "");
}

#[test]
fn children_die_with_their_spawner() {
    let directory = tempfile::tempdir().expect("a directory");
    let spawner = Spawner::new(tribunal()).expect("a thread");
    let mut children = [(); 3].map(|()| sleeper(&spawner, directory.path()));
    for child in &children {
        wait_until_started(child.process(), "sleep");
    }
    drop(spawner);
    for child in &mut children {
        assert_eq!(ending(child).signal(), Some(9));
    }
}

/// Goal: a killed tool leaves no child, not even a stopped one. Method: this test starts itself once more as the
/// tool, which starts children and says their pids; then it is killed.
#[test]
fn a_killed_tool_leaves_no_child() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut tool = Command::new(std::env::current_exe().expect("this test"))
        .args(["--exact", "children::acts_as_the_tool_when_told_to", "--nocapture"])
        .env(ACT_AS_TOOL, directory.path())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the tool");
    let output = BufReader::new(tool.stdout.take().expect("piped"));
    let children: Vec<Process> = output
        .lines()
        .map_while(Result::ok)
        .filter_map(|line| line.strip_prefix("child ").and_then(|pid| pid.parse().ok()))
        .map(|pid| Process::with_pid(pid).expect("the tool's child runs"))
        .take(TOOLS_CHILDREN)
        .collect();
    assert_eq!(children.len(), TOOLS_CHILDREN);
    assert!(children.iter().all(|child| runs(*child)));

    let pid = Pid::from_raw(i32::try_from(tool.id()).expect("a pid"));
    kill(pid, Signal::SIGKILL).expect("sent");
    tool.wait().expect("reaped");
    for child in children {
        eventually("the child is gone", || !runs(child));
    }
}

const ACT_AS_TOOL: &str = "TRIBUNAL_TEST_ACT_AS_TOOL";
const TOOLS_CHILDREN: usize = 4;

/// The other half of [`a_killed_tool_leaves_no_child`]; nothing to test without it.
#[test]
fn acts_as_the_tool_when_told_to() {
    let Some(directory) = std::env::var_os(ACT_AS_TOOL) else {
        return;
    };
    let spawner = Spawner::new(tribunal()).expect("a thread");
    let mut children = [(); TOOLS_CHILDREN].map(|()| sleeper(&spawner, directory.as_ref()));
    for child in &mut children {
        wait_until_started(child.process(), "sleep");
    }
    children[0].signal(Signal::SIGSTOP).expect("sent");
    for child in &children {
        println!("\nchild {}", child.process().pid);
    }
    // Until it is killed; within a bound, should nobody do it.
    std::thread::sleep(crate::BOUND * 2);
}
