//! Several processes on one database: who may count and store, and who ends what another left open.

use std::time::Duration;

use super::postgres::database;
use super::server::{Database, query};
use super::*;
use crate::journal::PagesError;
use crate::store::testing::{runtime, settings};
use crate::store::{SqlStore, open};

async fn node(database: &Database, name: &str) -> Arc<SqlStore> {
    open(&settings(&database.url(), name), runtime()).await.expect("a database")
}

fn dynamic(store: &Arc<SqlStore>) -> Arc<dyn Store> {
    store.clone()
}

/// As if the process of that node had not been heard of for long.
async fn expire(database: &Database, name: &str) {
    let sql = format!("UPDATE nodes SET lease_until = now() - interval '1 s' WHERE name = '{name}'");
    query(&database.url(), &sql).await.expect("a lease");
}

#[tokio::test]
async fn a_node_that_lives_keeps_what_it_has_open() {
    let Some(database) = database().await else { return };
    let (a, b) = (node(&database, "a").await, node(&database, "b").await);
    let (store_a, store_b) = (dynamic(&a), dynamic(&b));
    let (registry_a, registry_b) = (registry(&store_a), registry(&store_b));
    let mut talk = Talk::begin(&registry_a, 1);
    record(&store_a, &talk.journal).await.expect("stored");
    let id = talk.journal.id();

    assert!(b.fence().await.expect("the store").is_empty(), "its lease has not run out");
    assert!(store_b.orphans().await.expect("the store").is_empty());
    assert!(matches!(registry_b.open(id).await, Err(PagesError::Elsewhere)));

    // When nothing is open there any more, the other one may go on, and counts on from there.
    talk.say(0, &[text("one")]);
    let last = talk.end(0);
    record(&store_a, &talk.journal).await.expect("stored");
    let journal = registry_b.open(id).await.expect("pages").expect("a conversation");
    assert_eq!(journal.last(), last);
}

#[tokio::test]
async fn a_node_that_was_cut_off_itself_takes_nobody_away() {
    let Some(database) = database().await else { return };
    let (a, b) = (node(&database, "a").await, node(&database, "b").await);
    expire(&database, "a").await;
    expire(&database, "b").await;
    assert!(b.fence().await.expect("the store").is_empty(), "neither the other one nor itself");
    b.renew().await.expect("it is still there");
    a.renew().await.expect("it is still there");
    assert!(b.fence().await.expect("the store").is_empty(), "everybody is back");
}

#[tokio::test]
async fn what_a_dead_node_left_open_is_ended_once_by_another() {
    let Some(database) = database().await else { return };
    let (a, b) = (node(&database, "a").await, node(&database, "b").await);
    let (store_a, store_b) = (dynamic(&a), dynamic(&b));
    let registry_a = registry(&store_a);
    let mut talk = Talk::begin(&registry_a, 1);
    talk.say(0, &[text("as far as it got")]);
    record(&store_a, &talk.journal).await.expect("stored");

    expire(&database, "a").await;
    assert_eq!(b.fence().await.expect("the store"), ["a"]);
    assert_eq!(store_b.orphans().await.expect("the store"), [talk.generation()]);

    // The first node was only slow, and is told so. Nothing of what it still says is stored.
    talk.say(0, &[text("too late")]);
    assert!(matches!(record(&store_a, &talk.journal).await, Err(StoreError::Fenced)));
    tokio::time::timeout(Duration::from_secs(20), a.fenced()).await.expect("it knows");
    assert!(matches!(a.renew().await, Err(StoreError::Fenced)));

    let backlog = Backlog::new(u64::MAX);
    let registry_b = Registry::new(store_b.clone(), backlog.clone());
    let settings = RecorderSettings { tick_ms: 5, max_tick_ms: 5 };
    let recorder = Recorder::start(store_b.clone(), backlog, settings, &runtime());
    assert_eq!(recover(&store_b, &registry_b, "").await.expect("recovered"), 1);
    assert_eq!(recover(&store_b, &registry_b, "").await.expect("recovered"), 0);
    let events = read(&registry_b, &store_b, talk.generation()).await;
    assert!(matches!(&events[..], [(_, Event::Text(_)), (_, Event::Reset(_)), (_, Event::Error(_))]), "{events:?}");
    let (after, _) = events[1];
    assert!(after > crate::journal::NUMBER_BLOCK, "number {after} may have been used before");
    assert!(recorder.stop(20_000).await);
}

