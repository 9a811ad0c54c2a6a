//! The etcd v3 API and the bundled store's own messages: one place where they are generated.
//!
//! The `.proto` files in `proto/` are ours; names and numbers of messages, fields and methods are those of
//! etcd v3.5 and later, which clients rely on. They are compiled without protoc. Fields of bytes are
//! [`bytes::Bytes`], which share the buffer that the message was decoded from.
//!
//! Left out: etcd's Auth service, the options of its HTTP gateway and of its version checks.

/// Stored keys and changes to them (package `mvccpb`).
pub mod mvccpb {
    #![allow(
        missing_docs,
        clippy::all,
        clippy::allow_attributes_without_reason,
        reason = "generated"
    )]
    tonic::include_proto!("mvccpb");
}

/// The etcd v3 API: messages, clients and server traits (package `etcdserverpb`).
pub mod etcdserverpb {
    #![allow(
        missing_docs,
        unused_qualifications,
        clippy::all,
        clippy::allow_attributes_without_reason,
        reason = "generated"
    )]
    tonic::include_proto!("etcdserverpb");
}

/// Packages of our own, nested as the generated code expects.
pub mod tribunal {
    /// What members say to each other, and what log entries carry (package `tribunal.peer`).
    pub mod peer {
        #![allow(
            missing_docs,
            unused_qualifications,
            clippy::all,
            clippy::allow_attributes_without_reason,
            reason = "generated"
        )]
        tonic::include_proto!("tribunal.peer");
    }

    /// Snapshots of the bundled store's state machine (package `tribunal.checkpoint`).
    pub mod checkpoint {
        #![allow(
            missing_docs,
            clippy::all,
            clippy::allow_attributes_without_reason,
            reason = "generated"
        )]
        tonic::include_proto!("tribunal.checkpoint");
    }
}

pub use tribunal::{checkpoint, peer};
