//! From the flags to the plan of a run: every value checked, and what depends on others resolved.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tribunal_store::defect::{Defect, Defects};
use tribunal_workload::Workload;

use super::RunArgs;
use crate::campaign::plan::Simulated;
use crate::campaign::{Defendant, Plan, record};
use crate::cli::values::{PerNode, WorldName};
use crate::world::process::{Snapshots, System};
use crate::world::simulation::swarm::{self, Shape};

impl RunArgs {
    /// Checks every value and resolves what depends on others.
    pub fn plan(&self) -> anyhow::Result<Plan> {
        let workload: Workload = self.workload.parse()?;
        let system = System::parse(&self.system, &self.disk, &self.defect)?;
        let possible = match self.world {
            WorldName::Process => system.kinds(),
            WorldName::Simulation => crate::world::simulation::ABILITIES.into(),
        };
        let kinds = tribunal_nemesis::parse_kinds(self.nemesis(), &possible)?;
        let seed = match self.seed {
            Some(seed) => seed,
            None => draw_seed()?,
        };
        let Shape {
            nodes,
            keys,
            value_bytes,
            heartbeat,
            election,
        } = self.shape(seed);
        if election < heartbeat * 5 {
            bail!("--election-timeout must be at least five times --heartbeat-interval");
        }
        let defects: Defects = self
            .defect
            .iter()
            .map(|name| name.parse::<Defect>())
            .collect::<Result<_, _>>()?;
        let snapshots = self.snapshots(&system)?;
        let defendant = match (self.world, system) {
            (WorldName::Process, system) => Defendant::Process(system),
            (WorldName::Simulation, System::Builtin(_)) => Defendant::Simulation(Box::new(Simulated {
                defects,
                weather: swarm::weather(seed),
                kept: None,
                schedule: None,
                is_drawn: true,
            })),
            (WorldName::Simulation, System::Etcd(_)) => {
                bail!("only the bundled store runs in simulation; leave out --system, or run it on processes");
            }
        };
        if self.trace.is_some() && !defendant.is_simulated() {
            bail!("--trace needs --world simulation");
        }
        let started = jiff::Timestamp::now();
        let (rate, time_limit) = (self.rate(), self.time_limit());
        let seconds = time_limit.as_secs_f64();
        let mut plan = Plan {
            runs_dir: self.runs_dir.clone(),
            name: self.name.clone(),
            seed,
            defendant,
            nodes,
            workload,
            keys,
            value_bytes,
            clients: self.concurrency().resolve(nodes),
            rate,
            time_limit,
            op_timeout: self.op_timeout,
            kinds,
            interval: self.nemesis_interval,
            heartbeat,
            election,
            snapshots,
            liveness_bound: self.liveness_bound,
            ok_min: self
                .min_ok
                .unwrap_or(((seconds * 10.0_f64.min(rate / 4.0)) as u64).max(1)),
            check: tribunal_checker::Options {
                time: Some(self.check_time),
                memory_bytes: self.check_memory,
                steps: self.check_steps,
                ..Default::default()
            },
            keep_data: self.keep_data,
            argv: std::env::args().collect(),
            config: self.config(seed),
            started: started.strftime("%Y-%m-%dT%H-%M-%SZ").to_string(),
        };
        // What is run is what its record says, to the last digit.
        if let Some(record) = record::of(&plan, &plan.schedule()) {
            record::apply(&record, &mut plan)?;
        }
        if let Defendant::Simulation(simulated) = &mut plan.defendant {
            simulated.is_drawn = true;
        }
        Ok(plan)
    }

    /// What is given by hand, and what the world has by default.
    fn shape(&self, seed: u64) -> Shape {
        let default = match self.world {
            WorldName::Process => Shape {
                nodes: 3,
                keys: 10,
                value_bytes: 0,
                heartbeat: Duration::from_millis(100),
                election: Duration::from_millis(500),
            },
            WorldName::Simulation => swarm::shape(seed),
        };
        Shape {
            nodes: self.nodes.unwrap_or(default.nodes),
            keys: self.keys.unwrap_or(default.keys),
            value_bytes: self.value_bytes.unwrap_or(default.value_bytes),
            heartbeat: self.heartbeat_interval.unwrap_or(default.heartbeat),
            election: self.election_timeout.unwrap_or(default.election),
        }
    }

    /// Members are changed where that is asked for: it takes nodes beside those of `--nodes`, and time from other faults.
    fn nemesis(&self) -> &str {
        self.nemesis.as_deref().unwrap_or(match self.world {
            WorldName::Process => "kill,pause,partition",
            WorldName::Simulation => "all",
        })
    }

