"""An echo server that does as RFC 6455 says, or with one flaw."""

import asyncio
import base64
import codecs
import contextlib
import hashlib
import struct

KEY_SUFFIX = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
CODES = {1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014} | set(range(3000, 5000))
MAX_FRAME_BYTES = 1 << 25

# Each flaw with cases that must notice it.
FLAWS = {
    "echoes with the last byte missing": ["1.1.2", "1.2.2"],
    "echoes text as binary": ["1.1.2"],
    "answers no ping": ["2.2", "2.3", "2.10"],
    "answers a ping without its payload": ["2.2", "2.3"],
    "takes long control frames": ["2.5", "7.3.6"],
    "takes reserved bits": ["3.1", "3.5"],
    "takes unknown opcodes": ["4.1.1", "4.2.1"],
    "takes control frames in pieces": ["5.1"],
    "takes a continuation of nothing": ["5.9"],
    "takes a message within a message": ["5.18"],
    "takes any bytes as text": ["6.3.1", "6.4.1", "6.10.2"],
    "takes a text that ends within a character": ["6.6.1", "6.6.3"],
    "says nothing when it is closed": ["7.1.1", "7.3.1"],
    "takes any close code": ["7.9.1", "7.9.5"],
    "takes any bytes as a reason": ["7.5.1"],
}


class Fault(Exception):
    """What the peer did wrong, as the code to close with."""

    def __init__(self, code):
        super().__init__(code)
        self.code = code


@contextlib.asynccontextmanager
async def serving(flaw):
    """The URL of a server that runs meanwhile."""
    assert flaw is None or flaw in FLAWS, flaw
    server = await asyncio.start_server(lambda reader, writer: Peer(flaw, reader, writer).serve(), "127.0.0.1", 0)
    async with server:
        host, port = server.sockets[0].getsockname()[:2]
        yield f"ws://{host}:{port}/"


class Peer:
    """One connection."""

    def __init__(self, flaw, reader, writer):
        self.flaw, self.reader, self.writer = flaw, reader, writer
        self.opcode, self.pieces, self.decoder = None, b"", None

    async def serve(self):
        try:
            await self.handshake()
            try:
                while await self.frame():
                    pass
            except Fault as fault:
                self.send(CLOSE, struct.pack(">H", fault.code))
            await self.writer.drain()
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError):
            pass  # The peer has gone.
        finally:
            self.writer.close()

    async def handshake(self):
        head = (await self.reader.readuntil(b"\r\n\r\n")).split(b"\r\n")
        fields = {name.lower(): value.strip() for name, _, value in (line.partition(b":") for line in head[1:])}
        accept = base64.b64encode(hashlib.sha1(fields[b"sec-websocket-key"] + KEY_SUFFIX).digest())
        upgrade = b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n"
        self.writer.write(upgrade + b"sec-websocket-accept: " + accept + b"\r\n\r\n")

    async def frame(self):
        """Reads one and does what is to be done; whether the connection goes on."""
        first, second = await self.reader.readexactly(2)
        fin, reserved, opcode = bool(first & 0x80), first & 0x70, first & 0x0F
        if reserved and self.flaw != "takes reserved bits":
            raise Fault(1002)
        if opcode not in (CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG) and self.flaw != "takes unknown opcodes":
            raise Fault(1002)
        length = second & 0x7F
        if opcode >= CLOSE:
            if length > 125 and self.flaw != "takes long control frames":
                raise Fault(1002)
            if not fin and self.flaw != "takes control frames in pieces":
                raise Fault(1002)
        if length >= 126:
            bytes_of_length = 2 if length == 126 else 8
            length = int.from_bytes(await self.reader.readexactly(bytes_of_length), "big")
        if not second & 0x80:
            raise Fault(1002)
        if length > MAX_FRAME_BYTES:
            raise Fault(1009)
        self.judge_place(opcode)
        mask = await self.reader.readexactly(4)
        payload = await self.payload(opcode, fin, length, mask)
        match opcode:
            case 8:
                return self.close(payload)
            case 9:
                if self.flaw != "answers no ping":
                    self.send(PONG, b"" if self.flaw == "answers a ping without its payload" else payload)
            case 0 | 1 | 2:
                self.message(opcode, fin, payload)
        await self.writer.drain()
        return True

    def judge_place(self, opcode):
        if opcode == CONTINUATION and self.opcode is None and self.flaw != "takes a continuation of nothing":
            raise Fault(1002)
        if opcode in (TEXT, BINARY) and self.opcode is not None and self.flaw != "takes a message within a message":
            raise Fault(1002)

    async def payload(self, opcode, fin, length, mask):
        """The payload, unmasked. Text is looked at as it comes, so that what is no UTF-8 is not waited for."""
        is_text = opcode == TEXT or (opcode == CONTINUATION and self.opcode == TEXT)
        if opcode == TEXT or self.decoder is None:
            self.decoder = codecs.getincrementaldecoder("utf-8")()
        payload = b""
        while len(payload) < length:
            part = await self.reader.read(length - len(payload))
            if not part:
                raise asyncio.IncompleteReadError(payload, length)
            turn = len(payload) % 4
            key = int.from_bytes(((mask[turn:] + mask[:turn]) * (len(part) // 4 + 1))[: len(part)], "big")
            part = (int.from_bytes(part, "big") ^ key).to_bytes(len(part), "big")
            payload += part
            if is_text:
                self.look_at(part, False)
        if is_text and fin:
            self.look_at(b"", True)
        return payload

    def look_at(self, part, last):
        if self.flaw == "takes any bytes as text":
            return
        if self.flaw == "takes a text that ends within a character" and last:
            return
        try:
            self.decoder.decode(part, last)
        except UnicodeDecodeError:
            raise Fault(1007) from None

    def message(self, opcode, fin, payload):
        self.opcode = opcode or self.opcode or TEXT
        self.pieces += payload
        if not fin:
            return
        opcode, message = self.opcode, self.pieces
        self.opcode, self.pieces, self.decoder = None, b"", None
        if self.flaw == "echoes with the last byte missing":
            message = message[:-1]
        if self.flaw == "echoes text as binary":
            opcode = BINARY
        self.send(opcode, message)

    def close(self, payload):
        if self.flaw == "says nothing when it is closed":
            return False
        if len(payload) == 1:
            raise Fault(1002)
        if payload:
            code = int.from_bytes(payload[:2], "big")
            if code not in CODES and self.flaw != "takes any close code":
                raise Fault(1002)
            if self.flaw != "takes any bytes as a reason":
                try:
                    payload[2:].decode("utf-8")
                except UnicodeDecodeError:
                    raise Fault(1007) from None
        self.send(CLOSE, payload[:2])
        return False

    def send(self, opcode, payload):
        length = len(payload)
        if length < 126:
            head = struct.pack(">BB", 0x80 | opcode, length)
        elif length < 1 << 16:
            head = struct.pack(">BBH", 0x80 | opcode, 126, length)
        else:
            head = struct.pack(">BBQ", 0x80 | opcode, 127, length)
        self.writer.write(head + payload)
