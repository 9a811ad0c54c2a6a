//! Every parser against files that somebody changed: whatever a file holds, it is read or refused with its name.
//!
//! The files in `corpus/` are changed by seeded draws, a bounded number of times: more with `TRIBUNAL_FUZZ=COUNT`. A file that
//! once broke a parser is added there. What was read is written in each of our formats and read again, and must be the same.

use std::io::Cursor;
use std::path::{Path, PathBuf};

use tribunal_history::binary::{self, Compression};
use tribunal_history::import::Stream;
use tribunal_history::{Event, export, jsonl};

/// A source of numbers: splitmix64 (Steele, Lea and Flood 2014).
struct Draw(u64);

impl Draw {
    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        ((u128::from(self.bits()) * bound.max(1) as u128) >> 64) as usize
    }
}

fn corpus() -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    let mut found = Vec::new();
    for kind in ["binary", "edn", "etcd", "jsonl", "log"] {
        let files = std::fs::read_dir(folder.join(kind)).expect("the corpus");
        let before = found.len();
        for file in files {
            let path = file.expect("a file").path();
            let bytes = std::fs::read(&path).expect("a file");
            found.push((path, bytes));
        }
        assert!(found.len() > before, "no file of kind {kind}");
    }
    found.sort();
    found
}

/// How often each file is changed.
fn rounds() -> usize {
    match std::env::var("TRIBUNAL_FUZZ") {
        Ok(rounds) => rounds.parse().expect("TRIBUNAL_FUZZ is a number of changes"),
        Err(_) => 300,
    }
}

/// What is put in: what parsers look for.
const WORDS: [&[u8]; 24] = [
    b"{",
    b"}",
    b"[",
    b"]",
    b"(",
    b")",
    b"\"",
    b"\\",
    b"\n",
    b":",
    b",",
    b"#_",
    b"#{",
    b"^",
    b"null",
    b"-",
    b"99999999999999999999",
    b"1e9",
    b"\x00",
    b"\xff",
    b"\x80\x80",
    b":invoke",
    b"\"seq\"",
    b"\xe2\x82",
];

fn change(draw: &mut Draw, bytes: &mut Vec<u8>, others: &[(PathBuf, Vec<u8>)]) {
    for _ in 0..=draw.below(4) {
        let place = draw.below(bytes.len());
        let length = draw.below(40).min(bytes.len() - place);
        match draw.below(7) {
            0 if !bytes.is_empty() => bytes[place] = draw.bits() as u8,
            1 if !bytes.is_empty() => bytes[place] ^= 1 << draw.below(8),
            2 => {
                bytes.drain(place..place + length);
            }
            3 => {
                let copied = bytes[place..place + length].to_vec();
                let to = draw.below(bytes.len());
                bytes.splice(to..to, copied);
            }
            4 => {
                let word = WORDS[draw.below(WORDS.len())].repeat(1 + draw.below(3) * draw.below(200));
                bytes.splice(place..place, word);
            }
            5 => {
                let (_, other) = &others[draw.below(others.len())];
                let from = draw.below(other.len());
                let until = (from + draw.below(60)).min(other.len());
                bytes.splice(place..place, other[from..until].iter().copied());
            }
            _ => bytes.truncate(place),
        }
    }
}

fn read(bytes: &[u8]) -> Result<Vec<Event>, String> {
    let path = Path::new("x");
    let stream = Stream::new(path, Cursor::new(bytes.to_vec())).map_err(|error| error.to_string())?;
    stream.collect::<Result<_, _>>().map_err(|error| error.to_string())
}

fn written_again(events: &[Event]) -> Vec<Vec<u8>> {
    let mut files = Vec::new();
    let mut writer = jsonl::Writer::new(Vec::new()).expect("a vector takes everything");
    for event in events {
        writer.write(event).expect("a vector takes everything");
    }
    files.push(writer.into_inner().expect("a vector takes everything"));
    for compression in [Compression::None, Compression::Deflate] {
        let mut writer = binary::Writer::new(Vec::new(), compression).expect("a vector takes everything");
        for event in events {
            writer.write(event).expect("small events");
        }
        files.push(writer.finish().expect("a vector takes everything"));
    }
    files
}

