//! Frames: those of a server taken apart, those of a client made. What is read is handed on where it lies; only a frame that
//! a read cuts is copied.

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opcode {
    Text,
    Close,
    Ping,
    Pong,
}

impl Opcode {
    fn of(number: u8) -> Result<Self, &'static str> {
        match number {
            1 => Ok(Self::Text),
            8 => Ok(Self::Close),
            9 => Ok(Self::Ping),
            10 => Ok(Self::Pong),
            _ => Err("a frame of a kind that the gateway has no use for"),
        }
    }

    fn number(self) -> u8 {
        match self {
            Self::Text => 1,
            Self::Close => 8,
            Self::Ping => 9,
            Self::Pong => 10,
        }
    }
}

const FINAL: u8 = 0x80;
const MASKED: u8 = 0x80;
/// The gateway's largest message is a `reset`, which no run here asks for.
const MAX_FRAME_BYTES: u64 = 1 << 20;
/// A mask hides nothing on the loopback, and the server takes it off whatever it is.
const MASK: [u8; 4] = [0x5a, 0xa5, 0x3c, 0xc3];

/// Takes the frames of a server out of what is read.
#[derive(Debug, Default)]
pub struct FrameReader {
    /// The beginning of a frame that the last read ended in.
    carry: Vec<u8>,
}

impl FrameReader {
    /// Hands on every frame that is whole with these bytes, and tells whether a handler has said that it is enough: then
    /// what follows is not looked at.
    pub fn feed<E: From<&'static str>>(
        &mut self,
        mut bytes: &[u8],
        mut frame: impl FnMut(Opcode, &[u8]) -> Result<bool, E>,
    ) -> Result<bool, E> {
        while !self.carry.is_empty() {
            // As much as is missing of the head, and then of the whole.
            let wanted = match Head::read(&self.carry)? {
                Some(head) if head.whole_bytes() == self.carry.len() => {
                    let enough = frame(head.opcode, &self.carry[head.head_bytes..])?;
                    self.carry.clear();
                    if enough {
                        return Ok(true);
                    }
                    break;
                }
                Some(head) => head.whole_bytes() - self.carry.len(),
                None => 1,
            };
            if bytes.is_empty() {
                return Ok(false);
            }
            let (taken, rest) = bytes.split_at(wanted.min(bytes.len()));
            self.carry.extend_from_slice(taken);
            bytes = rest;
        }
        loop {
            match Head::read(bytes)? {
                Some(head) if head.whole_bytes() <= bytes.len() => {
                    let (whole, rest) = bytes.split_at(head.whole_bytes());
                    if frame(head.opcode, &whole[head.head_bytes..])? {
                        return Ok(true);
                    }
                    bytes = rest;
                }
                _ => break,
            }
        }
        self.carry.extend_from_slice(bytes);
        Ok(false)
    }
}

struct Head {
    opcode: Opcode,
    head_bytes: usize,
    payload_bytes: usize,
}

impl Head {
    /// The head at the beginning of these bytes, once it is there in full.
    fn read(bytes: &[u8]) -> Result<Option<Self>, &'static str> {
        let [first, second, rest @ ..] = bytes else { return Ok(None) };
        if first & 0xf0 != FINAL {
            return Err("a frame in pieces, or with reserved bits");
        }
        let opcode = Opcode::of(first & 0x0f)?;
        let (head_bytes, payload_bytes) = match (second, rest) {
            (..=125, _) => (2, u64::from(*second)),
            (126, [a, b, ..]) => (4, u64::from(u16::from_be_bytes([*a, *b]))),
            (127, [a, b, c, d, e, f, g, h, ..]) => (10, u64::from_be_bytes([*a, *b, *c, *d, *e, *f, *g, *h])),
            (126 | 127, _) => return Ok(None),
            _ => return Err("a server's frame with a mask"),
        };
        if payload_bytes > MAX_FRAME_BYTES {
            return Err("a frame is too large");
        }
        Ok(Some(Self { opcode, head_bytes, payload_bytes: payload_bytes as usize }))
    }

    fn whole_bytes(&self) -> usize {
        self.head_bytes + self.payload_bytes
    }
}

