//! The command line: one file a verb.
//!
//! Answers go to standard output, progress and errors to standard error. Exit codes are those of `docs/ci.md`; a
//! usage error is 64, not clap's 2, since 2 means *inconclusive*.

mod check;
mod child;
mod cluster;
mod demo;
mod export;
mod follow;
mod interrupt;
mod list;
mod node;
mod progress;
mod replay;
mod report;
mod run;
mod shrink;
mod simulate;
mod values;

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};

use crate::campaign::outcome::EXIT_USAGE;

/// Exit code for a harness or a system that could not start.
const EXIT_HARNESS: u8 = 4;

/// Puts replicated key-value stores on trial.
///
/// Starts a cluster, lets concurrent clients work against it while a nemesis kills, pauses and cuts off its nodes,
/// and judges what was recorded: is it linearizable, does it make progress again?
#[derive(Debug, Parser)]
#[command(name = "tribunal", version, arg_required_else_help = false, disable_help_subcommand = true, after_help = AFTER)]
struct Cli {
    #[command(subcommand)]
    verb: Option<Verb>,
}

const AFTER: &str = "\
Exit codes: 0 pass, 1 a property is violated, 2 inconclusive, 3 too little was tested, 4 the harness or the system
could not start, 64 usage or malformed input, 130 interrupted without a violation.";

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run one campaign against a cluster, under faults, and write a report
    Run(Box<run::RunArgs>),
    /// Run the bundled store in virtual time, seed after seed, until something is found
    Simulate(simulate::SimulateArgs),
    /// Repeat a simulated run exactly
    Replay(replay::ReplayArgs),
    /// Make a failing simulated run small enough to be read
    Shrink(shrink::ShrinkArgs),
    /// Judge a recorded history again, or one from elsewhere
    Check(check::CheckArgs),
    /// Write the report of a run directory again
    Report(report::ReportArgs),
    /// Watch a planted bug being caught, in about 20 seconds
    Demo(demo::DemoArgs),
    /// Start a cluster of the bundled store and keep it until Ctrl-C
    Cluster(cluster::ClusterArgs),
    /// Run one node of the bundled store
    Node(Box<node::NodeArgs>),
    /// List workloads, faults, defects, specifications or systems
    List(list::ListArgs),
    /// Run seeds from standard input
    #[command(name = "__seeds", hide = true)]
    Seeds(simulate::WorkerArgs),
    /// Become another program under the tool's eyes
    #[command(name = "__child", hide = true)]
    Child(child::ChildArgs),
}

/// Runs the command line and returns its exit code.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are answers, everything else is a usage error.
            let _ = error.print();
            return if error.use_stderr() {
                ExitCode::from(EXIT_USAGE)
            } else {
                ExitCode::SUCCESS
            };
        }
    };
    let code = match cli.verb {
        None => {
            print!("{}", overview());
            0
        }
        Some(Verb::Run(args)) => run::run(*args),
        Some(Verb::Simulate(args)) => simulate::run(args),
        Some(Verb::Replay(args)) => replay::run(args),
        Some(Verb::Shrink(args)) => shrink::run(args),
        Some(Verb::Check(args)) => check::run(args),
        Some(Verb::Report(args)) => report::run(args),
        Some(Verb::Demo(args)) => demo::run(args),
        Some(Verb::Cluster(args)) => cluster::run(args),
        Some(Verb::Node(args)) => node::run(*args),
        Some(Verb::List(args)) => list::run(args),
        Some(Verb::Seeds(args)) => simulate::run_worker(args),
        Some(Verb::Child(args)) => child::run(args),
    };
    ExitCode::from(code)
}

/// What `tribunal` alone prints: the verbs to begin with, and where the rest is.
fn overview() -> String {
    let about = |name: &str| {
        let command = Cli::command();
        let found = command
            .get_subcommands()
            .find(|verb| verb.get_name() == name)
            .and_then(|verb| verb.get_about().map(ToString::to_string));
        found.unwrap_or_else(|| panic!("the verb {name} exists"))
    };
    let mut text = "Tribunal puts replicated key-value stores on trial.\n\n".to_owned();
    for name in ["run", "check", "report", "demo", "cluster", "list"] {
        text.push_str(&format!("  tribunal {name:<9}{}\n", about(name)));
    }
    text.push_str("\nBegin with `tribunal run`. Everything else: `tribunal --help`, `tribunal VERB --help`.\n");
    text
}

/// Prints an error with its causes, and the remedy if it has one.
fn complain(error: &anyhow::Error) {
    eprint!("error: {error}");
    for cause in error.chain().skip(1) {
        let cause = cause.to_string();
        // Some errors repeat their source in their own text.
        if !error.to_string().contains(&cause) {
            eprint!(": {cause}");
        }
    }
    eprintln!();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
        assert!(overview().contains("tribunal run"));
    }
}
