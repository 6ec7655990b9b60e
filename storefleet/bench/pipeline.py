"""Part ``pipeline``: the highest rate that the whole lab carries with a flat backlog, and what a transaction costs.

Rates are offered in steps; each settles, is held and judged (:mod:`storefleet.bench.flatness`). A step that is not flat is
tried once more after its backlog is gone, then the step halfway to the last flat one. Every hop proxied first, then bare.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Final, NamedTuple

from storefleet.bench.crew import Crew
from storefleet.bench.flatness import RULE, Step, judge
from storefleet.bench.lab_run import DRAIN_S, LAST_VIEWS, Counts, run_lab, trade, void_note
from storefleet.bench.process_usage import cpu_seconds
from storefleet.bench.report import Figure, spread
from storefleet.lab import Lab
from storefleet.run import Run


class Shape(NamedTuple):
    """The fleet, the rates in ascending order, and how long each settles and is held."""

    stores: int
    terminals_per_store: int
    rates: tuple[int, ...]
    settle_s: float
    hold_s: float
    tries: int = 2

    @property
    def text(self) -> str:
        """For people."""
        return (
            f"{self.stores} stores, {self.stores * self.terminals_per_store} terminals, every view on,"
            f" {self.hold_s:g} s a step after {self.settle_s:g} s"
        )


FULL: Final = Shape(200, 3, (1_000, 1_500, 2_000, 2_500, 3_000, 3_500, 4_000, 4_500, 5_000), settle_s=3.0, hold_s=8.0)
QUICK: Final = Shape(200, 3, (500, 1_000), settle_s=1.5, hold_s=4.0, tries=1)


class Held(NamedTuple):
    """A step and the CPU microseconds a transaction of every process during it; none where ``/proc`` and ``ps`` fail."""

    step: Step
    cpu_us: dict[str, float]


class Search:
    """One lab's search for its highest flat step; ``held`` is what was tried, in order."""

    def __init__(self, shape: Shape, label: str, say: Callable[[str], None]) -> None:
        self._shape = shape
        self._label = label
        self._say = say
        self.held: list[Held] = []

    @property
    def best(self) -> Held | None:
        """The highest flat step."""
        return max((held for held in self.held if held.step.flat), key=lambda held: held.step.offered, default=None)

    async def script(self, run: Run) -> None:
        """Step by step until one is not flat."""
        last_flat = 0
        for rate in self._shape.rates:
            if not await self._is_flat(run, rate):
                halfway = (last_flat + rate) // 2
                if last_flat and self._shape.tries > 1:
                    await self._hold(run, halfway)
                return
            last_flat = rate

    async def _is_flat(self, run: Run, rate: int) -> bool:
        for _ in range(self._shape.tries):
            held = await self._hold(run, rate)
            if held is not None and held.step.flat:
                return True
        return False

    async def _hold(self, run: Run, rate: int) -> Held | None:
        await trade(run, rate)
        await asyncio.sleep(self._shape.settle_s)
        counts, before = Counts(run.lab), cpu_of_processes(run.lab)
        await counts.watch(self._shape.hold_s)
        after = cpu_of_processes(run.lab)
        step = judge(rate, counts.series["emulator"], [counts.series[stage] for stage in LAST_VIEWS])
        if step is None:
            self._say(f"pipeline, {self._label}: {rate:,}/s: too few snapshots to judge")
            return None
        transactions = max(1.0, step.achieved * self._shape.hold_s)
        held = Held(step, {name: (after[name] - before[name]) * 1e6 / transactions for name in after if name in before})
        self.held.append(held)
        self._say(f"pipeline, {self._label}: {rate:,}/s offered, {step.achieved:,.0f}/s committed, backlog {step.backlog:,.0f}"
                  f" growing {step.growth:,.1f}/s, {sum(held.cpu_us.values()):.0f} us CPU: {'flat' if step.flat else 'not flat'}")
        if not step.flat:
            await run.drain(DRAIN_S)
        return held


