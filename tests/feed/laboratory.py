"""Stages as real processes under a control plane of the test's own; every one is ended by its process id."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any

import msgspec

from fleetwire.control import LINE_LIMIT, Channel, Params
from fleetwire.gateway_client import GatewayClient
from fleetwire.host_port import host_port
from fleetwire.settings import StageSettings
from tests.broker import ReservedPort
from tests.feed.events import Written

ROOT = Path(__file__).resolve().parents[2]
DEADLINE_S = 40.0
BULK = 250


class RunningStage:
    """One process of a stage; ``endpoints`` are those that it said it serves."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.endpoints: dict[str, str] = {}
        self.channel: Channel | None = None
        self.ready = asyncio.Event()
        self.snapshots: list[dict[str, Any]] = []

    async def call(self, method: str, params: object = None) -> Any:
        """A control method's result."""
        assert self.channel is not None
        return await self.channel.call(method, params)

    async def kill(self) -> None:
        """End it as a crash does."""
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()

    async def stop(self) -> int:
        """End it in an orderly way; returns its exit status."""
        self.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(DEADLINE_S):
            return await self.process.wait()

    def cpu_s(self) -> float:
        """Processor time that it has used, user and system."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Laboratory:
    """A gateway, and whatever stages a test starts; an async context manager. ``broker_url`` may be nobody's."""

    def __init__(self, folder: Path, broker_url: str = "mqtt://127.0.0.1:1", *, host: str = "127.0.0.1") -> None:
        self.folder = folder
        self.broker_url = broker_url
        self.host = host
        self._reserved = ReservedPort(host)
        self.gateway_port = self._reserved.number
        self.gateway_url = f"http://{host_port(host, self.gateway_port)}/fleet"
        self.client = GatewayClient(self.gateway_url)
        self._stages: dict[int, RunningStage] = {}
        self._server: asyncio.Server | None = None
        self._conversations: set[asyncio.Task[None]] = set()
        self._token = folder / "token"

    async def __aenter__(self) -> Laboratory:
        self._token.touch(0o600)
        self._token.write_text("secret")
        self._server = await asyncio.start_server(self._accept, self.host, 0, limit=LINE_LIMIT)
        return self

    async def __aexit__(self, *_: object) -> None:
        for stage in self._stages.values():
            await stage.kill()
        await self.client.close()
        assert self._server is not None
        self._server.close()
        await asyncio.gather(*self._conversations)
        self._reserved.close()

    async def start_gateway(self) -> RunningStage:
        """The real gateway, always at the same port with the same file."""
        return await self.start("consumers.gateway", "gateway", listen=host_port(self.host, self.gateway_port))

    async def start(self, module: str, stage: str, **settings: Any) -> RunningStage:
        """Start a stage and wait until it is ready; its state folder is the same every time."""
        assert self._server is not None
        control = self._server.sockets[0].getsockname()[1]
        values = StageSettings(
            stage=stage,
            broker_url=self.broker_url,
            gateway_url=self.gateway_url,
            state_dir=str(self.folder / stage),
            control=host_port(self.host, control),
            token_file=str(self._token),
            **{"client_id": f"{stage}-1", **settings},
        )
        environment = {**os.environ, "PYTHONPATH": str(ROOT), **values.environment()}
        process = await asyncio.create_subprocess_exec(sys.executable, "-P", "-m", module, env=environment)
        running = self._stages[process.pid] = RunningStage(process)
        async with asyncio.timeout(DEADLINE_S):
            await running.ready.wait()
        return running

    async def write(self, events: Iterable[Written]) -> None:
        """Write documents as the sync stage does."""
        documents = [event.json for event in events]
        for start in range(0, len(documents), BULK):
            rows = await self.client.bulk_docs(documents[start : start + BULK], new_edits=False)
            assert not [row for row in rows if row.status], rows

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._conversations.add(asyncio.create_task(self._joined(reader, writer), name="control"))

    async def _joined(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        stage: list[RunningStage] = []

        async def hello(params: Params) -> None:
            stage.append(self._stages[params["process_id"]])
            stage[0].channel = channel

        async def ready(params: Params) -> None:
            stage[0].endpoints = params["endpoints"]
            stage[0].ready.set()

        async def snapshot(params: Params) -> None:
            if stage:
                stage[0].snapshots.append(params)

        async def goodbye(_: Params) -> None:
            pass

        handlers = {"hello": hello, "ready": ready, "snapshot": snapshot, "goodbye": goodbye}
        channel = Channel(reader, writer, handlers)
        await channel.run()


async def until(condition: Callable[[], Awaitable[bool]], what: str) -> None:
    """Ask again until it holds; fails with ``what`` after the deadline."""
    try:
        async with asyncio.timeout(DEADLINE_S):
            while not await condition():  # noqa: ASYNC110 - other processes set no event of ours
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(f"not within {DEADLINE_S:g} s: {what}") from None


def held(view: dict[str, Any]) -> dict[tuple[str, int], bytes]:
    """What a final read says that a view holds: hash by key."""
    found: dict[tuple[str, int], bytes] = {}
    for source, read in view["sources"].items():
        assert read["repeated"] == []
        hashes = msgspec.convert(read["hashes"], bytes)
        numbers = [number for first, last in read["intervals"] for number in range(first, last + 1)]
        assert len(hashes) == 8 * len(numbers)
        found.update({(source, number): hashes[8 * at : 8 * at + 8] for at, number in enumerate(numbers)})
    return found


def truth(events: Iterable[Written]) -> dict[tuple[str, int], bytes]:
    """The same of what was written."""
    return {(event.source, event.sequence): event.hash for event in events}


@contextlib.asynccontextmanager
async def running(coroutine: Any) -> Any:
    """Run a coroutine as a task beside a block."""
    task = asyncio.create_task(coroutine)
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
