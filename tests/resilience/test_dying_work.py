"""A stage whose background work has died ends, so that it is seen and started again."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from fleetwire.settings import StageSettings
from fleetwire.vital_tasks import EXIT_STATUS
from tests.broker import Broker
from tests.mqtt.peer import serving
from tests.parm_live.running import process, stage_settings

CONNECT, SUBSCRIBE = b"\x10", b"\x82"
DEADLINE_S = 40.0


@pytest.mark.parametrize(
    ("stage", "work"),
    [
        ("olympus_dgs", "writer"),
        ("olympus_dgs", "presence"),
        ("parm", "registers"),
        ("poseidon", "feed"),
        ("poseidon", "presence"),
        ("sync_stage", "statuses"),
        ("views", "feed"),
        ("views", "snapshots"),
    ],
)
async def test_dying_work_ends_the_process(broker: Broker, tmp_path: Path, stage: str, work: str) -> None:
    """Whatever ended it: the process ends with a status of its own."""
    settings = stage_settings(
        stage, broker, tmp_path, gateway_url="http://127.0.0.1:9/fleet", options=f'{{"dies": "{work}"}}'
    )
    async with process(settings, "-m", "tests.resilience.dying") as child, asyncio.timeout(DEADLINE_S):
        assert await child.wait() == EXIT_STATUS


async def refuse_subscriptions(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A broker that lets everybody in, takes what is published, and answers each SUBSCRIBE with "not authorized"."""
    while True:
        packet, length = await reader.readexactly(1), 0
        for shift in range(0, 28, 7):
            (byte,) = await reader.readexactly(1)
            length |= (byte & 0x7F) << shift
            if byte < 0x80:
                break
        body = await reader.readexactly(length)
        if packet == CONNECT:
            writer.write(b"\x20\x03\x00\x00\x00")
        elif packet == SUBSCRIBE:
            writer.write(b"\x90\x04" + body[:2] + b"\x00\x87")


@pytest.mark.parametrize(
    ("stage", "module", "status"),
    [
        ("sync_stage", "consumers.sync_stage", 2),
        ("olympus_dgs", "consumers.olympus_dgs", EXIT_STATUS),
        ("poseidon", "consumers.poseidon", EXIT_STATUS),
    ],
)
async def test_a_stage_that_may_hear_nothing_ends(tmp_path: Path, stage: str, module: str, status: int) -> None:
    """A refused SUBACK: one that waits for its broker does not get ready, one that does not ends later."""
    async with serving(refuse_subscriptions) as port, asyncio.timeout(DEADLINE_S):
        settings = StageSettings(
            stage=stage,
            broker_url=f"mqtt://127.0.0.1:{port}",
            gateway_url="http://127.0.0.1:9/fleet",
            state_dir=str(tmp_path),
        )
        async with process(settings, "-m", module) as child:
            assert await child.wait() == status