def cpu_of_processes(lab: Lab) -> dict[str, float]:
    """CPU seconds so far of every process of a lab, the broker and the lab itself among them, by name."""
    ids = {name: child.identity.process_id for name, child in lab.processes.children.items() if child.identity}
    found = {name: cpu_seconds(process_id) for name, process_id in {**ids, "lab": os.getpid()}.items()}
    return {name: seconds for name, seconds in found.items() if seconds is not None}


def measure(shape: Shape, crew: Crew, say: Callable[[str], None]) -> list[Figure]:
    """The highest flat rate with every hop proxied and with bare hops, and the CPU of each."""
    proxied, proxied_note = _search(shape, "every hop proxied", False, crew, say)
    bare, bare_note = _search(shape, "bare hops", True, crew, say)
    return [
        _rate_figure("pipeline.proxied", "transactions, every hop proxied", shape, proxied, proxied_note, bare, bare_note),
        _rate_figure("pipeline.bare", "transactions, bare hops", shape, bare, bare_note, None, ""),
        _cpu_figure("pipeline.proxied.cpu", "CPU a transaction, every hop proxied", shape, proxied, proxied_note, bare, bare_note),
        _cpu_figure("pipeline.bare.cpu", "CPU a transaction, bare hops", shape, bare, bare_note, None, ""),
    ]


def _search(shape: Shape, label: str, bare_hops: bool, crew: Crew, say: Callable[[str], None]) -> tuple[Search, str]:
    search = Search(shape, label, say)
    verdict = run_lab(
        search.script, stores=shape.stores, terminals_per_store=shape.terminals_per_store, bare_hops=bare_hops, crew=crew
    )
    note = void_note(verdict)
    if not note and search.best is None:
        note = f"no step was flat, not even {shape.rates[0]:,}/s"
    say(f"pipeline, {label}: verdict {verdict.validity}" + (f"; {note}" if note else ""))
    return search, note


def _rate_figure(
    name: str, what: str, shape: Shape, ours: Search, note: str, baseline: Search | None, baseline_note: str
) -> Figure:
    best = None if note else ours.best
    other = baseline.best if baseline is not None and not baseline_note else None
    figure = Figure(
        name=name, what=what, shape=shape.text, unit="1/s", note=note or RULE,
        ours=best.step.achieved if best else None,
        baseline_name="bare hops" if other else "", baseline=other.step.achieved if other else None,
        details={f"{held.step.offered:.0f}_offered.{key}": round(value, 1) for held in ours.held for key, value in
                 (("committed_per_s", held.step.achieved), ("backlog_growth_per_s", held.step.growth),
                  ("backlog", held.step.backlog), ("cpu_us_a_transaction", sum(held.cpu_us.values())))},
    )
    if figure.ours is not None and figure.baseline is not None:
        figure.ratio = spread([figure.ours], [figure.baseline])
    if best is not None and best.step.offered == shape.rates[-1]:
        figure.note = f"flat at the highest rate tried: it may carry more; {RULE}"
    return figure


def _cpu_figure(
    name: str, what: str, shape: Shape, ours: Search, note: str, baseline: Search | None, baseline_note: str
) -> Figure:
    best = None if note else ours.best
    figure = Figure(name=name, what=what, shape=shape.text, unit="us", note=note)
    if best is None:
        return figure
    if not best.cpu_us:
        figure.note = "CPU times are not available here: neither /proc nor ps"
        return figure
    figure.shape = f"{shape.text}; at {best.step.offered:,.0f}/s, all processes"
    figure.ours = sum(best.cpu_us.values())
    figure.details = {f"{process}_us": round(value, 1) for process, value in best.cpu_us.items()}
    other = baseline.best if baseline is not None and not baseline_note else None
    if other is not None and other.cpu_us:
        figure.baseline_name = f"bare hops at {other.step.offered:,.0f}/s"
        figure.baseline = sum(other.cpu_us.values())
        figure.ratio = spread([figure.ours], [figure.baseline])
    return figure
