//! The system under test: which program a node is, and with which arguments.

mod etcd;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use sha2::{Digest, Sha256};
use tribunal_history::{FaultKind, Incarnation, NodeId};

use super::children::own_executable;
use super::error::WorldError;

/// A system whose nodes are processes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum System {
    /// The bundled store, in this very binary.
    Builtin(Builtin),
    /// An unmodified etcd.
    Etcd(Etcd),
}

/// The bundled store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Builtin {
    /// Tribunal's binary.
    pub executable: PathBuf,
    /// What becomes of writes that were not synced when a node is killed.
    pub disk: DiskMode,
    /// Names of planted defects.
    pub defects: Vec<String>,
}

/// `node --disk`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DiskMode {
    /// They are lost, as in a power failure.
    #[default]
    Volatile,
    /// They survive in the page cache, as SIGKILL alone leaves them.
    Real,
}

impl DiskMode {
    /// Its name in flags.
    pub fn name(self) -> &'static str {
        match self {
            Self::Volatile => "volatile",
            Self::Real => "real",
        }
    }
}

impl FromStr for DiskMode {
    type Err = WorldError;

    fn from_str(text: &str) -> Result<Self, WorldError> {
        [Self::Volatile, Self::Real]
            .into_iter()
            .find(|mode| mode.name() == text)
            .ok_or_else(|| WorldError::UnknownDisk(text.to_owned()))
    }
}

/// An etcd binary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Etcd {
    /// Where it is.
    pub binary: PathBuf,
    /// Its version, such as `3.4.23`.
    pub version: String,
}

/// One node's start, for [`System::arguments`].
#[derive(Clone, Debug)]
pub struct NodeStart<'a> {
    /// Which node.
    pub node: NodeId,
    /// Which of its lives.
    pub incarnation: Incarnation,
    /// Its directory.
    pub data: &'a Path,
    /// Where its evidence goes, if the system writes any.
    pub evidence: &'a Path,
    /// Where it serves clients.
    pub client: SocketAddr,
    /// Where it listens for peers.
    pub peer: SocketAddr,
    /// Where each node is found by its peers, itself included.
    pub advertised: &'a [(NodeId, SocketAddr)],
    /// Names the cluster, so that nodes of different runs never join.
    pub token: &'a str,
    /// Between heartbeats of a leader.
    pub heartbeat: Duration,
    /// Without a heartbeat until a follower stands for election.
    pub election: Duration,
    /// It joins a cluster that runs, as a member that was added to it.
    pub joins: bool,
    /// How the log is kept short.
    pub snapshots: Snapshots,
}

/// How nodes keep their logs short; by default as they do if they are told nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Snapshots {
    /// `--snapshot-count`: applied entries after which a snapshot is made.
    pub count: Option<u64>,
    /// `--snapshot-catchup-entries`: entries that stay in the log after one; the bundled store's.
    pub catchup_entries: Option<u64>,
}

impl System {
    /// Reads `--system`: `builtin`, `etcd` (found in `PATH`), `etcd:NAME` (likewise) or `etcd:/path/to/FILE`; `disk` and `defects` are for the
    /// bundled store. A binary is looked at, not only looked up.
    ///
    /// # Errors
    /// If the name is unknown, its binary is missing, cannot be executed or is no etcd, or a defect is to be
    /// planted in somebody else's program. Whether a defect exists is for the store to say.
    pub fn parse(text: &str, disk: &str, defects: &[String]) -> Result<Self, WorldError> {
        let disk = disk.parse()?;
        if text != "builtin" && !defects.is_empty() {
            return Err(WorldError::NotOurs {
                system: text.to_owned(),
                defects: defects.join(", "),
            });
        }
        match text.split_once(':') {
            None if text == "builtin" => Ok(Self::Builtin(Builtin {
                executable: own_executable(),
                disk,
                defects: defects.to_vec(),
            })),
            None if text == "etcd" => Etcd::find("etcd").map(Self::Etcd),
            // As in a shell: a name without a slash is looked up in PATH.
            Some(("etcd", name)) if !name.is_empty() && !name.contains('/') => Etcd::find(name).map(Self::Etcd),
            Some(("etcd", file)) if !file.is_empty() => Etcd::at(Path::new(file)).map(Self::Etcd),
            _ => Err(WorldError::UnknownSystem(text.to_owned())),
        }
    }

