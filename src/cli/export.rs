//! `tribunal check FILE --export FORMAT --out FILE`: a history in another form.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::{Args, ValueEnum};
use tribunal_history::binary::{self, Compression};
use tribunal_history::import::Stream;
use tribunal_history::{export, jsonl};

/// Forms that a history can be written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ExportFormat {
    /// Tribunal's JSON Lines
    Jsonl,
    /// Tribunal's binary form, compressed
    Binary,
    /// Tribunal's binary form, not compressed: fastest to read
    BinaryPlain,
    /// EDN as Knossos, Elle and elle-cli read it
    Edn,
}

/// Flags of exporting.
#[derive(Clone, Debug, Args)]
pub struct ExportArgs {
    /// Write the history in this form instead of judging it
    #[arg(long, value_name = "FORMAT", requires = "out")]
    export: Option<ExportFormat>,
    /// File that the history is written to; - for standard output
    #[arg(long, value_name = "FILE", requires = "export")]
    out: Option<PathBuf>,
    /// With --export edn: only the operations under this key, without it, as Knossos wants them
    #[arg(long, value_name = "KEY", requires = "export")]
    key: Option<String>,
}

impl ExportArgs {
    /// The form, if one is wanted.
    pub fn format(&self) -> Option<ExportFormat> {
        self.export
    }

    /// Writes the history in `from`. Our own forms are written as they are read, so one of any length needs little memory.
    pub fn write(&self, format: ExportFormat, from: &Path) -> anyhow::Result<()> {
        if self.key.is_some() && format != ExportFormat::Edn {
            bail!("--key goes with --export edn only");
        }
        let mut stream = super::check::open(from)?;
        let to = self.out.as_deref().unwrap_or(Path::new("-"));
        let out: Box<dyn Write> = if to == Path::new("-") {
            Box::new(io::stdout().lock())
        } else {
            Box::new(File::create(to).with_context(|| format!("{} cannot be written", to.display()))?)
        };
        self.write_to(format, &mut stream, BufWriter::new(out))
            .with_context(|| format!("{} cannot be written as {}", from.display(), to.display()))?;
        if stream.truncated() {
            eprintln!(
                "{}: its end was being written when it was cut off; what is whole was exported",
                from.display()
            );
        }
        Ok(())
    }

    fn write_to(&self, format: ExportFormat, stream: &mut Stream, mut out: impl Write) -> anyhow::Result<()> {
        match format {
            ExportFormat::Jsonl => {
                let mut writer = jsonl::Writer::new(out)?;
                while let Some(event) = stream.next_mut()? {
                    writer.write(event)?;
                }
                writer.into_inner()?;
            }
            ExportFormat::Binary | ExportFormat::BinaryPlain => {
                let compression = match format {
                    ExportFormat::Binary => Compression::Deflate,
                    _ => Compression::None,
                };
                let mut writer = binary::Writer::new(out, compression)?;
                while let Some(event) = stream.next_mut()? {
                    writer.write(event)?;
                }
                writer.finish()?;
            }
            ExportFormat::Edn => {
                let events = stream.collect::<Result<Vec<_>, _>>()?;
                export::edn::write(&events, self.key.as_deref(), &mut out)?;
                out.flush()?;
            }
        }
        Ok(())
    }
}
