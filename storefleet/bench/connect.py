"""Part ``connect``: how fast terminals connect and subscribe, and what each costs in memory and CPU.

Ours are the emulator's own terminals, straight to a fresh Mosquitto; the baseline is aiomqtt with will and subscription.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from fleetwire.errors import SettingsError
from storefleet.bench.baseline_library import MISSING, aiomqtt_is_there
from storefleet.bench.crew import Crew
from storefleet.bench.report import Figure, spread
from storefleet.lab_options import require_descriptors

TIMEOUT_S: Final = 60.0


class Shape(NamedTuple):
    """How many terminals, one measurement each; how many clients of the baseline."""

    terminals: tuple[int, ...]
    baseline_clients: int


FULL: Final = Shape(terminals=(1_000, 10_000), baseline_clients=200)
QUICK: Final = Shape(terminals=(1_000,), baseline_clients=100)


def measure(shape: Shape, crew: Crew, say: Callable[[str], None]) -> list[Figure]:
    """Four figures for every number of terminals."""
    baseline = _aiomqtt(shape.baseline_clients, crew, say) if aiomqtt_is_there() else None
    figures: list[Figure] = []
    for terminals in shape.terminals:
        say(f"connect: {terminals:,} terminals")
        figures += _terminals(terminals, shape.baseline_clients, baseline, crew)
    return figures


def _aiomqtt(clients: int, crew: Crew, say: Callable[[str], None]) -> dict[str, Any]:
    say(f"connect: {clients} aiomqtt clients")
    with crew.broker(clients) as port:
        task = {"port": port, "connections": clients, "window": 1, "messages": 0, "payload_bytes": 0, "timeout_s": TIMEOUT_S}
        return crew.work("aiomqtt_clients", task, timeout_s=TIMEOUT_S + 10)


def _terminals(terminals: int, clients: int, baseline: dict[str, Any] | None, crew: Crew) -> list[Figure]:
    name = f"connect.{terminals}"
    shape = f"{terminals:,} terminals, each with will, subscription, outbox; retained birth sent"
    try:
        require_descriptors(terminals, bare_hops=True)
    except SettingsError as error:
        return [Figure(name=f"{name}.seconds", what="all connected and subscribed", shape=shape, unit="s", note=str(error))]
    folder = crew.folder / name
    folder.mkdir()
    with crew.broker(terminals) as port:
        task = {"port": port, "terminals": terminals, "folder": str(folder), "timeout_s": TIMEOUT_S}
        found = crew.work("terminals", task, timeout_s=TIMEOUT_S + 30)
    if found["subscribed"] < terminals:
        note = f"void: {found['subscribed']:,} of {terminals:,} subscribed within {TIMEOUT_S:g} s"
        return [Figure(name=f"{name}.seconds", what="all connected and subscribed", shape=shape, unit="s", note=note)]
    return _figures(name, shape, terminals, clients, found, baseline)


def _figures(
    name: str, shape: str, terminals: int, clients: int, found: dict[str, Any], baseline: dict[str, Any] | None
) -> list[Figure]:
    rows = (
        ("rate", "connects", "1/s", terminals / found["seconds"], baseline and clients / baseline["connect_seconds"]),
        ("resident", "resident memory a terminal", "kB", found["resident_kb"], baseline and baseline["resident_kb"]),
        ("cpu", "CPU a terminal", "ms", found["cpu_ms"], baseline and baseline["connect_cpu_ms"]),
    )
    first = Figure(
        name=f"{name}.seconds", what="all connected and subscribed", shape=shape, unit="s", ours=found["seconds"],
        baseline_name=f"aiomqtt, scaled from {clients}" if baseline else "",
        baseline=baseline["connect_seconds"] / clients * terminals if baseline else None,
    )
    others = [
        Figure(
            name=f"{name}.{key}", what=what, shape=shape, unit=unit, ours=ours,
            baseline_name=f"aiomqtt, {clients} clients" if baseline else "", baseline=theirs,
            note="" if baseline else MISSING,
        )
        for key, what, unit, ours, theirs in rows
    ]
    for figure in (first, *others):
        if figure.ours is not None and figure.baseline is not None:
            figure.ratio = spread([figure.ours], [figure.baseline])
    return [first, *others]
