"""The gateway's client against the real gateway, and against peers that are none."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import deque
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fleetwire.errors import GatewayError
from fleetwire.gateway_client import GatewayClient
from tests.sync_stage.test_events import gateway


@contextlib.asynccontextmanager
async def peer(*answers: bytes | None, end: bytes = b"false}") -> AsyncIterator[str]:
    """A server that reads requests to this end and says these, the last for ever, or nothing; its URL.

    It closes its connections.
    """
    to_say = deque(answers)
    connections: list[asyncio.Task[None] | None] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(asyncio.current_task())
        answer = to_say.popleft() if len(to_say) > 1 else to_say[0]
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            if answer is None:
                await reader.read()
            else:
                await reader.readuntil(end)
                writer.write(answer)
                await writer.drain()
        with contextlib.suppress(OSError):
            writer.close()
            await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/fleet"
        await asyncio.gather(*filter(None, connections))


async def test_documents_are_written_and_read(tmp_path: Path, port: int) -> None:
    """A put needs the current revision, a bulk write answers row by row, a get returns the whole document."""
    async with gateway(tmp_path, port), GatewayClient(f"http://127.0.0.1:{port}/fleet/") as client:
        assert await client.get("status:a b/ü") is None
        first = await client.put("status:a b/ü", b'{"n":1}')
        assert await client.put("status:a b/ü", b'{"n":2}', first) != first
        with pytest.raises(GatewayError) as refused:
            await client.put("status:a b/ü", b'{"n":3}', first)
        assert (refused.value.status, refused.value.definite) == (409, True)
        found = await client.get("status:a b/ü")
        assert found is not None
        assert json.loads(found.body) == {"_id": "status:a b/ü", "_rev": found.rev, "n": 2}
        rows = await client.bulk_docs([b'{"_id":"x","_rev":"1-a"}', b'{"_id":"status:a b/\\u00fc"}'], new_edits=False)
        assert [(row.id, row.status) for row in rows] == [("x", 0), ("status:a b/ü", 400)]


async def test_a_gateway_that_is_not_there_is_a_definite_failure(port: int) -> None:
    """Nothing listens: nothing was stored."""
    async with GatewayClient(f"http://127.0.0.1:{port}/fleet") as client:
        with pytest.raises(GatewayError) as refused:
            await client.bulk_docs([b"{}"], new_edits=False)
    assert (refused.value.definite, refused.value.cut_off) == (True, False)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 201 Created\r\ncontent-length: 2\r\n\r\n{}",
        b"HTTP/1.1 201 Created\r\ncontent-length: 2\r\n\r\n[]",
        b"HTTP/1.1 500 Broken\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 201 Created\r\ncontent-length: 99999999\r\n\r\n" + b" " * 17_000_000,
        b"SSH-2.0-x\r\n",
    ],
    ids=["closes", "no rows", "too few rows", "fails", "floods", "no HTTP"],
)
async def test_a_lost_or_strange_answer_is_no_definite_failure(answer: bytes) -> None:
    """What came after the request was sent says nothing about what was stored."""
    async with peer(answer) as url, GatewayClient(url) as client:
        with pytest.raises(GatewayError) as refused:
            await client.bulk_docs([b"{}"], new_edits=False)
    assert not refused.value.definite
    assert refused.value.cut_off is (answer == b"")


async def test_silence_ends_at_the_timeout() -> None:
    """A gateway that takes the request and says nothing is given up, not definite."""
    async with peer(None) as url, GatewayClient(url, answer_timeout_s=0.1) as client:
        with pytest.raises(GatewayError) as refused:
            await client.opened_us()
    assert (refused.value.definite, refused.value.cut_off) == (False, False)


async def test_a_new_process_of_the_gateway_is_known_by_when_it_opened(tmp_path: Path, port: int) -> None:
    """The same process says the same every time, the next one another."""
    said = []
    async with GatewayClient(f"http://127.0.0.1:{port}/fleet") as client:
        for _ in range(2):
            async with gateway(tmp_path, port):
                said.append([await client.opened_us(), await client.opened_us()])
    assert said[0][0] == said[0][1] > 0
    assert said[1][0] == said[1][1] > said[0][0]


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\n\r\n{}",
        b"HTTP/1.1 500 Broken\r\ncontent-length: 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}",
        b'HTTP/1.1 200 OK\r\ncontent-length: 31\r\n\r\n{"instance_start_time":"later"}',
    ],
    ids=["not found", "fails", "says nothing", "another type"],
)
async def test_a_gateway_that_does_not_say_when_it_opened_has_no_name(answer: bytes) -> None:
    """It answers, so there is nothing to wait for."""
    async with peer(answer, end=b"\r\n\r\n") as url, GatewayClient(url) as client:
        assert await client.opened_us() == 0


async def test_a_gateway_that_has_said_when_it_opened_is_waited_for_while_it_loads() -> None:
    """Sync Gateway answers 404 until it has opened its databases: not the word of one that never says it."""
    missing = b"HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\n\r\n{}"
    opened = b'HTTP/1.1 200 OK\r\ncontent-length: 25\r\n\r\n{"instance_start_time":7}'
    async with peer(missing, opened, missing, opened, end=b"\r\n\r\n") as url, GatewayClient(url) as client:
        assert [await client.opened_us(), await client.opened_us()] == [0, 7]
        with pytest.raises(GatewayError) as refused:
            await client.opened_us()
        assert refused.value.status == 404
        assert await client.opened_us() == 7


@pytest.mark.parametrize(
    ("answer", "cut_off"),
    [(b"HTTP/1.1 503 Starting\r\ncontent-length: 2\r\n\r\n{}", False), (b"", True)],
    ids=["not yet", "closes"],
)
async def test_a_gateway_that_is_not_there_yet_cannot_say_when_it_opened(answer: bytes, *, cut_off: bool) -> None:
    """Whoever asked has to ask again."""
    async with peer(answer, end=b"\r\n\r\n") as url, GatewayClient(url) as client:
        with pytest.raises(GatewayError) as refused:
            await client.opened_us()
    assert refused.value.cut_off is cut_off
