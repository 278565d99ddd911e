"""A listener of progress events, written from the contract alone.

Usage: progress_listener.py URL COUNT

Says `listening` once it is connected, listens until COUNT messages are complete, puts their pieces together, and prints what it
holds, a task a key, as one JSON document.
"""

import asyncio
import json
import sys

import websockets

held = {}


def on_ai_progress(message: dict) -> bool:
    task = held.setdefault(message["task_id"], {"reasoning": "", "text": "", "tool_call": "", "pieces": 0, "end": None})
    assert isinstance(message["timestamp"], float)
    if message["type"] == "completion":
        assert message["partial"] is False
        task["end"] = message
        return True
    assert message["partial"] is True
    task[message["type"]] += message["text"]
    task["pieces"] += 1
    return False


async def main() -> None:
    url, count = sys.argv[1], int(sys.argv[2])
    async with websockets.connect(url) as socket:
        await socket.send(json.dumps({"type": "ping"}))
        assert json.loads(await socket.recv()) == {"type": "pong"}
        print("listening", flush=True)
        while count > 0:
            event = json.loads(await socket.recv())
            assert event["event"] == "ai_progress", event
            count -= on_ai_progress(event["message"])
    print(json.dumps(held))


asyncio.run(main())
