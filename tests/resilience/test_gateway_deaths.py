"""A document that kills the gateway's process is given up; a gateway that dies for other reasons costs no event."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import re
import signal
import socket
import struct
import sys
from pathlib import Path

import pytest

from consumers.sync_stage import document_writer
from consumers.sync_stage.stage import SyncStage
from fleetwire.attempt_record import DEATHS_ALLOWED
from fleetwire.gateway_client import GatewayClient
from fleetwire.settings import StageSettings
from tests.broker import Broker
from tests.chaos.peers import HopBench
from tests.parm_live.running import REPOSITORY, ROOT, SOURCE, TOPICS, Wire, envelope, running, until, wire
from tests.resilience.poisonous import POISON
from tests.sync_stage.test_events import TERMINAL, TOPIC, canonical, gateway, send, sync_settings

OUTCOME = TOPICS.command("outcome", TERMINAL)
KILLS = 6
CUTS = 12
BURST = 50
TRIED_ALONE = "each is tried alone"
RESET_ON_CLOSE = struct.pack("ii", 1, 0)
"""SO_LINGER with zero seconds."""


class UndyingGateway:
    """A real gateway behind a hop, one process after another; ``deaths`` are their exit statuses.

    ``waits``: each life but the first begins when :meth:`live` is called, not at once.
    """

    def __init__(self, folder: Path, port: int, *, waits: bool = False) -> None:
        self.deaths: list[int] = []
        self.life = 0
        self._waits = waits
        self._settings = StageSettings(stage="gateway", listen=f"127.0.0.1:{port}", state_dir=str(folder))
        self._hop = HopBench(f"127.0.0.1:{port}", "http", {})

    async def __aenter__(self) -> UndyingGateway:
        environment = {**os.environ, **self._settings.environment(), "PYTHONPATH": str(REPOSITORY)}
        command = (sys.executable, "-P", "-m", "tests.resilience.undying_gateway")
        self._parent = await asyncio.create_subprocess_exec(
            *command, env=environment, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            start_new_session=True,
        )  # fmt: skip
        assert self._parent.stdin is not None
        if self._waits:
            self.live()
        else:
            self._parent.stdin.close()
        self._listening = asyncio.create_task(self._listen(), name="lives of the gateway")
        await self._hop.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        os.killpg(self._parent.pid, signal.SIGKILL)
        await self._parent.wait()
        await self._listening
        await self._hop.stop()

    @property
    def port(self) -> int:
        """Of the hop."""
        return self._hop.port

    def live(self) -> None:
        """Let one more life begin."""
        assert self._parent.stdin is not None
        self._parent.stdin.write(b".")

    async def kill(self) -> None:
        """kill -9, and wait until the next process has begun."""
        deaths, life = len(self.deaths), self.life
        os.kill(life, signal.SIGKILL)
        await until(lambda: len(self.deaths) > deaths and self.life != life, "the next life")

    async def _listen(self) -> None:
        assert self._parent.stdout is not None
        async for line in self._parent.stdout:
            event, number = line.split()
            if event == b"began":
                self.life = int(number)
            else:
                self.deaths.append(int(number))


class Trade:
    """Sends events without a pause, a burst at a time; ``last`` is the number of the last that is at the broker."""

    def __init__(self, client: Wire) -> None:
        self.last = 0
        self._client = client
        self._ended = False

    async def __aenter__(self) -> Trade:
        self._sending = asyncio.create_task(self._send(), name="trade")
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.end()

    async def end(self) -> None:
        """Send no further burst."""
        self._ended = True
        await self._sending

    async def _send(self) -> None:
        while not self._ended:
            await asyncio.gather(*(send(self._client, self.last + number) for number in range(1, BURST + 1)))
            self.last += BURST


class ResettingProxy:
    """Resets the connection instead of giving the answer to a ``_bulk_docs``; every other one it does not even pass on."""

    def __init__(self, port: int) -> None:
        self.resets_left = CUTS
        self.open = 0
        self._port = port

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        self.open += 1
        answers, requests = await asyncio.open_connection("127.0.0.1", self._port)
        with contextlib.suppress(asyncio.IncompleteReadError):
            while True:
                request = await read_message(reader)
                is_reset = b"/_bulk_docs" in request and self.resets_left > 0
                self.resets_left -= is_reset
                if not is_reset or self.resets_left % 2:
                    requests.write(request)
                    answer = await read_message(answers)
                if is_reset:
                    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
                    break
                writer.write(answer)
        for end in (requests, writer):
            end.close()
        self.open -= 1


async def read_message(reader: asyncio.StreamReader) -> bytes:
    """A request or an answer with its body."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = re.search(rb"(?i)content-length: *([0-9]+)", head)
    return head + await reader.readexactly(int(length[1]) if length else 0)


