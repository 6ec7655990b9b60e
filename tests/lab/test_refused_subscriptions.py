"""A broker that lets everybody in and nobody hear anything: who may not hear says so, or ends for it and says why."""

from __future__ import annotations

import asyncio
import sys
from contextlib import closing
from pathlib import Path

import msgspec

from emulator.stage import Emulator
from fleetwire.settings import StageSettings
from storefleet.process_journal import ProcessJournal
from storefleet.processes import Child, Processes
from tests.emulator_live.lab import troubles_of, until
from tests.lab.command_line import REPOSITORY
from tests.mqtt.peer import serving
from tests.resilience.test_dying_work import refuse_subscriptions


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
                await until(lambda: journal.exits["sync_stage-1"], "it ends")
    reason = journal.exits["sync_stage-1"][0]
    assert reason.startswith("exit status 2: ")
    assert "the broker refuses a subscription with 0x87 not authorized" in reason


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
