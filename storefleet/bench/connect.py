"""Part ``connect``: how fast terminals connect and subscribe, and what each costs in memory and CPU.

Ours are the emulator's own terminals, straight to a fresh Mosquitto; the baseline is aiomqtt, with will and
subscription too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from fleetwire.errors import SettingsError
from storefleet.bench.baseline_library import MISSING, aiomqtt_is_there
from storefleet.bench.crew import Crew
from storefleet.bench.report import Figure, spread
from storefleet.lab_options import require_descriptors

TIMEOUT_S: Final = 60.0
ONE_BY_ONE: Final = (
    ("connects_per_s", "connects", "1/s"),
    ("resident_kb", "resident memory a terminal", "kB"),
    ("cpu_ms", "CPU a terminal", "ms"),
)
"""Attribute of :class:`Cost`, what it is, its unit."""


class Shape(NamedTuple):
    """How many terminals, one measurement each; how many clients of the baseline."""

    terminals: tuple[int, ...]
    baseline_clients: int


class Cost(NamedTuple):
    """What so many clients took: seconds together, kilobytes and CPU milliseconds each."""

    clients: int
    seconds: float
    resident_kb: float
    cpu_ms: float

    @property
    def connects_per_s(self) -> float:
        """The whole time, subscriptions included."""
        return self.clients / self.seconds


FULL: Final = Shape(terminals=(1_000, 10_000), baseline_clients=200)
QUICK: Final = Shape(terminals=(1_000,), baseline_clients=100)


def measure(shape: Shape, crew: Crew, say: Callable[[str], None]) -> list[Figure]:
    """Four figures for every number of terminals."""
    baseline = _aiomqtt(shape.baseline_clients, crew, say) if aiomqtt_is_there() else None
    figures: list[Figure] = []
    for terminals in shape.terminals:
        say(f"connect: {terminals:,} terminals")
        figures += _terminals(terminals, baseline, crew)
    return figures


def _aiomqtt(clients: int, crew: Crew, say: Callable[[str], None]) -> Cost:
    say(f"connect: {clients} aiomqtt clients")
    with crew.broker(clients) as port:
        nothing = {"window": 1, "messages": 0, "payload_bytes": 0}
        task = {"port": port, "connections": clients, "timeout_s": TIMEOUT_S, **nothing}
        found = crew.work("aiomqtt_clients", task, timeout_s=TIMEOUT_S + 10)
    return Cost(clients, found["connect_seconds"], found["resident_kb"], found["connect_cpu_ms"])


def _terminals(terminals: int, baseline: Cost | None, crew: Crew) -> list[Figure]:
    first = Figure(
        name=f"connect.{terminals}.seconds",
        what="all connected and subscribed",
        unit="s",
        shape=f"{terminals:,} terminals with will, subscription, outbox; births published",
    )
    try:
        require_descriptors(terminals, bare_hops=True)
    except SettingsError as error:
        first.note = str(error)
        return [first]
    folder = crew.folder / f"connect-{terminals}"
    folder.mkdir()
    with crew.broker(terminals) as port:
        task = {"port": port, "terminals": terminals, "folder": str(folder), "timeout_s": TIMEOUT_S}
        found = crew.work("terminals", task, timeout_s=TIMEOUT_S + 30)
    if found["subscribed"] < terminals:
        first.note = f"void: {found['subscribed']:,} of {terminals:,} subscribed within {TIMEOUT_S:g} s"
        return [first]
    return _figures(first, Cost(terminals, found["seconds"], found["resident_kb"], found["cpu_ms"]), baseline)


def _figures(first: Figure, ours: Cost, baseline: Cost | None) -> list[Figure]:
    """The time of all first; the others are for one terminal, or one second."""
    first.ours = ours.seconds
    figures = [first]
    for key, what, unit in ONE_BY_ONE:
        own: float = getattr(ours, key)
        name = f"connect.{ours.clients}.{key}"
        figure = Figure(name=name, what=what, unit=unit, shape=first.shape, ours=own, note=MISSING)
        if baseline is not None:
            theirs: float = getattr(baseline, key)
            figure.note = ""
            figure.baseline_name, figure.baseline = f"aiomqtt, {baseline.clients} clients", theirs
            figure.ratio = spread([own], [theirs])
        figures.append(figure)
    if baseline is not None:
        first.baseline = baseline.seconds / baseline.clients * ours.clients
        first.baseline_name = f"aiomqtt, scaled from {baseline.clients} clients"
        first.ratio = spread([first.ours], [first.baseline])
    return figures
