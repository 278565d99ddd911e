//! What every backend keeps and gives back.

use super::*;
use crate::event::{Fold, Opaque, OpaqueForm};

fn usage() -> Usage {
    Usage {
        input_tokens: 3,
        output_tokens: 9,
        reasoning_tokens: Some(4),
        cached_input_tokens: None,
        total_tokens: 12,
        source: UsageSource::Reported,
    }
}

fn call(arguments: &str, done: bool) -> Event {
    let name = (!done).then(|| "look_up".to_owned());
    Event::ToolCall(ToolCallDelta { id: "call_1".into(), name, arguments: arguments.into(), block: 2, done })
}

/// A stored message and what is beside it, after the process that wrote it is gone.
async fn stored_and_reopened(backend: &dyn Backend, events: &[Event]) -> (StoredGeneration, Begin, SyncId) {
    let store = backend.open().await;
    let registry = registry(&store);
    let mut talk = Talk::begin(&registry, 1);
    talk.say(0, events);
    let last = talk.end(0);
    record(&store, &talk.journal).await.expect("stored");
    let begin = talk.begin.clone();
    drop((talk, registry, store));
    let generation = backend.open().await.generation(begin.generation).await.expect("the store");
    (generation.expect("a generation"), begin, last)
}

pub async fn a_message_comes_back_as_it_was(backend: &dyn Backend) {
    let events = [
        reasoning("Nul\0l? "),
        reasoning("Hm 🤔."),
        text("It is a\0b"),
        text(" 👩‍👩‍👧 done"),
        Event::Refusal(delta("not\0that", 3)),
        call("{\"q\":\"a\0", false),
        call("b\"}", true),
        Event::Reasoning(delta("Again.", 4)),
        Event::Usage(usage()),
    ];
    let (stored, begin, last) = stored_and_reopened(backend, &events).await;
    assert_eq!((stored.conversation, stored.status), (begin.conversation, MessageStatus::Complete));
    assert_eq!((stored.body_hash.as_slice(), stored.request_id.as_str()), (&[7; 32][..], "request-1"));
    assert_eq!((stored.created_at_us, stored.last), (begin.at_us, Some(last)));

    let input = stored.input().next().expect("the client's message");
    assert_eq!((input.id, input.role), (begin.input[0].id, Role::User));
    assert_eq!(input.content.text, "What is a \u{fffd} good for? 🦀");
    assert_eq!(input.status, MessageStatus::Complete);

    let output = stored.output().next().expect("the model's message");
    assert_eq!((output.id, output.role, output.status), (begin.output[0].id, Role::Assistant, MessageStatus::Complete));
    assert_eq!(output.content.reasoning, "Nul\u{fffd}l? Hm 🤔.Again.");
    assert_eq!(output.content.text, "It is a\u{fffd}b 👩‍👩‍👧 done");
    assert_eq!(output.content.refusal, "not\u{fffd}that");
    let arguments = "{\"q\":\"a\u{fffd}b\"}".to_owned();
    let calls = [ToolCall { id: "call_1".into(), name: "look_up".into(), arguments }];
    assert_eq!(output.content.tool_calls, calls);
    assert_eq!(output.content.usage, Some(usage()));
    assert_eq!(output.metadata, BTreeMap::from([("place".into(), "a\u{fffd}b".into())]));
    assert_eq!(output.finish_reason, Some(FinishReason::Stop));
    assert_eq!(output.timing.map(|timing| timing.total_ms), Some(20));
    assert_eq!((output.first, output.last, output.error.clone()), (Some(SyncId::new(1)), Some(last), None));

    let blocks: Vec<_> =
        output.content.blocks().into_iter().map(|block| (block.block, block.kind, block.text)).collect();
    let expected = [
        (0, BlockKind::Reasoning, "Nul\u{fffd}l? Hm 🤔."),
        (1, BlockKind::Text, "It is a\u{fffd}b 👩‍👩‍👧 done"),
        (3, BlockKind::Refusal, "not\u{fffd}that"),
        (2, BlockKind::ToolCall, "call_1"),
        (4, BlockKind::Reasoning, "Again."),
    ];
    assert_eq!(blocks, expected.map(|(block, kind, text)| (block, kind, text.to_owned())));
}

