//! Decides whether a recorded history is linearizable, and proves it either way.
//!
//! A history is what clients asked of a store and what came back, with the order in which the requests began and
//! the answers arrived. It is *linearizable* (Herlihy and Wing 1990) if each operation can be thought to happen at
//! one moment between its beginning and its end, such that every answer is right. This crate looks for those
//! moments, for every key by itself. It knows no network, no clock but a time limit, and no store.
//!
//! - **valid** comes with an order of the operations for every key, replayed by a separate small function
//!   ([`linearizability::certificate`]);
//! - **invalid** comes with a few operations that already have no order ([`minimise`]), proved again by the most
//!   obvious search ([`linearizability::brute`]), with a name and a sentence ([`explain`]);
//! - **unknown** says which key, where it is hard, what was spent and which limit to raise.
//!
//! An operation in doubt (the client timed out) may have happened at any later time, or never. A definite failure
//! did not happen; if its value is read all the same, the finding says so.
//!
//! ```
//! use tribunal_checker::{Options, judge};
//! use tribunal_history::{Event, Outcome};
//!
//! let history = r#"
//!     {"type":"invoke","seq":0,"time_ns":10,"process":0,"node":"n1","function":"write","input":{"key":"x","value":1}}
//!     {"type":"ok","seq":1,"time_ns":20,"process":0}
//!     {"type":"invoke","seq":2,"time_ns":30,"process":1,"node":"n2","function":"read","input":{"key":"x"}}
//!     {"type":"ok","seq":3,"time_ns":40,"process":1,"output":null}"#;
//! let events: Vec<Event> = history
//!     .lines()
//!     .filter(|line| !line.is_empty())
//!     .map(|line| serde_json::from_str(line).expect("an event"))
//!     .collect();
//! let judgement = judge("register", &events, &Options::default()).expect("a history of registers");
//! assert_eq!(judgement.outcome, Outcome::Fail);
//! println!("{}", judgement.findings[0].sentence);
//! ```
//!
//! In a test of your own store it takes ten lines, without a runtime, threads or files:
//!
//! ```
//! use tribunal_checker::{linearizability::{Entry, Partition, rounds}, spec::{Register, register::{Op, Ret}}};
//!
//! // What each client asked, what it was told, and when: any clock or counter that both ends share.
//! let told = |op, ret, call, end| Entry::<Register> { id: 0, op, ret: Some(ret), call, end: Some(end) };
//! let history = vec![
//!     told(Op::write("x", 1), Ret::Written, 0, 3),
//!     told(Op::read("x"), Ret::Value(1.into()), 1, 2),
//!     told(Op::read("x"), Ret::Value(None::<i64>.into()), 4, 5),
//! ];
//! let object = Partition::new(None, history);
//! let decided = rounds::decide(&[object], &mut tribunal_checker::budget::Budget::new(1_000_000, None, 1 << 30));
//! assert_eq!(decided.decisions, [rounds::Decision::NotLinearizable]);
//! ```
//!
//! While a history is still being made, [`online`] tells a violation with the event that completes it.
//!
//! A store of another kind needs a specification: implement [`spec::Spec`] for the state of one object (a few lines)
//! and [`spec::Recorded`] to read its operations, then call [`judge_as`]; `examples/own_specification.rs` does it. An engine is one type that implements
//! [`linearizability::Search`].

pub mod budget;
pub mod consistency;
pub mod explain;
pub mod generate;
pub mod judge;
pub mod linearizability;
pub mod minimise;
pub mod online;
pub mod quorum;
pub mod revisions;
pub mod sensitivity;
pub mod spec;
pub mod transactions;
mod weaker;

pub use consistency::Consistency;
pub use judge::{JudgeError, Judgement, Options, Specification, judge, judge_as, specifications};
