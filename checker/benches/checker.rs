//! How long a verdict takes, and how much memory: `cargo bench -p tribunal-checker [-- FILTER]`.
//!
//! Histories come from seeds; Porcupine's own are in `tests/data/`. Reading and sorting by key are not counted, the
//! certificate is: a verdict that nobody checked is none. The table has the shortest of five runs by the clock on the wall,
//! what the processor took for one of them on the average, which is what counts where others use the machine too, and the
//! memory that the run added to what the history takes. Times are of this machine at this moment; nothing is asserted.
#![expect(clippy::disallowed_methods, reason = "a benchmark needs the clock")]

use std::hint::black_box;
use std::path::Path;
use std::time::{Duration, Instant};

use tribunal_checker::budget::Budget;
use tribunal_checker::generate::{
    Shape, Wrong, by_key, different_values, five_values, hundred_keys, list_transactions, revisions, stream, ten_lists,
};
use tribunal_checker::judge::partitions;
use tribunal_checker::linearizability::rounds::{Decision, Decisions, decide};
use tribunal_checker::linearizability::witness::{self, Verdict};
use tribunal_checker::linearizability::{Partition, verify};
use tribunal_checker::online::{Follow as _, Zones};
use tribunal_checker::spec::{CasRegister, Kv, Recorded, Register, Spec};
use tribunal_checker::{Options, judge};
use tribunal_history::binary::{Compression, Reader, Writer};
use tribunal_history::import::read_any;
use tribunal_history::operation::pair;

