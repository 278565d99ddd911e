//! What the demo says. It takes the question up honestly: it works sums out, and for everything else it shows how the
//! question could be approached instead of making facts up.

use super::arithmetic::{Operation, Sum};
use super::question::{Kind, Question};

const ABOUT_THE_DEMO: &str = "> I am Thinkwire's built-in demo model: I work out small sums and take questions apart, \
    but I know nothing about the world. Configure a provider, and a real model answers in this very stream.\n";

/// The thinking before [`answer`].
pub fn thoughts(question: &Question) -> String {
    let opening = match (question.kind, question.earlier) {
        (Kind::Nothing, _) => "There is no question in this message, only silence.".to_owned(),
        (_, 0) => format!("The user says: “{}”. Let me look at that before I answer.", question.quoted),
        _ => format!("The conversation goes on. Now the user says: “{}”. Let me look at that first.", question.quoted),
    };
    let body = match &question.sum {
        Some(sum) => thoughts_on_sum(sum),
        None => thoughts_on_words(question),
    };
    format!("{opening}\n\n{body}")
}

/// The answer in Markdown.
pub fn answer(question: &Question) -> String {
    let body = match (&question.sum, question.kind) {
        (Some(sum), _) => answer_to_sum(sum),
        (None, Kind::Nothing | Kind::Greeting) => introduction(question.kind),
        (None, _) => answer_to_words(question),
    };
    format!("{body}\n{ABOUT_THE_DEMO}")
}

fn thoughts_on_sum(sum: &Sum) -> String {
    let mut text = format!("There is a sum in it, which I read as {}. ", signs(&sum.text));
    text.push_str(match sum.operations.len() {
        1 => {
            "That is a single step, so there is no order to worry about. I could answer from memory, but a result that \
             is only remembered is a guess, so I work it out.\n\n"
        }
        _ => {
            "It has more than one step, so the order matters: what stands in parentheses comes first, then \
             multiplication and division, then addition and subtraction, each from left to right.\n\n"
        }
    });
    for (number, operation) in sum.operations.iter().enumerate() {
        let lead = match number {
            _ if operation.result.is_none() => "Now there is",
            _ if sum.operations.len() == 1 => "So",
            0 => "First",
            _ => "Then",
        };
        text.push_str(&format!("{lead} {}.\n", step(operation)));
    }
    text.push('\n');
    text.push_str(&match sum.operations.last() {
        Some(last) if sum.result.is_some() => format!("Is that right? Let me check it backwards. {}", check(last)),
        Some(last) if last.divides_by_zero() => {
            "That cannot be done. Dividing asks which number, multiplied by 0, gives the one on the left, and no \
             number does that. So I must not invent a result; I should say why there is none."
                .to_owned()
        }
        _ => "The numbers grow beyond what I can hold exactly, and a wrong result would be worse than none. I should \
              say so."
            .to_owned(),
    });
    text.push_str("\n\nThe answer should begin with the result, then show the way to it, and stay short.\n");
    text
}

/// Undoes the last operation, as one does to see whether a result is right.
fn check(last: &Operation) -> String {
    let Some(result) = last.result else { return String::new() };
    let (inverse, name) = match last.operator {
        '+' => ('-', "taking away"),
        '-' => ('+', "adding"),
        '*' => ('/', "dividing by"),
        _ => ('*', "multiplying by"),
    };
    let rounded = if result.is_exact() { "" } else { ", rounded to six places" };
    match result.apply(inverse, last.right) {
        Some(back) if back == last.left => format!(
            "Starting from {result} and {name} {} leads back to {back}, where the step began, so {result} is \
             right{rounded}.",
            last.right
        ),
        _ => format!("Multiplying by 0 cannot be undone, but it always gives 0, so {result} is right."),
    }
}

