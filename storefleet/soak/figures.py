"""Memory and backlog of every process once a second, and how fast they grow: least squares, a minute.

Memory is compared within an incarnation only, since a new process begins anew, and its first seconds, in which it loads
what it needs, are left out: what remains is what a leak would show.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Final

from msgspec import Struct

from storefleet.bench.process_usage import resident_bytes
from storefleet.lab import Lab

SAMPLE_INTERVAL_S: Final = 1.0
WARM_UP_S: Final = 10.0
"""So long a new process loads and fills its caches."""
MEGABYTE: Final = 1e6
SAMPLE_LIMIT: Final = 1_000_000
"""Over all processes: more than a day of a lab's nine."""
COUNTED_BACKLOGS: Final = {"emulator": "unresolved", "olympus_dgs": "to_store"}
"""Stage -> its own counter of what waits for it."""
DISTANT_STAGES: Final = ("parm", "sync_stage", "poseidon", "views")
"""Stages whose backlog is how many committed events they have not taken."""


class Sample(Struct, frozen=True):
    """One process at one moment; seconds since the soak's begin. ``backlog`` None: it has none that is counted."""

    process: str
    incarnation: int
    at_s: float
    resident_bytes: int
    backlog: int | None


class Growth(Struct, frozen=True, kw_only=True):
    """What became of one process's memory and backlog. Megabytes and events; slopes a minute, None where too few samples."""

    process: str
    samples: int
    first_mb: float
    most_mb: float
    last_mb: float
    mb_per_minute: float | None
    most_backlog: int | None
    last_backlog: int | None
    backlog_per_minute: float | None


async def watch(lab: Lab, samples: list[Sample]) -> None:
    """Append a sample of every running process each second; runs until cancelled, or the limit is reached."""
    began_s = time.monotonic()
    while len(samples) < SAMPLE_LIMIT:
        samples += take(lab, round(time.monotonic() - began_s, 3))
        await asyncio.sleep(SAMPLE_INTERVAL_S)


def take(lab: Lab, at_s: float) -> Iterable[Sample]:
    """One sample of every process that runs."""
    for name, child in lab.processes.children.items():
        if child.running and child.identity is not None:
            size = resident_bytes(child.identity.process_id)
            if size:
                yield Sample(name, child.incarnation, at_s, size, _backlog(lab, name.rpartition("-")[0]))


def _backlog(lab: Lab, stage: str) -> int | None:
    if stage in COUNTED_BACKLOGS:
        return int(lab.observatory.total(stage, COUNTED_BACKLOGS[stage]))
    return lab.observatory.event_distance(stage) if stage in DISTANT_STAGES else None


def growth(samples: Sequence[Sample]) -> list[Growth]:
    """One line a process, in order of appearance."""
    by_process: dict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        by_process[sample.process].append(sample)
    return [_growth(process, rows) for process, rows in by_process.items()]


def _growth(process: str, rows: Sequence[Sample]) -> Growth:
    sizes = [row.resident_bytes / MEGABYTE for row in rows]
    backlogs = [(row.at_s, float(row.backlog)) for row in rows if row.backlog is not None]
    return Growth(
        process=process,
        samples=len(rows),
        first_mb=round(sizes[0], 1),
        most_mb=round(max(sizes), 1),
        last_mb=round(sizes[-1], 1),
        mb_per_minute=slope_per_minute(_warm(rows)),
        most_backlog=int(max(value for _, value in backlogs)) if backlogs else None,
        last_backlog=int(backlogs[-1][1]) if backlogs else None,
        backlog_per_minute=slope_per_minute([backlogs]),
    )


def _warm(rows: Sequence[Sample]) -> list[list[tuple[float, float]]]:
    """(seconds, megabytes) of each incarnation, its warm-up left out."""
    began_s: dict[int, float] = {}
    warm: dict[int, list[tuple[float, float]]] = defaultdict(list)
    for row in rows:
        if row.at_s - began_s.setdefault(row.incarnation, row.at_s) >= WARM_UP_S:
            warm[row.incarnation].append((row.at_s, row.resident_bytes / MEGABYTE))
    return list(warm.values())


def slope_per_minute(series: Iterable[Sequence[tuple[float, float]]]) -> float | None:
    """Least squares over (seconds, value): one slope for all series, each with a level of its own; None below 3 points."""
    above = below = 0.0
    points = 0
    for one in series:
        if len(one) < 2:
            continue
        middle_s = statistics.fmean(at_s for at_s, _ in one)
        middle = statistics.fmean(value for _, value in one)
        above += sum((at_s - middle_s) * (value - middle) for at_s, value in one)
        below += sum((at_s - middle_s) ** 2 for at_s, _ in one)
        points += len(one)
    return round(60.0 * above / below, 3) if points >= 3 and below else None
