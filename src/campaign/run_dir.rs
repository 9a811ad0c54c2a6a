//! The folder of a run: `runs/<name>/<UTC>-<seed>/`, with a `latest` link beside it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// A run directory that this run made and owns.
#[derive(Clone, Debug)]
pub struct RunDir {
    path: PathBuf,
    name: String,
}

/// The run directory could not be made.
#[derive(Debug, thiserror::Error)]
#[error("the run directory {path} cannot be made: {source}; give a folder that can be written with --runs-dir", path = path.display())]
pub struct RunDirError {
    path: PathBuf,
    source: io::Error,
}

impl RunDir {
    /// Makes `runs/<name>/<stamp>-<seed>`; a number is added if it is there already. Whether the folder takes
    /// files is tried here, so that a run does not find out at its end.
    pub fn create(runs: &Path, name: &str, stamp: &str, seed: u64) -> Result<Self, RunDirError> {
        let above = runs.join(name);
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| RunDirError { path, source }
        };
        fs::create_dir_all(&above).map_err(failed(&above))?;
        for attempt in 1..=1000 {
            let own = if attempt == 1 {
                format!("{stamp}-{seed}")
            } else {
                format!("{stamp}-{seed}-{attempt}")
            };
            let path = above.join(&own);
            match fs::create_dir(&path) {
                Ok(()) => {
                    let probe = path.join(".probe");
                    fs::write(&probe, b"x")
                        .and_then(|()| fs::remove_file(&probe))
                        .map_err(failed(&path))?;
                    link_latest(&above, &own).map_err(failed(&above.join("latest")))?;
                    return Ok(Self { path, name: own });
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(failed(&path)(error)),
            }
        }
        Err(failed(&above)(io::Error::other(
            "a thousand runs of this name and second are there already",
        )))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its own name, without the folders above.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The files in it, as names relative to it, sorted; data of nodes is left out.
    pub fn files(&self) -> Vec<String> {
        let mut found = Vec::new();
        collect(&self.path, "", 0, &mut found);
        found.sort();
        found
    }
}

/// Points `latest` at the newest run; replaced in one step.
fn link_latest(above: &Path, own: &str) -> io::Result<()> {
    let beside = above.join(format!(".latest-{own}"));
    std::os::unix::fs::symlink(own, &beside)?;
    fs::rename(&beside, above.join("latest"))
}

fn collect(folder: &Path, prefix: &str, depth: usize, found: &mut Vec<String>) {
    // Four levels hold everything that a run writes; a link is not followed.
    let Some(entries) = (depth < 4).then(|| fs::read_dir(folder).ok()).flatten() else {
        return;
    };
    for entry in entries.flatten() {
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        match entry.file_type() {
            Ok(kind) if kind.is_dir() && entry.file_name() == "data" => found.push(format!("{name}/")),
            Ok(kind) if kind.is_dir() => collect(&entry.path(), &format!("{name}/"), depth + 1, found),
            Ok(kind) if kind.is_file() => found.push(name),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_run_has_its_own_folder_and_latest_is_the_newest() {
        let runs = tempfile::tempdir().expect("a folder");
        let first = RunDir::create(runs.path(), "run", "2026-11-22T06-20-01Z", 7).expect("makes it");
        let second = RunDir::create(runs.path(), "run", "2026-11-22T06-20-01Z", 7).expect("makes another");
        assert_eq!(
            (first.name(), second.name()),
            ("2026-11-22T06-20-01Z-7", "2026-11-22T06-20-01Z-7-2")
        );
        let latest = fs::read_link(runs.path().join("run/latest")).expect("a link");
        assert_eq!(latest, Path::new(second.name()));
        fs::create_dir_all(second.path().join("nodes/n1/data/wal")).expect("makes folders");
        fs::write(second.path().join("nodes/n1/log"), "x").expect("writes");
        assert_eq!(second.files(), ["nodes/n1/data/", "nodes/n1/log"]);
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_named_with_the_remedy() {
        let runs = tempfile::tempdir().expect("a folder");
        let file = runs.path().join("file");
        fs::write(&file, "x").expect("writes");
        let error = RunDir::create(&file, "run", "t", 1)
            .expect_err("a file is in the way")
            .to_string();
        assert!(
            error.contains("file/run cannot be made") && error.contains("--runs-dir"),
            "{error}"
        );
    }
}
