//! Whatever was written is read, and whatever was not is told.

use std::io::Cursor;
use std::path::Path;

use super::*;
use crate::event::{Cause, CauseCode, Completion, Event, Invocation, Phase, PhaseEvent};
use crate::fields::Fields;
use crate::id::{MemberId, NodeId, ProcessId, Revision, Seq, Term};
use crate::value::Value;

fn events() -> Vec<Event> {
    let completion = |seq: u64, process: u32| Completion {
        seq: Seq(seq),
        time_ns: seq ^ 1_000,
        process: ProcessId(process),
        output: Value::Null,
        revision: None,
        term: None,
        member: None,
        cause: None,
    };
    let nested = Value::List(vec![
        Value::Int(i64::MIN),
        Value::Bool(true),
        Value::map([("a", Value::List(vec![Value::Null])), ("b", "é\n\"".into())]),
    ]);
    vec![
        Event::Phase(PhaseEvent {
            seq: Seq(0),
            time_ns: 5,
            phase: Phase::Safety,
        }),
        invoke(1, 7, Value::map([("key", "k1".into()), ("value", Value::Int(300))])),
        invoke(2, 8, Value::map([("key", "k1".into())])),
        Event::Ok(Completion {
            revision: Some(Revision(9)),
            term: Some(Term(u64::MAX)),
            member: Some(MemberId(0x8e9e_05c5_2164_694d)),
            ..completion(3, 7)
        }),
        Event::Ok(Completion {
            output: nested,
            revision: Some(Revision(-1)),
            member: Some(MemberId(0x8e9e_05c5_2164_694d)),
            ..completion(4, 8)
        }),
        invoke(5, 7, Value::Null),
        Event::Info(Completion {
            time_ns: 1,
            cause: Some(Cause {
                code: CauseCode::Unknown,
                text: "x".repeat(300),
            }),
            ..completion(6, 7)
        }),
        invoke(7, 8, Value::map([("key", "k1".into()), ("value", Value::Int(301))])),
        Event::Fail(completion(u64::MAX, 8)),
    ]
}

fn invoke(seq: u64, process: u32, input: Value) -> Event {
    Event::Invoke(Invocation {
        seq: Seq(seq),
        time_ns: seq,
        process: ProcessId(process),
        node: NodeId(2),
        function: "write".to_owned(),
        input,
    })
}

fn written(events: &[Event], compression: Compression) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new(), compression).expect("a vector takes everything");
    for event in events {
        writer.write(event).expect("a vector takes everything");
    }
    writer.finish().expect("a vector takes everything")
}

fn read(bytes: &[u8]) -> Result<(Vec<Event>, bool), String> {
    let mut reader = Reader::new(Path::new("x.bin"), Cursor::new(bytes.to_vec())).map_err(|error| error.to_string())?;
    let events = reader
        .by_ref()
        .collect::<Result<_, _>>()
        .map_err(|error| error.to_string())?;
    Ok((events, reader.truncated()))
}

#[test]
fn what_was_written_is_read() {
    for compression in [Compression::None, Compression::Deflate] {
        let bytes = written(&events(), compression);
        assert_eq!(read(&bytes), Ok((events(), false)));
        // In memory that is used again as well.
        let mut reader = Reader::new(Path::new("x.bin"), Cursor::new(bytes)).expect("a head");
        for event in events() {
            assert_eq!(reader.next_mut().expect("reads"), Some(&mut { event }));
        }
        assert!(reader.next_mut().expect("reads").is_none());
    }
}

/// Operations of many forms follow each other, and whoever reads them takes out what he wants and puts something else in.
#[test]
fn maps_of_all_forms_are_read_into_each_others_memory() {
    let names = ["a", "b", "c", "key", "value", "x"];
    let text = "long".repeat(100);
    let values = |seed: u64| match seed % 5 {
        0 => Value::Null,
        1 => Value::Int(seed as i64),
        2 => Value::Text(text[..(seed % 397) as usize].to_owned()),
        3 => Value::List(vec![Value::Map([("inner", Value::Int(1))].into_iter().collect())]),
        _ => Value::Bool(true),
    };
    let form = |seed: u64| match seed % 7 {
        0 => Value::Int(4),
        1 => Value::Map(Fields::new()),
        _ => {
            let chosen = names.iter().zip(0..).filter(|(_, bit)| seed >> bit & 1 == 1);
            Value::Map(chosen.map(|(name, bit)| (*name, values(seed / 3 + bit))).collect())
        }
    };
    let mut before = 0u64;
    let mut seed = || {
        before = before.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        before >> 33
    };
    let events: Vec<Event> = (0..2_000).map(|place| invoke(place, 1, form(seed()))).collect();
    let written = written(&events, Compression::None);
    let mut reader = Reader::new(Path::new("h"), Cursor::new(written)).expect("a head");
    let mut taken = vec![Value::Null; 7];
    for event in events {
        let read = reader.next_mut().expect("reads").expect("another one");
        assert_eq!(*read, event);
        if let Event::Invoke(invocation) = read {
            let place = seed() as usize % taken.len();
            std::mem::swap(&mut invocation.input, &mut taken[place]);
        }
    }
}

#[test]
fn many_blocks_are_read_each_by_itself() {
    let many: Vec<Event> = (0..20_000)
        .map(|n| invoke(n, 1, Value::map([("key", format!("k{}", n % 300).into())])))
        .collect();
    for compression in [Compression::None, Compression::Deflate] {
        let bytes = written(&many, compression);
        assert!(bytes.len() < 20 * many.len(), "{} bytes", bytes.len());
        assert_eq!(read(&bytes), Ok((many.clone(), false)));
    }
}

