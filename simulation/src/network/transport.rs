//! A place's way to the nodes.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tribunal_env::{CallError, Method, Transport};
use tribunal_history::MemberId;

use super::stream::SimStream;
use crate::executor::{Kernel, lock};
use crate::place::{Owner, Place};
use crate::runtime::timeout_for;

/// A stream that is not accepted within this time is not: longer than any delay but that of a stuck link.
const OPENING_MAX: Duration = Duration::from_secs(1);

/// The transport of a place in one of its lives.
#[derive(Clone)]
pub struct SimTransport {
    pub(crate) kernel: Arc<Kernel>,
    pub(crate) owner: Owner,
}

impl SimTransport {
    fn way_to(&self, to: MemberId) -> Result<Place, CallError> {
        if !self.kernel.state().is_alive(self.owner) {
            self.kernel.find_act_after_death(self.owner, "send");
            return Err(CallError::Refused("the process is gone".to_owned()));
        }
        let node = lock(&self.kernel.network).members.get(&to).copied();
        node.map(Place::Node)
            .ok_or_else(|| CallError::Refused(format!("{to} is not a member")))
    }
}

impl Transport for SimTransport {
    type Stream = SimStream;

    async fn call(&self, to: MemberId, method: Method, body: Bytes, within: Duration) -> Result<Bytes, CallError> {
        let place = self.way_to(to)?;
        let answer = self.kernel.call(self.owner.place, (place, to), method, body);
        timeout_for(&self.kernel, self.owner.place, within, answer)
            .await
            .unwrap_or_else(|_| Err(CallError::TimedOut(format!("no answer within {within:?}"))))
    }

    async fn stream(&self, to: MemberId, method: Method) -> Result<SimStream, CallError> {
        let place = self.way_to(to)?;
        let opening = self.kernel.open(self.owner, place, method);
        timeout_for(&self.kernel, self.owner.place, OPENING_MAX, opening)
            .await
            .unwrap_or_else(|_| Err(CallError::TimedOut(format!("not accepted within {OPENING_MAX:?}"))))
    }
}
