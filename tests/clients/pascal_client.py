"""A client of the sync engine in its other spelling, which knows five types and fails at any other.

Usage: pascal_client.py URL CONTENT
"""

import asyncio
import json
import sys

import websockets


async def main() -> None:
    url, content = sys.argv[1:]
    reasoning, text, last = "", "", 0
    async with websockets.connect(url) as socket:
        await socket.send(json.dumps({"type": "Subscribe", "scope": "chat"}))
        subscribed = json.loads(await socket.recv())
        assert subscribed["type"] == "Subscribed", subscribed
        last = subscribed["last_sync_id"]
        await socket.send(json.dumps({"type": "Message", "id": "m-1", "content": content, "use_reasoning": True}))
        while True:
            message = json.loads(await socket.recv())
            if message["type"] == "Update":
                assert message["sync_id"] > last
                last = message["sync_id"]
                if message.get("replace"):
                    reasoning, text = "", ""
                reasoning += message["delta"].get("reasoning", "")
                text += message["delta"].get("content", "")
            elif message["type"] == "Complete":
                break
            else:
                raise SystemExit(f"unknown: {message}")
    print(json.dumps({
        "conversation": subscribed["conversation_id"], "reasoning": reasoning, "text": text,
        "finish_reason": message["finish_reason"],
    }))


asyncio.run(main())