#[test]
fn a_torn_tail_is_told_and_the_rest_is_read() {
    let mut writer = Writer::new(Vec::new(), Compression::None).expect("a vector takes everything");
    let mut whole = Vec::new();
    for event in events() {
        writer.write(&event).expect("a vector takes everything");
        writer.flush().expect("a vector takes everything");
        whole.push(writer.out.len());
    }
    let bytes = writer.finish().expect("a vector takes everything");
    for cut in HEAD_BYTES..bytes.len() {
        let readable = whole.iter().filter(|end| **end <= cut).count();
        assert_eq!(
            read(&bytes[..cut]),
            Ok((events()[..readable].to_vec(), true)),
            "cut at {cut}"
        );
    }
}

#[test]
fn whatever_bit_is_changed_is_noticed() {
    for compression in [Compression::None, Compression::Deflate] {
        let bytes = written(&events(), compression);
        for place in 0..bytes.len() {
            for bit in 0..8 {
                let mut changed = bytes.clone();
                changed[place] ^= 1 << bit;
                let error = read(&changed).expect_err("not as it was written");
                assert!(error.starts_with("x.bin: ") && error.contains("byte"), "{error}");
            }
        }
    }
}

#[test]
fn other_files_and_versions_are_refused_by_name() {
    let error = read(b"hello").expect_err("no history");
    assert_eq!(
        error,
        "x.bin: byte 0: expected the beginning of a binary history of Tribunal"
    );
    let mut head = MAGIC.to_vec();
    head.extend_from_slice(&[9, 0, 1, 0]);
    head.extend_from_slice(&crc32c::crc32c(&head).to_le_bytes());
    let error = read(&head).expect_err("an unknown version");
    assert!(error.contains("a binary history of version 9"), "{error}");
    let mut more = written(&events(), Compression::None);
    more.push(0);
    let error = read(&more).expect_err("something behind the end");
    assert!(error.contains("expected nothing behind the end"), "{error}");
}

/// A file of one block with this content, all its checks right.
fn block_of(content: &[u8]) -> Vec<u8> {
    let mut bytes = written(&[], Compression::None);
    bytes.truncate(HEAD_BYTES);
    let mut head = vec![block::PLAIN];
    for number in [content.len() as u32, content.len() as u32, crc32c::crc32c(content)] {
        head.extend_from_slice(&number.to_le_bytes());
    }
    head.extend_from_slice(&crc32c::crc32c(&head).to_le_bytes());
    bytes.extend(head);
    bytes.extend_from_slice(content);
    bytes
}

/// The beginning of an invocation, up to its input.
const INVOCATION: [u8; 8] = [kind::INVOKE, 0, 0, 0, 0, 0, 1, b'f'];

fn hostile(input: &[u8]) -> String {
    let content = [&INVOCATION, input].concat();
    read(&block_of(&content)).expect_err("a hostile block")
}

#[test]
fn hostile_blocks_are_refused_within_bounds() {
    let well = [&INVOCATION[..], &[tag::NULL]].concat();
    assert_eq!(read(&block_of(&well)).map(|(events, _)| events.len()), Ok(1));

    let deep = [tag::LIST, 1].repeat(1_000_000);
    assert!(hostile(&deep).contains("nested deeper"));
    let deep = [tag::MAP, 1, 0, 1, b'a'].repeat(1_000_000);
    assert!(hostile(&deep).contains("nested deeper"));
    let mut many = vec![tag::LIST, 0xff, 0xff, 0xff, 0xff, 0x0f];
    assert!(hostile(&many).contains("a count of values that are there"));
    many = vec![tag::LIST, 0x80, 0x80, 0x80, 0x01];
    many.resize(3_000_000, tag::NULL);
    assert!(hostile(&many).contains("more values than are read"));
    // One text of 255 bytes, and its number again and again.
    let mut long = vec![tag::LIST, 0x80, 0x80, 0x08, tag::TEXT, 0, 0xff, 0x01];
    long.resize(long.len() + 255, b'x');
    for _ in 1..1 << 17 {
        long.extend_from_slice(&[tag::TEXT, 2]);
    }
    assert!(hostile(&long).contains("more bytes of texts than are read"));
    assert!(hostile(&[tag::TEXT, 7]).contains("a text that the block had before"));
    assert!(hostile(&[tag::TEXT, 0, 1, 0xff]).contains("UTF-8"));
    assert!(hostile(&[tag::MAP, 2, 0, 1, b'b', 0, 0, 1, b'a', 0]).contains("in their order"));
    assert!(hostile(&[9]).contains("the beginning of a value"));

    let json = br#"{"type":"phase","seq":0,"time_ns":0,"phase":"nosuch"}"#;
    let content = [&[kind::OTHER, json.len() as u8], &json[..]].concat();
    let error = read(&block_of(&content)).expect_err("no event");
    assert!(
        error.contains("not an event") && error.contains("block at byte 16"),
        "{error}"
    );
}

#[test]
fn what_no_reader_would_read_is_not_written() {
    let mut deep = Value::Null;
    for _ in 0..=DEPTH_MAX {
        deep = Value::List(vec![deep]);
    }
    let mut writer = Writer::new(Vec::new(), Compression::None).expect("a vector takes everything");
    let good = invoke(0, 1, Value::map([("key", "k".into())]));
    let refused = [
        deep,
        Value::Text("x".repeat(BLOCK_BYTES_MAX + 1)),
        Value::List(vec![Value::Null; EVENT_VALUES_MAX]),
    ];
    for input in refused {
        writer.write(&good).expect("a vector takes everything");
        assert!(writer.write(&invoke(1, 1, input)).is_err());
    }
    writer.write(&good).expect("a vector takes everything");
    let bytes = writer.finish().expect("a vector takes everything");
    assert_eq!(read(&bytes), Ok((vec![good; 4], false)));
}
