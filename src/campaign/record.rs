//! Plans of simulated runs as records, and back.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tribunal_history::{Manifest, Record as _, Schedule, SimulatedPlan};
use tribunal_store::defect::{Defect, Defects};
use tribunal_workload::Workload;

use super::Plan;
use super::plan::{Defendant, Simulated};

/// The plan's file in a run directory.
pub const PLAN_FILE: &str = "simulation.json";

/// The summary's file in a run directory.
pub const TRACE_FILE: &str = "trace.json";

/// What this program calls itself.
pub fn program() -> String {
    format!("tribunal {}", env!("CARGO_PKG_VERSION"))
}

/// The record of a plan with this schedule; none for a run on processes.
pub fn of(plan: &Plan, schedule: &Schedule) -> Option<SimulatedPlan> {
    let simulated = plan.simulated()?;
    Some(SimulatedPlan {
        program: program(),
        seed: plan.seed,
        defects: simulated.defects.iter().map(ToString::to_string).collect(),
        workload: plan.workload.to_string(),
        nodes: plan.nodes,
        clients: plan.clients,
        keys: plan.keys,
        value_bytes: plan.value_bytes,
        rate_milli: (plan.rate * 1e3).round() as u64,
        time_limit_ms: millis(plan.time_limit),
        op_timeout_ms: millis(plan.op_timeout),
        heartbeat_ms: millis(plan.heartbeat),
        election_ms: millis(plan.election),
        liveness_bound_ms: millis(plan.liveness_bound),
        ok_min: plan.ok_min,
        weather: simulated.weather.clone(),
        kept: simulated.kept.clone(),
        schedule: schedule.clone(),
    })
}

/// Lets `plan` be what `record` says; where it is written and how it is checked stays.
///
/// # Errors
/// If another version of the program made the record, or it names what this one does not know.
pub fn apply(record: &SimulatedPlan, plan: &mut Plan) -> anyhow::Result<()> {
    if record.program != program() {
        bail!(
            "it was made by {}, this is {}: another program makes another run of the same plan",
            record.program,
            program()
        );
    }
    let workload: Workload = record.workload.parse()?;
    let defects: Defects = record
        .defects
        .iter()
        .map(|name| name.parse::<Defect>())
        .collect::<Result<_, _>>()?;
    if record.nodes == 0 || record.nodes > NODES_MAX || record.clients > CLIENTS_MAX {
        bail!("it has {} nodes and {} clients", record.nodes, record.clients);
    }
    if !record.defects.is_empty() {
        plan.config.insert("defect".to_owned(), record.defects.join(","));
    }
    plan.seed = record.seed;
    plan.workload = workload;
    plan.nodes = record.nodes;
    plan.clients = record.clients;
    plan.keys = record.keys.max(1);
    plan.value_bytes = record.value_bytes;
    plan.rate = record.rate_milli.max(1) as f64 / 1e3;
    plan.time_limit = Duration::from_millis(record.time_limit_ms);
    plan.op_timeout = Duration::from_millis(record.op_timeout_ms.max(1));
    plan.heartbeat = Duration::from_millis(record.heartbeat_ms);
    plan.election = Duration::from_millis(record.election_ms);
    plan.liveness_bound = Duration::from_millis(record.liveness_bound_ms);
    plan.ok_min = record.ok_min;
    plan.defendant = Defendant::Simulation(Box::new(Simulated {
        defects,
        weather: record.weather.clone(),
        kept: record.kept.clone(),
        schedule: Some(record.schedule.clone()),
        is_drawn: false,
    }));
    Ok(())
}

/// Bounds of what a record may ask for: as on the command line.
const NODES_MAX: u16 = 9;
const CLIENTS_MAX: u32 = 90_000;

/// The record in a run directory.
///
/// # Errors
/// If it is no run directory, that of a run on processes, or written by another version.
pub fn load(dir: &Path) -> anyhow::Result<SimulatedPlan> {
    let path = dir.join(PLAN_FILE);
    if !path.exists() {
        let manifest =
            Manifest::load(&dir.join("run.json")).with_context(|| format!("{} is no run directory", dir.display()))?;
        let name = dir.display();
        bail!(
            "{name} is a run on processes ({}), which nothing replays exactly; repeat it with `tribunal run --from \
             {name} --repeat 10`, judge it again with `tribunal check {name}`",
            manifest.system_version
        );
    }
    SimulatedPlan::load(&path).map_err(Into::into)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
