//! The built-in provider: scripts instead of a language model, so that everything can be tried without a key.
//!
//! A script is pure: it says what comes after which wait, and whoever plays it does the waiting. The same request
//! gives the same script.

mod arithmetic;
mod long;
mod number;
mod prose;
mod question;
mod script;
mod tools;

use crate::event::{ErrorCode, Fault, FinishReason, ModelRequest, ReasoningEffort, Role};
use question::Question;
use script::{Finale, Part, Voice};

pub use script::{Action, Script, Step};

/// The models that the built-in provider has.
pub const MODELS: [&str; 5] = ["thinker", "slow", "long", "tools", "error"];

/// How fast pieces follow each other, in milliseconds: the least wait, and how much longer it may be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Pace {
    least_ms: u64,
    spread_ms: u64,
}

const HUMAN: Pace = Pace { least_ms: 15, spread_ms: 11 };
const HESITANT: Pace = Pace { least_ms: 60, spread_ms: 60 };
const QUICK: Pace = Pace { least_ms: 2, spread_ms: 4 };

/// The script with which `request.model` answers. A fault (`UnknownModel`) names the models that there are.
pub fn script(request: &ModelRequest) -> Result<Script, Fault> {
    let question = Question::of(request);
    let (parts, finale) = match request.model.as_str() {
        "thinker" => (thinker(&question), Finale::End(FinishReason::Stop)),
        "slow" => (slow(&question), Finale::End(FinishReason::Stop)),
        "long" => (long(), Finale::End(FinishReason::Stop)),
        "tools" => tools::play(request, &question),
        "error" => error(&question),
        unknown => {
            let models = MODELS.join(", ");
            let message = format!("The demo provider has no model \"{unknown}\". Its models are {models}.");
            return Err(Fault::new(ErrorCode::UnknownModel, message));
        }
    };
    Ok(Script::new(request, adapted(request, parts), finale))
}

/// The parts without what the request does not want: thinking, and whatever comes after a stop sequence.
fn adapted(request: &ModelRequest, parts: Vec<Part>) -> Vec<Part> {
    let thinks = request.use_reasoning != Some(false) && request.reasoning_effort != Some(ReasoningEffort::None);
    let mut kept = Vec::new();
    for mut part in parts {
        match part.voice {
            Voice::Reasoning if !thinks => continue,
            Voice::Text => {
                let stops = request.stop.iter().filter(|stop| !stop.is_empty());
                if let Some(at) = stops.filter_map(|stop| part.text.find(stop.as_str())).min() {
                    part.text.truncate(at);
                    kept.push(part);
                    break;
                }
            }
            _ => {}
        }
        kept.push(part);
    }
    kept
}

fn thinker(question: &Question) -> Vec<Part> {
    vec![
        Part::new(350, Voice::Reasoning, prose::thoughts(question), HUMAN),
        Part::new(300, Voice::Text, prose::answer(question), HUMAN),
    ]
}

fn slow(question: &Question) -> Vec<Part> {
    let mut parts = vec![Part::new(4_000, Voice::Reasoning, prose::slow_thoughts(question), HESITANT)];
    let pauses = [6_000, 2_500, 2_500];
    parts.extend(
        prose::slow_answer().into_iter().zip(pauses).map(|(text, pause)| Part::new(pause, Voice::Text, text, HESITANT)),
    );
    parts
}

fn long() -> Vec<Part> {
    vec![Part::new(200, Voice::Reasoning, long::thoughts(), QUICK), Part::new(100, Voice::Text, long::answer(), QUICK)]
}

fn error(question: &Question) -> (Vec<Part>, Finale) {
    if question.has_word("before") {
        let message = "The demo provider failed on purpose, before its first word.";
        return (Vec::new(), Finale::Fail(Fault::new(ErrorCode::ProviderError, message)));
    }
    let parts = vec![
        Part::new(300, Voice::Reasoning, prose::doomed_thoughts(question), HUMAN),
        Part::new(300, Voice::Text, prose::doomed_answer(), HUMAN),
    ];
    let message = "The demo provider failed on purpose, in the middle of its answer.";
    (parts, Finale::Fail(Fault::new(ErrorCode::ProviderError, message)))
}

/// The text of the last message of that role.
fn last_of(request: &ModelRequest, role: Role) -> Option<&str> {
    request.messages.iter().rev().find(|message| message.role == role).map(|message| message.content.as_str())
}

#[cfg(test)]
#[path = "demo_test.rs"]
mod tests;
