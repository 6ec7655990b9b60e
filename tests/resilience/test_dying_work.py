"""A stage whose background work has died ends, so that it is seen and started again."""

from __future__ import annotations

import asyncio
import sys
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from emulator.stage import Emulator
from fleetwire.settings import StageSettings
from fleetwire.vital_tasks import EXIT_STATUS
from storefleet.process_journal import ProcessJournal
from storefleet.processes import Child, Processes
from tests.broker import Broker
from tests.emulator_live.lab import troubles_of
from tests.mqtt.peer import serving
from tests.parm_live.running import REPOSITORY, process, stage_settings
from tests.resilience.laboratory import until

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


async def test_a_refused_subscription_is_the_reason_of_a_restart(tmp_path: Path) -> None:
    """The lab's own driver says why a stage is started again: which filter its broker refuses, and with what code."""
    async with serving(refuse_subscriptions) as port:
        settings = StageSettings(
            stage="sync_stage",
            broker_url=f"mqtt://127.0.0.1:{port}",
            gateway_url="http://127.0.0.1:9/fleet",
            state_dir=str(tmp_path),
        )
        child = Child(
            name="sync_stage-1",
            command=(sys.executable, "-P", "-m", "consumers.sync_stage"),
            environment=lambda _: {**settings.environment(), "PYTHONPATH": str(REPOSITORY)},
            log_file=tmp_path / "log",
        )
        with closing(ProcessJournal(tmp_path)) as journal:
            async with Processes(tmp_path, journal) as driver:
                await driver.start(child)
                await until(lambda: child.last_exit, "it ends")
    assert child.last_exit.startswith("exit status 2: ")
    assert "the broker refuses a subscription with 0x87 not authorized" in child.last_exit
    assert journal.exits["sync_stage-1"][0] == child.last_exit


async def test_terminals_that_may_hear_nothing_are_told(tmp_path: Path) -> None:
    """How many and which first, as long as the broker refuses; nothing once it does not, or they are away."""
    async with serving(refuse_subscriptions) as port:
        options = msgspec.json.encode({"fleet": {"stores": 1, "terminals_per_store": 2}}).decode()
        emulator = Emulator(
            StageSettings(
                stage="emulator", broker_url=f"mqtt://127.0.0.1:{port}", state_dir=str(tmp_path), options=options
            )
        )
        starting = asyncio.create_task(emulator.start())
        await until(lambda: emulator._running is not None and len(emulator.running.deaf) == 2, "both are refused")
        emulator.measure()
        first, second = emulator.running.terminals
        detail = f"2 terminals, first {next(iter(emulator.running.deaf.values()))}"
        assert troubles_of(emulator) == {"subscription_refused": detail}
        assert first._session is not None
        first.on_subscribed(first._session, (1,))
        second.power_cut()
        emulator.measure()
        assert troubles_of(emulator) == {}
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
        await emulator.stop()


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
