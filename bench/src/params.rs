//! What a client asks the upstream for. It travels in the model's name, the one string that every relay passes on.

use std::fmt;
use std::str::FromStr;

/// The shape of one stream, written `n=1000,every_us=10000,phase_us=300,reasoning=250,batch=1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamParams {
    /// Number of stamped chunks.
    pub chunks: u64,
    /// Time between two chunks; 0 sends as fast as the socket takes them.
    pub every_us: u64,
    /// Place of the chunks within the interval, on the upstream's clock: it spreads many streams evenly over time.
    pub phase_us: u64,
    /// How many of the first chunks are reasoning; the rest is the answer.
    pub reasoning: u64,
    /// Chunks a write, in an unpaced stream.
    pub batch: u64,
}

impl StreamParams {
    const MAX_CHUNKS: u64 = 10_000_000;
    const MAX_EVERY_US: u64 = 60_000_000;
    const MAX_BATCH: u64 = 1000;

    /// A stream whose first quarter is reasoning.
    pub fn new(chunks: u64, every_us: u64) -> Self {
        Self { chunks, every_us, phase_us: 0, reasoning: chunks / 4, batch: 1 }
    }
}

impl fmt::Display for StreamParams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { chunks, every_us, phase_us, reasoning, batch } = self;
        write!(f, "n={chunks},every_us={every_us},phase_us={phase_us},reasoning={reasoning},batch={batch}")
    }
}

impl FromStr for StreamParams {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (mut chunks, mut every_us, mut phase_us, mut reasoning, mut batch) = (None, 0, 0, None, 1);
        for pair in text.split(',') {
            let (key, value) = pair.split_once('=').ok_or_else(|| format!("`{pair}` is not key=value"))?;
            let value: u64 = value.parse().map_err(|_| format!("`{value}` in `{pair}` is not a whole number"))?;
            match key {
                "n" => chunks = Some(value),
                "every_us" => every_us = value,
                "phase_us" => phase_us = value,
                "reasoning" => reasoning = Some(value),
                "batch" => batch = value,
                _ => return Err(format!("unknown key `{key}`")),
            }
        }
        let chunks = chunks.ok_or("`n`, the number of chunks, is missing")?;
        let within = |key: &str, value: u64, range: std::ops::RangeInclusive<u64>| match range.contains(&value) {
            true => Ok(()),
            false => Err(format!("`{key}` must be from {} to {}", range.start(), range.end())),
        };
        within("n", chunks, 1..=Self::MAX_CHUNKS)?;
        within("every_us", every_us, 0..=Self::MAX_EVERY_US)?;
        within("phase_us", phase_us, 0..=every_us.saturating_sub(1))?;
        within("batch", batch, 1..=Self::MAX_BATCH)?;
        let reasoning = reasoning.unwrap_or(chunks / 4).min(chunks);
        Ok(Self { chunks, every_us, phase_us, reasoning, batch })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let params = StreamParams { chunks: 1000, every_us: 10_000, phase_us: 300, reasoning: 7, batch: 4 };
        assert_eq!(params.to_string().parse(), Ok(params));
        assert_eq!("n=8,every_us=10".parse(), Ok(StreamParams::new(8, 10)));
    }

    #[test]
    fn mistakes_are_named() {
        let mistakes = ["", "n", "n=", "n=x", "n=0", "n=1,x=2", "every_us=5", "n=1,phase_us=1", "n=1,batch=0", "n=1,"];
        for text in mistakes {
            assert!(text.parse::<StreamParams>().is_err(), "{text}");
        }
    }
}
