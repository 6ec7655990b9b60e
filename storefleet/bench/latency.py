"""Part ``latency``: from a terminal's commit to Poseidon's, at a steady rate, every hop proxied and bare hops.

``committed_at_ms`` of the ledger against ``applied_at_ms`` of Poseidon's journal; both are whole milliseconds of this
machine's clock, so one latency is right to a millisecond. Labs of both kinds take turns; a percentile is that of all
their events together, the ratio the median of the ratios of neighbours.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, Final, NamedTuple

from fleetwire.clock import now_ms
from fleetwire.intervals import IntervalSet
from storefleet.bench.crew import Crew
from storefleet.bench.lab_run import DRAIN_S, run_lab, trade, void_note
from storefleet.bench.report import Figure, percentile, spread
from storefleet.run import Run

PERCENTILES: Final = (("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999))
_COMMITTED: Final = (
    "SELECT source.id, event.sequence, event.committed_at_ms FROM event JOIN source ON source.number = event.source"
    " WHERE event.committed_at_ms BETWEEN ? AND ? AND event.expected_reason = ''"
)


class Shape(NamedTuple):
    """The fleet, the rate, how long it settles and is held, and how many labs of each kind take turns."""

    stores: int
    terminals_per_store: int
    rate_per_s: int
    settle_s: float
    hold_s: float
    turns: int


FULL: Final = Shape(200, 3, 500, settle_s=3.0, hold_s=4.0, turns=3)
QUICK: Final = Shape(200, 3, 500, settle_s=1.5, hold_s=4.0, turns=1)


class Sample:
    """The latencies of one lab's run, ascending, in milliseconds."""

    def __init__(self, shape: Shape) -> None:
        self._shape = shape
        self.latencies_ms: list[float] = []
        self.never_applied = 0
        self.note = ""
        """Why they do not count."""

    async def script(self, run: Run) -> None:
        """Trade, let it settle, hold, and ask both ends for their times."""
        await trade(run, self._shape.rate_per_s)
        await asyncio.sleep(self._shape.settle_s)
        from_ms = now_ms()
        await asyncio.sleep(self._shape.hold_s)
        until_ms = now_ms()
        await run.drain(DRAIN_S)
        answers = await run.lab.stage_call("poseidon", "applied_times")
        committed = await asyncio.to_thread(_committed, run.ledger_file, from_ms, until_ms)
        self._compare(committed, _applied(answers))

    def _compare(self, committed: list[tuple[str, int, int]], applied: dict[str, dict[int, int]]) -> None:
        for source, sequence, committed_ms in committed:
            applied_ms = applied.get(source, {}).get(sequence)
            if applied_ms is None:
                self.never_applied += 1
            else:
                self.latencies_ms.append(float(applied_ms - committed_ms))
        self.latencies_ms.sort()


def _committed(ledger: Path, from_ms: int, until_ms: int) -> list[tuple[str, int, int]]:
    with closing(sqlite3.connect(f"{ledger.as_uri()}?mode=ro", uri=True)) as connection:
        return connection.execute(_COMMITTED, (from_ms, until_ms)).fetchall()


def _applied(answers: list[Any]) -> dict[str, dict[int, int]]:
    return {
        source: dict(zip(IntervalSet(times["intervals"]).numbers(), times["applied_at_ms"], strict=True))
        for answer in answers
        for source, times in answer["sources"].items()
    }


def measure(shape: Shape, crew: Crew, say: Callable[[str], None]) -> list[Figure]:
    """One figure for every percentile."""
    proxied, bare = [], []
    for number in range(shape.turns):
        say(f"latency, every hop proxied: {shape.rate_per_s}/s, {number + 1} of {shape.turns}")
        proxied.append(_run(shape, bare_hops=False, crew=crew))
        say(f"latency, bare hops: {shape.rate_per_s}/s, {number + 1} of {shape.turns}")
        bare.append(_run(shape, bare_hops=True, crew=crew))
    return [_figure(shape, name, share, proxied, bare) for name, share in PERCENTILES]


def _run(shape: Shape, *, bare_hops: bool, crew: Crew) -> Sample:
    sample = Sample(shape)
    fleet = {"stores": shape.stores, "terminals_per_store": shape.terminals_per_store}
    sample.note = void_note(run_lab(sample.script, fleet, bare_hops=bare_hops, crew=crew))
    if not sample.note and (sample.never_applied or not sample.latencies_ms):
        events = sample.never_applied + len(sample.latencies_ms)
        sample.note = f"void: {sample.never_applied} of {events} events have no applied time"
    return sample


def _figure(shape: Shape, name: str, share: float, proxied: list[Sample], bare: list[Sample]) -> Figure:
    ours_ms, baseline_ms = _together(proxied), _together(bare)
    terminals = shape.stores * shape.terminals_per_store
    figure = Figure(
        name=f"latency.{name}",
        what=f"ingress to applied, {name}",
        unit="ms",
        note=_note(proxied) or _note(bare),
        shape=f"{shape.rate_per_s}/s over {terminals} terminals, {len(ours_ms):,} events, every hop proxied",
    )
    if not _note(proxied):
        figure.ours = percentile(ours_ms, share)
        figure.details = {"events": float(len(ours_ms))}
    if not _note(bare):
        figure.baseline_name = f"bare hops, {len(baseline_ms):,} events"
        figure.baseline = percentile(baseline_ms, share)
    if not figure.note:
        figure.ratio = spread(
            [percentile(sample.latencies_ms, share) for sample in proxied],
            [percentile(sample.latencies_ms, share) for sample in bare],
        )
    return figure


def _together(samples: list[Sample]) -> list[float]:
    return sorted(latency_ms for sample in samples for latency_ms in sample.latencies_ms)


def _note(samples: list[Sample]) -> str:
    return next((sample.note for sample in samples if sample.note), "")
