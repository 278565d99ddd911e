//! As much of HTTP/1.1 as both ends of the benchmark need: heads and the chunked transfer coding.

use memchr::{memchr, memmem};

/// Length of the head with its empty line, once it is there in full.
pub fn head_bytes(received: &[u8]) -> Option<usize> {
    memmem::find(received, b"\r\n\r\n").map(|at| at + 4)
}

/// The value of a header, by its lower-case name.
pub fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().skip(1).find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

/// The status of a response's head.
pub fn status(head: &str) -> Option<u16> {
    head.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.parse().ok()
}

/// Takes the chunked transfer coding off a body. Relays cut chunks anywhere, also within a stamp.
#[derive(Debug, Default)]
pub struct Dechunker {
    state: State,
}

#[derive(Debug, Clone, Copy)]
enum State {
    /// Within the line that tells the size; `extension` once a `;` was seen.
    Size {
        size: u64,
        digits: u8,
        extension: bool,
    },
    Data {
        left: u64,
    },
    /// The line end after a chunk's data.
    DataEnd,
    /// Lines after the last chunk; the empty one ends the body.
    Trailer {
        line_bytes: u64,
    },
    Done,
}

impl State {
    const SIZE: Self = Self::Size { size: 0, digits: 0, extension: false };
}

impl Default for State {
    fn default() -> Self {
        Self::SIZE
    }
}

impl Dechunker {
    /// Hands on the data in `bytes`; `true` once the body has ended.
    pub fn feed(&mut self, mut bytes: &[u8], mut data: impl FnMut(&[u8])) -> Result<bool, &'static str> {
        while let Some(&byte) = bytes.first() {
            match self.state {
                State::Data { left } => {
                    let taken = bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                    data(&bytes[..taken]);
                    bytes = &bytes[taken..];
                    let left = left - taken as u64;
                    self.state = if left == 0 { State::DataEnd } else { State::Data { left } };
                    continue;
                }
                State::Size { size, digits, extension } => self.state = size_line(byte, size, digits, extension)?,
                State::DataEnd => match byte {
                    b'\r' => {}
                    b'\n' => self.state = State::SIZE,
                    _ => return Err("a chunk is longer than its size"),
                },
                State::Trailer { line_bytes } => match byte {
                    b'\n' if line_bytes == 0 => self.state = State::Done,
                    b'\n' => self.state = State::Trailer { line_bytes: 0 },
                    b'\r' => {}
                    _ => self.state = State::Trailer { line_bytes: line_bytes + 1 },
                },
                State::Done => return Err("bytes after the end of the body"),
            }
            bytes = &bytes[1..];
        }
        Ok(matches!(self.state, State::Done))
    }
}

fn size_line(byte: u8, size: u64, digits: u8, extension: bool) -> Result<State, &'static str> {
    match byte {
        b'\n' if digits == 0 => Err("a chunk without a size"),
        b'\n' if size == 0 => Ok(State::Trailer { line_bytes: 0 }),
        b'\n' => Ok(State::Data { left: size }),
        b'\r' => Ok(State::Size { size, digits, extension }),
        _ if extension => Ok(State::Size { size, digits, extension }),
        b';' | b' ' => Ok(State::Size { size, digits, extension: true }),
        _ if digits == 15 => Err("a chunk's size is too large"),
        _ => {
            let digit = (byte as char).to_digit(16).ok_or("a chunk's size is not a number")?;
            Ok(State::Size { size: size * 16 + u64::from(digit), digits: digits + 1, extension })
        }
    }
}

/// A request as far as the upstream looks at it.
#[derive(Debug, PartialEq, Eq)]
pub struct RequestHead<'a> {
    /// The method.
    pub method: &'a str,
    /// The path, with the query if there is one.
    pub path: &'a str,
    /// Length of the body that follows.
    pub body_bytes: usize,
}

impl<'a> RequestHead<'a> {
    /// Reads the head of a request; bodies must tell their length.
    pub fn parse(head: &'a [u8]) -> Result<Self, &'static str> {
        let head = std::str::from_utf8(head).map_err(|_| "the head is not UTF-8")?;
        let line_end = memchr(b'\r', head.as_bytes()).ok_or("no request line")?;
        let mut words = head[..line_end].split(' ');
        let (Some(method), Some(path)) = (words.next(), words.next()) else { return Err("no request line") };
        if header(head, "transfer-encoding").is_some() {
            return Err("a request with a chunked body is not supported");
        }
        let body_bytes = match header(head, "content-length") {
            Some(length) => length.parse().map_err(|_| "content-length is not a number")?,
            None => 0,
        };
        Ok(Self { method, path, body_bytes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_come_out_whole_however_the_bytes_are_cut() {
        let wire = b"5\r\nhello\r\n1;x=y\r\n \r\nA\r\n0123456789\r\n0\r\nx: y\r\n\r\n";
        for first in 0..wire.len() {
            for second in first..wire.len() {
                let (mut chunks, mut data, mut done) = (Dechunker::default(), Vec::new(), false);
                for part in [&wire[..first], &wire[first..second], &wire[second..]] {
                    assert!(!done);
                    done = chunks.feed(part, |bytes| data.extend_from_slice(bytes)).unwrap();
                }
                assert!(done);
                assert_eq!(data, b"hello 0123456789");
            }
        }
    }

    #[test]
    fn broken_framing_is_refused() {
        for wire in ["\r\n", "g\r\n", "1\r\nab", "0\r\n\r\nx", "1234567890123456\r\n"] {
            assert!(Dechunker::default().feed(wire.as_bytes(), |_| {}).is_err(), "{wire:?}");
        }
    }

    #[test]
    fn heads_are_read() {
        let head = b"POST /v1/x HTTP/1.1\r\nHost: a\r\nContent-Length: 12\r\n\r\n";
        assert_eq!(head_bytes(head), Some(head.len()));
        assert_eq!(RequestHead::parse(head), Ok(RequestHead { method: "POST", path: "/v1/x", body_bytes: 12 }));
        assert_eq!(status("HTTP/1.1 204 No Content\r\n\r\n"), Some(204));
        assert_eq!(status("nonsense"), None);
    }
}
