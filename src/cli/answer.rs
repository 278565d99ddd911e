//! How `thinkwire ask` shows an answer: for people, or as one JSON event a line.

use std::io::{self, Write};
use std::time::Duration;

use crate::event::{Check, Complete, Digest, ErrorEvent, Event, Fault, FinishReason, Timing, Usage};

const DIM: &str = "\x1b[2m";
const PLAIN: &str = "\x1b[0m";

/// What an answer looks like.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Look {
    /// One JSON event a line, and nothing else.
    pub(super) json: bool,
    /// The answer goes to a terminal: thinking is shown there as well, and control characters are made harmless.
    pub(super) terminal: bool,
    /// ANSI colours may be used.
    pub(super) colours: bool,
    /// Thinking is not shown.
    pub(super) hide_thinking: bool,
}

/// Which kind of text was printed last.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Part {
    Nothing,
    Thinking,
    Answer,
}

/// Shows an answer while it arrives, and remembers what its end has to report.
pub(super) struct Answer<O, E> {
    look: Look,
    out: O,
    err: E,
    last: Part,
    reasoning: String,
    text: String,
    usage: Option<Usage>,
    times: Times,
}

/// When things happened, from the request on.
#[derive(Clone, Copy, Default, Debug)]
struct Times {
    first_event: Option<Duration>,
    reasoning_from: Option<Duration>,
    reasoning_to: Option<Duration>,
}

impl<O: Write, E: Write> Answer<O, E> {
    pub(super) fn new(look: Look, out: O, err: E) -> Self {
        Answer {
            look,
            out,
            err,
            last: Part::Nothing,
            reasoning: String::new(),
            text: String::new(),
            usage: None,
            times: Times::default(),
        }
    }

    /// Shows what arrived `elapsed` after the request, and hands it to the terminal at once.
    pub(super) fn show(&mut self, events: &[Event], elapsed: Duration) -> io::Result<()> {
        for event in events {
            self.times.first_event.get_or_insert(elapsed);
            match event {
                Event::Reasoning(delta) => {
                    self.times.reasoning_from.get_or_insert(elapsed);
                    self.times.reasoning_to = Some(elapsed);
                    self.reasoning.push_str(&delta.content);
                }
                Event::Text(delta) => self.text.push_str(&delta.content),
                Event::Usage(usage) => self.usage = Some(usage.clone()),
                _ => {}
            }
            if self.look.json { self.show_json(event)? } else { self.show_text(event)? }
        }
        self.out.flush()?;
        self.err.flush()
    }

    fn show_json(&mut self, event: &Event) -> io::Result<()> {
        if self.look.hide_thinking && matches!(event, Event::Reasoning(_)) {
            return Ok(());
        }
        serde_json::to_writer(&mut self.out, event)?;
        self.out.write_all(b"\n")
    }

    fn show_text(&mut self, event: &Event) -> io::Result<()> {
        match event {
            Event::Reasoning(_) if self.look.hide_thinking => Ok(()),
            Event::Reasoning(delta) => {
                self.turn_to(Part::Thinking)?;
                let content = self.harmless(&delta.content);
                // A pipe is given the answer alone.
                if self.look.terminal { self.out.write_all(&content) } else { self.err.write_all(&content) }
            }
            Event::Text(delta) | Event::Refusal(delta) => {
                self.turn_to(Part::Answer)?;
                let content = self.harmless(&delta.content);
                self.out.write_all(&content)
            }
            Event::Status(status) => writeln!(self.err, "[{}]", status.message),
            _ => Ok(()),
        }
    }

    /// An empty line and another colour between thinking and answer.
    fn turn_to(&mut self, part: Part) -> io::Result<()> {
        if self.last == part {
            return Ok(());
        }
        if self.look.terminal {
            let colours = self.look.colours;
            if colours && self.last == Part::Thinking {
                self.out.write_all(PLAIN.as_bytes())?;
            }
            if self.last != Part::Nothing {
                self.out.write_all(b"\n\n")?;
            }
            if colours && part == Part::Thinking {
                self.out.write_all(DIM.as_bytes())?;
            }
        } else if self.last == Part::Thinking {
            self.err.write_all(b"\n")?;
        }
        self.last = part;
        Ok(())
    }

