"""A client of agent steps, written from the contract alone: one question, and a cut behind the first step.

Usage: steps_client.py URL MESSAGE [AGENT]

URL is that of the session, with or without `?stream=tokens`. Asks, drops its connection without a word behind the first step,
comes back with the last number, and reads to the end of the turn. Prints what it was told as one JSON document.
"""

import asyncio
import json
import sys

import websockets

url, message = sys.argv[1], sys.argv[2]
agent = sys.argv[3] if len(sys.argv) > 3 else None
told = []
last = 0


def take(text: str) -> dict:
    global last
    step = json.loads(text)
    if step["type"] == "reasoning_step":
        told.append(step)
        if "sync_id" in step:
            assert step["sync_id"] > last, f"{step['sync_id']} after {last}"
            last = step["sync_id"]
    return step


def is_over() -> bool:
    data = told[-1]["data"] if told else {}
    return data.get("type") in ("final_answer", "error") and not data.get("partial", False)


async def main() -> None:
    verdict = None
    async with websockets.connect(url) as socket:
        await socket.send(json.dumps({"type": "ping"}))
        assert json.loads(await socket.recv()) == {"type": "pong"}
        payload = {"message": message, "enable_reasoning": True}
        if agent is not None:
            payload["agent_name"] = agent
        await socket.send(json.dumps({"type": "chat", "payload": payload}))
        while last == 0:
            step = take(await socket.recv())
            assert step["type"] == "reasoning_step", step
        # No close frame: the connection is just gone.
        socket.transport.abort()
    separator = "&" if "?" in url else "?"
    async with websockets.connect(f"{url}{separator}last_sync_id={last}") as socket:
        while not is_over():
            step = take(await socket.recv())
            if step["type"] == "resumed":
                verdict = step["verdict"]
    print(json.dumps({"steps": told, "verdict": verdict}))


asyncio.run(main())