#[tokio::test]
async fn what_a_dead_node_left_open_is_ended_before_its_conversation_goes_on() {
    let Some(database) = database().await else { return };
    let (a, b) = (node(&database, "a").await, node(&database, "b").await);
    let (store_a, store_b) = (dynamic(&a), dynamic(&b));
    let (registry_a, registry_b) = (registry(&store_a), registry(&store_b));
    let mut talk = Talk::begin(&registry_a, 1);
    talk.say(0, &[text("one")]);
    record(&store_a, &talk.journal).await.expect("stored");
    let id = talk.journal.id();
    expire(&database, "a").await;
    b.fence().await.expect("the store");
    // Whoever made it his own now would hide what is open from those who look for it.
    assert!(matches!(registry_b.open(id).await, Err(PagesError::Elsewhere)));
    assert_eq!(store_b.orphans().await.expect("the store"), [talk.generation()]);
    let journal = registry_b.open_above(id).await.expect("pages").expect("a conversation");
    assert_eq!(journal.last().get(), crate::journal::NUMBER_BLOCK);
}

#[tokio::test]
async fn recovery_counts_above_the_block_although_an_older_journal_is_in_memory() {
    let Some(database) = database().await else { return };
    let (a, b) = (node(&database, "a").await, node(&database, "b").await);
    let (store_a, store_b) = (dynamic(&a), dynamic(&b));
    let registry_a = registry(&store_a);
    let backlog = Backlog::new(u64::MAX);
    let registry_b = Registry::new(store_b.clone(), backlog.clone());
    let settings = RecorderSettings { tick_ms: 5, max_tick_ms: 5 };
    let recorder = Recorder::start(store_b.clone(), backlog, settings, &runtime());
    let mut first = Talk::begin(&registry_b, 1);
    first.end(0);
    record(&store_b, &first.journal).await.expect("stored");
    // A reader keeps it in memory, while the other node begins something in the conversation and dies.
    let kept = first.journal.clone();
    let journal = registry_a.open(kept.id()).await.expect("pages").expect("a conversation");
    let mut second = Talk::begin_in(&journal, false, 1);
    second.say(0, &[text("as far as it got")]);
    record(&store_a, &journal).await.expect("stored");
    expire(&database, "a").await;
    b.fence().await.expect("the store");

    assert_eq!(recover(&store_b, &registry_b, "").await.expect("recovered"), 1);
    let events = read(&registry_b, &store_b, second.generation()).await;
    assert!(matches!(&events[..], [(_, Event::Text(_)), (_, Event::Reset(_)), (_, Event::Error(_))]), "{events:?}");
    assert!(events[1].0 > crate::journal::NUMBER_BLOCK, "number {} may have been used before", events[1].0);
    // What the old journal would still begin is not stored, although the conversation is its process's again.
    let third = Talk::begin_in(&kept, false, 1);
    assert!(kept.unrecorded().is_none(), "it was discarded");
    assert_eq!(store_b.generation(third.generation()).await.expect("the store"), None);
    assert!(recorder.stop(20_000).await);
}

#[tokio::test]
async fn a_journal_that_is_old_adds_nothing_although_its_conversation_came_back() {
    let Some(database) = database().await else { return };
    let (a, b) = (node(&database, "a").await, node(&database, "b").await);
    let (store_a, store_b) = (dynamic(&a), dynamic(&b));
    let (registry_a, registry_b) = (registry(&store_a), registry(&store_b));
    let mut first = Talk::begin(&registry_a, 1);
    first.end(0);
    record(&store_a, &first.journal).await.expect("stored");
    let stale = first.journal.clone();
    let journal = registry_b.open(stale.id()).await.expect("pages").expect("a conversation");
    let mut second = Talk::begin_in(&journal, false, 1);
    second.end(0);
    record(&store_b, &journal).await.expect("stored");
    // On its way to the database while the conversation comes back.
    let third = Talk::begin_in(&stale, false, 1);
    let unit = stale.unrecorded().expect("rows");
    store_a.origin(stale.id()).await.expect("pages").expect("a conversation");
    assert!(matches!(store_a.commit(Arc::new(vec![unit])).await, Err(StoreError::Moved)));
    assert_eq!(store_a.generation(third.generation()).await.expect("the store"), None);
}