    /// A model must not be able to drive the terminal.
    fn harmless(&self, content: &str) -> Vec<u8> {
        if !self.look.terminal {
            return content.as_bytes().to_vec();
        }
        let visible = |c: char| if c.is_control() && !matches!(c, '\n' | '\t' | '\r') { '\u{fffd}' } else { c };
        content.chars().map(visible).collect::<String>().into_bytes()
    }

    /// Shows the end of an answer from `provider`'s `model` that took `elapsed`.
    pub(super) fn end(
        &mut self,
        finish_reason: FinishReason,
        provider: &str,
        model: &str,
        elapsed: Duration,
    ) -> io::Result<()> {
        if self.look.json {
            let complete = Complete {
                finish_reason,
                provider: provider.to_owned(),
                model: model.to_owned(),
                usage: self.usage.clone(),
                timing: self.timing(elapsed),
                stored: false,
                check: Check { reasoning: Digest::of(&self.reasoning), text: Digest::of(&self.text) },
                is_final: true,
            };
            self.show_json(&Event::Complete(Box::new(complete)))?;
        } else {
            self.break_line()?;
            let summary = self.summary(finish_reason, provider, model, elapsed);
            writeln!(self.err, "{summary}")?;
        }
        self.out.flush()?;
        self.err.flush()
    }

    /// Shows the fault that ended an answer.
    pub(super) fn fail(&mut self, fault: &Fault, provider: Option<&str>) -> io::Result<()> {
        if self.look.json {
            let error = ErrorEvent {
                code: fault.code,
                message: fault.message.clone(),
                retryable: fault.retryable,
                retry_after_ms: fault.retry_after_ms,
                provider: provider.map(str::to_owned),
                status: fault.status,
                usage: self.usage.clone(),
                stored: false,
                request_id: String::new(),
                is_final: true,
            };
            self.show_json(&Event::Error(Box::new(error)))?;
        } else {
            self.break_line()?;
        }
        self.out.flush()?;
        writeln!(self.err, "thinkwire: {} ({})", fault.message, fault.code.as_str())?;
        self.err.flush()
    }

    /// Ends the line that the answer stopped in.
    fn break_line(&mut self) -> io::Result<()> {
        let was = self.last;
        self.last = Part::Nothing;
        match was {
            Part::Nothing => Ok(()),
            Part::Thinking if !self.look.terminal => self.err.write_all(b"\n"),
            Part::Thinking if self.look.colours => write!(self.out, "{PLAIN}\n\n"),
            Part::Thinking => self.out.write_all(b"\n\n"),
            Part::Answer => self.out.write_all(b"\n"),
        }
    }

    fn timing(&self, elapsed: Duration) -> Timing {
        let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let reasoning = self.times.reasoning_from.zip(self.times.reasoning_to);
        Timing {
            first_event_ms: self.times.first_event.map(ms),
            reasoning_ms: reasoning.map(|(from, to)| ms(to.saturating_sub(from))),
            total_ms: ms(elapsed),
        }
    }

