//! How long a verdict takes, and how much memory: `cargo bench -p tribunal-checker [-- FILTER]`.
//!
//! Histories come from seeds; Porcupine's own are in `tests/data/`. Reading and sorting by key are not counted, the
//! certificate is: a verdict that nobody checked is none. The table has the median of three runs, and the memory that the
//! run added to what the history takes. Times are of this machine at this moment; nothing is asserted.
#![expect(clippy::disallowed_methods, reason = "a benchmark needs the clock")]

use std::collections::BTreeMap;
use std::hint::black_box;
use std::path::Path;
use std::time::{Duration, Instant};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tribunal_checker::budget::Budget;
use tribunal_checker::judge::partitions;
use tribunal_checker::linearizability::rounds::{Decision, decide};
use tribunal_checker::linearizability::{Entry, Partition, verify};
use tribunal_checker::spec::{CasRegister, Kv, Recorded, Register, Spec, kv, register};
use tribunal_history::import::read_any;
use tribunal_history::operation::pair;

fn main() {
    // What cargo passes along with a filter.
    let filter = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let wanted = |name: &str| filter.as_ref().is_none_or(|filter| name.contains(filter.as_str()));
    println!(
        "{:<52} {:>9} {:>9} {:>11} {:>9}  verdict",
        "history", "operations", "steps", "time", "memory"
    );
    if wanted("porcupine") {
        porcupine();
    }
    for (clients, info, operations) in shapes() {
        let name = |kind: &str| {
            format!(
                "{kind} 1e{} {clients} clients {info} % info",
                (operations as f64).log10()
            )
        };
        for wrong in [Wrong::Nothing, Wrong::Stale, Wrong::Lost] {
            let shape = Shape {
                operations,
                clients,
                info,
                wrong,
            };
            let different = format!("{} {wrong:?}", name("register, different values"));
            if wanted(&different) {
                let mut last = 0i64;
                let history = shape.history::<Register>(move |rng, held| {
                    last += 1;
                    match rng.random_range(0..4) {
                        0..2 => register::Op::read("k"),
                        2 => register::Op::write("k", last),
                        _ => register::Op::cas("k", held.value(), last),
                    }
                });
                report(&different, &by_key(history));
            }
            let five = format!("{} {wrong:?}", name("register, five values"));
            if operations <= 10_000 && wrong != Wrong::Lost && wanted(&five) {
                let history = shape.history::<Register>(|rng, _| {
                    let value = |rng: &mut ChaCha8Rng| rng.random_range(0..5i64);
                    match rng.random_range(0..3) {
                        0 => register::Op::read("k"),
                        1 => register::Op::write("k", value(rng)),
                        _ => register::Op::cas("k", value(rng), value(rng)),
                    }
                });
                report(&five, &by_key(history));
            }
        }
        let keys = format!("{} Nothing", name("kv, 100 keys"));
        if operations <= 100_000 && wanted(&keys) {
            let shape = Shape {
                operations,
                clients,
                info,
                wrong: Wrong::Nothing,
            };
            let history = shape.history::<Kv>(|rng, _| kv::Op {
                key: format!("k{}", rng.random_range(0..100)).into(),
                action: match rng.random_range(0..4) {
                    0..2 => kv::Action::Get,
                    2 => kv::Action::Put(rng.random_range(0..1000).to_string().into()),
                    _ => kv::Action::Append(rng.random_range(0..10).to_string().into()),
                },
            });
            report(&keys, &by_key(history));
        }
    }
}

fn shapes() -> impl Iterator<Item = (usize, u32, usize)> {
    [1_000, 10_000, 100_000, 1_000_000].into_iter().flat_map(|operations| {
        [5, 20, 100]
            .into_iter()
            .flat_map(move |clients| [0, 1, 5].into_iter().map(move |info| (clients, info, operations)))
    })
}

/// The objects under their keys.
type Store<S> = BTreeMap<String, S>;

fn act<S: Spec>(store: &mut Store<S>, op: &S::Op) -> S::Ret {
    let key = S::partition(op).unwrap_or_default().to_owned();
    store.entry(key).or_default().invoke(op)
}

/// What is planted at two thirds of a history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wrong {
    Nothing,
    /// One read shows what the object held a while ago.
    Stale,
    /// The object goes back to what it held a while ago.
    Lost,
}

struct Shape {
    operations: usize,
    clients: usize,
    /// Of each hundred operations: in doubt.
    info: u32,
    wrong: Wrong,
}

