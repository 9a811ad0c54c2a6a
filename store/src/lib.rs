//! placeholder

pub mod kv;
pub mod service;
