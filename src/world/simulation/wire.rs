//! What a simulated client and its node say to each other, beside the encoded message: the metadata of gRPC.
//!
//! A request is the operation's number and the client's patience in nanoseconds, each 8 bytes, little-endian, then the
//! message. An answer is a zero and the message, or a one, the status code in 4 bytes, and its text.

use std::time::Duration;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use tribunal_store::service::{ApiError, Code};

/// Asks whether the node is there; the answer is empty. What dialling is over TCP.
pub const CONNECT: &str = "tribunal/connect";

/// A request on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Identifies the operation in evidence; 0 for none.
    pub operation: u64,
    /// How long the client waits.
    pub within: Duration,
    /// The encoded message.
    pub message: Bytes,
}

impl Request {
    /// As bytes.
    pub fn encode(&self) -> Bytes {
        let mut bytes = BytesMut::with_capacity(16 + self.message.len());
        bytes.put_u64_le(self.operation);
        bytes.put_u64_le(u64::try_from(self.within.as_nanos()).unwrap_or(u64::MAX));
        bytes.put_slice(&self.message);
        bytes.freeze()
    }

    /// From bytes; none if they are too few.
    pub fn decode(mut bytes: Bytes) -> Option<Self> {
        (bytes.len() >= 16).then(|| Self {
            operation: bytes.get_u64_le(),
            within: Duration::from_nanos(bytes.get_u64_le()),
            message: bytes,
        })
    }
}

/// An answer as bytes.
pub fn encode_answer(answer: Result<Bytes, ApiError>) -> Bytes {
    let mut bytes = BytesMut::new();
    match answer {
        Ok(message) => {
            bytes.put_u8(0);
            bytes.put_slice(&message);
        }
        Err(error) => {
            bytes.put_u8(1);
            bytes.put_u32_le(error.code as u32);
            bytes.put_slice(error.text.as_bytes());
        }
    }
    bytes.freeze()
}

/// An answer from bytes; none if they are no answer.
pub fn decode_answer(mut bytes: Bytes) -> Option<Result<Bytes, ApiError>> {
    match bytes.try_get_u8().ok()? {
        0 => Some(Ok(bytes)),
        1 => {
            let code = Code::from_number(bytes.try_get_u32_le().ok()?);
            Some(Err(ApiError::new(code, String::from_utf8_lossy(&bytes))))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_and_answers_read_back_and_garbage_is_refused() {
        let request = Request {
            operation: 7,
            within: Duration::from_millis(3),
            message: Bytes::from_static(b"message"),
        };
        assert_eq!(Request::decode(request.encode()), Some(request.clone()));
        assert_eq!(Request::decode(request.encode().slice(..15)), None);
        let refused = ApiError::too_many_requests();
        for answer in [Ok(Bytes::from_static(b"x")), Ok(Bytes::new()), Err(refused)] {
            assert_eq!(decode_answer(encode_answer(answer.clone())), Some(answer));
        }
        for garbage in [&b""[..], b"\x02", b"\x01\x00"] {
            assert_eq!(decode_answer(Bytes::copy_from_slice(garbage)), None);
        }
    }
}
