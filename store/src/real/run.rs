//! A member from start to end.

use std::fs::{self, File, TryLockError};
use std::future::Future;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tribunal_env::{Clock as _, Env as _};
use tribunal_history::MemberId;

use super::config::{NodeConfig, NodeError};
use super::disk::AnyDisk;
use super::env::RealEnv;
use super::evidence::EvidenceFile;
use super::identity;
use super::server::serve_peers;
use super::transport::{GrpcTransport, ask_to_join};
use crate::api;
use crate::consensus::wire::Welcome;
use crate::consensus::{Identity, Node, NodeSettings, Peer, PeerHandler, REMOVED};
use crate::wal;

/// Evidence that no reply waits for is written so often.
const FLUSH_PERIOD: Duration = Duration::from_millis(50);

/// Between rounds in which a member that joins asks who it is.
const JOIN_PAUSE: Duration = Duration::from_millis(200);

/// Runs a member until `shutdown` is ready or it cannot go on.
pub async fn run(config: NodeConfig, shutdown: impl Future<Output = ()>) -> Result<(), NodeError> {
    let mut shutdown = Box::pin(shutdown);
    let lock = lock_data_dir(&config.data_dir)?;
    let peer_listeners = listen(&config.listen_peer_urls).await?;
    let client_listeners = listen(&config.listen_client_urls).await?;
    let evidence = match &config.evidence {
        None => None,
        Some(path) => Some(EvidenceFile::create(path).map_err(|source| NodeError::Evidence {
            path: path.clone(),
            source,
        })?),
    };
    let disk = AnyDisk::new(config.disk, config.data_dir.clone());
    let Some(identity) = identify(&config, &disk, shutdown.as_mut()).await? else {
        return Ok(());
    };
    let own = identity.member;
    let settings = settings(&config, identity);
    let transport = GrpcTransport::start(own, config.incarnation, [], settings.election);
    let env = RealEnv::new(disk, transport, evidence, config.seed, config.incarnation);

    let node = Node::start(env.clone(), settings)
        .await
        .map_err(|source| NodeError::Start {
            path: config.data_dir.clone(),
            source,
        })?;
    let handler = Arc::new(PeerHandler::new(node.clone()));
    let mut servers = tokio::task::JoinSet::new();
    for listener in peer_listeners {
        servers.spawn(serve_peers(listener, own, Arc::clone(&handler)));
    }
    for listener in client_listeners {
        let clock = *env.clock();
        let routes = api::router(node.clone(), move || clock.monotonic());
        let server = Server::builder().add_routes(routes);
        servers.spawn(server.serve_with_incoming(TcpIncoming::from(listener).with_nodelay(Some(true))));
    }
    let flusher = env.clone();
    let flushing = async move {
        loop {
            tokio::time::sleep(FLUSH_PERIOD).await;
            if let Err(error) = flusher.flush() {
                return error;
            }
        }
    };
    eprintln!(
        "{} (member {own}) is ready to serve client requests on {}",
        config.name,
        config.listen_client_urls.join(",")
    );

    let ended = tokio::select! {
        () = &mut shutdown => Ok(()),
        why = node.failed() => {
            if why == REMOVED {
                eprintln!("{}: {REMOVED}", config.name);
                Ok(())
            } else {
                Err(NodeError::Failed(why))
            }
        }
        error = flushing => Err(NodeError::Failed(format!("cannot write evidence: {error}"))),
        Some(ended) = servers.join_next() => Err(NodeError::Failed(match ended {
            Ok(Ok(())) => "a server has ended".to_owned(),
            Ok(Err(error)) => format!("a server has failed: {error}"),
            Err(error) => format!("a server has failed: {error}"),
        })),
    };
    // Connections are not waited for: clients may keep theirs open for ever.
    servers.shutdown().await;
    node.stop().await;
    drop(lock);
    ended
}

/// Who this member is, and that on the disk. None if it was told to stop before it knew.
async fn identify(
    config: &NodeConfig,
    disk: &AnyDisk,
    mut shutdown: std::pin::Pin<&mut impl Future<Output = ()>>,
) -> Result<Option<Identity>, NodeError> {
    let unusable = |source| NodeError::Identity {
        path: config.data_dir.clone(),
        source,
    };
    if let Some(known) = identity::load(disk).await.map_err(unusable)? {
        return Ok(Some(known));
    }
    let peers = peers(config);
    let place = peers.iter().position(|peer| peer.name == config.name);
    let identity = match place {
        Some(place) if !config.joins => Identity::of_founder(&peers, place, &config.cluster_token),
        // A name that is no member's is refused below, where all is checked.
        None if !config.joins => Identity {
            cluster: 0,
            member: MemberId(0),
        },
        _ => tokio::select! {
            identity = join(config) => identity,
            () = &mut shutdown => return Ok(None),
        },
    };
    if place.is_some() {
        identity::save(disk, identity).await.map_err(unusable)?;
    }
    Ok(Some(identity))
}

