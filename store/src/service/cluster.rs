//! The members.

use tribunal_proto::etcdserverpb::{Member, MemberListRequest, MemberListResponse};

use super::consensus::{Consensus, Context, MemberInfo};
use super::error::ApiError;
use super::header;

/// etcd's service `Cluster`, as far as it reads.
#[derive(Clone, Debug)]
pub struct ClusterService<C> {
    consensus: C,
}

impl<C: Consensus> ClusterService<C> {
    /// The service of one member.
    pub fn new(consensus: C) -> Self {
        Self { consensus }
    }

    /// The members that this one knows; those of now, if the request is linearizable.
    ///
    /// # Errors
    /// A linearizable request has no leader, or no answer in time.
    pub async fn member_list(
        &self,
        context: Context,
        request: MemberListRequest,
    ) -> Result<MemberListResponse, ApiError> {
        if request.linearizable {
            self.consensus.read_barrier(context).await?;
        }
        let members = self.consensus.members().into_iter().map(member).collect();
        Ok(MemberListResponse {
            header: Some(header::of_member(&self.consensus)),
            members,
        })
    }
}

fn member(info: MemberInfo) -> Member {
    Member {
        id: info.id.0,
        name: info.name,
        peer_ur_ls: info.peer_urls,
        client_ur_ls: info.client_urls,
        is_learner: info.is_learner,
    }
}
