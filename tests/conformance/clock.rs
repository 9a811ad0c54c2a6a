//! Clocks, random streams and evidence.

use std::time::Duration;

use rand_chacha::rand_core::Rng as _;
use tribunal_env::{AsyncRuntime, Clock as _, Env, Purpose, Stream};
use tribunal_history::Evidence;

use crate::in_every_world;
use crate::real::Real;
use crate::simulated::Simulated;
use crate::world::World;

in_every_world! {
    real: crate::clock::Real, simulated: crate::clock::Simulated => [
        the_clock_never_goes_back,
        a_sleep_is_as_long_as_it_says,
        the_wall_shows_a_time_of_our_days,
        random_streams_follow_their_labels_and_the_life,
        what_is_settled_outlives_its_process,
        no_point_acts_by_itself,
    ]
}

async fn sleep<E: Env>(duration: Duration) {
    E::Runtime::sleep(duration).await;
}

fn the_clock_never_goes_back<W: World>() {
    W::run(async |world| {
        let env = world.here();
        let mut last = env.clock().monotonic();
        for step in 0..200 {
            if step % 20 == 0 {
                sleep::<W::Env>(Duration::from_millis(1)).await;
            }
            let now = env.clock().monotonic();
            assert!(now >= last, "{now:?} after {last:?}");
            last = now;
        }
    });
}

fn a_sleep_is_as_long_as_it_says<W: World>() {
    W::run(async |world| {
        let env = world.here();
        for micros in [0, 1, 999, 1_000, 20_001] {
            let duration = Duration::from_micros(micros);
            let before = env.clock().monotonic();
            sleep::<W::Env>(duration).await;
            let slept = env.clock().monotonic() - before;
            assert!(slept >= duration, "{slept:?} for {duration:?}");
        }
    });
}

fn the_wall_shows_a_time_of_our_days<W: World>() {
    W::run(async |world| {
        let env = world.here();
        let before = env.clock().wall();
        sleep::<W::Env>(Duration::from_millis(2)).await;
        // 2020 and 2120. The system's wall clock may be set while this runs, so no more is asked.
        for wall in [before, env.clock().wall()] {
            assert!((1_577_836_800..4_733_510_400).contains(&wall.as_secs()), "{wall:?}");
        }
    });
}

fn random_streams_follow_their_labels_and_the_life<W: World>() {
    W::run(async |world| {
        let draw = |env: &W::Env, purpose, a| env.rng(Stream { purpose, a, b: 0 }).next_u64();
        let env = world.here();
        let first = draw(&env, Purpose::Test, 1);
        assert_eq!(first, draw(&env, Purpose::Test, 1), "asked again");
        assert_eq!(first, draw(&env.clone(), Purpose::Test, 1), "a clone is the same world");
        assert_ne!(first, draw(&env, Purpose::Test, 2));
        assert_ne!(first, draw(&env, Purpose::Workload, 1));
        drop(env);
        world.restart_here();
        assert_ne!(first, draw(&world.here(), Purpose::Test, 1), "another life");
    });
}

fn what_is_settled_outlives_its_process<W: World>() {
    W::run(async |world| {
        let env = world.here();
        let said = ["first", "second", "third"].map(str::to_owned);
        let events = said.map(|error| Evidence::SyncFailed { error });
        for event in &events {
            env.record(event.clone());
        }
        env.settle().await.expect("it is written");
        env.settle().await.expect("nothing is left to write");
        drop(env);
        world.restart_here();
        assert_eq!(world.settled(), events);
    });
}

fn no_point_acts_by_itself<W: World>() {
    W::run(async |world| {
        let env = world.here();
        assert!((0..1000).all(|_| !env.buggify("conformance")));
    });
}
