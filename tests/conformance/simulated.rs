//! The simulated world.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tribunal_history::{Evidence, MemberId, NodeId};
use tribunal_simulation::{
    Crash, DiskSettings, FindingKind, Place, Settings, SimEnv, Simulation, Unsynced, World as SimWorld,
};

use crate::other::{ON_PURPOSE, Script};
use crate::world::{DOWN, HERE, THERE, World};

/// One seed of it: that other seeds agree is the business of the simulator's own tests.
pub struct Simulated {
    world: SimWorld,
    script: Script,
    /// Whether the next life of the other member serves streams.
    serves_streams: Arc<AtomicBool>,
}

/// Some minutes of virtual time are none.
const WITHIN: Duration = Duration::from_secs(600);

fn node(member: MemberId) -> NodeId {
    NodeId(u16::try_from(member.0).expect("a small number"))
}

impl Simulated {
    /// Boots the other member; its program is kept for its later lives.
    fn boot_there(&self) {
        let (script, serves_streams) = (self.script.clone(), Arc::clone(&self.serves_streams));
        let program = move |env: SimEnv| {
            let calls = script.clone();
            env.serve(move |_, method, body| calls.clone().answer(method.to_owned(), body));
            if serves_streams.load(Ordering::Relaxed) {
                let streams = script.clone();
                env.serve_streams(move |_, method, stream| streams.clone().converse(method.to_owned(), stream));
            }
            std::future::pending()
        };
        assert!(self.world.boot(node(THERE), program));
    }
}

impl World for Simulated {
    type Env = SimEnv;

    fn run(act: impl AsyncFnOnce(&Self)) {
        let mut simulation = Simulation::new(Settings {
            seed: 20_261_126,
            ..Settings::default()
        });
        let world = simulation.world();
        for member in [HERE, THERE, DOWN] {
            world.add_member(member, node(member));
        }
        world.boot(node(HERE), |_| std::future::pending());
        world.set_disk(
            node(HERE),
            DiskSettings {
                unsynced: Unsynced::LOST,
                ..world.disk(node(HERE))
            },
        );
        let this = Self {
            world,
            script: Script::default(),
            serves_streams: Arc::new(AtomicBool::new(true)),
        };
        this.boot_there();
        simulation
            .run_until(WITHIN, act(&this))
            .expect("the case comes to its end");
        for finding in this.world.findings().0 {
            let is_on_purpose = matches!(&finding.kind, FindingKind::Panic { message, .. } if message == ON_PURPOSE);
            assert!(is_on_purpose, "{finding}");
        }
    }

    fn here(&self) -> SimEnv {
        self.world.env(Place::Node(node(HERE))).expect("it lives")
    }

    fn restart_here(&self) {
        assert!(self.world.crash(node(HERE), Crash::MACHINE));
        assert!(self.world.restart(node(HERE)));
    }

    fn kill_there(&self) {
        assert!(self.world.crash(node(THERE), Crash::PROCESS));
    }

    async fn start_there(&self, serves_streams: bool) {
        self.serves_streams.store(serves_streams, Ordering::Relaxed);
        assert!(self.world.restart(node(THERE)));
    }

    fn script(&self) -> &Script {
        &self.script
    }

    fn settled(&self) -> Vec<Evidence> {
        let recorded = self.world.take_evidence();
        recorded.into_iter().map(|recorded| recorded.stamped.evidence).collect()
    }
}