pub async fn what_only_the_provider_reads_comes_back_and_is_no_event(backend: &dyn Backend) {
    let opaque = |block, kind, form, value: &str| Event::Opaque(Opaque { block, kind, form, value: value.to_owned() });
    let (thinking, calling) = (BlockKind::Reasoning, BlockKind::ToolCall);
    let item = r#"{"id": "r",  "summary": [], "n": 1.50}"#;
    let events = [
        reasoning("Hm."),
        opaque(0, thinking, OpaqueForm::Signature, "sig-a"),
        Event::Reasoning(Delta { content: String::new(), block: 1, redacted: true }),
        opaque(1, thinking, OpaqueForm::Redacted, "withheld=="),
        call("{}", true),
        opaque(2, calling, OpaqueForm::Signature, "sig-b"),
        opaque(3, thinking, OpaqueForm::Item, item),
        opaque(3, thinking, OpaqueForm::Item, "[]"),
    ];
    let (stored, ..) = stored_and_reopened(backend, &events).await;
    let output = stored.output().next().expect("the model's message");
    let mut live = Fold::default();
    events.iter().for_each(|event| live.apply(event, 5));
    assert_eq!(output.content.origin("p", "m"), live.origin("p", "m"));
    let blocks = live.origin("p", "m").expect("an origin").blocks;
    assert_eq!(blocks[3].items, [item, "[]"], "byte for byte");
    assert_eq!((blocks[1].redacted.as_deref(), blocks[2].signature.as_deref()), (Some("withheld=="), Some("sig-b")));
}

pub async fn the_content_of_a_conversation_has_a_size(backend: &dyn Backend) {
    let events = [reasoning("Hm 🤔."), text("It is done."), call("{\"q\":1}", true)];
    let (stored, begin, _) = stored_and_reopened(backend, &events).await;
    let content = |message: &StoredMessage| {
        message.content.text.len()
            + message.content.reasoning.len()
            + message.content.tool_calls.iter().map(|call| call.arguments.len()).sum::<usize>()
    };
    let least: usize = stored.input().chain(stored.output()).map(content).sum();
    let store = backend.open().await;
    let bytes = store.content_bytes(begin.conversation).await.expect("the store");
    assert!(bytes >= least && bytes < least + 1000, "{bytes} bytes for {least} bytes of text");
    assert_eq!(store.content_bytes(ConversationId::new()).await.expect("the store"), 0);
}

