//! An etcd binary: found, and asked for its version.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::unistd::{AccessFlags, access};

use super::Etcd;
use crate::world::process::error::WorldError;

/// Longest time that `etcd --version` may take; it takes some 20 ms, and a file system may be slow.
const VERSION_TIMEOUT: Duration = Duration::from_secs(10);

impl Etcd {
    /// Finds an etcd of this name in `PATH`.
    ///
    /// # Errors
    /// If there is none, or it cannot be used.
    pub fn find(name: &str) -> Result<Self, WorldError> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let binary = std::env::split_paths(&path)
            .map(|directory| directory.join(name))
            .find(|file| file.is_file());
        match binary {
            Some(binary) => Self::at(&binary),
            None => Err(WorldError::ProgramMissing {
                program: PathBuf::from(name),
                place: "in PATH",
                flag: "etcd:/path/to/etcd",
            }),
        }
    }

    /// Looks at an etcd binary and asks for its version.
    ///
    /// # Errors
    /// If it is missing, cannot be executed, or is no etcd.
    pub fn at(binary: &Path) -> Result<Self, WorldError> {
        let unusable = |reason: String| WorldError::ProgramUnusable {
            program: binary.to_owned(),
            reason,
        };
        // A relative path would be looked up in PATH, and would mean another file to a child in another place.
        let absolute = std::path::absolute(binary).map_err(|error| unusable(error.to_string()))?;
        match std::fs::metadata(&absolute) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(WorldError::ProgramMissing {
                    program: binary.to_owned(),
                    place: "there",
                    flag: "etcd:/path/to/etcd",
                });
            }
            Err(error) => return Err(unusable(error.to_string())),
            Ok(metadata) if !metadata.is_file() => return Err(unusable("it is not a file".to_owned())),
            Ok(_) => access(&absolute, AccessFlags::X_OK)
                .map_err(|errno| unusable(format!("{}; is it executable (chmod +x)?", errno.desc())))?,
        }
        let output = version_output(&absolute).map_err(|error| unusable(error.to_string()))?;
        let first = output.lines().next().unwrap_or_default();
        match first.strip_prefix("etcd Version: ") {
            Some(version) => Ok(Self {
                binary: absolute,
                version: version.trim().to_owned(),
            }),
            None => Err(WorldError::NotEtcd {
                program: binary.to_owned(),
                output: first.chars().take(200).collect(),
            }),
        }
    }
}

/// What `binary --version` prints, within a bound: any program may be named by mistake.
fn version_output(binary: &Path) -> io::Result<String> {
    let mut child = Command::new(binary)
        .arg("--version")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let deadline = Instant::now() + VERSION_TIMEOUT;
    while child.try_wait()?.is_none() {
        if Instant::now() > deadline {
            child.kill()?;
            child.wait()?;
            return Err(io::Error::other(format!(
                "`--version` took longer than {VERSION_TIMEOUT:?}"
            )));
        }
        thread::sleep(Duration::from_millis(2));
    }
    let mut output = Vec::new();
    if let Some(stdout) = child.stdout.take() {
        stdout.take(1 << 16).read_to_end(&mut output)?;
    }
    Ok(String::from_utf8_lossy(&output).into_owned())
}
