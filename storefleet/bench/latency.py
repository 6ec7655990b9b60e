"""Part ``latency``: from a terminal's commit to Poseidon's, at a steady rate, with every hop proxied and with bare hops.

``committed_at_ms`` of the ledger against ``applied_at_ms`` of Poseidon's journal; both are whole milliseconds of this
machine's clock, so one latency is right to a millisecond.
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
    """The fleet, the rate, and how long it settles and is held."""

    stores: int
    terminals_per_store: int
    rate_per_s: int
    settle_s: float
    hold_s: float


FULL: Final = Shape(200, 3, 500, settle_s=3.0, hold_s=11.0)
QUICK: Final = Shape(200, 3, 500, settle_s=1.5, hold_s=4.0)


class Sample:
    """The latencies of one lab's run, ascending, in milliseconds."""

    def __init__(self, shape: Shape) -> None:
        self._shape = shape
        self.latencies_ms: list[float] = []
        self.never_applied = 0

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
    proxied, note = _run(shape, "every hop proxied", False, crew, say)
    bare, bare_note = _run(shape, "bare hops", True, crew, say)
    return [_figure(shape, name, share, proxied, note, bare, bare_note) for name, share in PERCENTILES]


def _run(shape: Shape, label: str, bare_hops: bool, crew: Crew, say: Callable[[str], None]) -> tuple[Sample, str]:
    say(f"latency, {label}: {shape.rate_per_s}/s")
    sample = Sample(shape)
    verdict = run_lab(
        sample.script, stores=shape.stores, terminals_per_store=shape.terminals_per_store, bare_hops=bare_hops, crew=crew
    )
    note = void_note(verdict)
    if not note and (sample.never_applied or not sample.latencies_ms):
        note = f"void: {sample.never_applied} of {sample.never_applied + len(sample.latencies_ms)} events have no applied time"
    return sample, note


def _figure(shape: Shape, name: str, share: float, proxied: Sample, note: str, bare: Sample, bare_note: str) -> Figure:
    events = len(proxied.latencies_ms)
    figure = Figure(
        name=f"latency.{name}", what=f"ingress to applied, {name}", unit="ms", note=note,
        shape=f"{shape.rate_per_s}/s over {shape.stores * shape.terminals_per_store} terminals, {events:,} events, proxied",
    )
    if not note:
        figure.ours = percentile(proxied.latencies_ms, share)
        figure.details = {"events": float(events)}
    if not bare_note:
        figure.baseline_name = f"bare hops, {len(bare.latencies_ms):,} events"
        figure.baseline = percentile(bare.latencies_ms, share)
    if figure.ours is not None and figure.baseline is not None:
        figure.ratio = spread([figure.ours], [figure.baseline])
    return figure
