//! No number is given out that was not reserved, none twice, and numbering goes on above what was.

use super::*;

const LEFT: u64 = 10;

/// A conversation with [`LEFT`] numbers left, 100 being the last one in use.
async fn nearly_out(world: &World) -> Arc<Journal> {
    let id = ConversationId::new();
    world.kept.put(id, 100, 100 + LEFT);
    world.registry.open(id).await.expect("pages").expect("a conversation")
}

fn reserves(unit: &Unrecorded) -> Vec<u64> {
    let reserve = |write: &Write| if let Write::Reserve(through) = write { Some(through.get()) } else { None };
    unit.writes.iter().filter_map(reserve).collect()
}

#[tokio::test]
async fn a_writer_without_numbers_waits_and_goes_on_after_the_grant() {
    let world = World::new();
    let journal = nearly_out(&world).await;
    let mut writer = Writer::open(&journal, owner());
    for _ in 0..LEFT {
        append(&mut writer, &[status("x")]);
    }
    assert_eq!(journal.last().get(), 100 + LEFT);
    let one_more = [status("one more")];
    let mut waiting = Box::pin(writer.append(&one_more, 0));
    assert!(waiting.as_mut().now_or_never().is_none());
    let unit = journal.unrecorded().expect("a wish for numbers");
    assert!(waiting.as_mut().now_or_never().is_none(), "asking is not having");
    assert_eq!(journal.last().get(), 100 + LEFT, "nothing above what was reserved");
    world.kept.commit(&unit);
    assert!(waiting.as_mut().now_or_never().is_none(), "having is known when the recorder says so");
    journal.recorded(unit);
    waiting.await;
    assert_eq!(journal.last().get(), 100 + LEFT + 1);
    assert!(journal.last().get() <= world.kept.reserved(journal.id()));
}

#[tokio::test]
async fn several_writers_wait_for_one_grant() {
    let world = World::new();
    let journal = nearly_out(&world).await;
    let mut writers = [(); 4].map(|()| Writer::open(&journal, owner()));
    append(&mut writers[0], &vec![status("x"); usize::try_from(LEFT).expect("small")]);
    let long = [text("word ".repeat(20_000))];
    let mut waiting: Vec<_> = writers.iter_mut().map(|writer| Box::pin(writer.append(&long, 0))).collect();
    for append in &mut waiting {
        assert!(append.as_mut().now_or_never().is_none());
    }
    world.record(&journal);
    for append in waiting {
        append.now_or_never().expect("numbers for all");
    }
    assert!(journal.last().get() > 100 + LEFT + 4 * 20);
    assert!(journal.last().get() <= world.kept.reserved(journal.id()));
}

#[tokio::test]
async fn an_event_that_may_not_fit_waits_as_a_whole() {
    let world = World::new();
    let journal = nearly_out(&world).await;
    let mut writer = Writer::open(&journal, owner());
    let long = [status("short"), text("x".repeat(64 * 1024))];
    let mut waiting = Box::pin(writer.append(&long, 0));
    assert!(waiting.as_mut().now_or_never().is_none());
    assert_eq!(journal.last().get(), 100, "all events of an append or none");
    world.record(&journal);
    waiting.await;
    let mut cursor = world.cursor(&journal, Scope::Conversation, SyncId::new(100));
    let ids = drain(&mut cursor).0;
    assert!(ids.iter().copied().eq(101..=journal.last().get()));
}

#[tokio::test]
async fn a_refusal_does_not_leave_a_writer_without_numbers_for_good() {
    let world = World::new();
    let journal = nearly_out(&world).await;
    let mut writer = Writer::open(&journal, owner());
    append(&mut writer, &vec![status("x"); usize::try_from(LEFT).expect("small")]);
    let one_more = [status("one more")];
    let mut waiting = Box::pin(writer.append(&one_more, 0));
    assert!(waiting.as_mut().now_or_never().is_none());
    let backlog = world.registry.backlog();
    drop(backlog.take_dirty());
    let unit = journal.unrecorded().expect("events and a wish");
    journal.refused(unit);
    assert!(waiting.as_mut().now_or_never().is_none(), "what was refused is not reserved");
    assert!(backlog.has_dirty(), "the recorder is told that numbers are still missing");
    for journal in backlog.take_dirty() {
        world.record(&journal);
    }
    waiting.now_or_never().expect("numbers");
    assert!(journal.last().get() <= world.kept.reserved(journal.id()));
}

#[test]
fn the_next_block_is_asked_for_when_half_is_used() {
    let world = World::new();
    let journal = world.journal();
    assert!(journal.unrecorded().is_none(), "a fresh journal has a block");
    let mut writer = Writer::open(&journal, owner());
    let half = usize::try_from(NUMBER_BLOCK / 2).expect("small");
    append(&mut writer, &vec![status("x"); half - 1]);
    let unit = journal.unrecorded().expect("events");
    assert!(reserves(&unit).is_empty());
    world.kept.commit(&unit);
    journal.recorded(unit);
    append(&mut writer, &[status("x")]);
    let unit = journal.unrecorded().expect("events");
    let [through] = reserves(&unit)[..] else { panic!("one block is reserved: {:?}", unit.writes) };
    assert!(through >= journal.last().get() + NUMBER_BLOCK);
    world.kept.commit(&unit);
    journal.recorded(unit);
    assert!(journal.unrecorded().is_none(), "and not a second one");
}

#[tokio::test]
async fn numbering_goes_on_above_the_last_number_or_above_the_block() {
    let world = World::new();
    let id = ConversationId::new();
    world.kept.put(id, 40, 500);
    let journal = world.registry.open(id).await.expect("pages").expect("a conversation");
    let mut writer = Writer::open(&journal, owner());
    append(&mut writer, &[status("x")]);
    assert_eq!(journal.last().get(), 41);
    drop((journal, writer));
    drop(world.registry.backlog().take_dirty());

    let journal = world.registry.open_above(id).await.expect("pages").expect("a conversation");
    let mut writer = Writer::open(&journal, owner());
    let event = [status("x")];
    let mut waiting = Box::pin(writer.append(&event, 0));
    assert!(waiting.as_mut().now_or_never().is_none(), "the old block is spent");
    world.record(&journal);
    waiting.await;
    assert_eq!(journal.last().get(), 501);
}
