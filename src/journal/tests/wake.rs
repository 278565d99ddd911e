//! A reader that waits is woken by the next append, and a poll always sees the tail.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Wake;

use super::*;

/// Counts how often it was woken.
#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Count {
    fn times(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

fn poll_with(cursor: &mut Cursor, count: &Arc<Count>) -> Poll<Option<Run>> {
    let waker = Waker::from(count.clone());
    cursor.poll_next(&mut Context::from_waker(&waker)).map(|run| run.expect("pages can be read"))
}

#[test]
fn an_append_wakes_every_reader_that_waits_once() {
    let world = World::new();
    let journal = world.journal();
    let mut writer = Writer::open(&journal, owner());
    let counts: [Arc<Count>; 3] = Default::default();
    let mut cursors = [(); 3].map(|()| world.cursor(&journal, Scope::Conversation, SyncId::ZERO));
    for (cursor, count) in cursors.iter_mut().zip(&counts) {
        assert!(poll_with(cursor, count).is_pending());
    }
    append(&mut writer, &[status("a"), status("b")]);
    append(&mut writer, &[status("c")]);
    assert_eq!(counts.each_ref().map(|count| count.times()), [1, 1, 1], "one wake-up until the next poll");
    for cursor in &mut cursors {
        assert_eq!(drain(cursor).0, [1, 2, 3], "one poll sees all that was appended meanwhile");
    }
}

#[test]
fn what_was_appended_before_the_poll_needs_no_wake_up() {
    let world = World::new();
    let journal = world.journal();
    let mut writer = Writer::open(&journal, owner());
    let mut cursor = world.cursor(&journal, Scope::Conversation, SyncId::ZERO);
    append(&mut writer, &[status("a")]);
    let count = Arc::new(Count::default());
    assert!(poll_with(&mut cursor, &count).is_ready());
    append(&mut writer, &[status("b")]);
    assert_eq!(count.times(), 0, "a reader that does not wait is not woken");
    assert!(poll_with(&mut cursor, &count).is_ready());
}

#[test]
fn only_the_last_task_that_polled_is_woken() {
    let world = World::new();
    let journal = world.journal();
    let mut writer = Writer::open(&journal, owner());
    let mut cursor = world.cursor(&journal, Scope::Conversation, SyncId::ZERO);
    let [before, after]: [Arc<Count>; 2] = Default::default();
    assert!(poll_with(&mut cursor, &before).is_pending());
    assert!(poll_with(&mut cursor, &after).is_pending());
    append(&mut writer, &[status("a")]);
    assert_eq!((before.times(), after.times()), (0, 1));
}

#[test]
fn a_reader_that_left_is_not_woken_and_its_place_serves_another() {
    let world = World::new();
    let journal = world.journal();
    let mut writer = Writer::open(&journal, owner());
    let [gone, stays, comes]: [Arc<Count>; 3] = Default::default();
    let mut first = world.cursor(&journal, Scope::Conversation, SyncId::ZERO);
    let mut second = world.cursor(&journal, Scope::Conversation, SyncId::ZERO);
    assert!(poll_with(&mut first, &gone).is_pending());
    assert!(poll_with(&mut second, &stays).is_pending());
    drop(first);
    let mut third = world.cursor(&journal, Scope::Conversation, SyncId::ZERO);
    assert!(poll_with(&mut third, &comes).is_pending());
    append(&mut writer, &[status("a")]);
    assert_eq!((gone.times(), stays.times(), comes.times()), (0, 1, 1));
    assert_eq!((drain(&mut second).0, drain(&mut third).0), (vec![1], vec![1]));
}

#[test]
fn the_others_of_a_conversation_do_not_end_the_wait_of_a_generations_reader() {
    let world = World::new();
    let journal = world.journal();
    let (mine, other) = (owner(), owner());
    let scope = Scope::Generation(mine.generation.expect("a generation"));
    let mut cursor = world.cursor(&journal, scope, SyncId::ZERO);
    let (mut mine, mut other) = (Writer::open(&journal, mine), Writer::open(&journal, other));
    let count = Arc::new(Count::default());
    assert!(poll_with(&mut cursor, &count).is_pending());
    append(&mut other, &[status("not mine")]);
    assert!(poll_with(&mut cursor, &count).is_pending());
    assert_eq!(cursor.position(), SyncId::new(1), "what is not this reader's counts as seen");
    let before = count.times();
    append(&mut mine, &[status("mine")]);
    assert_eq!(count.times(), before + 1, "and it waits again");
    assert_eq!(drain(&mut cursor).0, [2]);
}
