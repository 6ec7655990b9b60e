"""The two ends of a hop under test: an echo server, a hop with its control methods, and MQTT bytes by hand."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from chaos.hops import Hops
from fleetwire.settings import StageSettings
from tests.broker import ReservedPort

HOP = "terminals-broker"
CONNACK = b"\x20\x03\x00\x00\x00"


class EchoServer:
    """Sends back what it gets; ``received`` is what each connection sent, ``first`` goes out before an echo."""

    def __init__(self, first: bytes = b"") -> None:
        self.first = first
        self.received: list[bytearray] = []
        self.ends: list[str] = []
        self.open = 0
        self._server: asyncio.Server | None = None
        self._reserved = ReservedPort()
        self._port = self._reserved.number
        self._writers: set[asyncio.StreamWriter] = set()

    @property
    def address(self) -> str:
        """host:port."""
        return f"127.0.0.1:{self._port}"

    async def start(self) -> None:
        """Listen, on the same port every time."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._port, backlog=4096)

    async def stop(self) -> None:
        """Close everything but the port, which stays reserved."""
        if self._server is not None:
            self._server.close()
            for writer in list(self._writers):
                writer.transport.abort()
            await self._server.wait_closed()
            self._server = None
        await until(lambda: self.open == 0, "all echo connections ended")

    async def close(self) -> None:
        """Stop for good."""
        await self.stop()
        self._reserved.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        log = bytearray()
        self.received.append(log)
        self.open += 1
        self._writers.add(writer)
        try:
            while chunk := await reader.read(65536):
                if not log and self.first:
                    writer.write(self.first)
                log += chunk
                writer.write(chunk)
                await writer.drain()
            self.ends.append("eof")
            writer.close()
        except OSError as error:
            self.ends.append(type(error).__name__)
        finally:
            self._writers.discard(writer)
            self.open -= 1
            writer.transport.abort()


class HopBench:
    """One hop and shortcuts to its control methods."""

    def __init__(self, upstream: str, protocol: str, options: dict[str, object]) -> None:
        own = {name: options.pop(name) for name in ("listen", "counts_publishes") if name in options}
        hops = [{"name": HOP, "upstream": upstream, "protocol": protocol, **own}]
        self.stage = Hops(StageSettings(stage="chaos", options=json.dumps({"hops": hops, **options})))
        self.port = 0
        self._writers: list[asyncio.StreamWriter] = []

    async def start(self) -> HopBench:
        """Listen."""
        endpoints = await self.stage.start()
        self.port = int(endpoints[HOP].rpartition(":")[2])
        return self

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A client connection through the hop."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        self._writers.append(writer)
        return reader, writer

    async def stop(self) -> None:
        """End the clients and the hop."""
        for writer in self._writers:
            writer.transport.abort()
        await self.stage.stop()
        await until(lambda: self.count("links_open") == 0, "every link ended with its hop")

    async def call(self, method: str, **params: object) -> Any:
        """A control call, its result as JSON values."""
        call = {"hop": HOP, **params} if method not in ("faults", "links") else params
        return msgspec.to_builtins(await self.stage.handlers()[method](call))

    def count(self, counter: str) -> float:
        """A counter of the witness, measured now."""
        self.stage.measure()
        return self.stage.witness.counters.get(f"hop.{HOP}.{counter}", 0)


def connect_frame(client_id: str, *, level: int = 5, properties: bytes = b"") -> bytes:
    """An MQTT CONNECT."""
    identity = client_id.encode()
    fields = b"\x00\x04MQTT" + bytes([level, 2, 0, 60])
    if level == 5:
        fields += variable_integer(len(properties)) + properties
    body = fields + len(identity).to_bytes(2, "big") + identity
    return b"\x10" + variable_integer(len(body)) + body


def publish_frame(body: bytes) -> bytes:
    """An MQTT frame of type PUBLISH with any body."""
    return b"\x30" + variable_integer(len(body)) + body


def variable_integer(value: int) -> bytes:
    """MQTT's variable byte integer."""
    result = bytearray()
    while True:
        value, digit = divmod(value, 128)
        result.append(digit | (0x80 if value else 0))
        if not value:
            return bytes(result)


async def until(condition: Callable[[], bool], named: str, deadline_s: float = 40.0) -> None:
    """Wait for a condition; fails with its name."""
    loop = asyncio.get_running_loop()
    end_s = loop.time() + deadline_s
    while not condition():
        if loop.time() > end_s:
            raise AssertionError(f"not within {deadline_s:g} s: {named}")
        await asyncio.sleep(0.005)


def descriptors() -> int:
    """How many descriptors this process has open."""
    return sum(1 for _ in Path("/dev/fd").iterdir())


def resident_bytes() -> int:
    """Resident memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096
