#!/usr/bin/env python3
"""LangChain's ChatOpenAI as it comes, against a Thinkwire server.

langchain_chat.py CASE BASE_URL MODEL

Plays one case and prints one JSON object: what the library gave its user. It drops `reasoning_content`, as its
documentation says, so that only the answer shows.
"""

import json
import sys

from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI


@tool
def get_weather(city: str) -> str:
    """The weather in a city."""
    return f"Rain in {city}."


def tell(**seen):
    print(json.dumps(seen), flush=True)


def stream(chat):
    whole = None
    for chunk in chat.stream("What is 2+2?"):
        whole = chunk if whole is None else whole + chunk
    usage = whole.usage_metadata
    tell(
        content=whole.content,
        finish=whole.response_metadata["finish_reason"],
        model=whole.response_metadata["model_name"],
        tokens=[usage["input_tokens"], usage["output_tokens"], usage["total_tokens"]],
        reasoning_tokens=usage["output_token_details"]["reasoning"],
    )


def document(chat):
    answer = chat.invoke("What is 2+2?")
    tell(content=answer.content, finish=answer.response_metadata["finish_reason"], tokens=answer.usage_metadata["total_tokens"])


def tools(chat):
    """An agent's loop by hand: until the model calls nothing any more."""
    chat, messages, called = chat.bind_tools([get_weather]), [HumanMessage("What is the weather in Oslo and in Rome?")], []
    while True:
        answer = chat.invoke(messages)
        messages.append(answer)
        if not answer.tool_calls:
            break
        for call in answer.tool_calls:
            called.append([call["name"], call["args"]])
            messages.append(ToolMessage(get_weather.invoke(call["args"]), tool_call_id=call["id"]))
    tell(calls=called, content=answer.content)


def error(chat):
    try:
        chat.invoke("What is 2+2?")
    except Exception as raised:  # Whatever it is: its type is what is told.
        kinds = [kind.__name__ for kind in type(raised).__mro__]
        tell(kinds=kinds, status=getattr(raised, "status_code", None), code=getattr(raised, "code", None))
        return
    sys.exit("nothing was raised")


CASES = {case.__name__: case for case in [stream, document, tools, error]}

if __name__ == "__main__":
    if len(sys.argv) != 4 or sys.argv[1] not in CASES:
        sys.exit(__doc__)
    _, name, base_url, model = sys.argv
    CASES[name](ChatOpenAI(model=model, base_url=base_url, api_key="unused", stream_usage=True))
