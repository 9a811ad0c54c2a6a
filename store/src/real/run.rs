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

use super::config::{NodeConfig, NodeError};
use super::disk::AnyDisk;
use super::env::RealEnv;
use super::evidence::EvidenceFile;
use super::server::serve_peers;
use super::transport::GrpcTransport;
use crate::api;
use crate::consensus::{Node, NodeSettings, Peer, PeerHandler, member_id};
use crate::wal;

/// Evidence that no reply waits for is written so often.
const FLUSH_PERIOD: Duration = Duration::from_millis(50);

/// Runs a member until `shutdown` is ready or it cannot go on.
pub async fn run(config: NodeConfig, shutdown: impl Future<Output = ()>) -> Result<(), NodeError> {
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
    let settings = settings(&config);
    let peer_of = |name: &str| settings.peers.iter().find(|peer| peer.name == name);
    // A name that is no member's is refused below, where all is checked.
    let own = peer_of(&config.name)
        .map(|peer| member_id(peer, &config.cluster_token))
        .unwrap_or_default();
    let peers = settings
        .peers
        .iter()
        .map(|peer| (member_id(peer, &config.cluster_token), peer.peer_urls.clone()))
        .filter(|(member, _)| *member != own);
    let transport = GrpcTransport::start(own, config.incarnation, peers, settings.election);
    let disk = AnyDisk::new(config.disk, config.data_dir.clone());
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
        () = shutdown => Ok(()),
        why = node.failed() => Err(NodeError::Failed(why)),
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

fn settings(config: &NodeConfig) -> NodeSettings {
    NodeSettings {
        name: config.name.clone(),
        peers: config
            .initial_cluster
            .iter()
            .map(|(name, urls)| Peer {
                name: name.clone(),
                peer_urls: urls.clone(),
            })
            .collect(),
        token: config.cluster_token.clone(),
        client_urls: config.advertise_client_urls.clone(),
        heartbeat: Duration::from_millis(config.heartbeat_ms),
        election: Duration::from_millis(config.election_ms),
        joining: None,
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
