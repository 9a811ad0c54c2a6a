//! Clients as encoded bytes over the simulated network.
//!
//! As over gRPC a client has one connection to one node, and drops it after anything but an answer. A refused call was
//! not sent; one without an answer ran into the client's own deadline or, before that, broke; a node's error carries
//! the code and the text that gRPC would carry. A client whose node is no member connects to the next one that is, until
//! its own is one again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use prost::Message;
use tribunal_env::{CallError, Clock as _, Env as _, Method, Transport as _};
use tribunal_history::{MemberId, NodeId};
use tribunal_simulation::SimEnv;
use tribunal_store::service::method;
use tribunal_workload::recorder::Completion;
use tribunal_workload::{Access, Call, Client, Failure, Response, classify};

use super::audit::Audit;
use super::wire::{self, Request};
use crate::world::operator::Roster;

/// A client of one node.
pub struct SimClient {
    env: SimEnv,
    /// Where it would be.
    home: NodeId,
    /// Where it is.
    node: NodeId,
    member: MemberId,
    roster: Arc<Roster>,
    is_connected: bool,
    operations: Arc<AtomicU64>,
    audit: Audit,
}

impl SimClient {
    /// A client of `node`; not connected yet. `operations` counts those of the whole run, and `audit` is told of writes
    /// that failed.
    pub fn new(env: SimEnv, node: NodeId, roster: Arc<Roster>, operations: Arc<AtomicU64>, audit: Audit) -> Self {
        Self {
            env,
            home: node,
            node,
            member: roster.member(node).unwrap_or_default(),
            roster,
            is_connected: false,
            operations,
            audit,
        }
    }

    /// Asks for a write; the auditor is told if that failed without effect.
    async fn write<M: Message + Default>(
        &self,
        method: Method,
        request: &impl Message,
        within: Duration,
    ) -> Result<M, Failure> {
        let operation = self.number();
        let answer = self.ask(operation, method, request, within).await;
        if let Err(failure) = &answer
            && let Completion::Fail(_) = classify(Access::Write, failure)
        {
            self.audit.failed(operation);
        }
        answer
    }

    /// The next operation's number: from 1 on, since to a node 0 means that the operation has none.
    fn number(&self) -> u64 {
        1 + self.operations.fetch_add(1, Ordering::Relaxed)
    }

    async fn ask<M: Message + Default>(
        &self,
        operation: u64,
        method: Method,
        request: &impl Message,
        within: Duration,
    ) -> Result<M, Failure> {
        let request = Request {
            operation,
            within,
            message: request.encode_to_vec().into(),
        };
        let answer = self.send(method, request.encode(), within).await?;
        let local = |message: String| Failure::Status {
            code: 13,
            message,
            local: true,
        };
        match wire::decode_answer(answer) {
            Some(Ok(message)) => {
                M::decode(message).map_err(|error| local(format!("failed to decode Protobuf message: {error}")))
            }
            Some(Err(error)) => Err(Failure::Status {
                code: error.code as i32,
                message: error.text,
                local: false,
            }),
            None => Err(local("protocol error: no answer can be read".to_owned())),
        }
    }

    async fn send(&self, method: Method, body: Bytes, within: Duration) -> Result<Bytes, Failure> {
        let deadline = self.env.clock().monotonic().saturating_add(within);
        let answer = self.env.transport().call(self.member, method, body, within).await;
        answer.map_err(|error| match error {
            CallError::Refused(why) => Failure::NotSent(why),
            CallError::TimedOut(_) if self.env.clock().monotonic() >= deadline => Failure::Deadline,
            CallError::TimedOut(why) => Failure::Broken(why),
        })
    }
}

impl Client for SimClient {
    fn node(&self) -> NodeId {
        self.node
    }

    async fn connect(&mut self, within: Duration) -> Result<(), Failure> {
        if self.is_connected {
            return Ok(());
        }
        if let Some((node, member)) = self.roster.member_from(self.home) {
            (self.node, self.member) = (node, member);
        }
        match self.send(wire::CONNECT, Bytes::new(), within).await {
            Ok(_) => {
                self.is_connected = true;
                Ok(())
            }
            Err(Failure::NotSent(why) | Failure::Broken(why)) => Err(Failure::NotSent(why)),
            Err(_) => Err(Failure::NotSent(format!(
                "no connection within {} ms",
                within.as_millis()
            ))),
        }
    }

    async fn call(&mut self, call: Call, within: Duration) -> Result<Response, Failure> {
        // A call that is abandoned or fails leaves no connection behind.
        self.is_connected = false;
        let answer = match &call {
            Call::Range(request) => self
                .ask(self.number(), method::RANGE, request, within)
                .await
                .map(Response::Range),
            Call::Put(request) => self.write(method::PUT, request, within).await.map(Response::Put),
            Call::DeleteRange(request) => self
                .write(method::DELETE_RANGE, request, within)
                .await
                .map(Response::DeleteRange),
            Call::Txn(request) => self.write(method::TXN, request, within).await.map(Response::Txn),
        };
        // A node that answers with an error of its own is still there.
        self.is_connected = matches!(answer, Ok(_) | Err(Failure::Status { local: false, .. }));
        answer
    }
}
