//! The file of evidence of one life of a node.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tribunal_history::evidence::{self, MAGIC, Stamped};

/// Buffered frames; [`EvidenceFile::flush`] hands them to the system, where a kill no longer reaches them.
pub struct EvidenceFile {
    buffer: Mutex<Vec<u8>>,
    file: Mutex<File>,
}

impl EvidenceFile {
    /// Creates the file; one that is there is an error, since a life has a file of its own.
    pub fn create(path: &Path) -> io::Result<Self> {
        let mut file = OpenOptions::new().append(true).create_new(true).open(path)?;
        file.write_all(&MAGIC)?;
        Ok(Self {
            buffer: Mutex::default(),
            file: Mutex::new(file),
        })
    }

    /// Adds an event.
    pub fn record(&self, stamped: &Stamped) {
        evidence::encode(stamped, &mut lock(&self.buffer));
    }

    /// Writes everything that was recorded before this call. Whoever holds the file writes for all.
    pub fn flush(&self) -> io::Result<()> {
        let mut file = lock(&self.file);
        let bytes = std::mem::take(&mut *lock(&self.buffer));
        file.write_all(&bytes)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
