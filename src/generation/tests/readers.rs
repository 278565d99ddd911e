//! What happens when the last reader leaves.

use super::*;

const GRACE_MS: u64 = 10_000;
const GRACE: OnDisconnect = OnDisconnect::Grace { grace_ms: GRACE_MS };

#[test]
fn with_cancel_the_last_readers_leaving_ends_it() {
    local(|| async {
        let world = World::new().await;
        let (mut started, mut socket) = world.start_in_the_middle(OnDisconnect::Cancel, PATIENT).await;
        let second = started.handle.read();
        started.reader = None;
        started.hear(&mut socket, " there").await;
        drop(second);
        hung_up(&mut socket).await;
        let end = started.end().await;
        assert_eq!((end.complete().finish_reason, end.text.as_str()), (FinishReason::Cancelled, "Hello there"));
        world.stored(started).await;
    });
}

#[test]
fn with_cancel_a_reader_that_leaves_before_the_answer_ends_it_too() {
    local(|| async {
        let world = World::new().await;
        let (mut started, mut socket) = world.start_at_server(OnDisconnect::Cancel, PATIENT).await;
        started.reader = None;
        hung_up(&mut socket).await;
        assert_eq!(started.end().await.complete().finish_reason, FinishReason::Cancelled);
        world.stored(started).await;
    });
}

#[test]
fn with_continue_it_goes_on_without_readers() {
    local(|| async {
        let world = World::new().await;
        let (mut started, mut socket) = world.start_in_the_middle(OnDisconnect::Continue, PATIENT).await;
        started.reader = None;
        started.hear(&mut socket, " nobody").await;
        advance_ms(LONG_MS - 1).await;
        started.hear(&mut socket, " at all").await;
        send(&mut socket, &chunk(DONE)).await;
        let end = started.end().await;
        assert_eq!((end.complete().finish_reason, end.text.as_str()), (FinishReason::Stop, "Hello nobody at all"));
        world.stored(started).await;
    });
}

#[test]
fn with_grace_it_ends_that_long_after_the_last_reader_left() {
    local(|| async {
        let world = World::new().await;
        let (mut started, mut socket) = world.start_in_the_middle(GRACE, PATIENT).await;
        advance_ms(GRACE_MS * 2).await;
        started.hear(&mut socket, " 1").await;
        started.reader = None;
        started.hear(&mut socket, " 2").await;
        advance_ms(GRACE_MS - 1).await;
        started.hear(&mut socket, " 3").await;
        advance_ms(1).await;
        hung_up(&mut socket).await;
        let end = started.end().await;
        assert_eq!((end.complete().finish_reason, end.text.as_str()), (FinishReason::Cancelled, "Hello 1 2 3"));
        world.stored(started).await;
    });
}

#[test]
fn the_grace_counts_anew_from_each_time_that_the_last_reader_leaves() {
    local(|| async {
        let world = World::new().await;
        let (mut started, mut socket) = world.start_in_the_middle(GRACE, PATIENT).await;
        started.reader = None;
        started.hear(&mut socket, " left").await;
        advance_ms(GRACE_MS / 2).await;
        started.reader = Some(started.handle.read());
        started.hear(&mut socket, " back").await;
        advance_ms(GRACE_MS / 2 - 1).await;
        started.reader = None;
        started.hear(&mut socket, " left again").await;
        advance_ms(GRACE_MS - 1).await;
        started.hear(&mut socket, " still").await;
        started.reader = Some(started.handle.read());
        advance_ms(GRACE_MS * 2).await;
        started.hear(&mut socket, " here").await;
        started.reader = None;
        started.hear(&mut socket, ", bye").await;
        advance_ms(GRACE_MS).await;
        hung_up(&mut socket).await;
        assert_eq!(started.end().await.complete().finish_reason, FinishReason::Cancelled);
        world.stored(started).await;
    });
}
