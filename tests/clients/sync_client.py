"""A client of the sync engine, written from the contract alone: camelCase, one conversation, and a cut in the middle.

Usage: sync_client.py URL CONVERSATION [CONTENT]

Subscribes, says CONTENT where it is given, and reads one answer to its end. Half-way through it drops its connection without a
word and comes back with the last number. Prints what it holds as one JSON document.
"""

import asyncio
import json
import sys

import websockets


class Client:
    def __init__(self, url: str, conversation: str) -> None:
        self.url = url
        self.conversation = conversation
        self.last = 0
        self.reasoning = ""
        self.text = ""
        self.end = None
        self.verdicts = []
        self.said = []

    def take(self, message: dict) -> None:
        if "syncId" in message and message["type"] != "accepted":
            assert message["syncId"] > self.last, f"{message['syncId']} after {self.last}"
            self.last = message["syncId"]
        kind = message["type"]
        if kind == "subscribed":
            self.verdicts.append(message["verdict"])
        elif kind == "update":
            self.reasoning += message["delta"].get("reasoning", "")
            self.text += message["delta"].get("content", "")
        elif kind == "event" and message["event"]["type"] == "message":
            self.said.append(message["event"]["content"])
        elif kind == "event" and message["event"]["type"] == "reset":
            self.reasoning = message["event"]["reasoning"]
            self.text = message["event"]["text"]
        elif kind in ("complete", "error") and "messageId" in message:
            self.end = message

    async def read(self, content: str | None, until) -> None:
        async with websockets.connect(self.url) as socket:
            subscribe = {"type": "subscribe", "scope": "chat", "conversationId": self.conversation, "lastSyncId": self.last}
            await socket.send(json.dumps(subscribe))
            if content is not None:
                message = {"type": "message", "id": "first", "conversationId": self.conversation, "content": content}
                await socket.send(json.dumps(message))
            while not until(self):
                self.take(json.loads(await socket.recv()))
            # No close frame: the connection is just gone.
            socket.transport.abort()


async def main() -> None:
    client = Client(sys.argv[1], sys.argv[2])
    content = sys.argv[3] if len(sys.argv) > 3 else None
    await client.read(content, lambda client: client.end is not None or len(client.text) > 10)
    await client.read(None, lambda client: client.end is not None)
    print(json.dumps({
        "reasoning": client.reasoning, "text": client.text, "said": client.said, "verdicts": client.verdicts,
        "finishReason": client.end.get("finishReason"), "check": client.end.get("check"),
    }))


asyncio.run(main())