    /// Its name, without where it is.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Builtin(_) => "builtin",
            Self::Etcd(_) => "etcd",
        }
    }

    /// What it calls itself.
    pub fn version(&self) -> &str {
        match self {
            Self::Builtin(_) => env!("CARGO_PKG_VERSION"),
            Self::Etcd(etcd) => &etcd.version,
        }
    }

    /// The program of a node.
    pub fn program(&self) -> &Path {
        match self {
            Self::Builtin(builtin) => &builtin.executable,
            Self::Etcd(etcd) => &etcd.binary,
        }
    }

    /// SHA-256 of the program, hexadecimal.
    ///
    /// # Errors
    /// If it cannot be read (it may be executable and not readable).
    pub fn sha256(&self) -> Result<String, WorldError> {
        sha256_file(self.program())
    }

    /// The arguments of a node.
    pub fn arguments(&self, start: &NodeStart<'_>) -> Vec<OsString> {
        let mut arguments = Arguments::default();
        if let Self::Builtin(_) = self {
            arguments.word("node");
        }
        let cluster: Vec<String> = start
            .advertised
            .iter()
            .map(|(node, at)| format!("{node}={}", url(*at)))
            .collect();
        let own = start.advertised.iter().find(|(node, _)| *node == start.node);
        let (_, advertised) = own.unwrap_or_else(|| panic!("{} is not in its own cluster", start.node));
        arguments.pair("--name", start.node);
        arguments.path("--data-dir", start.data);
        arguments.pair("--listen-client-urls", url(start.client));
        arguments.pair("--advertise-client-urls", url(start.client));
        arguments.pair("--listen-peer-urls", url(start.peer));
        arguments.pair("--initial-advertise-peer-urls", url(*advertised));
        arguments.pair("--initial-cluster", cluster.join(","));
        arguments.pair("--initial-cluster-token", start.token);
        arguments.pair("--heartbeat-interval", start.heartbeat.as_millis());
        arguments.pair("--election-timeout", start.election.as_millis());
        if let Some(count) = start.snapshots.count {
            arguments.pair("--snapshot-count", count);
        }
        let state = if start.joins { "existing" } else { "new" };
        match self {
            Self::Builtin(builtin) => {
                if start.joins {
                    arguments.pair("--initial-cluster-state", state);
                }
                if let Some(entries) = start.snapshots.catchup_entries {
                    arguments.pair("--snapshot-catchup-entries", entries);
                }
                arguments.pair("--disk", builtin.disk.name());
                for defect in &builtin.defects {
                    arguments.pair("--defect", defect);
                }
                arguments.path("--evidence", start.evidence);
                arguments.pair("--incarnation", start.incarnation);
            }
            Self::Etcd(_) => {
                arguments.pair("--initial-cluster-state", state);
                arguments.pair("--logger", "zap");
                arguments.pair("--log-outputs", "stderr");
                arguments.pair("--log-level", "warn");
            }
        }
        arguments.0
    }

    /// The kinds of faults that it can have. Its members are changed, and it is looked after, only as the bundled store's
    /// are: the operator knows that store's answers word for word, and etcd's releases differ.
    pub fn kinds(&self) -> BTreeSet<FaultKind> {
        let mut kinds = tribunal_nemesis::kinds_in("process");
        if let Self::Etcd(_) = self {
            kinds.retain(|kind| !["membership", "maintenance"].contains(&kind.group()));
        }
        kinds
    }

    /// Whether its nodes write evidence.
    pub fn writes_evidence(&self) -> bool {
        matches!(self, Self::Builtin(_))
    }
}

impl fmt::Display for System {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Builtin(_) => f.write_str("builtin"),
            Self::Etcd(etcd) => write!(f, "etcd {} ({})", etcd.version, etcd.binary.display()),
        }
    }
}

/// SHA-256 of a file, hexadecimal.
///
/// # Errors
/// If it cannot be read.
pub fn sha256_file(path: &Path) -> Result<String, WorldError> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    let mut file = File::open(path).map_err(WorldError::file("open", path))?;
    loop {
        match file.read(&mut buffer).map_err(WorldError::file("read", path))? {
            0 => return Ok(hex::encode(hasher.finalize())),
            length => hasher.update(&buffer[..length]),
        }
    }
}

fn url(at: SocketAddr) -> String {
    format!("http://{at}")
}

#[derive(Default)]
struct Arguments(Vec<OsString>);

impl Arguments {
    fn word(&mut self, word: &str) {
        self.0.push(word.into());
    }

    fn pair(&mut self, flag: &str, value: impl fmt::Display) {
        self.0.push(flag.into());
        self.0.push(value.to_string().into());
    }