fn main() {
    // What cargo passes along with a filter.
    let filter = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let wanted = |name: &str| filter.as_ref().is_none_or(|filter| name.contains(filter.as_str()));
    println!(
        "{:<60} {:>9} {:>9} {:>11} {:>11} {:>10}  verdict",
        "history", "operations", "steps", "shortest", "processor", "memory"
    );
    if wanted("porcupine") {
        porcupine();
    }
    if wanted("online") {
        online();
    }
    for operations in [10_000, 100_000, 1_000_000] {
        for wrong in [Wrong::Nothing, Wrong::Stale, Wrong::Lost] {
            let name = format!("transactions over lists, {operations}, 20 clients, 1 % info, {wrong:?}");
            if wanted(&name) {
                transactions(&name, operations, wrong);
            }
        }
    }
    for (clients, info, operations) in shapes() {
        for wrong in [Wrong::Nothing, Wrong::Stale, Wrong::Lost] {
            let shape = Shape {
                operations,
                clients,
                info,
                wrong,
                seed: 9,
            };
            let name = |kind: &str| {
                let planted = match wrong {
                    Wrong::Nothing => "",
                    Wrong::Stale => ", stale read",
                    Wrong::Lost => ", lost writes",
                };
                let power = (operations as f64).log10();
                format!("{kind} 1e{power} {clients} clients {info} % info{planted}")
            };
            let different = name("register, different values");
            if wanted(&different) {
                report(&different, || by_key(different_values(&shape)));
            }
            let five = name("register, five values");
            if operations <= 10_000 && wanted(&five) {
                report(&five, || by_key(five_values(&shape)));
            }
            let keys = name("kv, 100 keys");
            if wanted(&keys) {
                report(&keys, || by_key(hundred_keys(&shape)));
            }
            let numbered = name("etcd-kv, 100 keys with revisions");
            if wanted(&numbered) {
                with_revisions(&numbered, &shape);
            }
            let lists = name("kv, 10 lists");
            if operations <= 10_000 && wanted(&lists) {
                report(&lists, || by_key(ten_lists(&shape)));
            }
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

/// Longest that one verdict may take by the clock on the wall: ten seconds of a processor that others use as well.
const TIME_MAX: Duration = Duration::from_secs(60);

/// After so long nothing is done once more.
const AGAIN_MAX: Duration = Duration::from_secs(3);

/// One verdict on all partitions, certificates included.
fn judged<S: Spec>(partitions: &[Partition<S>]) -> (&'static str, u64, String) {
    let mut budget = Budget::new(u64::MAX, Some(TIME_MAX), 8 << 30);
    let Decisions { decisions, engines } = decide(partitions, &mut budget);
    let mut verdict = "valid";
    for (partition, decision) in partitions.iter().zip(&decisions) {
        match decision {
            Decision::Linearizable(order) => verify(&partition.entries, order).expect("a certificate that holds"),
            Decision::NotLinearizable => verdict = "invalid",
            Decision::Unknown { .. } if verdict == "valid" => verdict = "unknown",
            Decision::Unknown { .. } => {}
        }
    }
    let engines = engines.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    (verdict, budget.steps_used(), engines)
}

fn report<S: Spec>(name: &str, make: impl FnOnce() -> Vec<Partition<S>>) {
    let partitions = make();
    let operations: usize = partitions.iter().map(|partition| partition.entries.len()).sum();
    let before = memory_kib("VmRSS:");
    reset_peak();
    let (verdict, times) = timed(|| judged(black_box(&partitions)));
    let memory = memory_kib("VmHWM:").zip(before).map_or_else(
        || "?".to_owned(),
        |(peak, before)| format!("{} KiB", peak.saturating_sub(before)),
    );
    let (verdict, steps, engines) = verdict;
    println!(
        "{name:<60} {operations:>9} {steps:>9} {:>11} {:>11} {memory:>10}  {verdict} by {engines}",
        millis(times.shortest),
        millis(times.processor)
    );
}

/// How long something took.
struct Times {
    shortest: Duration,
    /// On the average; the clock on the wall where the system does not tell.
    processor: Duration,
}

/// Does it five times, or as often as fits into a few seconds.
fn timed<T>(mut once: impl FnMut() -> T) -> (T, Times) {
    let (begun, busy) = (Instant::now(), processor_time());
    let mut shortest = Duration::MAX;
    let mut runs = 0;
    loop {
        let once_begun = Instant::now();
        let told = black_box(once());
        shortest = shortest.min(once_begun.elapsed());
        runs += 1;
        if runs < 5 && begun.elapsed() < AGAIN_MAX {
            continue;
        }
        let processor = match processor_time().zip(busy) {
            Some((now, before)) => now - before,
            None => begun.elapsed(),
        };
        let processor = processor / runs;
        return (told, Times { shortest, processor });
    }
}

/// What the processor has done for this thread so far, where the system tells it; it counts in ticks of some milliseconds.
fn processor_time() -> Option<Duration> {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    told.split(' ').next()?.parse().ok().map(Duration::from_nanos)
}

fn millis(time: Duration) -> String {
    format!("{:.3} ms", time.as_secs_f64() * 1e3)
}

/// One store with all its keys, whose answers tell its revisions.
fn with_revisions(name: &str, shape: &Shape) {
    let entries = revisions(shape);
    let before = memory_kib("VmRSS:");
    reset_peak();
    let (verdict, times) = timed(|| match witness::decide(&entries, true, u64::MAX) {
        Verdict::Linearizable(order) => {
            verify(&entries, &order).expect("a certificate that holds");
            "valid"
        }
        Verdict::Conflict(_) => "invalid",
        _ => "unknown",
    });
    let memory = memory_kib("VmHWM:").zip(before).map_or_else(
        || "?".to_owned(),
        |(peak, before)| format!("{} KiB", peak.saturating_sub(before)),
    );
    println!(
        "{name:<60} {:>9} {:>9} {:>11} {:>11} {memory:>10}  {verdict} by revisions",
        entries.len(),
        "",
        millis(times.shortest),
        millis(times.processor)
    );
}

/// Everything from the events to the verdict, which for transactions is one pass.
fn transactions(name: &str, operations: usize, wrong: Wrong) {
    let events = list_transactions(&Shape {
        operations,
        clients: 20,
        info: 1,
        wrong,
        seed: 9,
    });
    let before = memory_kib("VmRSS:");
    reset_peak();
    let (judgement, times) =
        timed(|| judge("list-append", black_box(&events), &Options::default()).expect("well formed"));
    let verdict = match judgement.findings.first() {
        Some(finding) => format!("invalid: {}", finding.class),
        None => "valid".to_owned(),
    };
    let memory = memory_kib("VmHWM:").zip(before).map_or_else(
        || "?".to_owned(),
        |(peak, before)| format!("{} KiB", peak.saturating_sub(before)),
    );
    println!(
        "{name:<60} {operations:>9} {:>9} {:>11} {:>11} {memory:>10}  {verdict} by dependencies",
        "",
        millis(times.shortest),
        millis(times.processor)
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

/// A binary history on disk, followed from its first to its last byte: a million operations, or as many as
/// `TRIBUNAL_ONLINE` says. The memory is all that the process has while it follows.
fn online() {
    let operations = std::env::var("TRIBUNAL_ONLINE").map_or(1_000_000, |number| number.parse().expect("a number"));
    let path = std::env::temp_dir().join(format!("tribunal-online-{}.bin", std::process::id()));
    for (keys, clients, info, wrong) in [
        (1, 20, 0, Wrong::Nothing),
        (1, 20, 1, Wrong::Nothing),
        (100, 20, 1, Wrong::Nothing),
        (1, 20, 1, Wrong::Stale),
    ] {
        let shape = Shape {
            operations,
            clients,
            info,
            wrong,
            seed: 9,
        };
        let file = std::io::BufWriter::new(std::fs::File::create(&path).expect("a temporary file"));
        let mut writer = Writer::new(file, Compression::None).expect("a file that can be written");
        let written = stream(&shape, keys, |event| writer.write(event));
        written
            .and_then(|()| writer.finish().map(drop))
            .expect("a file that can be written");
        let size = std::fs::metadata(&path).map_or(0, |data| data.len());
        reset_peak();
        let (begun, busy) = (Instant::now(), processor_time());
        let mut reader = Reader::open(&path).expect("the file just written");
        let mut zones = Zones::<Register>::default();
        let mut found = None;
        while let Some(event) = reader.next_mut().expect("the file just written") {
            found = found.or(zones.event(event).expect("a history of registers"));
        }
        let time = begun.elapsed();
        let processor = processor_time().zip(busy).map_or(time, |(now, before)| now - before);
        let verdict = match (found, zones.followed().given_up) {
            (Some(violation), _) => format!("invalid at event {}", violation.seq),
            (None, 0) => "valid".to_owned(),
            (None, _) => "not decided".to_owned(),
        };
        println!(
            "online {operations} operations, {keys} keys, {clients} clients, {info} % info, {} MB on disk: {:.3} s, \
             {:.3} s of them the processor's, {} KiB in all, {} values remembered at most: {verdict}",
            size / 1_000_000,
            time.as_secs_f64(),
            processor.as_secs_f64(),
            memory_kib("VmHWM:").unwrap_or(0),
            zones.followed().remembered_max
        );
    }
    let _ = std::fs::remove_file(&path);
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
