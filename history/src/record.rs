//! Versioned formats: what is written says what it is, and a reader refuses what it does not know.
//!
//! A record is one JSON object whose first two members are `format` and `version`. A new field with meaning
//! raises the version. Files are replaced as a whole: written beside, synced, then renamed, so that no reader
//! ever sees half of one.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

/// A type that is written for others.
pub trait Record: Serialize + DeserializeOwned {
    /// The name in its `format` member.
    const FORMAT: &'static str;
    /// The version that this program writes.
    const VERSION: u32;
    /// The oldest version that this program reads: earlier than [`Record::VERSION`] only if everything that could be
    /// written then still means the same.
    const VERSION_MIN: u32 = Self::VERSION;

    /// As one JSON object, indented, with a newline at its end.
    fn to_json(&self) -> String {
        let mut text = serde_json::to_string_pretty(&self.to_value())
            .unwrap_or_else(|error| panic!("{} serializes: {error}", Self::FORMAT));
        text.push('\n');
        text
    }

    /// As one JSON object on one line, without a newline.
    fn to_json_line(&self) -> String {
        self.to_value().to_string()
    }

    /// As a JSON value with its format and version.
    fn to_value(&self) -> serde_json::Value {
        let body = serde_json::to_value(self).unwrap_or_else(|error| panic!("{} serializes: {error}", Self::FORMAT));
        let serde_json::Value::Object(body) = body else {
            panic!("{} is a JSON object", Self::FORMAT)
        };
        let mut whole = serde_json::Map::with_capacity(body.len() + 2);
        whole.insert("format".to_owned(), Self::FORMAT.into());
        whole.insert("version".to_owned(), Self::VERSION.into());
        whole.extend(body);
        serde_json::Value::Object(whole)
    }

    /// Reads what [`Record::to_json`] wrote.
    fn from_json(text: &str) -> Result<Self, RecordError> {
        let mut value: serde_json::Value = serde_json::from_str(text).map_err(|source| RecordError::Malformed {
            format: Self::FORMAT,
            source,
        })?;
        let object = value.as_object_mut().ok_or(RecordError::NotThis {
            expected: Self::FORMAT,
            found: "no object".to_owned(),
        })?;
        match object.remove("format") {
            Some(serde_json::Value::String(found)) if found == Self::FORMAT => {}
            found => {
                let found = found.map_or_else(|| "an object without a format".to_owned(), |value| value.to_string());
                return Err(RecordError::NotThis {
                    expected: Self::FORMAT,
                    found,
                });
            }
        }
        match object.remove("version").and_then(|version| version.as_u64()) {
            Some(found) if (u64::from(Self::VERSION_MIN)..=u64::from(Self::VERSION)).contains(&found) => {}
            found => {
                let found = found.map_or_else(|| "none".to_owned(), |version| version.to_string());
                return Err(RecordError::Version {
                    format: Self::FORMAT,
                    expected: Self::VERSION,
                    found,
                });
            }
        }
        serde_json::from_value(value).map_err(|source| RecordError::Malformed {
            format: Self::FORMAT,
            source,
        })
    }

    /// Replaces the file at `path` with this record.
    fn save(&self, path: &Path) -> io::Result<()> {
        replace(path, self.to_json().as_bytes())
    }

    /// Reads the file at `path`.
    fn load(path: &Path) -> Result<Self, RecordError> {
        let text = fs::read_to_string(path).map_err(|source| RecordError::Read {
            path: path.to_owned(),
            source,
        })?;
        Self::from_json(&text).map_err(|source| RecordError::InFile {
            path: path.to_owned(),
            source: Box::new(source),
        })
    }
}

/// Writes `bytes` beside `path`, syncs them and renames them into place: all of it or nothing.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".partial");
    let beside = PathBuf::from(beside);
    let written = File::create(&beside).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_data()
    });
    written.and_then(|()| fs::rename(&beside, path)).inspect_err(|_| {
        // The first error is the one to tell; a leftover is removed if it can be.
        let _ = fs::remove_file(&beside);
    })
}

/// Why a record cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The file cannot be read.
    #[error("{path} cannot be read", path = path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Something is wrong with what the file says.
    #[error("{path} is not usable", path = path.display())]
    InFile {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        source: Box<RecordError>,
    },
    /// It is something else.
    #[error("expected {expected}, found {found}")]
    NotThis {
        /// The format that was asked for.
        expected: &'static str,
        /// What is there.
        found: String,
    },
    /// It was written by another version.
    #[error("{format} has version {found}; this program reads version {expected}")]
    Version {
        /// Which format.
        format: &'static str,
        /// The version that can be read.
        expected: u32,
        /// The version that is there.
        found: String,
    },
    /// It does not have the members that it should have.
    #[error("malformed {format}: {source}")]
    Malformed {
        /// Which format.
        format: &'static str,
        /// Where and why, by line and column.
        source: serde_json::Error,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::Schedule;

    #[test]
    fn a_record_reads_back() {
        let schedule = Schedule {
            seed: 7,
            ..Schedule::default()
        };
        assert_eq!(Schedule::from_json(&schedule.to_json()).expect("reads back"), schedule);
    }

    #[test]
    fn another_version_is_refused_by_name() {
        let text = Schedule::default()
            .to_json()
            .replace("\"version\": 2", "\"version\": 3");
        let error = Schedule::from_json(&text).expect_err("unknown version").to_string();
        assert_eq!(error, "tribunal-schedule has version 3; this program reads version 2");
        let text = text.replace("\"version\": 3", "\"version\": 1");
        let error = Schedule::from_json(&text).expect_err("an older version").to_string();
        assert_eq!(error, "tribunal-schedule has version 1; this program reads version 2");
    }

    #[test]
    fn an_older_version_that_means_the_same_is_read() {
        use crate::jsonl::Header;
        for version in 1..=Header::VERSION {
            let text = format!("{{\"format\":\"tribunal-history\",\"version\":{version}}}");
            assert!(Header::from_json(&text).is_ok(), "version {version}");
        }
        let text = format!(
            "{{\"format\":\"tribunal-history\",\"version\":{}}}",
            Header::VERSION + 1
        );
        assert!(Header::from_json(&text).is_err());
    }

    #[test]
    fn another_format_is_refused_by_name() {
        let error = Schedule::from_json("{\"format\":\"x\",\"version\":1}")
            .expect_err("other format")
            .to_string();
        assert_eq!(error, "expected tribunal-schedule, found \"x\"");
    }

    #[test]
    fn a_file_is_replaced_as_a_whole() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("schedule.json");
        let schedule = Schedule {
            seed: 3,
            ..Schedule::default()
        };
        schedule.save(&path).expect("writes");
        assert_eq!(Schedule::load(&path).expect("reads"), schedule);
        assert_eq!(
            fs::read_dir(folder.path()).expect("lists").count(),
            1,
            "nothing is left beside it"
        );
    }
}