    fn summary(&self, reason: FinishReason, provider: &str, model: &str, elapsed: Duration) -> String {
        let tokens = match &self.usage {
            None => "tokens not reported".to_owned(),
            Some(usage) => {
                let thinking = usage.reasoning_tokens.filter(|tokens| *tokens > 0);
                let thinking = thinking.map_or_else(String::new, |tokens| format!(" ({tokens} thinking)"));
                // The rate of making tokens, for which the wait before the first one does not count.
                let making = elapsed.saturating_sub(self.times.first_event.unwrap_or_default());
                let seconds = if making.is_zero() { elapsed } else { making }.as_secs_f64().max(0.001);
                let rate = usage.output_tokens as f64 / seconds;
                format!("{} tokens{thinking}, {rate:.1} tokens/s", usage.output_tokens)
            }
        };
        let reason = match reason {
            FinishReason::Stop => String::new(),
            other => format!(", ended by {}", other.as_str()),
        };
        format!("[{provider}/{model}: {tokens}, {:.1} s{reason}]", elapsed.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Delta, ErrorCode, UsageSource};

    const PIPE: Look = Look { json: false, terminal: false, colours: false, hide_thinking: false };
    const TERMINAL: Look = Look { terminal: true, colours: true, ..PIPE };

    fn delta(content: &str) -> Delta {
        Delta { content: content.to_owned(), block: 0, redacted: false }
    }

    fn events() -> Vec<Event> {
        let usage = Usage {
            input_tokens: 5,
            output_tokens: 40,
            reasoning_tokens: Some(30),
            cached_input_tokens: None,
            total_tokens: 45,
            source: UsageSource::Reported,
        };
        vec![
            Event::Reasoning(delta("let ")),
            Event::Reasoning(delta("me")),
            Event::Text(delta("Hel")),
            Event::Text(delta("lo\u{1b}[31m")),
            Event::Usage(usage),
        ]
    }

    /// What is on the output and on stderr after a whole answer.
    fn shown(look: Look) -> (String, String) {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let mut answer = Answer::new(look, &mut out, &mut err);
        answer.show(&events(), Duration::from_millis(1000)).expect("written");
        answer.end(FinishReason::Stop, "demo", "thinker", Duration::from_millis(3000)).expect("written");
        (String::from_utf8(out).expect("text"), String::from_utf8(err).expect("text"))
    }

    #[test]
    fn a_terminal_shows_thinking_dim_and_the_answer_plain() {
        let (out, err) = shown(TERMINAL);
        assert_eq!(out, "\x1b[2mlet me\x1b[0m\n\nHello\u{fffd}[31m\n");
        assert_eq!(err, "[demo/thinker: 40 tokens (30 thinking), 20.0 tokens/s, 3.0 s]\n");
        let (out, _) = shown(Look { colours: false, ..TERMINAL });
        assert_eq!(out, "let me\n\nHello\u{fffd}[31m\n");
        let (out, _) = shown(Look { hide_thinking: true, ..TERMINAL });
        assert_eq!(out, "Hello\u{fffd}[31m\n");
    }

    #[test]
    fn a_pipe_is_given_the_answer_alone() {
        let (out, err) = shown(PIPE);
        assert_eq!(out, "Hello\u{1b}[31m\n");
        assert!(err.starts_with("let me\n["), "{err}");
    }

    #[test]
    fn json_is_one_event_a_line_with_one_terminal_event() {
        let (out, err) = shown(Look { json: true, ..PIPE });
        let read: Vec<Event> = out.lines().map(|line| serde_json::from_str(line).expect("an event")).collect();
        assert_eq!(read[..5], events());
        let [Event::Complete(complete)] = &read[5..] else { panic!("one terminal event: {out}") };
        assert_eq!(complete.check.text, Digest::of("Hello\u{1b}[31m"));
        assert_eq!(complete.check.reasoning, Digest::of("let me"));
        assert_eq!((complete.timing.first_event_ms, complete.timing.total_ms), (Some(1000), 3000));
        assert!(complete.is_final && !complete.stored && err.is_empty());
    }

    #[test]
    fn faults_are_said_on_stderr_and_end_the_json_too() {
        let fault = Fault::new(ErrorCode::ProviderAuth, "no key").with_status(401);
        for json in [false, true] {
            let (mut out, mut err) = (Vec::new(), Vec::new());
            let mut answer = Answer::new(Look { json, ..PIPE }, &mut out, &mut err);
            answer.show(&[Event::Text(delta("half"))], Duration::ZERO).expect("written");
            answer.fail(&fault, Some("openai")).expect("written");
            assert_eq!(String::from_utf8(err).expect("text"), "thinkwire: no key (provider_auth)\n");
            let out = String::from_utf8(out).expect("text");
            let last = out.lines().last().expect("a line");
            match serde_json::from_str(last) {
                Ok(Event::Error(error)) if json => assert_eq!((error.code, error.status), (fault.code, Some(401))),
                _ => assert!(!json && out == "half\n", "{out}"),
            }
        }
    }
}
