//! What a node says of itself: `Maintenance.Status` of etcd's API.

use std::net::SocketAddr;
use std::time::Duration;

use tonic::transport::{Channel, Endpoint};
use tribunal_history::{MemberId, Revision, Term};
use tribunal_proto::etcdserverpb::StatusRequest;
use tribunal_proto::etcdserverpb::maintenance_client::MaintenanceClient;

/// A node answers from memory, in a millisecond; one that takes longer than this is as good as silent, and the
/// nemesis must not wait for it.
const STATUS_TIMEOUT: Duration = Duration::from_millis(300);

/// A node's answer to `Status`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeStatus {
    /// Its member id.
    pub member: MemberId,
    /// Whom it takes for the leader; none if it knows none.
    pub leader: Option<MemberId>,
    /// Its term; of etcd the term of the last entry that it applied, which lags behind an election.
    pub term: Term,
    /// Its revision.
    pub revision: Revision,
    /// Its version.
    pub version: String,
}

impl NodeStatus {
    /// Whether it says that it leads.
    pub fn leads(&self) -> bool {
        self.leader == Some(self.member)
    }
}

/// A channel to a node that connects when it is first needed, and again whenever it must.
pub(super) fn channel(client: SocketAddr) -> Channel {
    Endpoint::from_shared(format!("http://{client}"))
        .expect("an address makes a URI")
        .connect_timeout(STATUS_TIMEOUT)
        .connect_lazy()
}

/// Asks a node; the error is for people.
pub(super) async fn ask(channel: Channel) -> Result<NodeStatus, String> {
    let mut client = MaintenanceClient::new(channel);
    let answer = tokio::time::timeout(STATUS_TIMEOUT, client.status(StatusRequest::default()))
        .await
        .map_err(|_| format!("no answer within {STATUS_TIMEOUT:?}"))?
        .map_err(|status| status.message().to_owned())?
        .into_inner();
    let header = answer.header.ok_or("an answer without a header")?;
    Ok(NodeStatus {
        member: MemberId(header.member_id),
        leader: Some(answer.leader).filter(|leader| *leader != 0).map(MemberId),
        term: Term(answer.raft_term),
        revision: Revision(header.revision),
        version: answer.version,
    })
}