fn answer_to_sum(sum: &Sum) -> String {
    let mut text = match sum.result {
        Some(result) => {
            let equals = if result.is_exact() { "=" } else { "≈" };
            format!("**{} {equals} {result}**\n\n", signs(&sum.text))
        }
        None => format!("**{} has no result here.**\n\n", signs(&sum.text)),
    };
    if sum.operations.len() > 1 {
        text.push_str("Step by step:\n\n");
        for (number, operation) in sum.operations.iter().enumerate() {
            text.push_str(&format!("{}. {}\n", number + 1, step(operation)));
        }
        text.push('\n');
    }
    text.push_str(&match sum.operations.last() {
        Some(last) if sum.result.is_some() => format!("To check it: {}\n", in_sentence(&check(last))),
        Some(last) if last.divides_by_zero() => {
            format!("{} is a division by zero, and no number is the result of one.\n", signed(last))
        }
        _ => "The numbers are too large for me, and a wrong result would be worse than none.\n".to_owned(),
    });
    text
}

/// The sentence as it looks behind a colon.
fn in_sentence(sentence: &str) -> String {
    let mut characters = sentence.chars();
    characters.next().map(|first| first.to_lowercase().chain(characters).collect()).unwrap_or_default()
}

fn signed(operation: &Operation) -> String {
    signs(&format!("{} {} {}", operation.left, operation.operator, operation.right))
}

fn step(operation: &Operation) -> String {
    let sum = signed(operation);
    match operation.result {
        Some(result) if result.is_exact() => format!("{sum} = {result}"),
        Some(result) => format!("{sum} ≈ {result}"),
        None if operation.divides_by_zero() => format!("{sum}, a division by zero"),
        None => format!("{sum}, which is too large for me"),
    }
}

/// With the signs that people read; a plain `*` would also be Markdown.
fn signs(sum: &str) -> String {
    sum.replace('*', "×").replace('/', "÷")
}

/// What a kind of question asks for, and three steps towards an answer.
const fn approach(kind: Kind) -> (&'static str, [&'static str; 3]) {
    match kind {
        Kind::Cause => (
            "asks for a cause",
            [
                "**Say what is seen**, before asking why it is so.",
                "**Look for what must be there** for it to happen, and what happens without it.",
                "**Prefer the explanation that can fail**: a good one also says when the thing would *not* happen.",
            ],
        ),
        Kind::Way => (
            "asks for a way to do something",
            [
                "**Name the goal**, so that one can tell when it is reached.",
                "**Find the first step** that can be taken with what is at hand.",
                "**Take the risky step early**, while turning back is still cheap.",
            ],
        ),
        Kind::Fact => (
            "asks for a fact",
            [
                "**Pin down** what exactly is being named or counted.",
                "**Look it up** in a source that is close to the thing itself.",
                "**Check it** against a second source that did not copy from the first.",
            ],
        ),
        Kind::Judgement => (
            "asks for a judgement",
            [
                "**Say what would count** as a yes, and what as a no.",
                "**Collect** what speaks for either side, the inconvenient part included.",
                "**Decide**, and say how sure the decision is.",
            ],
        ),
        Kind::Meaning => (
            "asks what something is",
            [
                "**Begin with something familiar** that comes close to it.",
                "**Say what sets it apart** from that familiar thing.",
                "**Add an example**, and something that looks like one and is not.",
            ],
        ),
        Kind::Task | Kind::Greeting | Kind::Nothing => (
            "sets a task",
            [
                "**Picture the result**: what would it look like if it were done well?",
                "**Make a rough version of the whole** before polishing any part of it.",
                "**Read it once more** with the eyes of the person who asked.",
            ],
        ),
    }
}

