//! Many readers that are cut at random bytes and come back, again and again.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;

use crate::support::chat::Chat;
use crate::support::fold::Message;
use crate::support::gateway::{Gateway, stream_request};
use crate::support::http::{Ended, Request};
use crate::support::sse::Reader;
use crate::support::upstream::Upstream;
use crate::support::{Rng, new_id};

const GENERATIONS: usize = 50;
const READERS_OF_EACH: usize = 4;
const CUTS: usize = 20;
const DELTAS: usize = 600;
/// All cuts together read less than a whole generation, so that no reader is done before its last one.
const MOST_BYTES_BETWEEN_CUTS: usize = 2_500;
const SEED: u64 = 20_261_120;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_and_nothing_is_doubled() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let mut chat = Chat::new();
    for number in 0..DELTAS {
        let piece = format!("{number:05} äöü 🦀 \"quoted\" and some more words to read; ");
        chat = if number < DELTAS / 3 { chat.reasoning(&piece) } else { chat.text(&piece) };
        chat = chat.pause(Duration::from_millis(10));
    }
    upstream.script("m", chat.finish("stop").done());

    let generations: Vec<String> = (0..GENERATIONS).map(|_| new_id()).collect();
    let of_one = generations.iter().enumerate().map(|(number, id)| readers_of(&gateway, number, id));
    for readers in join_all(of_one).await {
        let mut whole = gateway.open(&Request::get(readers[0].events_path())).await;
        whole.finish().await;
        let message = Message::finished(&whole.frames);
        assert_eq!(message.finish_reason(), "stop");
        for reader in readers {
            assert_eq!(reader.numbered(), whole.numbered(), "a reader holds something else than the journal");
            assert_eq!(Message::finished(&reader.frames).text, message.text);
            gateway.send(&reader.resume_request()).await.expect(204);
        }
    }
}

/// Starts a generation and reads it with several readers, each cut [`CUTS`] times. The first one started it.
async fn readers_of(gateway: &Gateway, number: usize, generation: &str) -> Vec<Reader> {
    let body = json!({"model": "up/m", "prompt": "Go on.", "generationId": generation});
    let mut starter = gateway.open(&stream_request(&body)).await;
    starter.set_events_path(format!("/api/generations/{generation}/events"));
    let mut readers = vec![starter];
    readers.resize_with(READERS_OF_EACH, || {
        let mut reader = Reader::away(gateway.address());
        reader.set_events_path(format!("/api/generations/{generation}/events"));
        reader
    });
    let reading = readers.into_iter().enumerate().map(|(place, reader)| {
        let seed = SEED + (number * READERS_OF_EACH + place) as u64;
        storm(reader, Rng::new(seed))
    });
    join_all(reading).await
}

async fn storm(mut reader: Reader, mut rng: Rng) -> Reader {
    for cut in 0..CUTS {
        let request = reader.resume_request().cut_after(rng.up_to(MOST_BYTES_BETWEEN_CUTS));
        let mut ended = reader.resume_with(&request).await.err();
        while ended.is_none() {
            ended = reader.next().await.err();
        }
        assert_eq!(ended, Some(Ended::Cut), "at cut {cut}");
    }
    reader.resume().await;
    reader.finish().await;
    reader
}
