//! One generation, read by many WebSockets.

use std::rc::Rc;

use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use crate::load::{Plan, one};
use crate::soak::rng::Rng;
use crate::stream::{Gathering, Stream};
use crate::sys::monotonic_ns;

/// All readers but one subscribe to one conversation; once all of them have, the last one asks in it.
pub fn spawn(plan: &Plan, begin: Instant, tasks: &mut JoinSet<()>, stream: impl Fn() -> Stream) {
    let conversation = Rng::new(monotonic_ns()).uuid();
    let readers = plan.streams.saturating_sub(1);
    let gathering = Rc::new(Gathering::of(readers));
    let (address, limit) = (plan.address, begin + plan.limit);
    for index in 0..readers {
        let reader = stream().reading(&conversation, Rc::clone(&gathering));
        let open_at = begin + plan.ramp.mul_f64(index as f64 / readers as f64);
        tasks.spawn_local(one(index, reader, address, open_at, limit));
    }
    let asking = stream().asking_in(&conversation);
    tasks.spawn_local(async move {
        // Where some never come, it asks all the same, so that each is missed for itself.
        let _ = timeout_at(limit, gathering.whole()).await;
        one(readers, asking, address, Instant::now(), limit).await;
    });
}