async def send_poison(client: Wire, sequence: int) -> None:
    """Publish an event on which the gateway dies."""
    event = canonical(sequence)
    event["data"]["operator_id"] = POISON
    await client.publish(TOPIC, json.dumps(event).encode(), envelope(sequence))


async def test_a_document_that_kills_the_gateway_is_given_up(tmp_path: Path, broker: Broker, port: int) -> None:
    """After three counted deaths it is a dead letter ``crash``, and rejected; those before and behind it are stored."""
    async with (
        wire(broker, "dead-letter/#", OUTCOME.removeprefix(f"{ROOT}/")) as seen,
        UndyingGateway(tmp_path / "gateway", port, waits=True) as gateway,
        GatewayClient(f"http://127.0.0.1:{gateway.port}/fleet") as client,
        running(SyncStage(sync_settings(broker, tmp_path / "sync", gateway.port))) as stage,
    ):
        for sequence in (1, 2, 4, 5):
            await send(seen, sequence)
        await send_poison(seen, 3)
        for sequence in itertools.count(6):  # each time another waits to be stored before the next life begins
            deaths = sequence - 6
            await until(
                lambda deaths=deaths: len(gateway.deaths) > deaths or seen.on("dead-letter"), "a death or a letter"
            )
            if seen.on("dead-letter"):
                break
            await send(seen, sequence)
            await until(lambda sequence=sequence: sequence in stage.witness.taken[SOURCE], "it waits to be stored")
            gateway.live()
        last = sequence - 1
        await until(lambda: stage.witness.counters["handed_on_total"] == last - 1, "the others are stored")
        await until(lambda: seen.on("command/outcome"), "the terminal is told")
        assert await client.get(f"{SOURCE}.3") is None
    (letter,) = seen.on("dead-letter/sync_stage/crash")
    assert "the gateway's process ended 3 times" in str(letter.user_property("detail"))
    assert letter.user_property("key") == f"{SOURCE}.3"
    (outcome,) = seen.on("command/outcome")
    assert outcome.json["rejected"] == [{"sequence": 3, "stage": "sync_stage", "reason": "crash"}]
    assert gateway.deaths == [9] * (DEATHS_ALLOWED + 1)


async def test_a_gateway_that_is_killed_again_and_again_costs_no_event(
    tmp_path: Path, broker: Broker, port: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Each time it dies with a batch under way, whose documents are tried alone then; every one is stored."""
    async with (
        wire(broker, "dead-letter/#") as seen,
        UndyingGateway(tmp_path / "gateway", port) as gateway,
        running(SyncStage(sync_settings(broker, tmp_path / "sync", gateway.port))) as stage,
        Trade(seen) as trade,
    ):
        counters = stage.witness.counters
        for _ in range(KILLS):
            stored = counters["handed_on_total"]
            await until(lambda stored=stored: counters["handed_on_total"] > stored + BURST, "it stores")
            await gateway.kill()
        await trade.end()
        await until(lambda: stage.witness.handed_on[SOURCE].to_list() == [(1, trade.last)], "every one is stored")
    assert TRIED_ALONE in caplog.text
    assert gateway.deaths == [-signal.SIGKILL] * KILLS
    assert (seen.seen, stage.witness.rejects) == ([], {})


async def test_a_network_that_resets_every_connection_costs_no_event(
    tmp_path: Path, broker: Broker, port: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """While the gateway lives, whatever became of the request: no document is suspected, the same batch goes again."""
    monkeypatch.setattr(document_writer, "RETRY_CAP_S", 0.1)
    proxy = ResettingProxy(port)
    async with (
        wire(broker, "dead-letter/#") as seen,
        gateway(tmp_path, port) as store,
        await asyncio.start_server(proxy.serve, "127.0.0.1", 0) as server,
    ):
        async with running(SyncStage(sync_settings(broker, tmp_path, server.sockets[0].getsockname()[1]))) as stage:
            await asyncio.gather(*(send(seen, sequence) for sequence in range(1, BURST + 1)))
            await until(lambda: stage.witness.counters["handed_on_total"] == BURST, "every one is stored")
        await until(lambda: not proxy.open, "the connections have ended")
    assert TRIED_ALONE not in caplog.text
    assert (proxy.resets_left, store.counters.documents_written) == (0, BURST)
    assert (seen.seen, stage.witness.rejects) == ([], {})
