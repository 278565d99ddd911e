//! HTTP/1.1 chunked coding as a state machine, so that a body can be read and cut at any byte.

/// Takes raw bytes and gives back the body's bytes. Panics where the coding is broken: the gateway must not do that.
#[derive(Default)]
pub struct ChunkDecoder {
    state: State,
}

#[derive(Default)]
enum State {
    #[default]
    Start,
    Size(Vec<u8>),
    Data(usize),
    DataEnd(u8),
    Trailer(Vec<u8>),
    Done,
}

impl ChunkDecoder {
    /// Decodes the next raw bytes.
    pub fn feed(&mut self, mut raw: &[u8]) -> Vec<u8> {
        let mut body = Vec::new();
        while let Some(&byte) = raw.first() {
            match &mut self.state {
                State::Start => self.state = State::Size(Vec::new()),
                State::Size(line) => {
                    raw = &raw[1..];
                    line.push(byte);
                    if line.ends_with(b"\r\n") {
                        self.state = match parse_size(line) {
                            0 => State::Trailer(Vec::new()),
                            size => State::Data(size),
                        };
                    }
                }
                State::Data(left) => {
                    let taken = raw.len().min(*left);
                    body.extend_from_slice(&raw[..taken]);
                    raw = &raw[taken..];
                    *left -= taken;
                    if *left == 0 {
                        self.state = State::DataEnd(0);
                    }
                }
                State::DataEnd(seen) => {
                    assert_eq!(byte, b"\r\n"[usize::from(*seen)], "a chunk is longer than its size says");
                    raw = &raw[1..];
                    self.state = if *seen == 0 { State::DataEnd(1) } else { State::Start };
                }
                State::Trailer(line) => {
                    raw = &raw[1..];
                    line.push(byte);
                    if line == b"\r\n" {
                        self.state = State::Done;
                    } else if line.ends_with(b"\r\n") {
                        line.clear();
                    }
                }
                State::Done => panic!("bytes after the last chunk: {:?}", String::from_utf8_lossy(raw)),
            }
        }
        body
    }

    /// Whether the last chunk and its trailer have been seen.
    pub const fn is_done(&self) -> bool {
        matches!(self.state, State::Done)
    }
}

fn parse_size(line: &[u8]) -> usize {
    let text = std::str::from_utf8(line).expect("a chunk's size is ASCII");
    let digits = text.trim_end().split(';').next().unwrap_or_default();
    usize::from_str_radix(digits, 16).unwrap_or_else(|_| panic!("not a chunk's size: {text:?}"))
}

/// Wraps `data` as one chunk.
pub fn encode(data: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(format!("{:x}\r\n", data.len()).as_bytes());
    out.extend_from_slice(data);
    out.extend_from_slice(b"\r\n");
}

/// What ends a chunked body.
pub const LAST: &[u8] = b"0\r\n\r\n";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_the_same_however_its_bytes_arrive() {
        let mut raw = Vec::new();
        for piece in ["Hello", ", ", "wörld", "\r\n0\r\n\r\n!"] {
            encode(piece.as_bytes(), &mut raw);
        }
        raw.extend_from_slice(LAST);
        for cut in 0..=raw.len() {
            let mut decoder = ChunkDecoder::default();
            let mut body = decoder.feed(&raw[..cut]);
            assert_eq!(decoder.is_done(), cut == raw.len());
            body.extend(decoder.feed(&raw[cut..]));
            assert!(decoder.is_done());
            assert_eq!(body, "Hello, wörld\r\n0\r\n\r\n!".as_bytes());
        }
    }
}