#[tokio::test]
async fn a_lease_is_renewed_while_a_transaction_of_its_node_runs_and_taken_away_only_after_it() {
    let Some(database) = database().await else { return };
    let (a, b) = (node(&database, "a").await, node(&database, "b").await);
    let store_a = dynamic(&a);
    let talk = Talk::begin(&registry(&store_a), 1);
    let message = Event::Message(crate::event::UserMessage {
        message_id: talk.begin.input[0].id,
        role: Role::User,
        content: "hi".into(),
    });
    Writer::append_input(
        &talk.journal,
        Owner { message: talk.begin.input[0].id, generation: None, writer: None },
        message,
    )
    .await;
    // Its transaction has looked at the node's row, and cannot go on for a while.
    let url = database.url();
    let blocked = "BEGIN; LOCK TABLE event_batches; SELECT pg_sleep(2); COMMIT";
    let blocking = tokio::spawn(async move { query(&url, blocked).await });
    let until = async |sql: &str| {
        while query(&database.url(), sql).await.expect("readable") != "1" {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let of_this = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND";
    until(&format!("{of_this} wait_event = 'PgSleep'")).await;
    let unit = talk.journal.unrecorded().expect("rows");
    let committing = tokio::spawn(async move { store_a.commit(Arc::new(vec![unit])).await });
    // Others may wait for that table as well.
    let holds =
        "EXISTS (SELECT 1 FROM pg_locks WHERE pid = pg_stat_activity.pid AND relation = 'nodes'::regclass AND granted)";
    until(&format!("{of_this} wait_event_type = 'Lock' AND {holds}")).await;
    a.renew().await.expect("the lease is ours");
    assert!(!blocking.is_finished(), "the renewal waited for the transaction");
    expire(&database, "a").await;
    assert_eq!(b.fence().await.expect("the store"), ["a"]);
    // Whoever took the lease away sees everything that was stored under it.
    assert!(dynamic(&b).generation(talk.generation()).await.expect("the store").is_some());
    committing.await.expect("it ran").expect("it was stored");
    blocking.await.expect("it ran").expect("it was carried out");
}

#[tokio::test]
async fn a_journal_that_is_old_by_now_adds_nothing_and_is_found_anew() {
    let Some(database) = database().await else { return };
    let (a, b) = (node(&database, "a").await, node(&database, "b").await);
    let (store_a, store_b) = (dynamic(&a), dynamic(&b));
    let (registry_a, registry_b) = (registry(&store_a), registry(&store_b));
    let mut first = Talk::begin(&registry_a, 1);
    first.end(0);
    record(&store_a, &first.journal).await.expect("stored");
    // A reader keeps it in memory, while the other node goes on with the conversation.
    let kept = first.journal.clone();
    let journal = registry_b.open(kept.id()).await.expect("pages").expect("a conversation");
    let mut second = Talk::begin_in(&journal, false, 1);
    let last = second.end(0);
    record(&store_b, &journal).await.expect("stored");

    let third = Talk::begin_in(&kept, false, 1);
    let unit = kept.unrecorded().expect("rows");
    assert!(matches!(store_a.commit(Arc::new(vec![unit.clone()])).await, Err(StoreError::Moved)));
    kept.moved(unit);
    assert_eq!(store_a.generation(third.generation()).await.expect("the store"), None);
    let fresh = registry_a.open(kept.id()).await.expect("pages").expect("a conversation");
    assert!(!Arc::ptr_eq(&fresh, &kept));
    assert_eq!(fresh.last(), last);
}

#[tokio::test]
async fn a_journal_that_is_old_is_not_given_to_readers() {
    let Some(database) = database().await else { return };
    let (a, b) = (node(&database, "a").await, node(&database, "b").await);
    let (store_a, store_b) = (dynamic(&a), dynamic(&b));
    let (registry_a, registry_b) = (registry(&store_a), registry(&store_b));
    let mut first = Talk::begin(&registry_a, 1);
    first.end(0);
    record(&store_a, &first.journal).await.expect("stored");
    let kept = first.journal.clone();
    assert!(Arc::ptr_eq(&registry_a.open(kept.id()).await.expect("pages").expect("a conversation"), &kept));
    let journal = registry_b.open(kept.id()).await.expect("pages").expect("a conversation");
    let mut second = Talk::begin_in(&journal, false, 1);
    assert!(Arc::ptr_eq(&registry_b.open(kept.id()).await.expect("pages").expect("a conversation"), &journal));
    record(&store_b, &journal).await.expect("stored");
    assert!(matches!(registry_a.open(kept.id()).await, Err(PagesError::Elsewhere)));
    let last = second.end(0);
    record(&store_b, &journal).await.expect("stored");
    let fresh = registry_a.open(kept.id()).await.expect("pages").expect("a conversation");
    assert_eq!(fresh.last(), last);
    // A late word of the old one does not take the new one's place away.
    kept.push(Write::Reserve(SyncId::new(1)), false);
    assert!(kept.unrecorded().is_none());
    assert!(Arc::ptr_eq(&registry_a.open(kept.id()).await.expect("pages").expect("a conversation"), &fresh));
}

#[tokio::test]
async fn a_process_that_starts_again_takes_its_own_place_at_once() {
    let Some(database) = database().await else { return };
    let a = node(&database, "a").await;
    let store = dynamic(&a);
    let talk = Talk::begin(&registry(&store), 1);
    record(&store, &talk.journal).await.expect("stored");
    let before = a.node().clone();
    drop((a, store));
    let again = node(&database, "a").await;
    assert!(again.node().epoch > before.epoch);
    assert_eq!(dynamic(&again).orphans().await.expect("the store"), [talk.generation()]);
}

#[tokio::test]
async fn a_name_that_is_in_use_is_refused() {
    let Some(database) = database().await else { return };
    let mut settings = settings(&database.url(), "a");
    settings.lease_ms = 500;
    let first = open(&settings, runtime()).await.expect("a database");
    let (renewing, stop) = (first.clone(), Arc::new(tokio::sync::Notify::new()));
    let stopped = stop.clone();
    let renewals = tokio::spawn(async move {
        loop {
            renewing.renew().await.expect("the lease is ours");
            tokio::select! {
                () = tokio::time::sleep(Duration::from_millis(100)) => {}
                () = stopped.notified() => return,
            }
        }
    });
    let second = open(&settings, runtime()).await;
    assert!(matches!(second, Err(OpenError::NodeInUse { .. })));
    stop.notify_one();
    renewals.await.expect("it kept its lease");
    dynamic(&first).ping().await.expect("the first one goes on");
    first.leave().await.expect("the store");
}

#[tokio::test]
async fn a_name_that_was_taken_from_a_paused_process_is_refused_to_a_third() {
    let Some(database) = database().await else { return };
    let mut settings = settings(&database.url(), "a");
    settings.lease_ms = 300;
    let paused = open(&settings, runtime()).await.expect("a database");
    // Its connection lives, its lease runs out.
    let second = open(&settings, runtime()).await.expect("its lease has run out");
    assert!(matches!(paused.renew().await, Err(StoreError::Fenced)));
    drop(paused);
    let locks = "SELECT count(*) FROM pg_locks JOIN pg_database d ON d.oid = database
        WHERE locktype = 'advisory' AND d.datname = current_database()";
    while query(&database.url(), locks).await.expect("readable") != "0" {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let renewals = async {
        loop {
            second.renew().await.expect("the lease is ours");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let third = async {
        let has_it = async {
            while query(&database.url(), locks).await.expect("readable") != "1" {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), has_it).await.expect("a renewal takes the name");
        open(&settings, runtime()).await
    };
    tokio::select! {
        never = renewals => never,
        refused = third => assert!(matches!(refused, Err(OpenError::NodeInUse { .. }))),
    }
}

#[tokio::test]
async fn a_generation_that_was_refused_for_its_id_does_not_end_the_one_that_has_it() {
    let Some(database) = database().await else { return };
    for store in [dynamic(&node(&database, "a").await), Folder::new().open().await] {
        let registry = registry(&store);
        let first = Talk::begin(&registry, 1);
        record(&store, &first.journal).await.expect("stored");
        let other = Talk::begin(&registry, 1);
        record(&store, &other.journal).await.expect("stored");
        // What a generation writes of which the rows that begin it were refused.
        let id = first.generation();
        let end = GenerationEnd {
            id,
            status: MessageStatus::Error,
            messages: Vec::new(),
            rekey: Some(GenerationId::new()),
            at_us: 1,
        };
        other.journal.push(Write::GenerationEnd(end), false);
        record(&store, &other.journal).await.expect("stored");
        let stored = store.generation(id).await.expect("the store").expect("a generation");
        assert_eq!(stored.status, MessageStatus::Streaming);
    }
}

#[tokio::test]
async fn a_generation_id_that_another_conversation_has_is_refused() {
    let Some(database) = database().await else { return };
    for store in [dynamic(&node(&database, "a").await), Folder::new().open().await] {
        let registry = registry(&store);
        let first = Talk::begin(&registry, 1);
        record(&store, &first.journal).await.expect("stored");
        let journal = registry.create(ConversationId::new());
        let begin = Begin { conversation: journal.id(), ..first.begin.clone() };
        journal.push(Write::Begin(Arc::new(begin)), false);
        assert!(matches!(record(&store, &journal).await, Err(StoreError::Refused(_))));
        // The same one again is the same, and no fault.
        first.journal.push(Write::Begin(Arc::new(first.begin.clone())), false);
        record(&store, &first.journal).await.expect("stored");
    }
}

#[tokio::test]
async fn a_message_id_that_another_conversation_has_is_refused() {
    let Some(database) = database().await else { return };
    for store in [dynamic(&node(&database, "a").await), Folder::new().open().await] {
        let registry = registry(&store);
        let first = Talk::begin(&registry, 1);
        record(&store, &first.journal).await.expect("stored");
        let journal = registry.create(ConversationId::new());
        let begin = Begin { conversation: journal.id(), generation: GenerationId::new(), ..first.begin.clone() };
        journal.push(Write::Begin(Arc::new(begin)), false);
        assert!(matches!(record(&store, &journal).await, Err(StoreError::Refused(_))));
    }
}

#[tokio::test]
async fn a_transaction_that_is_repeated_late_takes_no_number_back() {
    let Some(database) = database().await else { return };
    let (a, b) = (node(&database, "a").await, node(&database, "b").await);
    let (store_a, store_b) = (dynamic(&a), dynamic(&b));
    let (registry_a, registry_b) = (registry(&store_a), registry(&store_b));
    let mut first = Talk::begin(&registry_a, 1);
    record(&store_a, &first.journal).await.expect("stored");
    first.end(0);
    let unit = first.journal.unrecorded().expect("an end");
    store_a.commit(Arc::new(vec![unit.clone()])).await.expect("stored, and the answer is lost");

    let journal = registry_b.open(first.journal.id()).await.expect("pages").expect("a conversation");
    let mut second = Talk::begin_in(&journal, false, 1);
    journal.push(Write::Reserve(SyncId::new(500_000)), false);
    let last = second.end(0);
    record(&store_b, &journal).await.expect("stored");

    store_a.commit(Arc::new(vec![unit])).await.expect("stored already");
    let origin = store_b.origin(journal.id()).await.expect("pages").expect("a conversation");
    assert_eq!((origin.last, origin.reserved), (last, SyncId::new(500_000)));
}
