//! A replicated key-value store in etcd's image: the bundled system under test.

pub mod api;
pub mod consensus;
pub mod defect;
pub mod kv;
pub mod points;
pub mod real;
pub mod service;
pub mod wal;

pub use defect::Defect;