    /// A path need not be text.
    fn path(&mut self, flag: &str, value: &Path) {
        self.0.push(flag.into());
        self.0.push(value.as_os_str().to_owned());
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn start<'a>(advertised: &'a [(NodeId, SocketAddr)]) -> NodeStart<'a> {
        NodeStart {
            node: NodeId(2),
            incarnation: Incarnation(3),
            data: Path::new("/r/nodes/n2/data"),
            evidence: Path::new("/r/evidence/n2-3.bin"),
            client: SocketAddr::from(([127, 7, 8, 2], 2379)),
            peer: SocketAddr::from(([127, 7, 8, 2], 2380)),
            advertised,
            token: "t",
            heartbeat: Duration::from_millis(100),
            election: Duration::from_secs(1),
            joins: false,
            snapshots: Snapshots::default(),
        }
    }

    fn links() -> [(NodeId, SocketAddr); 2] {
        [1, 2].map(|k| (NodeId(k), SocketAddr::from(([127, 7, 8, 100 + k as u8], 2380))))
    }

    fn text(system: &System) -> String {
        let links = links();
        let words = system.arguments(&start(&links));
        words
            .iter()
            .map(|word| word.to_string_lossy())
            .collect::<Vec<_>>()
            .join(" ")
    }

    const COMMON: &str = "--name n2 --data-dir /r/nodes/n2/data --listen-client-urls http://127.7.8.2:2379 \
                          --advertise-client-urls http://127.7.8.2:2379 --listen-peer-urls http://127.7.8.2:2380 \
                          --initial-advertise-peer-urls http://127.7.8.102:2380 \
                          --initial-cluster n1=http://127.7.8.101:2380,n2=http://127.7.8.102:2380 \
                          --initial-cluster-token t --heartbeat-interval 100 --election-timeout 1000";

    #[test]
    fn a_node_of_the_bundled_store_is_told_what_an_etcd_is_told_and_more() {
        let system = System::Builtin(Builtin {
            executable: own_executable(),
            disk: DiskMode::Volatile,
            defects: vec!["ack-before-sync".to_owned()],
        });
        let expected = format!(
            "node {COMMON} --disk volatile --defect ack-before-sync --evidence /r/evidence/n2-3.bin --incarnation 3"
        );
        assert_eq!(text(&system), expected);
    }

    #[test]
    fn a_member_that_joins_is_told_so_and_how_its_log_is_kept_short() {
        let system = System::Builtin(Builtin {
            executable: own_executable(),
            disk: DiskMode::Real,
            defects: Vec::new(),
        });
        let links = links();
        let start = NodeStart {
            joins: true,
            snapshots: Snapshots {
                count: Some(500),
                catchup_entries: Some(50),
            },
            ..start(&links)
        };
        let words = system.arguments(&start);
        let words: Vec<_> = words.iter().map(|word| word.to_string_lossy()).collect();
        let expected = "--snapshot-count 500 --initial-cluster-state existing --snapshot-catchup-entries 50";
        assert!(words.join(" ").contains(expected), "{words:?}");
    }

    #[test]
    fn a_node_of_etcd_knows_its_peers_by_their_links() {
        let system = System::Etcd(Etcd {
            binary: "/usr/bin/etcd".into(),
            version: "3.4.23".to_owned(),
        });
        let expected =
            format!("{COMMON} --initial-cluster-state new --logger zap --log-outputs stderr --log-level warn");
        assert_eq!(text(&system), expected);
    }

    #[test]
    fn wrong_systems_are_told_apart() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let file = directory.path().join("etcd");
        let parse = |text: &str| System::parse(text, "volatile", &[]);
        let at = |path: &Path| parse(&format!("etcd:{}", path.display()));

        for unknown in ["", "ectd", "etcd:", "builtin:x"] {
            assert!(
                matches!(parse(unknown), Err(WorldError::UnknownSystem(_))),
                "{unknown:?}"
            );
        }
        assert!(matches!(at(&file), Err(WorldError::ProgramMissing { .. })));
        assert!(matches!(at(directory.path()), Err(WorldError::ProgramUnusable { .. })));

        std::fs::write(&file, "#!/bin/sh\necho hello\n").expect("written");
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).expect("permissions");
        assert!(matches!(at(&file), Err(WorldError::ProgramUnusable { .. })));

        assert!(matches!(at(Path::new("/bin/sh")), Err(WorldError::NotEtcd { .. })));
        // Without a slash it is a name, and looked up: what is found is looked at like any other file.
        assert!(matches!(parse("etcd:sh"), Err(WorldError::NotEtcd { .. })));
        assert!(matches!(
            parse("etcd:no-such-etcd"),
            Err(WorldError::ProgramMissing { place: "in PATH", .. })
        ));
    }

    #[test]
    fn disk_and_defects_are_the_bundled_stores() {
        let defects = ["ack-before-sync".to_owned()];
        let Ok(System::Builtin(builtin)) = System::parse("builtin", "real", &defects) else {
            panic!("the bundled store needs nothing");
        };
        assert_eq!(builtin.disk, DiskMode::Real);
        assert_eq!(builtin.defects, defects);
        assert!(matches!(
            System::parse("builtin", "floppy", &[]),
            Err(WorldError::UnknownDisk(_))
        ));
        assert!(matches!(
            System::parse("etcd", "volatile", &defects),
            Err(WorldError::NotOurs { .. })
        ));
    }

    #[test]
    fn a_digest_is_hexadecimal() {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        std::fs::write(file.path(), "abc").expect("written");
        // FIPS 180-4, the example for a message of one block.
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(sha256_file(file.path()).expect("readable"), expected);
    }
}
