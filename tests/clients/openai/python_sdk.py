#!/usr/bin/env python3
"""OpenAI's client library for Python as it comes, against a Thinkwire server.

python_sdk.py CASE BASE_URL MODEL [EXTRA]

Plays one case and prints one JSON object: what the library gave its user. EXTRA is a JSON object of more arguments for
the request. The cases are those of node_sdk.mjs, and so are the keys of what is printed.
"""

import json
import sys

import openai

PROMPT = [{"role": "user", "content": "What is 2+2?"}]
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


def tell(**seen):
    print(json.dumps(seen), flush=True)


def counts(usage):
    if usage is None:
        return None
    return usage.model_dump(exclude_none=True)


def stream(client, model, extra):
    """All of an answer, joined from its chunks."""
    reasoning, content, ids, models, roles, finish, usage = "", "", set(), set(), [], [], []
    options = {"include_usage": True}
    for chunk in client.chat.completions.create(
        model=model, messages=PROMPT, stream=True, stream_options=options, **extra
    ):
        ids.add(chunk.id)
        models.add(chunk.model)
        if chunk.usage is not None:
            usage.append(counts(chunk.usage))
        for choice in chunk.choices:
            if choice.delta.role:
                roles.append(choice.delta.role)
            # The library has no type for the field; it keeps it as an extra one.
            reasoning += getattr(choice.delta, "reasoning_content", None) or ""
            content += choice.delta.content or ""
            if choice.finish_reason:
                finish.append(choice.finish_reason)
    tell(reasoning=reasoning, content=content, ids=len(ids), models=sorted(models), roles=roles, finish=finish, usage=usage)


def document(client, model, extra):
    """The same in one piece, with the headers."""
    raw = client.chat.completions.with_raw_response.create(model=model, messages=PROMPT, **extra)
    answer = raw.parse()
    choice = answer.choices[0]
    tell(
        object=answer.object,
        model=answer.model,
        reasoning=choice.message.reasoning_content,
        content=choice.message.content,
        finish=choice.finish_reason,
        usage=counts(answer.usage),
        request_id=answer._request_id,
        conversation=raw.headers.get("x-conversation-id"),
    )


def tools(client, model, extra):
    """Two turns: the model calls, the client answers, the model goes on."""
    messages = [{"role": "user", "content": "What is the weather in Oslo and in Rome?"}]
    with client.chat.completions.stream(model=model, messages=messages, tools=[WEATHER], **extra) as events:
        for _ in events:
            pass
        first = events.get_final_completion().choices[0]
    calls = first.message.tool_calls
    messages.append({
        "role": "assistant",
        "content": first.message.content,
        "tool_calls": [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.function.name, "arguments": call.function.arguments},
            }
            for call in calls
        ],
    })
    for call in calls:
        city = json.loads(call.function.arguments)["city"]
        messages.append({"role": "tool", "tool_call_id": call.id, "content": f"Rain in {city}."})
    last = client.chat.completions.create(model=model, messages=messages, tools=[WEATHER], **extra).choices[0]
    tell(
        finish=[first.finish_reason, last.finish_reason],
        calls=[[call.function.name, json.loads(call.function.arguments)] for call in calls],
        content=last.message.content,
    )


def errors(client, model, extra):
    """What each of several requests raises, and what came before it."""
    seen = []
    for more in extra["requests"]:
        content = ""
        try:
            for chunk in client.chat.completions.create(**{"model": model, **more}, messages=PROMPT, stream=True):
                content += chunk.choices[0].delta.content or ""
        except openai.APIError as raised:
            seen.append({
                "kind": type(raised).__name__,
                "status": getattr(raised, "status_code", None),
                "code": raised.code,
                "type": raised.type,
                "message": raised.message,
                "content": content,
            })
        else:
            sys.exit(f"nothing was raised: {more}")
    tell(errors=seen)


def abort(client, model, extra):
    """Stops reading after the first words, and lives on until it is told to end."""
    chunks = client.chat.completions.create(model=model, messages=PROMPT, stream=True, **extra)
    for chunk in chunks:
        if chunk.choices[0].delta.content:
            break
    chunks.close()
    tell(content=chunk.choices[0].delta.content)
    sys.stdin.read()


def models(client, model, extra):
    one = client.models.retrieve(model)
    tell(ids=[known.id for known in client.models.list()], id=one.id, object=one.object, owned_by=one.owned_by)


def conversation(client, model, extra):
    """Two requests of which the second only adds a question."""
    contents = []
    for question in ["I am Ada.", "Who am I?"]:
        messages = [{"role": "user", "content": question}]
        answer = client.chat.completions.create(model=model, messages=messages, **extra)
        contents.append(answer.choices[0].message.content)
    tell(contents=contents)


CASES = {case.__name__: case for case in [stream, document, tools, errors, abort, models, conversation]}

if __name__ == "__main__":
    if len(sys.argv) not in (4, 5) or sys.argv[1] not in CASES:
        sys.exit(__doc__)
    more = json.loads(sys.argv[4]) if len(sys.argv) == 5 else {}
    CASES[sys.argv[1]](openai.OpenAI(base_url=sys.argv[2], api_key="unused"), sys.argv[3], more)
