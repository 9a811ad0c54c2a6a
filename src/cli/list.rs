//! `tribunal list`: what there is to choose from, one name first on each line.

use clap::{Args, ValueEnum};
use tribunal_workload::Workload;

use super::values::WorldName;

/// Flags of `tribunal list`.
#[derive(Clone, Debug, Args)]
pub struct ListArgs {
    /// What to list
    #[arg(value_enum)]
    what: What,
    /// Defects only: those that runs in this world can reach
    #[arg(long, value_enum)]
    world: Option<WorldName>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum What {
    /// What clients can do
    Workloads,
    /// What the nemesis can do
    Faults,
    /// Bugs that can be planted in the bundled store
    Defects,
    /// Named moments of the bundled store where a simulated node can crash or linger
    Points,
    /// What histories can be judged by
    Specifications,
    /// Consistency models that histories can be judged by
    Models,
    /// Systems that can be put under test
    Systems,
}

/// Runs the verb.
pub fn run(args: ListArgs) -> u8 {
    let rows: Vec<(String, String)> = match args.what {
        What::Workloads => Workload::ALL
            .iter()
            .map(|known| (known.name().to_owned(), known.about().to_owned()))
            .collect(),
        What::Faults => tribunal_nemesis::catalogue()
            .iter()
            .filter(|entry| match args.world {
                None => !entry.worlds.is_empty(),
                Some(WorldName::Process) => entry.worlds.contains(&"process"),
                Some(WorldName::Simulation) => entry.worlds.contains(&"simulation"),
            })
            .map(|entry| {
                (
                    entry.kind.name().to_owned(),
                    format!("[{}] {}", entry.kind.group(), entry.does),
                )
            })
            .collect(),
        What::Defects => tribunal_store::defect::Defect::ALL
            .iter()
            .filter(|defect| match args.world {
                None => true,
                Some(WorldName::Process) => defect.worlds().contains(&"process"),
                Some(WorldName::Simulation) => defect.worlds().contains(&"simulation"),
            })
            .map(|defect| (defect.name().to_owned(), defect.summary().to_owned()))
            .collect(),
        What::Points => tribunal_store::points::ALL
            .iter()
            .map(|point| {
                let lingers = if point.lingers { "[lingers] " } else { "" };
                (
                    point.name.to_owned(),
                    format!("{lingers}a crash leaves {}", point.leaves),
                )
            })
            .collect(),
        What::Specifications => tribunal_checker::specifications()
            .iter()
            .map(|known| (known.name.to_owned(), known.summary.to_owned()))
            .collect(),
        What::Models => tribunal_checker::Consistency::ALL
            .iter()
            .map(|model| (model.name().to_owned(), model.summary().to_owned()))
            .collect(),
        What::Systems => vec![
            ("builtin".to_owned(), "the bundled store".to_owned()),
            (
                "etcd".to_owned(),
                "an unmodified etcd from PATH; `etcd:NAME` or `etcd:/path/to/etcd` names another".to_owned(),
            ),
        ],
    };
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    for (name, summary) in rows {
        println!("{name:<width$}  {summary}");
    }
    0
}
