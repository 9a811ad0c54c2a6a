//! `docs/formats/report.schema.json` says exactly what `report.json` has.
//!
//! Each value of the samples is walked beside the schema: no member is missing on either side, every type and
//! every name of an enumeration fits. What of the schema no sample has is reported too.

use std::collections::BTreeSet;

use serde_json::Value as Json;
use tribunal_history::report::RunOutcome;
use tribunal_history::{
    AnomalyClass, CauseCode, ClockEffect, Direction, DiskEffect, Ending, Fault, FaultKind, LinkEffect, Moment, NodeId,
    Outage, Outcome, PropertyClass, Record as _, Report, Select,
};

mod support;

const SCHEMA: &str = include_str!("../../docs/formats/report.schema.json");

struct Walk {
    schema: Json,
    /// Definitions of the schema that a value was held against.
    seen: BTreeSet<String>,
}

impl Walk {
    fn new() -> Self {
        Self {
            schema: serde_json::from_str(SCHEMA).expect("the schema is JSON"),
            seen: BTreeSet::new(),
        }
    }

    /// Why the value does not fit, with the way to it.
    fn check(&mut self, value: &Json, schema: &Json, way: &str) -> Result<(), String> {
        if let Some(name) = schema["$ref"].as_str() {
            let name = name.strip_prefix("#/$defs/").expect("all are in $defs");
            self.seen.insert(name.to_owned());
            let schema = self.schema["$defs"][name].clone();
            assert!(schema.is_object(), "{name} is defined");
            return self.check(value, &schema, way);
        }
        if let Some(choices) = schema["oneOf"].as_array() {
            let tries: Vec<Result<(), String>> = choices
                .iter()
                .map(|choice| {
                    let seen = self.seen.clone();
                    let result = self.check(value, choice, way);
                    if result.is_err() {
                        self.seen = seen;
                    }
                    result
                })
                .collect();
            return match tries.iter().filter(|result| result.is_ok()).count() {
                1 => Ok(()),
                n => Err(format!("{way}: {n} of {} choices fit: {tries:?}", choices.len())),
            };
        }
        if !schema["const"].is_null() {
            return if *value == schema["const"] {
                Ok(())
            } else {
                Err(format!("{way}: {value} is not the constant"))
            };
        }
        if let Some(names) = schema["enum"].as_array() {
            return if names.contains(value) {
                Ok(())
            } else {
                Err(format!("{way}: {value} is not among {names:?}"))
            };
        }
        let kind = match value {
            Json::Null => "null",
            Json::Bool(_) => "boolean",
            Json::Number(number) if number.is_i64() || number.is_u64() => "integer",
            Json::Number(_) => "number",
            Json::String(_) => "string",
            Json::Array(_) => "array",
            Json::Object(_) => "object",
        };
        let types: Vec<&str> = match &schema["type"] {
            Json::String(one) => vec![one],
            Json::Array(several) => several.iter().map(|one| one.as_str().expect("a name")).collect(),
            other => panic!("{way}: a schema without a type: {other}"),
        };
        if !types.contains(&kind) {
            return Err(format!("{way}: {kind} is not among {types:?}"));
        }
        match value {
            Json::Array(list) if schema["items"].is_object() => {
                for (place, one) in list.iter().enumerate() {
                    self.check(one, &schema["items"], &format!("{way}[{place}]"))?;
                }
            }
            Json::Object(map) if schema["properties"].is_object() => {
                let there: BTreeSet<&str> = map.keys().map(String::as_str).collect();
                let named: BTreeSet<&str> = schema["properties"]
                    .as_object()
                    .expect("a map")
                    .keys()
                    .map(String::as_str)
                    .collect();
                let required: BTreeSet<&str> = schema["required"]
                    .as_array()
                    .expect("a list")
                    .iter()
                    .filter_map(Json::as_str)
                    .collect();
                assert_eq!(named, required, "{way}: every member is always there");
                assert_eq!(schema["additionalProperties"], false, "{way}: and no other");
                if there != named {
                    return Err(format!("{way}: {there:?} are there, {named:?} are named"));
                }
                for (name, one) in map {
                    self.check(one, &schema["properties"][name], &format!("{way}.{name}"))?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn report(&mut self, report: &Report) -> Result<(), String> {
        let root = self.schema.clone();
        self.check(&report.to_value(), &root, "report")
    }
}

/// A report that has everything at least once.
fn full() -> Report {
    let (mut report, _) = support::failing();
    report.findings.push(support::lost_write());
    report.findings.push(support::broken_promise());
    let fault = report.faults[0].clone();
    let selects = [
        Select::Nodes { nodes: vec![NodeId(1)] },
        Select::Leader { otherwise: NodeId(1) },
        Select::Majority { first: NodeId(2) },
        Select::All,
    ];
    let pauses = selects.map(|select| Fault::Pause { select });
    report
        .faults
        .extend(pauses.into_iter().chain(others()).map(|scheduled| {
            let mut fault = fault.clone();
            fault.kind = scheduled.kind();
            fault.fault = scheduled;
            fault
        }));
    report
}

/// One fault of each shape that the failing report has none of.
fn others() -> Vec<Fault> {
    let select = || Select::Spare;
    let link = |effect| Fault::Link {
        select: select(),
        direction: Direction::Both,
        effect,
    };
    let disk = |effect| Fault::Disk {
        select: select(),
        effect,
    };
    let clock = |effect| Fault::Clock {
        select: select(),
        effect,
    };
    let crash = |outage, moment| Fault::Crash {
        select: select(),
        outage,
        moment,
    };
    vec![
        Fault::Split { select: select() },
        Fault::Bridge { select: select() },
        Fault::Ring { select: select() },
        crash(Outage::Machine, Moment::Now),
        crash(Outage::Process, Moment::Polls { polls: 7 }),
        crash(
            Outage::Reboot,
            Moment::Point {
                point: "log.append".to_owned(),
                passes: 2,
            },
        ),
        link(LinkEffect::Delay { min_ms: 1, max_ms: 2 }),
        link(LinkEffect::Loss { percent: 3 }),
        link(LinkEffect::Duplicate { percent: 4 }),
        link(LinkEffect::Reorder { percent: 5, max_ms: 6 }),
        link(LinkEffect::Slow { bytes_per_second: 7 }),
        link(LinkEffect::Hold),
        link(LinkEffect::Refuse),
        disk(DiskEffect::SlowSync { min_ms: 1, max_ms: 2 }),
        disk(DiskEffect::SyncError { percent: 3 }),
        disk(DiskEffect::WriteError { percent: 4 }),
        disk(DiskEffect::Full),
        disk(DiskEffect::BitRot { sectors: 5 }),
        disk(DiskEffect::LatentSector { sectors: 6 }),
        disk(DiskEffect::LyingSync { percent: 7 }),
        clock(ClockEffect::Drift { ppm: -8 }),
        clock(ClockEffect::Jump { by_ms: 9 }),
        clock(ClockEffect::WallJump { by_ms: -10 }),
        Fault::MemberReplace { select: select() },
        Fault::MemberGrow { select: select() },
        Fault::MemberShrink { select: select() },
        Fault::TransferLeader { select: select() },
        Fault::Compact {
            select: select(),
            keep: 11,
        },
        Fault::Snapshot { select: select() },
    ]
}

#[test]
fn every_report_fits_the_schema_and_the_schema_has_nothing_else() {
    let mut walk = Walk::new();
    for report in [full(), support::passing().0, support::empty().0, support::hostile().0] {
        walk.report(&report).unwrap_or_else(|error| panic!("{error}"));
    }
    let defined: BTreeSet<String> = walk.schema["$defs"]
        .as_object()
        .expect("a map")
        .keys()
        .cloned()
        .collect();
    assert_eq!(walk.seen, defined, "each definition is used by some report");
}

#[test]
fn a_report_that_does_not_fit_is_noticed() {
    let root = Walk::new().schema;
    let mut missing = full().to_value();
    missing["verdict"].as_object_mut().expect("a map").remove("exit_code");
    let mut wrong = full().to_value();
    wrong["run"]["nodes"] = "three".into();
    let mut unknown = full().to_value();
    unknown["properties"][0]["verdict"] = "fine".into();
    for value in [missing, wrong, unknown] {
        Walk::new().check(&value, &root, "report").expect_err("it does not fit");
    }
}

/// The names of an enumeration, as they are written.
fn names<T: serde::Serialize>(values: impl IntoIterator<Item = T>) -> BTreeSet<String> {
    values
        .into_iter()
        .map(|value| {
            serde_json::to_value(value)
                .expect("JSON")
                .as_str()
                .expect("a name")
                .to_owned()
        })
        .collect()
}

#[test]
fn every_name_of_an_enumeration_is_in_the_schema() {
    let schema = Walk::new().schema;
    let listed = |way: &[&str]| -> BTreeSet<String> {
        let mut at = &schema["$defs"];
        for part in way {
            at = &at[*part];
        }
        let list = at["enum"].as_array().unwrap_or_else(|| panic!("{way:?} has names"));
        list.iter()
            .map(|name| name.as_str().expect("a name").to_owned())
            .collect()
    };
    use CauseCode as C;
    use RunOutcome as R;
    assert_eq!(listed(&["fault_kind"]), names(FaultKind::ALL));
    assert_eq!(
        listed(&["verdict", "properties", "outcome"]),
        names([
            R::Pass,
            R::Violation,
            R::Inconclusive,
            R::InsufficientCoverage,
            R::HarnessError,
            R::Interrupted
        ])
    );
    assert_eq!(
        listed(&["property", "properties", "verdict"]),
        names([
            Outcome::Pass,
            Outcome::Fail,
            Outcome::Unknown,
            Outcome::Vacuous,
            Outcome::Error
        ])
    );
    assert_eq!(
        listed(&["property", "properties", "class"]),
        names([
            PropertyClass::Safety,
            PropertyClass::Liveness,
            PropertyClass::Coverage,
            PropertyClass::Harness
        ])
    );
    assert_eq!(listed(&["finding", "properties", "class"]), names(AnomalyClass::ALL));
    assert_eq!(
        listed(&["drawn_operation", "properties", "ending"]),
        names([Ending::Ok, Ending::Fail, Ending::Info])
    );
    assert_eq!(
        listed(&["fault_isolate", "properties", "direction"]),
        names([Direction::Both, Direction::Inbound, Direction::Outbound])
    );
    assert_eq!(
        listed(&["cause", "properties", "code"]),
        names([
            C::NotConnected,
            C::Timeout,
            C::ConnectionLost,
            C::Interrupted,
            C::NoLeader,
            C::Overloaded,
            C::NoSpace,
            C::InvalidRequest,
            C::BadRevision,
            C::Unauthorized,
            C::Conflict,
            C::BadReply,
            C::Abandoned,
            C::Unknown
        ])
    );
}
