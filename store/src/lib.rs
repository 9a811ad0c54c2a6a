//! placeholder

pub mod api;
pub mod kv;
pub mod service;
