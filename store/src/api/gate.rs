//! What a request's metadata says, before the service sees the request.

use std::sync::Arc;
use std::time::Duration;

use tonic::metadata::MetadataMap;
use tonic::{Request, Status};

use super::status;
use crate::service::{ApiError, Code, Consensus, Context};

/// Metadata key of the number that identifies an operation in evidence: decimal, 64 bits, unsigned.
pub const OPERATION_KEY: &str = "tribunal-operation";

/// etcd's `rpctypes.MetadataRequireLeaderKey`.
const REQUIRE_LEADER_KEY: &str = "hasleader";

/// Makes a [`Context`] of metadata.
#[derive(Clone)]
pub(super) struct Gate<C> {
    pub consensus: C,
    now: Arc<dyn Fn() -> Duration + Send + Sync>,
}

impl<C: Consensus> Gate<C> {
    pub fn new(consensus: C, now: impl Fn() -> Duration + Send + Sync + 'static) -> Self {
        Self {
            consensus,
            now: Arc::new(now),
        }
    }

    /// The request and its context.
    pub fn enter<T>(&self, request: Request<T>) -> Result<(Context, T), Status> {
        let context = self.context(request.metadata()).map_err(status)?;
        Ok((context, request.into_inner()))
    }

    fn context(&self, metadata: &MetadataMap) -> Result<Context, ApiError> {
        let text = |key| metadata.get(key).map(|value| value.to_str().unwrap_or_default());
        if text(REQUIRE_LEADER_KEY) == Some("true") && self.consensus.status().leader.is_none() {
            return Err(ApiError::no_leader());
        }
        let operation = match text(OPERATION_KEY) {
            None => 0,
            Some(text) => text.parse().map_err(|_| {
                ApiError::new(
                    Code::InvalidArgument,
                    format!("{OPERATION_KEY} is not a decimal number of 64 bits"),
                )
            })?,
        };
        let deadline = match text("grpc-timeout") {
            None => None,
            Some(text) => {
                let timeout = parse_timeout(text).ok_or_else(|| {
                    ApiError::new(
                        Code::InvalidArgument,
                        "grpc-timeout is not 1 to 8 digits and a unit of HMSmun",
                    )
                })?;
                Some((self.now)().saturating_add(timeout))
            }
        };
        Ok(Context {
            operation,
            deadline,
            forwarded: false,
        })
    }
}

/// At most eight digits and a unit (gRPC over HTTP/2, "Timeout").
fn parse_timeout(text: &str) -> Option<Duration> {
    let (unit_at, unit) = text.char_indices().next_back()?;
    let digits = &text[..unit_at];
    if !(1..=8).contains(&digits.len()) || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let count: u64 = digits.parse().ok()?;
    match unit {
        'H' => Some(Duration::from_secs(count * 3600)),
        'M' => Some(Duration::from_secs(count * 60)),
        'S' => Some(Duration::from_secs(count)),
        'm' => Some(Duration::from_millis(count)),
        'u' => Some(Duration::from_micros(count)),
        'n' => Some(Duration::from_nanos(count)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_of_every_unit() {
        for (text, expected) in [
            ("1H", Some(Duration::from_secs(3600))),
            ("2M", Some(Duration::from_secs(120))),
            ("99999999S", Some(Duration::from_secs(99_999_999))),
            ("4999m", Some(Duration::from_millis(4999))),
            ("5u", Some(Duration::from_micros(5))),
            ("6n", Some(Duration::from_nanos(6))),
            ("", None),
            ("S", None),
            ("5", None),
            ("5s", None),
            ("+5S", None),
            ("-5S", None),
            ("999999999S", None),
            ("5µ", None),
        ] {
            assert_eq!(parse_timeout(text), expected, "{text:?}");
        }
    }
}
