//! Judges a recorded history: `cargo run -p tribunal-checker --example check_history -- history.jsonl [SPECIFICATION]`.

use std::path::Path;
use std::process::ExitCode;

use tribunal_checker::{Options, judge};
use tribunal_history::{Outcome, jsonl};

fn main() -> Result<ExitCode, Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let file = arguments.next().ok_or("expected the file of a history")?;
    let specification = arguments.next().unwrap_or_else(|| "register".to_owned());
    let events = jsonl::read(Path::new(&file))?;
    let judgement = judge(&specification, &events, &Options::default())?;
    println!("{:?}: {}", judgement.outcome, judgement.detail);
    for finding in &judgement.findings {
        println!("{}\n{}", finding.sentence, finding.context);
    }
    Ok(match judgement.outcome {
        Outcome::Pass | Outcome::Vacuous => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    })
}
