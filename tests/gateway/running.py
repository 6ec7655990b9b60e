"""A gateway that runs in the test's own event loop, on a free port, behind real HTTP."""

import asyncio
import contextlib
import json
import socket
import sqlite3
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from consumers.gateway.server import serve
from consumers.gateway.store import DocumentStore

DEADLINE_S = 40.0
SHORT_HEARTBEAT_MS = 50


@dataclass
class RunningGateway:
    """The store, its connection (to set limits on), and a client whose base is `http://127.0.0.1:port`."""

    store: DocumentStore
    connection: sqlite3.Connection
    client: httpx.AsyncClient
    serving: asyncio.Task[None]

    async def put(self, document_id: str, body: dict[str, Any], **query: str) -> httpx.Response:
        """Writes one document."""
        return await self.client.put(f"/fleet/{document_id}", json=body, params=query)

    async def write(self, *documents: dict[str, Any], new_edits: object = True) -> list[dict[str, Any]]:
        """Writes documents in bulk and returns the rows."""
        answer = await self.client.post("/fleet/_bulk_docs", json={"docs": documents, "new_edits": new_edits})
        assert answer.status_code == 201, answer.text
        rows: list[dict[str, Any]] = answer.json()
        return rows

    async def changes(self, **query: object) -> dict[str, Any]:
        """One answer of the changes feed."""
        answer = await self.client.get("/fleet/_changes", params=query)  # type: ignore[arg-type]
        assert answer.status_code == 200, answer.text
        result: dict[str, Any] = answer.json()
        return result

    @contextlib.asynccontextmanager
    async def feed(self, **query: object) -> AsyncIterator["FeedReader"]:
        """A continuous feed."""
        params: Any = {"feed": "continuous", **query}
        async with self.client.stream("GET", "/fleet/_changes", params=params) as answer:
            assert answer.status_code == 200
            yield FeedReader(answer)


class FeedReader:
    """Reads a continuous feed line by line; a mark is an empty line."""

    def __init__(self, answer: httpx.Response) -> None:
        self.answer = answer
        self._lines = answer.aiter_lines()

    async def line(self) -> str:
        """The next line, "" for a mark; StopAsyncIteration at the end of the feed."""
        async with asyncio.timeout(DEADLINE_S):
            return await anext(self._lines)

    async def entry(self) -> dict[str, Any]:
        """The next entry, marks passed over."""
        while True:
            line = await self.line()
            if line:
                entry: dict[str, Any] = json.loads(line)
                return entry

    async def entries(self, count: int) -> list[dict[str, Any]]:
        """The next so many entries."""
        return [await self.entry() for _ in range(count)]

    async def rest(self) -> list[dict[str, Any]]:
        """All entries until the feed ends by itself."""
        async with asyncio.timeout(DEADLINE_S):
            return [json.loads(line) async for line in self._lines if line]


@contextlib.asynccontextmanager
async def running_gateway(path: Path) -> AsyncIterator[RunningGateway]:
    """Opens the database file, serves it, and ends all of it."""
    connection = sqlite3.connect(path, isolation_level=None)
    store = DocumentStore(connection)
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    serving = asyncio.create_task(serve(store, listener, minimum_heartbeat_ms=SHORT_HEARTBEAT_MS))
    try:
        async with httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{port}", timeout=DEADLINE_S, trust_env=False, verify=False
        ) as client:
            yield RunningGateway(store, connection, client, serving)
    finally:
        serving.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await serving
        store.close()


async def until(condition: Callable[[], bool]) -> None:
    """Lets the loop run until the condition holds; fails after the deadline."""
    async with asyncio.timeout(DEADLINE_S):
        while not condition():  # noqa: ASYNC110 - the condition is anything
            await asyncio.sleep(0.005)