/// Writes a client's frame.
pub fn write(opcode: Opcode, payload: &[u8], out: &mut Vec<u8>) {
    out.push(FINAL | opcode.number());
    match payload.len() {
        short @ ..=125 => out.push(MASKED | short as u8),
        medium @ ..=0xffff => {
            out.push(MASKED | 126);
            out.extend_from_slice(&(medium as u16).to_be_bytes());
        }
        long => {
            out.push(MASKED | 127);
            out.extend_from_slice(&(long as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(&MASK);
    out.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server_frame(opcode: Opcode, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![FINAL | opcode.number()];
        match payload.len() {
            short @ ..=125 => frame.push(short as u8),
            medium @ ..=0xffff => {
                frame.push(126);
                frame.extend_from_slice(&(medium as u16).to_be_bytes());
            }
            long => {
                frame.push(127);
                frame.extend_from_slice(&(long as u64).to_be_bytes());
            }
        }
        frame.extend_from_slice(payload);
        frame
    }

    fn read(parts: &[&[u8]]) -> Result<Vec<(Opcode, Vec<u8>)>, &'static str> {
        let (mut reader, mut found) = (FrameReader::default(), Vec::new());
        for part in parts {
            reader.feed::<&str>(part, |opcode, payload| {
                found.push((opcode, payload.to_vec()));
                Ok(false)
            })?;
        }
        Ok(found)
    }

    #[test]
    fn frames_come_out_whole_however_the_bytes_are_cut() {
        let expected = vec![
            (Opcode::Text, b"hello".to_vec()),
            (Opcode::Ping, Vec::new()),
            (Opcode::Text, vec![b'x'; 126]),
            (Opcode::Text, vec![b'y'; 300]),
            (Opcode::Pong, b"12345678".to_vec()),
            (Opcode::Close, vec![3, 232]),
        ];
        let wire: Vec<u8> = expected.iter().flat_map(|(opcode, payload)| server_frame(*opcode, payload)).collect();
        for first in 0..=wire.len() {
            for second in (first..=wire.len()).step_by(3) {
                let found = read(&[&wire[..first], &wire[first..second], &wire[second..]]);
                assert_eq!(found.as_ref(), Ok(&expected), "cut at {first} and {second}");
            }
        }
        let bytes: Vec<&[u8]> = wire.chunks(1).collect();
        assert_eq!(read(&bytes), Ok(expected));
        let long = server_frame(Opcode::Text, &vec![b'z'; 70_000]);
        assert_eq!(read(&[&long[..65_536], &long[65_536..]]).unwrap()[0].1.len(), 70_000);
    }

    #[test]
    fn nothing_is_looked_at_after_enough() {
        let wire = [server_frame(Opcode::Text, b"a"), server_frame(Opcode::Text, b"b")].concat();
        for cut in 0..=2 {
            let (mut reader, mut found) = (FrameReader::default(), 0);
            let mut enough = |_: Opcode, _: &[u8]| {
                found += 1;
                Ok::<_, &str>(true)
            };
            let done =
                reader.feed(&wire[..cut], &mut enough).unwrap() || reader.feed(&wire[cut..], &mut enough).unwrap();
            assert!(done);
            assert_eq!(found, 1, "cut at {cut}");
        }
    }

    #[test]
    fn broken_frames_are_refused() {
        for wire in
            [&[0x01, 0][..], &[0xc1, 0], &[0x82, 0], &[0x80, 0], &[0x81, 0x80], &[0x81, 127, 1, 0, 0, 0, 0, 0, 0, 0]]
        {
            assert!(read(&[wire]).is_err(), "{wire:?}");
        }
    }

    #[test]
    fn what_a_client_writes_is_masked() {
        for length in [0, 1, 125, 126, 65_535, 65_536] {
            let payload: Vec<u8> = (0..length).map(|at| at as u8).collect();
            let mut out = Vec::new();
            write(Opcode::Text, &payload, &mut out);
            let plain = server_frame(Opcode::Text, &payload);
            let head_bytes = plain.len() - length;
            assert_eq!(out.len(), plain.len() + 4);
            assert_eq!((out[0], out[1]), (plain[0], plain[1] | MASKED));
            let unmasked: Vec<u8> =
                out[head_bytes + 4..].iter().enumerate().map(|(at, byte)| byte ^ MASK[at % 4]).collect();
            assert_eq!(unmasked, payload);
        }
    }
}
