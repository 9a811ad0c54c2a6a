//! One member's own state.

use tribunal_history::MemberId;
use tribunal_proto::etcdserverpb::alarm_request::AlarmAction;
use tribunal_proto::etcdserverpb::{
    AlarmRequest, AlarmResponse, DefragmentRequest, DefragmentResponse, MoveLeaderRequest, MoveLeaderResponse,
    StatusRequest, StatusResponse,
};

use super::consensus::{Consensus, Context, MemberInfo};
use super::error::ApiError;
use super::header;

/// The version of etcd whose API this store speaks. etcd's clients ask for it and refuse servers that are too old.
pub const ETCD_VERSION: &str = "3.5.1";

/// etcd's service `Maintenance`, as far as this store has it.
#[derive(Clone, Debug)]
pub struct MaintenanceService<C> {
    consensus: C,
}

impl<C: Consensus> MaintenanceService<C> {
    /// The service of one member.
    pub fn new(consensus: C) -> Self {
        Self { consensus }
    }

    /// What this member knows of itself; it asks nobody.
    ///
    /// # Errors
    /// None at present.
    pub async fn status(&self, _context: Context, _request: StatusRequest) -> Result<StatusResponse, ApiError> {
        let status = self.consensus.status();
        let in_use = self.consensus.with_state(|kv| kv.size_bytes());
        let errors = if status.leader.is_none() {
            vec![ApiError::no_leader().text]
        } else {
            Vec::new()
        };
        Ok(StatusResponse {
            header: Some(header::of_state(&self.consensus)),
            version: ETCD_VERSION.to_owned(),
            db_size: status.size_bytes as i64,
            leader: status.leader.map_or(0, |leader| leader.0),
            raft_index: status.committed.0,
            raft_term: status.term.0,
            raft_applied_index: status.applied.0,
            errors,
            db_size_in_use: in_use as i64,
            is_learner: status.is_learner,
            ..StatusResponse::default()
        })
    }

    /// Hands leadership to another voter; asked of the leader.
    ///
    /// # Errors
    /// This member does not lead; the other one is no voter; it did not take over in time.
    pub async fn move_leader(
        &self,
        context: Context,
        request: MoveLeaderRequest,
    ) -> Result<MoveLeaderResponse, ApiError> {
        let status = self.consensus.status();
        if status.leader != Some(status.member) {
            return Err(ApiError::not_leader());
        }
        let to = MemberId(request.target_id);
        let is_voter = |member: MemberInfo| member.id == to && !member.is_learner;
        if !self.consensus.members().into_iter().any(is_voter) {
            return Err(ApiError::bad_leader_transferee());
        }
        self.consensus.move_leader(context, to).await?;
        Ok(MoveLeaderResponse {
            header: Some(header::of_member(&self.consensus)),
        })
    }

    /// Gives room back on the member's disk: a snapshot is saved, and the log that it covers is removed. Nothing
    /// stands still meanwhile.
    ///
    /// # Errors
    /// The disk failed, or it took too long.
    pub async fn defragment(
        &self,
        context: Context,
        _request: DefragmentRequest,
    ) -> Result<DefragmentResponse, ApiError> {
        self.consensus.defragment(context).await?;
        Ok(DefragmentResponse {
            header: Some(header::of_member(&self.consensus)),
        })
    }

    /// The alarms that are raised: none, since this store has neither quota nor a detector of corruption yet.
    ///
    /// # Errors
    /// Raising and clearing alarms is not implemented.
    pub async fn alarm(&self, _context: Context, request: AlarmRequest) -> Result<AlarmResponse, ApiError> {
        if request.action != AlarmAction::Get as i32 {
            return Err(ApiError::unimplemented("raising or clearing an alarm"));
        }
        Ok(AlarmResponse {
            header: Some(header::of_state(&self.consensus)),
            alarms: Vec::new(),
        })
    }
}
