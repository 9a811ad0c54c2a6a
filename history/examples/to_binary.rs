//! Writes a history in its binary form: `cargo run --example to_binary FROM TO [deflate]`.

use std::fs::File;
use std::io::BufWriter;
use std::path::Path;

use tribunal_history::binary::{Compression, Writer};
use tribunal_history::import::Stream;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (from, to) = match arguments.as_slice() {
        [from, to, ..] => (from, to),
        _ => return Err("expected FROM TO [deflate]".into()),
    };
    let compression = match arguments.get(2).map(String::as_str) {
        Some("deflate") => Compression::Deflate,
        _ => Compression::None,
    };
    let mut writer = Writer::new(BufWriter::new(File::create(to)?), compression)?;
    // One event at a time: a history of any length is converted in the same memory.
    for event in Stream::open(Path::new(from))? {
        writer.write(&event?)?;
    }
    writer.finish()?;
    Ok(())
}
