"""The frame around every stage's process: settings in, control plane, snapshots, a clean end.

A stage process never outlives its lab: it ends when the control connection ends, at once. SIGTERM or the lab's ``stop``
end it gracefully. Ctrl-C is the lab's business, so SIGINT is ignored here. A snapshot of the witness goes to the lab
every second, more often while the lab waits for convergence; and one last, full one when the stage stops.

    main(build) -> build(settings) -> stage.start() -> "ready" ... snapshots ... stage.stop() -> last snapshot
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

import uvloop

from fleetwire import settings as stage_settings
from fleetwire import stage_log, vital_tasks
from fleetwire.control import Channel, Handler, Params, connect
from fleetwire.errors import ControlError, FleetError
from fleetwire.settings import StageSettings
from fleetwire.witness import Snapshot, Witness

SNAPSHOT_INTERVAL_MS: Final = 1_000
STOP_TIMEOUT_S: Final = 8.0
UNSENT_LIMIT_BYTES: Final = 8 * 1024 * 1024
"""While a lab that does not read has so much of ours unread, what changes waits in the witness for a later snapshot."""
_STALL_PROBE_S: Final = 0.05

_log = logging.getLogger(__name__)


class Stage(Protocol):
    """What a stage's own module provides."""

    witness: Witness

    async def start(self) -> Mapping[str, str]:
        """Begin to work; returns the endpoints that it serves, by name (``http`` -> URL). Returning means ready."""

    async def stop(self) -> None:
        """Finish what is in hand, acknowledge nothing that is not done, release everything."""

    def measure(self) -> None:
        """Bring ``witness.counters`` up to date (backlog, lag); called before every snapshot."""

    def handlers(self) -> Mapping[str, Handler]:
        """The stage's own control methods, e.g. ``final_read``."""


def main(build: Callable[[StageSettings], Stage]) -> None:
    """Run one stage until it is told to end; the entry point of every ``python -P -m <stage>``."""
    stage_log.begin(logging.INFO, stage_log.STAGE_FORMAT)
    try:
        settings = stage_settings.from_environment()
        uvloop.run(_Frame(settings, build(settings)).run())
    except FleetError as error:
        _log.error("%s", error)
        raise SystemExit(2) from None


class _Frame:
    def __init__(self, settings: StageSettings, stage: Stage) -> None:
        self._settings = settings
        self._stage = stage
        self._ended = asyncio.Event()
        self._channel: Channel | None = None
        self._snapshot_interval_ms = SNAPSHOT_INTERVAL_MS
        self._interval_changed = asyncio.Event()
        self._stall_ms = 0.0

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._ended.set)
        loop.add_signal_handler(signal.SIGINT, lambda: None)
        reader = await self._join_lab()
        background = [vital_tasks.start(self._report(), "stage.snapshots")]
        background.append(vital_tasks.start(self._watch_stalls(), "stage.stalls"))
        try:
            endpoints = await self._stage.start()
            self._tell("ready", {"endpoints": dict(endpoints)})
            await self._ended.wait()
            await self._stop_stage()
        finally:
            for task in background:
                task.cancel()
            self._tell_snapshot(full=True)
            await self._leave_lab(reader)

    async def _stop_stage(self) -> None:
        try:
            async with asyncio.timeout(STOP_TIMEOUT_S):
                await self._stage.stop()
        except TimeoutError:
            _log.warning("did not stop within %g s; ending all the same", STOP_TIMEOUT_S)

    async def _join_lab(self) -> asyncio.Task[None] | None:
        if not self._settings.control:
            return None
        address = stage_settings.read_address(self._settings.control, "CONTROL")
        channel = await connect(address, {**self._own_handlers(), **self._stage.handlers()})
        self._channel = channel
        reader = asyncio.create_task(channel.run(), name="stage.control")
        # Until the lab has let us in, its refusal is an error like any other, told in one line.
        await channel.call(
            "hello",
            {
                "token": self._settings.token(),
                "stage": self._settings.stage,
                "instance": self._settings.instance,
                "incarnation": self._settings.incarnation,
                "process_id": os.getpid(),
            },
        )
        reader.add_done_callback(self._lab_is_gone)
        return reader

    async def _leave_lab(self, reader: asyncio.Task[None] | None) -> None:
        if self._channel is None or reader is None:
            return
        reader.remove_done_callback(self._lab_is_gone)
        with contextlib.suppress(ControlError):
            await self._channel.call("goodbye", timeout_s=2.0)
        self._channel.close()

    def _lab_is_gone(self, _: asyncio.Task[None]) -> None:
        """The lab died or dropped us: nobody reads our witness any more, so there is nothing to finish."""
        _log.error("the lab is gone; ending")
        os._exit(70)

    def _own_handlers(self) -> dict[str, Handler]:
        return {
            "stop": self._on_stop,
            "snapshot_every": self._on_snapshot_every,
            "full_snapshot": self._on_full_snapshot,
            "snapshot_now": self._on_snapshot_now,
            "journey": self._on_journey,
            "journeys": self._on_journeys,
        }

    async def _on_stop(self, _: Params) -> None:
        self._ended.set()

    async def _on_snapshot_every(self, params: Params) -> None:
        self._snapshot_interval_ms = max(50, int(params["interval_ms"]))
        self._interval_changed.set()

    async def _on_full_snapshot(self, _: Params) -> Snapshot:
        return self._snapshot(full=True)

    async def _on_snapshot_now(self, _: Params) -> dict[str, Any]:
        """Whoever has the answer has had the snapshot: it goes before."""
        self._tell_snapshot(full=False)
        return {}

    async def _on_journey(self, params: Params) -> Any:
        return self._stage.witness.journey(str(params["source"]), int(params["sequence"]))

    async def _on_journeys(self, _: Params) -> Any:
        return self._stage.witness.journeys()

    async def _report(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._snapshot_interval_ms / 1000):
                    await self._interval_changed.wait()
            self._interval_changed.clear()
            if self._channel is None or self._channel.unsent_bytes < UNSENT_LIMIT_BYTES:
                self._tell_snapshot(full=False)

    def _tell_snapshot(self, *, full: bool) -> None:
        snapshot = self._snapshot(full=full)
        try:
            self._tell("snapshot", snapshot)
        except ControlError as error:
            # Too long for a line: it goes again without its registers, and says that something is missing.
            self._stage.witness.leave_unsent(snapshot, str(error))
            self._stall_ms = max(self._stall_ms, snapshot.loop_stall_ms)
            if snapshot.state:
                self._tell_snapshot(full=False)

    def _snapshot(self, *, full: bool) -> Snapshot:
        self._stage.measure()
        stall_ms, self._stall_ms = self._stall_ms, 0.0
        settings = self._settings
        return self._stage.witness.snapshot(
            settings.stage, settings.instance, settings.incarnation, full=full, loop_stall_ms=stall_ms
        )

    async def _watch_stalls(self) -> None:
        while True:
            before = time.monotonic()
            await asyncio.sleep(_STALL_PROBE_S)
            late_ms = (time.monotonic() - before - _STALL_PROBE_S) * 1000
            self._stall_ms = max(self._stall_ms, late_ms)

    def _tell(self, method: str, params: object) -> None:
        if self._channel is not None:
            self._channel.notify(method, params)