pub async fn text_that_looks_like_an_escape_stays_as_it_is(backend: &dyn Backend) {
    let thought = r"In JSON it is \u0000, escaped \\u0000, and as a character";
    let events = [reasoning(thought), reasoning("\0\\\0."), call(r#"{"nul":"\u0000"}"#, false), text(r"\u0000")];
    let (stored, ..) = stored_and_reopened(backend, &events).await;
    let content = &stored.output().next().expect("a message").content;
    assert_eq!(content.reasoning, format!("{thought}\u{fffd}\\\u{fffd}."));
    assert_eq!(content.text, r"\u0000");
    assert_eq!(content.tool_calls[0].arguments, r#"{"nul":"\u0000"}"#);
}

pub async fn events_come_back_byte_for_byte(backend: &dyn Backend) {
    let store = backend.open().await;
    let registry = registry(&store);
    let mut talk = Talk::begin(&registry, 1);
    talk.say(0, &[reasoning("a\0b"), text(&"long 🦀 ".repeat(3_000))]);
    talk.say(0, &[text("second append")]);
    let unit = talk.journal.unrecorded().expect("events");
    let frames: Vec<_> = unit.runs.iter().map(|run| run.frames.clone()).collect();
    store.commit(Arc::new(vec![unit])).await.expect("stored");
    let page = store.page(talk.journal.id(), SyncId::ZERO, 1 << 20).await.expect("a page");
    assert_eq!(page.iter().map(|run| run.frames.clone()).collect::<Vec<_>>(), frames);
    let owner = Owner { message: talk.message(0), generation: Some(talk.generation()), writer: None };
    assert!(page.iter().all(|run| *run.owner == owner));
    let runs = store.runs_of(talk.journal.id(), talk.message(0)).await.expect("runs");
    assert_eq!(runs.iter().map(|stored| stored.run.clone()).collect::<Vec<_>>(), page);
    assert!(runs.iter().all(|stored| stored.recorded_at_ms * 1000 + 1000 > talk.begin.at_us as u64));
    assert!(store.page(ConversationId::new(), SyncId::ZERO, 1).await.expect("a page").is_empty());
}

pub async fn a_page_ends_at_its_limit_and_goes_on_from_any_position(backend: &dyn Backend) {
    let store = backend.open().await;
    let registry = registry(&store);
    let mut talk = Talk::begin(&registry, 1);
    for _ in 0..6 {
        for _ in 0..5 {
            talk.say(0, &[text(&"x".repeat(500))]);
        }
        record(&store, &talk.journal).await.expect("stored");
    }
    let id = talk.journal.id();
    let page = async |after: u64, max_bytes| {
        let page = store.page(id, SyncId::new(after), max_bytes).await.expect("a page");
        page.iter().map(|run| (run.first.get(), run.last.get())).collect::<Vec<_>>()
    };
    assert_eq!(page(0, 1 << 20).await, [(1, 5), (6, 10), (11, 15), (16, 20), (21, 25), (26, 30)]);
    assert_eq!(page(0, 1).await, [(1, 5)], "at least one");
    assert_eq!(page(0, 4_000).await, [(1, 5), (6, 10)], "about so many bytes");
    assert_eq!(page(5, 1).await, [(6, 10)]);
    assert_eq!(page(7, 1).await, [(6, 10)], "in the middle of a run: that run");
    assert_eq!(page(29, 1 << 20).await, [(26, 30)]);
    assert!(page(30, 1 << 20).await.is_empty());
    assert!(page(9_999, 1).await.is_empty());
}

pub async fn the_origin_follows_the_end_of_generations_and_the_reservation(backend: &dyn Backend) {
    let store = backend.open().await;
    let registry = registry(&store);
    let mut talk = Talk::begin(&registry, 1);
    let id = talk.journal.id();
    assert_eq!(store.origin(id).await.expect("the store"), None);
    talk.say(0, &[text("one"), text("two")]);
    record(&store, &talk.journal).await.expect("stored");
    let origin = store.origin(id).await.expect("the store").expect("a conversation");
    let block = SyncId::new(crate::journal::NUMBER_BLOCK);
    assert_eq!((origin.reserved, origin.trimmed), (block, SyncId::ZERO));
    let last = talk.end(0);
    talk.journal.push(Write::Reserve(block.plus(77)), false);
    record(&store, &talk.journal).await.expect("stored");
    let origin = store.origin(id).await.expect("the store").expect("a conversation");
    assert_eq!((origin.last, origin.reserved), (last, block.plus(77)));
    let conversation = store.conversation(id).await.expect("the store").expect("a conversation");
    assert_eq!((conversation.last, conversation.updated_at_us), (last, talk.begin.at_us + 6));
}

pub async fn conversations_are_listed_newest_change_first(backend: &dyn Backend) {
    let store = backend.open().await;
    let mut expected = Vec::new();
    for at_us in [30, 10, 20, 20, 20] {
        let conversation = StoredConversation {
            id: ConversationId::new(),
            title: Some(format!("at {at_us}")),
            created_at_us: at_us,
            updated_at_us: at_us,
            last: SyncId::ZERO,
            trimmed: SyncId::ZERO,
            external_id: None,
        };
        store.create_conversation(conversation.clone()).await.expect("stored");
        expected.push(conversation);
    }
    expected.sort_by_key(|conversation| std::cmp::Reverse((conversation.updated_at_us, conversation.id)));
    assert_eq!(store.conversations(None, 10).await.expect("a list"), expected);
    for limit in 1..4 {
        let (mut all, mut after) = (Vec::new(), None);
        loop {
            let page = store.conversations(after, limit).await.expect("a list");
            assert!(page.len() <= limit as usize);
            let Some(last) = page.last() else { break };
            after = Some(ListPlace { updated_at_us: last.updated_at_us, id: last.id });
            all.extend(page);
        }
        assert_eq!(all, expected, "pages of {limit}");
    }
    // A request moves its conversation to the front.
    let registry = registry(&store);
    let oldest = expected.last().expect("a conversation").id;
    let journal = registry.open(oldest).await.expect("pages").expect("a conversation");
    let _talk = Talk::begin_in(&journal, false, 1);
    record(&store, &journal).await.expect("stored");
    let first = &store.conversations(None, 1).await.expect("a list")[0];
    assert_eq!((first.id, first.title.as_deref()), (oldest, Some("at 10")));
}

pub async fn a_generation_runs_until_its_end_is_stored(backend: &dyn Backend) {
    let store = backend.open().await;
    let registry = registry(&store);
    let mut talks = [Talk::begin(&registry, 1), Talk::begin(&registry, 1)];
    for talk in &talks {
        record(&store, &talk.journal).await.expect("stored");
    }
    let both = talks.each_ref().map(Talk::generation);
    let statuses = async || {
        let status = async |id| store.generation(id).await.expect("the store").map(|stored| stored.status);
        [status(both[0]).await, status(both[1]).await]
    };
    let (streaming, complete) = (Some(MessageStatus::Streaming), Some(MessageStatus::Complete));
    assert_eq!(statuses().await, [streaming, streaming]);
    talks[0].end(0);
    assert_eq!(statuses().await, [streaming, streaming]);
    record(&store, &talks[0].journal).await.expect("stored");
    assert_eq!(statuses().await, [complete, streaming]);
    assert_eq!(store.generation(GenerationId::new()).await.expect("the store"), None);
    assert!(store.orphans().await.expect("the store").is_empty(), "their process is alive");
    drop((talks, registry, store));
    assert_eq!(backend.open().await.orphans().await.expect("the store"), [both[1]], "their process is gone");
}

pub async fn a_commit_that_is_repeated_adds_nothing(backend: &dyn Backend) {
    let store = backend.open().await;
    let registry = registry(&store);
    let mut talk = Talk::begin(&registry, 2);
    talk.say(0, &[text("one")]);
    talk.say(1, &[text("other")]);
    talk.end(0);
    let unit = Arc::new(vec![talk.journal.unrecorded().expect("events")]);
    store.commit(unit.clone()).await.expect("stored");
    let id = talk.journal.id();
    let state = async || {
        let page = store.page(id, SyncId::ZERO, 1 << 20).await.expect("a page");
        let messages = store.messages(id).await.expect("the store");
        let conversation = store.conversation(id).await.expect("the store");
        (page, messages, conversation, store.origin(id).await.expect("the store"))
    };
    let before = state().await;
    assert_eq!((before.0.len(), before.1.len()), (3, 3));
    store.commit(unit).await.expect("stored again");
    assert_eq!(state().await, before);
}

pub async fn events_of_a_conversation_that_does_not_exist_are_refused(backend: &dyn Backend) {
    let store = backend.open().await;
    let registry = registry(&store);
    let journal = registry.create(ConversationId::new());
    let mut writer = Writer::open(&journal, Owner { message: MessageId::new(), generation: None, writer: None });
    writer.append(&[text("lost")], 0).await;
    let refused = record(&store, &journal).await;
    assert!(matches!(refused, Err(StoreError::Refused(_))), "{refused:?}");
}

pub async fn a_refused_commit_leaves_nothing_behind(backend: &dyn Backend) {
    let store = backend.open().await;
    let registry = registry(&store);
    let good = Talk::begin(&registry, 1);
    let bad = registry.create(ConversationId::new());
    let mut writer = Writer::open(&bad, Owner { message: MessageId::new(), generation: None, writer: None });
    writer.append(&[text("lost")], 0).await;
    let units = vec![good.journal.unrecorded().expect("rows"), bad.unrecorded().expect("events")];
    let refused = store.commit(Arc::new(units)).await;
    assert!(matches!(refused, Err(StoreError::Refused(_))), "{refused:?}");
    assert_eq!(store.conversation(good.journal.id()).await.expect("the store"), None, "all or nothing");
}

pub async fn the_end_of_a_message_that_is_gone_is_refused(backend: &dyn Backend) {
    let store = backend.open().await;
    let registry = registry(&store);
    let mut talk = Talk::begin(&registry, 1);
    talk.say(0, &[text("all that there is to say")]);
    record(&store, &talk.journal).await.expect("stored");
    assert!(store.delete_conversation(talk.journal.id()).await.expect("the store"));
    let end = talk.end_row(0, MessageStatus::Complete);
    talk.journal.push(Write::MessageEnd(Box::new(end)), false);
    let refused = record(&store, &talk.journal).await;
    assert!(matches!(refused, Err(StoreError::Refused(_))), "{refused:?}");
}

pub async fn a_nul_in_any_text_is_no_reason_to_refuse_it(backend: &dyn Backend) {
    let store = backend.open().await;
    let registry = registry(&store);
    let journal = registry.create(ConversationId::new());
    let begin = Begin {
        conversation: journal.id(),
        new_conversation: true,
        generation: GenerationId::new(),
        idempotency_key: None,
        body_hash: [7; 32],
        request_id: "request-1".into(),
        task_id: None,
        input: vec![InputMessage {
            id: MessageId::new(),
            role: Role::Tool,
            content: "\0".into(),
            tool_calls: Vec::new(),
            tool_call_id: Some("call\0".into()),
        }],
        output: vec![MessageStart {
            id: MessageId::new(),
            provider: "pro\0vider".into(),
            model: "mo\0del".into(),
            metadata: BTreeMap::new(),
        }],
        at_us: 1,
    };
    let generation = begin.generation;
    journal.push(Write::Begin(Arc::new(begin)), false);
    record(&store, &journal).await.expect("stored");
    let stored = store.generation(generation).await.expect("the store").expect("a generation");
    assert_eq!(stored.messages[0].tool_call_id.as_deref(), Some("call\u{fffd}"));
    assert_eq!(stored.messages[1].model.as_deref(), Some("mo\u{fffd}del"));
    assert_eq!(stored.messages[1].provider.as_deref(), Some("pro\u{fffd}vider"));

    let (id, title) = (ConversationId::new(), Some("ti\0tle".to_owned()));
    let zero = SyncId::ZERO;
    let titled = StoredConversation {
        id,
        title,
        created_at_us: 1,
        updated_at_us: 1,
        last: zero,
        trimmed: zero,
        external_id: None,
    };
    store.create_conversation(titled).await.expect("stored");
    let stored = store.conversation(id).await.expect("the store").expect("a conversation");
    assert_eq!(stored.title.as_deref(), Some("ti\u{fffd}tle"));
}

pub async fn a_key_leads_to_its_latest_generation_until_that_fails_or_is_too_old(backend: &dyn Backend) {
    let store = backend.open().await;
    let registry = registry(&store);
    let keyed = async |at_us| {
        let journal = registry.create(ConversationId::new());
        let begin = Begin {
            conversation: journal.id(),
            new_conversation: true,
            generation: GenerationId::new(),
            idempotency_key: Some("key".into()),
            body_hash: [7; 32],
            request_id: "r".to_owned(),
            task_id: None,
            input: Vec::new(),
            output: Vec::new(),
            at_us,
        };
        journal.push(Write::Begin(Arc::new(begin.clone())), false);
        record(&store, &journal).await.expect("stored");
        (journal, begin.generation)
    };
    let (_, old) = keyed(1_000).await;
    let (journal, new) = keyed(2_000).await;
    let found = async |key: &str, not_before_us| {
        let found = store.generation_by_key(key.into(), not_before_us).await.expect("the store");
        found.map(|found| found.id)
    };
    assert_eq!(found("key", 2_000).await, Some(new));
    assert_eq!(found("key", 2_001).await, None);
    assert_eq!(found("KEY", 0).await, None);

    // A failure before every head frees the key; what was generated stays.
    let rekeyed = GenerationId::new();
    let end = GenerationEnd {
        id: new,
        status: MessageStatus::Error,
        messages: Vec::new(),
        rekey: Some(rekeyed),
        at_us: 3_000,
    };
    journal.push(Write::GenerationEnd(end), false);
    record(&store, &journal).await.expect("stored");
    assert_eq!(found("key", 2_000).await, None);
    assert_eq!(found("key", 0).await, Some(old));
    let kept = store.generation(rekeyed).await.expect("the store").expect("kept");
    assert_eq!(kept.idempotency_key, None);
}

pub async fn a_failed_attempt_whose_rows_are_stored_twice_is_kept_once(backend: &dyn Backend) {
    let store = backend.open().await;
    let registry = registry(&store);
    let talk = Talk::begin(&registry, 1);
    let rekeyed = GenerationId::new();
    let end = GenerationEnd {
        id: talk.generation(),
        status: MessageStatus::Error,
        messages: Vec::new(),
        rekey: Some(rekeyed),
        at_us: talk.begin.at_us + 1,
    };
    talk.journal.push(Write::GenerationEnd(end), false);
    let unit = talk.journal.unrecorded().expect("rows");
    store.commit(Arc::new(vec![unit.clone()])).await.expect("stored, and the answer is lost");
    store.commit(Arc::new(vec![unit])).await.expect("stored already");
    let kept = store.generation(rekeyed).await.expect("the store").expect("kept");
    assert_eq!((kept.status, kept.messages.len()), (MessageStatus::Error, 2));
    assert_eq!(store.generation(talk.generation()).await.expect("the store"), None, "the id is free");
}

pub async fn a_name_of_a_client_leads_to_one_conversation(backend: &dyn Backend) {
    let store = backend.open().await;
    let external = |kind, id: &str| External { kind, id: id.to_owned() };
    let session = external("session", "tab-1 🦀");
    assert_eq!(store.external(session.clone()).await.expect("the store"), None);
    let (first, second) = tokio::join!(store.enter_external(session.clone()), store.enter_external(session.clone()));
    let (first, second) = (first.expect("entered"), second.expect("entered"));
    assert_eq!(first, second);
    assert_eq!(first.external_id.as_deref(), Some("tab-1 🦀"));
    assert_eq!(store.external(session.clone()).await.expect("the store").as_ref(), Some(&first));
    assert_eq!(store.conversation(first.id).await.expect("the store").as_ref(), Some(&first));
    for other in [external("chat", "tab-1 🦀"), external("session", "tab-2"), external("session", "nul\0")] {
        let entered = store.enter_external(other.clone()).await.expect("entered");
        assert_ne!(entered.id, first.id);
        assert_eq!(store.enter_external(other).await.expect("entered").id, entered.id);
    }
    assert!(store.delete_conversation(first.id).await.expect("the store"));
    assert_eq!(store.external(session.clone()).await.expect("the store"), None);
    assert_ne!(store.enter_external(session).await.expect("entered").id, first.id);
}

pub async fn a_generation_goes_on_in_a_conversation_that_was_entered(backend: &dyn Backend) {
    let store = backend.open().await;
    let entered = store.enter_external(External { kind: "session", id: "goes-on".into() }).await.expect("entered");
    let registry = registry(&store);
    let journal = registry.open(entered.id).await.expect("pages").expect("a journal");
    let mut talk = Talk::begin_in(&journal, false, 1);
    talk.say(0, &[text("hi")]);
    talk.end(0);
    record(&store, &talk.journal).await.expect("stored");
    assert_eq!(store.messages(entered.id).await.expect("the store").len(), 2);
}

pub async fn turns_and_the_names_of_tasks_are_known(backend: &dyn Backend) {
    let store = backend.open().await;
    let registry = registry(&store);
    let mut first = Talk::begin(&registry, 1);
    first.say(0, &[text("a")]);
    let last = first.end(0);
    let mut second = Talk::begin_as(&first.journal, false, 1, Some("build \0 it"));
    second.say(0, &[text("b")]);
    record(&store, &first.journal).await.expect("stored");
    let id = first.journal.id();
    let turns = store.turns(id).await.expect("the store");
    let open = StoredTurn { first: None, last: None };
    assert_eq!(turns, [StoredTurn { first: Some(SyncId::new(1)), last: Some(last) }, open]);
    let task = "build \u{fffd} it".to_owned();
    assert_eq!(store.task_ids(id).await.expect("the store"), [(second.generation(), task.clone())]);
    let stored = store.generation(second.generation()).await.expect("the store").expect("a generation");
    assert_eq!(stored.task_id, Some(task));
    assert_eq!(store.turns(ConversationId::new()).await.expect("the store"), []);
}