fn holds(bytes: &[u8], what: &str) -> bool {
    match read(bytes) {
        Ok(events) => {
            for file in written_again(&events) {
                assert_eq!(read(&file).as_ref(), Ok(&events), "{what}");
            }
            // Some histories have no form in EDN; those that have one are read again.
            let mut edn = Vec::new();
            if export::edn::write(&events, None, &mut edn).is_ok() && !edn.is_empty() {
                read(&edn).unwrap_or_else(|error| panic!("{what}: {error}: {}", String::from_utf8_lossy(&edn)));
            }
            true
        }
        Err(error) => {
            assert!(
                error.starts_with("x:") || error.starts_with("x cannot be read"),
                "{what}: {error}"
            );
            false
        }
    }
}

#[test]
fn every_file_of_the_corpus_is_read_or_refused() {
    for (path, bytes) in corpus() {
        let is_good = holds(&bytes, &path.display().to_string());
        let is_bad = path
            .file_stem()
            .is_some_and(|name| name.to_string_lossy().starts_with("bad"));
        assert_eq!(is_good, !is_bad, "{}", path.display());
    }
}

#[test]
fn no_change_of_a_file_breaks_a_parser() {
    let corpus = corpus();
    let mut read = 0;
    for (number, (path, bytes)) in corpus.iter().enumerate() {
        let mut draw = Draw(number as u64);
        for round in 0..rounds() {
            let mut changed = bytes.clone();
            change(&mut draw, &mut changed, &corpus);
            read += usize::from(holds(&changed, &format!("round {round} of {}", path.display())));
        }
    }
    assert!(read > corpus.len(), "only {read} changed files were histories");
}

#[test]
fn blocks_of_the_binary_form_are_changed_inside_their_checks() {
    // A change inside a block is caught by its crc32c, so that nothing behind it would ever be tried: here it is made right.
    let mut draw = Draw(77);
    let mut outcomes = [0, 0];
    for (_, bytes) in corpus()
        .iter()
        .filter(|(path, _)| path.extension().is_some_and(|kind| kind == "bin"))
    {
        const HEAD: usize = 16;
        const BLOCK_HEAD: usize = 17;
        if bytes.len() < HEAD + BLOCK_HEAD {
            continue;
        }
        let length = u32::from_le_bytes(bytes[HEAD + 1..HEAD + 5].try_into().expect("four bytes")) as usize;
        let Some(content) = bytes.get(HEAD + BLOCK_HEAD..HEAD + BLOCK_HEAD + length) else {
            continue;
        };
        for round in 0..10 * rounds() {
            let mut content = content.to_vec();
            for _ in 0..=draw.below(3) {
                let place = draw.below(content.len());
                match draw.below(3) {
                    0 => content[place] = draw.bits() as u8,
                    1 => {
                        content.remove(place);
                    }
                    _ => content.insert(place, draw.below(8) as u8),
                }
            }
            let mut file = bytes[..HEAD].to_vec();
            let mut head = vec![bytes[HEAD]];
            let plain = if bytes[HEAD] == 1 {
                content.len()
            } else {
                content.len() * 4
            };
            for number in [content.len() as u32, plain as u32, crc32c::crc32c(&content)] {
                head.extend_from_slice(&number.to_le_bytes());
            }
            head.extend_from_slice(&crc32c::crc32c(&head).to_le_bytes());
            file.extend(head);
            file.extend(content);
            outcomes[usize::from(holds(&file, &format!("round {round}")))] += 1;
        }
    }
    assert!(outcomes.iter().all(|count| *count > 0), "{outcomes:?}");
}

#[test]
fn nesting_and_length_are_bounded_in_every_format() {
    let header = "{\"format\":\"tribunal-history\",\"version\":2}\n";
    let deep = "[".repeat(200_000);
    for text in [
        format!("{header}{{\"type\":\"invoke\",\"input\":{deep}\n"),
        format!("{{:process 0, :type :invoke, :f :read, :value {deep}"),
        format!("INFO  jepsen.util - 0\t:invoke\t:read\t{deep}"),
        format!("{{\"ClientId\":0,\"Input\":{deep}"),
        format!("{header}{}", "x".repeat(jsonl::LINE_BYTES_MAX + 2)),
        format!("{{\"ClientId\":{}", "1".repeat(jsonl::LINE_BYTES_MAX + 2)),
        format!("{{:process {}", "1".repeat(jsonl::LINE_BYTES_MAX + 2)),
        deep.clone(),
    ] {
        let error = read(text.as_bytes()).expect_err("hostile");
        assert!(error.starts_with("x:"), "{}", &error[..error.len().min(200)]);
    }
}
