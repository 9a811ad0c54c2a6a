//! Waiting until the members answer and agree on a leader.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tribunal_history::NodeId;

use super::node::{Life, log_tail};
use super::shared::Shared;
use super::status::NodeStatus;
use crate::world::process::error::WorldError;

/// Between two looks at nodes that are to become ready; each look asks them all.
const READY_LOOK: Duration = Duration::from_millis(50);

/// Lines of a log that an error shows.
const TAIL_LINES: usize = 15;

impl Shared {
    pub(super) async fn wait_until_ready(&self, within: Duration, starting: bool) -> Result<(), WorldError> {
        let deadline = Instant::now() + within;
        loop {
            let statuses = self.observe().await;
            if starting {
                self.check_alive()?;
            }
            let Some((node, what)) = self.missing(&statuses) else {
                return Ok(());
            };
            if Instant::now() > deadline {
                let log = self.log(node);
                let tail = log_tail(&log, TAIL_LINES);
                return Err(WorldError::NotReady {
                    within,
                    what,
                    log,
                    tail,
                });
            }
            tokio::time::sleep(READY_LOOK).await;
        }
    }

    fn check_alive(&self) -> Result<(), WorldError> {
        let mut state = self.lock();
        self.reap(&mut state);
        for node in state.nodes.values() {
            if let Life::Down { ending, .. } = node.life {
                let log = self.log(node.id);
                return Err(WorldError::DiedAtStart {
                    node: node.id,
                    status: ending.to_string(),
                    tail: log_tail(&log, TAIL_LINES),
                    log,
                });
            }
        }
        Ok(())
    }

    /// What is missing until every node answers and all name one of them as their leader; and which node to look at.
    fn missing(&self, statuses: &BTreeMap<NodeId, Result<NodeStatus, String>>) -> Option<(NodeId, String)> {
        let mut named = BTreeMap::new();
        for node in self.roster.members().into_keys() {
            match statuses.get(&node) {
                None => return Some((node, format!("{node} is down or paused"))),
                Some(Err(reason)) => return Some((node, format!("{node} does not answer: {reason}"))),
                Some(Ok(status)) => match status.leader {
                    None => return Some((node, format!("{node} knows no leader"))),
                    Some(leader) => named.insert(leader, node),
                },
            };
        }
        let (&leader, &node) = named.first_key_value()?;
        if named.len() > 1 {
            let names: Vec<String> = named
                .iter()
                .map(|(leader, node)| format!("{node} follows {leader}"))
                .collect();
            return Some((
                node,
                format!("the nodes do not agree on a leader: {}", names.join(", ")),
            ));
        }
        let known = statuses
            .values()
            .flatten()
            .any(|status| status.member == leader && status.leads());
        if !known {
            return Some((node, format!("the leader {leader} is none of the nodes that answer")));
        }
        let noted = self.lock().leaders.is_noted();
        (!noted).then(|| (node, format!("{leader} leads for a moment only")))
    }
}