fn thoughts_on_words(question: &Question) -> String {
    if matches!(question.kind, Kind::Greeting | Kind::Nothing) {
        return "Nobody is asking for facts here, so I need none. What would help a person who has just arrived? \
                Probably to hear who is speaking, what can be tried, and what the parts of this stream are: first \
                the thinking, which is this, and then the answer, which is kept apart from it.\n\nI could talk for \
                long, but an introduction should be short. A sentence about me, three things to try, and that is \
                enough. One of them should have a sum in it, since sums are what I can really do.\n\nThe tone should \
                be friendly and plain. Let me write it down.\n"
            .to_owned();
    }
    let (asks, _) = approach(question.kind);
    let carried = match question.topics.as_slice() {
        [] => "No single word carries it, so the sentence has to be taken as a whole".to_owned(),
        [one] => format!("One word carries most of it: “{one}”"),
        topics => format!("The words that carry it are {}", listed(topics, '“', '”')),
    };
    let length = match question.words {
        0..=12 => "It is short, so nothing in it is there by accident.",
        13..=60 => "It has some length, so I should not lose its end over its beginning.",
        _ => "It is long, so I should answer its heart and leave the details alone.",
    };
    format!(
        "The first words tell what is wanted: this {asks}. {carried}. {length}\n\nDo I know the answer? No: I am a demo, \
         without any knowledge of the world, and whatever I claimed would be made up. But I can do something honest. I \
         can say what kind of question this is, and which steps lead to a good answer. That is useful whoever answers \
         in the end.\n\nSo the plan is this: repeat the question, to show that it was understood; name its kind; then \
         three steps, each with its reason. No more than that, because a demo that talks too long is not read.\n"
    )
}

fn answer_to_words(question: &Question) -> String {
    let (asks, steps) = approach(question.kind);
    let turns = match question.topics.as_slice() {
        [] => String::new(),
        topics => format!(", and it turns on {}", listed(topics, '*', '*')),
    };
    let mut text = format!(
        "### A way to an answer\n\nYou said: “{}”\n\nThat {asks}{turns}. Three steps would lead to a good answer:\n\n",
        question.quoted
    );
    for (number, step) in steps.iter().enumerate() {
        text.push_str(&format!("{}. {step}\n", number + 1));
    }
    text.push_str("\nAsk me a sum, such as `3 * (4 + 5)`, and I work it out for real.\n");
    text
}

fn introduction(kind: Kind) -> String {
    let greeting = if kind == Kind::Greeting { "Hello!" } else { "Nothing was asked, so let me say who I am." };
    format!(
        "{greeting} What you are watching is a **stream**: the thinking comes first, unless it is switched off, and then \
         the answer, piece by piece on one connection, but never mixed with each other.\n\nThings to try:\n\n- a sum, such as \
         `What is 12 * (3 + 4)?`\n- a question, such as `Why is the sea salty?`\n- another model: `slow` lets you \
         wait, `long` talks for pages, `tools` calls a tool, and `error` breaks off in the middle\n\nClose the \
         connection while I am talking and come back: you will find every word, and none of them twice.\n"
    )
}

/// The thinking of the model `slow`.
pub fn slow_thoughts(question: &Question) -> String {
    let about = match question.topics.first() {
        Some(topic) => format!("“{topic}”"),
        None => "this".to_owned(),
    };
    format!(
        "I am in no hurry. Thinking about {about} takes its time, and some of that time is silence.\n\nWhile nothing \
         comes, the connection has to stay open all the same.\n"
    )
}

/// The answer of the model `slow`, with a silence before each part.
pub fn slow_answer() -> [String; 3] {
    [
        "Good things take a while. ".to_owned(),
        "If you can read this, then nothing between us lost its patience: ".to_owned(),
        "no proxy hung up, no buffer held the words back, and no timer ran out.\n".to_owned(),
    ]
}

/// The thinking of the model `error`.
pub fn doomed_thoughts(question: &Question) -> String {
    format!(
        "The user says: “{}”. I shall think about it and begin to answer, but I already know that I will not get to \
         the end of it.\n",
        question.quoted
    )
}

/// The answer of the model `error`, as far as it gets.
pub fn doomed_answer() -> String {
    "Everything goes well so far. What has arrived is kept, whatever happens next, and so the reader will find these \
     words even though the sentence"
        .to_owned()
}

/// `“a”, “b” and “c”`.
fn listed(words: &[String], open: char, close: char) -> String {
    let mut text = String::new();
    for (at, word) in words.iter().enumerate() {
        let before = match words.len() - at {
            _ if at == 0 => "",
            1 => " and ",
            _ => ", ",
        };
        text.push_str(&format!("{before}{open}{word}{close}"));
    }
    text
}
