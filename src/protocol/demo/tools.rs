//! The model `tools`: thinks, calls a tool, and answers once the result is in the history.

use serde_json::{Map, Value, json};

use super::question::Question;
use super::script::{Finale, Part, Voice};
use super::{HUMAN, prose};
use crate::event::{ChatMessage, FinishReason, ModelRequest, Role};
use crate::protocol::excerpt;

/// More of a tool's result is not quoted.
const MOST_RESULT_CHARS: usize = 600;
/// Where the demo asks about when the question names no place.
const DEFAULT_PLACE: &str = "Lisbon";

/// The parts and the end, for a request with or without a result of a tool.
pub fn play(request: &ModelRequest, question: &Question) -> (Vec<Part>, Finale) {
    if let Some(result) = fresh_result(&request.messages) {
        return (answer(request, result), Finale::End(FinishReason::Stop));
    }
    if request.tool_choice.as_ref().and_then(Value::as_str) == Some("none") {
        let parts = vec![
            Part::new(350, Voice::Reasoning, prose::thoughts(question), HUMAN),
            Part::new(300, Voice::Text, prose::answer(question), HUMAN),
        ];
        return (parts, Finale::End(FinishReason::Stop));
    }
    (call(request, question), Finale::End(FinishReason::ToolCalls))
}

/// The result that came in since the user spoke last.
fn fresh_result(messages: &[ChatMessage]) -> Option<&ChatMessage> {
    messages.iter().rev().take_while(|message| message.role != Role::User).find(|message| message.role == Role::Tool)
}

fn call(request: &ModelRequest, question: &Question) -> Vec<Part> {
    let (name, arguments) = match chosen(request, question) {
        Some(tool) => (name(tool).to_owned(), arguments(&tool["function"]["parameters"], question)),
        None => ("get_weather".to_owned(), json!({ "city": place(question), "unit": "celsius" })),
    };
    let thoughts = format!(
        "The user says: “{}”. I cannot know that by myself, because it depends on the world outside.\n\nThere is a tool \
         that may help: {name}. I should call it with what the question gives me, and wait for its result before I \
         say anything.\n",
        question.quoted
    );
    // Unique in the conversation, so that histories with several calls stay clear.
    let earlier: usize = request.messages.iter().map(|message| message.tool_calls.len()).sum();
    let voice = Voice::Call { id: format!("call_demo_{}", earlier + 1), name };
    vec![Part::new(350, Voice::Reasoning, thoughts, HUMAN), Part::new(200, voice, arguments.to_string(), HUMAN)]
}

/// The tool to call: the one that is asked for, else the one whose name shares a word with the question, else the
/// first.
fn chosen<'a>(request: &'a ModelRequest, question: &Question) -> Option<&'a Value> {
    let tools = || request.tools.iter().filter(|tool| !name(tool).is_empty());
    let wanted = request.tool_choice.as_ref().map(name).filter(|wanted| !wanted.is_empty());
    let asked_for = tools().find(|tool| Some(name(tool)) == wanted);
    let fits = |tool: &&Value| name(tool).split(['_', '-', '.']).any(|word| word.len() > 3 && question.has_word(word));
    asked_for.or_else(|| tools().find(fits)).or_else(|| tools().next())
}

fn name(tool: &Value) -> &str {
    tool["function"]["name"].as_str().unwrap_or_default()
}

/// Arguments that fit the tool's schema, taken from the question as far as it has them. Where the schema names
/// required properties, only these are given.
fn arguments(schema: &Value, question: &Question) -> Value {
    let required: Option<Vec<&str>> =
        schema["required"].as_array().map(|names| names.iter().filter_map(Value::as_str).collect());
    let properties = schema["properties"].as_object().into_iter().flatten();
    let needed = properties.filter(|(name, _)| required.as_ref().is_none_or(|names| names.contains(&name.as_str())));
    Value::Object(needed.map(|(name, schema)| (name.clone(), argument(name, schema, question))).collect::<Map<_, _>>())
}

fn argument(name: &str, schema: &Value, question: &Question) -> Value {
    if let Some(first) = schema["enum"].as_array().and_then(|values| values.first()) {
        return first.clone();
    }
    let number = || question.number().and_then(|digits| digits.parse::<i64>().ok()).unwrap_or(1);
    match schema["type"].as_str().unwrap_or("string") {
        "integer" | "number" => json!(number()),
        "boolean" => json!(true),
        "array" => json!([]),
        // One level of an object is enough for a demo, and the schema may be of any depth.
        "object" => json!({}),
        _ => {
            let name = name.to_lowercase();
            let is_place = ["city", "place", "location", "where", "town"].iter().any(|word| name.contains(word));
            json!(if is_place { place(question) } else { question.quoted.clone() })
        }
    }
}

fn place(question: &Question) -> String {
    question.place().unwrap_or_else(|| DEFAULT_PLACE.to_owned())
}

fn answer(request: &ModelRequest, result: &ChatMessage) -> Vec<Part> {
    let mut calls = request.messages.iter().rev().flat_map(|message| &message.tool_calls);
    let called = calls.find(|call| Some(&call.id) == result.tool_call_id.as_ref());
    let tool = called.map_or("the tool".to_owned(), |call| format!("`{}`", call.name));
    let thoughts = format!(
        "The result of {} is in. I should pass on what it says, without adding anything that it does not say.\n",
        tool.trim_matches('`')
    );
    let fields = match serde_json::from_str::<Value>(&result.content) {
        Ok(Value::Object(fields)) => fields,
        _ => Map::new(),
    };
    let body = if fields.is_empty() {
        format!("> {}\n", excerpt(&result.content, MOST_RESULT_CHARS))
    } else {
        fields.iter().take(12).map(|(name, value)| format!("- **{}**: {}\n", readable(name), plain(value))).collect()
    };
    let text = format!("Here is what {tool} found:\n\n{body}\nThat is all it said, so that is all I know.\n");
    vec![Part::new(300, Voice::Reasoning, thoughts, HUMAN), Part::new(200, Voice::Text, text, HUMAN)]
}

fn readable(name: &str) -> String {
    name.replace(['_', '-'], " ")
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => excerpt(text, MOST_RESULT_CHARS),
        other => excerpt(&other.to_string(), MOST_RESULT_CHARS),
    }
}
