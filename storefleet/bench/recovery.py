"""Part ``recovery``: how long until every terminal is online again after an outage, and every view agrees.

Two losses under trade: a network that is away from all terminals at once, every hop proxied; and the broker killed
with its memory, bare hops. Full jitter spreads the terminals over time, so the baseline is what they take without it:
the emulator's process ended in the same run and started again. Online again is the terminals' own word, each 100 ms,
once each of them has connected anew; the broker's loss counts from its answering again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple

from fleetwire.errors import FleetError, SettingsError
from storefleet.bench.crew import Crew
from storefleet.bench.lab_run import READ_INTERVAL_S, run_lab, trade, void_note
from storefleet.bench.report import Figure, spread
from storefleet.convergence import RESOLUTION_MS
from storefleet.lab_options import require_descriptors
from storefleet.plan import TERMINALS_HOP
from storefleet.ports import port_answers
from storefleet.run import Run

FAULT: Final = "bench"
TERMINALS_PER_STORE: Final = 5
PATIENCE_S: Final = 60.0


class Shape(NamedTuple):
    """How many stores lose their network, how many their broker; events a second meanwhile."""

    network_stores: int
    broker_stores: int
    rate_per_s: int
    outage_s: float
    keep_alive_s: int = 4


FULL: Final = Shape(network_stores=1_000, broker_stores=2_000, rate_per_s=200, outage_s=8.0)
QUICK: Final = Shape(network_stores=100, broker_stores=100, rate_per_s=50, outage_s=6.0)

Loss = Callable[[Run], Awaitable[float]]
"""Breaks and heals; returns when it was healed, by the monotonic clock."""


class Return:
    """One lab: the emulator started again first, then the loss. Seconds; what was not measured is None."""

    def __init__(self, terminals: int, rate_per_s: int, lose: Loss) -> None:
        self._terminals = terminals
        self._rate_per_s = rate_per_s
        self._lose = lose
        self.restarted_s: float | None = None
        self.online_s: float | None = None
        self.converged_s: float | None = None
        self.note = ""
        """Why it does not count."""

    async def script(self, run: Run) -> None:
        """The baseline, then the loss, both from a fleet that is whole and trades."""
        await self._until_whole(run, 0)
        await _end_and_await(run, "emulator-1", run.lab.processes.terminate)
        self.restarted_s = await self._until_whole(run, 0)
        emulators = run.lab.control.stage  # one that is still starting would set its own rate after ours
        await _until(lambda: any(member.ready for member in emulators("emulator")), "the emulator is ready")
        await trade(run, self._rate_per_s)
        await run.wait_recovery(PATIENCE_S)
        connects = int(run.lab.observatory.total("emulator", "connects_total"))
        healed_s = await self._lose(run)
        await self._until_whole(run, connects)
        self.online_s = time.monotonic() - healed_s
        recovery = await run.wait_recovery(PATIENCE_S)
        if not recovery.views - recovery.converged_ms.keys():
            self.converged_s = time.monotonic() - healed_s

    async def _until_whole(self, run: Run, connects: int) -> float:
        """Until all are online, each with a connection of its own after the first ``connects`` of this incarnation."""
        began_s = time.monotonic()
        child = run.lab.processes.children["emulator-1"]
        await _until(lambda: bool(run.lab.control.stage("emulator")), "the emulator speaks to the lab")
        run.lab.control.notify_all("snapshot_every", {"interval_ms": RESOLUTION_MS})

        def whole() -> bool:
            figures = run.lab.observatory.instances.get(("emulator", 1))
            if figures is None or figures.incarnation != child.incarnation:
                return False
            connected = figures.counters.get("connects_total", 0) - connects
            return figures.counters.get("online", 0) == self._terminals <= connected

        await _until(whole, f"all {self._terminals:,} terminals are online")
        return time.monotonic() - began_s


async def _until(condition: Callable[[], bool], what: str) -> None:
    deadline_s = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > deadline_s:
            raise FleetError(f"not within {PATIENCE_S:g} s: {what}")
        await asyncio.sleep(READ_INTERVAL_S / 10)


async def _end_and_await(run: Run, name: str, end: Callable[[str], None]) -> None:
    """End a process, and wait until the lab has started it again."""
    child = run.lab.processes.children[name]
    incarnation = child.incarnation
    end(name)
    await _until(lambda: child.incarnation > incarnation and child.running, f"{name} runs again")


def network_loss(outage_s: float) -> Loss:
    """Nothing passes between the terminals and the broker for so long; they notice by their keep-alive."""

    async def lose(run: Run) -> float:
        await run.add_fault(TERMINALS_HOP, FAULT, "partition", {"client_id": "*"}, lease_s=PATIENCE_S)
        await asyncio.sleep(outage_s)
        await _until(lambda: run.lab.observatory.total("emulator", "online") == 0, "every terminal is offline")
        await run.remove_fault(TERMINALS_HOP, FAULT)
        return time.monotonic()

    return lose


async def broker_loss(run: Run) -> float:
    """kill -9; the lab starts it again, with nothing that it knew."""
    await _end_and_await(run, "broker-1", run.lab.processes.kill)
    host, port = run.lab.broker_address()
    try:
        async with asyncio.timeout(PATIENCE_S):
            while not await port_answers(host, port):  # noqa: ASYNC110 - the broker is another process
                await asyncio.sleep(READ_INTERVAL_S / 10)
    except TimeoutError:
        raise FleetError(f"not within {PATIENCE_S:g} s: the broker answers again") from None
    return time.monotonic()


def measure(shape: Shape, crew: Crew, say: Callable[[str], None]) -> list[Figure]:
    """Two figures for either loss: everybody online, every view agreeing."""
    figures = []
    for name, what, stores, bare_hops, lose in (
        ("network", "after the network's loss", shape.network_stores, False, network_loss(shape.outage_s)),
        ("broker", "after the broker's loss", shape.broker_stores, True, broker_loss),
    ):
        terminals = stores * TERMINALS_PER_STORE
        say(f"recovery: {terminals:,} terminals, {what}")
        one = Return(terminals, shape.rate_per_s, lose)
        _play(one, stores, shape.keep_alive_s, bare_hops=bare_hops, crew=crew)
        hops = "bare hops" if bare_hops else f"every hop proxied, {shape.outage_s:g} s away"
        figures += _figures(one, f"recovery.{name}.{terminals}", what, f"{terminals:,} terminals trading, {hops}")
    return figures


def _play(one: Return, stores: int, keep_alive_s: int, *, bare_hops: bool, crew: Crew) -> None:
    try:
        require_descriptors(stores * TERMINALS_PER_STORE, bare_hops=bare_hops)
    except SettingsError as error:
        one.note = str(error)
        return
    fleet = {"stores": stores, "terminals_per_store": TERMINALS_PER_STORE, "keep_alive_s": keep_alive_s}
    one.note = void_note(run_lab(one.script, fleet, bare_hops=bare_hops, crew=crew))


def _figures(one: Return, name: str, what: str, shape: str) -> list[Figure]:
    figures = []
    for key, saying, seconds in (
        ("online", "all online", one.online_s),
        ("converged", "every view agrees", one.converged_s),
    ):
        figure = Figure(name=f"{name}.{key}", what=f"{saying} {what}", shape=shape, unit="s", note=one.note)
        if seconds is not None and one.restarted_s is not None and not one.note:
            figure.ours = seconds
            figure.baseline_name, figure.baseline = "all online after a restart of the emulator", one.restarted_s
            figure.ratio = spread([seconds], [one.restarted_s])
        figure.note = figure.note or ("" if seconds is not None else f"not within {PATIENCE_S:g} s")
        figures.append(figure)
    return figures
