//! Writes invented runs, one passing and several not, as a run directory each: to look at the pages.
//!
//! ```text
//! cargo run -p tribunal-reports --example sample -- FOLDER
//! ```

use std::path::Path;
use std::process::ExitCode;

#[path = "../tests/support/mod.rs"]
mod support;

fn main() -> ExitCode {
    let Some(folder) = std::env::args_os().nth(1) else {
        eprintln!("usage: sample FOLDER");
        return ExitCode::from(64);
    };
    let mut several = support::failing();
    several.0.findings.push(support::lost_write());
    several.0.findings.push(several.0.findings[0].clone());
    let runs = [
        ("failing", support::failing()),
        ("several", several),
        ("passing", support::passing()),
        ("busy", support::busy(60)),
        ("crowded", support::crowded()),
        ("hostile", support::hostile()),
        ("empty", support::empty()),
    ];
    for (name, (report, events)) in runs {
        let dir = Path::new(&folder).join(name);
        let written = std::fs::create_dir_all(&dir).and_then(|()| tribunal_reports::write(&dir, &report, &events));
        if let Err(error) = written {
            eprintln!("{}: {error}", dir.display());
            return ExitCode::from(4);
        }
        println!("{}", dir.join("report.html").display());
        print!("{}", tribunal_reports::last_lines(&report, &dir.to_string_lossy()));
    }
    ExitCode::SUCCESS
}
