//! A specification of your own, and a history judged by it: `cargo run -p tribunal-checker --example own_specification`.
//!
//! The store under test hands out tickets: each request gets a number, and later requests get higher ones. No specification that
//! is built in says that, so this one does. [`Spec`] is the object, ten lines; [`Recorded`] reads what a test recorded.

use tribunal_checker::spec::{Fields, ParseOperation, Recorded, Spec};
use tribunal_checker::{Options, judge_as};
use tribunal_history::{Event, Operation};

/// The last ticket that was handed out.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
struct Tickets(i64);

impl Spec for Tickets {
    type Op = ();
    type Ret = i64;

    fn invoke(&mut self, _: &()) -> i64 {
        self.0 += 1;
        self.0
    }

    /// Any higher number will do.
    fn is_valid_step(&mut self, _: &(), ticket: &i64) -> bool {
        let is_higher = *ticket > self.0;
        self.0 = *ticket;
        is_higher
    }
}

impl Recorded for Tickets {
    const NAME: &'static str = "tickets";
    const SUMMARY: &'static str = "numbers that grow";

    fn parse(operation: &Operation) -> Result<((), Option<i64>), ParseOperation> {
        let fields = Fields::of::<Self>(operation);
        match (fields.is_done(), operation.output.as_int()) {
            (true, None) => Err(fields.wrong_output("a whole number as output")),
            (is_done, ticket) => Ok(((), ticket.filter(|_| is_done))),
        }
    }

    fn observes(_: &(), _: &i64) -> bool {
        true
    }

    fn label(operation: &Operation) -> String {
        format!("ticket {}", operation.output)
    }

    fn refusal(&self, _: &(), ticket: &i64) -> Option<String> {
        (*ticket <= self.0).then(|| format!("ticket {} was out already", self.0))
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let history = r#"
        {"type":"invoke","seq":0,"time_ns":10,"process":0,"node":"n1","function":"take","input":null}
        {"type":"invoke","seq":1,"time_ns":20,"process":1,"node":"n2","function":"take","input":null}
        {"type":"ok","seq":2,"time_ns":30,"process":1,"output":7}
        {"type":"ok","seq":3,"time_ns":40,"process":0,"output":5}
        {"type":"invoke","seq":4,"time_ns":50,"process":1,"node":"n2","function":"take","input":null}
        {"type":"ok","seq":5,"time_ns":60,"process":1,"output":6}"#;
    let mut events: Vec<Event> = Vec::new();
    for line in history.lines().filter(|line| !line.is_empty()) {
        events.push(serde_json::from_str(line)?);
    }
    let judgement = judge_as::<Tickets>(&events, &Options::default())?;
    println!("{:?}: {}", judgement.outcome, judgement.detail);
    for finding in &judgement.findings {
        println!("{}", finding.sentence);
    }
    assert_eq!(judgement.findings.len(), 1, "ticket 6 came after ticket 7 was out");
    Ok(())
}
