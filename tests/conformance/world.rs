//! What a world must offer to be tested.

use std::time::Duration;

use tribunal_env::Env;
use tribunal_history::{Evidence, MemberId};

use crate::other::Script;

/// Far more than anything here takes on a busy machine; in simulation it costs nothing.
pub const BOUND: Duration = Duration::from_secs(30);

/// The member under test, which has disk, clock and links.
pub const HERE: MemberId = MemberId(1);

/// The member that answers it, see [`crate::other`].
pub const THERE: MemberId = MemberId(2);

/// A member that is known, and whose process does not run.
pub const DOWN: MemberId = MemberId(3);

/// A member that nobody knows.
pub const UNKNOWN: MemberId = MemberId(99);

/// A world with two living members.
pub trait World: Sized {
    /// What a member sees of it.
    type Env: Env;

    /// Makes a world and does something in it.
    fn run(act: impl AsyncFnOnce(&Self));

    /// The world as the member under test sees it in its present life.
    fn here(&self) -> Self::Env;

    /// Ends the life of the member under test, as harshly as this world can, and begins the next one.
    fn restart_here(&self);

    /// Ends the life of the other member.
    fn kill_there(&self);

    /// Begins another life of the other member, which has been killed.
    async fn start_there(&self, serves_streams: bool);

    /// What the other member's program shares with the test.
    fn script(&self) -> &Script;

    /// The evidence of the member under test that was settled in its last life, in order. To be asked once, after a
    /// restart.
    fn settled(&self) -> Vec<Evidence>;
}