/// Asks the others who this member is, for as long as they have not added it.
async fn join(config: &NodeConfig) -> Identity {
    let within = Duration::from_millis(config.election_ms);
    let mut told = None;
    loop {
        let others = config.initial_cluster.iter().filter(|(name, _)| *name != config.name);
        for url in others.flat_map(|(_, urls)| urls) {
            let why = match ask_to_join(url, &config.advertise_peer_urls, within).await {
                Ok(Welcome {
                    cluster,
                    member: Some(member),
                }) => {
                    let member = MemberId(member);
                    return Identity { cluster, member };
                }
                Ok(Welcome { member: None, .. }) => format!(
                    "{url} knows no member that is reached at {}; add it first (member add)",
                    config.advertise_peer_urls.join(",")
                ),
                Err(why) => why,
            };
            if told.as_ref() != Some(&why) {
                eprintln!("{} waits to join: {why}", config.name);
                told = Some(why);
            }
        }
        tokio::time::sleep(JOIN_PAUSE).await;
    }
}

fn peers(config: &NodeConfig) -> Vec<Peer> {
    let peer = |(name, urls): &(String, Vec<String>)| Peer {
        name: name.clone(),
        peer_urls: urls.clone(),
    };
    config.initial_cluster.iter().map(peer).collect()
}

fn settings(config: &NodeConfig, identity: Identity) -> NodeSettings {
    let peers = peers(config);
    let place = peers.iter().position(|peer| peer.name == config.name);
    let founder = place.map_or(identity, |place| {
        Identity::of_founder(&peers, place, &config.cluster_token)
    });
    NodeSettings {
        name: config.name.clone(),
        peers,
        token: config.cluster_token.clone(),
        client_urls: config.advertise_client_urls.clone(),
        heartbeat: Duration::from_millis(config.heartbeat_ms),
        election: Duration::from_millis(config.election_ms),
        // Who has an identity of its own keeps it, whatever the flags say at a later start.
        joining: (config.joins || identity != founder).then_some(identity),
        snapshot_count: config.snapshot_count,
        entries_kept: config.entries_kept,
        wal: wal::Settings::default(),
        defects: config.defects.clone(),
    }
}

/// Makes the folder, proves that it can be written, and keeps others out of it for as long as the file is open.
fn lock_data_dir(path: &Path) -> Result<File, NodeError> {
    let unusable = |source: io::Error| NodeError::DataDir {
        path: path.to_owned(),
        source,
    };
    fs::create_dir_all(path).map_err(unusable)?;
    let lock = File::create(path.join("lock")).map_err(unusable)?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(NodeError::DataDirLocked { path: path.to_owned() }),
        Err(TryLockError::Error(source)) => Err(unusable(source)),
    }
}

async fn listen(urls: &[String]) -> Result<Vec<TcpListener>, NodeError> {
    let mut listeners = Vec::new();
    for url in urls {
        let address = address_of(url)?;
        let listener = TcpListener::bind(&address)
            .await
            .map_err(|source| match source.kind() {
                io::ErrorKind::AddrInUse => NodeError::AddressInUse {
                    address: address.clone(),
                },
                _ => NodeError::Listen {
                    address: address.clone(),
                    source,
                },
            })?;
        listeners.push(listener);
    }
    Ok(listeners)
}

/// `HOST:PORT` of `http://HOST:PORT`.
fn address_of(url: &str) -> Result<String, NodeError> {
    let invalid = || NodeError::Url { url: url.to_owned() };
    let address = url.strip_prefix("http://").ok_or_else(invalid)?.trim_end_matches('/');
    let (host, port) = address.rsplit_once(':').ok_or_else(invalid)?;
    if host.is_empty() || port.parse::<u16>().is_err() {
        return Err(invalid());
    }
    Ok(address.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_urls_with_host_and_port_are_listened_on() {
        assert_eq!(address_of("http://127.0.0.1:2379").expect("a URL"), "127.0.0.1:2379");
        assert_eq!(address_of("http://[::1]:1/").expect("a URL"), "[::1]:1");
        for wrong in [
            "127.0.0.1:1",
            "http://127.0.0.1",
            "http://:1",
            "http://h:p",
            "https://h:1",
        ] {
            assert!(address_of(wrong).is_err(), "{wrong}");
        }
    }
}
