//! What `/proc` says of processes and their sockets; see proc(5).

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

/// A process, told from later ones with the same pid by when it started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// When it started, in clock ticks since the machine did (field 22 of `/proc/PID/stat`).
    pub started_ticks: u64,
}

impl Process {
    /// The process that has this pid now.
    ///
    /// # Errors
    /// If there is none, or `/proc` is not there.
    pub fn with_pid(pid: u32) -> io::Result<Self> {
        let started_ticks = Stat::read(format!("/proc/{pid}/stat"))?.started_ticks;
        Ok(Self { pid, started_ticks })
    }

    /// Whether its pid still means this process; a zombie still has its pid.
    pub fn is_current(&self) -> bool {
        Self::with_pid(self.pid).is_ok_and(|now| now == *self)
    }

    /// How many of its threads are stopped (state T), and how many there are.
    ///
    /// # Errors
    /// If it is gone.
    pub fn stopped_threads(&self) -> io::Result<(usize, usize)> {
        let (mut stopped, mut all) = (0, 0);
        for thread in fs::read_dir(format!("/proc/{}/task", self.pid))? {
            // A thread may end between the listing and the look at it.
            let Ok(stat) = Stat::read(thread?.path().join("stat")) else {
                continue;
            };
            all += 1;
            stopped += usize::from(stat.state == 'T');
        }
        Ok((stopped, all))
    }

    /// The inodes of the sockets among its file descriptors; none if it is gone.
    pub fn sockets(&self) -> BTreeSet<u64> {
        let Ok(descriptors) = fs::read_dir(format!("/proc/{}/fd", self.pid)) else {
            return BTreeSet::new();
        };
        let links = descriptors
            .flatten()
            .filter_map(|descriptor| fs::read_link(descriptor.path()).ok());
        links
            .filter_map(|link| {
                let inode = link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?;
                inode.parse().ok()
            })
            .collect()
    }
}

/// The part of `/proc/PID/stat` that we use.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    state: char,
    started_ticks: u64,
}

impl Stat {
    fn read(path: impl AsRef<Path>) -> io::Result<Self> {
        let text = fs::read_to_string(path)?;
        Self::parse(&text).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, text))
    }

    /// The second field is the program's name in parentheses and may hold spaces and parentheses itself, so
    /// fields are counted from the last one that closes.
    fn parse(text: &str) -> Option<Self> {
        let (_, fields) = text.rsplit_once(')')?;
        let mut fields = fields.split_ascii_whitespace();
        let state = fields.next()?.chars().next()?;
        let started_ticks = fields.nth(18)?.parse().ok()?;
        Some(Self { state, started_ticks })
    }
}

/// The inodes of the TCP sockets with these ends, their own first, in this network namespace.
pub(super) fn socket_inodes(ends: &BTreeSet<(SocketAddr, SocketAddr)>) -> BTreeMap<(SocketAddr, SocketAddr), u64> {
    let mut found = BTreeMap::new();
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        if found.len() < ends.len()
            && let Ok(table) = fs::read_to_string(table)
        {
            found.extend(find_inodes(&table, ends));
        }
    }
    found
}

fn find_inodes(
    table: &str,
    ends: &BTreeSet<(SocketAddr, SocketAddr)>,
) -> impl Iterator<Item = ((SocketAddr, SocketAddr), u64)> {
    table.lines().skip(1).filter_map(|line| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let own = parse_address(fields.next()?)?;
        let other = parse_address(fields.next()?)?;
        if !ends.contains(&(own, other)) {
            return None;
        }
        // A socket that is already closed by its process has inode 0.
        let inode = fields.nth(6)?.parse().ok().filter(|inode| *inode != 0)?;
        Some(((own, other), inode))
    })
}

/// Reads `0100007F:094B`: the address as words in the machine's byte order, the port as a number.
fn parse_address(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let mut bytes = Vec::with_capacity(16);
    for place in (0..address.len()).step_by(8) {
        let word = u32::from_str_radix(address.get(place..place + 8)?, 16).ok()?;
        bytes.extend(word.to_ne_bytes());
    }
    let address: IpAddr = match bytes.len() {
        4 => Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?).into(),
        // An IPv4 connection of an IPv6 socket is listed with a mapped address.
        16 => Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).to_canonical(),
        _ => return None,
    };
    Some(SocketAddr::new(address, port))
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn a_name_with_spaces_and_parentheses_does_not_shift_the_fields() {
        let fields: Vec<String> = (4..=52).map(|field| field.to_string()).collect();
        let text = format!("7 (a ) b (c) T {}\n", fields.join(" "));
        let expected = Stat {
            state: 'T',
            started_ticks: 22,
        };
        assert_eq!(Stat::parse(&text), Some(expected));
        assert_eq!(Stat::parse("7 (cut) T 4 5"), None);
    }

    #[test]
    fn we_are_current_and_not_stopped() {
        let own = Process::with_pid(std::process::id()).expect("we run");
        assert!(own.is_current());
        let earlier = Process {
            started_ticks: own.started_ticks - 1,
            ..own
        };
        assert!(!earlier.is_current());
        let (stopped, all) = own.stopped_threads().expect("we run");
        assert_eq!(stopped, 0);
        assert!(all >= 1);
    }

    #[test]
    fn our_own_socket_is_found_from_the_other_side() {
        for host in ["127.0.0.1:0", "[::1]:0", "[::]:0"] {
            let Ok(listener) = TcpListener::bind(host) else {
                println!("skipped {host}: not available here");
                continue;
            };
            let port = listener.local_addr().expect("bound").port();
            // The last one is reached over IPv4, so that one end is an IPv6 socket with a mapped address.
            let peer = if host == "[::]:0" {
                format!("127.0.0.1:{port}")
            } else {
                host.replace(":0", &format!(":{port}"))
            };
            let client = TcpStream::connect(&peer).expect("the listener is there");
            let (server, source) = listener.accept().expect("somebody dialled");
            for (own, other) in [(&client, source), (&server, server.local_addr().expect("connected"))] {
                let remote = own.peer_addr().expect("connected");
                let canonical = |a: SocketAddr| SocketAddr::new(a.ip().to_canonical(), a.port());
                let ends = (canonical(other), canonical(remote));
                let inodes = socket_inodes(&BTreeSet::from([ends]));
                let own = Process::with_pid(std::process::id()).expect("we run");
                assert!(own.sockets().contains(&inodes[&ends]), "{ends:?} is {inodes:?}");
            }
            drop(client);
        }
    }

    #[test]
    fn a_closed_socket_has_no_inode() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   \
                     0: 0100007F:1F90 0200007F:0050 06 00000000:00000000 03:00000F2B 00000000     0        0 0 3 x\n   \
                     1: 0100007F:1F91 0200007F:0050 01 00000000:00000000 00:00000000 00000000     0        0 4711 1 x\n";
        if cfg!(target_endian = "little") {
            let ends = |own: &str| {
                let address = |text: &str| text.parse::<SocketAddr>().expect("an address");
                (address(own), address("127.0.0.2:80"))
            };
            let asked = ["127.0.0.1:8080", "127.0.0.1:8081", "127.0.0.1:8082"].map(ends);
            let found: Vec<_> = find_inodes(table, &asked.into()).collect();
            assert_eq!(found, [(ends("127.0.0.1:8081"), 4711)]);
        }
    }
}
