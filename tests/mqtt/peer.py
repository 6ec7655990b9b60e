"""The other end of a session: what a server would send, written with the codec, and what it would read."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import mqtt5

from fleetwire.mqtt.core import SessionCore
from fleetwire.mqtt.events import Event
from fleetwire.mqtt.statistics import Statistics
from fleetwire.mqtt.values import SessionOptions


def read_all(data: bytes) -> list[mqtt5.Packet]:
    """All packets of a byte stream that ends with a whole packet."""
    packets = []
    while data:
        packet, length = mqtt5.read(memoryview(data))
        packets.append(packet)
        data = data[length:]
    return packets


def publish(number: int, *, qos: int = 1, topic: str = "a/b", payload: bytes | None = None) -> bytes:
    """A PUBLISH from the server with ``number`` as packet id and in its payload."""
    return mqtt5.PublishPacket(
        topic,
        b"%d" % number if payload is None else payload,
        qos=mqtt5.QoS(qos),
        packet_id=number if qos else None,
        user_properties=[("number", str(number))],
    ).write()


def puback(packet_id: int) -> bytes:
    """A PUBACK with success."""
    return mqtt5.PubAckPacket(packet_id).write()


@contextlib.asynccontextmanager
async def serving(
    converse: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> AsyncIterator[int]:
    """The port of a peer that treats every connection so and hangs up; at the end none of them is left open."""
    conversations: set[asyncio.Task[None]] = set()

    async def whole(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            await converse(reader, writer)
        with contextlib.suppress(OSError):
            writer.close()
            await writer.wait_closed()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        conversations.add(asyncio.create_task(whole(reader, writer), name="peer"))

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await asyncio.gather(*conversations)


def saying(answer: bytes) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
    """A conversation: read something, say ``answer``."""

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)
        writer.write(answer)

    return converse


class CorePeer:
    """A session core and its imagined server; time stands still unless a test moves it."""

    def __init__(self, **options: object) -> None:
        self.statistics = Statistics()
        self.core = SessionCore(SessionOptions(client_id="till", **options), self.statistics)  # type: ignore[arg-type]
        self.now_s = 100.0

    def sent(self) -> list[mqtt5.Packet]:
        """What the session has sent since the last call."""
        return read_all(self.core.take(self.now_s))

    def give(self, data: bytes) -> list[Event]:
        """Let the server send bytes."""
        return self.core.receive(data, self.now_s)

    def connect(
        self, *, session_present: bool = False, receive_maximum: int = 65_535, packet_size: int | None = None
    ) -> list[Event]:
        """Open a connection that the server accepts; the CONNECT has been read."""
        self.core.open(None, self.now_s)
        (connect,) = self.sent()
        assert isinstance(connect, mqtt5.ConnectPacket)
        return self.give(
            mqtt5.ConnAckPacket(
                session_present=session_present, receive_max=receive_maximum, max_packet_size=packet_size
            ).write()
        )

    def publish(self, *numbers: int) -> None:
        """Publish each number as payload and as token."""
        for number in numbers:
            self.core.publish("a/b", b"%d" % number, token=number)

    def payloads_sent(self) -> list[tuple[int, bool]]:
        """Number and DUP flag of each PUBLISH that the session has sent since the last call."""
        return [(int(one.payload), one.duplicate) for one in self.sent() if isinstance(one, mqtt5.PublishPacket)]
