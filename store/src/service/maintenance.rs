//! One member's own state.

use tribunal_proto::etcdserverpb::alarm_request::AlarmAction;
use tribunal_proto::etcdserverpb::{AlarmRequest, AlarmResponse, StatusRequest, StatusResponse};

use super::consensus::{Consensus, Context};
use super::error::ApiError;
use super::header;

/// The version of etcd whose API this store speaks. etcd's clients ask for it and refuse servers that are too old.
pub const ETCD_VERSION: &str = "3.5.1";

/// etcd's service `Maintenance`, as far as it reads.
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