    fn snapshots(&self, system: &System) -> anyhow::Result<Snapshots> {
        let snapshots = Snapshots {
            count: self.snapshot_count,
            catchup_entries: self.snapshot_catchup_entries,
        };
        if self.world == WorldName::Simulation && snapshots != Snapshots::default() {
            bail!("in simulation the seed draws how the log is kept short; leave out --snapshot-*");
        }
        if snapshots.catchup_entries.is_some() && matches!(system, System::Etcd(_)) {
            bail!("etcd's flag for --snapshot-catchup-entries is experimental and not passed on; leave it out");
        }
        Ok(snapshots)
    }

    fn concurrency(&self) -> PerNode {
        self.concurrency.unwrap_or(match self.world {
            WorldName::Process => PerNode::each(4),
            WorldName::Simulation => PerNode::all(5),
        })
    }

    fn rate(&self) -> f64 {
        self.rate.unwrap_or(match self.world {
            WorldName::Process => 200.0,
            WorldName::Simulation => 100.0,
        })
    }

    fn time_limit(&self) -> Duration {
        self.time_limit.unwrap_or(match self.world {
            WorldName::Process => Duration::from_secs(30),
            WorldName::Simulation => Duration::from_secs(60),
        })
    }

    /// Every setting that decides the run, by its flag's name.
    fn config(&self, seed: u64) -> BTreeMap<String, String> {
        let time = |duration: Duration| humantime::format_duration(duration).to_string().replace(' ', "");
        let mut config: BTreeMap<String, String> = [
            ("system", self.system.clone()),
            ("workload", self.workload.clone()),
            ("concurrency", self.concurrency().to_string()),
            ("rate", self.rate().to_string()),
            ("time-limit", time(self.time_limit())),
            ("op-timeout", time(self.op_timeout)),
            ("nemesis", self.nemesis().to_owned()),
            ("seed", seed.to_string()),
            ("liveness-bound", time(self.liveness_bound)),
        ]
        .into_iter()
        .map(|(flag, value)| (flag.to_owned(), value))
        .collect();
        let mut add = |flag: &str, value: String| {
            config.insert(flag.to_owned(), value);
        };
        match self.world {
            WorldName::Process => {
                let shape = self.shape(seed);
                add("nodes", shape.nodes.to_string());
                add("keys", shape.keys.to_string());
                add("value-bytes", shape.value_bytes.to_string());
                add("heartbeat-interval", time(shape.heartbeat));
                add("election-timeout", time(shape.election));
                if self.system == "builtin" {
                    add("disk", self.disk.clone());
                }
                if let Some(count) = self.snapshot_count {
                    add("snapshot-count", count.to_string());
                }
                if let Some(count) = self.snapshot_catchup_entries {
                    add("snapshot-catchup-entries", count.to_string());
                }
            }
            // What is not given follows from the seed.
            WorldName::Simulation => {
                add("world", "simulation".to_owned());
                let given = [
                    ("nodes", self.nodes.map(|nodes| nodes.to_string())),
                    ("keys", self.keys.map(|keys| keys.to_string())),
                    ("value-bytes", self.value_bytes.map(|bytes| bytes.to_string())),
                    ("heartbeat-interval", self.heartbeat_interval.map(time)),
                    ("election-timeout", self.election_timeout.map(time)),
                ];
                for (flag, value) in given {
                    if let Some(value) = value {
                        add(flag, value);
                    }
                }
            }
        }
        if let Some(interval) = self.nemesis_interval {
            config.insert("nemesis-interval".to_owned(), time(interval));
        }
        if let Some(min_ok) = self.min_ok {
            config.insert("min-ok".to_owned(), min_ok.to_string());
        }
        if !self.defect.is_empty() {
            config.insert("defect".to_owned(), self.defect.join(","));
        }
        config
    }
}

/// A seed from the system's randomness; printed before anything else, so that it is never lost.
pub(in crate::cli) fn draw_seed() -> anyhow::Result<u64> {
    let mut bytes = [0; 8];
    std::fs::File::open("/dev/urandom")
        .and_then(|mut file| file.read_exact(&mut bytes))
        .context("no randomness for a seed; give one with --seed")?;
    // Short enough to be read aloud.
    Ok(u64::from_le_bytes(bytes) % 1_000_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_repeated_from_its_recorded_settings() {
        let args = RunArgs::from_words(&[
            "--time-limit",
            "1m 5s",
            "-n5",
            "--seed",
            "9",
            "--nemesis",
            "kill,pause",
            "--concurrency",
            "3n",
        ]);
        let config = args.config(9);
        assert_eq!(config["time-limit"], "1m5s");
        let words: Vec<String> = config.iter().map(|(flag, value)| format!("--{flag}={value}")).collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        assert_eq!(RunArgs::from_words(&words).config(9), config);
    }
}
