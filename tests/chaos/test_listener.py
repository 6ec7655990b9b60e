"""The accept loop when the system has no descriptors left, and the stage as a process of its own."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import signal
import socket
import sys
from pathlib import Path

import pytest

from chaos.descriptors import RESERVE, link_limit
from chaos.listener import Listener
from fleetwire.errors import SettingsError
from fleetwire.settings import StageSettings
from tests.chaos.peers import EchoServer, until

ROOT = Path(__file__).parents[2]


async def test_accepting_rests_without_descriptors(caplog: pytest.LogCaptureFixture) -> None:
    """Out of descriptors the loop does not spin: it says so, rests, and serves those who waited once there is room."""
    accepted: list[socket.socket] = []
    exhausted: list[bool] = []
    listener = Listener(
        ("127.0.0.1", 0), reuse_port=False, accepted=accepted.append, exhausted=lambda: exhausted.append(True)
    )
    listener.open()
    clients = [socket.create_connection(listener.address) for _ in range(2)]
    lowest_free = os.dup(0)
    os.close(lowest_free)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, limits[1]))
    try:
        await until(lambda: bool(exhausted), "the lack was noticed")
        assert accepted == []
        assert "rests" in caplog.text
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    await until(lambda: len(accepted) == 2, "both clients were accepted after all")
    assert len(exhausted) <= 2
    listener.end()
    for connection in (*clients, *accepted):
        connection.close()


def test_too_few_descriptors_are_refused() -> None:
    """A limit that leaves no room for one link is refused with the limit to raise."""
    assert link_limit(RESERVE + 1_000) > 400
    with pytest.raises(SettingsError, match="raise ulimit -n"):
        link_limit(RESERVE)


async def test_the_stage_runs_as_a_process(echo: EchoServer, port: int) -> None:
    """``python -P -m chaos`` serves its hop with a soft limit of 256 descriptors and ends at SIGTERM with status 0."""
    hops = [{"name": "terminals-broker", "listen": f"127.0.0.1:{port}", "upstream": echo.address}]
    settings = StageSettings(stage="chaos", options=json.dumps({"hops": hops}))
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-P", "-m", "chaos"),
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **settings.environment()},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard)),
    )
    try:
        peers = [await _connect_when_ready(port) for _ in range(300)]
        for reader, writer in peers:
            writer.write(b"through")
            assert await reader.readexactly(7) == b"through"
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 0
        for reader, writer in peers:
            assert await reader.read() == b""
            writer.close()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def _connect_when_ready(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    for _ in range(4_000):
        try:
            return await asyncio.open_connection("127.0.0.1", port)
        except ConnectionRefusedError:
            await asyncio.sleep(0.01)
    raise AssertionError("the hop did not listen within 40 s")
