//! Who waits for a journal's next event.

use std::task::Waker;

/// The readers of one journal, each at a place of its own.
#[derive(Debug, Default)]
pub(super) struct Readers {
    places: Vec<Option<Reading>>,
    free: Vec<usize>,
}

/// A reader's task. The waker stays after use, so that a reader that follows a stream registers once.
#[derive(Debug)]
struct Reading {
    waker: Waker,
    waits: bool,
}

impl Readers {
    /// A place for one more reader.
    pub(super) fn add(&mut self) -> usize {
        self.free.pop().unwrap_or_else(|| {
            self.places.push(None);
            self.places.len() - 1
        })
    }

    /// The reader at that place is gone.
    pub(super) fn remove(&mut self, place: usize) {
        if let Some(reading) = self.places.get_mut(place) {
            *reading = None;
            self.free.push(place);
        }
    }

    /// The reader at that place has seen everything and waits.
    pub(super) fn wait(&mut self, place: usize, waker: &Waker) {
        match self.places.get_mut(place) {
            Some(Some(reading)) if reading.waker.will_wake(waker) => reading.waits = true,
            Some(reading) => *reading = Some(Reading { waker: waker.clone(), waits: true }),
            None => debug_assert!(false, "a reader has a place as long as it lives"),
        }
    }

    /// Wakes all that wait.
    pub(super) fn wake(&mut self) {
        for reading in self.places.iter_mut().flatten() {
            if std::mem::take(&mut reading.waits) {
                reading.waker.wake_by_ref();
            }
        }
    }
}
