//! Many WebSockets that are open and on which nothing happens, until each is asked whether it still lives.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::{JoinSet, LocalSet};
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use super::frame::{self, FrameReader, Opcode};
use super::wire::{self, Said};
use crate::error::{Context as _, Error, Result};
use crate::http::{head_bytes, status};
use crate::load::{Outcome, Progress};
use crate::sys::monotonic_ns;

const READ_BYTES: usize = 4096;
const MAX_HEAD_BYTES: usize = 16 * 1024;
const POLL: Duration = Duration::from_millis(20);
/// Time over which the pings are spread, a thousand sockets: an answer shall not wait for the others'.
const PINGS_SPREAD: Duration = Duration::from_millis(500);

/// What to open.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The gateway.
    pub address: SocketAddr,
    /// How many.
    pub sockets: u64,
    /// Whether each subscribes to a conversation of its own.
    pub subscribe: bool,
    /// Time over which they are opened.
    pub ramp: Duration,
    /// After this the rest is given up and reported.
    pub limit: Duration,
}

/// Opens the sockets on this thread and counts those that are open as started. Once `progress.window` is set, each is pinged;
/// the latency of the outcome is that of the answers, and who gives none in time has no proper end.
pub fn run(plan: &Plan, progress: &Arc<Progress>) -> Result<Outcome> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting a runtime")?;
    let outcome = Rc::new(RefCell::new(Outcome::default()));
    LocalSet::new().block_on(&runtime, async {
        let begin = Instant::now();
        let (ask, asked) = watch::channel(None);
        let mut tasks = JoinSet::new();
        for index in 0..plan.sockets {
            let share = index as f64 / plan.sockets as f64;
            let socket = Idle {
                address: plan.address,
                subscribe: plan.subscribe,
                open_at: begin + plan.ramp.mul_f64(share),
                ping_after: PINGS_SPREAD.mul_f64(index as f64 / 1000.0),
                asked: asked.clone(),
                progress: Arc::clone(progress),
            };
            let (outcome, limit) = (Rc::clone(&outcome), begin + plan.limit);
            tasks.spawn_local(async move {
                let answer = timeout_at(limit, socket.live()).await.unwrap_or_else(|_| Err("the time is up".into()));
                socket.progress.ended.fetch_add(1, Relaxed);
                outcome.borrow_mut().enter_answer(index, answer);
            });
        }
        let asking = async {
            while !progress.window.load(Relaxed) {
                sleep(POLL).await;
            }
            let _ = ask.send(Some(Instant::now()));
            std::future::pending::<()>().await;
        };
        let living = async { while tasks.join_next().await.is_some() {} };
        tokio::select! {
            () = living => {}
            () = asking => {}
        }
    });
    Ok(outcome.take())
}

struct Idle {
    address: SocketAddr,
    subscribe: bool,
    open_at: Instant,
    ping_after: Duration,
    asked: watch::Receiver<Option<Instant>>,
    progress: Arc<Progress>,
}

/// What has been heard of the gateway.
#[derive(Debug, Default)]
struct Heard {
    subscribed: bool,
    answered: bool,
}

impl Idle {
    /// The nanoseconds that the answer to the ping took.
    async fn live(&self) -> Result<u64> {
        sleep_until(self.open_at).await;
        let mut socket = TcpStream::connect(self.address).await.context("connecting")?;
        socket.set_nodelay(true)?;
        socket.write_all(wire::handshake(self.address).as_bytes()).await.context("sending the request")?;
        let mut frames = Frames::after(&mut socket).await?;
        if self.subscribe {
            let mut subscribe = Vec::new();
            wire::write_text(&wire::subscribe(None), &mut subscribe);
            socket.write_all(&subscribe).await.context("subscribing")?;
            while !frames.heard.subscribed {
                frames.read(&mut socket).await?;
            }
        }
        self.progress.started.fetch_add(1, Relaxed);

        let mut asked = self.asked.clone();
        let asked_at = loop {
            tokio::select! {
                asked = asked.wait_for(Option::is_some) => break (*asked.context("nobody asks")?).unwrap_or_else(Instant::now),
                read = frames.read(&mut socket) => read?,
            }
        };
        let ping_at = asked_at + self.ping_after;
        while Instant::now() < ping_at {
            tokio::select! {
                () = sleep_until(ping_at) => {}
                read = frames.read(&mut socket) => read?,
            }
        }
        let (sent_ns, mut ping) = (monotonic_ns(), Vec::new());
        frames.awaited = Some(sent_ns.to_be_bytes());
        frame::write(Opcode::Ping, &sent_ns.to_be_bytes(), &mut ping);
        socket.write_all(&ping).await.context("asking whether it lives")?;
        while !frames.heard.answered {
            frames.read(&mut socket).await?;
        }
        Ok(monotonic_ns() - sent_ns)
    }
}

