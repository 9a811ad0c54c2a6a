//! Ways to die.

/// What a crash takes with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crash {
    /// Writes that were not synced may be lost, torn or reordered: the machine lost its power. Otherwise the
    /// system has them and keeps them: only the process died.
    pub loses_unsynced: bool,
    /// Others hear nothing more and wait until they give up: the machine is gone. Otherwise its system answers
    /// for the process: calls under way break off and new ones are refused.
    pub is_silent: bool,
}

impl Crash {
    /// SIGKILL: the system lives on.
    pub const PROCESS: Self = Self {
        loses_unsynced: false,
        is_silent: false,
    };

    /// The machine loses its power.
    pub const MACHINE: Self = Self {
        loses_unsynced: true,
        is_silent: true,
    };

    /// The machine loses its power and is back at once, so that calls are refused.
    pub const REBOOT: Self = Self {
        loses_unsynced: true,
        is_silent: false,
    };
}
