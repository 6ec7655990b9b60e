"""Memory and backlog of every process once a second, and how fast they grow: least squares, a minute.

Memory is compared within one process only, since one that was started again begins anew, and its first seconds, in which
it loads what it needs, are left out: what remains is what a leak would show. Backlogs come and go with every fault, so
their slope is that of the samples taken when a schedule had converged: what a stage that never quite catches up would
show.
"""

from __future__ import annotations

import asyncio
import logging
import statistics
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Final

from msgspec import Struct

from fleetwire.errors import FleetError
from storefleet.bench.process_usage import resident_bytes
from storefleet.soak.driven_lab import DrivenLab

SAMPLE_INTERVAL_S: Final = 1.0
WARM_UP_S: Final = 10.0
"""So long a new process loads and fills its caches."""
MEGABYTE: Final = 1e6
SAMPLE_LIMIT: Final = 1_000_000
"""Over all processes: more than a day of a lab's ten."""
COUNTED_STAGES: Final = ("emulator", "parm", "sync_stage", "poseidon", "olympus_dgs", "views")
"""Stages of which the status tells what waits for them."""

_log = logging.getLogger(__name__)


class Sample(Struct, frozen=True):
    """One process at one moment; seconds since the soak's begin. ``backlog`` None: none is counted, or nobody answered."""

    process: str
    process_id: int
    at_s: float
    resident_bytes: int
    backlog: int | None
    settled: bool = False
    """Taken after a convergence, once every stage has told of it."""


class Growth(Struct, frozen=True, kw_only=True):
    """What became of one process's memory and backlog. Megabytes and events; slopes a minute, None where too few samples."""

    process: str
    samples: int
    first_mb: float
    most_mb: float
    last_mb: float
    mb_per_minute: float | None
    most_backlog: int | None
    most_settled_backlog: int | None
    backlog_per_minute: float | None


class Watch:
    """Takes the samples of one soak, whichever lab it drives; at most SAMPLE_LIMIT, and says so."""

    def __init__(self) -> None:
        self.samples: list[Sample] = []
        self._began_s = time.monotonic()

    async def run(self, lab: DrivenLab) -> None:
        """Take one of each process of a lab each second; runs until cancelled."""
        while True:
            await self.take(lab)
            await asyncio.sleep(SAMPLE_INTERVAL_S)

    async def take(self, lab: DrivenLab, *, settled: bool = False) -> None:
        """One sample of every process that runs; of its memory alone while the lab does not answer."""
        at_s = round(time.monotonic() - self._began_s, 3)
        found = [(name, one.process_id, resident_bytes(one.process_id)) for name, one in lab.identities().items()]
        backlogs = await _backlogs(lab)
        for name, process_id, size in found:
            if size and self._room():
                backlog = backlogs.get(name.rpartition("-")[0])
                self.samples.append(Sample(name, process_id, at_s, size, backlog, settled))

    def _room(self) -> bool:
        if len(self.samples) == SAMPLE_LIMIT - 1:
            _log.warning("%d samples of memory and backlog are taken: no more are kept", SAMPLE_LIMIT)
        return len(self.samples) < SAMPLE_LIMIT


async def _backlogs(lab: DrivenLab) -> dict[str, int]:
    """Stage -> what waits for it; empty while the lab does not answer."""
    try:
        stages = (await lab.status()).picture.stages
    except FleetError:
        return {}
    return {line.stage: line.backlog for line in stages if line.stage in COUNTED_STAGES}


def growth(samples: Sequence[Sample]) -> list[Growth]:
    """One line a process, in order of appearance."""
    by_process: dict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        by_process[sample.process].append(sample)
    return [_growth(process, rows) for process, rows in by_process.items()]


def _growth(process: str, rows: Sequence[Sample]) -> Growth:
    sizes = [row.resident_bytes / MEGABYTE for row in rows]
    backlogs = [row.backlog for row in rows if row.backlog is not None]
    settled = [(row.at_s, float(row.backlog)) for row in rows if row.backlog is not None and row.settled]
    return Growth(
        process=process,
        samples=len(rows),
        first_mb=round(sizes[0], 1),
        most_mb=round(max(sizes), 1),
        last_mb=round(sizes[-1], 1),
        mb_per_minute=slope_per_minute(_warm(rows)),
        most_backlog=max(backlogs, default=None),
        most_settled_backlog=int(max(value for _, value in settled)) if settled else None,
        backlog_per_minute=slope_per_minute([settled]),
    )


def _warm(rows: Sequence[Sample]) -> list[list[tuple[float, float]]]:
    """(seconds, megabytes) of each process that had this name, its warm-up left out."""
    began_s: dict[int, float] = {}
    warm: dict[int, list[tuple[float, float]]] = defaultdict(list)
    for row in rows:
        if row.at_s - began_s.setdefault(row.process_id, row.at_s) >= WARM_UP_S:
            warm[row.process_id].append((row.at_s, row.resident_bytes / MEGABYTE))
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