/// The frames of one socket, whose pings are answered.
struct Frames {
    reader: FrameReader,
    heard: Heard,
    /// The payload of the ping that we sent.
    awaited: Option<[u8; 8]>,
    answers: Vec<u8>,
}

impl Frames {
    /// Those that follow the head of the handshake's answer.
    async fn after(socket: &mut TcpStream) -> Result<Self> {
        let mut received = Vec::with_capacity(512);
        let head_bytes = loop {
            if let Some(head_bytes) = head_bytes(&received) {
                break head_bytes;
            }
            if received.len() > MAX_HEAD_BYTES {
                return Err("the answer's head is too long".into());
            }
            if socket.read_buf(&mut received).await.context("reading")? == 0 {
                return Err("the connection ended early".into());
            }
        };
        let head = String::from_utf8_lossy(&received[..head_bytes]);
        if status(&head) != Some(101) {
            return Err(format!("answered {:?}", String::from_utf8_lossy(&received)).into());
        }
        let mut frames =
            Self { reader: FrameReader::default(), heard: Heard::default(), awaited: None, answers: Vec::new() };
        frames.take(&received[head_bytes..])?;
        Ok(frames)
    }

    /// Waits for something and takes it. May be dropped while it waits.
    async fn read(&mut self, socket: &mut TcpStream) -> Result<()> {
        if !self.answers.is_empty() {
            socket.write_all(&std::mem::take(&mut self.answers)).await.context("answering")?;
        }
        socket.readable().await.context("reading")?;
        let mut buffer = [0; READ_BYTES];
        match socket.try_read(&mut buffer) {
            Ok(0) => Err("the connection ended early".into()),
            Ok(length) => {
                self.take(&buffer[..length])?;
                if !self.answers.is_empty() {
                    socket.write_all(&std::mem::take(&mut self.answers)).await.context("answering")?;
                }
                Ok(())
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error).context("reading"),
        }
    }

    fn take(&mut self, bytes: &[u8]) -> Result<()> {
        let Self { reader, heard, awaited, answers } = self;
        reader.feed::<Error>(bytes, |opcode, payload| {
            match opcode {
                Opcode::Text => match Said::of(payload) {
                    Said::Subscribed => heard.subscribed = true,
                    Said::Error => return Err(format!("was told {:?}", String::from_utf8_lossy(payload)).into()),
                    Said::Update | Said::Complete | Said::Other => {}
                },
                Opcode::Ping => frame::write(Opcode::Pong, payload, answers),
                Opcode::Pong => heard.answered |= awaited.is_some_and(|awaited| awaited == *payload),
                Opcode::Close => return Err("the gateway closed".into()),
            }
            Ok(false)
        })?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::{Ipv4Addr, TcpListener};
    use std::thread;

    use super::*;

    /// A server of one socket, which subscribes it, and answers its ping with `pong`, or the ping's own payload.
    fn server(pong: Option<&'static [u8]>) -> SocketAddr {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let read = move |stream: &mut std::net::TcpStream| {
                let mut buffer = [0; 1024];
                let length = stream.read(&mut buffer).unwrap();
                buffer[..length].to_vec()
            };
            read(&mut stream);
            stream.write_all(b"HTTP/1.1 101 Switching Protocols\r\n\r\n\x89\x02hi").unwrap();
            // The answer to our ping and the subscription come together or apart; the ping is the last.
            let subscribed = br#"{"type":"subscribed"}"#;
            stream.write_all(&[&[0x81, subscribed.len() as u8], &subscribed[..]].concat()).unwrap();
            loop {
                let frames = read(&mut stream);
                if let Some(at) = frames.windows(2).rposition(|head| head == [0x89, 0x88]) {
                    let frame = &frames[at..at + 14];
                    let own: Vec<u8> =
                        frame[6..].iter().enumerate().map(|(at, byte)| byte ^ frame[2 + at % 4]).collect();
                    stream.write_all(&[&[0x8a, 8], pong.unwrap_or(&own)].concat()).unwrap();
                    thread::sleep(Duration::from_secs(2));
                    return;
                }
            }
        });
        address
    }

    fn ask(address: SocketAddr) -> Outcome {
        let plan = Plan { address, sockets: 1, subscribe: true, ramp: Duration::ZERO, limit: Duration::from_secs(1) };
        let progress = Arc::new(Progress::default());
        progress.window.store(true, Relaxed);
        let outcome = run(&plan, &progress).unwrap();
        assert_eq!(progress.started.load(Relaxed), 1, "{:?}", outcome.failures);
        outcome
    }

    #[test]
    fn who_answers_lives_and_who_does_not_is_told() {
        let alive = ask(server(None));
        assert_eq!((alive.faults(), alive.received), (0, 1), "{:?}", alive.failures);
        assert!(alive.latency.max_us() > 0.0);
        let dead = ask(server(Some(b"whatever")));
        assert_eq!((dead.unfinished, dead.received), (1, 0));
        assert!(dead.failures[0].contains("the time is up"), "{:?}", dead.failures);
    }
}