impl Shape {
    /// A history of clients that are always busy: each begins, acts and ends at random moments.
    fn history<S: Spec>(&self, mut draw: impl FnMut(&mut ChaCha8Rng, &S) -> S::Op) -> Vec<Entry<S>> {
        struct Open<R> {
            id: usize,
            ret: Option<R>,
        }
        let mut rng = ChaCha8Rng::seed_from_u64(9);
        let mut store: Store<S> = Store::new();
        let mut past = store.clone();
        let mut planted = self.wrong == Wrong::Nothing;
        let mut open: Vec<Option<Open<S::Ret>>> = (0..self.clients).map(|_| None).collect();
        let mut entries: Vec<Entry<S>> = Vec::with_capacity(self.operations);
        let mut now = 0;
        while entries.len() < self.operations || open.iter().any(Option::is_some) {
            now += 1;
            if entries.len() == self.operations / 3 * 2 {
                past = store.clone();
            }
            let due = !planted && entries.len() > self.operations / 3 * 2 + 20 * self.clients;
            let client = rng.random_range(0..self.clients);
            match open[client].take() {
                None if entries.len() < self.operations => {
                    open[client] = Some(Open {
                        id: entries.len(),
                        ret: None,
                    });
                    entries.push(Entry {
                        id: entries.len(),
                        op: draw(&mut rng, &store.get("k").cloned().unwrap_or_default()),
                        ret: None,
                        call: now,
                        end: None,
                    });
                }
                None => {}
                Some(Open { id, ret: None }) => {
                    let op = &entries[id].op;
                    let in_doubt = rng.random_range(0..100) < self.info;
                    if in_doubt && rng.random_range(0..2) == 0 {
                        continue;
                    }
                    // A loss is seen by a read at once.
                    if due && self.wrong == Wrong::Lost && S::class(op, None).is_read() {
                        store = past.clone();
                        planted = true;
                    }
                    let mut ret = act(&mut store, op);
                    if due && self.wrong == Wrong::Stale && S::class(op, Some(&ret)).is_read() {
                        ret = act(&mut past.clone(), op);
                        planted = true;
                    }
                    if !in_doubt {
                        open[client] = Some(Open { id, ret: Some(ret) });
                    }
                }
                Some(Open { id, ret }) => {
                    entries[id].ret = ret;
                    entries[id].end = Some(now);
                }
            }
        }
        entries
    }
}

fn by_key<S: Spec>(entries: Vec<Entry<S>>) -> Vec<Partition<S>> {
    let mut keys: BTreeMap<Option<String>, Vec<Entry<S>>> = BTreeMap::new();
    for entry in entries {
        keys.entry(S::partition(&entry.op).map(str::to_owned))
            .or_default()
            .push(entry);
    }
    keys.into_iter()
        .map(|(key, entries)| Partition::new(key, entries))
        .collect()
}

/// Longest that one verdict may take.
const TIME_MAX: Duration = Duration::from_secs(10);

/// One verdict on all partitions, certificates included.
fn judged<S: Spec>(partitions: &[Partition<S>]) -> (&'static str, u64) {
    let mut budget = Budget::new(u64::MAX, Some(TIME_MAX), 8 << 30);
    let decisions = decide(partitions, &mut budget).decisions;
    let mut verdict = "valid";
    for (partition, decision) in partitions.iter().zip(&decisions) {
        match decision {
            Decision::Linearizable(order) => verify(&partition.entries, order).expect("a certificate that holds"),
            Decision::NotLinearizable => verdict = "invalid",
            Decision::Unknown { .. } if verdict == "valid" => verdict = "unknown",
            Decision::Unknown { .. } => {}
        }
    }
    (verdict, budget.steps_used())
}

fn report<S: Spec>(name: &str, partitions: &[Partition<S>]) {
    let operations: usize = partitions.iter().map(|partition| partition.entries.len()).sum();
    let before = memory_kib("VmRSS:");
    reset_peak();
    let mut times = Vec::new();
    let mut verdict = ("", 0);
    for _ in 0..3 {
        let begun = Instant::now();
        verdict = black_box(judged(black_box(partitions)));
        times.push(begun.elapsed());
        if times[0] > TIME_MAX / 4 {
            break;
        }
    }
    times.sort();
    let memory = memory_kib("VmHWM:").zip(before).map_or_else(
        || "?".to_owned(),
        |(peak, before)| format!("{} KiB", peak.saturating_sub(before)),
    );
    let (verdict, steps) = verdict;
    println!(
        "{name:<52} {operations:>9} {steps:>9} {:>11} {memory:>9}  {verdict}",
        format!("{:.3} ms", times[times.len() / 2].as_secs_f64() * 1e3)
    );
}

/// Each file by itself, and the sum of their best of five, as the reference figures were taken.
fn porcupine() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/porcupine");
    for (kind, extension) in [("jepsen", "log"), ("kv", "txt")] {
        let mut files: Vec<_> = std::fs::read_dir(folder.join(kind))
            .expect("the committed histories")
            .map(|file| file.expect("a file").path())
            .filter(|path| path.extension().is_some_and(|found| found == extension))
            .collect();
        files.sort();
        let times: Vec<Duration> = files
            .iter()
            .map(|file| match kind {
                "jepsen" => best_of_five::<CasRegister>(file),
                _ => best_of_five::<Kv>(file),
            })
            .collect();
        let sum: Duration = times.iter().sum();
        let worst = times.iter().max().copied().unwrap_or_default();
        println!(
            "porcupine {kind}: {} files, sum {:.3} ms, worst {:.3} ms",
            files.len(),
            sum.as_secs_f64() * 1e3,
            worst.as_secs_f64() * 1e3
        );
    }
}

fn best_of_five<S: Recorded>(file: &Path) -> Duration {
    let events = read_any(file).expect("a committed history").events;
    let operations = pair(&events).expect("importers pair");
    let partitions = partitions::<S>(&operations).expect("operations of the specification");
    let once = || {
        let begun = Instant::now();
        black_box(judged(black_box(&partitions)));
        begun.elapsed()
    };
    (0..5).map(|_| once()).min().unwrap_or_default()
}

/// A figure of this process in KiB, where the system tells it.
fn memory_kib(name: &str) -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with(name))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// Begins to measure the peak anew, where the system can.
fn reset_peak() {
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}
