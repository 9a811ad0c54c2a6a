//! The members.

use tribunal_proto::etcdserverpb::{
    Member, MemberAddRequest, MemberAddResponse, MemberListRequest, MemberListResponse, MemberPromoteRequest,
    MemberPromoteResponse, MemberRemoveRequest, MemberRemoveResponse, MemberUpdateRequest, MemberUpdateResponse,
};

use super::consensus::{ChangedMembers, Consensus, Context, MemberChange, MemberInfo};
use super::error::ApiError;
use super::header;

/// etcd's service `Cluster`.
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

    /// Adds a member. It has the id in the answer, and starts with `--initial-cluster-state existing`.
    ///
    /// # Errors
    /// The URLs are wrong or those of another member; there are learners enough, or too few healthy members; see also
    /// [`Consensus::change_members`].
    pub async fn member_add(&self, context: Context, request: MemberAddRequest) -> Result<MemberAddResponse, ApiError> {
        let change = MemberChange::Add {
            peer_urls: urls(request.peer_ur_ls)?,
            learner: request.is_learner,
        };
        let changed = self.change(context, change).await?;
        let members: Vec<Member> = changed.members.into_iter().map(member).collect();
        let added = members.iter().find(|member| Some(member.id) == changed.added);
        Ok(MemberAddResponse {
            header: Some(header::of_member(&self.consensus)),
            member: added.cloned(),
            members,
        })
    }

    /// Removes a member for ever: it stops, and neither it nor its data can come back.
    ///
    /// # Errors
    /// There is no such member; without it too few would be left to be a quorum; see also
    /// [`Consensus::change_members`].
    pub async fn member_remove(
        &self,
        context: Context,
        request: MemberRemoveRequest,
    ) -> Result<MemberRemoveResponse, ApiError> {
        let changed = self
            .change(context, MemberChange::Remove { member: request.id })
            .await?;
        Ok(MemberRemoveResponse {
            header: Some(header::of_member(&self.consensus)),
            members: changed.members.into_iter().map(member).collect(),
        })
    }

    /// Changes where a member is reached by the others.
    ///
    /// # Errors
    /// There is no such member; the URLs are wrong or those of another one; see also [`Consensus::change_members`].
    pub async fn member_update(
        &self,
        context: Context,
        request: MemberUpdateRequest,
    ) -> Result<MemberUpdateResponse, ApiError> {
        let change = MemberChange::Update {
            member: request.id,
            peer_urls: urls(request.peer_ur_ls)?,
        };
        let changed = self.change(context, change).await?;
        Ok(MemberUpdateResponse {
            header: Some(header::of_member(&self.consensus)),
            members: changed.members.into_iter().map(member).collect(),
        })
    }

    /// Gives a learner a vote.
    ///
    /// # Errors
    /// There is no such member, it has a vote, or it is far behind; see also [`Consensus::change_members`].
    pub async fn member_promote(
        &self,
        context: Context,
        request: MemberPromoteRequest,
    ) -> Result<MemberPromoteResponse, ApiError> {
        let change = MemberChange::Promote { member: request.id };
        let changed = self.change(context, change).await?;
        Ok(MemberPromoteResponse {
            header: Some(header::of_member(&self.consensus)),
            members: changed.members.into_iter().map(member).collect(),
        })
    }

    async fn change(&self, context: Context, change: MemberChange) -> Result<ChangedMembers, ApiError> {
        if self.consensus.status().is_learner {
            return Err(ApiError::not_supported_for_learner());
        }
        self.consensus.change_members(context, change).await
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

/// etcd's `types.NewURLs`: each is a scheme, a host and a port, and there is at least one. The transport speaks
/// `http` alone.
fn urls(urls: Vec<String>) -> Result<Vec<String>, ApiError> {
    let is_right = |url: &String| {
        let address = url.strip_prefix("http://").and_then(|rest| rest.rsplit_once(':'));
        address.is_some_and(|(host, port)| {
            let is_host = !host.is_empty() && !host.contains(['/', '?', '#', '@', ' ']);
            is_host && port.parse::<u16>().is_ok()
        })
    };
    if urls.is_empty() || !urls.iter().all(is_right) {
        return Err(ApiError::bad_member_urls());
    }
    Ok(urls)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_a_host_and_a_port() {
        for (url, is_right) in [
            ("http://127.0.0.1:2380", true),
            ("http://[::1]:2380", true),
            ("http://host:1", true),
            ("https://host:1", false),
            ("http://host", false),
            ("http://:2380", false),
            ("http://host:2380/path", false),
            ("http://host:99999", false),
            ("host:2380", false),
            ("", false),
        ] {
            assert_eq!(urls(vec![url.to_owned()]).is_ok(), is_right, "{url:?}");
        }
        assert_eq!(urls(vec![]), Err(ApiError::bad_member_urls()));
    }
}
